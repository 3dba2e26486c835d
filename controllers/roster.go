package controllers

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/plan"
)

// roster is what memory keeps of the runs and Allocations that have not ended, so that nobody need list a sweep's children to
// know what waits and what is bound to what. It is built of the same changes that wake the reconcilers, may be forgotten at any
// time, and whoever acts on it reads the objects again.
type roster struct {
	mu      sync.Mutex
	listed  map[string]bool // kinds whose first list has been gone through
	runs    map[types.NamespacedName]rosterRun
	bound   map[types.UID]map[types.NamespacedName]rosterRun // by Allocation
	waiting map[types.UID]map[types.NamespacedName]rosterRun // by sweep
	lines   map[types.UID]*line                              // by sweep: the same as its planner needs it, until it changes
	sweeps  map[types.UID]map[types.UID]rosterAllocation     // live Allocations by sweep
	open    map[types.UID]int                                // runs that have not ended, by sweep
	behind  map[types.UID]time.Time                          // since when a sweep has more of them than are known here
}

// rosterRun is one run that has not ended.
type rosterRun struct {
	sweep types.UID
	work  plan.Work
	point string
	// generation of the spec that work was made of.
	generation int64
	// ref is the Allocation that the run is bound to; order is its place there.
	ref   *api.AllocationRef
	order int32
	// waits: its attempt has to be bound. same: the servers that it had before will do.
	waits, same bool
	// unwritten: its order is not in the Allocation's folder yet. taken: the lead has begun with it.
	unwritten, taken bool
	// returning: when its Allocation has ended, it will soon wait for another.
	returning bool
	// length is what its load takes at most, without the sweep's pause.
	length time.Duration
}

// rosterAllocation is one Allocation that has not ended.
type rosterAllocation struct {
	name, key, after string
	uid              types.UID
	phase            api.AllocationPhase
	release, drain   bool
	started          time.Time // of the job; zero before
	limit, startup   time.Duration
	open             bool // further runs may come
	nodes            int
}

func newRoster() *roster {
	return &roster{
		listed: map[string]bool{}, runs: map[types.NamespacedName]rosterRun{}, bound: map[types.UID]map[types.NamespacedName]rosterRun{},
		waiting: map[types.UID]map[types.NamespacedName]rosterRun{}, lines: map[types.UID]*line{}, sweeps: map[types.UID]map[types.UID]rosterAllocation{},
		open: map[types.UID]int{}, behind: map[types.UID]time.Time{},
	}
}

// patience is how long memory may be behind the store before a sweep is planned from what there is.
const patience = 5 * time.Second

// caughtUp says whether as many runs of the sweep are known here as its counts say have not ended: changes come one after the
// other, and a group planned from half of them would be half a group.
func (r *roster) caughtUp(sweep *api.BenchmarkSweep) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open[sweep.UID] >= int(sweep.Status.Total-sweep.Status.Ended()) {
		delete(r.behind, sweep.UID)
		return true
	}
	since, known := r.behind[sweep.UID]
	if !known {
		since = time.Now()
		r.behind[sweep.UID] = since
	}
	return time.Since(since) > patience
}

// complete says whether all runs and Allocations have been seen once. Before that nobody can say what is not there.
func (r *roster) complete() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listed[api.KindBenchmarkRun] && r.listed[api.KindAllocation]
}

// forget drops what is known of a kind, until it has been listed anew.
func (r *roster) forget(kind string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh := newRoster()
	r.listed[kind] = false
	switch kind {
	case api.KindBenchmarkRun:
		r.runs, r.bound, r.waiting, r.lines, r.open = fresh.runs, fresh.bound, fresh.waiting, fresh.lines, fresh.open
	case api.KindAllocation:
		r.sweeps = fresh.sweeps
	}
}

func (r *roster) setListed(kind string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listed[kind] = true
}

// run takes a run's state over.
func (r *roster) run(run *api.BenchmarkRun, gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setRun(run, gone)
}

