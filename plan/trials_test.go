package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// aSweep draws a sweep of any strategy but search.
func aSweep(t *rapid.T) *api.BenchmarkSweep {
	sweep := &api.BenchmarkSweep{ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("n", rapid.IntRange(1, 63).Draw(t, "name"))}}
	s := &sweep.Spec
	s.Strategy = rapid.SampledFrom([]api.Strategy{api.StrategyGrid, api.StrategyZip, api.StrategyRandom}).Draw(t, "strategy")
	s.Order = rapid.SampledFrom([]api.Order{api.OrderDeclared, api.OrderInterleaved, api.OrderShuffled}).Draw(t, "order")
	s.Repeats = rapid.Int32Range(1, 3).Draw(t, "repeats")
	s.Seed = rapid.Int64().Draw(t, "seed")
	paths := []string{"workload.load.clientsPerNode", "workload.prompts.tokens", "workload.output.tokens", "service.model"}
	zipped := rapid.IntRange(1, 5).Draw(t, "zipped")
	for _, path := range paths[:rapid.IntRange(1, len(paths)).Draw(t, "parameters")] {
		p := api.ParameterSpec{Path: path}
		n := zipped
		if s.Strategy == api.StrategyGrid {
			n = rapid.IntRange(1, 4).Draw(t, "values")
		}
		for i := range n {
			var value any = float64(i + 1)
			if path == "service.model" {
				value = fmt.Sprint("Org/m_", i)
			}
			p.Values = append(p.Values, value)
		}
		s.Parameters = append(s.Parameters, p)
	}
	if s.Strategy == api.StrategyRandom {
		s.Samples = 6
	}
	if rapid.Bool().Draw(t, "control") {
		s.Control = &api.ControlSpec{Every: rapid.Int32Range(1, 4).Draw(t, "every")}
	}
	if rapid.Bool().Draw(t, "include") {
		s.Include = []api.Values{{"workload.load.clientsPerNode": 77.0}}
	}
	return sweep
}

// Every trial has a name, an identity and a position of its own, whatever the strategy; the same spec gives the same trials.
func TestTrials(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sweep := aSweep(t)
		trials := Trials(&sweep.Spec)
		points := Points(&sweep.Spec)
		names, ids, measured := map[string]bool{}, map[string]bool{}, map[string]int{}
		for i, trial := range trials {
			run, err := Run(sweep, trial)
			if err != nil {
				t.Fatal(err)
			}
			if trial.Position != i || len(run.Name) > 63 || strings.Trim(run.Name, "-") != run.Name || run.Name != strings.ToLower(run.Name) {
				t.Fatalf("trial %d has position %d and name %q", i, trial.Position, run.Name)
			}
			if names[run.Name] || ids[trial.ID()] {
				t.Fatalf("two trials are named %s (%s)", run.Name, trial.ID())
			}
			names[run.Name], ids[trial.ID()] = true, true
			if !trial.Control {
				measured[trial.Point]++
			}
			if want, swept := trial.Values["workload.load.clientsPerNode"]; swept && float64(run.Spec.Workload.Load.ClientsPerNode) != want {
				t.Fatalf("clients: %d, want %v", run.Spec.Workload.Load.ClientsPerNode, want)
			}
		}
		for _, v := range points {
			if n := measured[Digest(v)]; n != int(sweep.Spec.Repeats) {
				t.Fatalf("point %v is measured %d times, want %d", v, n, sweep.Spec.Repeats)
			}
		}
		if len(measured) != len(points) {
			t.Fatalf("%d points are measured, there are %d", len(measured), len(points))
		}
		again := Trials(&sweep.Spec)
		if !slices.EqualFunc(trials, again, func(a, b Trial) bool { return a.ID() == b.ID() }) {
			t.Fatal("the same spec gives other trials")
		}
	})
}

