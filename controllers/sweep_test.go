package controllers

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// sweepBench is a sweep of four runs in a store, and its reconciler.
type sweepBench struct {
	t     *testing.T
	store *store.Store
	r     *sweepReconciler
}

var gridKey = types.NamespacedName{Namespace: "default", Name: "grid"}

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
	api.SetDefaults(sweep)
	b.create(sweep)
	return b
}

func (b *sweepBench) create(obj api.Object) {
	b.t.Helper()
	if err := b.store.Create(b.t.Context(), obj); err != nil {
		b.t.Fatal(err)
	}
}

func (b *sweepBench) sweep() *api.BenchmarkSweep {
	b.t.Helper()
	sweep, err := store.Get[*api.BenchmarkSweep](b.t.Context(), b.store, "default", "grid")
	if err != nil {
		b.t.Fatal(err)
	}
	return sweep
}

// step reconciles once and returns what the sweep then says, and when it is to be looked at again.
func (b *sweepBench) step() (api.BenchmarkSweepStatus, time.Duration) {
	b.t.Helper()
	res, err := b.r.reconcile(b.t.Context(), gridKey)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.sweep().Status, res.after
}

// change changes the sweep's spec, as its user does.
func (b *sweepBench) change(change func(*api.BenchmarkSweepSpec)) {
	b.t.Helper()
	sweep := b.sweep()
	change(&sweep.Spec)
	if err := b.store.Put(b.t.Context(), sweep); err != nil {
		b.t.Fatal(err)
	}
}

func (b *sweepBench) run(name string) *api.BenchmarkRun {
	b.t.Helper()
	run, err := store.Get[*api.BenchmarkRun](b.t.Context(), b.store, "default", name)
	if err != nil {
		b.t.Fatal(err)
	}
	return run
}

func (b *sweepBench) names() string {
	b.t.Helper()
	list, err := b.store.List(b.t.Context(), api.KindBenchmarkRun, store.ListOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	var names []string
	for _, obj := range list.Items {
		names = append(names, strings.TrimPrefix(obj.GetName(), "grid-"))
	}
	return strings.Join(names, " ")
}

// end ends a run, as its reconciler does.
func (b *sweepBench) end(name string, phase api.RunPhase, summary *api.Summary) {
	b.t.Helper()
	b.endAs(name, phase, summary, nil)
}

func (b *sweepBench) endAs(name string, phase api.RunPhase, summary *api.Summary, outcome *api.Outcome) {
	b.t.Helper()
	run := b.run(name)
	pass := &runPass{runReconciler: &runReconciler{store: b.store}, ctx: b.t.Context(), run: run, before: run.Status.Phase}
	run.Status.Phase, run.Status.Summary, run.Status.Outcome = phase, summary, outcome
	if err := pass.write(); err != nil {
		b.t.Fatal(err)
	}
}

func TestSweepCountsItsRunsAsTheyEnd(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, nil)
	if st, _ := b.step(); st.Total != 4 || st.Ended() != 0 || st.Phase != api.SweepActive || st.StartTime == nil {
		t.Errorf("at the start: %+v", st)
	}
	run := b.run("grid-clientspernode3")
	if run.Labels["param.benchd.dev/clientsPerNode"] != "3" || run.Labels[api.LabelSweep] != "grid" || run.Spec.Workload.Load.ClientsPerNode != 3 || len(run.Status.Attempts) != 1 {
		t.Errorf("a run: %+v", run)
	}
	b.end("grid-clientspernode1", api.RunCompleted, nil)
	b.end("grid-clientspernode2", api.RunFailed, nil)
	b.end("grid-clientspernode3", api.RunCompleted, nil)
	if st := b.sweep().Status; st.Phase != api.SweepActive || st.Message != "3 of 4 runs have ended, 1 failed" {
		t.Errorf("after three: %+v", st)
	}
	b.end("grid-clientspernode4", api.RunCancelled, nil)
	st := b.sweep().Status
	if st.Phase != api.SweepCompleted || st.Succeeded != 2 || st.Failed != 1 || st.Cancelled != 1 || st.CompletionTime == nil {
		t.Errorf("at the end: %+v", st)
	}
	if again, _ := b.step(); again.CompletionTime == nil || !again.CompletionTime.Equal(st.CompletionTime) {
		t.Errorf("once more: %+v", again)
	}
}

