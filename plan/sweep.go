// Package plan holds the pure functions that say what is to be done, from objects alone: which runs a sweep has.
package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Point is one run of a sweep: the values of its parameters.
type Point struct {
	// Index counts from 0, in the order in which runs are made.
	Index int
	// Values by the paths of the parameters.
	Values map[string]any
}

// Points are all combinations of a sweep's values, the last parameter varying fastest.
func Points(s *api.BenchmarkSweepSpec) []Point {
	points := make([]Point, Total(s))
	for i := range points {
		points[i] = PointAt(s, i)
	}
	return points
}

// PointAt is one of the Points, by its index: which value of each parameter, as the digits of a number of mixed base.
func PointAt(s *api.BenchmarkSweepSpec, index int) Point {
	p := Point{Index: index, Values: make(map[string]any, len(s.Parameters))}
	for i := len(s.Parameters) - 1; i >= 0; i-- {
		values := s.Parameters[i].Values
		p.Values[s.Parameters[i].Path] = values[index%len(values)]
		index /= len(values)
	}
	return p
}

// Run makes the run of a point. Its name is the sweep's and the point's number; the values are in an annotation.
func Run(s *api.BenchmarkSweep, p Point) (*api.BenchmarkRun, error) {
	spec, err := withValues(&s.Spec.Template.Spec, p.Values)
	if err != nil {
		return nil, fmt.Errorf("run %d of sweep %s: %w", p.Index, s.Name, err)
	}
	values, err := json.Marshal(p.Values)
	if err != nil {
		return nil, fmt.Errorf("run %d of sweep %s: %w", p.Index, s.Name, err)
	}
	run := &api.BenchmarkRun{Spec: *spec}
	run.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkRun))
	run.Namespace, run.Name = s.Namespace, RunName(s, p.Index)
	run.Labels = map[string]string{api.LabelSweep: s.Name}
	maps.Copy(run.Labels, s.Spec.Template.Labels)
	run.Annotations = map[string]string{api.AnnotationParameters: string(values)}
	run.Finalizers = []string{api.FinalizerCluster}
	if s.UID != "" {
		run.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(s, api.GroupVersion.WithKind(api.KindBenchmarkSweep))}
	}
	return run, nil
}

// RunName is the name of a sweep's run.
func RunName(s *api.BenchmarkSweep, index int) string {
	suffix := fmt.Sprintf("-%0*d", len(fmt.Sprint(max(0, Total(&s.Spec)-1))), index)
	return s.Name[:min(len(s.Name), 63-len(suffix))] + suffix
}

// Total is how many runs a sweep has.
func Total(s *api.BenchmarkSweepSpec) int {
	total := 1
	for _, p := range s.Parameters {
		total *= len(p.Values)
	}
	return total
}

// withValues sets fields of a spec by their paths.
func withValues(template *api.BenchmarkRunSpec, values map[string]any) (*api.BenchmarkRunSpec, error) {
	data, err := json.Marshal(template)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := json.Unmarshal(data, &tree); err != nil {
		return nil, err
	}
	for path, value := range values {
		if err := set(tree, strings.Split(path, "."), value); err != nil {
			return nil, fmt.Errorf("set %s: %w", path, err)
		}
	}
	if data, err = json.Marshal(tree); err != nil {
		return nil, err
	}
	var spec api.BenchmarkRunSpec
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields() // a path that leads nowhere would vary nothing
	if err := strict.Decode(&spec); err != nil {
		return nil, err
	}
	return &spec, nil
}

// Kept says whether a run still has a point's value for a parameter: a zero is taken for a field that was not given.
func Kept(spec *api.BenchmarkRunSpec, path string, value any) bool {
	var tree any
	data, err := json.Marshal(spec)
	if err == nil {
		err = json.Unmarshal(data, &tree)
	}
	for _, step := range strings.Split(path, ".") {
		object, _ := tree.(map[string]any)
		tree = object[step]
	}
	switch value {
	case 0.0, "", false:
		return err == nil && (tree == nil || tree == value)
	}
	return true
}

func set(tree map[string]any, path []string, value any) error {
	if len(path) == 1 {
		tree[path[0]] = value
		return nil
	}
	child, exists := tree[path[0]]
	if !exists || child == nil {
		child = map[string]any{}
		tree[path[0]] = child
	}
	inner, ok := child.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is a %T, it has no fields", path[0], child)
	}
	return set(inner, path[1:], value)
}
