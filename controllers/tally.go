package controllers

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// updateSweep changes a sweep's status in a transaction of its own, from what is stored and not from what was read before: runs
// and Allocations change it too, each in the transaction of its own end. A sweep that is gone is let be.
func updateSweep(ctx context.Context, st *store.Store, sweep *api.BenchmarkSweep, change func(*store.Tx, *api.BenchmarkSweep) error) error {
	return st.Update(ctx, func(tx *store.Tx) error {
		return changeSweep(tx, sweep.Namespace, sweep.Name, sweep.UID, change)
	})
}

func changeSweep[UID ~string](tx *store.Tx, namespace, name string, uid UID, change func(*store.Tx, *api.BenchmarkSweep) error) error {
	obj, err := tx.Get(api.KindBenchmarkSweep, namespace, name)
	stored, ok := obj.(*api.BenchmarkSweep)
	if err != nil || !ok || string(stored.UID) != string(uid) {
		return ignoreGone(err)
	}
	if err := change(tx, stored); err != nil {
		return err
	}
	return tx.PutStatus(stored)
}

// ended counts a run that has ended in its sweep, in the transaction that ends the run: whatever happens, each is counted once.
func ended(tx *store.Tx, run *api.BenchmarkRun) error {
	ref := metav1.GetControllerOfNoCopy(run)
	if ref == nil || ref.Kind != api.KindBenchmarkSweep {
		return nil
	}
	if goes(run) {
		if _, err := tx.Delete(api.KindBenchmarkRun, run.Namespace, run.Name, string(run.UID)); err != nil {
			return err
		}
		return changeSweep(tx, run.Namespace, ref.Name, ref.UID, func(tx *store.Tx, s *api.BenchmarkSweep) error {
			s.Status.Total--
			unreport(&s.Status)
			return settle(tx, s)
		})
	}
	return changeSweep(tx, run.Namespace, ref.Name, ref.UID, func(tx *store.Tx, s *api.BenchmarkSweep) error {
		count(&s.Status, run.Status.Phase)
		countPoint(s, run)
		return settle(tx, s)
	})
}

// unreport has the results written once more: they tell of runs that there are no more. Where retention let runs go, they have more
// than could be computed again.
func unreport(st *api.BenchmarkSweepStatus) {
	if st.Released == nil {
		st.Reported = 0
	}
}

// goes says that the run is on its way out, for its sweep had it no more before its turn came.
func goes(run *api.BenchmarkRun) bool {
	n := len(run.Status.Attempts)
	return n > 0 && run.Status.Attempts[n-1].Outcome != nil && run.Status.Attempts[n-1].Outcome.Reason == reasonLeftOut
}

// countPoint counts a failed run of a point, where enough of them end the point.
func countPoint(s *api.BenchmarkSweep, run *api.BenchmarkRun) {
	point := run.Labels[api.LabelPoint]
	if run.Status.Phase != api.RunFailed || s.Spec.FailurePolicy.Action != api.FailureStopPoint || point == "" {
		return
	}
	if s.Status.FailedPoints == nil {
		s.Status.FailedPoints = map[string]int32{}
	}
	s.Status.FailedPoints[point]++
}

func count(st *api.BenchmarkSweepStatus, phase api.RunPhase) {
	switch phase {
	case api.RunCompleted:
		st.Succeeded++
	case api.RunFailed:
		st.Failed++
	case api.RunCancelled:
		st.Cancelled++
	}
}

// settle derives phase and message from the counts, and tells when the sweep is complete.
func settle(tx *store.Tx, s *api.BenchmarkSweep) error {
	before := s.Status.Phase
	settlePhase(s)
	if s.Status.Phase == api.SweepCompleted && before != api.SweepCompleted {
		return tx.Event(s, api.EventNormal, "Completed", s.Status.Message)
	}
	return nil
}

func settlePhase(s *api.BenchmarkSweep) {
	st := &s.Status
	expanded := st.ObservedGeneration == s.Generation
	complete := expanded && st.Ended() >= st.Total && searchDone(s)
	stopped := meta.FindStatusCondition(st.Conditions, api.ConditionStopped)
	st.Message = fmt.Sprintf("%d of %d runs have ended", st.Ended(), st.Total)
	if st.Failed > 0 {
		st.Message += fmt.Sprintf(", %d failed", st.Failed)
	}
	if !complete {
		st.CompletionTime = nil
	}
	switch {
	case !expanded:
		st.Phase = api.SweepExpanding
	case complete:
		st.Phase = api.SweepCompleted
		if st.CompletionTime == nil {
			now := metav1.NewTime(time.Now())
			st.CompletionTime = &now
		}
	case stopped != nil && stopped.Status == metav1.ConditionTrue:
		st.Phase = api.SweepStopped
		st.Message += ": " + stopped.Message
	case s.Spec.Suspend:
		st.Phase = api.SweepSuspended
	default:
		st.Phase = api.SweepActive
	}
}

// waited keeps how long an Allocation's job was queued: the next one is asked for as much ahead. One that waited for another says
// nothing of the queue.
func waited(tx *store.Tx, a *api.Allocation, d time.Duration) error {
	ref := metav1.GetControllerOfNoCopy(a)
	if ref == nil || ref.Kind != api.KindBenchmarkSweep || a.Spec.After != nil {
		return nil
	}
	return changeSweep(tx, a.Namespace, ref.Name, ref.UID, func(_ *store.Tx, s *api.BenchmarkSweep) error {
		s.Status.QueueWait = &metav1.Duration{Duration: d.Round(time.Second)}
		return nil
	})
}

// searchDone says whether nothing more is to be tried; of a sweep that searches nothing, always.
func searchDone(s *api.BenchmarkSweep) bool {
	if s.Spec.Strategy != api.StrategySearch {
		return true
	}
	for _, l := range s.Status.Limits {
		if !l.Done {
			return false
		}
	}
	return len(s.Status.Limits) > 0
}

// spent adds to its sweep what an Allocation that has ended took, in the transaction that ends it.
func spent(tx *store.Tx, a *api.Allocation) error {
	ref := metav1.GetControllerOfNoCopy(a)
	job := a.Status.Job
	if ref == nil || ref.Kind != api.KindBenchmarkSweep || job == nil || job.StartTime == nil {
		return nil
	}
	end := time.Now()
	if limit, err := api.ParseSlurmTime(a.Spec.Slurm.TimeLimit); err == nil && end.Sub(job.StartTime.Time) > limit {
		end = job.StartTime.Add(limit) // of a job that was lost nobody knows more
	}
	if job.EndTime != nil {
		end = job.EndTime.Time
	}
	hours := float64(len(dealRoles(&a.Spec.Nodes, &a.Spec.Service))) * max(0, end.Sub(job.StartTime.Time).Hours())
	return changeSweep(tx, a.Namespace, ref.Name, ref.UID, func(_ *store.Tx, s *api.BenchmarkSweep) error {
		s.Status.NodeHours += hours
		return nil
	})
}