// A sweep whose spec changes gets further runs, loses those that have not begun, and keeps what has.
func TestSweepThatChanges(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, nil)
	b.step()
	b.end("grid-clientspernode1", api.RunCompleted, nil)
	b.change(func(s *api.BenchmarkSweepSpec) {
		s.Parameters[0].Values = []any{3.0, 5.0}
		s.Template.Spec.Workload.Duration.Duration = 7 * time.Second
	})
	st, _ := b.step()
	if got := b.names(); got != "clientspernode1 clientspernode3 clientspernode5" {
		t.Errorf("runs: %s", got)
	}
	if st.Total != 3 || st.Succeeded != 1 || st.Phase != api.SweepActive {
		t.Errorf("after the change: %+v", st)
	}
	if run := b.run("grid-clientspernode3"); run.Spec.Workload.Duration.Duration != 7*time.Second {
		t.Errorf("a run that had not begun kept the old template: %s", run.Spec.Workload.Duration.Duration)
	}
	if run := b.run("grid-clientspernode1"); run.Spec.Workload.Duration.Duration == 7*time.Second {
		t.Error("a run that had ended was changed")
	}
	b.end("grid-clientspernode3", api.RunCompleted, nil)
	b.end("grid-clientspernode5", api.RunCompleted, nil)
	if st := b.sweep().Status; st.Phase != api.SweepCompleted {
		t.Errorf("at the end: %+v", st)
	}
	b.change(func(s *api.BenchmarkSweepSpec) { s.Repeats = 2 })
	if st, _ := b.step(); st.Phase != api.SweepActive || st.Total != 5 || st.CompletionTime != nil {
		t.Errorf("after more repeats: %+v, runs %s", st, b.names())
	}
}

// The results of a sweep that loses its last runs are written once more, though no further run ends.
func TestResultsOfASweepThatLosesItsLastRuns(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, nil)
	b.step()
	b.end("grid-clientspernode1", api.RunCompleted, nil)
	if err := updateSweep(t.Context(), b.store, b.sweep(), func(_ *store.Tx, s *api.BenchmarkSweep) error {
		s.Status.Reported = s.Status.Ended()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	b.change(func(s *api.BenchmarkSweepSpec) { s.Parameters[0].Values = []any{1.0} })
	if st, _ := b.step(); st.Phase != api.SweepCompleted || st.Reported == st.Ended() {
		t.Errorf("%s, the results of %d of %d runs are taken for the last ones", st.Phase, st.Reported, st.Ended())
	}
}

// report marks the results of all runs that have ended as written.
func (b *sweepBench) report() {
	b.t.Helper()
	if err := updateSweep(b.t.Context(), b.store, b.sweep(), func(_ *store.Tx, s *api.BenchmarkSweep) error {
		s.Status.Reported = s.Status.Ended()
		return nil
	}); err != nil {
		b.t.Fatal(err)
	}
}

// release lets runs go, as retention does.
func (b *sweepBench) release(names ...string) (err error) {
	b.t.Helper()
	for _, name := range names {
		run := b.run(name)
		run.Finalizers = nil
		err = errors.Join(err, b.store.Update(b.t.Context(), func(tx *store.Tx) error {
			if err := releaseFromSweep(tx, run); err != nil {
				return err
			}
			if err := tx.Put(run); err != nil {
				return err
			}
			_, err := tx.Delete(api.KindBenchmarkRun, run.Namespace, run.Name, string(run.UID))
			return err
		}))
	}
	return err
}

// Runs that retention let go are measured no more, whatever the sweep's spec becomes: what is finished stays so, and is counted.
func TestSweepThatChangesAfterItsRunsWent(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, nil)
	b.step()
	for i, phase := range []api.RunPhase{api.RunCompleted, api.RunFailed, api.RunCompleted, api.RunCompleted} {
		b.end(fmt.Sprintf("grid-clientspernode%d", 1+i), phase, nil)
	}
	if err := b.release("grid-clientspernode1"); !errors.Is(err, errKept) {
		t.Fatalf("a run went before its sweep's results were written: %v", err)
	}
	b.report()
	if err := b.release("grid-clientspernode1", "grid-clientspernode2"); err != nil {
		t.Fatal(err)
	}
	b.change(func(s *api.BenchmarkSweepSpec) { s.Parameters[0].Values = []any{1.0, 2.0, 4.0, 6.0} })
	if st, _ := b.step(); b.names() != "clientspernode3 clientspernode4 clientspernode6" || st.Total != 5 || st.Succeeded != 3 || st.Failed != 1 {
		t.Errorf("after the change: runs %s, %+v", b.names(), st)
	}
	b.end("grid-clientspernode6", api.RunCompleted, nil)
	b.report()
	if err := b.release("grid-clientspernode6"); err != nil {
		t.Fatal(err)
	}
	b.change(func(s *api.BenchmarkSweepSpec) { s.Repeats = 2 })
	want := "clientspernode1-r2 clientspernode2-r2 clientspernode3 clientspernode4 clientspernode4-r2 clientspernode6-r2"
	if st, _ := b.step(); b.names() != want || st.Total != 9 || st.Ended() != 5 {
		t.Errorf("with further repeats: runs %s, %+v", b.names(), st)
	}
}

