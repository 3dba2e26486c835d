package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/slurmadapter"
	"github.com/benchd/benchd/store"
)

// BenchmarkReconcile is what steps cost in a store of few and of many finished runs. A step that writes commits once, which syncs
// twice.
func BenchmarkReconcile(b *testing.B) {
	for _, runs := range []int{100, 100_000} {
		st := filled(b, runs)
		sweep := &api.BenchmarkSweep{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "grid"}}
		sweep.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkSweep))
		sweep.Spec.Template.Spec = validRun().Spec
		sweep.Spec.Parameters = []api.ParameterSpec{{Path: "workload.load.clientsPerNode", Values: []any{1.0}}}
		sweep.Spec.Repeats = 50
		api.SetDefaults(sweep)
		if err := st.Create(b.Context(), sweep); err != nil {
			b.Fatal(err)
		}
		expand := &sweepReconciler{store: st, admit: func(api.Object) field.ErrorList { return nil }, log: slog.New(slog.DiscardHandler)}
		if _, err := expand.reconcile(b.Context(), gridKey); err != nil {
			b.Fatal(err)
		}
		name := types.NamespacedName{Namespace: "default", Name: "grid-clientspernode1-r7"}
		run := &runReconciler{store: st, log: slog.New(slog.DiscardHandler)}
		b.Run(fmt.Sprintf("waiting-run/%d", runs), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := run.reconcile(b.Context(), name); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("run-ends-and-is-counted/%d", runs), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r, err := store.Get[*api.BenchmarkRun](b.Context(), st, name.Namespace, name.Name)
				if err != nil {
					b.Fatal(err)
				}
				pass := &runPass{runReconciler: run, ctx: b.Context(), run: r, before: api.RunReporting}
				r.Status.Phase, r.Status.Message = api.RunCompleted, fmt.Sprint(i)
				if err := pass.write(); err != nil {
					b.Fatal(err)
				}
			}
		})
		roster := newRoster()
		roster.setListed(api.KindBenchmarkRun)
		roster.setListed(api.KindAllocation)
		p := newPlanner(st, nil, roster, slog.New(slog.DiscardHandler))
		b.Run(fmt.Sprintf("sweep-with-nothing-to-do/%d", runs), func(b *testing.B) {
			b.ReportAllocs()
			roster.behind[sweep.UID] = metav1.Now().Add(-patience * 2)
			for b.Loop() {
				if _, err := p.reconcileSweep(b.Context(), gridKey); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPlanning is a look at a sweep that has as many Allocations as it may have, with few and with many runs that wait: what each
// change of one of its runs costs.
func BenchmarkPlanning(b *testing.B) {
	for _, waiting := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("sweep-with-waiting-runs/%d", waiting), func(b *testing.B) {
			st := filled(b, 0)
			sweep := &api.BenchmarkSweep{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "grid"}}
			sweep.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkSweep))
			sweep.Spec.Template.Spec = validRun().Spec
			sweep.Spec.Parameters = []api.ParameterSpec{{Path: "workload.load.clientsPerNode", Values: []any{1.0}}}
			sweep.Spec.Parallelism = 2
			api.SetDefaults(sweep)
			if err := st.Create(b.Context(), sweep); err != nil {
				b.Fatal(err)
			}
			sweep.Status.ObservedGeneration, sweep.Status.Allocations = 1, 4
			if err := st.PutStatus(b.Context(), sweep); err != nil {
				b.Fatal(err)
			}
			roster := newRoster()
			roster.setListed(api.KindBenchmarkRun)
			roster.setListed(api.KindAllocation)
			owner := []metav1.OwnerReference{*metav1.NewControllerRef(sweep, api.GroupVersion.WithKind(api.KindBenchmarkSweep))}
			run := func(i int) *api.BenchmarkRun {
				r := validRun()
				r.Namespace, r.Name, r.OwnerReferences = "default", fmt.Sprintf("grid-%06d", i), owner
				api.SetDefaults(r)
				r.Status.Phase, r.Status.Attempts = api.RunPending, make([]api.Attempt, 1)
				return r
			}
			for i := range waiting {
				roster.run(run(i), false)
			}
			for i := range 4 {
				bound := run(waiting + i)
				a := NewAllocation(bound, fmt.Sprintf("grid-a%d", i+1))
				a.UID, a.OwnerReferences, a.Status.Phase = types.UID(a.Name), owner, api.AllocationReady
				a.Spec.Slurm.TimeLimit = api.SlurmTime(plan.TimeLimit([]plan.Work{WorkOf(&sweep.Spec, bound)}))
				if i >= 2 {
					a.Status.Phase, a.Spec.After = api.AllocationQueued, &api.AfterSpec{Allocation: fmt.Sprintf("grid-a%d", i-1)}
				}
				bound.Status.AllocationRef = &api.AllocationRef{Name: a.Name, UID: string(a.UID), Attempt: 1, Order: 1}
				roster.run(bound, false)
				roster.allocation(a, false)
			}
			p := newPlanner(st, nil, roster, slog.New(slog.DiscardHandler))
			b.ReportAllocs()
			for b.Loop() {
				if res, err := p.reconcileSweep(b.Context(), gridKey); err != nil || res != (result{}) {
					b.Fatal(res, err)
				}
			}
		})
	}
}

