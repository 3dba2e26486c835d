package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// aReportedRun is a run that has left a report, whose output per second is the series; the measured window begins after 5 s.
func aReportedRun(t testing.TB, name string, clients float64, series []float64) *api.BenchmarkRun {
	t.Helper()
	run := &api.BenchmarkRun{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID(name),
		Labels:      map[string]string{api.LabelPoint: name, api.LabelRepeat: "1"},
		Annotations: map[string]string{api.AnnotationParameters: fmt.Sprintf(`{%q: %g}`, clientsPath, clients)},
	}}
	run.Status.Phase, run.Status.Folder = api.RunCompleted, t.TempDir()
	v := func(x float64) *float64 { return &x }
	s := Summary{
		RequestThroughput: 10, OutputTokenThroughput: 100, Verdict: Verdict{State: Valid},
		TTFT:   Distribution{P50: v(0.1), CI95: &Intervals{P50: &Interval{0.08, 0.13}}},
		TPOT:   Distribution{P50: v(0.01), CI95: &Intervals{P50: &Interval{0.008, 0.0125}}},
		CI95:   map[string]*Interval{"outputTokenThroughput": {90, 105}, "requestThroughput": nil},
		Series: &Series{StepSeconds: 1, From: 5, To: 5 + float64(len(series)), OutputTokens: append(make([]float64, 5), series...)},
	}
	run.Status.Summary = s.Headline()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(run.Status.Folder, Dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(run.Status.Folder, Dir, SummaryJSON), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return run
}

func trialOf(t testing.TB, run *api.BenchmarkRun) Trial {
	t.Helper()
	trial, err := TrialOf(run, nil)
	if err != nil {
		t.Fatal(err)
	}
	return trial
}

// A point that was measured once has the intervals of that run's report; one that was repeated has those of Student.
func TestOwnIntervals(t *testing.T) {
	run := aReportedRun(t, "once", 4, nil)
	n := int32(2)
	run.Spec.Nodes.Servers.Count = &n
	once := trialOf(t, run)
	r := Sweep(aSweepOf(clientsPath), []Trial{once})
	for name, want := range map[string]Interval{
		"outputTokenThroughput": {90, 105}, "tokensPerGPU": {45, 52.5}, "ttftP50": {0.08, 0.13}, "tokensPerUser": {80, 125},
	} {
		s := r.Points[0].Metrics[name]
		if s.CI95 == nil || !s.Own || math.Abs(s.CI95[0]-want[0]) > 1e-9 || math.Abs(s.CI95[1]-want[1]) > 1e-9 {
			t.Errorf("%s: %+v, %v; want %v", name, s, s.CI95, want)
		}
	}
	if s := r.Points[0].Metrics["requestThroughput"]; s.CI95 != nil {
		t.Errorf("an interval that the report does not have: %v", s.CI95)
	}
	if md := r.Markdown(); !strings.Contains(md, "100 [90, 105]") {
		t.Errorf("the run's own interval is not shown:\n%s", md)
	}
	twice := once
	twice.Run, twice.Repeat = "twice", 2
	if s := Sweep(aSweepOf(clientsPath), []Trial{once, twice}).Points[0].Metrics["ttftP50"]; s.Own || s.N != 2 {
		t.Errorf("two repeats: %+v", s)
	}
}

// A report that is gone leaves the headline; a damaged one is named, and keeps nothing from being told.
func TestReportsOutOfReach(t *testing.T) {
	gone, damaged := aReportedRun(t, "gone", 1, nil), aReportedRun(t, "damaged", 2, nil)
	if err := os.RemoveAll(gone.Status.Folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(damaged.Status.Folder, Dir, SummaryJSON), []byte(`{"ttft": `), 0o600); err != nil {
		t.Fatal(err)
	}
	r := Sweep(aSweepOf(clientsPath), []Trial{trialOf(t, gone), trialOf(t, damaged)})
	if r.Measured != 2 || kinds(r) != "ReportUnread" || !strings.HasPrefix(r.Guidance[0].Evidence[0], "damaged: ") || len(r.Guidance[0].Evidence) != 1 {
		t.Errorf("%d measured, %q: %v", r.Measured, kinds(r), r.Guidance)
	}
}