// A point of which enough have failed is not measured again when a sweep is changed, though retention let the failed runs go.
func TestStoppedPointWhoseRunsWent(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, func(s *api.BenchmarkSweepSpec) {
		s.FailurePolicy = api.FailurePolicySpec{Action: api.FailureStopPoint, After: 1}
	})
	b.step()
	for i, phase := range []api.RunPhase{api.RunCompleted, api.RunFailed, api.RunCompleted, api.RunCompleted} {
		b.end(fmt.Sprintf("grid-clientspernode%d", 1+i), phase, nil)
	}
	b.report()
	if err := b.release("grid-clientspernode2"); err != nil {
		t.Fatal(err)
	}
	b.change(func(s *api.BenchmarkSweepSpec) { s.Repeats = 2 })
	b.step()
	b.step()
	if run := b.run("grid-clientspernode2-r2"); !run.Spec.Cancel {
		t.Errorf("a further repeat of the point is begun: %+v", b.sweep().Status)
	}
	if run := b.run("grid-clientspernode1-r2"); run.Spec.Cancel {
		t.Error("another point is stopped too")
	}
}

// A run of another that has the name of one of the sweep's is left alone, told, and asked for again.
func TestSweepWhoseNameIsTaken(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, nil)
	other := validRun()
	other.Namespace, other.Name = "default", "grid-clientspernode1"
	other.UID = ""
	b.create(other)
	st, after := b.step()
	if !strings.Contains(st.Message, "grid-clientspernode1 is there already that is not of this sweep") || after == 0 {
		t.Errorf("a name that is taken: %q, again after %s", st.Message, after)
	}
	if _, err := b.store.Delete(t.Context(), api.KindBenchmarkRun, "default", other.Name, ""); err != nil {
		t.Fatal(err)
	}
	if st, _ := b.step(); st.Total != 4 || st.Phase != api.SweepActive {
		t.Errorf("once it has gone: %+v", st)
	}
}

// A name that is taken is told once, and changes nothing until it is tried again: what changed the sweep would wake its reconciler at once.
func TestSweepWhoseNameIsTakenComesToRest(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, nil)
	for _, name := range []string{"grid-clientspernode1", "grid-clientspernode3"} {
		other := validRun()
		other.Namespace, other.Name, other.UID = "default", name, ""
		b.create(other)
	}
	b.step()
	version := b.sweep().ResourceVersion
	if _, after := b.step(); after != nameRetry || b.sweep().ResourceVersion != version {
		t.Errorf("the second look changed the sweep (version %s, then %s), again after %s", version, b.sweep().ResourceVersion, after)
	}
}

// A parameter that is exchanged for one whose field has the same name makes other trials, whatever has been measured of the first.
func TestSweepWhoseParameterIsExchanged(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, func(s *api.BenchmarkSweepSpec) {
		s.Parameters = []api.ParameterSpec{{Path: "workload.prompts.tokens", Values: []any{16.0, 32.0}}}
	})
	b.step()
	b.end("grid-tokens16", api.RunCompleted, nil)
	b.change(func(s *api.BenchmarkSweepSpec) { s.Parameters[0].Path = "workload.output.tokens" })
	st, after := b.step()
	if st.Total != 3 || st.Phase != api.SweepActive || after != 0 {
		t.Errorf("after the change: %+v, again after %s", st, after)
	}
	if run := b.run("grid-tokens32"); run.Spec.Workload.Output.Tokens != 32 {
		t.Errorf("the name of a run that went is not used again: %s", b.names())
	}
	if names := b.names(); len(strings.Fields(names)) != 3 || !strings.Contains(names, " tokens16-") {
		t.Errorf("runs: %s", names)
	}
	before := b.names()
	b.change(func(s *api.BenchmarkSweepSpec) { s.Priority = 1 })
	if st, _ := b.step(); st.Total != 3 || b.names() != before {
		t.Errorf("after another change: %+v, runs %s", st, b.names())
	}
}

