package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/report"
	"github.com/benchd/benchd/store"
)

// retention archives or deletes the finished runs of a cluster that are beyond what it is to keep. It looks at all of them, and so
// looks once an interval, or when asked to, and works off what it found a batch at a time.
type retention struct {
	store    *store.Store
	clusters *clusters
	// guard says whether this process may still remove anything.
	guard func() error
	now   func() time.Time
	log   *slog.Logger

	mu    sync.Mutex
	looks map[string]*retentionLook // by cluster; may be forgotten: then another look is taken
}

// retentionLook is one look at a cluster's finished runs, and how far what it found is worked off.
type retentionLook struct {
	at     time.Time
	asked  string
	policy api.RetentionSpec
	found  *survey
	todo   []plan.Finished
	// needed are runs that were referred to after the look.
	needed map[string]bool
	done   bool

	gone, folders, failed int
	problems              []string // the first of them
}

// problem notes what went wrong with one object.
func (l *retentionLook) problem(err error) {
	if l.failed++; l.failed <= maxProblems {
		l.problems = append(l.problems, err.Error())
	}
}

const (
	// expireBatch is how many runs go in one reconcile.
	expireBatch = 20
	// retentionPause lies between two batches.
	retentionPause = 50 * time.Millisecond
	// allocationGrace is how long after its end an Allocation's folder is let be: last files may become visible late, and a late
	// duplicate of its job has to find what tells it to end.
	allocationGrace = time.Hour
	// maxProblems bounds what is kept of what went wrong.
	maxProblems = 3
)

// errKept says that a run has to stay after all.
var errKept = errors.New("it is kept after all")

func (r *retention) reconcile(ctx context.Context, key types.NamespacedName) (result, error) {
	c, err := store.Get[*api.Cluster](ctx, r.store, "", key.Name)
	if err != nil {
		r.keep(key.Name, nil)
		return result{}, ignoreGone(err)
	}
	policy, asked := policyOf(c)
	if policy == nil {
		r.keep(key.Name, nil)
		return result{}, nil
	}
	look, wait := r.current(c, policy, asked)
	if wait > 0 {
		return result{after: min(wait, maxTimer)}, nil
	}
	if look == nil {
		if look, err = r.look(ctx, c.Name, policy, asked); err != nil {
			return result{}, err
		}
	}
	for i := 0; i < expireBatch && len(look.todo) > 0; i++ {
		f := look.todo[0]
		look.todo = look.todo[1:]
		if err := r.one(ctx, c, look, f); err != nil {
			return result{}, err
		}
	}
	if len(look.todo) > 0 {
		return result{after: retentionPause}, nil
	}
	if err := r.allocations(ctx, c.Name, look); err != nil {
		return result{}, err
	}
	if err := r.tell(ctx, c.Name, look); err != nil {
		return result{}, err
	}
	r.mu.Lock()
	look.done, look.found = true, nil
	r.mu.Unlock()
	return result{after: min(look.policy.Interval.Duration, maxTimer)}, nil
}

// policyOf is what a cluster is to keep, nil for everything, and the last request for a look. One that is not answered yet may say
// what is to be kept this once.
func policyOf(c *api.Cluster) (policy *api.RetentionSpec, asked string) {
	asked = c.Annotations[api.AnnotationPrune]
	if last := c.Status.Retention; asked != "" && (last == nil || last.Asked != asked) {
		var request api.PruneRequest
		if err := json.Unmarshal([]byte(asked), &request); err == nil && request.Retention != nil {
			return request.Retention, asked
		}
	}
	return c.Spec.Retention, asked
}

// current is the look that is being worked off, or how long it is until the next one.
func (r *retention) current(c *api.Cluster, policy *api.RetentionSpec, asked string) (*retentionLook, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	look := r.looks[c.Name]
	switch {
	case look != nil && (look.asked != asked || !sameJSON(&look.policy, policy)):
		return nil, 0
	case look != nil && !look.done:
		return look, 0
	case look != nil:
		return nil, look.at.Add(policy.Interval.Duration).Sub(r.now())
	}
	if last := c.Status.Retention; last != nil && last.Asked == asked { // before this process began
		return nil, last.Time.Add(policy.Interval.Duration).Sub(r.now())
	}
	return nil, 0
}

func (r *retention) keep(cluster string, look *retentionLook) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if look == nil {
		delete(r.looks, cluster)
		return
	}
	r.looks[cluster] = look
}

// notice keeps a run that something begins to refer to while a look is being worked off.
func (r *retention) notice(obj api.Object) {
	names := baselinesOf(obj)
	if len(names) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, look := range r.looks {
		for _, name := range names {
			look.needed[name] = true
		}
	}
}

// look finds out what is to go.
func (r *retention) look(ctx context.Context, cluster string, policy *api.RetentionSpec, asked string) (*retentionLook, error) {
	look := &retentionLook{at: r.now(), asked: asked, policy: *policy, needed: map[string]bool{}}
	r.keep(cluster, look) // before the runs are read, so that no reference falls between
	found, err := surveyRuns(ctx, storeLister{r.store}, cluster)
	if err != nil {
		r.keep(cluster, nil)
		return nil, err
	}
	look.found, look.todo = found, plan.Expire(found.finished, &look.policy, look.at)
	return look, nil
}

