package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/slurmadapter"
	"github.com/benchd/benchd/slurmadapter/embedded"
	"github.com/benchd/benchd/store"
)

// Cluster is what the controllers need of a cluster. No reconciler knows which kind it drives.
type Cluster interface {
	Queue
	// Info describes the cluster.
	Info(ctx context.Context) (slurmadapter.Info, error)
	// Dial connects to a node.
	Dial(ctx context.Context, network, address string) (net.Conn, error)
}

// Queue is where the jobs of a cluster are.
type Queue interface {
	// Submit submits a job held and returns its id; when the answer is lost the job may exist.
	Submit(ctx context.Context, spec slurmadapter.JobSpec) (string, error)
	// Release lets a held job start.
	Release(ctx context.Context, id string) error
	// Cancel ends a job; an unknown one is no error.
	Cancel(ctx context.Context, id string) error
	// List returns all jobs of the user.
	List(ctx context.Context) ([]slurmadapter.Job, error)
	// Lookup finds a job that List no longer shows.
	Lookup(ctx context.Context, id string, since time.Time) (slurmadapter.Job, error)
	// Details is all that the cluster says of a job, in its own words.
	Details(ctx context.Context, id string) (map[string]string, error)
}

var (
	_ Cluster = (*slurmadapter.Slurm)(nil)
	_ Cluster = (*embedded.Cluster)(nil)
)

// OpenCluster opens the adapter that a Cluster object asks for.
func OpenCluster(c *api.Cluster, home, binary string) (Cluster, error) {
	if c.Spec.Type == api.ClusterEmbedded {
		return embedded.New(filepath.Join(home, "embedded", c.Name), binary, int(c.Spec.EmbeddedNodes))
	}
	return slurmadapter.New(slurmadapter.Config{BinDir: c.Spec.BinDir, Conf: c.Spec.Conf})
}

// clusters keeps the adapters, and for each a poller that looks at the queue for all Allocations at once.
type clusters struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	// changed is told which Allocation's job looks different.
	changed func(types.NamespacedName)

	mu   sync.Mutex
	open map[string]*poller
	ctx  context.Context // of run; pollers live no longer
	wg   sync.WaitGroup
	live map[types.UID]tracked
}

// tracked is what the pollers know of a live Allocation.
type tracked struct {
	name    types.NamespacedName
	cluster string
	jobID   string
}

func newClusters(cfg Config, m *metrics) *clusters {
	return &clusters{cfg: cfg, log: cfg.Log, metrics: m, open: map[string]*poller{}, live: map[types.UID]tracked{}}
}

// ensureDeclared makes the two clusters that exist without being declared visible.
func (cs *clusters) ensureDeclared(ctx context.Context) error {
	for _, name := range []string{api.ClusterNameDefault, api.ClusterNameEmbedded} {
		c := &api.Cluster{ObjectMeta: metav1.ObjectMeta{Name: name}}
		c.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindCluster))
		api.SetDefaults(c)
		if err := cs.cfg.Store.Create(ctx, c); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("declare cluster %s: %w", name, err)
		}
	}
	return nil
}

// openUsed opens the clusters that were used before: a job of an Allocation that is long over may still come in late.
func (cs *clusters) openUsed(ctx context.Context) error {
	list, err := cs.cfg.Store.List(ctx, api.KindCluster, store.ListOptions{})
	if err != nil {
		return fmt.Errorf("open the clusters that were used before: %w", err)
	}
	for _, obj := range list.Items {
		if c, ok := obj.(*api.Cluster); ok && c.Status.Version != "" {
			_, _ = cs.get(ctx, c.Name) // one that cannot be opened is told where it is needed
		}
	}
	return nil
}

// run keeps the pollers going until ctx ends.
func (cs *clusters) run(ctx context.Context) {
	cs.mu.Lock()
	cs.ctx = ctx
	for _, p := range cs.open {
		cs.start(p)
	}
	cs.mu.Unlock()
	<-ctx.Done()
	cs.wg.Wait()
}

func (cs *clusters) start(p *poller) {
	cs.wg.Add(1)
	go func() {
		defer cs.wg.Done()
		p.run(cs.ctx)
	}()
}

