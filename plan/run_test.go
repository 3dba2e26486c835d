package plan

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func TestKept(t *testing.T) {
	run := &api.BenchmarkRun{Spec: api.BenchmarkRunSpec{Service: api.ServiceSpec{Name: "dummy"}}}
	api.SetDefaults(run)
	for path, tc := range map[string]struct {
		value any
		want  bool
	}{
		"workload.prompts.tokens":      {0.0, false},
		"workload.load.rate":           {0.0, true},
		"workload.load.clientsPerNode": {2.0, true},
		"cluster":                      {"", false},
		"service.health.interval":      {"0s", false},
		"workload.warmup":              {"0ms", true},
		"service.config.depth":         {0.0, true},
	} {
		if got := Kept(&run.Spec, path, tc.value); got != tc.want {
			t.Errorf("%s = %v: %t, want %t", path, tc.value, got, tc.want)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	for path, want := range map[string]string{
		"workload.lod.rate":            `unknown field "lod"`,
		"workload.duration.seconds":    "has no fields",
		"workload.load.clientsPerNo":   `unknown field "clientsPerNo"`,
		"workload.load.clientsPernode": `write "clientsPerNode"`,
		"workload.Load.clientsPerNode": `write "load"`,
		"service.replicas":             "cannot unmarshal string",
	} {
		sweep := &api.BenchmarkSweep{ObjectMeta: metav1.ObjectMeta{Name: "s"}}
		sweep.Spec.Template.Spec.Workload.Duration.Duration = 1e9
		if _, err := Run(sweep, Trial{Values: api.Values{path: "x"}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// Two fields of one name have a label each, the same ones every time.
func TestLabelsOfFieldsOfOneName(t *testing.T) {
	s := &api.BenchmarkSweep{}
	s.Name = "s"
	s.Spec.Parameters = []api.ParameterSpec{{Path: "nodes.servers.count", Values: []any{1.0}}, {Path: "nodes.clients.count", Values: []any{2.0}}}
	run, err := Run(s, Trials(&s.Spec)[0])
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"nodes.servers.count": "1", "nodes.clients.count": "2"} {
		if got := run.Labels[api.LabelParameter+path]; got != want {
			t.Errorf("%s: %q, want %q in %v", path, got, want, run.Labels)
		}
	}
}