// one lets one run go. What goes wrong with it is told, and keeps no other from going.
func (r *retention) one(ctx context.Context, c *api.Cluster, look *retentionLook, f plan.Finished) error {
	r.mu.Lock()
	needed := look.needed[f.Namespace+"/"+f.Name]
	r.mu.Unlock()
	if needed {
		return nil
	}
	run, err := r.expire(ctx, c, f, &look.policy)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errKept), apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return nil // changed meanwhile: the next look sees how
	case err != nil:
		if guarded := r.guard(); guarded != nil {
			return guarded
		}
		r.log.Warn("a finished run could not go, the next look tries again", "run", f.Namespace+"/"+f.Name, "action", look.policy.Action, "error", err)
		look.problem(err)
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			look.todo = nil // the others would be written in vain too
		}
		return nil
	}
	r.log.Info("a finished run is kept no longer", "run", f.Namespace+"/"+f.Name, "action", look.policy.Action, "ended", f.Ended)
	look.gone++
	look.found.release(run)
	return nil
}

// purgeByRetention is the purge annotation of a run that retention lets go.
const purgeByRetention = "retention"

// expire lets one run go: packed first, when it is to be archived. Then it is deleted as its user would with --purge. A kill in between
// is gone on from: what is packed is not packed again.
func (r *retention) expire(ctx context.Context, c *api.Cluster, f plan.Finished, policy *api.RetentionSpec) (*api.BenchmarkRun, error) {
	run, err := store.Get[*api.BenchmarkRun](ctx, r.store, f.Namespace, f.Name)
	if err != nil {
		return nil, err
	}
	if string(run.UID) != f.UID || !mayGo(run) {
		return nil, errKept
	}
	folders, err := runFolders(run)
	if err != nil {
		return nil, err
	}
	if policy.Action == api.RetentionArchive {
		if err := r.archive(ctx, c, policy, run, folders); err != nil {
			return nil, err
		}
	}
	if err := r.keepResult(ctx, run); err != nil {
		return nil, err
	}
	metav1.SetMetaDataAnnotation(&run.ObjectMeta, api.AnnotationPurge, purgeByRetention)
	if !slices.Contains(run.Finalizers, api.FinalizerCluster) {
		run.Finalizers = append(run.Finalizers, api.FinalizerCluster) // it is what removes the folders
	}
	return run, r.store.Update(ctx, func(tx *store.Tx) error {
		if err := releaseFromSweep(tx, run); err != nil {
			return err
		}
		if err := tx.Put(run); err != nil { // a conflict when it was pinned meanwhile
			return err
		}
		_, err := tx.Delete(api.KindBenchmarkRun, run.Namespace, run.Name, f.UID)
		return err
	})
}

func mayGo(run *api.BenchmarkRun) bool {
	_, pinned := run.Annotations[api.AnnotationPin]
	return run.Status.Phase.Terminal() && run.DeletionTimestamp == nil && !pinned
}

// releaseFromSweep notes in the run's sweep, as it is stored now, that the run goes; errKept when the sweep still needs it.
func releaseFromSweep(tx *store.Tx, run *api.BenchmarkRun) error {
	owner := metav1.GetControllerOfNoCopy(run)
	if sweepOf(run) == "" {
		return nil
	}
	return changeSweep(tx, run.Namespace, owner.Name, owner.UID, func(_ *store.Tx, sweep *api.BenchmarkSweep) error {
		if whyNeeded(sweep) != "" {
			return errKept
		}
		st := &sweep.Status
		if st.Released == nil {
			st.Released = &api.ReleasedRuns{}
		}
		gone := api.BenchmarkSweep{Spec: sweep.Spec, Status: api.BenchmarkSweepStatus{FailedPoints: st.Released.FailedPoints}}
		count(&gone.Status, run.Status.Phase)
		countPoint(&gone, run)
		st.Released.Succeeded += gone.Status.Succeeded
		st.Released.Failed += gone.Status.Failed
		st.Released.Cancelled += gone.Status.Cancelled
		st.Released.FailedPoints = gone.Status.FailedPoints
		spec := sweep.Spec
		spec.Template = api.RunTemplate{} // a trial is told by its values, whatever it was made of
		if !slices.ContainsFunc(st.Released.Specs, func(s api.BenchmarkSweepSpec) bool { return sameJSON(s, spec) }) {
			st.Released.Specs = append(st.Released.Specs, spec)
		}
		return nil
	})
}

// keepResult has the results of a run's sweep remember what the run came to.
func (r *retention) keepResult(ctx context.Context, run *api.BenchmarkRun) error {
	if sweepOf(run) == "" {
		return nil
	}
	owner := metav1.GetControllerOfNoCopy(run)
	sweep, err := store.Get[*api.BenchmarkSweep](ctx, r.store, run.Namespace, owner.Name)
	if err != nil || sweep.UID != owner.UID || sweep.Status.Folder == "" {
		return ignoreGone(err)
	}
	trial, err := report.TrialOf(run, nil)
	if err != nil {
		return err
	}
	return report.KeepReleased(sweep.Status.Folder, trial)
}

