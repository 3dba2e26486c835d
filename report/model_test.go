package report

import (
	"cmp"
	"math"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/benchd/benchd/workload"
)

// naive computes the main numbers straight from their definitions, one pass for each.
func naive(records []workload.Record, h workload.Header) map[string]float64 {
	in := func(t int64) bool { return t >= h.Warmup && t < h.Warmup+h.Duration }
	sum := func(f func(workload.Record) float64) float64 {
		total := 0.0
		for _, r := range records {
			total += f(r)
		}
		return total
	}
	one := func(is bool) float64 {
		if is {
			return 1
		}
		return 0
	}
	ok := func(r workload.Record) bool { return r.Class == "" }
	end := func(r workload.Record) int64 {
		if r.Streamed {
			return r.Last
		}
		return r.End
	}
	seconds := float64(h.Duration) / 1e9
	m := map[string]float64{
		"attempted": sum(func(r workload.Record) float64 { return one(in(r.Intended)) }),
		"succeeded": sum(func(r workload.Record) float64 { return one(in(r.Intended) && ok(r)) }),
		"dropped":   sum(func(r workload.Record) float64 { return one(in(r.Intended) && r.Class == workload.ClassDropped) }),
		"cancelled": sum(func(r workload.Record) float64 { return one(in(r.Intended) && r.Class == "cancelled") }),
		"rps":       sum(func(r workload.Record) float64 { return one(ok(r) && in(end(r))) }) / seconds,
		"sent":      sum(func(r workload.Record) float64 { return one(in(r.Intended) && r.Class != workload.ClassDropped) }) / seconds,
		"tokens": sum(func(r workload.Record) float64 {
			if !r.Streamed {
				return one(ok(r) && in(r.End)) * float64(r.OutputTokens)
			}
			at, n := r.First, 0.0
			for i := range len(r.Gaps) + 1 {
				if i > 0 {
					at += int64(r.Gaps[i-1]) * 1000
				}
				if r.ChunkTokens != nil {
					n += one(in(at)) * float64(r.ChunkTokens[i])
				} else {
					n += one(in(at)) * float64(r.OutputTokens) / float64(len(r.Gaps)+1)
				}
			}
			return n
		}) / seconds,
		"good": sum(func(r workload.Record) float64 {
			tpot := math.Inf(1)
			if r.Streamed && r.OutputTokens > 1 {
				tpot = float64(r.Last-r.First) / float64(r.OutputTokens-1)
			}
			return one(in(r.Intended) && ok(r) && r.Streamed && r.First-r.Sent <= h.TTFT && (r.Target <= 1 || tpot <= float64(h.TPOT)))
		}),
		"busy": sum(func(r workload.Record) float64 {
			if r.Class == workload.ClassDropped {
				return 0
			}
			return float64(max(0, min(r.End, h.Warmup+h.Duration)-max(r.Sent, h.Warmup)))
		}) / float64(h.Duration),
	}
	var e2e, lag, itl []float64
	for _, r := range records {
		if in(r.Intended) && ok(r) {
			e2e = append(e2e, float64(end(r)-r.Sent)/1e9)
		}
		if in(r.Intended) && r.Class != workload.ClassDropped {
			lag = append(lag, float64(r.Sent-r.Intended-r.CapWait)/1e9)
		}
	}
	for _, r := range records {
		if in(r.Intended) && ok(r) && r.Streamed {
			itl = append(itl, naiveITL(r)...)
		}
	}
	m["itl count"], m["itl mean"], m["itl p50"] = float64(len(itl)), mean(itl), medianOfEnough(itl)
	m["e2e p50"], m["lag max"] = medianOfEnough(e2e), math.NaN()
	if len(lag) > 0 {
		m["lag max"] = slices.Max(lag)
	}
	return m
}