func TestStrategies(t *testing.T) {
	clients := func(values ...any) api.ParameterSpec { return api.ParameterSpec{Path: "c", Values: values} }
	tokens := func(values ...any) api.ParameterSpec { return api.ParameterSpec{Path: "t", Values: values} }
	for name, tc := range map[string]struct {
		spec api.BenchmarkSweepSpec
		want string
	}{
		"grid":    {api.BenchmarkSweepSpec{Strategy: api.StrategyGrid, Parameters: []api.ParameterSpec{clients(1.0, 2.0), tokens(8.0, 9.0)}}, "[map[c:1 t:8] map[c:1 t:9] map[c:2 t:8] map[c:2 t:9]]"},
		"exclude": {api.BenchmarkSweepSpec{Strategy: api.StrategyGrid, Parameters: []api.ParameterSpec{clients(1.0, 2.0), tokens(8.0, 9.0)}, Exclude: []api.Values{{"c": 1, "t": 9}, {"c": 7.0}}}, "[map[c:1 t:8] map[c:2 t:8] map[c:2 t:9]]"},
		"include": {api.BenchmarkSweepSpec{Strategy: api.StrategyGrid, Parameters: []api.ParameterSpec{clients(1.0)}, Include: []api.Values{{"c": 5.0}, {"c": 1.0}}}, "[map[c:1] map[c:5]]"},
		"zip":     {api.BenchmarkSweepSpec{Strategy: api.StrategyZip, Parameters: []api.ParameterSpec{clients(1.0, 2.0), tokens(8.0, 9.0)}}, "[map[c:1 t:8] map[c:2 t:9]]"},
		"list":    {api.BenchmarkSweepSpec{Strategy: api.StrategyList, Include: []api.Values{{"c": 5.0}, {"t": 1.0}}}, "[map[c:5] map[t:1]]"},
		"repeats": {api.BenchmarkSweepSpec{Strategy: api.StrategyGrid, Repeats: 5}, "[map[]]"},
	} {
		if got := fmt.Sprint(Points(&tc.spec)); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// Random points lie in their ranges, and more samples leave those drawn before as they are.
func TestRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &api.RangeSpec{Min: rapid.Float64Range(0.001, 100).Draw(t, "min"), Scale: rapid.SampledFrom([]api.Scale{api.ScaleLinear, api.ScaleLog}).Draw(t, "scale")}
		r.Max = r.Min + rapid.Float64Range(1, 1e6).Draw(t, "span")
		r.Integer = rapid.Bool().Draw(t, "integer")
		s := &api.BenchmarkSweepSpec{Strategy: api.StrategyRandom, Samples: 20, Seed: rapid.Int64().Draw(t, "seed"), Parameters: []api.ParameterSpec{{Path: "x", Range: r}}}
		for _, v := range drawn(s) {
			x, _ := v["x"].(float64)
			if x < r.Min || x > r.Max || r.Integer && x != float64(int64(x)) {
				t.Fatalf("%v is not of %+v", x, *r)
			}
		}
		before := drawn(s)
		s.Samples = 40
		if after := drawn(s); fmt.Sprint(before) != fmt.Sprint(after[:20]) {
			t.Fatal("more samples change the first ones")
		}
	})
}

// A control run stays what it is when points are added, in a shuffled order too.
func TestControlStaysWhenASweepGrows(t *testing.T) {
	s := &api.BenchmarkSweepSpec{
		Strategy: api.StrategyRandom, Samples: 6, Seed: 7, Order: api.OrderShuffled, Control: &api.ControlSpec{Every: 2},
		Parameters: []api.ParameterSpec{{Path: "x", Range: &api.RangeSpec{Min: 1, Max: 1e6, Integer: true}}},
	}
	want := Points(s)[0]
	for ; s.Samples < 30; s.Samples++ {
		for _, trial := range Trials(s) {
			if trial.Control && !equal(trial.Values, want) {
				t.Fatalf("with %d samples the control run has %v, that of the first point has %v", s.Samples, trial.Values, want)
			}
		}
	}
}

// Two fields of the same name, and values that a name cannot hold, are told apart by the point's digest.
func TestRunName(t *testing.T) {
	sweep := &api.BenchmarkSweep{ObjectMeta: metav1.ObjectMeta{Name: "s"}}
	sweep.Spec.Parameters = []api.ParameterSpec{{Path: "workload.load.rate", Values: []any{0.5, 5.0}}, {Path: "service.model", Values: []any{"a/b", "ab"}}}
	for _, tc := range []struct {
		values api.Values
		want   string
	}{
		{api.Values{"workload.load.rate": 5.0, "service.model": "ab"}, "s-rate5-modelab"},
		{api.Values{"workload.load.rate": 0.5, "service.model": "ab"}, "s-rate0-5-modelab-"},
		{api.Values{"workload.load.rate": 5.0, "service.model": "a/b"}, "s-rate5-modela-b-"},
	} {
		got := RunName(sweep, Trial{Values: tc.values, Point: Digest(tc.values), Repeat: 1})
		if strings.HasSuffix(tc.want, "-") && got != tc.want+Digest(tc.values) || !strings.HasSuffix(tc.want, "-") && got != tc.want {
			t.Errorf("%v is named %s, want %s", tc.values, got, tc.want)
		}
	}
}
