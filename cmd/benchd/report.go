package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/report"
)

// formats of a report, and the files that hold them.
var formats = map[string]string{"md": report.ReportMD, "json": report.SummaryJSON, "csv": report.SummaryCSV}

func newReportCommand(o *options) *cobra.Command {
	var format, output, again, plots string
	var files bool
	cmd := &cobra.Command{
		Use:   "report RUN|FOLDER|sweep/NAME",
		Short: "Show the report of a run or a sweep, or make a run's again from its records",
		Long: `Show the report of a run, or of the folder of an attempt or of a 'benchd load'. With --again it is computed once more from
the records, into a folder of its own: the same records give the same bytes.

Of a sweep, show what its runs came to so far: points over repeats, best ones under the SLO, Pareto front, scaling, and what
follows. --format takes md, json, csv (a row for each point), trials-csv and trials-json (a row for each run); --plots DIR writes
figures as SVG.`,
		Example: "  benchd report my-run\n  benchd report my-run --format json | jq .ttft.p99\n  benchd report my-run --files\n  benchd report ./benchd-load-20260101-120000 --again /tmp/once-more\n  benchd report sweep/my-sweep\n  benchd report sweep/my-sweep --plots figures",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if kind, names, err := objectArgs(args); err == nil && kind == api.KindBenchmarkSweep && len(names) == 1 {
				return o.reportSweep(cmd, names[0], sweepReport{format: format, output: output, plots: plots, again: again, files: files})
			}
			if plots != "" {
				return exitError{exitInvalid, errors.New("--plots is for sweeps: name one, as in sweep/my-sweep")}
			}
			name, known := formats[format]
			if !known {
				return exitError{exitInvalid, fmt.Errorf("format %q is not known: use md, json or csv", format)}
			}
			run, err := o.reported(cmd, args)
			if err != nil {
				return err
			}
			if again != "" {
				if _, err := report.Remake(run.Status.Folder, again); err != nil {
					return err
				}
				return copyFile(cmd.OutOrStdout(), filepath.Join(again, name))
			}
			out, closeOutput, err := openOutput(cmd, output)
			if err != nil {
				return err
			}
			if files {
				return errors.Join(listFiles(out, run), closeOutput())
			}
			return errors.Join(showReport(out, run, name), closeOutput())
		},
	}
	cmd.Flags().StringVar(&format, "format", "md", "md, json or csv; of a sweep also trials-csv and trials-json")
	cmd.Flags().StringVar(&plots, "plots", "", "write a sweep's figures into this folder, as SVG")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this file instead of standard output")
	cmd.Flags().StringVar(&again, "again", "", "compute the report again from the records, into this folder")
	cmd.Flags().BoolVar(&files, "files", false, "list the run's files with size and SHA-256 instead")
	return cmd
}

// reported finds the run that is meant: by its name, or by the folder of its results alone.
func (o *options) reported(cmd *cobra.Command, args []string) (*api.BenchmarkRun, error) {
	if info, err := os.Stat(args[0]); err == nil && info.IsDir() && len(args) == 1 {
		run := &api.BenchmarkRun{}
		run.Name, run.Status.Folder, run.Status.Phase = args[0], args[0], api.RunCompleted
		run.Status.Reports, err = report.List(args[0])
		return run, err
	}
	c, err := connectRunning(cmd.Context(), o.home)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_, names, err := objectArgs(args)
	if err != nil {
		return nil, err
	}
	return getRun(cmd.Context(), c, o.namespace, names[0])
}

func openOutput(cmd *cobra.Command, path string) (io.Writer, func() error, error) {
	if path == "" {
		return cmd.OutOrStdout(), func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, nil, err
	}
	return f, f.Close, nil
}

func showReport(out io.Writer, run *api.BenchmarkRun, name string) error {
	err := copyFile(out, filepath.Join(run.Status.Folder, "report", name))
	if !errors.Is(err, fs.ErrNotExist) && run.Status.Folder != "" {
		return err
	}
	if !run.Status.Phase.Terminal() {
		return fmt.Errorf("run %s has no report yet: it is %s: %s", run.Name, run.Status.Phase, run.Status.Message)
	}
	if run.Status.Folder == run.Name {
		return exitError{exitInvalid, fmt.Errorf("%s holds no report: name the folder of an attempt, such as %s", run.Name, filepath.Join(run.Name, "attempt-1"))}
	}
	return fmt.Errorf("run %s left no report: %s; `benchd describe run %s` tells the story, `benchd logs %s` what its processes said",
		run.Name, run.Status.Message, run.Name, run.Name)
}

func listFiles(out io.Writer, run *api.BenchmarkRun) error {
	for _, f := range run.Status.Reports {
		if _, err := fmt.Fprintf(out, "%s  %10d  %s\n", f.SHA256, f.Size, f.Path); err != nil {
			return err
		}
	}
	return nil
}
