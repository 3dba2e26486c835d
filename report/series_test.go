package report

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/benchd/benchd/workload"
)

func TestSeriesOfSeconds(t *testing.T) {
	h := header("n1")
	h.Warmup, h.Duration = 1000*ms1, 2000*ms1
	s := summarize(t, Input{}, client{header: h, records: []workload.Record{
		streamed(500, 500, 900, 1400, 1500, 1, 6, 200, 300), // tokens at 0.9, 1.1 and 1.4 s, two each
		streamed(2000, 2000, 2250, 2500, 3000, 1, 2, 250),
		failed(2000, 2000, 3500, "timeout"), // counts when it ended
		{Intended: 2200 * ms1, Class: workload.ClassDropped},
	}}).Series
	value := func(v float64) *float64 { return &v }
	want := &Series{
		StepSeconds: 1, From: 1, To: 3, InFlight: []float64{0.5, 0.5, 2, 0.5}, Completions: []float64{0, 1, 1, 0}, Failures: []float64{0, 0, 1, 1},
		OutputTokens: []float64{2, 4, 2, 0}, TTFTP50: []*float64{value(0.4), nil, value(0.25), nil}, E2EP50: []*float64{nil, value(0.9), value(0.5), nil}, ITLMean: []*float64{nil, value(0.25), value(0.25), nil},
	}
	if diff := cmp.Diff(want, s, cmpopts.EquateApprox(1e-9, 1e-9)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A long run's seconds are merged: means per second stay means per second, and nothing is lost.
func TestLongSeriesAreMerged(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		seconds, step, steps int
	}{"ten minutes": {600, 1, 600}, "a second more": {601, 2, 301}, "half an hour and a bit": {1807, 4, 452}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client{header: header("n1")}
			c.header.Warmup, c.header.Duration = 0, int64(tc.seconds)*1000*ms1
			for i := range int64(tc.seconds) {
				// Two tokens at 0.1 and 0.3 s of each second, 0.4 s in flight.
				at := 1000 * i
				c.records = append(c.records, streamed(at, at, at+100, at+300, at+400, 1, 2, 200))
			}
			s := summarize(t, Input{}, c).Series
			if s.StepSeconds != float64(tc.step) || s.To != float64(tc.seconds) {
				t.Errorf("steps of %g s up to %g", s.StepSeconds, s.To)
			}
			for name, of := range map[string]struct {
				got  []float64
				each float64
			}{"in flight": {s.InFlight, 0.4}, "completions": {s.Completions, 1}, "failures": {s.Failures, 0}, "tokens": {s.OutputTokens, 2}} {
				sum := 0.0
				for i, v := range of.got {
					sum += v * s.StepSeconds
					if i+1 < tc.steps && !near(v, of.each) {
						t.Fatalf("%s in step %d: %g, want %g", name, i, v, of.each)
					}
				}
				if len(of.got) != tc.steps || !near(sum, of.each*float64(tc.seconds)) {
					t.Errorf("%s: %d steps that hold %g in all", name, len(of.got), sum)
				}
			}
			for i := range tc.steps {
				if !near(number(s.TTFTP50[i]), 0.1) || !near(number(s.ITLMean[i]), 0.2) {
					t.Fatalf("step %d: ttft %v, itl %v", i, number(s.TTFTP50[i]), number(s.ITLMean[i]))
				}
			}
		})
	}
}

func TestWithinCutsWholeSeconds(t *testing.T) {
	seconds := []float64{0, 1, 2, 3, 4}
	for name, tc := range map[string]struct {
		from, to int64
		want     []float64
	}{
		"whole ones":                {1e9, 3e9, []float64{1, 2}},
		"parts are left out":        {1e9 - 1, 4e9 - 1, []float64{1, 2}},
		"a beginning within one":    {1e9 + 1, 4e9, []float64{2, 3}},
		"nothing came at the end":   {3e9, 7e9, []float64{3, 4, 0, 0}},
		"less than a second":        {1e8, 9e8, nil},
		"longer, but no whole ones": {5e8, 14e8, nil},
	} {
		if diff := cmp.Diff(tc.want, within(seconds, tc.from, tc.to)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestInFlightAgainstAnIntegral(t *testing.T) {
	type span struct{ From, To int64 }
	rapid.Check(t, func(t *rapid.T) {
		spans := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) span {
			from := rapid.Int64Range(-20, 120).Draw(t, "from")
			return span{from, from + rapid.Int64Range(0, 60).Draw(t, "length")}
		}), 0, 25).Draw(t, "spans")
		step, n := rapid.Int64Range(1, 15).Draw(t, "step"), rapid.IntRange(1, 12).Draw(t, "n")
		var f flight
		for _, s := range spans {
			f.add(s.From, s.To)
		}
		f.sort()
		got := f.means(step, n)
		all := 0.0
		for i := range n {
			area := 0.0
			for at := int64(i) * step; at < int64(i+1)*step; at++ { // what begins and ends at whole numbers is the same all through each
				for _, s := range spans {
					if s.From <= at && at < s.To {
						area++
					}
				}
			}
			all += area
			if want := area / float64(step); math.Abs(got[i]-want) > 1e-9 {
				t.Fatalf("step %d of %v: %g, want %g", i, got, got[i], want)
			}
		}
		end := int64(n) * step
		if w := f.within(0, end); math.Abs(w.Mean-all/float64(end)) > 1e-9 {
			t.Fatalf("mean over all %g, want %g", w.Mean, all/float64(end))
		}
	})
}
