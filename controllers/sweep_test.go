package controllers

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// sweepBench is a sweep of four runs in a store, and its reconciler.
type sweepBench struct {
	t     *testing.T
	store *store.Store
	r     *sweepReconciler
}

func newSweepBench(t *testing.T, change func(*api.BenchmarkSweepSpec)) *sweepBench {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "benchd.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &sweepBench{t: t, store: st, r: &sweepReconciler{store: st, admit: func(api.Object) field.ErrorList { return nil }, log: slog.New(slog.DiscardHandler)}}
	sweep := &api.BenchmarkSweep{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "grid"}}
	sweep.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkSweep))
	sweep.Spec.Template.Spec = validRun().Spec
	sweep.Spec.Parallelism = 2
	sweep.Spec.Parameters = []api.ParameterSpec{{Path: "workload.load.clientsPerNode", Values: []any{1.0, 2.0, 3.0, 4.0}}}
	if change != nil {
		change(&sweep.Spec)
	}
	b.create(sweep)
	return b
}

func (b *sweepBench) create(obj api.Object) {
	b.t.Helper()
	if err := b.store.Create(b.t.Context(), obj); err != nil {
		b.t.Fatal(err)
	}
}

// step reconciles once and returns what the sweep then says, and when it is to be looked at again.
func (b *sweepBench) step() (api.BenchmarkSweepStatus, time.Duration) {
	b.t.Helper()
	res, err := b.r.reconcile(b.t.Context(), types.NamespacedName{Namespace: "default", Name: "grid"})
	if err != nil {
		b.t.Fatal(err)
	}
	sweep, err := store.Get[*api.BenchmarkSweep](b.t.Context(), b.store, "default", "grid")
	if err != nil {
		b.t.Fatal(err)
	}
	return sweep.Status, res.after
}

// end ends a run in a phase.
func (b *sweepBench) end(name string, phase api.RunPhase) {
	b.t.Helper()
	run, err := store.Get[*api.BenchmarkRun](b.t.Context(), b.store, "default", name)
	if err != nil {
		b.t.Fatal(err)
	}
	run.Status.Phase = phase
	if err := b.store.Update(b.t.Context(), func(tx *store.Tx) error { return tx.PutStatus(run) }); err != nil {
		b.t.Fatal(err)
	}
}

func TestSweepGoesOnAsItsRunsEnd(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, nil)
	b.step()
	if st, _ := b.step(); st.Total != 4 || st.Active != 2 || st.Phase != api.SweepActive {
		t.Errorf("at the start: %+v", st)
	}
	b.end("grid-0", api.RunCompleted)
	b.step()
	b.end("grid-1", api.RunFailed)
	b.end("grid-2", api.RunCompleted)
	b.step()
	b.end("grid-3", api.RunCancelled)
	st, _ := b.step()
	if st.Phase != api.SweepCompleted || st.Succeeded != 2 || st.Failed != 2 || st.CompletionTime == nil {
		t.Errorf("at the end: %+v", st)
	}
	before := st
	if again, _ := b.step(); again.CompletionTime == nil || !again.CompletionTime.Equal(before.CompletionTime) {
		t.Errorf("once more: %+v", again)
	}
}

func TestSweepThatIsSuspendedBeginsNothing(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, func(s *api.BenchmarkSweepSpec) { s.Suspend = true })
	b.step()
	if st, _ := b.step(); st.Phase != api.SweepSuspended || st.Active != 0 {
		t.Errorf("suspended: %+v", st)
	}
}

// A run of another that has the name of one of the sweep's is left alone, told, and asked for again.
func TestSweepWhoseNameIsTaken(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, nil)
	other := validRun()
	other.Namespace, other.Name = "default", "grid-0"
	other.UID = ""
	b.create(other)
	st, after := b.step()
	if !strings.Contains(st.Message, "grid-0 is there already that is not of this sweep") || after == 0 {
		t.Errorf("a name that is taken: %q, again after %s", st.Message, after)
	}
	if st, _ := b.step(); st.Active != 1 {
		t.Errorf("the other's run was counted: %+v", st)
	}
}

// A combination that cannot be is a run that has failed, and holds nothing up.
func TestSweepWithARunThatCannotBe(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, func(s *api.BenchmarkSweepSpec) { s.Parameters[0].Values = []any{-1.0, 2.0} })
	b.step()
	st, _ := b.step()
	run, err := store.Get[*api.BenchmarkRun](t.Context(), b.store, "default", "grid-0")
	if err != nil || run.Status.Outcome == nil || run.Status.Outcome.Reason != "Invalid" || !strings.Contains(run.Status.Message, "clientsPerNode") {
		t.Errorf("the run: %+v, %v", run, err)
	}
	if st.Failed != 1 || st.Active != 1 {
		t.Errorf("counts: %+v", st)
	}
}
