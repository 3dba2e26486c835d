package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/slurmadapter"
	"github.com/benchd/benchd/store"
)

// fakeCluster is a queue in memory, in which a test makes things happen.
type fakeCluster struct {
	mu       sync.Mutex
	jobs     map[string]*slurmadapter.Job
	released []string
	outage   error
	lookups  int
	// lateBy is how long the next submission takes, whose job comes in at the end of that, and whose answer is lost.
	lateBy time.Duration
	// full: no further job is taken.
	full        bool
	submissions int
}

var _ Cluster = (*fakeCluster)(nil)

func (f *fakeCluster) Submit(_ context.Context, spec slurmadapter.JobSpec) (string, error) {
	f.mu.Lock()
	late := f.lateBy
	f.lateBy = 0
	f.submissions++
	f.mu.Unlock()
	time.Sleep(late)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.outage != nil {
		return "", f.outage
	}
	if f.full {
		return "", fmt.Errorf("sbatch: %w", slurmadapter.ErrBusy)
	}
	id := strconv.Itoa(len(f.jobs) + 1)
	f.jobs[id] = &slurmadapter.Job{ID: id, Name: spec.Name, State: slurmadapter.Pending, Reason: "JobHeldUser", Submitted: time.Now()}
	if late > 0 {
		return "", fmt.Errorf("sbatch: %w", slurmadapter.ErrOutage)
	}
	return id, nil
}

func (f *fakeCluster) Release(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.released = append(f.released, id)
	if j := f.jobs[id]; j != nil && j.Reason == "JobHeldUser" {
		j.Reason = "Resources"
	}
	return f.outage
}

func (f *fakeCluster) Cancel(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if j := f.jobs[id]; j != nil {
		j.State, j.Reason, j.Ended = slurmadapter.Cancelled, "", time.Now()
	}
	return f.outage
}

func (f *fakeCluster) List(context.Context) ([]slurmadapter.Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []slurmadapter.Job
	for _, j := range f.jobs {
		out = append(out, *j)
	}
	return out, f.outage
}

func (f *fakeCluster) Lookup(_ context.Context, id string, _ time.Time) (slurmadapter.Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookups++
	if j := f.jobs[id]; j != nil {
		return *j, nil
	}
	return slurmadapter.Job{}, slurmadapter.ErrNotFound
}

func (f *fakeCluster) Details(context.Context, string) (map[string]string, error) {
	return nil, slurmadapter.ErrNotFound
}

func (f *fakeCluster) Info(context.Context) (slurmadapter.Info, error) {
	return slurmadapter.Info{Version: "fake"}, nil
}

func (f *fakeCluster) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, slurmadapter.ErrOutage
}

// set changes what the cluster says.
func (f *fakeCluster) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// world is a manager on a fake cluster, in a bubble of fake time.
type world struct {
	t       *testing.T
	store   *store.Store
	cluster *fakeCluster
	manager *Manager
	stop    func()
}

