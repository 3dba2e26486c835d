package report

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/benchd/benchd/workload"
)

func line(n int, at, slope float64) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = at + slope*float64(i)
	}
	return v
}

func TestTrendOfLines(t *testing.T) {
	zigzag := line(40, 100, 0)
	for i := range zigzag {
		zigzag[i] += float64(i%2) * 20
	}
	outliers := line(50, 100, 2)
	outliers[3], outliers[20], outliers[49] = 9000, 0, -500
	for name, tc := range map[string]struct {
		series       []float64
		step         float64
		slope, drift float64
		moves        bool
	}{
		"rising":                  {line(11, 10, 1), 1, 1, 11.0 / 15, true},
		"falling":                 {line(20, 100, -2), 1, -2, -40.0 / 81, true},
		"flat":                    {line(30, 7, 0), 1, 0, 0, false},
		"all nothing":             {line(30, 0, 0), 1, 0, 0, false},
		"steps of two seconds":    {line(10, 10, 1), 2, 0.5, 10.0 / 14.5, true},
		"rising by too little":    {line(20, 1000, 1), 1, 1, 20.0 / 1009.5, false},
		"up and down":             {zigzag, 1, 0, 0, false},
		"a few outliers":          {outliers, 1, 2, 100.0 / middle(outliers), true},
		"half of it is nothing":   {append(line(15, 0, 0), line(14, 1, 1)...), 1, math.NaN(), 0, false}, // a share of a median of 0
		"longer than ten minutes": {line(1201, 10, 1), 1, 1, 1200 / middle(line(1200, 10, 1)), true},
	} {
		got := trend(tc.series, tc.step)
		if got == nil {
			t.Errorf("%s: none", name)
			continue
		}
		if !math.IsNaN(tc.slope) && !near(got.Slope, tc.slope) || !near(got.Drift, tc.drift) || got.moves(0.1) != tc.moves {
			t.Errorf("%s: %+v moves: %t; want slope %g, drift %g", name, got, got.moves(0.1), tc.slope, tc.drift)
		}
		if got.CI95[0] > got.Slope || got.CI95[1] < got.Slope {
			t.Errorf("%s: %g outside %v", name, got.Slope, got.CI95)
		}
	}
	for _, n := range []int{0, 1, 9} {
		if got := trend(line(n, 10, 1), 1); got != nil {
			t.Errorf("%d steps: %+v", n, got)
		}
	}
}

// naiveTrend is the median of all slopes, and Sen's interval by ranks counted from 1: the M1-th and the (M2+1)-th smallest
// with M1 = (N−C)/2, M2 = (N+C)/2 and C = 1.96·σ of Kendall's S, each rounded outwards.
func naiveTrend(series []float64, step float64) (slope, low, high float64) {
	var slopes []float64
	for i := range series {
		for j := range series[:i] {
			slopes = append(slopes, (series[i]-series[j])/(float64(i-j)*step))
		}
	}
	slices.Sort(slopes)
	n, count := float64(len(series)), float64(len(slopes))
	c := 1.96 * math.Sqrt(n*(n-1)*(2*n+5)/18)
	m1, m2 := int(math.Floor((count-c)/2)), int(math.Ceil((count+c)/2))
	return middle(slopes), slopes[max(m1, 1)-1], slopes[min(m2+1, len(slopes))-1]
}

func TestTrendAgainstANaiveOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		series := rapid.SliceOfN(rapid.Float64Range(0, 100), minTrend, 40).Draw(t, "series")
		step := rapid.SampledFrom([]float64{1, 2, 5}).Draw(t, "step")
		got := trend(series, step)
		slope, low, high := naiveTrend(series, step)
		if !near(got.Slope, slope) || !near(got.CI95[0], low) || !near(got.CI95[1], high) {
			t.Fatalf("%+v, want %g in %g…%g", got, slope, low, high)
		}
		// Time turned round turns everything round.
		back := slices.Clone(series)
		slices.Reverse(back)
		turned := trend(back, step)
		if !near(turned.Slope, -slope) || !near(turned.CI95[0], -high) || !near(turned.CI95[1], -low) || !near(turned.Drift, -got.Drift) {
			t.Fatalf("forth %+v, back %+v", got, turned)
		}
	})
}

