package report

import (
	"cmp"
	"math"
	"slices"
)

// sample is a value that was seen n times in one block of the measured window.
type sample struct {
	value float64
	n     uint32
	block uint8
}

// samples of one quantity.
type samples []sample

func (s *samples) add(value float64, block uint8) { *s = append(*s, sample{value, 1, block}) }

// sort puts the samples in the one order that does not depend on how they came.
func (s samples) sort() {
	slices.SortFunc(s, func(a, b sample) int {
		if a.value != b.value {
			return cmp.Compare(a.value, b.value)
		}
		return cmp.Or(cmp.Compare(a.block, b.block), cmp.Compare(a.n, b.n))
	})
}

// pooled counts gaps, of which there are many and few different ones: they are whole microseconds, or shares of such.
// Nothing is rounded and no percentile is estimated: equal values are kept once.
type pooled struct {
	whole [maxBlocks][]uint32 // by block and microsecond, below maxWhole
	rest  map[pooledKey]uint32
}

// maxWhole bounds the tables: 16 MiB where there are gaps that long in every block.
const maxWhole = 1 << 17

type pooledKey struct {
	value float64
	block uint8
}

// add counts a value in microseconds n times.
func (p *pooled) add(value float64, block uint8, n uint32) {
	if at := uint32(value); at < maxWhole && float64(at) == value {
		*grow(&p.whole[block], int64(at)) += n
		return
	}
	if p.rest == nil {
		p.rest = map[pooledKey]uint32{}
	}
	p.rest[pooledKey{value, block}] += n
}

// samples gives the values in another unit, which holds so many microseconds.
func (p *pooled) samples(unit float64) samples {
	out := make(samples, 0, len(p.rest))
	for block, counts := range p.whole {
		for value, n := range counts {
			if n > 0 {
				out = append(out, sample{float64(value) / unit, n, uint8(block)})
			}
		}
	}
	for k, n := range p.rest {
		out = append(out, sample{k.value / unit, n, k.block})
	}
	return out
}

// describe makes a Distribution of samples. It sorts them.
func describe(s samples) Distribution {
	d := Distribution{}
	for i := range s {
		d.Count += int64(s[i].n)
	}
	if d.Count == 0 {
		return d
	}
	s.sort()
	sum := 0.0
	for i := range s {
		sum += s[i].value * float64(s[i].n)
	}
	mean := sum / float64(d.Count)
	square := 0.0
	for i := range s {
		square += (s[i].value - mean) * (s[i].value - mean) * float64(s[i].n)
	}
	least, most := s[0].value, s[len(s)-1].value
	d.Mean, d.Min, d.Max = &mean, &least, &most
	if d.Count > 1 {
		std := math.Sqrt(square / float64(d.Count-1))
		d.Std = &std
	}
	for _, p := range []struct {
		q  float64
		to **float64
	}{{0.50, &d.P50}, {0.90, &d.P90}, {0.95, &d.P95}, {0.99, &d.P99}, {0.999, &d.P999}} {
		*p.to = percentile(s, d.Count, p.q)
	}
	return d
}

// enough says whether a percentile has the 10/(1−q) samples that it wants: the tail would be a handful of requests.
func enough(count int64, q float64) bool { return float64(count)*(1-q) >= 10-1e-9 }

// percentile interpolates linearly between the two samples next to rank q·(n−1) (Hyndman and Fan's type 7); nil with too
// few samples.
func percentile(sorted samples, count int64, q float64) *float64 {
	if !enough(count, q) {
		return nil
	}
	rank := q * float64(count-1)
	lo := int64(math.Floor(rank))
	before, seen := 0.0, int64(0)
	for i := range sorted {
		seen += int64(sorted[i].n)
		if seen > lo {
			before = sorted[i].value
			after := before
			if seen <= lo+1 && i+1 < len(sorted) {
				after = sorted[i+1].value
			}
			v := before + (rank-float64(lo))*(after-before)
			return &v
		}
	}
	return nil
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

// sort puts the events in order: an end before a start at the same instant.
func (f *flight) sort() {
	slices.SortFunc(f.events, func(a, b flightEvent) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.delta, b.delta))
	})
}

// within gives mean over time and peak between two times. The events must be sorted.
func (f *flight) within(from, to int64) Concurrency {
	if to <= from {
		return Concurrency{}
	}
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
	return Concurrency{Mean: area / float64(to-from), Peak: max(peak, now)}
}

// means gives the mean over time of each of n steps from 0 on. The events must be sorted.
func (f *flight) means(step int64, n int) []float64 {
	area := make([]float64, n)
	spread := func(from, to, now int64) {
		for from < to {
			i := from / step
			end := min(to, (i+1)*step)
			if i >= int64(n) {
				return
			}
			area[i] += float64(now) * float64(end-from)
			from = end
		}
	}
	now, last := int64(0), int64(0)
	for _, e := range f.events {
		if at := max(e.at, 0); at > last {
			spread(last, at, now)
			last = at
		}
		now += e.delta
	}
	spread(last, int64(n)*step, now)
	for i := range area {
		area[i] /= float64(step)
	}
	return area
}
