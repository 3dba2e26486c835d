package report

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func upTo(n int) samples {
	var s samples
	for i := range n {
		s.add(float64(n-i), 0) // n … 1: unsorted
	}
	return s
}

func TestPercentilesAreOfType7(t *testing.T) {
	// numpy.percentile(range(1, n+1), q·100), whose default is the same.
	d := describe(upTo(20_000))
	for name, tc := range map[string]struct{ got, want float64 }{
		"p50": {number(d.P50), 10_000.5}, "p90": {number(d.P90), 18_000.1}, "p95": {number(d.P95), 19_000.05},
		"p99": {number(d.P99), 19_800.01}, "p999": {number(d.P999), 19_980.001},
		"mean": {number(d.Mean), 10_000.5}, "min": {number(d.Min), 1}, "max": {number(d.Max), 20_000},
		"std": {number(d.Std), 5773.647027659381},
	} {
		if !near(tc.got, tc.want) {
			t.Errorf("%s is %v, want %v", name, tc.got, tc.want)
		}
	}
}

func TestPercentilesOfTooFewSamplesAreNull(t *testing.T) {
	for name, tc := range map[string]struct {
		enough int
		of     func(Distribution) *float64
	}{
		"p50":  {20, func(d Distribution) *float64 { return d.P50 }},
		"p90":  {100, func(d Distribution) *float64 { return d.P90 }},
		"p95":  {200, func(d Distribution) *float64 { return d.P95 }},
		"p99":  {1000, func(d Distribution) *float64 { return d.P99 }},
		"p999": {10_000, func(d Distribution) *float64 { return d.P999 }},
	} {
		if tc.of(describe(upTo(tc.enough))) == nil || tc.of(describe(upTo(tc.enough-1))) != nil {
			t.Errorf("%s wants to be there from %d samples on", name, tc.enough)
		}
	}
	if d := describe(nil); d != (Distribution{}) {
		t.Errorf("nothing: %+v", d)
	}
	if d := describe(each(3)); d.Std != nil || number(d.Mean) != 3 || d.Count != 1 {
		t.Errorf("one sample: %+v", d)
	}
}

// weighted draws samples as pooled ones are: in no order, values that come in several blocks, and more than one of each.
func weighted(t *rapid.T, least, most int) samples {
	s := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) sample {
		return sample{
			value: float64(rapid.IntRange(0, 300).Draw(t, "value")) * rapid.SampledFrom([]float64{0.125, 1, 1000}).Draw(t, "unit"), n: rapid.Uint32Range(1, 90).Draw(t, "n"),
			block: rapid.Uint8Range(0, maxBlocks-1).Draw(t, "block"),
		}
	}), least, most).Draw(t, "samples")
	return s
}

func TestWeightedSamplesAgainstTheExpandedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := weighted(t, 1, 60)
		all := expanded(s)
		d := describe(slices.Clone(s))
		if d.Count != int64(len(all)) || *d.Min != all[0] || *d.Max != all[len(all)-1] {
			t.Fatalf("%d samples of %g…%g, want %d of %g…%g", d.Count, *d.Min, *d.Max, len(all), all[0], all[len(all)-1])
		}
		sum, square := 0.0, 0.0
		for _, v := range all {
			sum += v
		}
		mean := sum / float64(len(all))
		for _, v := range all {
			square += (v - mean) * (v - mean)
		}
		if !near(*d.Mean, mean) || len(all) > 1 && !near(*d.Std, math.Sqrt(square/float64(len(all)-1))) {
			t.Fatalf("mean %g, std %v, want %g", *d.Mean, d.Std, mean)
		}
		for q, got := range map[float64]*float64{0.5: d.P50, 0.9: d.P90, 0.95: d.P95, 0.99: d.P99, 0.999: d.P999} {
			if wants := float64(len(all))*(1-q) >= 10-1e-9; wants != (got != nil) {
				t.Fatalf("p%g of %d samples: %v", 100*q, len(all), got)
			}
			if got != nil && !near(*got, type7(all, q)) {
				t.Fatalf("p%g is %g, want %g", 100*q, *got, type7(all, q))
			}
		}
		s.sort()
		q := rapid.Float64Range(0, 0.999).Draw(t, "q")
		if got := percentile(s, d.Count, q); got != nil && !near(*got, type7(all, q)) {
			t.Fatalf("q %g gives %g, want %g", q, *got, type7(all, q))
		}
	})
}

func TestPooledCountsWhatItIsGiven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, p := weighted(t, 0, 80), pooled{}
		for _, v := range s {
			p.add(v.value, v.block, v.n)
		}
		got := p.samples(1)
		if !slices.Equal(expanded(s), expanded(got)) {
			t.Fatalf("%v became %v", s, got)
		}
		got.sort()
		for i := 1; i < len(got); i++ {
			if got[i-1].value == got[i].value && got[i-1].block == got[i].block {
				t.Fatalf("%g stands twice in block %d", got[i].value, got[i].block)
			}
		}
	})
}

func TestConcurrency(t *testing.T) {
	for name, tc := range map[string]struct {
		spans [][2]int64
		mean  float64
		peak  int64
	}{
		"none":                                  {nil, 0, 0},
		"all the time":                          {[][2]int64{{0, 30}}, 1, 1},
		"half the window":                       {[][2]int64{{10, 15}}, 0.5, 1},
		"two side by side":                      {[][2]int64{{10, 20}, {12, 14}}, 1.2, 2},
		"one after the other":                   {[][2]int64{{10, 15}, {15, 20}}, 1, 1},
		"before the window":                     {[][2]int64{{0, 9}, {1, 9}, {2, 10}}, 0, 0},
		"after the window":                      {[][2]int64{{20, 30}, {21, 22}}, 0, 0},
		"the peak lies outside":                 {[][2]int64{{0, 30}, {1, 2}, {25, 26}}, 1, 1},
		"one that ended as it began":            {[][2]int64{{10, 20}, {15, 15}}, 1, 1},
		"in flight from before into the window": {[][2]int64{{0, 12}, {5, 14}}, 0.6, 2},
	} {
		var f flight
		for _, s := range tc.spans {
			f.add(s[0], s[1])
		}
		f.sort()
		if got := f.within(10, 20); !near(got.Mean, tc.mean) || got.Peak != tc.peak {
			t.Errorf("%s: %+v, want mean %g, peak %d", name, got, tc.mean, tc.peak)
		}
	}
	var f flight
	f.add(1, 5)
	f.sort()
	if got := f.within(3, 3); got != (Concurrency{}) {
		t.Errorf("an empty window: %+v", got)
	}
}
