package workload

import (
	"math"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func schedule(t checker, l api.LoadSpec, seed int64) (Schedule, *api.WorkloadSpec) {
	t.Helper()
	w := work(l)
	w.Duration.Duration = 100 * time.Second
	s, err := NewSchedule(&w, seed, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, &w
}

func take(s Schedule, n int) (out []time.Duration) {
	for range n {
		a, more := s.Next()
		if !more {
			break
		}
		out = append(out, a.At)
	}
	return out
}

func TestConstantIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0.01, 50_000).Draw(t, "rate")
		s, _ := schedule(t, api.LoadSpec{Pattern: api.PatternConstant, Rate: rate}, 1)
		for k := range int64(2000) {
			a, _ := s.Next()
			// Half a nanosecond and the rounding of a float of that size: no error adds up.
			if want := float64(k) / rate * 1e9; a.K != k || math.Abs(float64(a.At)-want) > 0.5+want*1e-14 {
				t.Fatalf("arrival %d (%d) at %d ns, want %g", k, a.K, a.At, want)
			}
		}
	})
	s, _ := schedule(t, api.LoadSpec{Pattern: api.PatternConstant, Rate: 10}, 1)
	at := take(s, 36_001)
	if at[0] != 0 || at[7] != 700*time.Millisecond || at[36_000] != time.Hour {
		t.Errorf("arrivals at %s, %s, %s", at[0], at[7], at[36_000])
	}
}

// loads draws any open loop without a trace.
func loads(t *rapid.T) api.LoadSpec {
	rate := rapid.Float64Range(0.5, 200)
	l := api.LoadSpec{Pattern: rapid.SampledFrom([]api.Pattern{
		api.PatternConstant, api.PatternPoisson, api.PatternGamma, api.PatternBurst, api.PatternSteps, api.PatternRamp,
	}).Draw(t, "pattern")}
	arrivals := rapid.SampledFrom([]api.Arrivals{api.ArrivalsConstant, api.ArrivalsPoisson, api.ArrivalsGamma})
	length := func(name string) metav1.Duration {
		return metav1.Duration{Duration: time.Duration(rapid.Int64Range(1e8, 3e10).Draw(t, name))}
	}
	switch l.Pattern {
	case api.PatternBurst:
		l.Rate, l.Arrivals = rate.Draw(t, "rate"), arrivals.Draw(t, "arrivals")
		l.Burst = &api.BurstSpec{On: length("on"), Off: length("off"), OffRate: rapid.Float64Range(0, 5).Draw(t, "off rate")}
	case api.PatternSteps:
		l.Arrivals = arrivals.Draw(t, "arrivals")
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			l.Steps = append(l.Steps, api.StepSpec{Rate: rapid.Float64Range(0, 100).Draw(t, "step"), Duration: length("length")})
		}
	case api.PatternRamp:
		l.Arrivals = arrivals.Draw(t, "arrivals")
		l.Ramp = &api.RampSpec{From: rapid.Float64Range(0, 100).Draw(t, "from"), To: rate.Draw(t, "to")}
	default:
		l.Rate = rate.Draw(t, "rate")
	}
	if usesGamma := l.Pattern == api.PatternGamma || l.Arrivals == api.ArrivalsGamma; usesGamma {
		l.Burstiness = rapid.Float64Range(0.2, 5).Draw(t, "burstiness")
	}
	return l
}

