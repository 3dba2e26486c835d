package controllers

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/store"
)

// runReconciler carries runs through their phases.
type runReconciler struct {
	store    *store.Store
	clusters *clusters
	leads    *leads
	version  string
	log      *slog.Logger
	started  time.Time
}

// runPass is one look at one run.
type runPass struct {
	*runReconciler
	ctx    context.Context
	run    *api.BenchmarkRun
	events []event
	// before is the phase that the look began with.
	before api.RunPhase
	// order is what the lead last said of the attempt's order, once it was asked.
	order *node.OrderStatus
}

// phaseStep advances a run that is in one phase by at most one step.
type phaseStep func(*runPass) (result, error)

// phases is the life of a run; each step has a file of its own.
var phases = map[api.RunPhase]phaseStep{
	"":                  (*runPass).accept,
	api.RunPending:      (*runPass).pending,
	api.RunInitializing: (*runPass).initialize,
	api.RunDeploying:    (*runPass).deploy,
	api.RunMonitoring:   (*runPass).monitor,
	api.RunLaunching:    (*runPass).launch,
	api.RunExecuting:    (*runPass).execute,
	api.RunTearingDown:  (*runPass).tearDown,
	api.RunReporting:    (*runPass).report,
}

func (r *runReconciler) reconcile(ctx context.Context, key types.NamespacedName) (result, error) {
	run, err := store.Get[*api.BenchmarkRun](ctx, r.store, key.Namespace, key.Name)
	if err != nil {
		return result{}, ignoreGone(err)
	}
	pass := &runPass{runReconciler: r, ctx: ctx, run: run, before: run.Status.Phase}
	if run.Status.Phase.Terminal() {
		return pass.finalize()
	}
	step, known := phases[run.Status.Phase]
	if !known {
		return result{}, fmt.Errorf("run %s has the unknown phase %q", key, run.Status.Phase)
	}
	if pass.cancelWanted() && pass.attempt() != nil && pass.attempt().Outcome == nil {
		step = (*runPass).cancel
	} else if leave, err := pass.leaves(); err != nil {
		return result{}, err
	} else if leave {
		step = (*runPass).leave
	}
	res, err := step(pass)
	if werr := pass.write(); werr != nil {
		return result{}, werr
	}
	return res, err
}

// write stores the status, when it changed, with its events, in one transaction.
func (s *runPass) write() error {
	s.run.Status.ObservedGeneration = s.run.Generation
	return s.store.Update(s.ctx, func(tx *store.Tx) error {
		if err := tx.PutStatus(s.run); err != nil {
			return err
		}
		for _, e := range s.events {
			if err := tx.Event(s.run, e.kind, e.reason, e.message); err != nil {
				return err
			}
		}
		if !s.before.Terminal() && s.run.Status.Phase.Terminal() {
			return ended(tx, s.run)
		}
		return nil
	})
}

// finalize lets a deleted run go once nothing of it is left on the cluster.
func (s *runPass) finalize() (result, error) {
	if s.run.DeletionTimestamp == nil || !slices.Contains(s.run.Finalizers, api.FinalizerCluster) {
		return result{}, nil
	}
	owned, err := s.store.Owned(s.ctx, string(s.run.UID))
	if err != nil {
		return result{}, err
	}
	for _, obj := range owned {
		if a, ok := obj.(*api.Allocation); ok && !a.Status.Phase.Terminal() {
			return result{}, nil // the planner lets it go, and its end wakes this run
		}
	}
	if s.run.Annotations[api.AnnotationPurge] != "" {
		if err := s.purge(owned); err != nil {
			return result{}, err
		}
	}
	s.run.Finalizers = slices.DeleteFunc(s.run.Finalizers, func(f string) bool { return f == api.FinalizerCluster })
	return result{}, s.store.Put(s.ctx, s.run)
}

// purge removes the run's result folders and its jobs' folders, as its user asked.
func (s *runPass) purge(owned []api.Object) error {
	for _, obj := range owned {
		if a, ok := obj.(*api.Allocation); ok && a.Status.Folder != "" {
			if err := os.RemoveAll(a.Status.Folder); err != nil {
				return fmt.Errorf("purge run %s: %w", s.run.Name, err)
			}
		}
	}
	for _, a := range s.run.Status.Attempts {
		if a.Folder == "" {
			continue
		}
		if err := os.RemoveAll(filepath.Dir(a.Folder)); err != nil {
			return fmt.Errorf("purge run %s: %w", s.run.Name, err)
		}
	}
	return nil
}

func (s *runPass) cancelWanted() bool { return s.run.Spec.Cancel || s.run.DeletionTimestamp != nil }

// attempt is the current one, nil before the first.
func (s *runPass) attempt() *api.Attempt {
	if n := len(s.run.Status.Attempts); n > 0 {
		return &s.run.Status.Attempts[n-1]
	}
	return nil
}

// enter changes the phase and tells it.
func (s *runPass) enter(phase api.RunPhase, message string) {
	now := metav1.Now()
	st := &s.run.Status
	st.Phase, st.PhaseSince, st.Message = phase, &now, message
	if a := s.attempt(); a != nil && !phase.Terminal() {
		a.Phases = append(a.Phases, api.PhaseTime{Phase: phase, Since: s.entered(a, phase)})
	}
	kind := api.EventNormal
	if a := s.attempt(); phase == api.RunFailed || phase == api.RunTearingDown && a != nil && a.Outcome.Result == api.ResultFailed {
		kind = api.EventWarning
	}
	s.events = append(s.events, event{kind, string(phase), message})
}