// Only a window whose beginning stands out from an otherwise steady rest says that the warm-up was too short.
func TestOpening(t *testing.T) {
	series := func(n int, at func(i int) float64) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = at(i) + float64(i%3) // scatter
		}
		return out
	}
	for name, tc := range map[string]struct {
		series  []float64
		pattern api.Pattern
		want    string
	}{
		"steady":        {series(60, func(int) float64 { return 100 }), api.PatternClosed, ""},
		"slow at first": {series(60, func(i int) float64 { return map[bool]float64{true: 50, false: 100}[i < 12] }), api.PatternClosed, "WarmupTooShort"},
		"fast at first": {series(60, func(i int) float64 { return map[bool]float64{true: 150, false: 100}[i < 12] }), "", "WarmupTooShort"},
		"drifts all on": {series(60, func(i int) float64 { return 50 + float64(i) }), api.PatternClosed, ""},
		"a ramp":        {series(60, func(i int) float64 { return map[bool]float64{true: 50, false: 100}[i < 12] }), api.PatternRamp, ""},
		"too short":     {series(12, func(i int) float64 { return map[bool]float64{true: 50, false: 100}[i < 3] }), api.PatternClosed, ""},
		"chance": {series(60, func(i int) float64 {
			return 100 + 100*float64(i%7/6) - 20*float64(i%13/12) - 40*map[bool]float64{true: 1}[i < 3]
		}), api.PatternClosed, ""},
		"nothing": {nil, api.PatternClosed, ""},
	} {
		run := aReportedRun(t, "r", 1, tc.series)
		run.Spec.Workload.Load.Pattern = tc.pattern
		if got := kinds(Sweep(aSweepOf(clientsPath), []Trial{trialOf(t, run)})); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// Of servers that share a load evenly the efficiency is 1, however many there are; of n that give what one gives it is 1/n.
func TestScalingEfficiency(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		each := rapid.Float64Range(0.1, 1e5).Draw(t, "each")
		exponent := rapid.SampledFrom([]float64{0, 1}).Draw(t, "exponent")
		var trials []Trial
		for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(1, 64), 2, 6, rapid.ID[int]).Draw(t, "counts") {
			trials = append(trials, aTrial(api.Values{replicasPath: float64(n)}, 1, func(tr *Trial) { tr.Summary.OutputTokenThroughput = each * math.Pow(float64(n), exponent) }))
		}
		r := Sweep(aSweepOf(replicasPath), trials)
		if len(r.Scaling) != 1 || len(r.Scaling[0].Steps) != len(trials) {
			t.Fatalf("%+v", r.Scaling)
		}
		first := r.Scaling[0].Steps[0].Count
		for _, step := range r.Scaling[0].Steps {
			want := 1.0
			if exponent == 0 {
				want = first / step.Count
			}
			if math.Abs(step.Efficiency-want) > 1e-9 || math.Abs(step.Speedup-want*step.Count/first) > 1e-9*step.Speedup {
				t.Fatalf("%v of %v: speed-up %v, efficiency %v, want %v", step.Count, first, step.Speedup, step.Efficiency, want)
			}
		}
	})
}

// In a zip of servers and load both grow together: weak scaling, one curve, and no word that load alone stops paying.
func TestZip(t *testing.T) {
	zip := func(paths ...string) []Trial {
		var trials []Trial
		for i := range 3 {
			n := math.Pow(2, float64(i))
			values := api.Values{}
			for _, p := range paths {
				values[p] = n * float64(len(p)) // each with a unit of its own
			}
			trials = append(trials, aTrial(values, 1, func(tr *Trial) { tr.Summary.OutputTokenThroughput, tr.Summary.E2EP50 = 100+n, n }))
		}
		return trials
	}
	servers := "nodes.servers.count"
	for name, tc := range map[string]struct {
		paths         []string
		scaling, want string
	}{
		"servers and load":     {[]string{servers, rateConst}, "count weak", "ScalesPoorly"},
		"servers and clients":  {[]string{servers, clientNodes}, "nodes.servers.count weak", "ScalesPoorly"},
		"servers and replicas": {[]string{servers, replicasPath}, "count strong", "ScalesPoorly"},
		"client nodes alone":   {[]string{clientNodes}, "count weak", "StopsPaying"},
		"load and its bound":   {[]string{rateConst, loadBound}, "", "StopsPaying"},
		"two loads":            {[]string{clientsPath, clientNodes}, "", "StopsPaying StopsPaying"},
	} {
		r := Sweep(aSweepOf(tc.paths...), zip(tc.paths...))
		var got []string
		for _, s := range r.Scaling {
			got = append(got, shortName(s.Path, tc.paths)+" "+s.Kind)
		}
		if strings.Join(got, ", ") != tc.scaling || kinds(r) != tc.want {
			t.Errorf("%s: scaling %q, want %q; guidance %q, want %q", name, got, tc.scaling, kinds(r), tc.want)
		}
		files, err := r.Files()
		if err != nil {
			t.Fatal(err)
		}
		if name := "throughput-over-" + r.Axes[0].file() + ".svg"; files[name] == nil {
			t.Errorf("there is no %s: %v", name, sortedKeys(files))
		}
	}
}

