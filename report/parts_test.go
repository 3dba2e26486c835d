package report

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/benchd/benchd/workload"
)

var approximately = cmpopts.EquateApprox(1e-9, 1e-9)

// A chunk of k tokens after a gap g is k gaps of g/k, where the server told how many each chunk held.
func TestITLOfChunksWithSeveralTokens(t *testing.T) {
	with := func(output int, tokens ...uint32) workload.Record {
		r := streamed(2000, 2000, 2100, 2240, 2250, 1, output, 90, 50)
		r.ChunkTokens = tokens
		return r
	}
	long := streamed(2000, 2000, 2100, 2400, 2410, 1, 3, 200, 100) // gaps over the tables' bound
	long.ChunkTokens = workload.Numbers{1, 1, 1}
	for name, tc := range map[string]struct {
		r    workload.Record
		want []float64 // in seconds, sorted
	}{
		"known":                           {with(5, 1, 3, 1), []float64{0.03, 0.03, 0.03, 0.05}},
		"several in the first":            {with(6, 3, 1, 2), []float64{0, 0, 0.025, 0.025, 0.09}},
		"no share of a whole microsecond": {with(9, 1, 7, 1), append(repeat(0.09/7, 7), 0.05)},
		"one in each, as the usage says":  {with(3), []float64{0.05, 0.09}},
		"one in each, as each chunk says": {with(3, 1, 1, 1), []float64{0.05, 0.09}},
		"not known":                       {with(4), nil},
		"known of some alone":             {with(4, 1, 2), nil},
		"a chunk without any":             {with(3, 1, 0, 2), []float64{0.025, 0.025}},
		"a first one without any":         {with(2, 0, 1, 1), []float64{0.05, 0.09}},
		"one token":                       {streamed(2000, 2000, 2100, 2100, 2110, 1, 1), nil},
		"long gaps":                       {long, []float64{0.1, 0.2}},
	} {
		s := summarize(t, Input{}, client{header: header("n1"), records: []workload.Record{tc.r}})
		want := describe(each(tc.want...))
		if diff := cmp.Diff(want, s.ITL, approximately); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if s.ICL.Count != int64(len(tc.r.Gaps)) {
			t.Errorf("%s: icl %d", name, s.ICL.Count)
		}
	}
}

