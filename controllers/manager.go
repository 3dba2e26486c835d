// Package controllers drives the world toward what the stored objects say. Each reconciler looks at its object and at
// the cluster, takes at most one step, writes the status once and says when to look again. Nothing lives only in
// memory, every step can run twice, and the process may be killed at any instruction.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/workqueue"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// workers is how many objects of a kind are reconciled at the same time; one object never by two.
const workers = 4

// Config of the controllers.
type Config struct {
	Store *store.Store
	// Home is BENCHD_HOME: the default work folder and the embedded cluster live in it.
	Home string
	// Binary is the benchd executable that jobs get a copy of.
	Binary string
	// Version is told in reports.
	Version string
	// Guard says whether this process still has its home; it is asked before anything is done to a cluster.
	Guard func() error
	// Admit checks a run that a sweep makes, and fills in what depends on its service, as if a user had applied it.
	Admit func(api.Object) field.ErrorList
	// NewCluster opens the adapter of a Cluster object; OpenCluster by default.
	NewCluster func(c *api.Cluster, home, binary string) (Cluster, error)
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Manager runs the reconcilers.
type Manager struct {
	cfg         Config
	log         *slog.Logger
	clusters    *clusters
	leads       *leads
	runs        *controller
	allocations *controller
	planner     *planner
	roster      *roster
	planning    *controller
	grouping    *controller
	sweeps      *controller
	results     *controller
	schedules   *controller
	retention   *controller
	keep        *retention
	nodes       *Nodes
	census      *census
	metrics     *metrics
}

// Nodes are those of live Allocations.
func (m *Manager) Nodes() *Nodes { return m.nodes }

// result says when to look at an object again; zero means when something changes.
type result struct{ after time.Duration }

// ignoreGone makes nothing of the error that says that an object is gone.
func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// controller is a queue of objects and the function that reconciles one.
type controller struct {
	name      string
	queue     workqueue.TypedRateLimitingInterface[types.NamespacedName]
	reconcile func(context.Context, types.NamespacedName) (result, error)
}

func newController(name string, reconcile func(context.Context, types.NamespacedName) (result, error)) *controller {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](50*time.Millisecond, 30*time.Second)
	return &controller{name: name, reconcile: reconcile, queue: workqueue.NewTypedRateLimitingQueue(limiter)}
}

// New returns a manager that is ready to run.
func New(cfg Config) (*Manager, error) {
	if cfg.Guard == nil {
		cfg.Guard = func() error { return nil }
	}
	if cfg.Admit == nil {
		cfg.Admit = func(api.Object) field.ErrorList { return nil }
	}
	if cfg.NewCluster == nil {
		cfg.NewCluster = OpenCluster
	}
	m := &Manager{cfg: cfg, log: cfg.Log, metrics: newMetrics(cfg.Registerer), census: newCensus()}
	m.clusters = newClusters(cfg, m.metrics)
	m.leads = newLeads(m.clusters)
	m.nodes = newNodes(cfg.Store, m.clusters)
	binary, err := newBinary(cfg.Binary)
	if err != nil {
		return nil, err
	}
	m.roster = newRoster()
	alloc := &allocationReconciler{
		store: cfg.Store, roster: m.roster, clusters: m.clusters, leads: m.leads, binary: binary, log: cfg.Log, started: time.Now(),
		attempted: map[types.UID]time.Time{},
	}
	run := &runReconciler{store: cfg.Store, clusters: m.clusters, leads: m.leads, version: cfg.Version, log: cfg.Log, started: time.Now()}
	m.planner = newPlanner(cfg.Store, m.clusters, m.roster, cfg.Log)
	m.allocations = newController("allocation", alloc.reconcile)
	m.runs = newController("run", run.reconcile)
	m.planning = newController("planner", m.planner.reconcile)
	m.grouping = newController("grouping", m.planner.reconcileSweep)
	sweep := &sweepReconciler{store: cfg.Store, admit: cfg.Admit, log: cfg.Log}
	m.sweeps = newController("sweep", sweep.reconcile)
	results := &sweepReporter{store: cfg.Store, clusters: m.clusters, log: cfg.Log, kept: map[types.NamespacedName]*keptResults{}}
	m.results = newController("results", results.reconcile)
	schedule := &scheduleReconciler{store: cfg.Store, admit: cfg.Admit, now: time.Now}
	m.schedules = newController("schedule", schedule.reconcile)
	m.keep = &retention{store: cfg.Store, clusters: m.clusters, guard: cfg.Guard, now: time.Now, log: cfg.Log, looks: map[string]*retentionLook{}}
	m.retention = newController("retention", m.keep.reconcile)
	m.clusters.changed = m.allocations.queue.Add
	m.planner.wake, m.planner.wakeSweep = m.planning.queue.Add, m.grouping.queue.Add
	for _, c := range m.all() {
		m.metrics.failures.WithLabelValues(c.name) // a zero from the start can be told from a gap
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(m.census, &collector{controllers: m.all(), store: cfg.Store})
	}
	return m, nil
}

