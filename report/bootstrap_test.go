package report

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/benchd/benchd/workload"
)

// normal draws n independent samples around a middle, spread evenly over the blocks of the window.
func normal(random *rand.Rand, n, blocks int, middle float64) samples {
	var s samples
	for i := range n {
		s.add(middle+random.NormFloat64(), uint8(i*blocks/n))
	}
	return s
}

// intervals describes samples and their intervals.
func intervals(s samples, blocks int, seed int64) Distribution {
	d := describe(s)
	newBootstrap(blocks, seed).describe(&d, s)
	return d
}

func TestBlocksHoldEnoughRequests(t *testing.T) {
	for requests, want := range map[int64]int{0: 0, 9: 0, 10: 0, 49: 0, 50: 10, 54: 10, 55: 11, 159: 31, 160: 32, 1e9: 32} {
		if got := blocksFor(requests); got != want {
			t.Errorf("%d requests in %d blocks, want %d", requests, got, want)
		}
	}
}

func TestIntervalsAreThoseOfTheirSeed(t *testing.T) {
	s := normal(rand.New(rand.NewPCG(1, 2)), 400, maxBlocks, 0)
	first := intervals(s, maxBlocks, 7)
	if diff := cmp.Diff(first, intervals(s, maxBlocks, 7)); diff != "" {
		t.Errorf("the same seed (-first +second):\n%s", diff)
	}
	if other := intervals(s, maxBlocks, 8); *other.CI95.Mean == *first.CI95.Mean {
		t.Error("another seed gives the same draws")
	}
}

func TestIntervalsHoldTheirNumber(t *testing.T) {
	for seed := range uint64(20) {
		d := intervals(normal(rand.New(rand.NewPCG(seed, 1)), 1000, maxBlocks, 50), maxBlocks, int64(seed))
		for name, of := range map[string]struct {
			value *float64
			ci    *Interval
		}{"mean": {d.Mean, d.CI95.Mean}, "p50": {d.P50, d.CI95.P50}, "p90": {d.P90, d.CI95.P90}, "p95": {d.P95, d.CI95.P95}, "p99": {d.P99, d.CI95.P99}} {
			if of.ci == nil || of.ci[0] > *of.value || of.ci[1] < *of.value || of.ci[0] >= of.ci[1] {
				t.Errorf("seed %d: %s %g in %v", seed, name, *of.value, of.ci)
			}
		}
		if d.CI95.P999 != nil {
			t.Errorf("seed %d: an interval of a percentile that is not there: %v", seed, d.CI95.P999)
		}
	}
}

// Of many windows of independent samples about 95 % of the intervals hold the truth. A percentile bootstrap of 32 blocks
// stays a little below.
func TestIntervalsCoverTheTruth(t *testing.T) {
	t.Parallel()
	const windows = 300
	random := rand.New(rand.NewPCG(3, 4))
	held := map[string]int{}
	count := func(name string, truth float64, ci *Interval) {
		if ci[0] <= truth && truth <= ci[1] {
			held[name]++
		}
	}
	for seed := range int64(windows) {
		d := intervals(normal(random, 192, maxBlocks, 0), maxBlocks, seed)
		count("mean", 0, d.CI95.Mean)
		count("p50", 0, d.CI95.P50)
		count("p90", 1.2815515655446004, d.CI95.P90)
		perBlock := make([]float64, maxBlocks)
		for i := range perBlock {
			perBlock[i] = 100 + 10*random.NormFloat64()
		}
		count("rate", 10*maxBlocks, newBootstrap(maxBlocks, seed).rate(perBlock, 10))
	}
	for _, name := range []string{"mean", "p50", "p90", "rate"} {
		share := float64(held[name]) / windows
		t.Logf("%s: %.1f %%", name, 100*share)
		if share < 0.90 || share > 0.985 {
			t.Errorf("%.1f %% of the intervals of %s hold the truth", 100*share, name)
		}
	}
}