func repeat(v float64, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// A token counts to the window that it came in: by what each chunk held where that is known, else in equal shares.
func TestTokensInTheWindow(t *testing.T) {
	const window = 10.0 // 1 s … 11 s
	across := func(at int64, output int, tokens ...uint32) workload.Record {
		r := streamed(at, at, at+100, at+300, at+310, 4, output, 100, 100)
		r.ChunkTokens = tokens
		return r
	}
	for name, tc := range map[string]struct {
		r             workload.Record
		output, input float64
	}{
		"inside":                                {across(5000, 9, 2, 3, 4), 9, 4},
		"its last chunk alone":                  {across(750, 9, 2, 3, 4), 4, 0},
		"its last two":                          {across(850, 9, 2, 3, 4), 7, 0},
		"its first alone":                       {across(10_850, 9, 2, 3, 4), 2, 4},
		"not known, a third":                    {across(750, 9), 3, 0},
		"not known, shares that are not whole":  {across(10_750, 10), 20.0 / 3, 4},
		"a chunk at the window's beginning":     {across(800, 9, 2, 3, 4), 7, 0},
		"a chunk at the window's end":           {across(10_800, 9, 2, 3, 4), 2 + 0, 4},
		"outside":                               {across(12_000, 9, 2, 3, 4), 0, 0},
		"what came before a failure came":       {func() workload.Record { r := across(5000, 9, 2, 3, 4); r.Class = "timeout"; return r }(), 9, 4},
		"chunks that told more than the server": {across(5000, 8, 2, 3, 4), 9, 4},
	} {
		s := summarize(t, Input{}, client{header: header("n1"), records: []workload.Record{tc.r}})
		if !near(s.OutputTokenThroughput*window, tc.output) || !near(s.TotalTokenThroughput*window, tc.output+tc.input) {
			t.Errorf("%s: %g output tokens, %g in all", name, s.OutputTokenThroughput*window, s.TotalTokenThroughput*window)
		}
		if got := s.PerServer["s"].OutputTokenThroughput * window; !near(got, tc.output) {
			t.Errorf("%s: %g tokens of the server", name, got)
		}
	}
}

func TestSLOAttainment(t *testing.T) {
	var records []workload.Record
	add := func(n int, first, further int64) {
		for range n {
			records = append(records, streamed(2000, 2000, 2000+first, 2000+first+2*further, 2000+first+2*further, 1, 3, uint32(further), uint32(further)))
		}
	}
	add(4, 50, 10)  // meets all
	add(2, 150, 10) // misses TTFT
	add(1, 50, 40)  // misses TPOT
	add(1, 150, 40) // misses both
	records = append(records, failed(3000, 3000, 3001, "connect"), workload.Record{Intended: 3000 * ms1, Class: workload.ClassDropped})
	type limits struct{ ttft, tpot, e2e int64 }
	for name, tc := range map[string]struct {
		limits limits
		want   *SLO
		good   float64
	}{
		"none": {limits{}, nil, 0},
		"all":  {limits{100, 20, 170}, &SLO{&Attainment{0.1, 0.5}, &Attainment{0.02, 0.6}, &Attainment{0.17, 0.7}}, 0.4},
		"ttft": {limits{ttft: 100}, &SLO{TTFT: &Attainment{0.1, 0.5}}, 0.5},
		"tpot": {limits{tpot: 20}, &SLO{TPOT: &Attainment{0.02, 0.6}}, 0.6},
		"e2e":  {limits{e2e: 130}, &SLO{E2E: &Attainment{0.13, 0.5}}, 0.5},
	} {
		h := header("n1")
		h.TTFT, h.TPOT, h.E2E = tc.limits.ttft*ms1, tc.limits.tpot*ms1, tc.limits.e2e*ms1
		s := summarize(t, Input{}, client{header: h, records: records})
		if diff := cmp.Diff(tc.want, s.SLO, approximately); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if s.Goodput == nil != (tc.want == nil) || s.Goodput != nil && !near(s.Goodput.Fraction, tc.good) {
			t.Errorf("%s: goodput %+v, want %g", name, s.Goodput, tc.good)
		}
	}
}

func TestEachNodeAndServer(t *testing.T) {
	a, b := steady(200, nil), steady(200, nil)
	a.trailer = workload.Trailer{CPUSeconds: 1, PeakCPU: 0.2, PeakThread: 0.3}
	b.header.Node, b.header.ClockUncertainty = "n2", 2*ms1
	b.trailer = workload.Trailer{CPUSeconds: 2.5, PeakCPU: 0.1, PeakThread: 0.4}
	for i := range b.records {
		r := &b.records[i]
		r.Server = "slow"
		r.First, r.Last, r.End = r.First+100*ms1, r.Last+100*ms1, r.End+100*ms1
	}
	b.records[0] = failed(1000, 1000, 1100, "timeout")
	b.records[0].Server = "slow"
	b.records = append(b.records, workload.Record{Intended: 5000 * ms1, Class: workload.ClassDropped})
	s := summarize(t, Input{}, a, b)
	value := func(v float64) *float64 { return &v }
	lost := Requests{Attempted: 201, Succeeded: 199, Failed: 1, Dropped: 1}
	nodes := map[string]NodeSummary{
		"n1": {
			Requests: Requests{Attempted: 200, Succeeded: 200}, RequestThroughput: 20, OutputTokenThroughput: 60, TTFTP50: value(0.02), E2EP50: value(0.04),
			CPUSeconds: 1, PeakCPU: 0.2, PeakThread: 0.3, Complete: true,
		},
		// The last two end, and the last token of the one before comes, after the window.
		"n2": {
			Requests: lost, RequestThroughput: 19.7, OutputTokenThroughput: (3*200 - 3 - 6) / 10.0, TTFTP50: value(0.12), E2EP50: value(0.14),
			CPUSeconds: 2.5, PeakCPU: 0.1, PeakThread: 0.4, ClockUncertainty: 0.002, Complete: true,
		},
	}
	if diff := cmp.Diff(nodes, s.PerNode, approximately); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	lost.Attempted, lost.Dropped = 200, 0 // what was never sent went to no server
	servers := map[string]ServerSummary{
		"s":    {Requests: nodes["n1"].Requests, RequestThroughput: 20, OutputTokenThroughput: 60, TTFTP50: value(0.02), E2EP50: value(0.04)},
		"slow": {Requests: lost, RequestThroughput: 19.7, OutputTokenThroughput: nodes["n2"].OutputTokenThroughput, TTFTP50: value(0.12), E2EP50: value(0.14)},
	}
	if diff := cmp.Diff(servers, s.PerServer, approximately); diff != "" {
		t.Errorf("servers (-want +got):\n%s", diff)
	}
	if !near(s.Client.CPUSeconds, 3.5) {
		t.Errorf("%g CPU seconds", s.Client.CPUSeconds)
	}
}

func TestServersThatTellOfEachRequest(t *testing.T) {
	c := steady(40, func(_ *workload.Header, r []workload.Record) {
		for i := range r {
			r[i].ServerQueue, r[i].ServerLoad, r[i].ServerPrefill, r[i].ServerDecode = 1*ms1, 2*ms1, 5*ms1, int64(10+i)*ms1
		}
		r[0].ServerQueue, r[0].ServerLoad, r[0].ServerPrefill, r[0].ServerDecode = 0, 0, 0, 0 // did not tell
		r[1].Intended, r[1].Sent = 0, 0                                                       // of the warm-up
		r[2] = failed(1500, 1500, 1600, "timeout")
		r[2].ServerDecode = 900 * ms1
	})
	c.trailer.Servers = map[string]workload.ServerView{"s": {Source: "vllm", Queue: workload.ServerTime{Sum: 9, Count: 9}}}
	v := summarize(t, Input{}, c).ServerView
	if v == nil || v.Source != "ollama" {
		t.Fatalf("%+v", v)
	}
	for name, tc := range map[string]struct {
		d           Distribution
		least, most float64
	}{"queue": {v.Queue, 0.001, 0.001}, "load": {v.Load, 0.002, 0.002}, "prefill": {v.Prefill, 0.005, 0.005}, "decode": {v.Decode, 0.013, 0.049}} {
		if tc.d.Count != 37 || !near(number(tc.d.Min), tc.least) || !near(number(tc.d.Max), tc.most) || tc.d.P50 == nil {
			t.Errorf("%s: %+v", name, tc.d)
		}
	}
	if v.TTFT.Count != 0 || v.E2E.Count != 0 {
		t.Errorf("what it does not tell: %+v", v)
	}
}

func TestServersThatTellSums(t *testing.T) {
	time := func(sum, count float64) workload.ServerTime { return workload.ServerTime{Sum: sum, Count: count} }
	a, b := steady(10, nil), steady(10, nil)
	b.header.Node = "n2"
	a.trailer.Servers = map[string]workload.ServerView{
		"v0": {Source: "vllm", Queue: time(1, 10), Prefill: time(2, 10), Decode: time(3, 10), TTFT: time(4, 10), E2E: time(5, 10)},
		"v2": {Source: "vllm", Queue: time(0, 0), Decode: time(6, 20)},
	}
	b.trailer.Servers = map[string]workload.ServerView{"v1": {Source: "vllm", Queue: time(2, 50), Prefill: time(1, 30), Decode: time(1, 20), TTFT: time(0, 0), E2E: time(2.5, 5)}}
	d := func(count int64, mean float64) Distribution { return Distribution{Count: count, Mean: &mean} }
	want := &ServerView{Source: "vllm", Queue: d(60, 0.05), Prefill: d(40, 0.075), Decode: d(50, 0.2), TTFT: d(10, 0.4), E2E: d(15, 0.5)}
	if diff := cmp.Diff(want, summarize(t, Input{}, a, b).ServerView, approximately); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if v := summarize(t, Input{}, steady(10, nil)).ServerView; v != nil {
		t.Errorf("servers that tell nothing: %+v", v)
	}
}

func TestEndOfTheMeasuredWindow(t *testing.T) {
	const planned = 10.0
	for name, tc := range map[string]struct {
		bounds  []string // by node, of those whose records are complete
		nodes   int
		last    int64 // of the node that sent last, in ms
		bound   string
		seconds float64
	}{
		"the time was over":                {[]string{"", ""}, 2, 11_000, "", planned},
		"enough requests on all":           {[]string{"requests", "requests"}, 2, 6000, "requests", 5},
		"the trace's end on all":           {[]string{"trace", "trace"}, 2, 6000, "trace", 5},
		"the one and the other":            {[]string{"trace", "requests"}, 2, 6000, "trace", 5},
		"enough requests on one alone":     {[]string{"", "requests"}, 2, 6000, "requests", planned},
		"stopped":                          {[]string{"stopped", "stopped"}, 2, 6000, "stopped", planned},
		"stopped after one had enough":     {[]string{"requests", "stopped"}, 2, 6000, "stopped", planned},
		"one had enough after the stop":    {[]string{"stopped", "requests"}, 2, 6000, "stopped", planned},
		"a node's records have no end":     {[]string{"requests"}, 2, 6000, "requests", planned},
		"nothing is complete":              {nil, 1, 6000, "", planned},
		"enough within the warm-up":        {[]string{"trace"}, 1, 900, "trace", planned},
		"enough, but not before the end":   {[]string{"requests"}, 1, 12_000, "requests", planned},
		"an error budget is worst, first":  {[]string{"errorBudget", "stopped"}, 2, 6000, "errorBudget", planned},
		"an error budget is worst, second": {[]string{"stopped", "errorBudget"}, 2, 6000, "errorBudget", planned},
		"an error budget beside requests":  {[]string{"errorBudget", "requests"}, 2, 6000, "errorBudget", 5},
	} {
		t.Run(name, func(t *testing.T) {
			var nodes []client
			for i := range tc.nodes {
				c := client{header: header([]string{"a", "b"}[i]), incomplete: i >= len(tc.bounds)}
				at := []int64{tc.last, 2000}[i]
				c.records = []workload.Record{streamed(at, at, at+10, at+20, at+20, 1, 2, 10)}
				if !c.incomplete {
					c.trailer = workload.Trailer{SendEnded: at * ms1, Bound: tc.bounds[i]}
				}
				nodes = append(nodes, c)
			}
			s := summarize(t, Input{}, nodes...)
			want := tc.seconds
			if want != planned {
				want += 1e-9 // the last request sent belongs to the window
			}
			if s.Bound != tc.bound || s.MeasuredSeconds != want {
				t.Errorf("bound by %q, %.10g s", s.Bound, s.MeasuredSeconds)
			}
			inside := int64(tc.nodes)
			if tc.last < 1000 || tc.last >= 11_000 {
				inside--
			}
			if s.Requests.Attempted != inside || !near(s.AchievedRate, float64(inside)/want) || !near(s.Series.To, 1+want) {
				t.Errorf("%d requests, %g a second, to %g", s.Requests.Attempted, s.AchievedRate, s.Series.To)
			}
		})
	}
}

func TestWhatTheClientDid(t *testing.T) {
	c := steady(10, func(_ *workload.Header, r []workload.Record) {
		r[0].Connected, r[0].Redials, r[0].SharedReads = r[0].Sent+3*ms1, 2, 2
		r[1].Connected, r[1].Retries = r[1].Sent-ms1, 1 // on a connection that was there
		r[2].Cached, r[3].Cached = 5, 6
		r[4].FirstAnswer = r[4].First + 10*ms1
	})
	s := summarize(t, Input{}, c)
	if s.Client.Redials != 2 || s.Client.Retries != 1 || s.Client.Connect.Count != 2 || !near(number(s.Client.Connect.Max), 0.003) || number(s.Client.Connect.Min) != 0 {
		t.Errorf("%+v", s.Client)
	}
	if !near(s.Client.SharedReads, 2.0/30) || s.Tokens.Cached != 11 || s.TTFAT.Count != 1 || !near(number(s.TTFAT.Mean), 0.03) {
		t.Errorf("shared %g, cached %d, ttfat %+v", s.Client.SharedReads, s.Tokens.Cached, s.TTFAT)
	}
}
