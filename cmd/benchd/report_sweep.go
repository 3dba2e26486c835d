package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/report"
)

// sweepFormats of a sweep's report, and the files that hold them.
var sweepFormats = map[string]string{"md": report.SweepMD, "json": report.SweepJSON, "csv": report.SweepCSV, "trials-csv": report.TrialsCSV, "trials-json": report.TrialsJSON}

// sweepReport is what `benchd report sweep/NAME` was asked for.
type sweepReport struct {
	format, output, plots string
	files                 bool
}

// reportSweep computes a sweep's results from its runs as they are now, and shows them.
func (o *options) reportSweep(cmd *cobra.Command, name string, ask sweepReport) error {
	file, known := sweepFormats[ask.format]
	if !known {
		return exitError{exitInvalid, fmt.Errorf("format %q is not known for a sweep: use md, json, csv, trials-csv or trials-json", ask.format)}
	}
	c, err := connectRunning(cmd.Context(), o.home)
	if err != nil {
		return err
	}
	defer c.Close()
	sweep, result, err := sweepResult(cmd.Context(), c, o.namespace, name)
	if err != nil {
		return err
	}
	if ask.files {
		return listSweepFiles(cmd.OutOrStdout(), sweep)
	}
	contents, err := result.Files()
	if err != nil {
		return err
	}
	if ask.plots != "" {
		return writePlots(say(cmd), ask.plots, contents)
	}
	out, closeOutput, err := openOutput(cmd, ask.output)
	if err != nil {
		return err
	}
	_, err = out.Write(contents[file])
	return errors.Join(err, closeOutput())
}

// sweepResult computes the results of a sweep.
func sweepResult(ctx context.Context, c *client.Client, namespace, name string) (*api.BenchmarkSweep, *report.SweepResult, error) {
	obj, err := c.Get(ctx, api.KindBenchmarkSweep, namespace, name)
	if err != nil {
		return nil, nil, err
	}
	sweep, ok := obj.(*api.BenchmarkSweep)
	if !ok {
		return nil, nil, fmt.Errorf("sweep %s is a %T", name, obj)
	}
	list, err := c.List(ctx, api.KindBenchmarkRun, client.ListOptions{Namespace: namespace, LabelSelector: api.LabelSweep + "=" + name})
	if err != nil {
		return nil, nil, err
	}
	var trials []report.Trial
	for _, obj := range list.Items {
		run, ok := obj.(*api.BenchmarkRun)
		if !ok {
			continue
		}
		t, err := report.TrialOf(run)
		if err != nil {
			return nil, nil, err
		}
		trials = append(trials, t)
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
func listSweepFiles(out io.Writer, sweep *api.BenchmarkSweep) error {
	if sweep.Status.Folder == "" {
		return fmt.Errorf("sweep %s has no files yet: they are written as its runs end (%s)", sweep.Name, sweep.Status.Message)
	}
	files, err := report.List(sweep.Status.Folder)
	if err != nil {
		return err
	}
	for _, f := range files {
		if _, err := fmt.Fprintf(out, "%s  %10d  %s\n", f.SHA256, f.Size, f.Path); err != nil {
			return err
		}
	}
	return nil
}

// describeSweep tells a sweep's story: how far it is, what it found, what keeps it.
func describeSweep(ctx context.Context, p func(string, ...any), c *client.Client, s *api.BenchmarkSweep) error {
	st := &s.Status
	p("Phase:\t%s", st.Phase)
	p("Message:\t%s", st.Message)
	p("Runs:\t%d: %d succeeded, %d failed, %d cancelled, %d to go", st.Total, st.Succeeded, st.Failed, st.Cancelled, st.Total-st.Ended())
	p("Allocations:\t%d made, at most %d at once; %.4g node-hours by those that have ended", st.AllocationsMade, s.Spec.Parallelism, st.NodeHours)
	if st.QueueWait != nil {
		p("Queue:\tthe last job waited %s", st.QueueWait.Duration)
	}
	p("Strategy:\t%s, order %s, %d repeats", s.Spec.Strategy, s.Spec.Order, s.Spec.Repeats)
	for _, param := range s.Spec.Parameters {
		p("Parameter:\t%s: %v", param.Path, param.Values)
	}
	for _, point := range st.StoppedPoints {
		p("Stopped point:\t%s: %d of its runs failed", point, st.FailedPoints[point])
	}
	for _, l := range st.Limits {
		found := "still looking"
		if l.Done {
			found = "nothing passed; " + l.Why
		}
		if l.Passed != nil {
			found = fmt.Sprintf("%s = %v passed (run %s); ", s.Spec.Search.Path, *l.Passed, l.Run) + cmp.Or(l.Why, "still looking")
		}
		p("Limit:\t%s%s", found, report.Where(l.Values))
	}
	if st.Folder != "" {
		p("Folder:\t%s", st.Folder)
	}
	describeConditions(p, st.Conditions)
	if st.Ended() == 0 {
		return nil
	}
	_, result, err := sweepResult(ctx, c, s.Namespace, s.Name)
	if err != nil {
		return err
	}
	for _, b := range result.Best {
		p("Best so far:\t%s %.4g%s", b.Metric, b.Value.Mean, report.Where(result.Points[b.Point].Values))
	}
	for _, piece := range result.Guidance {
		p("Guidance:\t%s", piece.Text)
	}
	return nil
}
