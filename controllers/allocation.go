package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// allocationReconciler alone submits, releases and cancels jobs.
type allocationReconciler struct {
	store    *store.Store
	roster   *roster
	clusters *clusters
	leads    *leads
	binary   *executable
	log      *slog.Logger
	started  time.Time

	mu sync.Mutex
	// attempted is when a submission was last under way: only a look that began later shows its result.
	attempted map[types.UID]time.Time
}

// allocationPass is one look at one Allocation.
type allocationPass struct {
	*allocationReconciler
	ctx    context.Context
	a      *api.Allocation
	poller *poller
	events []event
	// before is the phase that the look began with; queued is how long the job waited, once it has started.
	before api.AllocationPhase
	queued time.Duration
}

// event is told in the same transaction as the status it belongs to.
type event struct{ kind, reason, message string }

func (r *allocationReconciler) reconcile(ctx context.Context, key types.NamespacedName) (result, error) {
	a, err := store.Get[*api.Allocation](ctx, r.store, key.Namespace, key.Name)
	if err != nil {
		return result{}, ignoreGone(err)
	}
	pass := &allocationPass{allocationReconciler: r, ctx: ctx, a: a, before: a.Status.Phase}
	res, err := pass.step()
	if werr := pass.write(); werr != nil {
		return result{}, werr
	}
	if a.Status.Phase.Terminal() {
		r.leads.forget(a.UID)
		r.forgetAttempt(a.UID)
		if a.DeletionTimestamp != nil {
			return result{}, r.finalize(ctx, a)
		}
	}
	return res, err
}

func (r *allocationReconciler) forgetAttempt(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.attempted, uid)
}

// write stores the status, when it changed, with its events.
func (s *allocationPass) write() error {
	s.a.Status.ObservedGeneration = s.a.Generation
	return s.store.Update(s.ctx, func(tx *store.Tx) error {
		if err := tx.PutStatus(s.a); err != nil {
			return err
		}
		for _, e := range s.events {
			if err := tx.Event(s.a, e.kind, e.reason, e.message); err != nil {
				return err
			}
		}
		if s.queued > 0 {
			if err := waited(tx, s.a, s.queued); err != nil {
				return err
			}
		}
		if !s.before.Terminal() && s.a.Status.Phase.Terminal() {
			if err := blame(tx, s.a, time.Now()); err != nil {
				return err
			}
			return spent(tx, s.a)
		}
		return nil
	})
}

// finalize lets a deleted Allocation go: nothing of it is left on the cluster.
func (r *allocationReconciler) finalize(ctx context.Context, a *api.Allocation) error {
	a.Finalizers = slices.DeleteFunc(a.Finalizers, func(f string) bool { return f == api.FinalizerCluster })
	return r.store.Put(ctx, a)
}

// step is the Allocation's life, one step of it.
func (s *allocationPass) step() (result, error) {
	a := s.a
	if a.Status.Phase.Terminal() {
		return result{}, removeSecrets(a)
	}
	p, err := s.clusters.get(s.ctx, a.Spec.Cluster)
	if err != nil {
		s.a.Status.Message = err.Error()
		s.condition(api.ConditionClusterReachable, metav1.ConditionFalse, "ClusterNotUsable", err.Error())
		if a.Status.JobID == "" && s.releaseWanted() {
			s.enter(api.AllocationReleased, "given up before anything was submitted")
			return result{}, nil
		}
		return result{after: 10 * time.Second}, nil
	}
	s.poller = p
	s.reachability()
	switch a.Status.Phase {
	case "":
		a.Status.JobName = p.jobName(a.UID)
		s.enter(api.AllocationPending, "to be submitted")
		return result{}, nil
	case api.AllocationPending:
		return s.pending()
	case api.AllocationSubmitted:
		return s.submitted()
	case api.AllocationQueued, api.AllocationStarting, api.AllocationPreparing, api.AllocationReady:
		if s.releaseWanted() {
			s.enter(api.AllocationReleasing, releaseMessage(a))
			return result{}, nil
		}
		if err := s.drain(); err != nil {
			return result{}, err
		}
		return s.follow()
	case api.AllocationReleasing:
		return s.releasing()
	default:
		return result{}, fmt.Errorf("allocation %s has the unknown phase %q", a.Name, a.Status.Phase)
	}
}

