package controllers

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Whatever becomes of a sweep's runs and of its spec, the line that is kept is the one that would be made anew.
func TestLineIsNeverStale(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sweep := &api.BenchmarkSweep{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "grid", UID: "grid", Generation: 1}}
		sweep.Spec.Template.Spec = validRun().Spec
		api.SetDefaults(sweep)
		owner := []metav1.OwnerReference{*metav1.NewControllerRef(sweep, api.GroupVersion.WithKind(api.KindBenchmarkSweep))}
		kept, runs := newRoster(), map[string]*api.BenchmarkRun{}
		t.Repeat(map[string]func(*rapid.T){
			"a run changes": func(t *rapid.T) {
				run := validRun()
				run.Namespace, run.Name, run.OwnerReferences = "default", fmt.Sprint("grid-r", rapid.IntRange(1, 4).Draw(t, "run")), owner
				run.Spec.Workload.Duration.Duration = time.Duration(rapid.IntRange(1, 3).Draw(t, "duration")) * time.Second
				if old := runs[run.Name]; old != nil {
					run.Spec = old.Spec
				}
				api.SetDefaults(run)
				run.Status.Phase = rapid.SampledFrom([]api.RunPhase{api.RunPending, api.RunExecuting, api.RunCompleted}).Draw(t, "phase")
				run.Status.Attempts = make([]api.Attempt, 1, 2)
				if rapid.Bool().Draw(t, "again") {
					run.Status.Attempts[0].Outcome = &api.Outcome{Class: api.FailureWorkload}
					run.Status.Attempts = run.Status.Attempts[:2]
				}
				if attempt := rapid.IntRange(0, 2).Draw(t, "bound"); attempt > 0 {
					run.Status.AllocationRef = &api.AllocationRef{Name: "grid-a1", UID: "a1", Attempt: int32(attempt)}
				}
				runs[run.Name] = run
				kept.run(run, false)
			},
			"a run goes": func(t *rapid.T) {
				name := fmt.Sprint("grid-r", rapid.IntRange(1, 4).Draw(t, "run"))
				if run := runs[name]; run != nil {
					delete(runs, name)
					kept.run(run, true)
				}
			},
			"the pause changes": func(t *rapid.T) {
				sweep.Spec.Sharing.Pause = &metav1.Duration{Duration: time.Duration(rapid.IntRange(0, 2).Draw(t, "pause")) * time.Second}
				sweep.Generation++
			},
			"": func(t *rapid.T) {
				fresh := newRoster()
				for _, run := range runs {
					fresh.run(run, false)
				}
				want, got := fresh.lineOf(sweep), kept.lineOf(sweep)
				for uid := range want.same {
					if len(want.same[uid]) != len(got.same[uid]) {
						t.Fatalf("again on %s: %v, not %v", uid, got.same[uid], want.same[uid])
					}
				}
				if diff := cmp.Diff(want.works, got.works); diff != "" {
					t.Fatal(diff)
				}
				if want.longest != got.longest || !cmp.Equal(want.shortest, got.shortest) || len(want.same) != len(got.same) {
					t.Fatalf("%+v, not %+v", got, want)
				}
			},
		})
	})
}
