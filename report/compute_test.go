package report

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/benchd/benchd/workload"
)

// byHand is a run small enough to compute by hand. The window is 1 s … 11 s.
func byHand() client {
	h := header("n1")
	h.OfferedRate, h.TTFT, h.TPOT, h.MaxConcurrency = 0.7, 200*ms1, 50*ms1, 1
	long := streamed(10_950, 10_950, 10_990, 11_090, 11_100, 5, 3, 50, 50) // its later tokens come after the window
	long.CapWait = 0
	waited := streamed(3000, 3400, 3500, 3650, 3650, 10, 4, 50, 50, 50)
	waited.CapWait = 390 * ms1
	missed := streamed(4000, 4000, 4300, 4300, 4300, 10, 1) // TTFT 300 ms, one token
	missed.Target = 4
	return client{header: h, trailer: workload.Trailer{CPUSeconds: 1.5}, records: []workload.Record{
		streamed(900, 900, 990, 1090, 1100, 7, 3, 50, 50), // warm-up, but two of its tokens and its end lie inside
		streamed(2000, 2000, 2100, 2200, 2210, 10, 3, 50, 50),
		waited,
		missed,
		failed(5000, 5000, 5100, "http_status"),
		failed(6000, 6000, 6010, "cancelled"),
		{Intended: 7000 * ms1, CapWait: 4000 * ms1, Class: workload.ClassDropped},
		long,
		failed(11_000, 11_000, 11_500, "connect"), // the end of the window is outside
	}}
}

