package controllers

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// An Allocation that ends while the manager is so far behind that it has to list anew is not in that list. All of its runs come to know
// of it, those too that the lead was not about to come to.
func TestAllocationThatEndsInAGap(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.cluster1("c", func(*api.ClusterSpec) {})
		w.sweep(func(s *api.BenchmarkSweepSpec) {
			s.Parameters = []api.ParameterSpec{{Path: "workload.load.clientsPerNode", Values: []any{1.0, 2.0, 3.0}}}
		})
		a, err := store.Get[*api.Allocation](t.Context(), w.store, "default", "grid-a1")
		if err != nil {
			t.Fatal(err)
		}
		c, err := store.Get[*api.Cluster](t.Context(), w.store, "", "c")
		if err != nil {
			t.Fatal(err)
		}
		rest := func() { // no time passes while a lock is held
			for range 10_000 {
				runtime.Gosched()
			}
		}
		change := func(obj api.Object, times int, set func(i int)) {
			t.Helper()
			err := w.store.Update(t.Context(), func(tx *store.Tx) error {
				for i := range times {
					set(i)
					if err := tx.PutStatus(obj); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			rest()
		}
		w.manager.census.mu.Lock() // whoever takes over the Allocations' changes waits for it
		for _, message := range []string{"one that is being taken over", "one that waits for that"} {
			change(a, 1, func(int) { a.Status.Message = message })
		}
		change(a, 1, func(int) {
			a.Status.Phase, a.Status.PhaseSince = api.AllocationReleased, &metav1.Time{Time: time.Now()}
		})
		for n := range 110 {
			change(c, 100, func(i int) { c.Status.Version = fmt.Sprint(n, i) })
		}
		w.manager.census.mu.Unlock()
		w.wait(10 * time.Minute)
		for _, name := range []string{"grid-clientspernode1", "grid-clientspernode2", "grid-clientspernode3"} {
			if run := w.get(name); run.Status.AllocationRef.Name != "grid-a2" {
				t.Errorf("%s is %s in %s: %s", name, run.Status.Phase, run.Status.AllocationRef.Name, run.Status.Message)
			}
		}
	})
}
