package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func someWork(t *rapid.T) []Work {
	work := make([]Work, rapid.IntRange(1, 60).Draw(t, "runs"))
	keys := rapid.IntRange(1, 5).Draw(t, "keys")
	limit := time.Duration(rapid.IntRange(0, 120).Draw(t, "limit")) * time.Minute
	for i := range work {
		key := rapid.IntRange(0, keys-1).Draw(t, "key")
		work[i] = Work{
			Name: fmt.Sprint("run", i), Position: i, Key: fmt.Sprint(key), Length: time.Duration(rapid.IntRange(1, 900).Draw(t, "length")) * time.Second,
			Startup: time.Duration(1+key) * time.Minute, Limit: limit, Alone: key == 4,
		}
	}
	return work
}

// Whatever waits is carried out once, in order, on servers of its own kind and within the limit; and no place is left empty for
// long while there is work that could be given to it.
func TestSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		work, places := someWork(t), rapid.IntRange(1, 6).Draw(t, "places")
		planned := Schedule(work, places)
		seen := map[string]bool{}
		var total, startups, longest, end time.Duration
		for _, p := range planned {
			if len(p.Runs) == 0 {
				t.Fatal("an Allocation of nothing")
			}
			if !slices.IsSortedFunc(p.Runs, func(a, b Work) int { return a.Position - b.Position }) {
				t.Fatal("runs change places within an Allocation")
			}
			need := margin + p.Runs[0].Startup
			for _, w := range p.Runs {
				if seen[w.Name] || w.Key != p.Runs[0].Key || w.Alone && len(p.Runs) > 1 {
					t.Fatalf("run %s is planned twice, or with runs of another kind", w.Name)
				}
				seen[w.Name] = true
				need += w.Length
			}
			if w := p.Runs[0]; w.Limit > 0 && need > w.Limit && len(p.Runs) > 1 || w.Limit > 0 && p.TimeLimit > w.Limit {
				t.Fatalf("%s of work in an Allocation of %s", need, w.Limit)
			}
			total += p.End - p.Begin
			startups = max(startups, p.Runs[0].Startup)
			longest = max(longest, p.End-p.Begin)
			end = max(end, p.End)
			busy := 0
			for _, other := range planned {
				if other.Begin <= p.Begin && other.End > p.Begin {
					busy++
				}
			}
			if busy > places {
				t.Fatalf("%d Allocations at once, %d are allowed", busy, places)
			}
		}
		if len(seen) != len(work) {
			t.Fatalf("%d of %d runs are planned", len(seen), len(work))
		}
		// List scheduling: no worse than the even share and the longest one.
		if bound := total/time.Duration(places) + longest; end > bound {
			t.Fatalf("it takes %s, where %s would do", end, bound)
		}
	})
}

func names(batch []Work) string {
	out := ""
	for _, w := range batch {
		out += w.Name + " "
	}
	return out
}

func TestNext(t *testing.T) {
	work := func(name, key string, at int, minutes, startup int) Work {
		return Work{Name: name, Key: key, Position: at, Length: time.Duration(minutes) * time.Minute, Startup: time.Duration(startup) * time.Minute, Limit: time.Hour}
	}
	four := []Work{work("a", "x", 0, 10, 5), work("b", "x", 1, 10, 5), work("c", "x", 2, 10, 5), work("d", "x", 3, 10, 5)}
	for name, tc := range map[string]struct {
		waiting []Work
		slots   int
		want    string
	}{
		"one place takes all that fit":          {four, 1, "a b c d "},
		"two places share":                      {four, 2, "a b "},
		"not for less than bringing servers up": {[]Work{work("a", "x", 0, 1, 5), work("b", "x", 1, 1, 5)}, 2, "a b "},
		"the limit":                             {append(four, work("e", "x", 4, 20, 5)), 1, "a b c d "},
		"the longest group first":               {append(four, work("e", "y", 4, 50, 1)), 1, "e "},
		"a place is kept for each other group":  {append(four, work("e", "y", 4, 1, 1)), 2, "a b c d "},
		"one that can never fit goes all alone": {[]Work{work("a", "x", 0, 100, 5), work("b", "x", 1, 1, 5)}, 1, "a "},
		"nothing waits":                         {nil, 3, ""},
		"no place":                              {four, 0, ""},
	} {
		if got := names(Next(tc.waiting, tc.slots)); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestTimeLimit(t *testing.T) {
	w := Work{Length: 100 * time.Second, Startup: 5 * time.Minute, Limit: time.Hour}
	if got := TimeLimit([]Work{w, w}); got != 11*time.Minute {
		t.Errorf("two runs of 100 s and a start of 5 min: %s, want 11 min with 2 min to spare", got)
	}
	w.Limit = 6 * time.Minute
	if got := TimeLimit([]Work{w, w}); got != 6*time.Minute {
		t.Errorf("with a limit of 6 min: %s", got)
	}
}
