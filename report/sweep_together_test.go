package report

import (
	"fmt"
	"strings"
	"testing"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// efficiencies of the last step of each scaling, by kind, what grows, and where.
func efficiencies(r *SweepResult) string {
	var out []string
	for _, s := range r.Scaling {
		out = append(out, fmt.Sprintf("%s %s%s %.3g", s.Kind, s.name(), Where(s.Others), s.Steps[len(s.Steps)-1].Efficiency))
	}
	return strings.Join(out, "; ")
}

const tokensPath = "workload.prompts.tokens"

// What is zipped moves together: nodes with their replicas are one count, and what the load does meanwhile says which scaling it is.
func TestScalingOfWhatGrowsTogether(t *testing.T) {
	zero := int32(0)
	rows := func(paths string, rows ...[]float64) []Trial {
		var trials []Trial
		for _, row := range rows {
			values := api.Values{}
			for i, path := range strings.Fields(paths) {
				values[path] = row[i+1]
			}
			trials = append(trials, aTrial(values, 1, func(tr *Trial) { tr.Summary.OutputTokenThroughput = row[0] }))
		}
		return trials
	}
	for name, tc := range map[string]struct {
		trials []Trial
		change func(*api.BenchmarkRunSpec)
		want   string
	}{
		"replicas with their nodes": {
			rows(serverNodes+" service.replicas", []float64{100, 1, 1}, []float64{180, 2, 2}), nil,
			"strong nodes.servers.count with service.replicas 0.9",
		},
		"and their clients, in a closed loop": {
			rows(serverNodes+" service.replicas "+clientsPath, []float64{100, 1, 1, 8}, []float64{160, 2, 2, 16}), nil,
			"weak nodes.servers.count with service.replicas, workload.load.clientsPerNode 0.8",
		},
		"clients' nodes, in a closed loop": {
			rows(serverNodes+" nodes.clients.count", []float64{100, 1, 1}, []float64{200, 2, 2}), nil,
			"weak nodes.servers.count with nodes.clients.count 1",
		},
		"clients' nodes that share a rate": {
			rows(serverNodes+" nodes.clients.count", []float64{100, 1, 1}, []float64{200, 2, 2}),
			func(s *api.BenchmarkRunSpec) { s.Workload.Load.Pattern = api.PatternPoisson },
			"strong nodes.servers.count with nodes.clients.count 1",
		},
		"clients on the servers' nodes": {
			rows(serverNodes, []float64{100, 1}, []float64{200, 2}),
			func(s *api.BenchmarkRunSpec) { s.Nodes.Clients.Count = &zero },
			"weak nodes.servers.count 1",
		},
		"a bound on requests": {
			rows(serverNodes+" "+loadBound, []float64{100, 1, 500}, []float64{200, 2, 1000}), nil,
			"strong nodes.servers.count with workload.load.requests 1",
		},
		"something else changes too": {
			rows(serverNodes+" "+tokensPath, []float64{100, 1, 128}, []float64{200, 2, 256}), nil, "",
		},
	} {
		paths := []string{serverNodes, "service.replicas", clientsPath, clientNodes, loadBound, tokensPath}
		s := aSweepOf(paths...)
		s.Spec.Strategy = api.StrategyZip
		if tc.change != nil {
			tc.change(&s.Spec.Template.Spec)
		}
		if got := efficiencies(Sweep(s, tc.trials)); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// Points that were drawn have a place each: what holds at hundreds of them is said a few times, and counted.
func TestGuidanceIsShort(t *testing.T) {
	var trials []Trial
	for n := 1.0; n <= 300; n++ {
		trials = append(trials, aTrial(api.Values{rateConst: n, tokensPath: 7 * n}, 1, func(tr *Trial) { tr.Summary.ErrorRate = 0.5 }))
	}
	s := aSweepOf(rateConst, tokensPath)
	s.Spec.Strategy = api.StrategyRandom
	r := Sweep(s, trials)
	if len(r.Guidance) != mostOfAKind+1 || !strings.Contains(r.Guidance[mostOfAKind].Text, fmt.Sprintf("%d more", 300-mostOfAKind)) || len(r.Guidance[mostOfAKind].Evidence) == 0 {
		t.Errorf("%d pieces, at last %+v", len(r.Guidance), r.Guidance[len(r.Guidance)-1])
	}
}