// get returns the poller of a cluster, opening it when it is first asked for. An adapter that cannot be opened is an
// error to show and try again: a module may be loaded, a Cluster object corrected.
func (cs *clusters) get(ctx context.Context, name string) (*poller, error) {
	c, err := cs.object(ctx, name)
	if err != nil {
		return nil, err
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if p := cs.open[name]; p != nil && p.generation == c.Generation {
		return p, nil
	}
	adapter, err := cs.cfg.NewCluster(c, cs.cfg.Home, cs.cfg.Binary)
	if err != nil {
		cs.report(ctx, name, err)
		return nil, fmt.Errorf("cluster %q: %w", name, err)
	}
	if old := cs.open[name]; old != nil {
		old.stop()
	}
	p := newPoller(cs, c, &measured{Cluster: adapter, name: name, metrics: cs.metrics})
	cs.open[name] = p
	if cs.ctx != nil {
		cs.start(p)
	}
	return p, nil
}

func (cs *clusters) object(ctx context.Context, name string) (*api.Cluster, error) {
	c, err := store.Get[*api.Cluster](ctx, cs.cfg.Store, "", name)
	if err != nil {
		return nil, fmt.Errorf("cluster %q: %w: apply a Cluster object of that name, or use `default` or `embedded`", name, err)
	}
	return c, nil
}

// settings returns a cluster's spec without opening it.
func (cs *clusters) settings(ctx context.Context, name string) (*api.ClusterSpec, error) {
	c, err := cs.object(ctx, name)
	if err != nil {
		return nil, err
	}
	return &c.Spec, nil
}

// track tells the pollers which Allocations are live, and with which job.
func (cs *clusters) track(a *api.Allocation, live bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if !live {
		delete(cs.live, a.UID)
		return
	}
	if _, known := cs.live[a.UID]; !known {
		if p := cs.open[a.Spec.Cluster]; p != nil {
			select {
			case p.kicked <- struct{}{}:
			default:
			}
		}
	}
	cs.live[a.UID] = tracked{types.NamespacedName{Namespace: a.Namespace, Name: a.Name}, a.Spec.Cluster, a.Status.JobID}
}

// forget drops what the pollers know of live Allocations: they are about to be listed anew.
func (cs *clusters) forget() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	clear(cs.live)
}

// liveOn returns the live Allocations of a cluster.
func (cs *clusters) liveOn(cluster string) map[types.UID]tracked {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	out := map[types.UID]tracked{}
	for uid, t := range cs.live {
		if t.cluster == cluster {
			out[uid] = t
		}
	}
	return out
}

func (cs *clusters) workdirOf(spec *api.ClusterSpec) string {
	if spec.Workdir != "" {
		return spec.Workdir
	}
	return filepath.Join(cs.cfg.Home, "work")
}

// report tells on the Cluster object that the cluster cannot be reached, or can again.
func (cs *clusters) report(ctx context.Context, name string, outage error) {
	cond := metav1.Condition{Type: "Reachable", Status: metav1.ConditionTrue, Reason: "Answers", Message: "the cluster answers"}
	kind := api.EventNormal
	if outage != nil {
		kind = api.EventWarning
		cond = metav1.Condition{Type: "Reachable", Status: metav1.ConditionFalse, Reason: "Outage", Message: outage.Error()}
		if errors.Is(outage, slurmadapter.ErrMissing) {
			cond.Reason = "CommandsMissing"
		}
	}
	err := cs.updateStatus(ctx, name, func(tx *store.Tx, c *api.Cluster) error {
		if !meta.SetStatusCondition(&c.Status.Conditions, cond) {
			return nil
		}
		return tx.Event(c, kind, "Reachability", cond.Message)
	})
	if err != nil && ctx.Err() == nil {
		cs.log.Warn("write the cluster's status", "cluster", name, "error", err)
	}
}

func (cs *clusters) updateStatus(ctx context.Context, name string, change func(*store.Tx, *api.Cluster) error) error {
	return cs.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		obj, err := tx.Get(api.KindCluster, "", name)
		if err != nil {
			return err
		}
		c, ok := obj.(*api.Cluster)
		if !ok {
			return fmt.Errorf("cluster %s is stored as %T", name, obj)
		}
		if err := change(tx, c); err != nil {
			return err
		}
		return tx.PutStatus(c)
	})
}

// ensureDir makes a folder of ours, private.
func ensureDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return nil
}
