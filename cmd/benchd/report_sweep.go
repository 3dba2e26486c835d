package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/report"
)

// sweepFormats of a sweep's report, and the files that hold them.
var sweepFormats = map[string]string{"md": report.SweepMD, "json": report.SweepJSON, "csv": report.SweepCSV, "trials-csv": report.TrialsCSV, "trials-json": report.TrialsJSON}

// reportSweep computes a sweep's results from its runs as they are now, and shows them.
func (o *options) reportSweep(cmd *cobra.Command, name string, ask reportAsk) error {
	file, known := sweepFormats[ask.format]
	if !known && ask.format != formatHTML {
		return exitError{exitInvalid, fmt.Errorf("format %q is not known for a sweep: use md, json, csv, trials-csv, trials-json or html", ask.format)}
	}
	if ask.again != "" {
		return exitError{exitInvalid, errors.New("--again is for runs: a sweep's results are computed from its runs each time")}
	}
	c, err := connectRunning(cmd.Context(), o.home)
	if err != nil {
		return err
	}
	defer c.Close()
	if ask.files {
		return listSweepFiles(cmd, c, o.namespace, name, ask.output)
	}
	sweep, result, err := sweepResult(cmd.Context(), c, o.namespace, name)
	if err != nil {
		return err
	}
	contents, err := result.Files()
	if err != nil {
		return err
	}
	if ask.plots != "" {
		return writePlots(say(cmd), ask.plots, contents)
	}
	if missing := whatIsMissing(sweep, result); missing != "" { // a table without rows does not say so
		note(cmd)("%s", missing)
	}
	data := contents[file]
	if ask.format == formatHTML {
		if data, err = result.HTML(sweep, contents); err != nil {
			return err
		}
	}
	return ask.hand(cmd, "sweep-"+name, data)
}

func getSweep(ctx context.Context, c *client.Client, namespace, name string) (*api.BenchmarkSweep, error) {
	obj, err := c.Get(ctx, api.KindBenchmarkSweep, namespace, name)
	if err != nil {
		return nil, err
	}
	sweep, ok := obj.(*api.BenchmarkSweep)
	if !ok {
		return nil, fmt.Errorf("sweep %s is a %T", name, obj)
	}
	return sweep, nil
}

// sweepResult computes the results of a sweep from the runs that it owns, for others may have its label, and from what its folder
// remembers of those that were let go, where that can be read from here.
func sweepResult(ctx context.Context, c *client.Client, namespace, name string) (*api.BenchmarkSweep, *report.SweepResult, error) {
	sweep, err := getSweep(ctx, c, namespace, name)
	if err != nil {
		return nil, nil, err
	}
	var trials []report.Trial
	var unread error
	present := map[string]bool{}
	opts := client.ListOptions{Namespace: namespace, LabelSelector: api.LabelSweep + "=" + name}
	_, err = c.Each(ctx, api.KindBenchmarkRun, opts, func(obj api.Object) {
		run, ok := obj.(*api.BenchmarkRun)
		if !ok || !metav1.IsControlledBy(run, sweep) {
			return
		}
		t, err := report.TrialOf(run, nil)
		trials, unread, present[t.UID] = append(trials, t), errors.Join(unread, err), true
	})
	if err = errors.Join(err, unread); err != nil {
		return nil, nil, fmt.Errorf("read the runs of sweep %s: %w", name, err)
	}
	if sweep.Status.Released != nil && sweep.Status.Folder != "" {
		released, err := report.Released(sweep.Status.Folder, func(uid string) bool { return present[uid] })
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return nil, nil, fmt.Errorf("read the results of sweep %s: %w", name, err)
		}
		trials = append(trials, released...)
	}
	return sweep, report.Sweep(sweep, trials), nil
}

func writePlots(say func(string, ...any), dir string, contents map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder for plots: %w", err)
	}
	n := 0
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		if !strings.HasSuffix(name, ".svg") {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, contents[name], 0o644); err != nil {
			return fmt.Errorf("write a plot: %w", err)
		}
		say("%s", path)
		n++
	}
	if n == 0 {
		return errors.New("there is nothing to draw yet: a plot needs a numeric parameter with two measured values")
	}
	return nil
}

// listSweepFiles lists what the control plane keeps in the sweep's folder.
func listSweepFiles(cmd *cobra.Command, c *client.Client, namespace, name, output string) error {
	sweep, err := getSweep(cmd.Context(), c, namespace, name)
	if err != nil {
		return err
	}
	if sweep.Status.Folder == "" {
		return fmt.Errorf("sweep %s has no files yet: they are written as its runs end (%s)", sweep.Name, sweep.Status.Message)
	}
	files, err := report.List(sweep.Status.Folder)
	if err != nil {
		return fmt.Errorf("list the files of sweep %s: %w", name, err)
	}
	out, closeOutput, err := openOutput(cmd, output)
	if err != nil {
		return err
	}
	for _, f := range files {
		_, e := fmt.Fprintf(out, "%s  %10d  %s\n", f.SHA256, f.Size, f.Path)
		err = errors.Join(err, e)
	}
	return errors.Join(err, closeOutput())
}

// whatIsMissing says which runs of a sweep its results leave out, empty for none.
func whatIsMissing(s *api.BenchmarkSweep, r *report.SweepResult) string {
	gone := int32(0)
	if was := s.Status.Released; was != nil {
		gone = was.Succeeded + was.Failed + was.Cancelled
	}
	for i := range r.Trials {
		if r.Trials[i].Released {
			gone--
		}
	}
	switch {
	case gone > 0:
		return fmt.Sprintf("%d runs of sweep %s were let go by retention and are not in this: what they came to was written to %s", gone, s.Name, s.Status.Folder)
	case r.Measured == 0:
		return fmt.Sprintf("sweep %s has measured nothing yet: %d runs, %d of them failed, %d have not ended", s.Name, r.Total, r.Failed, r.Open)
	}
	return ""
}