// setRun must be called with the lock held.
func (r *roster) setRun(run *api.BenchmarkRun, gone bool) {
	name := types.NamespacedName{Namespace: run.Namespace, Name: run.Name}
	old, known := r.runs[name]
	if known {
		if old.waits {
			remove(r.waiting, old.sweep, name)
			delete(r.lines, old.sweep)
		}
		if old.ref != nil {
			remove(r.bound, types.UID(old.ref.UID), name)
		}
		delete(r.runs, name)
		if r.open[old.sweep]--; r.open[old.sweep] <= 0 {
			delete(r.open, old.sweep)
		}
	}
	if gone || run.Status.Phase.Terminal() {
		return
	}
	row := rosterRun{sweep: sweepOf(run), ref: run.Status.AllocationRef, point: run.Labels[api.LabelPoint], generation: run.Generation}
	row.waits = row.sweep != "" && needsAllocation(run)
	if row.waits {
		row.work = old.work // what it was made of does not change once the run has begun, unless its sweep changes it
		if old.work.Name == "" || len(run.Status.Attempts) == 1 || old.generation != run.Generation {
			row.work = workOf(run)
		}
		row.same = failedByWorkload(run)
		put(r.waiting, row.sweep, name, row)
		delete(r.lines, row.sweep)
	}
	if row.ref != nil && holds(run) {
		row.order = row.ref.Order
		row.unwritten = run.Status.Phase == api.RunPending && !row.waits || run.Status.Phase == api.RunInitializing
		row.length = plan.Length(&run.Spec, 0)
		row.returning = returning(run)
		row.taken = hadTurn(run)
		if current := row.ref.Attempt == int32(len(run.Status.Attempts)); current || row.same {
			put(r.bound, types.UID(row.ref.UID), name, row)
		}
	}
	r.runs[name] = row
	r.open[row.sweep]++
}

// line is what waits of a sweep, in the plan's order. Most changes of a sweep's runs are of those that wait no more, so what is kept
// here makes a look at the sweep cost the same whatever waits. Nobody may change it.
type line struct {
	generation int64 // of the sweep, whose spec is a part of the work
	works      []plan.Work
	same       map[string][]string // by Allocation uid: the names of those that can use it again
	shortest   map[string]time.Duration
	longest    time.Duration
}

// lineOf must be called with the lock held.
func (r *roster) lineOf(sweep *api.BenchmarkSweep) *line {
	if l := r.lines[sweep.UID]; l != nil && l.generation == sweep.Generation {
		return l
	}
	rows := r.waiting[sweep.UID]
	l := &line{generation: sweep.Generation, works: make([]plan.Work, 0, len(rows)), same: map[string][]string{}, shortest: map[string]time.Duration{}}
	for _, row := range rows {
		w := SweepWork(&sweep.Spec, row.work)
		if row.same && row.ref != nil {
			l.same[row.ref.UID] = append(l.same[row.ref.UID], w.Name)
		}
		if shortest, known := l.shortest[w.Key]; !known || w.Length < shortest {
			l.shortest[w.Key] = w.Length
		}
		l.longest = max(l.longest, w.Length)
		l.works = append(l.works, w)
	}
	slices.SortFunc(l.works, plan.InOrder)
	r.lines[sweep.UID] = l
	return l
}

// returning says whether the run has not begun, or has not been allowed to: nothing but its Allocation's end keeps it.
func returning(run *api.BenchmarkRun) bool {
	switch run.Status.Phase {
	case api.RunPending, api.RunInitializing, api.RunDeploying:
		return true
	case api.RunTearingDown:
		o := run.Status.Attempts[len(run.Status.Attempts)-1].Outcome
		return o != nil && o.Reason == node.ReasonNotStarted
	}
	return false
}