// all are the controllers.
func (m *Manager) all() []*controller {
	return []*controller{m.runs, m.sweeps, m.allocations, m.planning, m.grouping, m.results, m.schedules, m.retention}
}

// Run reconciles until ctx ends and everything has come to rest.
func (m *Manager) Run(ctx context.Context) error {
	if err := m.clusters.ensureDeclared(ctx); err != nil {
		return err
	}
	if err := m.clusters.openUsed(ctx); err != nil {
		return err
	}
	var wg sync.WaitGroup
	kinds := []string{api.KindBenchmarkRun, api.KindBenchmarkSweep, api.KindBenchmarkSchedule, api.KindAllocation, api.KindCluster}
	errs := make(chan error, len(kinds))
	for _, kind := range kinds {
		wg.Go(func() { errs <- m.follow(ctx, kind) })
	}
	wg.Go(func() { m.clusters.run(ctx) })
	all := m.all()
	for _, c := range all {
		for range workers {
			wg.Go(func() { m.work(ctx, c) })
		}
	}
	<-ctx.Done()
	for _, c := range all {
		c.queue.ShutDown()
	}
	wg.Wait()
	m.leads.close()
	m.nodes.close()
	close(errs)
	var failed error
	for err := range errs {
		failed = errors.Join(failed, err)
	}
	return failed
}

// follow lists a kind and then watches it, handing every change to those who care. When it fell too far behind, it
// lists again.
func (m *Manager) follow(ctx context.Context, kind string) error {
	for again := false; ctx.Err() == nil; again = true {
		version, err := m.list(ctx, kind)
		if err == nil && again && kind == api.KindAllocation {
			err = m.catchUp(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("follow %s: %w", kind, err)
		}
		changes, err := m.cfg.Store.Watch(ctx, kind, version, store.ListOptions{})
		if apierrors.IsResourceExpired(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("follow %s: %w", kind, err)
		}
		for c := range changes {
			m.notice(c.Object, c.Type == store.Deleted)
		}
	}
	return nil
}

// list takes a kind's live objects for changes, and returns the version from which on there are others.
func (m *Manager) list(ctx context.Context, kind string) (version uint64, err error) {
	m.forget(kind) // before the list: what is made after it is told to memory at once, and must not be dropped
	list, err := m.cfg.Store.ListLive(ctx, kind)
	if err != nil {
		return 0, err
	}
	for _, obj := range list.Items {
		if a, ok := obj.(*api.Allocation); ok {
			// Opened for what it does; one that cannot be opened is told where it is needed.
			_, _ = m.clusters.get(ctx, a.Spec.Cluster)
		}
		if api.Live(obj) {
			m.notice(obj, false)
		}
	}
	m.roster.setListed(kind)
	if version, err = strconv.ParseUint(list.ResourceVersion, 10, 64); err != nil {
		return 0, fmt.Errorf("version %q: %w", list.ResourceVersion, err)
	}
	return version, nil
}

// catchUp wakes whoever may wait for an Allocation that ended before the list and after the last change that was seen: it is in neither.
func (m *Manager) catchUp(ctx context.Context) error {
	sweeps, err := m.cfg.Store.ListLive(ctx, api.KindBenchmarkSweep)
	if err != nil {
		return err
	}
	for _, obj := range sweeps.Items {
		m.grouping.queue.Add(types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()})
	}
	for _, run := range m.roster.all() {
		m.runs.queue.Add(run)
		m.planning.queue.Add(run)
	}
	return nil
}