// Runs that wait for their turn in an Allocation have not begun: those that the sweep has no more go, and are counted no more.
func TestSweepThatLosesRunsInAnAllocation(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, nil)
	b.step()
	for i, phases := range [][]api.RunPhase{{api.RunDeploying, api.RunMonitoring, api.RunExecuting}, {api.RunDeploying}, {api.RunDeploying}} {
		run := b.run(fmt.Sprintf("grid-clientspernode%d", 1+i))
		run.Status.Phase = phases[len(phases)-1]
		for _, phase := range phases {
			run.Status.Attempts[0].Phases = append(run.Status.Attempts[0].Phases, api.PhaseTime{Phase: phase})
		}
		run.Status.AllocationRef = &api.AllocationRef{Name: "grid-a1", UID: "a1", Attempt: 1, Order: int32(i) + 1}
		if err := b.store.PutStatus(t.Context(), run); err != nil {
			t.Fatal(err)
		}
	}
	// One that came back from an Allocation that ended before its turn.
	back := b.run("grid-clientspernode4")
	back.Status.AllocationRef = &api.AllocationRef{Name: "grid-a0", UID: "a0", Attempt: 1, Order: 4}
	back.Status.Attempts = []api.Attempt{{Number: 1, Outcome: &api.Outcome{Result: api.ResultFailed, Reason: node.ReasonNotStarted}}, {Number: 2}}
	if err := b.store.PutStatus(t.Context(), back); err != nil {
		t.Fatal(err)
	}
	b.change(func(s *api.BenchmarkSweepSpec) { s.Parameters[0].Values = []any{3.0, 5.0} })
	if st, _ := b.step(); st.Total != 4 || b.names() != "clientspernode1 clientspernode2 clientspernode3 clientspernode5" {
		t.Errorf("after the change: %+v, runs %s", st, b.names())
	}
	for i, leaves := range []bool{false, true, false} { // under way, has to go, stays
		if run := b.run(fmt.Sprintf("grid-clientspernode%d", 1+i)); leavesOut(run) != leaves {
			t.Errorf("%s leaves: %t", run.Name, !leaves)
		}
	}
	r := &runReconciler{store: b.store}
	for range 5 {
		run := b.run("grid-clientspernode2")
		pass := &runPass{runReconciler: r, ctx: t.Context(), run: run, before: run.Status.Phase}
		if leave, err := pass.leaves(); err != nil || leave {
			if _, lerr := pass.leave(); err != nil || lerr != nil {
				t.Fatal(err, lerr)
			}
		} else if run.Status.Phase == api.RunTearingDown {
			outcome := *pass.attempt().Outcome
			run.Status.Outcome, run.Status.Phase = &outcome, api.RunCancelled
		} else {
			break
		}
		if err := pass.write(); err != nil {
			t.Fatal(err)
		}
	}
	if run := b.run("grid-clientspernode2"); run.DeletionTimestamp == nil {
		t.Errorf("the run stays: %+v", run.Status)
	}
	if st := b.sweep().Status; st.Total != 3 || st.Ended() != 0 {
		t.Errorf("once it has gone: %+v", st)
	}
	// With another template, one that waits for its turn goes, and is made anew.
	b.change(func(s *api.BenchmarkSweepSpec) { s.Template.Spec.Workload.Duration.Duration = 7 * time.Second })
	if _, after := b.step(); after == 0 || !leavesOut(b.run("grid-clientspernode3")) {
		t.Error("a run that waits for its turn keeps the old template")
	}
	b.change(func(s *api.BenchmarkSweepSpec) { s.Template.Spec.Workload.Duration = validRun().Spec.Workload.Duration })
	if b.step(); leavesOut(b.run("grid-clientspernode3")) {
		t.Error("a run that is wanted as it is goes")
	}
	// Wanted again while it goes: it is made anew after that.
	b.change(func(s *api.BenchmarkSweepSpec) { s.Parameters[0].Values = []any{2.0, 3.0, 5.0} })
	if _, after := b.step(); after == 0 {
		t.Error("a run that is on its way out was taken for the one that is wanted")
	}
	run := b.run("grid-clientspernode2")
	run.Finalizers = nil
	if err := b.store.Put(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if st, after := b.step(); after != 0 || st.Total != 4 || b.run("grid-clientspernode2").Status.Phase != api.RunPending {
		t.Errorf("made anew: %+v, again after %s", st, after)
	}
}