func put[K comparable](m map[K]map[types.NamespacedName]rosterRun, key K, name types.NamespacedName, row rosterRun) {
	if m[key] == nil {
		m[key] = map[types.NamespacedName]rosterRun{}
	}
	m[key][name] = row
}

func remove[K comparable](m map[K]map[types.NamespacedName]rosterRun, key K, name types.NamespacedName) {
	delete(m[key], name)
	if len(m[key]) == 0 {
		delete(m, key)
	}
}

// sweepOf is the uid of the sweep that owns the object, empty for none.
func sweepOf(obj api.Object) types.UID {
	if ref := metav1.GetControllerOfNoCopy(obj); ref != nil && ref.Kind == api.KindBenchmarkSweep {
		return ref.UID
	}
	return ""
}

// failedByWorkload says whether the attempt before the current one failed by its load alone: its servers are fine.
func failedByWorkload(run *api.BenchmarkRun) bool {
	n := len(run.Status.Attempts)
	return n > 1 && run.Status.Attempts[n-2].Outcome != nil && run.Status.Attempts[n-2].Outcome.Class == api.FailureWorkload
}

// workOf is a run as the plan sees it. Pause, limit and isolation are the sweep's, and filled in by who plans.
func workOf(run *api.BenchmarkRun) plan.Work {
	position, err := strconv.Atoi(run.Annotations[api.AnnotationPosition])
	if err != nil {
		position = 1 << 30 // not made by a sweep of ours: last
	}
	return plan.Work{
		Name: run.Name, Position: position, Key: sharingKey(&run.Spec), Length: plan.Length(&run.Spec, 0), Startup: plan.Startup(&run.Spec),
	}
}

// allocation takes an Allocation's state over.
func (r *roster) allocation(a *api.Allocation, gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setAllocation(a, gone)
}

// setAllocation must be called with the lock held.
func (r *roster) setAllocation(a *api.Allocation, gone bool) {
	sweep := sweepOf(a)
	if sweep == "" {
		return
	}
	if gone || a.Status.Phase.Terminal() {
		delete(r.sweeps[sweep], a.UID)
		if len(r.sweeps[sweep]) == 0 {
			delete(r.sweeps, sweep)
		}
		return
	}
	row := rosterAllocation{
		name: a.Name, uid: a.UID, key: a.Spec.SharingKey, phase: a.Status.Phase, release: a.Spec.Release || a.DeletionTimestamp != nil, drain: a.Spec.Drain,
		open: a.Spec.Open, nodes: len(dealRoles(&a.Spec.Nodes, &a.Spec.Service)), startup: a.Spec.Timeouts.Start.Duration + a.Spec.Service.Health.Timeout.Duration,
	}
	if a.Spec.After != nil {
		row.after = a.Spec.After.Allocation
	}
	row.limit, _ = api.ParseSlurmTime(a.Spec.Slurm.TimeLimit) // validated before
	if j := a.Status.Job; j != nil && j.StartTime != nil {
		row.started = j.StartTime.Time
	}
	if r.sweeps[sweep] == nil {
		r.sweeps[sweep] = map[types.UID]rosterAllocation{}
	}
	r.sweeps[sweep][a.UID] = row
}

// written says whether the orders of all runs that are bound to the Allocation are in its folder.
func (r *roster) written(allocation types.UID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, row := range r.bound[allocation] {
		if row.unwritten {
			return false
		}
	}
	return r.listed[api.KindBenchmarkRun]
}

// all are the runs that have not ended.
func (r *roster) all() []types.NamespacedName {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.runs))
}

// turn returns the runs that an Allocation's change is news for: those that the lead is at, or about to come to. When the
// Allocation has ended it is news for all.
func (r *roster) turn(a *api.Allocation) []types.NamespacedName {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []types.NamespacedName
	for name, row := range r.bound[a.UID] {
		if a.Status.Phase.Terminal() || row.taken || row.unwritten || row.order <= a.Status.Order+1 {
			names = append(names, name)
		}
	}
	return names
}
