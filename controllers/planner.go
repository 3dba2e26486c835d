package controllers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// planner makes Allocations, binds runs to them and lets them go. It alone writes run.status.allocationRef. A lone run is
// a group of one.
type planner struct {
	store    *store.Store
	clusters *clusters
	log      *slog.Logger
	// wake asks for a run to be planned.
	wake func(types.NamespacedName)

	mu      sync.Mutex
	live    map[string]map[types.UID]bool     // by cluster: Allocations that have not ended
	most    map[string]int                    // by cluster: how many may be live
	waiting map[string][]types.NamespacedName // by cluster: runs for which there was no room, first come first
}

// planRetry is how long a run waits for what its user has to mend: a Cluster object, a name.
const planRetry = 5 * time.Second

func newPlanner(s *store.Store, cs *clusters, log *slog.Logger) *planner {
	return &planner{store: s, clusters: cs, log: log, live: map[string]map[types.UID]bool{}, most: map[string]int{}, waiting: map[string][]types.NamespacedName{}}
}

// track counts live Allocations, and gives the room of one that ended to the run that waits longest.
func (p *planner) track(a *api.Allocation, live bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cluster := a.Spec.Cluster
	if p.live[cluster] == nil {
		p.live[cluster] = map[types.UID]bool{}
	}
	if live {
		p.live[cluster][a.UID] = true
		return
	}
	delete(p.live[cluster], a.UID)
	p.rouse()
}

// room says whether another Allocation may be queued; if not, the run is put in line.
func (p *planner) room(cluster string, run types.NamespacedName, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most[cluster] = most
	if len(p.live[cluster]) < most {
		return true
	}
	if !slices.Contains(p.waiting[cluster], run) {
		p.waiting[cluster] = append(p.waiting[cluster], run)
	}
	return false
}

// rouse wakes as many of those in line as there is room for. One that was woken and needs no room after all (deleted,
// cancelled) rouses the next in its turn. It must be called with the lock held.
func (p *planner) rouse() {
	for cluster, line := range p.waiting {
		n := min(len(line), p.most[cluster]-len(p.live[cluster]))
		for _, run := range line[:max(0, n)] {
			p.wake(run)
		}
		p.waiting[cluster] = line[max(0, n):]
	}
}

// pass gives the turn of a run that needs no room to the next.
func (p *planner) pass(run types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for cluster, line := range p.waiting {
		p.waiting[cluster] = slices.DeleteFunc(line, func(other types.NamespacedName) bool { return other == run })
	}
	p.rouse()
}

func (p *planner) reconcile(ctx context.Context, key types.NamespacedName) (result, error) {
	run, err := store.Get[*api.BenchmarkRun](ctx, p.store, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) {
		p.pass(key)
		return result{}, nil
	}
	if err != nil {
		return result{}, err
	}
	if err := p.letGo(ctx, run); err != nil {
		return result{}, err
	}
	if needsAllocation(run) {
		return p.bind(ctx, run)
	}
	p.pass(key)
	return result{}, nil
}

// needsAllocation says whether the run's current attempt is to be bound.
func needsAllocation(run *api.BenchmarkRun) bool {
	st := &run.Status
	return st.Phase == api.RunPending && len(st.Attempts) > 0 && st.Outcome == nil && !run.Spec.Cancel && run.DeletionTimestamp == nil &&
		(st.AllocationRef == nil || st.AllocationRef.Attempt != int32(len(st.Attempts)))
}

// holds says whether the run still needs the Allocation that it is bound to.
func holds(run *api.BenchmarkRun) bool {
	switch run.Status.Phase {
	case "", api.RunPending, api.RunInitializing, api.RunDeploying, api.RunMonitoring, api.RunLaunching, api.RunExecuting, api.RunTearingDown:
		return true
	}
	return false
}