// A combination that cannot be is a run that has failed, and holds nothing up.
func TestSweepWithARunThatCannotBe(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, func(s *api.BenchmarkSweepSpec) { s.Parameters[0].Values = []any{-1.0, 2.0} })
	st, _ := b.step()
	if st.Failed != 1 || st.Total != 2 {
		t.Errorf("counts: %+v", st)
	}
	for _, obj := range []string{b.names()} {
		if !strings.Contains(obj, "clientspernode2") {
			t.Errorf("runs: %s", obj)
		}
	}
}

// Enough failed runs of a point end its other repeats, and those alone.
func TestSweepStopsAPoint(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, func(s *api.BenchmarkSweepSpec) {
		s.Parameters[0].Values, s.Repeats = []any{1.0, 2.0}, 3
		s.FailurePolicy = api.FailurePolicySpec{Action: api.FailureStopPoint, After: 2}
	})
	b.step()
	b.end("grid-clientspernode1-r1", api.RunFailed, nil)
	b.step()
	if b.run("grid-clientspernode1-r3").Spec.Cancel {
		t.Error("one failure was enough, two were asked for")
	}
	b.end("grid-clientspernode1-r2", api.RunFailed, nil)
	b.step()
	stopped := b.run("grid-clientspernode1-r3")
	if !stopped.Spec.Cancel || !strings.HasPrefix(stopped.Annotations[api.AnnotationCancelReason], "PointStopped: 2 runs") {
		t.Errorf("the third repeat goes on: %+v", stopped.ObjectMeta)
	}
	if b.run("grid-clientspernode2-r1").Spec.Cancel {
		t.Error("another point was stopped")
	}
}

// A search makes one run after the other, from what those before it found, and says what the limit is.
func TestSweepThatSearches(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, func(s *api.BenchmarkSweepSpec) {
		s.Parameters, s.Strategy = nil, api.StrategySearch
		s.Search = &api.SearchSpec{Path: "workload.load.clientsPerNode", Min: 1, Max: 64}
		s.Template.Spec.Workload.SLO.TTFT = &metav1.Duration{Duration: time.Second}
	})
	b.step() // sees the spec
	tried := 0
	for range 30 {
		st, _ := b.step()
		if st.Phase == api.SweepCompleted {
			break
		}
		for _, name := range strings.Fields(b.names()) {
			run := b.run("grid-" + name)
			if run.Status.Phase.Terminal() {
				continue
			}
			tried++
			good := 1.0
			if run.Spec.Workload.Load.ClientsPerNode > 23 {
				good = 0.5
			}
			b.end(run.Name, api.RunCompleted, &api.Summary{GoodputShare: &good, Verdict: "Valid"})
		}
	}
	st := b.sweep().Status
	if st.Phase != api.SweepCompleted || len(st.Limits) != 1 || st.Limits[0].Passed == nil || *st.Limits[0].Passed != 23 || st.Limits[0].Run != "grid-clientspernode23" {
		t.Errorf("found %+v in phase %s", st.Limits, st.Phase)
	}
	if int(st.Total) != tried || tried > 12 {
		t.Errorf("%d runs, %d counted", tried, st.Total)
	}
}

