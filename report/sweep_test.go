package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// aTrial is a trial that has completed.
func aTrial(values api.Values, repeat int, change func(*Trial)) Trial {
	name := fmt.Sprintf("%s-r%d", strings.NewReplacer("{", "", "}", "", `"`, "", ":", "-", ",", "-").Replace(text(map[string]any(values))), repeat)
	t := Trial{Run: name, Point: text(map[string]any(values)), Values: values, Repeat: repeat, Phase: api.RunCompleted, ServerNodes: 1, Ended: time.Unix(int64(repeat), 0)}
	t.Summary = &api.Summary{RequestThroughput: 10, OutputTokenThroughput: 100, TTFTP50: 0.1, TTFTP99: 0.2, TPOTP50: 0.01, E2EP50: 1, E2EP99: 2, Verdict: Valid}
	if change != nil {
		change(&t)
	}
	return t
}

func aSweepOf(paths ...string) *api.BenchmarkSweep {
	s := &api.BenchmarkSweep{ObjectMeta: metav1.ObjectMeta{Name: "s"}}
	for _, p := range paths {
		s.Spec.Parameters = append(s.Spec.Parameters, api.ParameterSpec{Path: p})
	}
	return s
}

const clientsPath, rateConst, replicasPath = "workload.load.clientsPerNode", "workload.load.rate", "service.replicas"

// The mean lies in its interval, the front holds exactly what nothing beats, and neither the order of trials nor a repetition changes a byte.
func TestSweepResultHolds(t *testing.T) {
	drawn := 0
	rapid.Check(t, func(t *rapid.T) {
		var trials []Trial
		for c := range rapid.IntRange(1, 4).Draw(t, "clients") {
			for n := range rapid.IntRange(1, 3).Draw(t, "replicas") {
				for r := range rapid.IntRange(1, 3).Draw(t, "repeats") {
					trials = append(trials, aTrial(api.Values{clientsPath: math.Pow(4, float64(c)), replicasPath: float64(n + 1)}, r+1, func(tr *Trial) {
						tr.Summary.OutputTokenThroughput = rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(0.1, 1e5)).Draw(t, "throughput")
						tr.Summary.TPOTP50 = rapid.SampledFrom([]float64{0, 1e-6, 0.003, 0.02, 0.021, 1}).Draw(t, "tpot")
						tr.Summary.Verdict = rapid.SampledFrom([]string{Valid, Suspect, Invalid}).Draw(t, "verdict")
						switch rapid.IntRange(0, 6).Draw(t, "end") {
						case 2:
							tr.Phase, tr.Summary = api.RunCancelled, nil
						case 0:
							tr.Phase = api.RunExecuting
						case 1:
							tr.Phase, tr.Summary = api.RunFailed, nil
						}
					}))
				}
			}
		}
		s := aSweepOf(clientsPath, replicasPath)
		r := Sweep(s, trials)
		if r.Measured+r.Failed+r.Cancelled+r.Open != len(trials) || r.Total != len(trials) {
			t.Fatalf("%d trials: %+v", len(trials), r)
		}
		for _, p := range r.Points {
			for name, stat := range p.Metrics {
				if stat.N > p.Measured || math.IsNaN(stat.Mean) || stat.CI95 != nil && (stat.CI95[0] > stat.Mean || stat.CI95[1] < stat.Mean) {
					t.Fatalf("%s of %v: %+v", name, p.Values, stat)
				}
			}
		}
		for i := range r.Points {
			p := &r.Points[i]
			if p.Verdict == Invalid || math.IsNaN(p.metric("tokensPerGPU")) || math.IsNaN(p.metric("tokensPerUser")) {
				continue
			}
			beaten := slices.ContainsFunc(r.Points, func(o PointResult) bool { return dominates(&o, p) })
			if beaten == slices.Contains(r.Pareto, i) {
				t.Fatalf("point %d is beaten: %t, on the front: %t", i, beaten, !beaten)
			}
		}
		if drawn++; drawn%8 != 1 {
			return // plots take their time
		}
		sameInAnyOrder(t, s, trials, r)
	})
}

// sameInAnyOrder holds the files of a result against those of the same trials in another order, and looks at what is drawn.
func sameInAnyOrder(t *rapid.T, s *api.BenchmarkSweep, trials []Trial, r *SweepResult) {
	first, err := r.Files()
	if err != nil {
		t.Fatal(err)
	}
	shuffled := slices.Clone(trials)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	again, err := Sweep(s, shuffled).Files()
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != len(again) {
		t.Fatalf("%d files, then %d", len(first), len(again))
	}
	for name, data := range first {
		if !bytes.Equal(data, again[name]) {
			t.Fatalf("%s differs when trials come in another order", name)
		}
		if strings.HasSuffix(name, ".svg") {
			wellFormed(t, name, data)
		}
	}
}

