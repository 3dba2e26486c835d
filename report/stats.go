package report

import (
	"math"
	"slices"
)

// describe makes a Distribution of samples in seconds. It sorts them.
func describe(samples []float64) Distribution {
	d := Distribution{Count: int64(len(samples))}
	if len(samples) == 0 {
		return d
	}
	slices.Sort(samples)
	sum := 0.0
	for _, v := range samples {
		sum += v
	}
	mean := sum / float64(len(samples))
	square := 0.0
	for _, v := range samples {
		square += (v - mean) * (v - mean)
	}
	d.Mean, d.Min, d.Max = &mean, &samples[0], &samples[len(samples)-1]
	if len(samples) > 1 {
		std := math.Sqrt(square / float64(len(samples)-1))
		d.Std = &std
	}
	d.P50, d.P90, d.P95 = percentile(samples, 0.50), percentile(samples, 0.90), percentile(samples, 0.95)
	d.P99, d.P999 = percentile(samples, 0.99), percentile(samples, 0.999)
	return d
}

// percentile interpolates linearly between the two samples next to rank q·(n−1) (Hyndman and Fan's type 7). With fewer
// than 10/(1−q) samples it is nil: the tail would be a handful of requests.
func percentile(sorted []float64, q float64) *float64 {
	if float64(len(sorted))*(1-q) < 10-1e-9 {
		return nil
	}
	rank := q * float64(len(sorted)-1)
	lo := int(math.Floor(rank))
	hi := min(lo+1, len(sorted)-1)
	v := sorted[lo] + (rank-float64(lo))*(sorted[hi]-sorted[lo])
	return &v
}

// flight turns starts and ends into the number of requests in flight.
type flight struct{ events []flightEvent }

type flightEvent struct {
	at    int64
	delta int64
}

func (f *flight) add(from, to int64) {
	f.events = append(f.events, flightEvent{from, 1}, flightEvent{to, -1})
}

// within gives mean over time and peak between two times.
func (f *flight) within(from, to int64) Concurrency {
	slices.SortFunc(f.events, func(a, b flightEvent) int {
		if a.at != b.at {
			return int(max(-1, min(1, a.at-b.at)))
		}
		return int(a.delta - b.delta) // an end before a start at the same instant
	})
	var now, peak int64
	area, last := 0.0, from
	for _, e := range f.events {
		if e.at >= to {
			break
		}
		if e.at > from {
			area += float64(now) * float64(e.at-last)
			last = e.at
			peak = max(peak, now)
		}
		now += e.delta
	}
	area += float64(now) * float64(to-last)
	peak = max(peak, now)
	if to <= from {
		return Concurrency{}
	}
	return Concurrency{Mean: area / float64(to-from), Peak: peak}
}
