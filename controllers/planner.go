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

// planner makes Allocations, binds runs to them and lets them go. It alone writes run.status.allocationRef. A run without a sweep is
// a group of one; groups of a sweep are in grouping.go.
type planner struct {
	store    *store.Store
	clusters *clusters
	roster   *roster
	log      *slog.Logger
	// wake asks for a run without a sweep to be planned, wakeSweep for a sweep.
	wake, wakeSweep func(types.NamespacedName)

	mu      sync.Mutex
	live    map[string]map[types.UID]bool // by cluster: Allocations that have not ended
	most    map[string]int                // by cluster: how many may be live
	waiting map[string][]turn             // by cluster: those for which there was no room, in the order of their turns
}

// turn is somebody who waits for room in a cluster's queue.
type turn struct {
	name     types.NamespacedName
	sweep    bool
	priority int32
	wake     func(types.NamespacedName)
}

func (t *turn) same(o *turn) bool { return t.name == o.name && t.sweep == o.sweep }

// planRetry is how long a run waits for what its user has to mend: a Cluster object, a name.
const planRetry = 5 * time.Second

func newPlanner(s *store.Store, cs *clusters, r *roster, log *slog.Logger) *planner {
	return &planner{store: s, clusters: cs, roster: r, log: log, live: map[string]map[types.UID]bool{}, most: map[string]int{}, waiting: map[string][]turn{}}
}

// track counts live Allocations, and gives the room of one that ended to whoever's turn it is.
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

// forget drops the count of live Allocations: they are about to be listed anew.
func (p *planner) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.live)
}

// room says whether another Allocation may be queued; if not, who asks is put in line: the highest priority first, then who came
// first.
func (p *planner) room(cluster string, t turn, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most[cluster] = most
	if len(p.live[cluster]) < most {
		return true
	}
	line := p.waiting[cluster]
	if !slices.ContainsFunc(line, func(o turn) bool { return o.same(&t) }) {
		at := len(line)
		for at > 0 && line[at-1].priority < t.priority {
			at--
		}
		p.waiting[cluster] = slices.Insert(line, at, t)
	}
	return false
}

// rouse wakes as many of those in line as there is room for. One that was woken and needs no room after all (deleted,
// cancelled) rouses the next in its turn. It must be called with the lock held.
func (p *planner) rouse() {
	for cluster, line := range p.waiting {
		n := max(0, min(len(line), p.most[cluster]-len(p.live[cluster])))
		for _, t := range line[:n] {
			t.wake(t.name)
		}
		p.waiting[cluster] = line[n:]
	}
}

// pass gives the turn of one that needs no room to the next.
func (p *planner) pass(t turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for cluster, line := range p.waiting {
		p.waiting[cluster] = slices.DeleteFunc(line, func(o turn) bool { return o.same(&t) })
	}
	p.rouse()
}

func (p *planner) reconcile(ctx context.Context, key types.NamespacedName) (result, error) {
	if !p.roster.complete() {
		return result{after: rosterRetry}, nil
	}
	run, err := store.Get[*api.BenchmarkRun](ctx, p.store, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) {
		p.pass(turn{name: key})
		return result{}, nil
	}
	if err != nil || sweepOf(run) != "" {
		return result{}, err
	}
	if err := p.letGo(ctx, run); err != nil {
		return result{}, err
	}
	if needsAllocation(run) {
		return p.bind(ctx, run)
	}
	p.pass(turn{name: key})
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
		return !hadTurn(run)
	}
	return false
}

// hadTurn says whether the servers came to the current attempt.
func hadTurn(run *api.BenchmarkRun) bool {
	n := len(run.Status.Attempts)
	return n > 0 && slices.ContainsFunc(run.Status.Attempts[n-1].Phases, func(t api.PhaseTime) bool { return t.Phase == api.RunMonitoring })
}

// reusable says whether the next attempt can use the same servers: the load failed, they did not.
func reusable(run *api.BenchmarkRun, a *api.Allocation) bool {
	return failedByWorkload(run) && a.Status.Phase == api.AllocationReady && !a.Spec.Release
}