// Repeats that are added to a point of which enough have failed are ended too, and a policy that is set later knows of failures before it.
func TestSweepStopsAPointThatIsRepeatedFurther(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t, func(s *api.BenchmarkSweepSpec) { s.Parameters[0].Values, s.Repeats = []any{1.0, 2.0}, 2 })
	b.step()
	b.end("grid-clientspernode1-r1", api.RunFailed, nil)
	for repeats := int32(2); repeats <= 3; repeats++ {
		b.change(func(s *api.BenchmarkSweepSpec) {
			s.Repeats, s.FailurePolicy = repeats, api.FailurePolicySpec{Action: api.FailureStopPoint, After: 1}
		})
		b.step()
		b.step()
		if name := fmt.Sprintf("grid-clientspernode1-r%d", repeats); !b.run(name).Spec.Cancel {
			t.Errorf("%s goes on: %+v", name, b.sweep().Status)
		}
	}
	if b.run("grid-clientspernode2-r3").Spec.Cancel {
		t.Error("another point was stopped")
	}
}

// searchBench is a sweep that searches, and has seen its spec.
func searchBench(t *testing.T, change func(*api.BenchmarkSweepSpec)) *sweepBench {
	t.Helper()
	b := newSweepBench(t, func(s *api.BenchmarkSweepSpec) {
		s.Parameters, s.Strategy = nil, api.StrategySearch
		s.Search = &api.SearchSpec{Path: "workload.load.clientsPerNode", Min: 1, Max: 64}
		s.Template.Spec.Workload.SLO.TTFT = &metav1.Duration{Duration: time.Second}
		if change != nil {
			change(s)
		}
	})
	b.step()
	return b
}

// A point of which enough runs have failed is searched no further.
func TestSearchStopsAPoint(t *testing.T) {
	t.Parallel()
	b := searchBench(t, func(s *api.BenchmarkSweepSpec) {
		s.FailurePolicy = api.FailurePolicySpec{Action: api.FailureStopPoint, After: 1}
	})
	good := 1.0
	b.step()
	b.end("grid-clientspernode1", api.RunCompleted, &api.Summary{GoodputShare: &good, Verdict: "Valid"})
	b.step()
	b.end("grid-clientspernode2", api.RunCompleted, &api.Summary{GoodputShare: &good, Verdict: "Valid"})
	b.step()
	b.end("grid-clientspernode4", api.RunFailed, nil)
	if _, err := b.r.reconcile(t.Context(), gridKey); err != nil && !apierrors.IsConflict(err) { // it has just noted the point
		t.Fatal(err)
	}
	if st, _ := b.step(); st.Total != 3 || st.Phase != api.SweepCompleted || *st.Limits[0].Passed != 2 || !strings.Contains(st.Limits[0].Why, "failurePolicy") {
		t.Errorf("after a failure: %+v", st)
	}
}

func TestSearchMakesNoMoreRunsThanItsLimit(t *testing.T) {
	t.Parallel()
	b := searchBench(t, func(s *api.BenchmarkSweepSpec) { s.Limits.Trials = 2 })
	good := 1.0
	for _, name := range []string{"grid-clientspernode1", "grid-clientspernode2"} {
		b.step()
		b.end(name, api.RunCompleted, &api.Summary{GoodputShare: &good, Verdict: "Valid"})
	}
	if st, _ := b.step(); st.Total != 2 || st.Phase != api.SweepCompleted || !strings.Contains(st.Limits[0].Why, "limits.trials") {
		t.Errorf("beyond limits.trials: %+v", st)
	}
}

// A probe that somebody ended says nothing of the service, and another one would only be ended too.
func TestSearchWhoseProbeIsCancelled(t *testing.T) {
	t.Parallel()
	b := searchBench(t, nil)
	good := 1.0
	b.step()
	b.end("grid-clientspernode1", api.RunCompleted, &api.Summary{GoodputShare: &good, Verdict: "Valid"})
	b.step()
	b.end("grid-clientspernode2", api.RunCancelled, nil)
	st, _ := b.step()
	if st.Phase != api.SweepCompleted || st.Limits[0].Failed != nil || *st.Limits[0].Passed != 1 || !strings.Contains(st.Limits[0].Why, "grid-clientspernode2 was cancelled") {
		t.Errorf("after a cancellation: %+v", st)
	}
}

