package controllers

import (
	"math"
	"os"
	"path/filepath"
	"strings"
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

// The node-hours of a job that Slurm has forgotten are counted: up to what its lead said last, or to its time limit.
func TestNodeHoursOfAForgottenJob(t *testing.T) {
	t.Parallel()
	const nodes = 2
	for name, sealed := range map[string]bool{"ended by its lead": true, "lost": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(w *world) {
				w.cluster1("c", func(*api.ClusterSpec) {})
				w.sweep(func(s *api.BenchmarkSweepSpec) {
					s.Parameters = []api.ParameterSpec{{Path: "workload.load.clientsPerNode", Values: []any{1.0, 2.0}}}
				})
				w.cluster.set(func() {
					j := w.cluster.jobs["1"]
					j.State, j.Reason, j.Nodes, j.Started = slurmadapter.Running, "", "n1", time.Now()
				})
				w.wait(4 * time.Minute)
				a, err := store.Get[*api.Allocation](t.Context(), w.store, "default", "grid-a1")
				if err != nil {
					t.Fatal(err)
				}
				w.cluster.set(func() {
					delete(w.cluster.jobs, "1")
					w.cluster.jobs["other"] = &slurmadapter.Job{ID: "other", Name: "somebody's"}
				})
				if sealed {
					exit := node.ExitRecord{JobID: "1", Reason: "all orders are done", Time: time.Now()}
					if err := node.WriteSealed(node.Folder(a.Status.Folder).Exit(), exit); err != nil {
						t.Fatal(err)
					}
				}
				w.wait(2 * lostAfter)
				sweep, err := store.Get[*api.BenchmarkSweep](t.Context(), w.store, "default", "grid")
				if err != nil {
					t.Fatal(err)
				}
				ran := (4 * time.Minute).Hours() * nodes
				most := ran + time.Minute.Hours()*nodes
				if !sealed {
					most += 2 * lostAfter.Hours() * nodes
				}
				if got := sweep.Status.NodeHours; got < ran || got > most {
					t.Errorf("%v node-hours, want %v to %v", got, ran, most)
				}
				a.Status.Job.StartTime = &metav1.Time{Time: time.Now().Add(-100 * time.Hour)} // while nobody watched
				a.Spec.Slurm.TimeLimit = "10:00:00"
				if err := w.store.Update(t.Context(), func(tx *store.Tx) error { return spent(tx, a) }); err != nil {
					t.Fatal(err)
				}
				before := sweep.Status.NodeHours
				if sweep, err = store.Get[*api.BenchmarkSweep](t.Context(), w.store, "default", "grid"); err != nil {
					t.Fatal(err)
				}
				if got := sweep.Status.NodeHours - before; math.Abs(got-10*nodes) > 1e-6 {
					t.Errorf("%v node-hours of a job with a time limit of 10 h", got)
				}
			})
		})
	}
}

// A search that is asked anew, and concludes otherwise without another run, has that in its results.
func TestResultsOfASearchThatConcludesWithoutARun(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.cluster1("c", func(*api.ClusterSpec) {})
		w.sweep(func(s *api.BenchmarkSweepSpec) {
			s.Strategy, s.Search = api.StrategySearch, &api.SearchSpec{Path: "workload.load.clientsPerNode", Min: 1, Max: 64, Goodput: 0.9}
			s.Template.Spec.Workload.SLO.TTFT = &metav1.Duration{Duration: time.Second}
		})
		good, bad := 0.95, 0.0
		w.end("grid-clientspernode1", api.RunCompleted, &api.Summary{GoodputShare: &good, Verdict: "Valid"})
		w.end("grid-clientspernode2", api.RunCompleted, &api.Summary{GoodputShare: &bad, Verdict: "Valid"})
		w.wait(time.Minute)
		get := func() *api.BenchmarkSweep {
			sweep, err := store.Get[*api.BenchmarkSweep](t.Context(), w.store, "default", "grid")
			if err != nil {
				t.Fatal(err)
			}
			return sweep
		}
		sweep := get()
		sweep.Spec.Search.Goodput = 0.99
		if err := w.store.Put(t.Context(), sweep); err != nil {
			t.Fatal(err)
		}
		w.wait(time.Minute)
		sweep = get()
		results, err := os.ReadFile(filepath.Join(sweep.Status.Folder, "sweep.md"))
		if why := sweep.Status.Limits[0].Why; err != nil || !strings.Contains(string(results), why) {
			t.Errorf("results do not say %q: %v", why, err)
		}
	})
}

// How long a job was queued is what Slurm says, not how long nobody saw that it had started.
func TestQueueWaitOfAJobThatStartedUnseen(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.cluster1("c", func(*api.ClusterSpec) {})
		w.sweep(func(s *api.BenchmarkSweepSpec) {
			s.Parameters = []api.ParameterSpec{{Path: "workload.load.clientsPerNode", Values: []any{1.0, 2.0}}}
		})
		started := time.Now().Add(20 * time.Minute)
		w.cluster.set(func() { w.cluster.outage = slurmadapter.ErrOutage })
		w.wait(5 * time.Hour)
		w.cluster.set(func() {
			j := w.cluster.jobs["1"]
			j.State, j.Reason, j.Nodes, j.Started, w.cluster.outage = slurmadapter.Running, "", "n1", started, nil
		})
		w.wait(2 * time.Minute)
		sweep, err := store.Get[*api.BenchmarkSweep](t.Context(), w.store, "default", "grid")
		if err != nil {
			t.Fatal(err)
		}
		if got := sweep.Status.QueueWait; got == nil || got.Duration.Round(time.Minute) != 20*time.Minute {
			t.Errorf("it waited for %v, want 20 minutes", got)
		}
	})
}