// drain tells the lead to end the job after the run that is under way.
func (s *allocationPass) drain() error {
	file := node.Folder(s.a.Status.Folder).Drain()
	if !s.a.Spec.Drain || s.a.Status.Folder == "" || node.Exists(file) {
		return nil
	}
	return node.WriteSealedBytes(file, []byte("its sweep begins no further runs\n"), 0o600)
}

func (s *allocationPass) releaseWanted() bool {
	return s.a.Spec.Release || s.a.DeletionTimestamp != nil
}

func releaseMessage(a *api.Allocation) string {
	if a.Spec.ReleaseReason != "" {
		return a.Spec.ReleaseReason
	}
	return "giving the job back"
}

// reachability carries an outage of the cluster as a condition: it is waited out and fails nothing.
func (s *allocationPass) reachability() {
	_, outage := s.poller.latest()
	if outage == nil {
		if meta.FindStatusCondition(s.a.Status.Conditions, api.ConditionClusterReachable) != nil {
			s.condition(api.ConditionClusterReachable, metav1.ConditionTrue, "Answers", "the cluster answers")
		}
		return
	}
	s.condition(api.ConditionClusterReachable, metav1.ConditionFalse, "Outage", fmt.Sprintf(
		"cluster %s does not answer; jobs go on, and benchd waits: %v", s.poller.name, outage))
}

// enter changes the phase and tells it.
func (s *allocationPass) enter(phase api.AllocationPhase, message string) {
	now := metav1.Now()
	s.a.Status.Phase, s.a.Status.PhaseSince, s.a.Status.Message = phase, &now, message
	kind := api.EventNormal
	if phase == api.AllocationFailed || phase == api.AllocationLost {
		kind = api.EventWarning
	}
	s.events = append(s.events, event{kind, string(phase), message})
	switch phase {
	case api.AllocationReady:
		s.condition(api.ConditionReady, metav1.ConditionTrue, "ServersReady", message)
	case api.AllocationReleasing:
		s.condition(api.ConditionReady, metav1.ConditionFalse, "Releasing", message)
	case api.AllocationReleased, api.AllocationFailed, api.AllocationLost:
		s.condition(api.ConditionReady, metav1.ConditionFalse, string(phase), message)
		s.condition(api.ConditionReleased, metav1.ConditionTrue, string(phase), message)
	}
}

func (s *allocationPass) condition(kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&s.a.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: s.a.Generation,
	})
}

// failed notes why the Allocation fails and sees to its job's end first: Releasing ends in Failed when there is a failure.
func (s *allocationPass) failed(class api.FailureClass, reason, format string, args ...any) (result, error) {
	if s.a.Status.Failure == nil {
		s.a.Status.Failure = &api.Outcome{Result: api.ResultFailed, Class: class, Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	s.enter(api.AllocationReleasing, s.a.Status.Failure.Message)
	return result{}, nil
}

// end is the last phase, once the job has ended.
func (s *allocationPass) end(message string) {
	if f := s.a.Status.Failure; f != nil {
		s.a.Status.Findings = s.findings()
		phase := api.AllocationFailed
		if f.Reason == reasonJobLost {
			phase = api.AllocationLost
		}
		s.enter(phase, f.Message)
		return
	}
	s.enter(api.AllocationReleased, message)
}

// since is when the phase was entered, or this process began to watch, whichever is later: time in which nobody
// watched does not count against a timeout.
func (s *allocationPass) since() time.Time {
	since := s.started
	if at := s.a.Status.PhaseSince; at != nil && at.After(since) {
		since = at.Time
	}
	return since
}
