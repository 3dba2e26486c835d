package workload

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Arrival is one request of an open loop: its place in the global sequence, counted from 0, and its intended start after
// the beginning of the load.
type Arrival struct {
	K  int64
	At time.Duration
	// Line holds what a trace says of the request; nil elsewhere.
	Line *TraceLine
}

// A Schedule gives the arrivals of an open loop in order: pure arithmetic on a seed, the same on every node. It has no
// end but that of a trace.
type Schedule interface {
	Next() (Arrival, bool)
}

// NewSchedule returns the schedule of an open loop. Lines are the trace of the pattern trace.
func NewSchedule(w *api.WorkloadSpec, seed int64, lines []TraceLine) (Schedule, error) {
	l := &w.Load
	if l.Pattern == api.PatternTrace {
		return &traceSchedule{lines: lines, speed: l.Trace.Speed}, nil
	}
	rates := profile(w)
	if rates == nil {
		return nil, fmt.Errorf("pattern %q has no schedule that this benchd knows", l.Pattern)
	}
	if err := rates.check(); err != nil {
		return nil, err
	}
	return &rateSchedule{rates: rates, interval: intervals(l, seed)}, nil
}

// profile is the rate of a load over time.
func profile(w *api.WorkloadSpec) rates {
	l, warmup := &w.Load, w.Warmup.Seconds()
	forever := math.Inf(1)
	switch l.Pattern {
	case api.PatternConstant, api.PatternPoisson, api.PatternGamma:
		return rates{{l.Rate, l.Rate, forever}}
	case api.PatternBurst:
		cycle := l.Burst.On.Seconds() + l.Burst.Off.Seconds()
		var r rates
		for t := 0.0; t < warmup+w.Duration.Seconds() && len(r) < 2_000_000; t += cycle {
			r = append(r, rate{l.Rate, l.Rate, l.Burst.On.Seconds()}, rate{l.Burst.OffRate, l.Burst.OffRate, l.Burst.Off.Seconds()})
		}
		return r
	case api.PatternSteps:
		r := rates{{l.Steps[0].Rate, l.Steps[0].Rate, warmup}}
		for i, s := range l.Steps {
			length := s.Duration.Seconds()
			if i == len(l.Steps)-1 {
				length = forever
			}
			r = append(r, rate{s.Rate, s.Rate, length})
		}
		return r
	case api.PatternRamp:
		return rates{{l.Ramp.From, l.Ramp.From, warmup}, {l.Ramp.From, l.Ramp.To, w.Duration.Seconds()}, {l.Ramp.To, l.Ramp.To, forever}}
	}
	return nil
}

// rate goes evenly from one value to another, in requests per second, over a length in seconds.
type rate struct{ from, to, length float64 }

// rates follow each other from the beginning of the load.
type rates []rate

func (r rates) check() error {
	for _, p := range r {
		if !(p.from >= 0) || !(p.to >= 0) || math.IsInf(p.from, 0) || math.IsInf(p.to, 0) || !(p.length >= 0) {
			return fmt.Errorf("a rate of %g to %g requests/s over %g s: rates are 0 or more", p.from, p.to, p.length)
		}
	}
	return nil
}

// area is how many arrivals the rate makes on average within its first x seconds.
func (p rate) area(x float64) float64 {
	if p.from == p.to {
		if p.from == 0 {
			return 0
		}
		return p.from * x
	}
	return x * (p.from + (p.to-p.from)*x/p.length/2)
}

// at is when the area is reached: the solution of the quadratic equation in the form that does not cancel.
func (p rate) at(area float64) float64 {
	if area <= 0 {
		return 0 // also where the rate begins at 0
	}
	slope := 0.0
	if p.from != p.to {
		slope = (p.to - p.from) / p.length
	}
	return 2 * area / (p.from + math.Sqrt(max(0, p.from*p.from+2*slope*area)))
}

