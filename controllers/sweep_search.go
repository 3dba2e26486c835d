package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/report"
	"github.com/benchd/benchd/store"
)

// search makes the next run at each point where a limit is looked for, from what the runs before it found.
func (r *sweepReconciler) search(ctx context.Context, sweep *api.BenchmarkSweep) (result, error) {
	if len(sweep.Status.Limits) > 0 && searchDone(sweep) {
		return result{}, nil
	}
	runs, err := r.byPoint(ctx, sweep)
	if err != nil {
		return result{}, err
	}
	limits := slices.Clone(sweep.Status.Limits)
	var made []*api.BenchmarkRun
	for i, values := range plan.Points(&sweep.Spec) {
		if i == len(limits) {
			limits = append(limits, api.FoundLimit{Values: values})
		}
		if limits[i].Done {
			continue
		}
		run, found, err := r.probe(sweep, i, values, runs[plan.Digest(values)])
		if err != nil {
			return result{}, err
		}
		if most := sweep.Spec.Limits.Trials; run != nil && most > 0 && int(sweep.Status.Total)+len(made) >= int(most) {
			run, found.Done, found.Why = nil, true, fmt.Sprintf("limits.trials (%d) were made", most)
		}
		if failed := sweep.Status.FailedPoints[plan.Digest(values)]; run != nil && sweep.Spec.FailurePolicy.Action == api.FailureStopPoint && failed >= sweep.Spec.FailurePolicy.After {
			run, found.Done, found.Why = nil, true, fmt.Sprintf("%d runs have failed (failurePolicy): see why, then raise failurePolicy.after to go on", failed)
		}
		limits[i] = found
		if run != nil {
			made = append(made, run)
		}
	}
	if len(made) == 0 && sameJSON(limits, sweep.Status.Limits) {
		return result{}, nil
	}
	return r.keepProbes(ctx, sweep, made, limits)
}

// keepProbes writes what a search has found, and the runs that it tries next; one whose name is taken is told, and tried again.
func (r *sweepReconciler) keepProbes(ctx context.Context, sweep *api.BenchmarkSweep, made []*api.BenchmarkRun, limits []api.FoundLimit) (result, error) {
	var res result
	err := updateSweep(ctx, r.store, sweep, func(tx *store.Tx, s *api.BenchmarkSweep) error {
		if s.ResourceVersion != sweep.ResourceVersion {
			return apierrors.NewConflict(api.Resource(api.KindBenchmarkSweep), s.Name, fmt.Errorf("it was changed meanwhile"))
		}
		told := s.Status.Message
		taken, err := makeProbes(tx, s, made)
		if err != nil {
			return err
		}
		for i, l := range limits {
			if l.Done && (i >= len(s.Status.Limits) || !s.Status.Limits[i].Done) {
				unreport(&s.Status) // they may have been written between the last run's end and this
				if err := tx.Event(s, api.EventNormal, "LimitFound", limitText(sweep.Spec.Search, &l)); err != nil {
					return err
				}
			}
		}
		s.Status.Limits = limits
		if err := settle(tx, s); err != nil || taken == "" {
			return err
		}
		s.Status.Message, res.after = told, nameRetry
		return nameTaken(taken)(tx, s)
	})
	return res, err
}

// makeProbes creates and counts runs, but for one whose name is taken.
func makeProbes(tx *store.Tx, s *api.BenchmarkSweep, made []*api.BenchmarkRun) (taken string, err error) {
	for _, run := range made {
		old, err := find(tx, s, run)
		if err != nil {
			return "", err
		}
		if old != nil {
			taken = run.Name
			continue
		}
		if err := tx.Create(run); err != nil {
			return "", err
		}
		s.Status.Total++
		count(&s.Status, run.Status.Phase) // one that cannot be right has ended
		countPoint(s, run)
	}
	return taken, nil
}

func limitText(s *api.SearchSpec, l *api.FoundLimit) string {
	text := "none"
	if l.Passed != nil {
		text = strconv.FormatFloat(*l.Passed, 'g', -1, 64)
	}
	return fmt.Sprintf("highest %s that meets the objective%s: %s (%s)", s.Path, report.Where(l.Values), text, l.Why)
}

// probe says what is known at a point, and makes the run that is tried next.
func (r *sweepReconciler) probe(sweep *api.BenchmarkSweep, index int, values api.Values, runs []*api.BenchmarkRun) (*api.BenchmarkRun, api.FoundLimit, error) {
	var probes []plan.Probe
	taken := map[string]bool{}
	for _, run := range runs {
		taken[run.Name] = true
		if p, is := probeOf(sweep.Spec.Search, run); is {
			probes = append(probes, p)
		}
	}
	next, found := plan.Search(sweep.Spec.Search, probes)
	found.Values = values
	if next == nil {
		return nil, found, nil
	}
	all := api.Values{sweep.Spec.Search.Path: *next}
	for path, value := range values {
		all[path] = value
	}
	run, err := r.run(sweep, plan.Trial{Values: all, Point: plan.Digest(values), Repeat: len(runs) + 1, Position: index*int(sweep.Spec.Search.MaxTrials) + len(runs)})
	if err != nil {
		return nil, found, err
	}
	name := run.Name
	for n := 2; taken[run.Name]; n++ { // not by how often it was tried: runs may be deleted
		run.Name = plan.DistinctName(name, fmt.Sprintf("r%d", n))
	}
	return run, found, nil
}

// probeOf is a run as the search sees it; false for one that tried no value of its field, as before the sweep was changed.
func probeOf(s *api.SearchSpec, run *api.BenchmarkRun) (plan.Probe, bool) {
	p := plan.Probe{Run: run.Name, Ended: run.Status.Phase.Terminal()}
	var values api.Values
	if err := json.Unmarshal([]byte(run.Annotations[api.AnnotationParameters]), &values); err != nil {
		return p, false
	}
	var is bool
	if p.Value, is = values[s.Path].(float64); !is {
		return p, false
	}
	sum := run.Status.Summary
	p.Cancelled = run.Status.Phase == api.RunCancelled
	p.Broken = p.Ended && sum == nil
	if o := run.Status.Outcome; o != nil && run.Status.Phase == api.RunFailed {
		p.Lost = o.Class == api.FailureInfrastructure || o.Result == api.ResultSucceeded // that: its report could not be written
	}
	p.Passed = run.Status.Phase == api.RunCompleted && sum != nil && !sum.Saturated && sum.GoodputShare != nil && *sum.GoodputShare >= s.Goodput && sum.Verdict != report.Invalid
	return p, true
}