// Arrivals come in order, are the same for a seed, and are as many as the rates ask for, up to chance.
func TestSchedules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := loads(t)
		seed := rapid.Int64().Draw(t, "seed")
		s, w := schedule(t, l, seed)
		again, _ := schedule(t, l, seed)
		from, to := w.Warmup.Duration, w.Warmup.Duration+w.Duration.Duration
		inside, last := 0, time.Duration(-1)
		for k := range int64(1_000_000) {
			a, more := s.Next()
			b, _ := again.Next()
			if a != b {
				t.Fatalf("the same seed gives %v and %v", a, b)
			}
			if !more || a.At >= to {
				break
			}
			if a.K != k || a.At < last {
				t.Fatalf("arrival %d is number %d, at %s after %s", k, a.K, a.At, last)
			}
			last = a.At
			if a.At >= from {
				inside++
			}
		}
		want := OfferedRate(w, nil) * w.Duration.Seconds()
		scatter := 0.0 // of even intervals
		switch {
		case l.Pattern == api.PatternGamma || l.Arrivals == api.ArrivalsGamma:
			scatter = math.Sqrt(want / l.Burstiness)
		case l.Pattern == api.PatternPoisson || l.Arrivals == api.ArrivalsPoisson || w.Load.Arrivals == api.ArrivalsPoisson:
			scatter = math.Sqrt(want)
		}
		if off := math.Abs(float64(inside) - want); off > 6*scatter+8 {
			t.Fatalf("%d arrivals in the window where %.1f are asked for", inside, want)
		}
	})
}

func TestGammaIsAsBurstyAsAsked(t *testing.T) {
	t.Parallel()
	for _, shape := range []float64{0.25, 1, 4} {
		s, _ := schedule(t, api.LoadSpec{Pattern: api.PatternGamma, Rate: 1000, Burstiness: shape}, 3)
		at := take(s, 50_000)
		sum, square := 0.0, 0.0
		for i := 1; i < len(at); i++ {
			gap := (at[i] - at[i-1]).Seconds()
			sum += gap
			square += gap * gap
		}
		n := float64(len(at) - 1)
		mean := sum / n
		cv := math.Sqrt(square/n-mean*mean) / mean
		if math.Abs(mean*1000-1) > 0.05 || math.Abs(cv*math.Sqrt(shape)-1) > 0.05 {
			t.Errorf("shape %g: mean gap %g s, coefficient of variation %g", shape, mean, cv)
		}
	}
}

// Every index is sent by exactly one rank.
func TestRanksCoverEveryIndexOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ranks := rapid.IntRange(1, 9).Draw(t, "ranks")
		for k := range int64(200) {
			a, owners := Arrival{K: k}, 0
			if k%3 == 0 {
				a.Line = &TraceLine{Session: rapid.StringN(0, 4, 8).Draw(t, "session")}
			}
			for rank := range ranks {
				if a.owner(ranks) == rank {
					owners++
				}
			}
			if owners != 1 {
				t.Fatalf("index %d has %d owners", k, owners)
			}
		}
	})
	for _, total := range []int64{0, 1, 5, 100} {
		for ranks := 1; ranks < 8; ranks++ {
			sum := int64(0)
			for rank := range ranks {
				sum += int64(share(total, rank, ranks))
			}
			if sum != total {
				t.Errorf("the shares of %d over %d ranks add up to %d", total, ranks, sum)
			}
		}
	}
}

// A rate that begins at 0 has its first even arrival at its beginning, not at a time that is no number.
func TestRampFromNothing(t *testing.T) {
	t.Parallel()
	s, _ := schedule(t, api.LoadSpec{Pattern: api.PatternRamp, Ramp: &api.RampSpec{To: 10}, Arrivals: api.ArrivalsConstant}, 1)
	at := take(s, 3)
	if at[0] != time.Second || at[1] <= at[0] || at[2] <= at[1] {
		t.Errorf("arrivals at %v, want the first at 1s, where the measured window begins", at)
	}
}

// What the header says was drawn is what the schedule holds.
func TestDrawn(t *testing.T) {
	t.Parallel()
	w := work(api.LoadSpec{Pattern: api.PatternPoisson, Rate: 50})
	s, err := NewSchedule(&w, 9, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := int64(0)
	for a, _ := s.Next(); a.At < 5*time.Second; a, _ = s.Next() {
		if a.At >= time.Second {
			want++
		}
	}
	if got := drawn(&w, 9, nil); got != want || got < 120 || got > 280 {
		t.Errorf("%d drawn, want %d", got, want)
	}
}