// bind gives the current attempt an Allocation: the one before when its servers are fine, else a new one, which is made in the
// same transaction.
func (p *planner) bind(ctx context.Context, run *api.BenchmarkRun) (result, error) {
	attempt := int32(len(run.Status.Attempts))
	if ref := run.Status.AllocationRef; ref != nil {
		a, err := store.Get[*api.Allocation](ctx, p.store, run.Namespace, ref.Name)
		if err == nil && string(a.UID) == ref.UID && reusable(run, a) {
			_, err := p.bindTo(ctx, a, []string{run.Name})
			return result{}, err
		}
	}
	cluster, err := p.clusters.settings(ctx, run.Spec.Cluster)
	if err != nil {
		return result{after: planRetry}, p.wait(ctx, run, "ClusterUnknown", err.Error())
	}
	name := allocationName(run, attempt)
	if _, err := store.Get[*api.Allocation](ctx, p.store, run.Namespace, name); err == nil {
		return result{after: planRetry}, p.wait(ctx, run, "NameTaken", fmt.Sprintf("allocation %s exists and belongs to another run; it has to go first", name))
	} else if !apierrors.IsNotFound(err) {
		return result{}, err
	}
	key := types.NamespacedName{Namespace: run.Namespace, Name: run.Name}
	if !p.room(run.Spec.Cluster, turn{name: key, wake: p.wake}, int(cluster.MaxQueued)) {
		return result{}, p.wait(ctx, run, "QueueLimit", fmt.Sprintf("waiting for one of the %d jobs that benchd may have in the queue of cluster %s (spec.maxQueued)", cluster.MaxQueued, run.Spec.Cluster))
	}
	_, err = p.bindTo(ctx, NewAllocation(run, name), []string{run.Name})
	return result{}, err
}

// bindTo binds the runs that still need an Allocation to this one, in their order, and makes it first when it is new; all in one
// transaction. It returns how many were bound. Memory is told before anybody can act on what the store says.
func (p *planner) bindTo(ctx context.Context, a *api.Allocation, names []string) (int, error) {
	p.roster.mu.Lock()
	defer p.roster.mu.Unlock()
	var bound []*api.BenchmarkRun
	isNew := a.UID == ""
	err := p.store.Update(ctx, func(tx *store.Tx) (err error) {
		if bound, err = unbound(tx, a.Namespace, names); err != nil || len(bound) == 0 {
			return err
		}
		if isNew && !a.Spec.Open {
			for _, run := range bound {
				a.Spec.Trials = append(a.Spec.Trials, string(run.UID))
			}
		}
		first := a.Spec.Orders + 1
		a.Spec.Orders += int32(len(bound))
		if err := write(tx, a, isNew); err != nil {
			return err
		}
		for i, run := range bound {
			attempt := int32(len(run.Status.Attempts))
			run.Status.AllocationRef = &api.AllocationRef{Name: a.Name, UID: string(a.UID), Attempt: attempt, Order: first + int32(i)}
			if err := tx.PutStatus(run); err != nil {
				return err
			}
			if err := tx.Event(run, api.EventNormal, "Bound", fmt.Sprintf("attempt %d is bound to allocation %s", attempt, a.Name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(bound) == 0 {
		return 0, err
	}
	if isNew {
		p.track(a, true)
	}
	p.roster.setAllocation(a, false)
	for _, run := range bound {
		p.roster.setRun(run, false)
	}
	return len(bound), nil
}

// unbound are those of the runs that still need an Allocation, as they are stored now.
func unbound(tx *store.Tx, namespace string, names []string) ([]*api.BenchmarkRun, error) {
	var runs []*api.BenchmarkRun
	for _, name := range names {
		obj, err := tx.Get(api.KindBenchmarkRun, namespace, name)
		if err = ignoreGone(err); err != nil {
			return nil, err
		}
		if run, ok := obj.(*api.BenchmarkRun); ok && needsAllocation(run) {
			runs = append(runs, run)
		}
	}
	return runs, nil
}

func write(tx *store.Tx, a *api.Allocation, isNew bool) error {
	if isNew {
		return tx.Create(a)
	}
	return tx.Put(a)
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
// backoffLimit, and without the time limit, which is the Allocation's.
func sharingKey(s *api.BenchmarkRunSpec) string {
	shared := *s
	shared.Workload, shared.Logging, shared.Monitoring, shared.BackoffLimit, shared.Cancel = api.WorkloadSpec{}, api.LoggingSpec{}, api.MonitoringSpec{}, nil, false
	shared.Verdict, shared.Slurm.TimeLimit = api.VerdictSpec{}, ""
	data, err := json.Marshal(shared)
	if err != nil {
		return "" // what came out of the store can be encoded
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
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
