package controllers

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/report"
	"github.com/benchd/benchd/store"
)

// sweepReporter keeps the folder of a sweep's results up to date while runs end. It reads all of a sweep's runs to do so, and so
// does it at most once in a while, and once more at the end.
type sweepReporter struct {
	store    *store.Store
	clusters *clusters
	log      *slog.Logger

	mu sync.Mutex
	// kept is of sweeps that go on. It may be forgotten: results are then written sooner, from reports that are read again.
	kept map[types.NamespacedName]*keptResults
}

type keptResults struct {
	uid     types.UID
	written time.Time // the last time
	reports report.Reports
}

// keep is what is known of the results of a sweep; of one that went nothing is, even when another of its name has come.
func (r *sweepReporter) keep(key types.NamespacedName, uid types.UID) *keptResults {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.kept[key]; k != nil && k.uid == uid {
		return k
	}
	k := &keptResults{uid: uid, reports: report.Reports{}}
	r.kept[key] = k
	return k
}

func (r *sweepReporter) drop(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.kept, key)
}

// resultsEvery is how often the results of a sweep that goes on are written at most; with many runs, less often.
const resultsEvery = 10 * time.Second

func (r *sweepReporter) reconcile(ctx context.Context, key types.NamespacedName) (result, error) {
	sweep, err := store.Get[*api.BenchmarkSweep](ctx, r.store, key.Namespace, key.Name)
	if err != nil || sweep.DeletionTimestamp != nil {
		r.drop(key)
		return result{}, ignoreGone(err)
	}
	st := &sweep.Status
	// A search that goes on without a run is about to make one, or to say what it found: that wakes this sweep.
	if st.Reported == st.Ended() || st.Phase == api.SweepActive && st.Ended() >= st.Total {
		return result{}, nil
	}
	kept := r.keep(key, sweep.UID)
	every := resultsEvery * time.Duration(1+st.Total/500)
	if wait := time.Until(kept.written.Add(every)); wait > 0 && st.Phase != api.SweepCompleted {
		return result{after: wait}, nil
	}
	folder, err := r.write(ctx, sweep, kept.reports)
	if err != nil {
		if _, message, is := fileProblem(err); is {
			r.log.Warn("the results of a sweep could not be written, will be repeated", "sweep", key.String(), "error", message)
			return result{after: fileRetry}, nil
		}
		return result{}, err
	}
	kept.written = time.Now() // by one at a time: a sweep has one worker
	if st.Phase == api.SweepCompleted {
		r.drop(key)
	}
	return result{}, updateSweep(ctx, r.store, sweep, func(_ *store.Tx, s *api.BenchmarkSweep) error {
		s.Status.Folder = folder
		if s.Status.Total == st.Total && sameJSON(s.Status.Limits, st.Limits) { // else what was written is behind already
			s.Status.Reported = st.Ended()
		}
		return nil
	})
}

// write computes the results from the runs that there are, and what is remembered of those that were let go, and writes them. It reads the reports that are not known yet.
func (r *sweepReporter) write(ctx context.Context, sweep *api.BenchmarkSweep, known report.Reports) (string, error) {
	cluster := sweep.Spec.Template.Spec.Cluster
	if cluster == "" {
		cluster = api.ClusterNameDefault
	}
	p, err := r.clusters.get(ctx, cluster)
	if err != nil {
		return "", err
	}
	owned, err := r.store.Owned(ctx, string(sweep.UID))
	if err != nil {
		return "", err
	}
	var trials []report.Trial
	present := map[string]bool{}
	for _, obj := range owned {
		run, ok := obj.(*api.BenchmarkRun)
		if !ok || goes(run) {
			continue
		}
		t, err := report.TrialOf(run, known)
		if err != nil {
			return "", err
		}
		trials, present[t.UID] = append(trials, t), true
	}
	folder := filepath.Join(p.workdir(), sweep.Namespace, "sweeps", fmt.Sprintf("%s-%.8s", sweep.Name, sweep.UID))
	before := cmp.Or(sweep.Status.Folder, folder)
	released, err := report.Released(before, func(uid string) bool { return present[uid] })
	if err != nil {
		return "", err
	}
	if _, err := report.WriteSweep(folder, report.Sweep(sweep, append(trials, released...))); err != nil {
		return "", err
	}
	for i := range released { // the cluster's work folder was moved
		if before == folder {
			break
		}
		if err := report.KeepReleased(folder, released[i]); err != nil {
			return "", err
		}
	}
	return folder, nil
}
