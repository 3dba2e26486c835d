package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/report"
)

// describeSweep tells a sweep's story: how far it is, what it found, what keeps it.
func describeSweep(ctx context.Context, p func(string, ...any), c *client.Client, s *api.BenchmarkSweep) error {
	st := &s.Status
	p("Phase:\t%s", st.Phase)
	p("Message:\t%s", st.Message)
	p("Runs:\t%d: %d succeeded, %d failed, %d cancelled, %d to go", st.Total, st.Succeeded, st.Failed, st.Cancelled, st.Total-st.Ended())
	p("Allocations:\t%d under way, %d made, at most %d at once; %s node-hours by those that have ended", st.Allocations, st.AllocationsMade, s.Spec.Parallelism, report.Digits(st.NodeHours, 4))
	if st.QueueWait != nil {
		p("Queue:\tthe last job waited %s", st.QueueWait.Duration)
	}
	describeBounds(p, s)
	p("Strategy:\t%s, order %s, %d repeats", s.Spec.Strategy, s.Spec.Order, s.Spec.Repeats)
	for _, param := range s.Spec.Parameters {
		if r := param.Range; r != nil {
			p("Parameter:\t%s: %v to %v", param.Path, r.Min, r.Max)
			continue
		}
		p("Parameter:\t%s: %v", param.Path, param.Values)
	}
	describeFound(p, s)
	if st.Folder != "" {
		p("Folder:\t%s", st.Folder)
	}
	describeConditions(p, st.Conditions)
	if st.Total == 0 {
		return nil
	}
	_, result, err := sweepResult(ctx, c, s.Namespace, s.Name)
	if err != nil {
		return err
	}
	describeFailedPoints(p, st, result)
	describeResult(p, result)
	return nil
}

// describeBounds tells the limits, beside what of them is spent.
func describeBounds(p func(string, ...any), s *api.BenchmarkSweep) {
	l, st := &s.Spec.Limits, &s.Status
	if l.Trials > 0 {
		p("At most:\t%d runs; %d are made", l.Trials, st.Total)
	}
	if l.NodeHours > 0 {
		p("At most:\t%s node-hours; %s are spent, without jobs that are under way", report.Digits(l.NodeHours, 4), report.Digits(st.NodeHours, 4))
	}
	if l.WallTime == nil {
		return
	}
	spent := "not begun"
	if st.StartTime != nil {
		end := time.Now()
		if st.CompletionTime != nil {
			end = st.CompletionTime.Time
		}
		spent = end.Sub(st.StartTime.Time).Round(time.Second).String() + " have gone by"
	}
	p("At most:\t%s of wall time; %s", l.WallTime.Duration, spent)
}

// describeFailedPoints tells which points failed, and which are given up; the first of them.
func describeFailedPoints(p func(string, ...any), st *api.BenchmarkSweepStatus, r *report.SweepResult) {
	const shown = 10
	for n, point := range slices.Sorted(maps.Keys(st.FailedPoints)) {
		if n == shown {
			p("\tand %d more points", len(st.FailedPoints)-shown)
			return
		}
		at := ""
		if i := slices.IndexFunc(r.Points, func(o report.PointResult) bool { return o.Point == point }); i >= 0 {
			at = report.Where(r.Points[i].Values)
		}
		stopped := ""
		if slices.Contains(st.StoppedPoints, point) {
			stopped = "; it is not measured again (failurePolicy)"
		}
		p("Failed point:\t%s%s: %d of its runs%s", point, at, st.FailedPoints[point], stopped)
	}
}

// describeFound tells what a search has found.
func describeFound(p func(string, ...any), s *api.BenchmarkSweep) {
	l := s.Spec.Search
	if l == nil {
		return
	}
	p("Search:\t%s from %v to %v", l.Path, l.Min, l.Max)
	for _, f := range s.Status.Limits {
		found := "nothing passed yet"
		switch {
		case f.Passed != nil:
			found = fmt.Sprintf("%s = %v passed (run %s)", l.Path, *f.Passed, f.Run)
		case f.Done:
			found = "nothing passed"
		}
		if f.Failed != nil {
			found += fmt.Sprintf(", %v did not", *f.Failed)
		}
		found += "; " + cmp.Or(f.Why, "still looking")
		p("Limit:\t%s%s", found, report.Where(f.Values))
	}
}

// describeResult tells what the runs came to so far.
func describeResult(p func(string, ...any), r *report.SweepResult) {
	if open := phasesOf(r.Trials); open != "" {
		p("To go:\t%s", open)
	}
	for _, b := range r.Best {
		p("Best so far:\t%s %s%s", b.Metric, report.Digits(b.Value.Mean, 4), report.Where(r.Points[b.Point].Values))
	}
	if r.Measured > 0 && len(r.Best) == 0 {
		p("Best so far:\tno point is good: %s", r.Objective)
	}
	for _, piece := range r.Guidance {
		p("Guidance:\t%s", piece.Text)
	}
}

// phasesOf counts the runs that have not ended by where they are, in the order of the phases.
func phasesOf(trials []report.Trial) string {
	n := map[api.RunPhase]int{}
	for i := range trials {
		n[trials[i].Phase]++
	}
	var out []string
	for _, phase := range []api.RunPhase{
		"", api.RunPending, api.RunInitializing, api.RunDeploying, api.RunMonitoring, api.RunLaunching, api.RunExecuting, api.RunTearingDown, api.RunReporting,
	} {
		name := string(phase)
		if phase == "" {
			name = "not looked at"
		}
		if n[phase] > 0 {
			out = append(out, fmt.Sprintf("%d %s", n[phase], name))
		}
	}
	return strings.Join(out, ", ")
}