// filled is a store of finished runs.
func filled(b *testing.B, runs int) *store.Store {
	b.Helper()
	st, err := store.Open(filepath.Join(b.TempDir(), "benchd.db"), store.Options{Live: api.Live})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := st.Close(); err != nil {
			b.Error(err)
		}
	})
	for at := 0; at < runs; at += 500 {
		err := st.Update(b.Context(), func(tx *store.Tx) error {
			for i := at; i < min(runs, at+500); i++ {
				run := validRun()
				run.Namespace, run.Name, run.UID = "default", fmt.Sprintf("done-%06d", i), ""
				api.SetDefaults(run)
				run.Status.Phase = api.RunCompleted
				if err := tx.Create(run); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return st
}

// seenCluster tells when a look has shown a job as running.
type seenCluster struct {
	*fakeCluster
	running chan time.Time
	watched string
}

func (c *seenCluster) List(ctx context.Context) ([]slurmadapter.Job, error) {
	jobs, err := c.fakeCluster.List(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range jobs {
		if j.ID == c.watched && j.State == slurmadapter.Running {
			c.watched = ""
			c.running <- time.Now()
		}
	}
	return jobs, err
}

// BenchmarkReaction is the time from a look at the queue that shows a job running until the Allocation has gone on, with a sweep of
// 10,000 trials of which 100 are in the queue.
func BenchmarkReaction(b *testing.B) {
	home := b.TempDir()
	st, err := store.Open(filepath.Join(home, "benchd.db"), store.Options{Live: api.Live})
	if err != nil {
		b.Fatal(err)
	}
	binary := filepath.Join(home, "benchd")
	if err := os.WriteFile(binary, []byte("a binary"), 0o700); err != nil {
		b.Fatal(err)
	}
	cluster := &seenCluster{fakeCluster: &fakeCluster{jobs: map[string]*slurmadapter.Job{}}, running: make(chan time.Time, 1)}
	m, err := New(Config{
		Store: st, Home: home, Binary: binary, Log: slog.New(slog.DiscardHandler), NewCluster: func(*api.Cluster, string, string) (Cluster, error) { return cluster, nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	c := &api.Cluster{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: api.ClusterSpec{PollInterval: metav1.Duration{Duration: 200 * time.Millisecond}}}
	c.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindCluster))
	api.SetDefaults(c)
	sweep := &api.BenchmarkSweep{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "grid"}}
	sweep.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkSweep))
	sweep.Spec.Template.Spec = validRun().Spec
	sweep.Spec.Template.Spec.Cluster, sweep.Spec.Parallelism, sweep.Spec.Repeats, sweep.Spec.Sharing.Isolation = "c", 200, 10_000, api.IsolationPerTrial
	sweep.Spec.Parameters = []api.ParameterSpec{{Path: "workload.load.clientsPerNode", Values: []any{1.0}}}
	api.SetDefaults(sweep)
	for _, obj := range []api.Object{c, sweep} {
		if err := st.Create(b.Context(), obj); err != nil {
			b.Fatal(err)
		}
	}
	queued := func() int {
		cluster.mu.Lock()
		defer cluster.mu.Unlock()
		return len(cluster.released)
	}
	for queued() < 100 {
		<-time.After(50 * time.Millisecond)
	}
	<-time.After(2 * time.Second)
	var total, most time.Duration
	n := 0
	for b.Loop() {
		n++
		id := cluster.released[n%100]
		cluster.set(func() {
			cluster.watched = id
			cluster.jobs[id].State, cluster.jobs[id].Nodes = slurmadapter.Running, "n1"
		})
		seen := <-cluster.running
		for !started(b, st, id) {
			<-time.After(200 * time.Microsecond)
		}
		took := time.Since(seen)
		total, most = total+took, max(most, took)
		if n == 90 {
			break
		}
	}
	b.ReportMetric(float64(total.Microseconds())/1000/float64(n), "ms-mean")
	b.ReportMetric(float64(most.Microseconds())/1000, "ms-max")
	cancel()
	if err := errors.Join(<-ended, st.Close()); err != nil {
		b.Fatal(err)
	}
}

// started says whether the Allocation of a job has gone on.
func started(b *testing.B, st *store.Store, job string) bool {
	b.Helper()
	live, err := st.ListLive(b.Context(), api.KindAllocation)
	if err != nil {
		b.Fatal(err)
	}
	for _, obj := range live.Items {
		if a, ok := obj.(*api.Allocation); ok && a.Status.JobID == job {
			return a.Status.Phase != api.AllocationQueued
		}
	}
	return false
}
