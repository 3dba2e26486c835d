package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/report"
	"github.com/benchd/benchd/store"
)

// retention archives or deletes the finished runs of a cluster that are beyond what it is to keep. It looks at all of them, and so
// looks once an interval, or when asked to.
type retention struct {
	store    *store.Store
	clusters *clusters
	now      func() time.Time
	log      *slog.Logger

	mu   sync.Mutex
	last map[string]retentionLook // by cluster; may be forgotten
}

// retentionLook is when a cluster's runs were last looked at, and for which request.
type retentionLook struct {
	at     time.Time
	prune  string
	behind bool // there was more to do
}

const (
	// expireBatch is how many runs go in one look, which reads all that there are.
	expireBatch = 500
	// retentionPage is how many objects are read at once.
	retentionPage = 500
)

func (r *retention) reconcile(ctx context.Context, key types.NamespacedName) (result, error) {
	c, err := store.Get[*api.Cluster](ctx, r.store, "", key.Name)
	if err != nil || c.Spec.Retention == nil {
		return result{}, ignoreGone(err)
	}
	policy, asked := c.Spec.Retention, c.Annotations[api.AnnotationPrune]
	r.mu.Lock()
	last, known := r.last[c.Name]
	r.mu.Unlock()
	if wait := last.at.Add(policy.Interval.Duration).Sub(r.now()); known && wait > 0 && last.prune == asked && !last.behind {
		return result{after: wait}, nil
	}
	p, err := r.clusters.get(ctx, c.Name)
	if err != nil {
		return result{after: policy.Interval.Duration}, nil // told where the cluster is needed
	}
	runs, err := FinishedRuns(ctx, storeLister{r.store}, c.Name)
	if err != nil {
		return result{}, err
	}
	expired := plan.Expire(runs, policy, r.now())
	look := retentionLook{at: r.now(), prune: asked, behind: len(expired) > expireBatch}
	for _, f := range expired[:min(len(expired), expireBatch)] {
		if err := r.expire(ctx, p.workdir(), f, policy.Action); err != nil {
			return result{}, fmt.Errorf("%s run %s: %w", policy.Action, f.Name, err)
		}
	}
	if !look.behind {
		if err := r.allocations(ctx, c.Name, policy); err != nil {
			return result{}, err
		}
	}
	r.mu.Lock()
	r.last[c.Name] = look
	r.mu.Unlock()
	if look.behind {
		return result{after: time.Second}, nil
	}
	return result{after: policy.Interval.Duration}, nil
}

// expire lets one run go: packed first, when it is to be archived. Then it is deleted as its user would with --purge. A kill in between
// is gone on from: what is packed is not packed again.
func (r *retention) expire(ctx context.Context, workdir string, f plan.Finished, action api.RetentionAction) error {
	run, err := store.Get[*api.BenchmarkRun](ctx, r.store, f.Namespace, f.Name)
	if err != nil || string(run.UID) != f.UID || !run.Status.Phase.Terminal() {
		return ignoreGone(err)
	}
	if _, pinned := run.Annotations[api.AnnotationPin]; pinned {
		return nil // meanwhile
	}
	if action == api.RetentionArchive {
		if err := archiveRun(workdir, run); err != nil {
			return err
		}
	}
	r.log.Info("a finished run is kept no longer", "run", f.Namespace+"/"+f.Name, "action", action, "ended", f.Ended)
	metav1.SetMetaDataAnnotation(&run.ObjectMeta, api.AnnotationPurge, "retention")
	return r.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Put(run); err != nil {
			return err
		}
		_, err := tx.Delete(api.KindBenchmarkRun, run.Namespace, run.Name, f.UID)
		return err
	})
}

