package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// A sweep makes a run of each combination, no more at a time than it may, through a kill of the control plane, and counts them.
func TestSweepMakesItsRuns(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	sweep := &api.BenchmarkSweep{
		ObjectMeta: metav1.ObjectMeta{Name: "grid", Namespace: "default"},
		Spec: api.BenchmarkSweepSpec{
			Template:    api.RunTemplate{Labels: map[string]string{"team": "x"}, Spec: newRun("template").Spec},
			Parallelism: 2,
			Parameters: []api.ParameterSpec{
				{Path: "workload.load.clientsPerNode", Values: []any{1.0, 2.0}},
				{Path: "service.config.ttft", Values: []any{"1ms", "2ms"}},
			},
		},
	}
	sweep.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkSweep))
	if _, _, err := p.api.Apply(t.Context(), sweep); err != nil {
		t.Fatal(err)
	}
	p.until("grid-0", time.Minute, api.RunExecuting, api.RunTearingDown, api.RunReporting, api.RunCompleted)
	p.kill()
	p.start()
	most := int32(0)
	p.eventually(2*time.Minute, "the sweep completes", func(ctx context.Context) (bool, string) {
		obj, err := p.api.Get(ctx, api.KindBenchmarkSweep, "default", "grid")
		if err != nil {
			return false, err.Error()
		}
		st := obj.(*api.BenchmarkSweep).Status
		most = max(most, st.Active)
		return st.Phase == api.SweepCompleted && st.Succeeded == 4 && st.Failed == 0, fmt.Sprintf("%+v", st)
	})
	if most > 2 {
		t.Errorf("%d runs were under way at once, want at most 2", most)
	}
	for i, want := range []string{"1 1ms", "1 2ms", "2 1ms", "2 2ms"} {
		run := p.run(fmt.Sprintf("grid-%d", i))
		if got := fmt.Sprintf("%d %v", run.Spec.Workload.Load.ClientsPerNode, run.Spec.Service.Config["ttft"]); got != want || run.Labels["team"] != "x" {
			t.Errorf("run %d: got %q with labels %v, want %q", i, got, run.Labels, want)
		}
	}
	wrong := *sweep
	wrong.Name = "wrong"
	wrong.Spec.Parameters = []api.ParameterSpec{{Path: "workload.lod.clients", Values: []any{1.0}}}
	if _, _, err := p.api.Apply(t.Context(), &wrong); err == nil || !strings.Contains(err.Error(), `unknown field "lod"`) {
		t.Errorf("a parameter that leads nowhere: %v", err)
	}
}