// forget drops what memory holds of a kind before it is listed anew: what ended or was deleted meanwhile is not in the list.
func (m *Manager) forget(kind string) {
	m.roster.forget(kind)
	m.census.forget(kind)
	if kind == api.KindAllocation {
		m.clusters.forget()
		m.planner.forget()
	}
}

// notice wakes whoever acts on the object.
func (m *Manager) notice(obj api.Object, gone bool) {
	name := types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()}
	m.keep.notice(obj)
	m.census.notice(obj, gone)
	switch o := obj.(type) {
	case *api.BenchmarkRun:
		m.noticeRun(o, name, gone)
	case *api.BenchmarkSweep:
		m.sweeps.queue.Add(name)
		m.grouping.queue.Add(name)
		m.results.queue.Add(name)
		m.noticeMade(o, name.Namespace)
	case *api.Cluster:
		m.retention.queue.Add(name)
	case *api.BenchmarkSchedule:
		m.schedules.queue.Add(name)
	case *api.Allocation:
		m.noticeAllocation(o, name, gone)
	}
}

func (m *Manager) noticeRun(run *api.BenchmarkRun, name types.NamespacedName, gone bool) {
	m.roster.run(run, gone)
	if api.Live(run) {
		m.runs.queue.Add(name)
	}
	if ref := run.Status.AllocationRef; ref != nil {
		m.allocations.queue.Add(types.NamespacedName{Namespace: name.Namespace, Name: ref.Name})
	}
	m.noticeMade(run, name.Namespace)
	sweep := metav1.GetControllerOfNoCopy(run)
	if sweep == nil || sweep.Kind != api.KindBenchmarkSweep {
		m.planning.queue.Add(name)
		return
	}
	owner := types.NamespacedName{Namespace: name.Namespace, Name: sweep.Name}
	m.grouping.queue.Add(owner)
	if gone || run.Status.Phase.Terminal() {
		m.sweeps.queue.Add(owner)
	}
}

// noticeMade wakes the schedule that made an object which may have ended.
func (m *Manager) noticeMade(obj api.Object, namespace string) {
	if owner := metav1.GetControllerOfNoCopy(obj); owner != nil && owner.Kind == api.KindBenchmarkSchedule {
		m.schedules.queue.Add(types.NamespacedName{Namespace: namespace, Name: owner.Name})
	}
}

func (m *Manager) noticeAllocation(a *api.Allocation, name types.NamespacedName, gone bool) {
	live := !gone && !a.Status.Phase.Terminal()
	m.roster.allocation(a, gone)
	m.clusters.track(a, live)
	m.planner.track(a, live)
	if !gone {
		m.allocations.queue.Add(name)
	}
	for _, run := range m.roster.turn(a) {
		m.runs.queue.Add(run)
	}
	switch owner := metav1.GetControllerOfNoCopy(a); {
	case owner == nil:
	case owner.Kind == api.KindBenchmarkSweep:
		m.grouping.queue.Add(types.NamespacedName{Namespace: name.Namespace, Name: owner.Name})
	default:
		run := types.NamespacedName{Namespace: name.Namespace, Name: owner.Name}
		m.runs.queue.Add(run)
		m.planning.queue.Add(run)
	}
}

func (m *Manager) work(ctx context.Context, c *controller) {
	for {
		key, shutdown := c.queue.Get()
		if shutdown {
			return
		}
		m.once(ctx, c, key)
		c.queue.Done(key)
	}
}

func (m *Manager) once(ctx context.Context, c *controller, key types.NamespacedName) {
	begun := time.Now()
	res, err := c.reconcile(ctx, key)
	m.metrics.observe(c.name, time.Since(begun), err)
	switch {
	case ctx.Err() != nil:
	case apierrors.IsConflict(err):
		c.queue.AddAfter(key, 5*time.Millisecond) // somebody wrote meanwhile: look again
	case err != nil:
		m.log.Error("reconcile failed, will be repeated", "controller", c.name, "object", key.String(), "error", err)
		c.queue.AddRateLimited(key)
	default:
		c.queue.Forget(key)
		if res.after > 0 {
			c.queue.AddAfter(key, res.after)
		}
	}
}
