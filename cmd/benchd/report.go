package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/report"
)

// formats of a report that lie in a folder as files. The others are made on demand.
var formats = map[string]string{"md": report.ReportMD, "json": report.SummaryJSON, "csv": report.SummaryCSV}

// Formats that are made when they are asked for.
const (
	formatHTML = "html"
	formatVLLM = "vllm-json"
)

// reportAsk is what `benchd report` was asked for.
type reportAsk struct {
	format, output, plots, again string
	files, open                  bool
	formatSet                    bool
}

func newReportCommand(o *options) *cobra.Command {
	var ask reportAsk
	cmd := &cobra.Command{
		Use:   "report RUN|FOLDER|sweep/NAME",
		Short: "Show the report of a run or a sweep, as text, table or web page, or make a run's again from its records",
		Long: `Show the report of a run, or of the folder of an attempt or of a 'benchd load'. With --again it is computed once more from
the records, into a folder of its own: the same records give the same bytes.

  md         text, as it lies in the folder
  json, csv  the numbers, likewise
  html       one file with plots that needs no network, to be sent around; --open shows it in a browser
  vllm-json  the conventional numbers under the key names of 'vllm bench serve', for tools that read its files

A folder is enough: html and vllm-json are made from what lies in it, without a control plane.

Of a sweep, show what its runs came to so far: points over repeats, best ones under the SLO, Pareto front, scaling, and what
follows. --format takes md, json, csv (a row for each point), trials-csv, trials-json (a row for each run) and html; --plots DIR
writes figures as SVG.`,
		Example: "  benchd report my-run\n  benchd report my-run --format json | jq .ttft.p99\n  benchd report my-run --open\n  benchd report my-run --format html -o my-run.html\n  benchd report my-run --files\n  benchd report ./benchd-load-20260101-120000 --again /tmp/once-more\n  benchd report sweep/my-sweep\n  benchd report sweep/my-sweep --plots figures",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ask.formatSet = cmd.Flags().Changed("format")
			if err := ask.settle(); err != nil {
				return exitError{exitInvalid, err}
			}
			if kind, names, err := objectArgs(args); err == nil && kind == api.KindBenchmarkSweep && len(names) == 1 {
				return o.reportSweep(cmd, names[0], ask)
			}
			return o.reportRun(cmd, args, ask)
		},
	}
	cmd.Flags().StringVar(&ask.format, "format", "md", "md, json, csv, html or vllm-json; of a sweep also trials-csv and trials-json; by default what the name of --output ends in, else md")
	cmd.Flags().StringVar(&ask.plots, "plots", "", "write a sweep's figures into this folder, as SVG")
	cmd.Flags().StringVarP(&ask.output, "output", "o", "", "write to this file instead of standard output")
	cmd.Flags().StringVar(&ask.again, "again", "", "compute the report again from the records, into this folder")
	cmd.Flags().BoolVar(&ask.files, "files", false, "list the run's files with size and SHA-256 instead")
	cmd.Flags().BoolVar(&ask.open, "open", false, "write HTML to a file (--output, or benchd-report-NAME.html here) and show it in a browser")
	return cmd
}

// formatOfName is the format that a file's name asks for.
var formatOfName = map[string]string{".html": formatHTML, ".htm": formatHTML, ".json": "json", ".csv": "csv"}

// settle refuses what does not go together, and takes the format from the file's name where none is given.
func (a *reportAsk) settle() error {
	switch {
	case a.open && a.formatSet && a.format != formatHTML:
		return fmt.Errorf("--open shows HTML, and --format %s is none: leave one of them out", a.format)
	case a.open && (a.files || a.plots != ""):
		return errors.New("--open shows a report: leave --files and --plots out")
	case a.files && a.formatSet:
		return errors.New("--files lists files in one form: leave --format out")
	case a.files && (a.again != "" || a.plots != ""):
		return errors.New("--files lists what is there: leave --again and --plots out")
	case a.plots != "" && (a.output != "" || a.formatSet):
		return errors.New("--plots writes figures into a folder: leave --output and --format out")
	}
	if by, known := formatOfName[strings.ToLower(filepath.Ext(a.output))]; known && !a.formatSet {
		a.format = by
	}
	if a.open {
		a.format = formatHTML
	}
	return nil
}