// Noise without a trend is called one in about 5 % of the series.
func TestTrendIntervalsCoverTheTruth(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const windows = 400
	held := 0
	for range windows {
		series := line(30, 100, 0.5)
		for i := range series {
			series[i] += 10 * random.NormFloat64()
		}
		if ci := trend(series, 1).CI95; ci[0] <= 0.5 && 0.5 <= ci[1] {
			held++
		}
	}
	if share := float64(held) / windows; share < 0.92 || share > 0.985 {
		t.Errorf("%.1f %% of the intervals hold the truth", 100*share)
	}
}

// growing makes requests every 50 ms that take longer and longer, so that more and more are in flight.
func growing(change func(*workload.Header)) client {
	c := client{header: header("n1")}
	for i := range int64(200) {
		at := 1000 + 50*i
		took := 100 + 5*i
		c.records = append(c.records, streamed(at, at, at+took, at+took, at+took, 1, 1))
	}
	if change != nil {
		change(&c.header)
	}
	return c
}

// shrinking is the same the other way round.
func shrinking() client {
	c := growing(nil)
	for i := range c.records {
		r := &c.records[i]
		r.First = r.Sent + (1100-5*int64(i))*ms1
		r.Last, r.End = r.First, r.First
	}
	return c
}

// longer has an even load, whose answers get longer and longer without taking more time.
func longer(isStreamed bool) client {
	return steady(1000, func(h *workload.Header, records []workload.Record) {
		h.Streaming = isStreamed
		for i := range records {
			r := &records[i]
			r.OutputTokens = 10 + i
			r.Target = r.OutputTokens
			if !isStreamed {
				r.Streamed, r.First, r.Last, r.Gaps = false, 0, 0, nil
			}
		}
	})
}

func TestSteadiness(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		load      client
		limits    float64
		state     string
		saturated bool
		reason    bool
	}{
		"an even load":                    {steady(1000, nil), 0, SteadyState, false, false},
		"nothing at all":                  {steady(0, nil), 0, SteadyState, false, false},
		"in flight grows in an open loop": {growing(func(h *workload.Header) { h.OfferedRate = 20 }), 0, UnsteadyState, true, true},
		"in flight follows a ramp":        {growing(func(h *workload.Header) { h.OfferedRate, h.Pattern = 20, "ramp" }), 0, UnsteadyState, false, true},
		"the queue for the cap grows": {steady(1000, func(h *workload.Header, records []workload.Record) {
			h.OfferedRate, h.MaxConcurrency = 100, 1
			for i := range records {
				records[i].CapWait = int64(i) * ms1
				records[i].Intended -= records[i].CapWait
			}
		}), 0, SteadyState, true, false},
		"in flight grows in a closed loop": {growing(func(h *workload.Header) { h.Concurrency = 15 }), 0, UnsteadyState, false, true},
		"in flight shrinks":                {shrinking(), 0, UnsteadyState, false, true},
		"a limit that allows it":           {growing(nil), 50, SteadyState, false, false},
		"under ten seconds": {growing(func(h *workload.Header) {
			h.Duration = 9999 * ms1
		}), 0, UnknownState, false, false},
		"nine whole seconds, for it begins within one": {growing(func(h *workload.Header) { h.Warmup += ms1 }), 0, UnknownState, false, false},
		"output grows": {longer(true), 0, UnsteadyState, false, true},
		"completions stand for unstreamed output": {longer(false), 0, SteadyState, false, false},
		"answers that are not streamed": {func() client {
			c := growing(func(h *workload.Header) { h.Streaming = false })
			for i := range c.records {
				c.records[i].Streamed, c.records[i].First, c.records[i].Last = false, 0, 0
			}
			return c
		}(), 0, UnsteadyState, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Limits: defaults()}
			if tc.limits > 0 {
				in.Limits.Drift = tc.limits
			}
			s := summarize(t, in, tc.load)
			if s.Steady.State != tc.state || s.Saturated != tc.saturated {
				t.Errorf("%s, saturated: %t; %+v, %+v", s.Steady.State, s.Saturated, s.Steady.InFlight, s.Steady.TokenRate)
			}
			if (s.Steady.State == UnknownState) != (s.Steady.InFlight == nil) || (s.Steady.InFlight == nil) != (s.Steady.TokenRate == nil) {
				t.Errorf("%+v", s.Steady)
			}
			told := slices.ContainsFunc(s.Verdict.Reasons, func(r string) bool { return strings.HasPrefix(r, "unsteady") })
			if told != tc.reason {
				t.Errorf("reasons: %q", s.Verdict.Reasons)
			}
		})
	}
}
