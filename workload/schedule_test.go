package workload

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func TestConstantIsMonotoneAndExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0.01, 50_000).Draw(t, "rate")
		k := rapid.Int64Range(0, 10_000_000).Draw(t, "k")
		c := Constant(rate)
		if at, next := c.At(k), c.At(k+1); next <= at {
			t.Fatalf("arrival %d at %s, the next at %s", k, at, next)
		}
		// Half a nanosecond and the rounding of a float of that size: no error adds up over ten million arrivals.
		want := float64(k) / rate * 1e9
		if off := math.Abs(float64(c.At(k)) - want); off > 0.5+want*1e-15 {
			t.Fatalf("arrival %d is %g ns off", k, off)
		}
	})
	if got, want := Constant(20).At(41), 2050*time.Millisecond; got != want { // 41/20 s is no whole float
		t.Errorf("arrival 41 at %s, want %s", got, want)
	}
	for k, want := range map[int64]time.Duration{0: 0, 1: 100 * time.Millisecond, 7: 700 * time.Millisecond, 36_000: time.Hour, 41: 4100 * time.Millisecond} {
		if got := Constant(10).At(k); got != want {
			t.Errorf("arrival %d at %s, want %s", k, got, want)
		}
	}
}

func TestRanksCoverEveryIndexOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ranks := rapid.IntRange(1, 9).Draw(t, "ranks")
		each := rapid.Int64Range(1, 40).Draw(t, "each")
		seen := make([]int, int64(ranks)*each)
		for rank := range ranks {
			l := Load{plan: Plan{Rank: rank, Ranks: ranks}}
			for j := range each {
				seen[l.index(j)]++
			}
		}
		for k, n := range seen {
			if n != 1 {
				t.Fatalf("index %d is sent %d times", k, n)
			}
		}
	})
}

func TestPrompts(t *testing.T) {
	const n = 20_000
	s := Synthetic{Seed: 42, Words: 16}
	seen, firsts := map[string]int64{}, map[string]int{}
	for k := range int64(n) {
		p := s.Prompt(k)
		if p != s.Prompt(k) {
			t.Fatalf("prompt %d is not the same twice", k)
		}
		fields := strings.Fields(p)
		if len(fields) != 16 || strings.Join(fields, " ") != p {
			t.Fatalf("prompt %d has %d words: %q", k, len(fields), p)
		}
		if other, dup := seen[p]; dup {
			t.Fatalf("prompts %d and %d are the same", other, k)
		}
		seen[p] = k
		firsts[fields[0]]++
	}
	// The first words are spread, or a prefix cache would help.
	for word, count := range firsts {
		if even := n / len(words); count > 2*even || count < even/2 {
			t.Errorf("%q begins %d prompts of %d, evenly it were %d", word, count, n, even)
		}
	}
	for k := range int64(1000) {
		if _, dup := seen[(Synthetic{Seed: 43, Words: 16}).Prompt(k)]; dup {
			t.Fatalf("prompt %d of another seed was seen before: a prefix cache would leak between trials", k)
		}
	}
	for _, n := range []int{0, 1, 2, 5000} {
		if got := len(strings.Fields(Synthetic{Seed: 1, Words: n}.Prompt(3))); got != n {
			t.Errorf("%d words, want %d", got, n)
		}
	}
}

func TestNewLoadRefuses(t *testing.T) {
	good := func() Plan { return plan(constant(10, 0), &server{}) }
	if _, err := NewLoad(good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Plan){
		"no server":          func(p *Plan) { p.Targets = nil },
		"an unknown source":  func(p *Plan) { p.Workload.Prompts.Source = "oracle" },
		"an unknown pattern": func(p *Plan) { p.Workload.Load.Pattern = "chaos" },
		"no rate":            func(p *Plan) { p.Workload.Load.Rate = 0 },
		"rank beyond ranks":  func(p *Plan) { p.Rank = 1 },
		"no ranks":           func(p *Plan) { p.Ranks = 0 },
		"no duration":        func(p *Plan) { p.Workload.Duration.Duration = 0 },
		"no drain":           func(p *Plan) { p.Workload.Drain = nil },
	} {
		p := good()
		spoil(&p)
		if _, err := NewLoad(p); err == nil || !strings.HasPrefix(err.Error(), "prepare load: ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// The cap is a total: the nodes' shares add up to it, and each node may send.
func TestCapIsSplitOverRanks(t *testing.T) {
	for name, tc := range map[string]struct {
		most  int32
		ranks int
		want  []int
	}{
		"evenly":                 {4, 2, []int{2, 2}},
		"with a rest":            {5, 3, []int{2, 2, 1}},
		"one node":               {5, 1, []int{5}},
		"a cap below the number": {1, 3, []int{1, 1, 1}},
	} {
		var got []int
		for rank := range tc.ranks {
			s := &server{answer: time.Second}
			w := constant(100*float64(tc.ranks), tc.most)
			runLoad(t, w, s, func(p *Plan) { p.Rank, p.Ranks = rank, tc.ranks })
			got = append(got, int(s.peak.Load()))
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func constant(rate float64, most int32) api.WorkloadSpec {
	return work(api.LoadSpec{Pattern: api.PatternConstant, Rate: rate, MaxConcurrency: most})
}
