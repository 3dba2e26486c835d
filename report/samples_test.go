package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/benchd/benchd/workload"
)

var loadStart = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// sampledRun is a load of 1 s of warm-up and 10 s of measurement with one request in flight all the time, whose answer of 20 tokens
// comes each second; and samples beside it: one line of values for each second of s.
func sampledRun(t *testing.T, columns string, nodes map[string]func(s int) string, changes ...func(*Input)) (*Summary, error) {
	t.Helper()
	attempt := t.TempDir()
	for _, dir := range []string{"results", "metrics"} {
		if err := os.Mkdir(filepath.Join(attempt, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c := client{header: header("c1")}
	c.header.Concurrency = 1
	for k := range int64(11) {
		at := k * 1000 * ms1
		gaps := make([]uint32, 19)
		for i := range gaps {
			gaps[i] = 45_000
		}
		c.records = append(c.records, workload.Record{
			K: k, Server: "vllm-0", Intended: at, Sent: at, First: at + 100*ms1, Last: at + 955*ms1, End: at + 999*ms1,
			Streamed: true, Gaps: gaps, OutputTokens: 20, Target: 20, PromptTokens: 5, Source: workload.CountedByServer,
		})
	}
	storeIn(t, filepath.Join(attempt, "results"), c)
	text := "timestamp,node," + columns + "\n"
	for _, name := range sortedKeys(nodes) {
		for s := range 14 {
			if values := nodes[name](s); values != "" {
				text += fmt.Sprintf("%s,%s,%s\n", loadStart.Add(time.Duration(s)*time.Second).Format(time.RFC3339Nano), name, values)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(attempt, "metrics", "samples.csv"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	limits := defaults()
	limits.CompletionsPerClient = 1
	in := Input{Clients: 1, Samples: "samples.csv", SampleSeconds: 1, Start: loadStart, ServerNodes: []string{"n1"}, Limits: limits}
	for _, change := range changes {
		change(&in)
	}
	return Compute(filepath.Join(attempt, "results"), in)
}

var nearly = cmp.Comparer(near)

// Means and peaks are of the window from 1 s to 11 s, growth of counters is cut at its ends, and what lies between samples that are far
// apart is not known.
func TestResources(t *testing.T) {
	s, err := sampledRun(t, "cpu_percent,disk_read_bytes_total,gpu0_power_watts,gpu0_energy_joules_total,gpu1_power_watts,vllm-0_requests_running,vllm-0_generation_tokens_total,sample_gap_seconds_total", map[string]func(int) string{
		"n1": func(s int) string {
			energy := 1000 + 350*s
			if s >= 6 {
				energy -= 1000 + 350*5 // the driver was loaded anew
			}
			return fmt.Sprintf("%d,%d,300,%d,%d,1,%d,0", 10*s, 100*s*s, energy, 100+10*s, 20*s)
		},
		"n2": func(s int) string {
			if s > 4 && s < 9 {
				return "" // 4 s without a sample
			}
			return fmt.Sprintf("50,,999,,,,,%d", map[bool]int{true: 4}[s >= 9])
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := s.Resources
	n1 := map[string]Usage{
		"cpu_percent": {60, 110}, "disk_read_bytes_total": {100 * (121 - 1) / 10, 100 * (121 - 100)}, "gpu0_power_watts": {300, 300},
		"gpu0_energy_joules_total": {350, 350}, "gpu1_power_watts": {160, 210}, "vllm-0_requests_running": {1, 1}, "vllm-0_generation_tokens_total": {20, 20}, "sample_gap_seconds_total": {0, 0},
	}
	if diff := cmp.Diff(n1, r.PerNode["n1"].Metrics, nearly); diff != "" {
		t.Errorf("n1 (-want +got):\n%s", diff)
	}
	if n2 := r.PerNode["n2"]; n2.Samples != 7 || n2.GapSeconds != 5 || n2.Metrics["cpu_percent"].Mean != 50 {
		t.Errorf("n2: %+v", n2)
	}
	// GPU 0 by its counter, of which one second is lost; GPU 1 by its power, which grows by 10 W a second; those of n2 serve nobody.
	joules := 350*9 + 10*(110.0+210)/2
	if e := r.Energy; e.Source != "counter and power" || !near(e.Joules, joules) || !near(e.GapSeconds, 1) || !near(*e.PerOutputToken, joules/total([]float64{s.OutputTokenThroughput * 10})) {
		t.Errorf("energy: %+v, want %g J", e, joules)
	}
	server := r.PerServer["vllm-0"]
	if server.Running.Mean != 1 || *server.OutputTokens != 200 || server.Waiting != nil || server.Preemptions != nil {
		t.Errorf("server: %+v", server)
	}
	for _, one := range r.Series {
		if one.Node == "n1" && one.Name == "cpu_percent" && (one.Values[3] == nil || *one.Values[3] != 30) || one.Node == "n2" && one.Name == "cpu_percent" && (one.Values[6] != nil || *one.Values[2] != 50) {
			t.Errorf("series: %+v", one)
		}
	}
	if s.Verdict.State != Valid {
		t.Errorf("verdict: %v", s.Verdict)
	}
}

// A source that answers in every other sample alone, such as a slow driver, still tells how much was used: counters go on meanwhile.
func TestResourcesOfASlowSource(t *testing.T) {
	s, err := sampledRun(t, "gpu0_power_watts,gpu0_energy_joules_total,gpu1_power_watts,vllm-0_generation_tokens_total", map[string]func(int) string{"n1": func(s int) string {
		if s%2 == 0 {
			return ",,,"
		}
		return fmt.Sprintf("300,%d,100,%d", 300*s, 20*s)
	}})
	if err != nil {
		t.Fatal(err)
	}
	e, server := s.Resources.Energy, s.Resources.PerServer["vllm-0"]
	if e == nil || !near(e.Joules, 4000) || !near(e.GapSeconds, 0) || server.OutputTokens == nil || !near(*server.OutputTokens, 200) || s.Verdict.State != Valid {
		t.Errorf("energy %+v, server %+v, %+v", e, server, s.Verdict)
	}
}

// What samples tell of trouble is a reason, and what they tell of normal operation is none.
func TestVerdictOfSamples(t *testing.T) {
	for name, tc := range map[string]struct {
		columns, values string // %d is the second, %[2]d the second times a hundred
		want            string
	}{
		"throttled GPU":         {"gpu3_throttled", "1", "GPU 3 of n1 was slowed down"},
		"throttled in warm-up":  {"gpu3_throttled", "early", ""},
		"throttled once":        {"gpu3_throttled", "once", ""},
		"somebody else's":       {"gpu0_foreign_memory_bytes", "3000000000", "processes of others held 2.8 GiB of GPU 0"},
		"a display":             {"gpu0_foreign_memory_bytes", "3000000", ""},
		"ECC":                   {"gpu0_ecc_errors_total", "%d", "memory errors"},
		"ECC of last week":      {"gpu0_ecc_errors_total", "7", ""},
		"XID":                   {"gpu0_xid_errors_total", "%d", "XID"},
		"a column of another":   {"gpus_throttled", "1", ""},
		"tokens of others":      {"vllm-0_generation_tokens_total", "%[2]d", "somebody else uses the servers"},
		"tokens never made":     {"vllm-0_generation_tokens_total", "5", "one side counts wrongly"},
		"requests of others":    {"vllm-0_requests_running,vllm-0_requests_waiting", "1,7", "the servers had 8.0 requests on the mean, the clients 1.0 in flight: somebody else"},
		"some more or less":     {"vllm-0_requests_running,vllm-0_requests_waiting", "1,1", ""},
		"nothing about servers": {"cpu_percent", "100", ""},
	} {
		s, err := sampledRun(t, tc.columns, map[string]func(int) string{"n1": func(s int) string {
			if tc.values == "early" {
				return fmt.Sprint(map[bool]int{true: 1}[s == 0])
			}
			if tc.values == "once" {
				return fmt.Sprint(map[bool]int{true: 1}[s == 5])
			}
			if strings.Contains(tc.values, "%") {
				return strings.Split(fmt.Sprintf(tc.values+"|", s, 100*s), "|")[0]
			}
			return tc.values
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.Verdict.Reasons, "; "); tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// What GPUs of nodes without servers do is others' business: no energy, no mean, no reason.
func TestGPUsThatDoNotServe(t *testing.T) {
	busy := map[string]func(int) string{"n1": func(int) string { return "300,90,1,30000000000" }, "n2": func(int) string { return "100,10,1,30000000000" }}
	for name, tc := range map[string]struct {
		change              func(*Input)
		joules, utilization float64
		reasons             int
	}{
		"one node serves":            {func(in *Input) {}, 3000, 90, 2},
		"nobody knows which":         {func(in *Input) { in.ServerNodes = nil }, 4000, 50, 4},
		"the servers run far away":   {func(in *Input) { in.ServerNodes, in.Elsewhere = nil, true }, 0, 0, 0},
		"a node without samples did": {func(in *Input) { in.ServerNodes = []string{"n3"} }, 0, 0, 0},
	} {
		s, err := sampledRun(t, "gpu0_power_watts,gpu0_utilization_percent,gpu0_throttled,gpu0_foreign_memory_bytes", busy, tc.change)
		if err != nil {
			t.Fatal(err)
		}
		joules, utilization := 0.0, 0.0
		if e := s.Resources.Energy; e != nil {
			joules = e.Joules
		}
		if u := s.Headline().GPUUtilization; u != nil {
			utilization = *u
		}
		if !near(joules, tc.joules) || !near(utilization, tc.utilization) || len(s.Verdict.Reasons) != tc.reasons {
			t.Errorf("%s: %g J, %g %%, %q", name, joules, utilization, s.Verdict.Reasons)
		}
	}
}

// A number that cannot be, from a server or a damaged file, does not cost the run its report: JSON knows no infinity.
func TestSamplesWithoutBounds(t *testing.T) {
	s, err := sampledRun(t, "gpu0_power_watts,vllm-0_requests_running,load1", map[string]func(int) string{"n1": func(int) string { return "1e308,1e308,-1e308" }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}
}

// A server that died told of itself while it lived alone, and what came after it tells no trend: nobody else is accused, and the window
// is not called steady.
func TestVerdictOfAnEndedLoad(t *testing.T) {
	s, err := sampledRun(t, "vllm-0_requests_running,vllm-0_requests_waiting", map[string]func(int) string{"n1": func(s int) string {
		return map[bool]string{true: "4,4"}[s < 3]
	}}, func(in *Input) { in.Interrupted = true })
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.Verdict.Reasons, "; "); strings.Contains(got, "somebody else") || !strings.Contains(got, "ended before its time") {
		t.Errorf("reasons: %s", got)
	}
	if s.Steady.State != UnknownState || !strings.Contains(steadiness(s), "ended before its time") {
		t.Errorf("%+v: %s", s.Steady, steadiness(s))
	}
}

// A load that changes by itself is another one when a sample is as old as an interval: the sides are not held against each other.
func TestSidesOfAShapedLoad(t *testing.T) {
	for pattern, want := range map[string]bool{"closed": true, "ramp": false} {
		a := &accumulator{sum: Summary{MeasuredSeconds: 60, Concurrency: Concurrency{Mean: 1}}, servers: map[string]*part{"s": {}}}
		a.header.Pattern = pattern
		var v judgement
		a.judgeSides(&v, &Resources{IntervalSeconds: 1, PerServer: map[string]ServerResources{"s": {Running: &Usage{Mean: 50}, samples: 60}}})
		if got := len(v.suspect) > 0; got != want {
			t.Errorf("%s: %v", pattern, v.suspect)
		}
	}
}

// A run without samples has none, and says so by null.
func TestNoSamples(t *testing.T) {
	s := summarize(t, Input{Clients: 1}, client{header: header("c1")})
	if s.Resources != nil {
		t.Errorf("resources: %+v", s.Resources)
	}
}