// letGo releases Allocations that the run was bound to and needs no more.
func (p *planner) letGo(ctx context.Context, run *api.BenchmarkRun) error {
	ref := run.Status.AllocationRef
	owned, err := p.store.Owned(ctx, string(run.UID))
	if err != nil {
		return err
	}
	for _, obj := range owned {
		a, ok := obj.(*api.Allocation)
		if !ok || a.Spec.Release || a.Status.Phase.Terminal() {
			continue
		}
		bound := ref != nil && ref.UID == string(a.UID)
		reason := ""
		switch {
		case !holds(run):
			reason = fmt.Sprintf("run %s needs it no more", run.Name)
		case bound && (run.Spec.Cancel || run.DeletionTimestamp != nil) && notStarted(run):
			reason = fmt.Sprintf("run %s was cancelled", run.Name)
		case bound && ref.Attempt < int32(len(run.Status.Attempts)) && !reusable(run, a):
			reason = fmt.Sprintf("attempt %d of run %s has failed", ref.Attempt, run.Name)
		default:
			continue
		}
		a.Spec.Release, a.Spec.ReleaseReason = true, reason
		if err := p.store.Put(ctx, a); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// notStarted: no order has been taken up, so nothing but the job itself needs to be ended.
func notStarted(run *api.BenchmarkRun) bool {
	switch run.Status.Phase {
	case "", api.RunPending, api.RunInitializing, api.RunDeploying, api.RunTearingDown:
		return len(run.Status.Attempts) == 0 || !reached(run, api.RunMonitoring)
	}
	return false
}

// reached says whether the current attempt came to the phase.
func reached(run *api.BenchmarkRun, phase api.RunPhase) bool {
	for _, t := range run.Status.Attempts[len(run.Status.Attempts)-1].Phases {
		if t.Phase == phase {
			return true
		}
	}
	return false
}

// reusable says whether the next attempt can use the same servers: the load failed, they did not.
func reusable(run *api.BenchmarkRun, a *api.Allocation) bool {
	attempts := run.Status.Attempts
	if len(attempts) < 2 || a.Status.Phase != api.AllocationReady || a.Spec.Release {
		return false
	}
	failed := attempts[len(attempts)-2].Outcome
	return failed != nil && failed.Class == api.FailureWorkload
}

// bind gives the current attempt an Allocation: the one before when its servers are fine, else a new one. Its name is
// made of run and attempt, so that a repetition after a crash finds what was made.
func (p *planner) bind(ctx context.Context, run *api.BenchmarkRun) (result, error) {
	attempt := int32(len(run.Status.Attempts))
	if ref := run.Status.AllocationRef; ref != nil {
		a, err := store.Get[*api.Allocation](ctx, p.store, run.Namespace, ref.Name)
		if err == nil && string(a.UID) == ref.UID && reusable(run, a) {
			return result{}, p.writeRef(ctx, run, a, attempt)
		}
	}
	cluster, err := p.clusters.settings(ctx, run.Spec.Cluster)
	if err != nil {
		return result{after: planRetry}, p.wait(ctx, run, "ClusterUnknown", err.Error())
	}
	name := allocationName(run, attempt)
	a, err := store.Get[*api.Allocation](ctx, p.store, run.Namespace, name)
	if err == nil {
		if metav1.IsControlledBy(a, run) {
			return result{}, p.writeRef(ctx, run, a, attempt)
		}
		return result{after: planRetry}, p.wait(ctx, run, "NameTaken", fmt.Sprintf("allocation %s exists and belongs to another run; it has to go first", name))
	}
	if !apierrors.IsNotFound(err) {
		return result{}, err
	}
	key := types.NamespacedName{Namespace: run.Namespace, Name: run.Name}
	if !p.room(run.Spec.Cluster, key, int(cluster.MaxQueued)) {
		return result{}, p.wait(ctx, run, "QueueLimit", fmt.Sprintf("waiting for one of the %d jobs that benchd may have in the queue of cluster %s (spec.maxQueued)", cluster.MaxQueued, run.Spec.Cluster))
	}
	a = NewAllocation(run, name)
	if err := p.store.Create(ctx, a); err != nil {
		return result{}, err
	}
	p.track(a, true)
	return result{}, p.writeRef(ctx, run, a, attempt)
}

func allocationName(run *api.BenchmarkRun, attempt int32) string {
	suffix := fmt.Sprintf("-%d", attempt)
	return run.Name[:min(len(run.Name), 63-len(suffix))] + suffix
}

// NewAllocation makes the Allocation that a run needs.
func NewAllocation(run *api.BenchmarkRun, name string) *api.Allocation {
	s := &run.Spec
	a := &api.Allocation{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: run.Namespace, Name: name, Finalizers: []string{api.FinalizerCluster},
			Labels:          map[string]string{api.LabelRun: run.Name},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(run, api.GroupVersion.WithKind(api.KindBenchmarkRun))},
		},
		Spec: api.AllocationSpec{
			Cluster: s.Cluster, Slurm: s.Slurm, Nodes: s.Nodes, Service: s.Service, Container: s.Container, Monitoring: s.Monitoring,
			Timeouts: s.Timeouts, SharingKey: sharingKey(s),
		},
	}
	a.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindAllocation))
	return a
}

// sharingKey is equal for runs that can use the same servers: the spec without workload, verdict, logging, monitoring and
// backoffLimit.
func sharingKey(s *api.BenchmarkRunSpec) string {
	shared := *s
	shared.Workload, shared.Logging, shared.Monitoring, shared.BackoffLimit, shared.Cancel = api.WorkloadSpec{}, api.LoggingSpec{}, api.MonitoringSpec{}, nil, false
	shared.Verdict = api.VerdictSpec{}
	data, err := json.Marshal(shared)
	if err != nil {
		return "" // what came out of the store can be encoded
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

func (p *planner) writeRef(ctx context.Context, run *api.BenchmarkRun, a *api.Allocation, attempt int32) error {
	run.Status.AllocationRef = &api.AllocationRef{Name: a.Name, UID: string(a.UID), Attempt: attempt}
	return p.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.PutStatus(run); err != nil {
			return err
		}
		return tx.Event(run, api.EventNormal, "Bound", fmt.Sprintf("attempt %d is bound to allocation %s", attempt, a.Name))
	})
}

// wait shows why a run is not bound; a repetition changes nothing.
func (p *planner) wait(ctx context.Context, run *api.BenchmarkRun, reason, message string) error {
	if run.Status.Message == message {
		return nil
	}
	run.Status.Message = message
	return p.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.PutStatus(run); err != nil {
			return err
		}
		return tx.Event(run, api.EventNormal, reason, message)
	})
}