// archive packs what a run left, and the object itself.
func (r *retention) archive(ctx context.Context, c *api.Cluster, policy *api.RetentionSpec, run *api.BenchmarkRun, folders []string) error {
	dir := filepath.Join(r.clusters.workdirOf(&c.Spec), run.Namespace, "archive")
	if to := policy.ArchiveDir; to != "" {
		dir = filepath.Join(to, run.Namespace)
	}
	if err := ensureDir(dir); err != nil {
		return err
	}
	return report.Archive(ctx, folders, filepath.Join(dir, fmt.Sprintf("%s-%.8s.tar.gz", run.Name, run.UID)), run)
}

// runFolders are the folders that hold the run's attempts, by what its attempts say: the cluster's work folder may be another one by
// now. One that is not the run's own is an error, and so is one on a file system that is not there: nothing is to be taken for gone.
func runFolders(run *api.BenchmarkRun) ([]string, error) {
	var folders []string
	for _, a := range run.Status.Attempts {
		dir := filepath.Dir(a.Folder)
		if a.Folder == "" || slices.Contains(folders, dir) {
			continue
		}
		if !filepath.IsAbs(dir) || filepath.Base(dir) != fmt.Sprintf("%s-%.8s", run.Name, run.UID) || filepath.Base(filepath.Dir(dir)) != "runs" {
			return nil, fmt.Errorf("let run %s go: %s is no folder of its own: nothing is touched", run.Name, dir)
		}
		if _, err := os.Stat(filepath.Dir(dir)); err != nil {
			return nil, fmt.Errorf("let run %s go: %w: is the file system mounted?", run.Name, err)
		}
		folders = append(folders, dir)
	}
	return folders, nil
}

// allocations removes what ended Allocations of sweeps left, once no run refers to them any more: those of lone runs go with them.
func (r *retention) allocations(ctx context.Context, cluster string, look *retentionLook) error {
	ended := look.at.Add(-allocationGrace) // long before the look: whatever run was bound to it, the look has seen
	if after := look.policy.After; after != nil {
		ended = ended.Add(-after.Duration)
	}
	var gone []*api.Allocation
	err := storeLister{r.store}.Each(ctx, api.KindAllocation, func(obj api.Object) {
		a, ok := obj.(*api.Allocation)
		if !ok || a.Spec.Cluster != cluster || !a.Status.Phase.Terminal() || a.Status.PhaseSince == nil || a.Status.PhaseSince.After(ended) {
			return
		}
		if sweep := sweepOf(a); sweep != "" && look.found.needed[sweep] == "" && look.found.uses[a.Namespace+"/"+a.Name] <= 0 {
			gone = append(gone, a)
		}
	})
	if err != nil {
		return err
	}
	for _, a := range gone {
		if err := r.removeAllocation(ctx, a); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			look.problem(err)
			continue
		}
		look.folders++
	}
	return nil
}

// removeAllocation removes the folder first: an object that is gone tells nobody where its folder was.
func (r *retention) removeAllocation(ctx context.Context, a *api.Allocation) error {
	if err := r.guard(); err != nil {
		return err
	}
	if dir := a.Status.Folder; dir != "" {
		if filepath.Base(dir) != fmt.Sprintf("%s-%.8s", a.Name, a.UID) || filepath.Base(filepath.Dir(dir)) != "allocations" {
			return fmt.Errorf("let allocation %s go: %s is no folder of its own: nothing is touched", a.Name, dir)
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove the folder of allocation %s: %w", a.Name, err)
		}
		if err := node.SyncFolder(filepath.Dir(dir)); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove the folder of allocation %s: %w", a.Name, err)
		}
	}
	_, err := r.store.Delete(ctx, api.KindAllocation, a.Namespace, a.Name, string(a.UID))
	return ignoreGone(err)
}

// tell writes what a look came to.
func (r *retention) tell(ctx context.Context, cluster string, look *retentionLook) error {
	done := map[api.RetentionAction]string{api.RetentionArchive: "archived", api.RetentionDelete: "deleted"}[look.policy.Action]
	message := fmt.Sprintf("%d of %d finished runs %s, %d job folders removed", look.gone, len(look.found.finished), done, look.folders)
	if look.failed > 0 {
		message += fmt.Sprintf("; %d could not go, and are tried again: %s", look.failed, strings.Join(look.problems, "; "))
	}
	return r.clusters.updateStatus(ctx, cluster, func(tx *store.Tx, c *api.Cluster) error {
		c.Status.Retention = &api.RetentionStatus{
			Time: metav1.NewTime(look.at), Asked: look.asked, Gone: int64(look.gone), Failed: int64(look.failed), Message: message,
		}
		if look.failed == 0 {
			return nil
		}
		// The same words each time: a Cluster is never deleted, and its events with it.
		return tx.Event(c, api.EventWarning, "RetentionFailed", "some finished runs could not go: status.retention.message says why")
	})
}
