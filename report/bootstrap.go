package report

import (
	"math/rand/v2"
	"slices"
)

// Confidence intervals come from a block bootstrap: requests of one moment share a server's state, so they are not
// independent, and drawing them one by one would give intervals that are too narrow. The measured window is cut into
// blocks of equal time; whole blocks are drawn with replacement, and the statistic is taken of what was drawn (Künsch,
// Annals of Statistics 17, 1989). The 2.5th and 97.5th percentile of the draws are the interval. Draws are seeded.
const (
	maxBlocks = 32
	// minPerBlock is how many requests a block holds on average; fewer than twice that give no interval.
	minPerBlock = 5
	draws       = 400
	// maxGroups bounds the work: beyond it neighbours among the sorted samples are taken together.
	maxGroups = 2048
)

// blocksFor is into how many blocks the window of so many requests is cut; 0 when there are too few.
func blocksFor(requests int64) int {
	n := int(min(maxBlocks, requests/minPerBlock))
	if n < 2 {
		return 0
	}
	return n
}

// bootstrap draws blocks.
type bootstrap struct {
	blocks int
	drawn  [draws][maxBlocks]uint8 // how often each block was drawn
}

// newBootstrap draws the blocks once for all quantities, so that the report takes one set of draws.
func newBootstrap(blocks int, seed int64) *bootstrap {
	b := &bootstrap{blocks: blocks}
	r := rand.New(rand.NewPCG(uint64(seed), 0xb007))
	for i := range b.drawn {
		for range blocks {
			b.drawn[i][r.IntN(blocks)]++
		}
	}
	return b
}

// group is a run of sorted samples, counted by block.
type group struct {
	value float64
	n     [maxBlocks]float64
}

// groups cuts sorted samples into runs of about equal count.
func groups(sorted samples, count int64) []group {
	size := max(1, count/maxGroups)
	var out []group
	inRun, sum := int64(0), 0.0
	for i := range sorted {
		s := &sorted[i]
		if inRun == 0 {
			out = append(out, group{})
		}
		g := &out[len(out)-1]
		g.n[s.block] += float64(s.n)
		sum += s.value * float64(s.n)
		inRun += int64(s.n)
		g.value = sum / float64(inRun)
		if inRun >= size {
			inRun, sum = 0, 0
		}
	}
	return out
}

// describe adds intervals to a distribution of sorted samples.
func (b *bootstrap) describe(d *Distribution, sorted samples) {
	if b == nil || d.Count < 2*minPerBlock {
		return
	}
	gs := groups(sorted, d.Count)
	quantiles := []struct {
		q  float64
		of *float64
		to **Interval
	}{{0.50, d.P50, new(*Interval)}, {0.90, d.P90, new(*Interval)}, {0.95, d.P95, new(*Interval)}, {0.99, d.P99, new(*Interval)}, {0.999, d.P999, new(*Interval)}}
	means := make([]float64, 0, draws)
	values := make([][]float64, len(quantiles))
	weights := make([]float64, len(gs))
	for i := range b.drawn {
		total, sum := 0.0, 0.0
		for j := range gs {
			w := 0.0
			for k := range b.blocks {
				w += gs[j].n[k] * float64(b.drawn[i][k])
			}
			weights[j] = w
			total += w
			sum += w * gs[j].value
		}
		if total == 0 {
			continue
		}
		means = append(means, sum/total)
		j, seen := 0, weights[0]
		for k, q := range quantiles {
			if q.of == nil {
				continue
			}
			for rank := q.q * (total - 1); seen <= rank && j+1 < len(gs); {
				j++
				seen += weights[j]
			}
			values[k] = append(values[k], gs[j].value)
		}
	}
	for k, q := range quantiles {
		*q.to = interval(values[k])
	}
	d.CI95 = &Intervals{Mean: interval(means), P50: *quantiles[0].to, P90: *quantiles[1].to, P95: *quantiles[2].to, P99: *quantiles[3].to, P999: *quantiles[4].to}
}

// rate gives the interval of a sum over the window, per second.
func (b *bootstrap) rate(perBlock []float64, seconds float64) *Interval {
	if b == nil || seconds <= 0 {
		return nil
	}
	rates := make([]float64, draws)
	for i := range b.drawn {
		sum := 0.0
		for k := range b.blocks {
			sum += perBlock[k] * float64(b.drawn[i][k])
		}
		rates[i] = sum / seconds
	}
	return interval(rates)
}

// interval holds the middle 95 % of the draws.
func interval(drawn []float64) *Interval {
	if len(drawn) < draws/2 {
		return nil
	}
	slices.Sort(drawn)
	last := float64(len(drawn) - 1)
	return &Interval{drawn[int(0.025*last)], drawn[int(0.975*last+0.5)]}
}
