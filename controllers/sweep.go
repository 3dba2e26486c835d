package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/store"
)

// sweepReconciler makes the runs of sweeps, all at once; the planner gives them their Allocations. It looks at a sweep's children
// when its spec has changed, and never else.
type sweepReconciler struct {
	store *store.Store
	// admit checks a run as if a user had applied it.
	admit func(api.Object) field.ErrorList
	log   *slog.Logger
}

// expandBatch is how many runs are written in one transaction: one sync for all of them, and others can write in between.
const expandBatch = 250

func (r *sweepReconciler) reconcile(ctx context.Context, key types.NamespacedName) (result, error) {
	sweep, err := store.Get[*api.BenchmarkSweep](ctx, r.store, key.Namespace, key.Name)
	if err != nil || sweep.DeletionTimestamp != nil {
		return result{}, ignoreGone(err)
	}
	if sweep.Status.ObservedGeneration != sweep.Generation {
		return r.expand(ctx, sweep)
	}
	if sweep.Status.Phase == api.SweepCompleted {
		return result{}, nil
	}
	if sweep.Spec.FailurePolicy.Action == api.FailureStopPoint {
		if err := r.stopPoints(ctx, sweep); err != nil {
			return result{}, err
		}
	}
	if sweep.Spec.Strategy == api.StrategySearch && !sweep.Spec.Suspend {
		return r.search(ctx, sweep)
	}
	return result{}, nil
}

// expand makes the runs that the sweep is to have and has not, brings those that have not begun up to date, and takes those away
// that it is to have no more. It goes through them a batch at a time; a kill in between is gone on from.
func (r *sweepReconciler) expand(ctx context.Context, sweep *api.BenchmarkSweep) (result, error) {
	if err := r.begin(ctx, sweep); err != nil {
		return result{}, err
	}
	have, err := r.children(ctx, sweep)
	if err != nil {
		return result{}, err
	}
	trials := unreleased(sweep, have, plan.Trials(&sweep.Spec))
	if sweep.Spec.Strategy != api.StrategySearch {
		// First, for a run may have the name of one that is to come.
		if err := r.drop(ctx, unwanted(have, trials)); err != nil {
			return result{}, err
		}
	}
	var taken []string
	going := false
	for len(trials) > 0 {
		n := min(expandBatch, len(trials))
		var made []*api.BenchmarkRun
		for _, t := range trials[:n] {
			run, err := r.run(sweep, t)
			if err != nil {
				return result{}, updateSweep(ctx, r.store, sweep, func(_ *store.Tx, s *api.BenchmarkSweep) error {
					s.Status.Message = err.Error()
					return nil
				})
			}
			if old := have[t.ID()]; old != nil {
				run.Name = old.Name
				if stays(old, run) {
					continue
				}
			}
			made = append(made, run)
		}
		trials = trials[n:]
		missed, old, err := r.keep(ctx, sweep, made)
		if err != nil {
			return result{}, err
		}
		taken, going = append(taken, missed...), going || old
	}
	if going {
		return result{after: time.Second}, nil
	}
	if len(taken) > 0 {
		return result{after: nameRetry}, updateSweep(ctx, r.store, sweep, nameTaken(taken[0]))
	}
	return result{}, r.recount(ctx, sweep)
}

// unwanted are the runs that are of none of the trials.
func unwanted(have map[string]*api.BenchmarkRun, trials []plan.Trial) []*api.BenchmarkRun {
	wanted := make(map[string]bool, len(trials))
	for i := range trials {
		wanted[trials[i].ID()] = true
	}
	var runs []*api.BenchmarkRun
	for id, run := range have {
		if !wanted[id] {
			runs = append(runs, run)
		}
	}
	return runs
}

// unreleased leaves out the trials whose runs were let go: they have been measured, and what is finished stays so.
func unreleased(sweep *api.BenchmarkSweep, have map[string]*api.BenchmarkRun, trials []plan.Trial) []plan.Trial {
	if sweep.Status.Released == nil {
		return trials
	}
	made := map[string]bool{}
	for i := range sweep.Status.Released.Specs {
		for _, t := range plan.Trials(&sweep.Status.Released.Specs[i]) {
			made[t.ID()] = true
		}
	}
	return slices.DeleteFunc(trials, func(t plan.Trial) bool { return made[t.ID()] && have[t.ID()] == nil })
}

// nameRetry is how long a sweep waits before it tries names again that were taken.
const nameRetry = 10 * time.Second

