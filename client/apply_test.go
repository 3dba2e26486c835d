package client_test

import (
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/server"
)

func TestApply(t *testing.T) {
	f := newFixture(t, server.Options{})
	labelled := func(key, value string) func(*api.BenchmarkRun) {
		return func(r *api.BenchmarkRun) { r.Labels = map[string]string{key: value} }
	}
	args := func(r *api.BenchmarkRun) { r.Spec.Service.Args = []string{"--fast"} }
	for _, step := range []struct {
		name string
		edit func(*api.BenchmarkRun)
		dry  bool
		want client.ApplyResult
	}{
		{"a dry run keeps nothing", nil, true, client.Created},
		{"what is new is created", labelled("team", "a"), false, client.Created},
		{"the same again changes nothing", labelled("team", "a"), false, client.Unchanged},
		{"labels that are not named stay", nil, false, client.Unchanged},
		{"a label is added", labelled("tier", "test"), false, client.Configured},
		{"a dry run tells of a change", args, true, client.Configured},
		{"the spec is changed", args, false, client.Configured},
		{"the spec is replaced, not merged", nil, false, client.Configured},
		{"a dry run tells of no change", nil, true, client.Unchanged},
	} {
		c := f.Client
		if step.dry {
			c = c.DryRun()
		}
		if got, _, err := c.Apply(t.Context(), newRun("one", step.edit)); err != nil || got != step.want {
			t.Fatalf("%s: %s, want %s: %v", step.name, got, step.want, err)
		}
	}
	obj, err := f.Get(t.Context(), api.KindBenchmarkRun, "", "one")
	if err != nil {
		t.Fatal(err)
	}
	run, ok := obj.(*api.BenchmarkRun)
	if !ok || len(run.Spec.Service.Args) > 0 || run.Labels["team"] != "a" || run.Labels["tier"] != "test" || len(run.Finalizers) == 0 {
		t.Errorf("in the end there is %+v", obj)
	}
}

func TestApplyRefused(t *testing.T) {
	f := newFixture(t, server.Options{})
	f.create(t, "one", nil)
	if _, _, err := f.Apply(t.Context(), newRun("one", func(r *api.BenchmarkRun) { r.Spec.Workload.API = "telepathy" })); !apierrors.IsInvalid(err) {
		t.Errorf("apply of what is invalid: %v", err)
	}
	alloc := api.New(api.KindAllocation)
	alloc.SetName("one")
	if _, _, err := f.Apply(t.Context(), alloc); !apierrors.IsForbidden(err) {
		t.Errorf("apply of an allocation: %v", err)
	}
}

// TestApplyRace has several clients apply at once; none may see a conflict, and no label may be lost.
func TestApplyRace(t *testing.T) {
	f := newFixture(t, server.Options{})
	keys := []string{"a", "b", "c"}
	var wg sync.WaitGroup
	for _, key := range keys {
		wg.Go(func() {
			run := newRun("one", func(r *api.BenchmarkRun) { r.Labels = map[string]string{key: "yes"} })
			if _, _, err := f.Apply(t.Context(), run); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		})
	}
	wg.Wait()
	run, err := f.Get(t.Context(), api.KindBenchmarkRun, "", "one")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if run.GetLabels()[key] != "yes" {
			t.Errorf("label %s was lost: %v", key, run.GetLabels())
		}
	}
}
