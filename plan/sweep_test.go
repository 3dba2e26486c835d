package plan

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// A sweep has each combination of its values once, in the order of its parameters, under names of their own.
func TestPoints(t *testing.T) {
	paths := []string{"workload.load.clientsPerNode", "workload.prompts.tokens", "service.config.depth", "service.model"}
	rapid.Check(t, func(t *rapid.T) {
		sweep := &api.BenchmarkSweep{ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("n", rapid.IntRange(1, 63).Draw(t, "name"))}}
		total := 1
		for _, path := range paths[:rapid.IntRange(1, len(paths)).Draw(t, "parameters")] {
			p := api.ParameterSpec{Path: path}
			for i := range rapid.IntRange(1, 5).Draw(t, "values") {
				var value any = float64(i + 1)
				if path == "service.model" {
					value = fmt.Sprint("m", i)
				}
				p.Values = append(p.Values, value)
			}
			sweep.Spec.Parameters = append(sweep.Spec.Parameters, p)
			total *= len(p.Values)
		}
		points := Points(&sweep.Spec)
		if len(points) != total || Total(&sweep.Spec) != total {
			t.Fatalf("%d points, total %d, want %d", len(points), Total(&sweep.Spec), total)
		}
		names, combinations := map[string]bool{}, map[string]bool{}
		for i, p := range points {
			run, err := Run(sweep, p)
			if err != nil {
				t.Fatal(err)
			}
			if p.Index != i || len(run.Name) > 63 {
				t.Fatalf("point %d has index %d and name %s", i, p.Index, run.Name)
			}
			names[run.Name] = true
			combinations[fmt.Sprint(p.Values)] = true
			if want, swept := p.Values["workload.load.clientsPerNode"]; swept && float64(run.Spec.Workload.Load.ClientsPerNode) != want {
				t.Fatalf("clients: %d, want %v", run.Spec.Workload.Load.ClientsPerNode, want)
			}
		}
		if len(names) != total || len(combinations) != total {
			t.Fatalf("%d names and %d combinations of %d points", len(names), len(combinations), total)
		}
		last := sweep.Spec.Parameters[len(sweep.Spec.Parameters)-1]
		if n := len(last.Values); total > n && n > 1 && points[0].Values[last.Path] == points[1].Values[last.Path] {
			t.Fatal("the last parameter does not vary fastest")
		}
	})
}

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
		if _, err := Run(sweep, Point{Values: map[string]any{path: "x"}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}