// A probe that a node took along says nothing of the service either: its value is tried again, under a name of its own.
func TestSearchWhoseProbeIsLost(t *testing.T) {
	t.Parallel()
	b := searchBench(t, nil)
	good := 1.0
	b.step()
	b.end("grid-clientspernode1", api.RunCompleted, &api.Summary{GoodputShare: &good, Verdict: "Valid"})
	b.step()
	b.endAs("grid-clientspernode2", api.RunFailed, nil, &api.Outcome{Result: api.ResultFailed, Class: api.FailureInfrastructure, Reason: "NodeFailed"})
	if st, _ := b.step(); st.Limits[0].Done || st.Limits[0].Failed != nil || st.Total != 3 {
		t.Fatalf("after a node's failure: %+v", st)
	}
	b.end("grid-clientspernode2-r2", api.RunCompleted, &api.Summary{GoodputShare: &good, Verdict: "Valid"})
	if st, _ := b.step(); *st.Limits[0].Passed != 2 || st.Limits[0].Run != "grid-clientspernode2-r2" || b.run("grid-clientspernode4").Status.Phase.Terminal() {
		t.Errorf("after it was tried again: %+v", st)
	}
}

func TestSearchWhoseNameIsTaken(t *testing.T) {
	t.Parallel()
	b := searchBench(t, nil)
	other := validRun()
	other.Namespace, other.Name, other.UID = "default", "grid-clientspernode1", ""
	b.create(other)
	if st, after := b.step(); !strings.Contains(st.Message, "grid-clientspernode1 is there already that is not of this sweep") || after == 0 {
		t.Errorf("a name that is taken: %q, again after %s", st.Message, after)
	}
	if _, err := b.store.Delete(t.Context(), api.KindBenchmarkRun, "default", other.Name, ""); err != nil {
		t.Fatal(err)
	}
	if st, _ := b.step(); st.Total != 1 {
		t.Errorf("once it has gone: %+v", st)
	}
}

// Results are not written between a search's last run and what follows from it: they would stay without the limit that was found.
func TestResultsOfASearchWaitForWhatItFinds(t *testing.T) {
	t.Parallel()
	b := searchBench(t, nil)
	b.step()
	b.end("grid-clientspernode1", api.RunFailed, nil)
	r := &sweepReporter{store: b.store, log: slog.New(slog.DiscardHandler), kept: map[types.NamespacedName]*keptResults{}}
	if _, err := r.reconcile(t.Context(), gridKey); err != nil || b.sweep().Status.Reported != 0 {
		t.Errorf("reported %d runs before the search has looked at them: %v", b.sweep().Status.Reported, err)
	}
	if st, _ := b.step(); st.Phase != api.SweepCompleted || !api.Live(b.sweep()) {
		t.Errorf("nothing wakes the results of what was found: %+v", st)
	}
}

// Node-hours of jobs that are under way are those of their own nodes, which may be what the sweep varies.
func TestNodeHoursOfJobsUnderWay(t *testing.T) {
	t.Parallel()
	now := time.Now()
	five, one, none := int32(5), int32(1), int32(0)
	run := validRun()
	run.Spec.Nodes = api.NodesSpec{Servers: api.RoleSpec{Count: &five}, Clients: api.RoleSpec{Count: &one}, Monitors: api.RoleSpec{Count: &none}}
	api.SetDefaults(run)
	a := NewAllocation(run, "grid-a1")
	a.UID = "a1"
	a.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(&metav1.ObjectMeta{UID: "grid"}, api.GroupVersion.WithKind(api.KindBenchmarkSweep))}
	a.Status.Job = &api.JobStatus{StartTime: &metav1.Time{Time: now.Add(-time.Hour)}}
	r := newRoster()
	r.allocation(a, false)
	sweep := &api.BenchmarkSweep{}
	sweep.Spec.Template.Spec = validRun().Spec
	for limit, want := range map[float64]string{5.9: "NodeHours", 6.1: ""} {
		sweep.Spec.Limits.NodeHours = limit
		if reason, message, _ := stopReason(sweep, []rosterAllocation{r.sweeps["grid"]["a1"]}, now); reason != want {
			t.Errorf("with 6 of %v node-hours spent: %q %s", limit, reason, message)
		}
	}
}

func TestLimitTextNamesThePoint(t *testing.T) {
	t.Parallel()
	passed := 16.0
	got := limitText(&api.SearchSpec{Path: "workload.load.rate"}, &api.FoundLimit{Values: api.Values{"workload.output.tokens": 64.0}, Passed: &passed, Why: "found"})
	if want := "highest workload.load.rate that meets the objective (at tokens=64): 16 (found)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