// mean is the offered rate over a window, in requests per second.
func (r rates) mean(from, to float64) float64 {
	sum, begin := 0.0, 0.0
	for _, p := range r {
		lo, hi := max(from-begin, 0), min(to-begin, p.length)
		if hi > lo {
			sum += p.area(hi) - p.area(lo)
		}
		begin += p.length
	}
	return sum / (to - from)
}

// rateSchedule maps arrivals of rate 1 onto the rates: the arrival whose cumulated intervals are a comes when the area
// under the rates is a. Even intervals are whole numbers, so no error adds up.
type rateSchedule struct {
	rates    rates
	interval func(k int64) float64
	k        int64
	position float64 // sum of the intervals
	begin    float64 // of the current rate, in seconds
	before   float64 // area before it
}

func (s *rateSchedule) Next() (Arrival, bool) {
	s.position += s.interval(s.k)
	for len(s.rates) > 0 {
		p := s.rates[0]
		inside := s.position - s.before
		if area := p.area(p.length); inside < area || math.IsInf(p.length, 1) && p.to > 0 {
			at := (s.begin + p.at(inside)) * float64(time.Second)
			if at > float64(math.MaxInt64) {
				return Arrival{}, false
			}
			s.k++
			return Arrival{K: s.k - 1, At: time.Duration(math.Round(at))}, true
		}
		if math.IsInf(p.length, 1) {
			return Arrival{}, false // a rate of 0 to the end
		}
		s.before += p.area(p.length)
		s.begin += p.length
		s.rates = s.rates[1:]
	}
	return Arrival{}, false
}

// intervals are those between arrivals, of mean 1; the first is before the first arrival.
func intervals(l *api.LoadSpec, seed int64) func(k int64) float64 {
	random := rand.NewPCG(uint64(seed), 0x5eed_0f_a11)
	arrivals := l.Arrivals
	switch l.Pattern {
	case api.PatternPoisson:
		arrivals = api.ArrivalsPoisson
	case api.PatternGamma:
		arrivals = api.ArrivalsGamma
	}
	switch arrivals {
	case api.ArrivalsPoisson:
		exponential := rand.New(random)
		return func(int64) float64 { return exponential.ExpFloat64() }
	case api.ArrivalsGamma:
		// Shape and rate are equal, so the mean is 1 and the coefficient of variation 1/√shape, as in vLLM's `--burstiness`.
		gamma := distuv.Gamma{Alpha: l.Burstiness, Beta: l.Burstiness, Src: random}
		return func(int64) float64 { return gamma.Rand() }
	}
	return func(k int64) float64 { return float64(min(k, 1)) } // 0, then 1 each
}

// OfferedRate is the mean rate that a load asks for over its measured window, in requests per second; 0 for a closed loop.
func OfferedRate(w *api.WorkloadSpec, lines []TraceLine) float64 {
	from := w.Warmup.Seconds()
	to := from + w.Duration.Seconds()
	switch w.Load.Pattern {
	case api.PatternClosed:
		return 0
	case api.PatternTrace:
		n, last := 0, 0.0
		for i := range lines {
			if at := lines[i].At.Seconds() / w.Load.Trace.Speed; at >= from && at < to {
				n++
				last = at
			}
		}
		if len(lines) > 0 && lines[len(lines)-1].At.Seconds()/w.Load.Trace.Speed < to && last > from {
			to = last
		}
		return float64(n) / (to - from)
	}
	return profile(w).mean(from, to)
}

// drawn counts the arrivals of the measured window.
func drawn(w *api.WorkloadSpec, seed int64, lines []TraceLine) (n int64) {
	if w.Load.Pattern == api.PatternClosed {
		return 0
	}
	s, err := NewSchedule(w, seed, lines)
	if err != nil {
		return 0 // NewLoad has told
	}
	for {
		a, more := s.Next()
		if !more || a.At >= w.Warmup.Duration+w.Duration.Duration {
			return n
		}
		if a.At >= w.Warmup.Duration {
			n++
		}
	}
}