// Requests of one moment share their fate: intervals by blocks are wider than the root of the number of requests says.
func TestIntervalsKnowOfMomentsInCommon(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	var s samples
	for block := range uint8(maxBlocks) {
		shared := random.NormFloat64()
		for range 100 {
			s.add(shared+0.1*random.NormFloat64(), block)
		}
	}
	d := intervals(s, maxBlocks, 1)
	alone := 2 * 1.96 * *d.Std / math.Sqrt(float64(d.Count))
	if width := d.CI95.Mean[1] - d.CI95.Mean[0]; width < 5*alone {
		t.Errorf("the mean's interval is %g wide, as if requests were alone: %g", width, alone)
	}
}

// Groups are exact while there are few samples, and keep count and mean when there are many.
func TestGroupsKeepTheWhole(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for name, tc := range map[string]struct {
		n, least, most int // groups
		step           float64
	}{
		"few": {300, 300, 300, 0}, "many": {50_000, maxGroups / 2, maxGroups * 3 / 2, 0}, "many equal ones": {50_000, 6, 12, 10}, "all the same": {50_000, 1, 1, 1000},
	} {
		s := normal(random, tc.n, maxBlocks, 5)
		for i := range s {
			s[i].n = 1 + uint32(random.IntN(3))
			if tc.step > 0 {
				s[i].value = math.Round(s[i].value*10/tc.step)*tc.step + 7
			}
		}
		d := describe(s)
		count, sum := 0.0, 0.0
		perBlock := map[uint8]float64{}
		gs := groups(s, d.Count)
		for _, g := range gs {
			inGroup := 0.0
			for _, b := range g.blocks {
				inGroup += b.n
				perBlock[b.block] += b.n
			}
			count += inGroup
			sum += inGroup * g.value
		}
		for _, v := range s {
			perBlock[v.block] -= float64(v.n)
		}
		for block, left := range perBlock {
			if left != 0 {
				t.Errorf("%s: block %d has %g more", name, block, left)
			}
		}
		if count != float64(d.Count) || !near(sum/count, *d.Mean) || len(gs) < tc.least || len(gs) > tc.most {
			t.Errorf("%s: %d groups of %g samples, mean %g, want %d, %g", name, len(gs), count, sum/count, d.Count, *d.Mean)
		}
	}
}

func TestTooFewRequestsHaveNoIntervals(t *testing.T) {
	for name, tc := range map[string]struct {
		requests int
		wants    bool
	}{"none": {0, false}, "ten": {10, false}, "49": {49, false}, "50": {50, true}, "many": {300, true}} {
		s := summarize(t, Input{}, steady(tc.requests, nil))
		for metric, there := range map[string]bool{
			"ttft": s.TTFT.CI95 != nil, "e2e": s.E2E.CI95 != nil, "throughput": s.CI95["requestThroughput"] != nil, "tokens": s.CI95["outputTokenThroughput"] != nil,
		} {
			if there != tc.wants {
				t.Errorf("%s: an interval of %s: %t", name, metric, there)
			}
		}
	}
	// A quantity that few of the requests have.
	s := summarize(t, Input{}, steady(300, func(_ *workload.Header, r []workload.Record) {
		for i := range 49 {
			r[i].FirstAnswer = r[i].First
		}
	}))
	if s.TTFAT.Count != 49 || s.TTFAT.CI95 != nil {
		t.Errorf("%+v", s.TTFAT)
	}
}

func TestIntervalsOfThroughput(t *testing.T) {
	s := summarize(t, Input{}, steady(1000, nil))
	for name, value := range map[string]float64{"requestThroughput": s.RequestThroughput, "outputTokenThroughput": s.OutputTokenThroughput} {
		ci := s.CI95[name]
		if ci == nil || ci[0] > value || ci[1] < value || ci[1]-ci[0] > 0.05*value {
			t.Errorf("%s of an even load is %g in %v", name, value, ci)
		}
	}
}