// inWorld runs a test in fake time: a wait of hours takes little time, and a look comes when all is at rest.
func inWorld(t *testing.T, test func(*world)) {
	t.Helper()
	home := t.TempDir()
	binary := filepath.Join(home, "benchd")
	if err := os.WriteFile(binary, []byte("a binary"), 0o700); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		st, err := store.Open(filepath.Join(home, "benchd.db"), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, store: st, cluster: &fakeCluster{jobs: map[string]*slurmadapter.Job{}}}
		w.start(home, binary)
		test(w)
		w.stop()
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func (w *world) start(home, binary string) {
	m, err := New(Config{
		Store: w.store, Home: home, Binary: binary, Log: slog.New(slog.DiscardHandler),
		NewCluster: func(*api.Cluster, string, string) (Cluster, error) { return w.cluster, nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.manager = m
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
	w.wait(time.Second)
}

// wait lets time pass, and everything come to rest.
func (w *world) wait(d time.Duration) {
	time.Sleep(d) // fake time: the bubble's clock jumps when all of it waits
	synctest.Wait()
}

func (w *world) cluster1(name string, change func(*api.ClusterSpec)) {
	w.t.Helper()
	c := &api.Cluster{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: api.ClusterSpec{PollInterval: metav1.Duration{Duration: time.Second}}}
	c.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindCluster))
	change(&c.Spec)
	api.SetDefaults(c)
	if err := w.store.Create(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) run(name, cluster string) {
	w.t.Helper()
	run := validRun()
	run.Name, run.Namespace, run.UID, run.Finalizers = name, "default", "", []string{api.FinalizerCluster}
	run.Spec.Cluster = cluster
	api.SetDefaults(run)
	if err := w.store.Create(w.t.Context(), run); err != nil {
		w.t.Fatal(err)
	}
	w.wait(2 * time.Second)
}

func (w *world) get(name string) *api.BenchmarkRun {
	w.t.Helper()
	run, err := store.Get[*api.BenchmarkRun](w.t.Context(), w.store, "default", name)
	if err != nil {
		w.t.Fatal(err)
	}
	return run
}

func (w *world) cancel(name string) {
	w.t.Helper()
	run := w.get(name)
	run.Spec.Cancel = true
	if err := w.store.Put(w.t.Context(), run); err != nil {
		w.t.Fatal(err)
	}
	w.wait(10 * time.Second)
}

func TestRunInLineThatIsDeletedGivesItsTurnOn(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.cluster1("narrow", func(s *api.ClusterSpec) { s.MaxQueued = 1 })
		for _, name := range []string{"a", "b", "c"} {
			w.run(name, "narrow")
		}
		if phase := w.get("c").Status.Phase; phase != api.RunPending {
			t.Fatalf("c is %s, there is room for one", phase)
		}
		if _, err := w.store.Delete(t.Context(), api.KindBenchmarkRun, "default", "b", ""); err != nil {
			t.Fatal(err)
		}
		w.wait(time.Second)
		w.cancel("a")
		if phase := w.get("c").Status.Phase; phase != api.RunDeploying {
			t.Errorf("c is %s after a has ended: it waits for a turn that was b's", phase)
		}
	})
}

func TestRunWaitsForAClusterThatIsNotDeclaredYet(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.run("early", "later")
		if run := w.get("early"); run.Status.Phase != api.RunPending || run.Status.Message == "" {
			t.Fatalf("early is %s: %s", run.Status.Phase, run.Status.Message)
		}
		w.cluster1("later", func(*api.ClusterSpec) {})
		w.wait(time.Minute)
		if phase := w.get("early").Status.Phase; phase != api.RunDeploying {
			t.Errorf("early is %s a minute after its cluster was declared", phase)
		}
	})
}

// A job that vanishes without trace makes its Allocation Lost, after a deadline; the run gets another, and the lost one's
// job is never submitted a second time.
func TestVanishedJobMakesTheAllocationLost(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.cluster1("c", func(*api.ClusterSpec) {})
		w.run("vanishing", "c")
		w.cluster.set(func() {
			delete(w.cluster.jobs, "1")
			w.cluster.jobs["other"] = &slurmadapter.Job{ID: "other", Name: "somebody's"}
		})
		w.wait(lostAfter / 2)
		if n := len(w.get("vanishing").Status.Attempts); n != 1 {
			t.Fatalf("%d attempts before the deadline", n)
		}
		w.wait(2 * lostAfter)
		run := w.get("vanishing")
		if len(run.Status.Attempts) != 2 || run.Status.Attempts[0].Outcome.Reason != reasonJobLost {
			t.Fatalf("attempts: %+v", run.Status.Attempts)
		}
		a, err := store.Get[*api.Allocation](t.Context(), w.store, "default", "vanishing-1")
		if err != nil || a.Status.Phase != api.AllocationLost {
			t.Errorf("allocation: %v, %v", a.Status.Phase, err)
		}
		if n := len(w.cluster.released); n != 2 {
			t.Errorf("%d jobs were released, want 2: one for each allocation", n)
		}
	})
}