func TestEveryNumberByHand(t *testing.T) {
	s := summarize(t, Input{Run: "r", UID: "u", Attempt: 2, Service: "dummy", Model: "m", Version: "v1"}, byHand())
	if diff := cmp.Diff(Requests{Attempted: 7, Succeeded: 4, Failed: 1, Cancelled: 1, Dropped: 1}, s.Requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for name, tc := range map[string]struct{ got, want float64 }{
		"measuredSeconds": {s.MeasuredSeconds, 10},
		// 900, 2000, 3000 and 4000 end inside; 10950 ends after.
		"requestThroughput": {s.RequestThroughput, 0.4},
		// 2 of 900's, then 3, 4, 1, and the first of 10950's.
		"outputTokenThroughput": {s.OutputTokenThroughput, 1.1},
		// Prompt tokens at t1: 2000, 3000, 4000 (10 each) and 10950 (5); 900's t1 lies before.
		"totalTokenThroughput": {s.TotalTokenThroughput, 1.1 + 3.5},
		// 2000, 3000 and 10950 meet both limits; attempted are 7.
		"goodput rate":       {s.Goodput.Rate, 0.3},
		"goodput fraction":   {s.Goodput.Fraction, 3.0 / 7},
		"errorRate":          {s.ErrorRate, 3.0 / 7},
		"offeredRate":        {*s.OfferedRate, 0.7},
		"achievedRate":       {s.AchievedRate, 0.6},
		"concurrency mean":   {s.Concurrency.Mean, (0.1 + 0.21 + 0.25 + 0.3 + 0.1 + 0.01 + 0.05) / 10},
		"concurrency peak":   {float64(s.Concurrency.Peak), 1},
		"prompt tokens":      {float64(s.Tokens.Prompt), 35},
		"output tokens":      {float64(s.Tokens.Output), 11},
		"short of target":    {float64(s.Tokens.ShortOfTarget), 1},
		"ttft mean":          {number(s.TTFT.Mean), (0.1 + 0.1 + 0.3 + 0.04) / 4},
		"ttft max":           {number(s.TTFT.Max), 0.3},
		"e2e mean":           {number(s.E2E.Mean), (0.2 + 0.25 + 0.3 + 0.14) / 4},
		"tpot mean":          {number(s.TPOT.Mean), 0.05},
		"icl mean":           {number(s.ICL.Mean), 0.05},
		"itl mean":           {number(s.ITL.Mean), 0.05},
		"normalized mean":    {number(s.NormalizedLatency.Mean), (0.2/3 + 0.25/4 + 0.3 + 0.14/3) / 4},
		"lag max":            {number(s.ScheduleLag.Max), 0.01},
		"cap wait max":       {number(s.CapWait.Max), 0.39},
		"ttft from intent":   {number(s.TTFTFromIntent.Max), 0.5},
		"e2e from intent":    {number(s.E2EFromIntent.Max), 0.65},
		"node's throughput":  {s.PerNode["n1"].RequestThroughput, 0.4},
		"node's tokens":      {s.PerNode["n1"].OutputTokenThroughput, 1.1},
		"node's CPU seconds": {s.PerNode["n1"].CPUSeconds, 1.5},
	} {
		if !near(tc.got, tc.want) {
			t.Errorf("%s is %v, want %v", name, tc.got, tc.want)
		}
	}
	for name, tc := range map[string]struct{ got, want int64 }{
		"ttft": {s.TTFT.Count, 4}, "tpot": {s.TPOT.Count, 3}, "itl": {s.ITL.Count, 7}, "icl": {s.ICL.Count, 7}, "e2e": {s.E2E.Count, 4},
		"normalizedLatency": {s.NormalizedLatency.Count, 4}, "scheduleLag": {s.ScheduleLag.Count, 6},
	} {
		if tc.got != tc.want {
			t.Errorf("%s has %d samples, want %d", name, tc.got, tc.want)
		}
	}
	if diff := cmp.Diff(map[string]int64{"http_status": 1, "cancelled": 1, "dropped": 1}, s.Errors); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if s.Tokens.Source != "server" || s.Run != "r" || s.UID != "u" || s.Attempt != 2 || s.Service != "dummy" || s.Model != "m" || s.BenchdVers != "v1" {
		t.Errorf("source %q, identity %+v", s.Tokens.Source, s)
	}
}

func TestWholeRunUsesTheConventionalNames(t *testing.T) {
	s := summarize(t, Input{}, byHand())
	// From 900 ms to 11.09 s: five successes, warm-up included.
	for name, want := range map[string]float64{
		"completed": 5, "total_input_tokens": 42, "total_output_tokens": 14, "duration": 10.19, "request_throughput": 5 / 10.19,
		"output_throughput": 14 / 10.19, "total_token_throughput": 56 / 10.19, "mean_ttft_ms": (90 + 100 + 100 + 300 + 40) / 5.0,
		"mean_tpot_ms": 50, "mean_itl_ms": 50, "mean_e2el_ms": (190 + 200 + 250 + 300 + 140) / 5.0, "std_tpot_ms": 0, "std_itl_ms": 0,
	} {
		if !near(s.WholeRun[name], want) {
			t.Errorf("%s is %v, want %v", name, s.WholeRun[name], want)
		}
	}
	var many []workload.Record
	for i := range int64(1000) {
		many = append(many, streamed(1000+i, 1000+i, 1100+i, 1200+i, 1200+i, 1, 2, 100))
	}
	want := []string{"completed", "duration", "failed", "output_throughput", "request_throughput", "total_input_tokens", "total_output_tokens", "total_token_throughput"}
	for _, m := range []string{"ttft", "tpot", "itl", "e2el"} {
		for _, st := range []string{"mean", "median", "p99", "std"} {
			want = append(want, st+"_"+m+"_ms")
		}
	}
	slices.Sort(want)
	got := slices.Sorted(maps.Keys(summarize(t, Input{}, client{header: header("n1"), records: many}).WholeRun))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestGoodputRules(t *testing.T) {
	good := streamed(2000, 2000, 2100, 2250, 2300, 1, 4, 50, 50, 50)
	oneToken := streamed(2000, 2000, 2100, 2100, 2300, 1, 1)
	oneOfFour := oneToken
	oneOfFour.Target = 4
	whole := workload.Record{Intended: 2000 * ms1, Sent: 2000 * ms1, End: 2250 * ms1, OutputTokens: 4, Target: 4}
	type slo struct{ ttft, tpot, e2e int64 }
	for name, tc := range map[string]struct {
		slo  slo
		r    workload.Record
		good bool
	}{
		"exactly on every limit":                       {slo{100 * ms1, 50 * ms1, 250 * ms1}, good, true},
		"TTFT a nanosecond over":                       {slo{ttft: 100*ms1 - 1}, good, false},
		"TPOT a nanosecond over":                       {slo{tpot: 50*ms1 - 1}, good, false},
		"E2E a nanosecond over":                        {slo{e2e: 250*ms1 - 1}, good, false},
		"TPOT does not apply to a target of one token": {slo{tpot: 1}, oneToken, true},
		"one token of four misses TPOT":                {slo{tpot: 1000 * ms1}, oneOfFour, false},
		"not streamed misses TTFT":                     {slo{ttft: 1000 * ms1}, whole, false},
		"not streamed misses TPOT":                     {slo{tpot: 1000 * ms1}, whole, false},
		"not streamed has an E2E":                      {slo{e2e: 250 * ms1}, whole, true},
		"a failure is never good":                      {slo{e2e: 1000 * ms1}, failed(2000, 2000, 2001, "connect"), false},
	} {
		h := header("n1")
		h.TTFT, h.TPOT, h.E2E = tc.slo.ttft, tc.slo.tpot, tc.slo.e2e
		s := summarize(t, Input{}, client{header: h, records: []workload.Record{tc.r}})
		want := 0.0
		if tc.good {
			want = 1
		}
		if s.Goodput == nil || s.Goodput.Fraction != want || !near(s.Goodput.Rate, want/10) {
			t.Errorf("%s: %+v, want %v", name, s.Goodput, want)
		}
	}
	if s := summarize(t, Input{}, client{header: header("n1"), records: []workload.Record{good}}); s.Goodput != nil {
		t.Errorf("goodput without an SLO: %+v", s.Goodput)
	}
}

func TestRunsThatAreNotStreamed(t *testing.T) {
	whole := workload.Record{Intended: 2000 * ms1, Sent: 2000 * ms1, End: 2500 * ms1, PromptTokens: 3, OutputTokens: 5, Source: "server", Target: 5}
	after := whole
	after.Sent, after.Intended, after.End = 10_900*ms1, 10_900*ms1, 11_000*ms1
	s := summarize(t, Input{}, client{header: header("n1"), records: []workload.Record{whole, after}})
	for name, d := range map[string]Distribution{"ttft": s.TTFT, "itl": s.ITL, "icl": s.ICL, "tpot": s.TPOT, "ttftFromIntent": s.TTFTFromIntent} {
		if d.Count != 0 || d.Mean != nil {
			t.Errorf("%s of a run that was not streamed: %+v", name, d)
		}
	}
	if number(s.E2E.Max) != 0.5 || !near(s.OutputTokenThroughput, 0.5) || !near(s.TotalTokenThroughput, 0.8) || !near(s.RequestThroughput, 0.1) {
		t.Errorf("e2e %v, throughputs %v, %v, %v", number(s.E2E.Max), s.OutputTokenThroughput, s.TotalTokenThroughput, s.RequestThroughput)
	}
}

func TestTokensPerChunk(t *testing.T) {
	coalesced := streamed(2000, 2000, 2100, 2300, 2300, 1, 6, 100, 100)
	s := summarize(t, Input{}, client{header: header("n1"), records: []workload.Record{coalesced}})
	if s.ITL.Count != 0 || s.ICL.Count != 2 || !near(s.OutputTokenThroughput, 0.6) || !near(number(s.TPOT.Mean), 0.04) {
		t.Errorf("itl %d, icl %d, %v tokens/s, tpot %v", s.ITL.Count, s.ICL.Count, s.OutputTokenThroughput, number(s.TPOT.Mean))
	}
	for name, tc := range map[string]struct {
		sources []string
		want    string
	}{
		"one": {[]string{"server", "server"}, "server"}, "both": {[]string{"server", "chunks"}, "mixed"}, "not known": {[]string{""}, ""},
	} {
		var records []workload.Record
		for _, src := range tc.sources {
			r := coalesced
			r.Source = src
			records = append(records, r)
		}
		if s := summarize(t, Input{}, client{header: header("n1"), records: records}); s.Tokens.Source != tc.want {
			t.Errorf("%s: source %q", name, s.Tokens.Source)
		}
	}
}

// contract are the names of summary.json that others rely on.
const contract = `requests.attempted requests.succeeded requests.failed requests.cancelled requests.dropped measuredSeconds requestThroughput
	outputTokenThroughput totalTokenThroughput goodput.rate goodput.fraction errorRate offeredRate achievedRate concurrency.mean
	concurrency.peak tokens.prompt tokens.output tokens.source errors perNode resources verdict.state verdict.reasons wholeRun`

func TestNamesOfSummaryJSON(t *testing.T) {
	data, err := json.Marshal(summarize(t, Input{}, byHand()))
	var got map[string]any
	if err := errors.Join(err, json.Unmarshal(data, &got)); err != nil {
		t.Fatal(err)
	}
	wants := strings.Fields(contract)
	for _, d := range strings.Fields("ttft itl icl tpot e2e normalizedLatency scheduleLag") {
		for _, st := range strings.Fields("count mean std min max p50 p90 p95 p99 p999") {
			wants = append(wants, d+"."+st)
		}
	}
	for _, name := range wants {
		outer, inner, nested := strings.Cut(name, ".")
		value, ok := got[outer]
		if nested {
			object, _ := value.(map[string]any)
			_, ok = object[inner]
		}
		if !ok {
			t.Errorf("summary.json has no %s", name)
		}
	}
	extra := map[string]bool{}
	for name := range got {
		extra[name] = true
	}
	for _, name := range wants {
		outer, _, _ := strings.Cut(name, ".")
		delete(extra, outer)
	}
	// What stands beside the contract, on purpose.
	beside := strings.Fields(`attempt benchdVersion bound capWait ci95 client definitions e2eFromIntent model outputTokens perServer
		promptTokens run saturated series serverView service slo steady ttfat ttftFromIntent uid`)
	if diff := cmp.Diff(beside, slices.Sorted(maps.Keys(extra))); diff != "" {
		t.Errorf("further names (-want +got):\n%s", diff)
	}
	for _, d := range distributions(&Summary{}) {
		if definitions[d.name] == "" {
			t.Errorf("%s is not explained", d.name)
		}
	}
}

func TestFilesThatAreNoRecords(t *testing.T) {
	if _, err := Compute(t.TempDir(), Input{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no records: %v", err)
	}
	stranger := client{header: header("n1"), records: []workload.Record{{Node: "n9"}}}
	if _, err := Compute(store(t, stranger), Input{}); err == nil || !strings.Contains(err.Error(), `"n9"`) {
		t.Errorf("a record without a header: %v", err)
	}
	s := summarize(t, Input{Clients: 1}, client{header: header("n1"), incomplete: true})
	if s.Verdict.State != Invalid || s.Requests.Attempted != 0 || s.ErrorRate != 0 {
		t.Errorf("nothing but a header: %+v", s)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Errorf("numbers that JSON cannot hold: %v", err)
	}
}