// Draws that happen to come in the same order are no zip.
func TestRandomPointsAreNotTied(t *testing.T) {
	s := aSweepOf(rateConst, replicasPath)
	s.Spec.Strategy = api.StrategyRandom
	r := Sweep(s, []Trial{aTrial(api.Values{rateConst: 1.0, replicasPath: 1.0}, 1, nil), aTrial(api.Values{rateConst: 3.0, replicasPath: 2.0}, 1, nil)})
	if len(r.Axes[0].With) > 0 || len(r.Scaling) > 0 {
		t.Errorf("%+v, %+v", r.Axes, r.Scaling)
	}
}

// The latency of answers in one piece is E2E, and a key that holds anything makes a name that stays in the folder.
func TestPlotNames(t *testing.T) {
	path := "container.env.A/../B"
	var trials []Trial
	for i := range 2 {
		trials = append(trials, aTrial(api.Values{path: float64(i)}, 1, func(tr *Trial) { tr.Summary.TTFTP50, tr.Summary.TPOTP50 = 0, 0 }))
	}
	names, err := WriteSweep(t.TempDir(), Sweep(aSweepOf(path), trials))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names, " "); !strings.Contains(got, "latency-over--B.svg") || strings.Contains(got, "/") {
		t.Errorf("files: %s", got)
	}
}

// An SLO that is a parameter counts for the points that have it.
func TestBestUnderAnSLOThatVaries(t *testing.T) {
	good := func(v float64) *float64 { return &v }
	path := "workload.slo.ttft"
	r := Sweep(aSweepOf(path), []Trial{
		aTrial(api.Values{path: "10ms"}, 1, func(tr *Trial) { tr.Summary.GoodputShare = good(0.5); tr.Summary.OutputTokenThroughput = 200 }),
		aTrial(api.Values{path: "1s"}, 1, func(tr *Trial) { tr.Summary.GoodputShare = good(1) }),
	})
	if len(r.Best) == 0 || r.Points[r.Best[0].Point].Values[path] != "1s" {
		t.Errorf("best: %+v (%s)", r.Best, r.Objective)
	}
}

// A sweep of many runs reads a report for each, once: 600 steps are the longest series there is.
func BenchmarkTrialOf(b *testing.B) {
	values := make([]float64, maxSteps-5)
	for i := range values {
		values[i] = 1000 * math.Sin(float64(i))
	}
	run := aReportedRun(b, "r", 1, values)
	path := filepath.Join(run.Status.Folder, Dir, SummaryJSON)
	s, err := ReadSummary(path)
	if err != nil {
		b.Fatal(err)
	}
	s.Series.InFlight, s.Series.Completions, s.Series.Failures = values, values, values
	for i := range values {
		s.Series.TTFTP50, s.Series.ITLMean = append(s.Series.TTFTP50, &values[i]), append(s.Series.ITLMean, &values[i])
	}
	data, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			trialOf(b, run)
		}
	})
	b.Run("again", func(b *testing.B) {
		known := Reports{}
		for b.Loop() {
			if _, err := TrialOf(run, known); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The control plane computes a sweep's results again and again while it goes on: of 5,000 points drawn at random, none of which shares a
// value with another one, and of a zip.
func BenchmarkSweepOf5000(b *testing.B) {
	for name, strategy := range map[string]api.Strategy{"random": api.StrategyRandom, "zip": api.StrategyZip} {
		var trials []Trial
		for i := range 5000 {
			n := float64(i)
			y := n
			if strategy == api.StrategyRandom {
				y = math.Mod(n*0.618, 1)
			}
			trials = append(trials, aTrial(api.Values{rateConst: n, "workload.prompts.tokens": y}, 1, func(tr *Trial) {
				tr.Summary.OutputTokenThroughput, tr.Summary.TPOTP50 = 100+math.Sin(n), 0.01+0.001*math.Cos(n)
			}))
		}
		s := aSweepOf(rateConst, "workload.prompts.tokens")
		s.Spec.Strategy = strategy
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Sweep(s, trials).Files(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A report that was read once is not read again; one that was not there yet is.
func TestReportsAreReadOnce(t *testing.T) {
	run := aReportedRun(t, "r", 1, []float64{1, 2, 3})
	path, away := filepath.Join(run.Status.Folder, Dir, SummaryJSON), filepath.Join(t.TempDir(), "away")
	known := Reports{}
	for _, step := range []struct {
		from, to string
		own      bool
	}{{path, away, false}, {away, path, true}, {path, away, true}} {
		if err := os.Rename(step.from, step.to); err != nil {
			t.Fatal(err)
		}
		if trial, err := TrialOf(run, known); err != nil || (trial.Own != nil) != step.own {
			t.Errorf("with the report at %s: %+v, %v", step.to, trial.Own, err)
		}
	}
	if trialOf(t, run).Own != nil {
		t.Error("without what is known a report that is gone was read")
	}
}