func (o *options) reportRun(cmd *cobra.Command, args []string, ask reportAsk) error {
	if ask.plots != "" {
		return exitError{exitInvalid, errors.New("--plots is for sweeps: name one, as in sweep/my-sweep; a run's figures are in its HTML (--format html)")}
	}
	if _, known := formats[ask.format]; !known && ask.format != formatHTML && ask.format != formatVLLM {
		return exitError{exitInvalid, fmt.Errorf("format %q is not known: use md, json, csv, html or vllm-json", ask.format)}
	}
	run, err := o.reported(cmd, args)
	if err != nil {
		return err
	}
	if ask.files {
		if run.Status.Folder == args[0] { // of a folder's files nobody has a list
			if run.Status.Reports, err = report.List(args[0]); err != nil {
				return err
			}
		}
		out, closeOutput, err := openOutput(cmd, ask.output)
		if err != nil {
			return err
		}
		return errors.Join(listFiles(out, run), closeOutput())
	}
	dir := filepath.Join(run.Status.Folder, report.Dir)
	if ask.again != "" {
		if dir = ask.again; run.Status.Folder == "" {
			return noReport(run)
		}
		if _, err := report.Remake(run.Status.Folder, ask.again); err != nil {
			return err
		}
	}
	data, err := reportOf(run, dir, ask.format)
	if err != nil {
		return err
	}
	return ask.hand(cmd, filepath.Base(run.Name), data)
}

// reportOf gives the report of a run in a format, or says why there is none; dir holds the files of it that are there already.
func reportOf(run *api.BenchmarkRun, dir, format string) ([]byte, error) {
	if run.Status.Folder == "" {
		return nil, noReport(run)
	}
	data, err := reportAs(run.Status.Folder, dir, format)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, node.ErrNotYet) {
		return nil, noReport(run)
	}
	return data, err
}

// reportAs gives the report of an attempt's folder in a format; dir holds the files of it that are there already.
func reportAs(folder, dir, format string) ([]byte, error) {
	if name, is := formats[format]; is {
		return os.ReadFile(filepath.Join(dir, name))
	}
	d, err := report.Open(folder)
	if err != nil {
		return nil, err
	}
	if format == formatVLLM {
		return d.VLLM()
	}
	return d.HTML()
}

// hand gives a report to whoever asked: on standard output, into a file, or into a file that is then shown.
func (a *reportAsk) hand(cmd *cobra.Command, name string, data []byte) error {
	if a.open && a.output == "" {
		a.output = "benchd-report-" + name + ".html"
	}
	out, closeOutput, err := openOutput(cmd, a.output)
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	if err = errors.Join(err, closeOutput()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if a.open {
		return showInBrowser(cmd.Context(), note(cmd), a.output)
	}
	return nil
}

// reported finds the run that is meant: by its name, or by the folder of its results alone.
func (o *options) reported(cmd *cobra.Command, args []string) (*api.BenchmarkRun, error) {
	if info, err := os.Stat(args[0]); err == nil && info.IsDir() && len(args) == 1 {
		run := &api.BenchmarkRun{}
		run.Name, run.Status.Folder, run.Status.Phase = args[0], args[0], api.RunCompleted
		return run, nil
	}
	kind, names, err := objectArgs(args)
	switch {
	case err != nil:
		return nil, err
	case len(names) != 1:
		return nil, exitError{exitInvalid, errors.New("name the one run, sweep or folder whose report is wanted")}
	case kind != api.KindBenchmarkRun:
		return nil, exitError{exitInvalid, fmt.Errorf("%s/%s has no report: name a run, a sweep or a folder", word(kind), names[0])}
	}
	c, err := connectRunning(cmd.Context(), o.home)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return getRun(cmd.Context(), c, o.namespace, names[0])
}

func openOutput(cmd *cobra.Command, path string) (io.Writer, func() error, error) {
	if path == "" {
		return cmd.OutOrStdout(), func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, nil, fmt.Errorf("write the report: %w", err)
	}
	return f, f.Close, nil
}

// noReport says why there is none.
func noReport(run *api.BenchmarkRun) error {
	if !run.Status.Phase.Terminal() {
		return fmt.Errorf("run %s has no report yet: it is %s: %s", run.Name, run.Status.Phase, run.Status.Message)
	}
	if run.Status.Folder == run.Name {
		return exitError{exitInvalid, fmt.Errorf("%s holds no report: name the folder of an attempt, such as %s", run.Name, filepath.Join(run.Name, "attempt-1"))}
	}
	page := ""
	if node.Exists(filepath.Join(run.Status.Folder, report.Dir, report.SourceJSON)) {
		page = fmt.Sprintf(", `benchd report %s --format html` puts what is known on a page", run.Name)
	}
	return fmt.Errorf("run %s left no report: %s; `benchd describe run %s` tells the story, `benchd logs %s` what its processes said%s",
		run.Name, run.Status.Message, run.Name, run.Name, page)
}

func listFiles(out io.Writer, run *api.BenchmarkRun) error {
	for _, f := range run.Status.Reports {
		if _, err := fmt.Fprintf(out, "%s  %10d  %s\n", f.SHA256, f.Size, f.Path); err != nil {
			return err
		}
	}
	return nil
}
