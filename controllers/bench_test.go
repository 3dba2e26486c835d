package controllers

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
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