// entered is when the lead came to the phase, as far as it told so and its clock fits ours; else now. After a time
// without a control plane, the phases' times are then those of the work and not those of its being noticed.
func (s *runPass) entered(a *api.Attempt, phase api.RunPhase) metav1.MicroTime {
	now := metav1.NowMicro()
	if s.order == nil {
		return now
	}
	for _, t := range s.order.Phases {
		if t.Phase == phase && t.Since.Before(&now) && (len(a.Phases) == 0 || a.Phases[len(a.Phases)-1].Since.Before(&t.Since)) {
			return t.Since
		}
	}
	return now
}

// tell shows a problem that is waited out; a repetition changes nothing.
func (s *runPass) tell(reason, message string) {
	if s.run.Status.Message != message {
		s.run.Status.Message = message
		s.events = append(s.events, event{api.EventWarning, reason, message})
	}
}

func (s *runPass) condition(kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&s.run.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: s.run.Generation,
	})
}

// conclude writes the attempt's outcome, once, and with it the run's own when no further attempt follows.
func (s *runPass) conclude(outcome api.Outcome) {
	a := s.attempt()
	if a.Outcome == nil {
		a.Outcome = &outcome
	}
	if !s.retries() && s.run.Status.Outcome == nil {
		final := *a.Outcome
		s.run.Status.Outcome = &final
	}
	message := "the load was made to its end"
	if outcome.Result != api.ResultSucceeded {
		message = fmt.Sprintf("%s: %s", outcome.Reason, outcome.Message)
	}
	s.enter(api.RunTearingDown, message)
	if outcome.Result == api.ResultSucceeded {
		s.condition(api.ConditionExecuted, metav1.ConditionTrue, "LoadDone", message)
	} else {
		s.condition(api.ConditionExecuted, metav1.ConditionFalse, outcome.Reason, outcome.Message)
	}
}

// retries says whether another attempt follows the current one.
func (s *runPass) retries() bool {
	o := s.attempt().Outcome
	return o.Result == api.ResultFailed && o.Class != api.FailureUser && s.failures() <= *s.run.Spec.BackoffLimit && !s.cancelWanted()
}

// failures counts the attempts that backoffLimit bounds: not those that never came to their turn, nor those whose nodes were needed
// for others.
func (s *runPass) failures() int32 {
	n := int32(0)
	for _, a := range s.run.Status.Attempts {
		if a.Outcome != nil && a.Outcome.Result == api.ResultFailed && a.Outcome.Reason != node.ReasonNotStarted && a.Outcome.Reason != reasonPreempted {
			n++
		}
	}
	return n
}

// cancel ends the current attempt because its user wants that. What runs of it is ended in TearingDown.
func (s *runPass) cancel() (result, error) {
	message := "cancelled by its user"
	if s.run.DeletionTimestamp != nil {
		message = "deleted by its user"
	}
	reason := "Cancelled"
	if why, text, ok := strings.Cut(s.run.Annotations[api.AnnotationCancelReason], ": "); ok {
		reason, message = why, text
	}
	s.conclude(api.Outcome{Result: api.ResultCancelled, Reason: reason, Message: message})
	return result{}, nil
}

// reasonLeftOut is the reason of a run that its sweep had no more before its turn came.
const reasonLeftOut = "LeftOut"

// leaves says whether the run is to go because its sweep has it no more. It stays when the lead has come to it, even if that was not
// seen yet: what has begun is measured to its end.
func (s *runPass) leaves() (bool, error) {
	if !leavesOut(s.run) || begun(s.run) || s.attempt() == nil || s.attempt().Outcome != nil {
		return false, nil
	}
	a, err := s.bound()
	if err != nil || a == nil {
		return err == nil, err
	}
	order, err := s.orderStatus(a)
	return err == nil && (order == nil || order.Outcome != nil && order.Outcome.Reason == node.ReasonNotStarted), err
}

func (s *runPass) leave() (result, error) {
	s.conclude(api.Outcome{Result: api.ResultCancelled, Reason: reasonLeftOut, Message: "its sweep has it no more"})
	return result{}, nil
}

// bound returns the Allocation of the current attempt, nil when it is gone or not bound.
func (s *runPass) bound() (*api.Allocation, error) {
	ref := s.run.Status.AllocationRef
	if ref == nil || ref.Attempt != int32(len(s.run.Status.Attempts)) {
		return nil, nil
	}
	a, err := store.Get[*api.Allocation](s.ctx, s.store, s.run.Namespace, ref.Name)
	if err != nil || string(a.UID) != ref.UID {
		return nil, ignoreGone(err)
	}
	return a, nil
}

// orderStatus reads how far the current attempt's order is. A nil status means that the lead has not taken it up.
func (s *runPass) orderStatus(a *api.Allocation) (*node.OrderStatus, error) {
	p, err := s.clusters.get(s.ctx, a.Spec.Cluster)
	if err != nil {
		return nil, err
	}
	if a.Status.Folder == "" || s.attempt().Order == 0 {
		return nil, nil
	}
	st, err := s.leads.order(s.ctx, p, a, s.attempt().Order)
	if errors.Is(err, node.ErrNotYet) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s.order = &st
	return &st, nil
}

// since is when the phase was entered, or this process began to watch, whichever is later.
func (s *runPass) since() time.Time {
	since := s.started
	if at := s.run.Status.PhaseSince; at != nil && at.After(since) {
		since = at.Time
	}
	return since
}

// seed is drawn from the run's uid and attempt, so that every attempt has prompts of its own and can be repeated.
func (s *runPass) seed() int64 {
	if own := s.run.Spec.Workload.Seed; own != nil {
		return *own + int64(s.attempt().Number) - 1
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", s.run.UID, s.attempt().Number))
	return int64(binary.BigEndian.Uint64(sum[:8]) >> 1)
}