// begin shows that the sweep was seen.
func (r *sweepReconciler) begin(ctx context.Context, sweep *api.BenchmarkSweep) error {
	return updateSweep(ctx, r.store, sweep, func(_ *store.Tx, s *api.BenchmarkSweep) error {
		if s.Status.StartTime == nil {
			now := metav1.Now()
			s.Status.StartTime = &now
		}
		settlePhase(s)
		if told := sweep.Status.Message; strings.HasPrefix(told, takenBegin) {
			s.Status.Message = told // nothing has changed until the name is free
		} else {
			s.Status.Message = "its runs are being made"
		}
		return nil
	})
}

// children are the sweep's runs, by what they are a trial of.
func (r *sweepReconciler) children(ctx context.Context, sweep *api.BenchmarkSweep) (map[string]*api.BenchmarkRun, error) {
	owned, err := r.store.Owned(ctx, string(sweep.UID))
	if err != nil {
		return nil, err
	}
	have := make(map[string]*api.BenchmarkRun, len(owned))
	for _, obj := range owned {
		if run, ok := obj.(*api.BenchmarkRun); ok {
			have[run.Labels[api.LabelTrial]] = run
		}
	}
	return have, nil
}

// run makes a trial's run, as far as its first attempt: thousands of them need not be looked at one by one before they can be
// planned. One that cannot be right is made all the same, as one that has failed, so that it is seen and counted.
func (r *sweepReconciler) run(sweep *api.BenchmarkSweep, t plan.Trial) (*api.BenchmarkRun, error) {
	run, err := plan.Run(sweep, t)
	if err != nil {
		return nil, err
	}
	api.SetDefaults(run)
	now := metav1.Now()
	run.Status = api.BenchmarkRunStatus{
		Phase: api.RunPending, PhaseSince: &now, Message: "waits for its turn in sweep " + sweep.Name, Attempts: []api.Attempt{{Number: 1}},
		ObservedGeneration: 1,
	}
	if errs := append(api.Validate(run), r.admit(run)...); len(errs) > 0 {
		run.Finalizers = nil
		message := errs.ToAggregate().Error()
		run.Status.Phase, run.Status.CompletionTime, run.Status.Message = api.RunFailed, &now, message
		run.Status.Outcome = &api.Outcome{Result: api.ResultFailed, Class: api.FailureUser, Reason: "Invalid", Message: message}
	}
	return run, nil
}

// untouched says that nothing has been measured for the run, and that no Allocation has it: it can be changed, or taken away, without
// a trace.
func untouched(run *api.BenchmarkRun) bool {
	ref := run.Status.AllocationRef
	bound := ref != nil && ref.Attempt == int32(len(run.Status.Attempts))
	return run.Status.Phase == api.RunPending && !bound && run.DeletionTimestamp == nil && !run.Spec.Cancel && !begun(run)
}

// begun says whether anything was measured for the run, or has failed: an attempt that never came to its turn tells of nothing.
func begun(run *api.BenchmarkRun) bool {
	return run.Status.Phase.Terminal() || slices.ContainsFunc(run.Status.Attempts, func(a api.Attempt) bool {
		return a.Outcome != nil && a.Outcome.Reason != node.ReasonNotStarted || slices.ContainsFunc(a.Phases, func(t api.PhaseTime) bool { return t.Phase == api.RunMonitoring })
	})
}

// stays says that a run is to stay just as it is, when its trial would now be made as updated.
func stays(old, updated *api.BenchmarkRun) bool {
	switch {
	case goes(old) || leavesOut(old):
		return false
	case begun(old) || sameTrial(old, updated):
		return true
	}
	return !untouched(old) && sameJSON(old.Spec, updated.Spec)
}

func sameTrial(old, updated *api.BenchmarkRun) bool {
	return old.Annotations[api.AnnotationPosition] == updated.Annotations[api.AnnotationPosition] &&
		labels.Equals(old.Labels, updated.Labels) && sameJSON(old.Spec, updated.Spec)
}