// naiveITL lists when each token came, and takes the gaps between them.
func naiveITL(r workload.Record) []float64 {
	if r.ChunkTokens == nil && r.OutputTokens != len(r.Gaps)+1 {
		return nil
	}
	var at []float64
	last := float64(r.First) / 1e9
	for i := range len(r.Gaps) + 1 {
		gap, tokens := 0.0, 1
		if i > 0 {
			gap = float64(r.Gaps[i-1]) / 1e6
		}
		if r.ChunkTokens != nil {
			tokens = int(r.ChunkTokens[i])
		}
		for k := range tokens {
			at = append(at, last+gap*float64(k+1)/float64(tokens))
		}
		last += gap
	}
	gaps := make([]float64, 0, len(at))
	for i := 1; i < len(at); i++ {
		gaps = append(gaps, at[i]-at[i-1])
	}
	return gaps
}

func medianOfEnough(v []float64) float64 {
	if len(v) < 20 {
		return math.NaN()
	}
	return middle(v)
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

func computed(s *Summary) map[string]float64 {
	good := 0.0
	if s.Goodput != nil {
		good = s.Goodput.Fraction * float64(s.Requests.Attempted)
	}
	return map[string]float64{
		"attempted": float64(s.Requests.Attempted), "succeeded": float64(s.Requests.Succeeded), "dropped": float64(s.Requests.Dropped),
		"cancelled": float64(s.Requests.Cancelled), "rps": s.RequestThroughput, "sent": s.AchievedRate, "tokens": s.OutputTokenThroughput,
		"good": good, "busy": s.Concurrency.Mean, "e2e p50": number(s.E2E.P50), "lag max": number(s.ScheduleLag.Max),
		"itl count": float64(s.ITL.Count), "itl mean": number(s.ITL.Mean), "itl p50": number(s.ITL.P50),
	}
}

// anyRecord draws a record that a load could have written.
func anyRecord(t *rapid.T) workload.Record {
	ms := func(name string, most int64) int64 { return rapid.Int64Range(0, most).Draw(t, name) * ms1 }
	r := workload.Record{Intended: ms("intended", 13_000), CapWait: ms("wait", 50), Target: rapid.IntRange(0, 5).Draw(t, "target")}
	r.Class = rapid.SampledFrom([]string{"", "", "", "", "connect", "timeout", "cancelled", workload.ClassDropped}).Draw(t, "class")
	if r.Class == workload.ClassDropped {
		return r // of no server
	}
	r.Sent = r.Intended + r.CapWait + ms("lag", 5)
	r.End = r.Sent + ms("took", 500)
	if rapid.Bool().Draw(t, "streamed") {
		r.Streamed, r.First = true, r.Sent+ms("ttft", 400)
		r.Last = r.First
		for _, g := range rapid.SliceOfN(rapid.Uint32Range(0, 80), 0, 4).Draw(t, "gaps") {
			r.Gaps = append(r.Gaps, g*1000)
			r.Last += int64(g) * ms1
		}
		r.End = r.Last + ms("close", 3)
	}
	if r.Class == "" || r.Streamed {
		r.PromptTokens, r.OutputTokens, r.Source = rapid.IntRange(0, 9).Draw(t, "prompt"), len(r.Gaps)+1+rapid.IntRange(0, 1).Draw(t, "more"), "server"
	}
	if r.Streamed && rapid.Bool().Draw(t, "known") {
		r.ChunkTokens, r.OutputTokens = rapid.SliceOfN(rapid.Uint32Range(1, 4), len(r.Gaps)+1, len(r.Gaps)+1).Draw(t, "tokens"), 0
		for _, n := range r.ChunkTokens {
			r.OutputTokens += int(n)
		}
	}
	r.Server = rapid.SampledFrom([]string{"s1", "s2"}).Draw(t, "server")
	return r
}

func TestAgainstANaiveImplementation(t *testing.T) {
	t.Parallel()
	approx := gocmp.Options{cmpopts.EquateApprox(1e-9, 1e-9), cmpopts.EquateNaNs()}
	rapid.Check(t, func(rt *rapid.T) {
		h := header("n1")
		h.TTFT, h.TPOT = 200*ms1, 40*ms1
		records := rapid.SliceOfN(rapid.Custom(anyRecord), 0, 60).Draw(rt, "records")
		s := summarize(t, Input{}, client{header: h, records: records})
		want, got := naive(records, h), computed(s)
		if diff := gocmp.Diff(want, got, approx); diff != "" {
			rt.Fatalf("the naive one (-) and ours (+):\n%s", diff)
		}
		if q := s.Requests; q.Attempted != q.Succeeded+q.Failed+q.Cancelled+q.Dropped {
			rt.Fatalf("requests do not add up: %+v", q)
		}

		// The same records, dealt out over three nodes, give the same numbers.
		nodes := make([]client, 3)
		for i := range nodes {
			nodes[i].header = h
			nodes[i].header.Node = []string{"a", "b", "c"}[i]
		}
		for i, r := range records {
			n := &nodes[i%3]
			n.records = append(n.records, r)
		}
		merged := summarize(t, Input{}, nodes...)
		ignore := cmpopts.IgnoreFields(Summary{}, "PerNode", "Verdict", "Client.CPUSeconds")
		if diff := gocmp.Diff(s, merged, approx, ignore); diff != "" {
			rt.Fatalf("one node (-) and three (+):\n%s", diff)
		}
		addUp(rt, merged)
	})
}

// addUp checks that what nodes and servers did is what all did.
func addUp(t *rapid.T, s *Summary) {
	type part struct{ attempted, succeeded, failed, cancelled, dropped, requests, tokens float64 }
	of := func(r Requests, requests, tokens float64) part {
		return part{float64(r.Attempted), float64(r.Succeeded), float64(r.Failed), float64(r.Cancelled), float64(r.Dropped), requests, tokens}
	}
	add := func(a, b part) part {
		return part{
			a.attempted + b.attempted, a.succeeded + b.succeeded, a.failed + b.failed, a.cancelled + b.cancelled,
			a.dropped + b.dropped, a.requests + b.requests, a.tokens + b.tokens,
		}
	}
	var nodes, servers part
	for _, n := range s.PerNode {
		nodes = add(nodes, of(n.Requests, n.RequestThroughput, n.OutputTokenThroughput))
	}
	for _, n := range s.PerServer {
		servers = add(servers, of(n.Requests, n.RequestThroughput, n.OutputTokenThroughput))
	}
	approx := gocmp.Options{cmpopts.EquateApprox(1e-9, 1e-9), gocmp.AllowUnexported(part{})}
	whole := of(s.Requests, s.RequestThroughput, s.OutputTokenThroughput)
	if diff := gocmp.Diff(whole, nodes, approx); diff != "" {
		t.Fatalf("the whole (-) and all nodes (+):\n%s", diff)
	}
	// What was never sent went to no server.
	whole.attempted -= whole.dropped
	whole.dropped = 0
	if diff := gocmp.Diff(whole, servers, approx); diff != "" {
		t.Fatalf("the whole (-) and all servers (+):\n%s", diff)
	}
}

func TestPeakAgainstCounting(t *testing.T) {
	type span struct{ From, To int64 }
	rapid.Check(t, func(t *rapid.T) {
		spans := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) span {
			from := rapid.Int64Range(0, 30).Draw(t, "from")
			return span{from, from + rapid.Int64Range(1, 10).Draw(t, "length")}
		}), 0, 20).Draw(t, "spans")
		var f flight
		for _, s := range spans {
			f.add(s.From, s.To)
		}
		f.sort()
		peak := int64(0)
		for at := int64(10); at < 20; at++ {
			n := int64(0)
			for _, s := range spans {
				if s.From <= at && at < s.To {
					n++
				}
			}
			peak = max(peak, n)
		}
		if got := f.within(10, 20).Peak; cmp.Compare(got, peak) != 0 {
			t.Fatalf("peak %d, want %d", got, peak)
		}
	})
}
