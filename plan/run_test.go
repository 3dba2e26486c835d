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
		"service.config.depth":         {0.0, true},
	} {
		if got := Kept(&run.Spec, path, tc.value); got != tc.want {
			t.Errorf("%s = %v: %t, want %t", path, tc.value, got, tc.want)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	for path, want := range map[string]string{
		"workload.lod.rate":          `unknown field "lod"`,
		"workload.duration.seconds":  "has no fields",
		"workload.load.clientsPerNo": `unknown field "clientsPerNo"`,
		"service.replicas":           "cannot unmarshal string",
	} {
		sweep := &api.BenchmarkSweep{ObjectMeta: metav1.ObjectMeta{Name: "s"}}
		sweep.Spec.Template.Spec.Workload.Duration.Duration = 1e9
		if _, err := Run(sweep, Trial{Values: api.Values{path: "x"}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}