func sameJSON(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// keep writes runs: new ones, and those that have not begun anew. It returns the names that something else has, and whether
// runs that are to be made anew have to be gone first.
func (r *sweepReconciler) keep(ctx context.Context, sweep *api.BenchmarkSweep, runs []*api.BenchmarkRun) (taken []string, going bool, err error) {
	if len(runs) == 0 {
		return nil, false, nil
	}
	err = r.store.Update(ctx, func(tx *store.Tx) error {
		taken, going = nil, false
		for _, run := range runs {
			old, err := find(tx, sweep, run)
			if err != nil {
				return err
			}
			switch {
			case old == nil:
				err = tx.Create(run)
			case !metav1.IsControlledBy(old, sweep) || old.Labels[api.LabelTrial] != run.Labels[api.LabelTrial]:
				taken = append(taken, run.Name)
			case goes(old):
				going = true
			case untouched(old):
				old.Spec, old.Labels, old.Annotations = run.Spec, run.Labels, run.Annotations
				err = tx.Put(old)
			case begun(old) || old.DeletionTimestamp != nil || old.Spec.Cancel: // meanwhile: it stays as it is
			case !sameJSON(old.Spec, run.Spec): // it waits for its turn as it was: it goes, and is made anew
				going = true
				err = leaveOut(tx, old)
			case leavesOut(old): // it is wanted again, and waits for its turn still
				delete(old.Annotations, api.AnnotationLeftOut)
				err = tx.Put(old)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return taken, going, err
}

// find looks for the run that has a new one's name. Where that is another trial of the same sweep, such as one of a parameter that was
// varied before and ends in the same field, the new one gets a name that tells them apart.
func find(tx *store.Tx, sweep *api.BenchmarkSweep, run *api.BenchmarkRun) (*api.BenchmarkRun, error) {
	for {
		obj, err := tx.Get(api.KindBenchmarkRun, run.Namespace, run.Name)
		old, ok := obj.(*api.BenchmarkRun)
		if err != nil || !ok {
			return nil, ignoreGone(err)
		}
		distinct := plan.DistinctName(run.Name, run.Labels[api.LabelTrial])
		if !metav1.IsControlledBy(old, sweep) || old.Labels[api.LabelTrial] == run.Labels[api.LabelTrial] || run.Name == distinct {
			return old, nil
		}
		run.Name = distinct
	}
}

// takenBegin begins what is told of a name that is taken.
const takenBegin = "a run with the name "

func nameTaken(name string) func(*store.Tx, *api.BenchmarkSweep) error {
	return func(tx *store.Tx, s *api.BenchmarkSweep) error {
		message := fmt.Sprintf(takenBegin+"%s is there already that is not of this sweep: delete it", name)
		if s.Status.Message == message {
			return nil
		}
		s.Status.Message = message
		return tx.Event(s, api.EventWarning, "NameTaken", message)
	}
}

// drop takes runs away that have not begun. Those that wait for their turn in an Allocation see to it themselves: the lead may have come
// to them meanwhile. What has begun stays, whatever the sweep now says.
func (r *sweepReconciler) drop(ctx context.Context, runs []*api.BenchmarkRun) error {
	if len(runs) == 0 {
		return nil
	}
	return r.store.Update(ctx, func(tx *store.Tx) error {
		for _, run := range runs {
			obj, err := tx.Get(api.KindBenchmarkRun, run.Namespace, run.Name)
			stored, ok := obj.(*api.BenchmarkRun)
			if err != nil || !ok || begun(stored) || stored.DeletionTimestamp != nil {
				if err = ignoreGone(err); err != nil {
					return err
				}
				continue
			}
			if !untouched(stored) {
				if err := leaveOut(tx, stored); err != nil {
					return err
				}
				continue
			}
			stored.Finalizers = nil // nothing of it is on the cluster
			if err := tx.Put(stored); err != nil {
				return err
			}
			if _, err := tx.Delete(api.KindBenchmarkRun, run.Namespace, run.Name, string(run.UID)); err != nil {
				return err
			}
		}
		return nil
	})
}

// leaveOut asks a run that waits for its turn to go.
func leaveOut(tx *store.Tx, run *api.BenchmarkRun) error {
	metav1.SetMetaDataAnnotation(&run.ObjectMeta, api.AnnotationLeftOut, "true")
	return tx.Put(run)
}

// leavesOut says that its sweep has the run no more: it goes if it has not begun.
func leavesOut(run *api.BenchmarkRun) bool {
	_, is := run.Annotations[api.AnnotationLeftOut]
	return is && !run.Status.Phase.Terminal() && run.DeletionTimestamp == nil
}

// recount counts the runs that there now are, in the transaction that says that all of them are made.
func (r *sweepReconciler) recount(ctx context.Context, sweep *api.BenchmarkSweep) error {
	return r.store.Update(ctx, func(tx *store.Tx) error {
		owned, err := tx.Owned(string(sweep.UID))
		if err != nil {
			return err
		}
		return changeSweep(tx, sweep.Namespace, sweep.Name, sweep.UID, func(tx *store.Tx, s *api.BenchmarkSweep) error {
			if s.Generation != sweep.Generation {
				return nil // changed again: its change wakes this sweep
			}
			st := &s.Status
			before := st.Total
			st.Total, st.Succeeded, st.Failed, st.Cancelled = 0, 0, 0, 0
			st.FailedPoints, st.StoppedPoints = nil, nil // looked at anew: there may be further repeats, or another policy
			if gone := st.Released; gone != nil {
				st.Succeeded, st.Failed, st.Cancelled = gone.Succeeded, gone.Failed, gone.Cancelled
				st.Total = st.Ended()
				if s.Spec.FailurePolicy.Action == api.FailureStopPoint {
					st.FailedPoints = maps.Clone(gone.FailedPoints)
				}
			}
			for _, obj := range owned {
				if run, ok := obj.(*api.BenchmarkRun); ok && !released(run) && !(goes(run) && run.Status.Phase.Terminal()) {
					st.Total++
					count(st, run.Status.Phase)
					countPoint(s, run)
				}
			}
			if st.Total != before {
				unreport(st)
			}
			if s.Spec.Strategy == api.StrategySearch {
				st.Limits = nil // asked anew of what was measured
			}
			st.ObservedGeneration = s.Generation
			message := fmt.Sprintf("%d runs", st.Total)
			if s.Spec.Strategy == api.StrategySearch {
				message += " so far: the search makes one after the other"
			}
			if err := tx.Event(s, api.EventNormal, "Expanded", message); err != nil {
				return err
			}
			return settle(tx, s)
		})
	})
}

// released says that retention is letting the run go, so that it is counted by what its sweep remembers.
func released(run *api.BenchmarkRun) bool {
	return run.DeletionTimestamp != nil && run.Annotations[api.AnnotationPurge] == purgeByRetention
}

// stopPoints ends the waiting repeats of points of which enough have failed.
func (r *sweepReconciler) stopPoints(ctx context.Context, sweep *api.BenchmarkSweep) error {
	var runs map[string][]*api.BenchmarkRun
	for point, failed := range sweep.Status.FailedPoints {
		if failed < sweep.Spec.FailurePolicy.After || slices.Contains(sweep.Status.StoppedPoints, point) {
			continue
		}
		if runs == nil {
			var err error
			if runs, err = r.byPoint(ctx, sweep); err != nil {
				return err
			}
		}
		err := r.store.Update(ctx, func(tx *store.Tx) error {
			for _, run := range runs[point] {
				obj, err := tx.Get(api.KindBenchmarkRun, run.Namespace, run.Name)
				stored, ok := obj.(*api.BenchmarkRun)
				if err != nil || !ok || stored.Status.Phase.Terminal() || len(stored.Status.Attempts) > 0 && reached(stored, api.RunMonitoring) {
					if err = ignoreGone(err); err != nil {
						return err
					}
					continue
				}
				stored.Spec.Cancel = true
				metav1.SetMetaDataAnnotation(&stored.ObjectMeta, api.AnnotationCancelReason, fmt.Sprintf("PointStopped: %d runs of the point have failed (failurePolicy)", failed))
				if err := tx.Put(stored); err != nil {
					return err
				}
			}
			return changeSweep(tx, sweep.Namespace, sweep.Name, sweep.UID, func(_ *store.Tx, s *api.BenchmarkSweep) error {
				s.Status.StoppedPoints = append(s.Status.StoppedPoints, point)
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// byPoint are the sweep's runs, by their points: all at once, for to look for those of one costs as much.
func (r *sweepReconciler) byPoint(ctx context.Context, sweep *api.BenchmarkSweep) (map[string][]*api.BenchmarkRun, error) {
	owned, err := r.store.Owned(ctx, string(sweep.UID))
	if err != nil {
		return nil, err
	}
	runs := map[string][]*api.BenchmarkRun{}
	for _, obj := range owned {
		if run, ok := obj.(*api.BenchmarkRun); ok {
			runs[run.Labels[api.LabelPoint]] = append(runs[run.Labels[api.LabelPoint]], run)
		}
	}
	return runs, nil
}
