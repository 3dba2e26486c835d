package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/slurmadapter"
	"github.com/benchd/benchd/store"
)

// sweep makes a sweep on cluster c, and lets everything come to rest.
func (w *world) sweep(change func(*api.BenchmarkSweepSpec)) {
	w.t.Helper()
	sweep := &api.BenchmarkSweep{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "grid"}}
	sweep.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkSweep))
	sweep.Spec.Template.Spec = validRun().Spec
	sweep.Spec.Template.Spec.Cluster = "c"
	change(&sweep.Spec)
	api.SetDefaults(sweep)
	if err := w.store.Create(w.t.Context(), sweep); err != nil {
		w.t.Fatal(err)
	}
	w.wait(10 * time.Second)
}

// end ends a run, as its reconciler does.
func (w *world) end(name string, phase api.RunPhase, summary *api.Summary) {
	w.t.Helper()
	run := w.get(name)
	pass := &runPass{runReconciler: &runReconciler{store: w.store}, ctx: w.t.Context(), run: run, before: run.Status.Phase}
	run.Status.Phase, run.Status.Summary = phase, summary
	if err := pass.write(); err != nil {
		w.t.Fatal(err)
	}
	w.wait(10 * time.Second)
}

// An Allocation that is deleted by hand costs runs that it had not come to no attempt.
func TestSweepWhoseAllocationIsDeleted(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.cluster1("c", func(*api.ClusterSpec) {})
		w.sweep(func(s *api.BenchmarkSweepSpec) {
			none := int32(0)
			s.Template.Spec.BackoffLimit = &none
			s.Parameters = []api.ParameterSpec{{Path: "workload.load.clientsPerNode", Values: []any{1.0, 2.0}}}
		})
		if _, err := w.store.Delete(t.Context(), api.KindAllocation, "default", "grid-a1", ""); err != nil {
			t.Fatal(err)
		}
		w.wait(5 * time.Minute)
		for _, name := range []string{"grid-clientspernode1", "grid-clientspernode2"} {
			run := w.get(name)
			if len(run.Status.Attempts) != 2 || run.Status.Attempts[0].Outcome.Reason != node.ReasonNotStarted || run.Status.AllocationRef.Name != "grid-a2" {
				t.Errorf("%s is %s: %s", name, run.Status.Phase, run.Status.Message)
			}
		}
	})
}

// A job that somebody cancels before the lead came to any run costs these no attempt either; those of a job that is cancelled
// again and again are asked for less and less often.
func TestSweepWhoseJobIsCancelledInTheQueue(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.cluster1("c", func(*api.ClusterSpec) {})
		w.sweep(func(s *api.BenchmarkSweepSpec) {
			none := int32(0)
			s.Template.Spec.BackoffLimit = &none
			s.Parameters = []api.ParameterSpec{{Path: "workload.load.clientsPerNode", Values: []any{1.0, 2.0}}}
		})
		w.cluster.set(func() { w.cluster.jobs["1"].State, w.cluster.jobs["1"].Reason = slurmadapter.Cancelled, "" })
		w.wait(5 * time.Minute)
		for _, name := range []string{"grid-clientspernode1", "grid-clientspernode2"} {
			run := w.get(name)
			if len(run.Status.Attempts) != 2 || run.Status.Attempts[0].Outcome.Reason != node.ReasonNotStarted {
				t.Errorf("%s is %s: %s", name, run.Status.Phase, run.Status.Message)
			}
		}
		for range 600 {
			w.cluster.set(func() {
				for _, j := range w.cluster.jobs {
					if j.State == slurmadapter.Pending && j.Reason == "Resources" {
						j.State, j.Reason = slurmadapter.Cancelled, ""
					}
				}
			})
			w.wait(10 * time.Second)
		}
		if n := len(w.cluster.jobs); n > 40 {
			t.Errorf("%d jobs were submitted in 100 minutes, each was cancelled", n)
		}
	})
}

// A search that has ended at one point gives that point's servers back while it goes on at another, which needs others.
func TestSearchGivesServersBackPointByPoint(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.cluster1("c", func(*api.ClusterSpec) {})
		w.sweep(func(s *api.BenchmarkSweepSpec) {
			s.Strategy, s.Search = api.StrategySearch, &api.SearchSpec{Path: "workload.load.clientsPerNode", Min: 1, Max: 64}
			s.Template.Spec.Workload.SLO.TTFT = &metav1.Duration{Duration: time.Second}
			s.Parameters = []api.ParameterSpec{{Path: "nodes.servers.cpus", Values: []any{1.0, 2.0}}}
		})
		good, bad := 1.0, 0.0
		w.end("grid-cpus1-clientspernode1", api.RunCompleted, &api.Summary{GoodputShare: &good, Verdict: "Valid"})
		if run := w.get("grid-cpus1-clientspernode2"); run.Status.AllocationRef != nil {
			t.Errorf("the next probe is bound to %+v before the servers are ready", run.Status.AllocationRef)
		}
		if a, err := store.Get[*api.Allocation](t.Context(), w.store, "default", "grid-a1"); err != nil || a.Spec.Release {
			t.Fatalf("the servers of a point that is searched were given back: %v", err)
		}
		w.end("grid-cpus1-clientspernode2", api.RunCompleted, &api.Summary{GoodputShare: &bad, Verdict: "Valid"})
		if run := w.get("grid-cpus2-clientspernode1"); run.Status.AllocationRef == nil {
			t.Error("the second point waits for the servers of the first one, which nobody needs")
		}
	})
}

// A run that was bound when its Allocation went, and had not seen it yet, is bound anew.
func TestRunWhoseAllocationIsGoneBeforeItSawIt(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.cluster1("c", func(*api.ClusterSpec) {})
		w.run("early", "later")
		run := w.get("early")
		run.Status.AllocationRef = &api.AllocationRef{Name: "early-1", UID: "gone", Attempt: 1, Order: 1}
		if err := w.store.PutStatus(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		w.cluster1("later", func(*api.ClusterSpec) {})
		w.wait(time.Minute)
		if run := w.get("early"); run.Status.Phase != api.RunDeploying {
			t.Errorf("early is %s: %s", run.Status.Phase, run.Status.Message)
		}
	})
}