// A job of ours that no Allocation owns is cancelled; one of somebody else is left alone.
func TestJobsThatNobodyOwnsAreCancelled(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.cluster1("c", func(*api.ClusterSpec) {})
		w.run("first", "c")
		a, err := store.Get[*api.Allocation](t.Context(), w.store, "default", "first-1")
		if err != nil {
			t.Fatal(err)
		}
		w.cluster.set(func() {
			held := func(id, name string) {
				w.cluster.jobs[id] = &slurmadapter.Job{ID: id, Name: name, State: slurmadapter.Pending, Reason: "JobHeldUser"}
			}
			held("late", a.Status.JobName)
			held("gone", jobPrefix(w.store)+"00000000-0000-0000-0000-000000000000")
			held("stranger", "benchd-12345678-00000000-0000-0000-0000-000000000000")
		})
		w.wait(5 * time.Second)
		for id, want := range map[string]slurmadapter.State{
			a.Status.JobID: slurmadapter.Pending, "late": slurmadapter.Cancelled, "gone": slurmadapter.Cancelled, "stranger": slurmadapter.Pending,
		} {
			if got := w.cluster.jobs[id].State; got != want {
				t.Errorf("job %s: %s, want %s", id, got, want)
			}
		}
	})
}

// An outage of hours fails nothing, is told as a condition, and is met with fewer and fewer looks.
func TestOutageOfHours(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.cluster1("c", func(*api.ClusterSpec) {})
		w.run("patient", "c")
		before := w.get("patient")
		w.cluster.set(func() { w.cluster.outage = fmt.Errorf("squeue: %w", slurmadapter.ErrOutage) })
		w.wait(6 * time.Hour)
		run := w.get("patient")
		if len(run.Status.Attempts) != 1 || run.Status.Phase != before.Status.Phase {
			t.Errorf("after six hours: %s, %d attempts", run.Status.Phase, len(run.Status.Attempts))
		}
		w.cluster.set(func() { w.cluster.outage = nil })
		w.wait(5 * time.Minute)
		w.cancel("patient")
		if phase := w.get("patient").Status.Phase; phase != api.RunCancelled {
			t.Errorf("patient is %s after it was cancelled", phase)
		}
	})
}

// A job id that Slurm gave to another job is not the Allocation's: the other one is neither followed nor cancelled.
func TestJobIDThatAnotherJobHas(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]slurmadapter.State{"running": slurmadapter.Running, "pending": slurmadapter.Pending, "ended": slurmadapter.Completed} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(w *world) {
				w.cluster1("c", func(*api.ClusterSpec) {})
				w.run("first", "c")
				w.cluster.set(func() {
					w.cluster.jobs["1"] = &slurmadapter.Job{ID: "1", Name: "somebody's", State: state, Nodes: "n1", Started: time.Now()}
				})
				w.wait(10 * time.Second)
				a, err := store.Get[*api.Allocation](t.Context(), w.store, "default", "first-1")
				if err != nil {
					t.Fatal(err)
				}
				if a.Status.Phase != api.AllocationQueued {
					t.Errorf("allocation is %s: %s", a.Status.Phase, a.Status.Message)
				}
				w.cancel("first")
				w.wait(3 * lostAfter)
				if got := w.cluster.jobs["1"].State; got != state {
					t.Errorf("somebody else's job is %s", got)
				}
				if phase := w.get("first").Status.Phase; phase != api.RunCancelled {
					t.Errorf("first is %s", phase)
				}
			})
		})
	}
}

// A look that was taken while sbatch was at it does not show a job that came in after that, and whose answer was lost: it is no reason
// to submit another.
func TestAnswerThatIsLostAfterALook(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.cluster.lateBy = time.Minute
		w.cluster1("c", func(*api.ClusterSpec) {})
		w.run("first", "c")
		w.wait(2 * time.Minute)
		if n := len(w.cluster.jobs); n != 1 || w.get("first").Status.Phase != api.RunDeploying {
			t.Errorf("%d jobs were submitted", n)
		}
	})
}

// A cluster that takes no further job is asked four times a minute, however often its queue is looked at.
func TestQueueThatIsFull(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.cluster.full = true
		w.cluster1("c", func(*api.ClusterSpec) {})
		w.run("first", "c")
		w.wait(10 * time.Minute)
		if n := w.cluster.submissions; n > 45 {
			t.Errorf("sbatch was called %d times in ten minutes", n)
		}
		w.cluster.set(func() { w.cluster.full = false })
		w.wait(time.Minute)
		if phase := w.get("first").Status.Phase; phase != api.RunDeploying || len(w.cluster.jobs) != 1 {
			t.Errorf("first is %s once there is room", phase)
		}
	})
}