// dominates says whether a is at least as good as b in both, and better in one.
func dominates(a, b *PointResult) bool {
	ag, au, bg, bu := a.metric("tokensPerGPU"), a.metric("tokensPerUser"), b.metric("tokensPerGPU"), b.metric("tokensPerUser")
	return a.Verdict != Invalid && ag >= bg && au >= bu && (ag > bg || au > bu)
}

func wellFormed(t *rapid.T, name string, data []byte) {
	dec := xml.NewDecoder(bytes.NewReader(data))
	for {
		_, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if bytes.Contains(data, []byte("NaN")) || bytes.Contains(data, []byte("Inf")) {
		t.Fatalf("%s holds what is no number", name)
	}
}

// Repeats 9, 10 and 11: 10 ± 2.48, as tables of Student's t have it (t = 4.303 with two degrees of freedom).
func TestStatOf(t *testing.T) {
	s := statOf([]float64{9, 10, 11})
	if s.Mean != 10 || s.N != 3 || s.CI95 == nil || math.Abs(s.CI95[1]-12.484) > 0.001 {
		t.Errorf("%+v, %v", s, s.CI95)
	}
	if s := statOf([]float64{5}); s.CI95 != nil || s.Mean != 5 {
		t.Errorf("one repeat: %+v", s)
	}
}

func kinds(r *SweepResult) string {
	var out []string
	for _, p := range r.Guidance {
		out = append(out, p.Kind)
		if len(p.Evidence) == 0 || p.Text == "" {
			out = append(out, "WITHOUT-EVIDENCE")
		}
	}
	return strings.Join(out, " ")
}

func TestGuidance(t *testing.T) {
	series := func(throughput, latency []float64, change func(i int, tr *Trial)) []Trial {
		var trials []Trial
		for i := range throughput {
			trials = append(trials, aTrial(api.Values{clientsPath: math.Pow(2, float64(i))}, 1, func(tr *Trial) {
				tr.Summary.OutputTokenThroughput, tr.Summary.E2EP50 = throughput[i], latency[i]
				if change != nil {
					change(i, tr)
				}
			}))
		}
		return trials
	}
	for name, tc := range map[string]struct {
		trials []Trial
		want   string
	}{
		"grows evenly": {series([]float64{100, 200, 400}, []float64{1, 1, 1}, nil), ""},
		"stops paying": {series([]float64{100, 195, 200}, []float64{1, 1, 2}, nil), "StopsPaying"},
		"stops paying in small steps": {[]Trial{
			aTrial(api.Values{clientsPath: 8.0}, 1, func(tr *Trial) { tr.Summary.OutputTokenThroughput, tr.Summary.E2EP50 = 100, 1 }),
			aTrial(api.Values{clientsPath: 9.0}, 1, func(tr *Trial) { tr.Summary.OutputTokenThroughput, tr.Summary.E2EP50 = 100, 1.12 }),
			aTrial(api.Values{clientsPath: 10.0}, 1, func(tr *Trial) { tr.Summary.OutputTokenThroughput, tr.Summary.E2EP50 = 101, 1.25 }),
		}, "StopsPaying"},
		"flat but quick": {series([]float64{100, 100, 100}, []float64{1, 1, 1}, nil), ""},
		"errors":         {series([]float64{100, 200}, []float64{1, 1}, func(i int, tr *Trial) { tr.Summary.ErrorRate = 0.05 * float64(i) }), "Errors"},
		"queues":         {series([]float64{100, 200}, []float64{1, 1}, func(i int, tr *Trial) { tr.Summary.QueueMean = 0.09 * float64(i) }), "ServerQueues"},
		"saturated":      {series([]float64{100, 200}, []float64{1, 1}, func(i int, tr *Trial) { tr.Summary.Saturated = i == 1 }), "Saturated"},
		"cache full": {series([]float64{100, 200}, []float64{1, 1}, func(i int, tr *Trial) {
			use := []float64{0.9, 0.97}[i]
			tr.Summary.KVCacheUsage = &use
		}), "KVCacheFull"},
		"preemptions": {series([]float64{100, 200}, []float64{1, 1}, func(i int, tr *Trial) {
			n := 12.0 * float64(i)
			tr.Summary.Preemptions = &n
		}), "KVCacheFull"},
		"client": {series([]float64{100, 200}, []float64{1, 1}, func(i int, tr *Trial) {
			if i == 1 {
				tr.Summary.VerdictReasons = []string{"a thread of the load engine on n1 used 95 % of a CPU over 5 s, over 80 %: the client may have been the bottleneck"}
			}
		}), "ClientLimited"},
		"unsteady": {series([]float64{100, 200}, []float64{1, 1}, func(_ int, tr *Trial) {
			tr.Summary.VerdictReasons = []string{"unsteady: the output drifted by 30 % over the measured window"}
		}), "Unsteady"},
	} {
		if got := kinds(Sweep(aSweepOf(clientsPath), tc.trials)); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// Twice the servers at the same load, and at twice the load: strong and weak scaling, each against the first step; weak scaling
// once for each load that a server has.
func TestScaling(t *testing.T) {
	throughput := map[[2]float64]float64{{1, 4}: 100, {2, 4}: 120, {1, 8}: 110, {2, 8}: 200, {1, 16}: 110, {2, 16}: 210}
	var trials []Trial
	for at, v := range throughput {
		trials = append(trials, aTrial(api.Values{replicasPath: at[0], clientsPath: at[1]}, 1, func(tr *Trial) { tr.Summary.OutputTokenThroughput = v }))
	}
	r := Sweep(aSweepOf(replicasPath, clientsPath), trials)
	got := map[string]string{}
	for _, s := range r.Scaling {
		last := s.Steps[len(s.Steps)-1]
		got[s.Kind+s.at()] = fmt.Sprintf("%.3g", last.Efficiency)
	}
	want := map[string]string{"strongclientsPerNode=4": "0.6", "strongclientsPerNode=8": "0.909", "weakclientsPerNode=4 for each": "1", "weakclientsPerNode=8 for each": "0.955"}
	for key, efficiency := range want {
		if got[key] != efficiency {
			t.Errorf("%s: efficiency %s, want %s (all: %v)", key, got[key], efficiency, got)
		}
	}
	if !strings.Contains(kinds(r), "ScalesPoorly") {
		t.Errorf("an efficiency of 60 %% is not said: %s", kinds(r))
	}
}

func TestBestUnderAnSLO(t *testing.T) {
	good := func(v float64) *float64 { return &v }
	trials := []Trial{
		aTrial(api.Values{rateConst: 1.0}, 1, func(tr *Trial) { tr.Summary.GoodputShare = good(1); tr.Summary.OutputTokenThroughput = 100 }),
		aTrial(api.Values{rateConst: 2.0}, 1, func(tr *Trial) { tr.Summary.GoodputShare = good(0.995); tr.Summary.OutputTokenThroughput = 190 }),
		aTrial(api.Values{rateConst: 4.0}, 1, func(tr *Trial) { tr.Summary.GoodputShare = good(0.7); tr.Summary.OutputTokenThroughput = 250 }),
	}
	s := aSweepOf(rateConst)
	s.Spec.Template.Spec.Workload.SLO.TTFT = &metav1.Duration{Duration: time.Second}
	r := Sweep(s, trials)
	if len(r.Best) == 0 || r.Points[r.Best[0].Point].Values[rateConst] != 2.0 {
		t.Errorf("best: %+v", r.Best)
	}
	md := r.Markdown()
	for _, want := range []string{"| outputTokenThroughput | rate=2 | 190 |", "## Points", "| 4 | 1 | Valid |"} {
		if !strings.Contains(md, want) {
			t.Errorf("%q is not in the text:\n%s", want, md)
		}
	}
	if md := Sweep(s, nil).Markdown(); !strings.Contains(md, "Nothing has been measured yet") {
		t.Errorf("an empty sweep: %s", md)
	}
}

// Two axes whose fields have one name are told apart: in files' names, which would be one file, and in words.
func TestAxesOfOneName(t *testing.T) {
	var trials []Trial
	for servers := 1.0; servers <= 2; servers++ {
		for clients := 1.0; clients <= 2; clients++ {
			trials = append(trials, aTrial(api.Values{"nodes.servers.count": servers, "nodes.clients.count": clients}, 1, func(tr *Trial) { tr.Summary.OutputTokenThroughput = servers * clients }))
		}
	}
	files, err := Sweep(aSweepOf("nodes.servers.count", "nodes.clients.count"), trials).Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"throughput-over-nodes.servers.count.svg", "throughput-over-nodes.clients.count.svg", "heatmap-nodes.servers.count-nodes.clients.count.svg"} {
		if files[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
	if md := string(files[SweepMD]); !strings.Contains(md, "nodes.clients.count=2, nodes.servers.count=2") || !strings.Contains(md, "| nodes.servers.count | nodes.clients.count |") {
		t.Errorf("which count is which?\n%s", md)
	}
}

// What passed a search is good: its objective is the sweep's.
func TestBestOfASearch(t *testing.T) {
	share := 0.92
	s := aSweepOf()
	s.Spec.Search = &api.SearchSpec{Path: rateConst, Goodput: 0.9}
	s.Spec.Template.Spec.Workload.SLO.TTFT = &metav1.Duration{Duration: time.Second}
	r := Sweep(s, []Trial{aTrial(api.Values{rateConst: 4.0}, 1, func(tr *Trial) { tr.Summary.GoodputShare, tr.Summary.ErrorRate = &share, 0.05 })})
	if len(r.Best) == 0 || !strings.Contains(r.Objective, "90 %") {
		t.Errorf("best: %+v of %s", r.Best, r.Objective)
	}
}

// Servers without nodes of their own run on the clients', else the monitors'; of external ones there are endpoints.
func TestTrialOfCountsNodesWithServers(t *testing.T) {
	n := func(v int32) *int32 { return &v }
	for name, tc := range map[string]struct {
		servers, clients, monitors *int32
		endpoints                  []string
		nodes, gpus                int32
	}{
		"their own":        {n(2), n(3), n(1), nil, 2, 8},
		"the clients'":     {n(0), n(3), n(1), nil, 3, 12},
		"the monitors'":    {n(0), n(0), n(1), nil, 1, 4},
		"external servers": {n(0), n(3), n(0), []string{"http://a:1", "http://b:1"}, 2, 0},
		"before defaults":  {nil, nil, nil, nil, 0, 0},
	} {
		run := &api.BenchmarkRun{}
		run.Spec.Nodes = api.NodesSpec{Servers: api.RoleSpec{Count: tc.servers, GPUs: 4}, Clients: api.RoleSpec{Count: tc.clients}, Monitors: api.RoleSpec{Count: tc.monitors}}
		run.Spec.Service.Endpoints = tc.endpoints
		trial, err := TrialOf(run, nil)
		if err != nil || trial.ServerNodes != tc.nodes || trial.GPUs != tc.gpus {
			t.Errorf("%s: %d nodes with %d GPUs, want %d with %d (%v)", name, trial.ServerNodes, trial.GPUs, tc.nodes, tc.gpus, err)
		}
	}
}

// Of control runs with too few requests for a TTFT nobody says that it stayed the same.
func TestDriftOfControlRuns(t *testing.T) {
	control := func(repeat int, throughput, ttft float64) Trial {
		return aTrial(api.Values{clientsPath: 1.0}, repeat, func(tr *Trial) {
			tr.Control, tr.Summary.OutputTokenThroughput, tr.Summary.TTFTP50 = true, throughput, ttft
			tr.Ended = time.Unix(int64(repeat), 0)
		})
	}
	for name, tc := range map[string]struct {
		first, last float64
		want        string
	}{"told": {0.1, 0.12, "+20.0 %"}, "too few at first": {0, 0.12, "cannot be told: too few requests"}, "too few at last": {0.1, 0, "cannot be told: too few requests"}} {
		d := driftOf([]Trial{control(2, 110, tc.last), control(1, 100, tc.first)})
		if d == nil || math.Abs(d.Throughput-0.1) > 1e-9 || d.ttft() != tc.want {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// Where the control run was changed with its sweep, those before and after it are not taken for a drift of the machine.
func TestDriftOfLikeControlRunsAlone(t *testing.T) {
	control := func(repeat int, clients, throughput float64) Trial {
		return aTrial(api.Values{clientsPath: clients}, repeat, func(tr *Trial) {
			tr.Control, tr.Summary.OutputTokenThroughput, tr.Ended = true, throughput, time.Unix(int64(repeat), 0)
		})
	}
	if d := driftOf([]Trial{control(1, 1, 100), control(2, 4, 400)}); d != nil {
		t.Errorf("of two control runs with other values: %+v", d)
	}
	d := driftOf([]Trial{control(1, 1, 100), control(2, 1, 101), control(3, 4, 400), control(4, 4, 440)})
	if d == nil || math.Abs(d.Throughput-0.1) > 1e-9 || len(d.Runs) != 2 {
		t.Errorf("of two and two: %+v", d)
	}
}