// archiveRun packs what a run left, and the object itself.
func archiveRun(workdir string, run *api.BenchmarkRun) error {
	name := fmt.Sprintf("%s-%.8s", run.Name, run.UID)
	var folders []string // those that the run's deletion removes, wherever the work folder was
	for _, a := range run.Status.Attempts {
		if folder := filepath.Dir(a.Folder); a.Folder != "" && !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	dir := filepath.Join(workdir, run.Namespace, "archive")
	if err := ensureDir(dir); err != nil {
		return err
	}
	return report.Archive(folders, filepath.Join(dir, name+".tar.gz"), run)
}

// allocations removes what ended Allocations of sweeps left, once no run refers to them any more: those of lone runs go with them.
func (r *retention) allocations(ctx context.Context, cluster string, policy *api.RetentionSpec) error {
	used := map[string]bool{}
	err := eachPage(ctx, storeLister{r.store}, api.KindBenchmarkRun, func(obj api.Object) {
		if run, ok := obj.(*api.BenchmarkRun); ok {
			for _, a := range run.Status.Attempts {
				used[run.Namespace+"/"+a.Allocation] = true
			}
		}
	})
	if err != nil {
		return err
	}
	var gone []*api.Allocation
	err = eachPage(ctx, storeLister{r.store}, api.KindAllocation, func(obj api.Object) {
		a, ok := obj.(*api.Allocation)
		if !ok || a.Spec.Cluster != cluster || sweepOf(a) == "" || !a.Status.Phase.Terminal() || used[a.Namespace+"/"+a.Name] || a.Status.PhaseSince == nil {
			return
		}
		if policy.After != nil && r.now().Sub(a.Status.PhaseSince.Time) <= policy.After.Duration {
			return
		}
		gone = append(gone, a)
	})
	if err != nil {
		return err
	}
	for _, a := range gone {
		if a.Status.Folder != "" {
			if err := os.RemoveAll(a.Status.Folder); err != nil {
				return fmt.Errorf("remove the folder of allocation %s: %w", a.Name, err)
			}
		}
		if _, err := r.store.Delete(ctx, api.KindAllocation, a.Namespace, a.Name, string(a.UID)); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// Lister reads objects a page at a time.
type Lister interface {
	// Page returns a page of objects of a kind, and where the next one begins; empty after the last.
	Page(ctx context.Context, kind, from string) ([]api.Object, string, error)
}

// storeLister lists a store.
type storeLister struct{ store *store.Store }

func (l storeLister) Page(ctx context.Context, kind, from string) ([]api.Object, string, error) {
	list, err := l.store.List(ctx, kind, store.ListOptions{Limit: retentionPage, Continue: from})
	return list.Items, list.Continue, err
}

func eachPage(ctx context.Context, l Lister, kind string, visit func(api.Object)) error {
	from := ""
	for {
		items, next, err := l.Page(ctx, kind, from)
		if err != nil {
			return err
		}
		for _, obj := range items {
			visit(obj)
		}
		if next == "" {
			return nil
		}
		from = next
	}
}

// FinishedRuns are the runs of a cluster that have ended, each with why it must stay, if it must.
func FinishedRuns(ctx context.Context, l Lister, cluster string) ([]plan.Finished, error) {
	liveSweeps, latest := map[string]bool{}, map[string]bool{}
	baselines := map[string]string{}
	err := eachPage(ctx, l, api.KindBenchmarkSweep, func(obj api.Object) {
		if s, ok := obj.(*api.BenchmarkSweep); ok {
			_, pinned := s.Annotations[api.AnnotationPin]
			liveSweeps[string(s.UID)] = pinned || s.Status.Phase != api.SweepCompleted
		}
	})
	if err == nil {
		err = eachPage(ctx, l, api.KindBenchmarkSchedule, func(obj api.Object) {
			if s, ok := obj.(*api.BenchmarkSchedule); ok && s.Status.LastScheduleTime != nil {
				latest[string(s.UID)+s.Status.LastScheduleTime.UTC().Format(time.RFC3339)] = true
			}
		})
	}
	var finished []plan.Finished
	if err == nil {
		err = eachPage(ctx, l, api.KindBenchmarkRun, func(obj api.Object) {
			run, ok := obj.(*api.BenchmarkRun)
			if !ok {
				return
			}
			if other := run.Annotations[api.AnnotationBaseline]; other != "" {
				baselines[run.Namespace+"/"+other] = run.Name
			}
			if run.Spec.Cluster != cluster || !run.Status.Phase.Terminal() || run.DeletionTimestamp != nil {
				return
			}
			finished = append(finished, finishedRun(run, liveSweeps, latest))
		})
	}
	for i := range finished {
		f := &finished[i]
		if by := baselines[f.Namespace+"/"+f.Name]; by != "" && f.Needed == "" {
			f.Needed = "run " + by + " is compared with it"
		}
	}
	return finished, err
}

func finishedRun(run *api.BenchmarkRun, liveSweeps, latest map[string]bool) plan.Finished {
	f := plan.Finished{Namespace: run.Namespace, Name: run.Name, UID: string(run.UID), Ended: run.CreationTimestamp.Time}
	if at := run.Status.CompletionTime; at != nil {
		f.Ended = at.Time
	}
	for _, file := range run.Status.Reports {
		f.Bytes += file.Size
	}
	owner := metav1.GetControllerOfNoCopy(run)
	_, pinned := run.Annotations[api.AnnotationPin]
	switch {
	case pinned:
		f.Needed = "pinned"
	case owner != nil && liveSweeps[string(owner.UID)]:
		f.Needed = "sweep " + owner.Name + " goes on, or is pinned"
	case owner != nil && latest[string(owner.UID)+run.Annotations[api.AnnotationScheduledAt]]:
		f.Needed = "the latest of schedule " + owner.Name
	}
	return f
}
