package plan

import (
	"cmp"
	"slices"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Work is a run that waits for servers.
type Work struct {
	// Name of the run.
	Name string
	// Position in the order of its sweep.
	Position int
	// Key is equal for runs that can use the same servers.
	Key string
	// Length is what its load takes at most on servers that are ready; Startup what bringing the servers up may take.
	Length, Startup time.Duration
	// Limit bounds the time of an Allocation, from the job's start to its end.
	Limit time.Duration
	// Alone says that it shares servers with no other run.
	Alone bool
}

const (
	// turn is what lies between two loads beside the pause: handing out, collecting, writing.
	turn = 10 * time.Second
	// margin is what is left before a time limit: the grace time, and the minute that Slurm's warning may come early.
	margin = 2 * time.Minute
	// longest is the most that Slurm is asked for.
	longestLimit = 365 * 24 * time.Hour
)

// Length is what the load of a run takes at most on servers that are ready, with the pause before the next one.
func Length(s *api.BenchmarkRunSpec, pause time.Duration) time.Duration {
	w := &s.Workload
	return w.Warmup.Duration + w.Duration.Duration + w.Drain.Duration + turn + pause
}

// Startup is what a job's agents and servers may take to be ready.
func Startup(s *api.BenchmarkRunSpec) time.Duration {
	return s.Timeouts.Start.Duration + s.Service.Health.Timeout.Duration
}

// TimeLimit is what an Allocation for these runs asks Slurm for: no more than their own limit, rounded up to minutes.
func TimeLimit(batch []Work) time.Duration {
	need := margin
	limit := longestLimit
	for i, w := range batch {
		if i == 0 {
			need += w.Startup
		}
		need += w.Length
		if w.Limit > 0 {
			limit = min(limit, w.Limit)
		}
	}
	need = (need + time.Minute - 1).Truncate(time.Minute)
	return min(need, limit)
}

// Next chooses what the next Allocation carries out, when so many of them may still be begun. It takes the group of runs with
// the most work, for what is longest must not be last; a group that would leave others idle is dealt out over them, as long as
// each share is worth bringing servers up for. Runs keep their order. Nothing waits when nothing is returned.
func Next(waiting []Work, slots int) []Work {
	groups := grouped(waiting)
	if len(groups) == 0 || slots <= 0 {
		return nil
	}
	at, n := choose(groups, slots)
	return groups[at].runs[:n]
}

// choose says which group is taken from, and how many of its first runs.
func choose(groups []group, slots int) (at, n int) {
	for i := range groups {
		g, chosen := &groups[i], &groups[at]
		if cmp.Or(cmp.Compare(g.length, chosen.length), cmp.Compare(chosen.runs[0].Position, g.runs[0].Position)) > 0 {
			at = i
		}
	}
	chosen := &groups[at]
	first := chosen.runs[0]
	if first.Alone {
		return at, 1
	}
	share := chosen.length
	if spare := slots - (len(groups) - 1); spare > 1 {
		share = max(chosen.length/time.Duration(spare), first.Startup)
	}
	used := margin + first.Startup
	var taken time.Duration
	for _, w := range chosen.runs {
		tooLong := w.Limit > 0 && used+w.Length > w.Limit
		if n > 0 && (tooLong || taken >= share || n == maxBatch) {
			break
		}
		n++
		used += w.Length
		taken += w.Length
	}
	return at, n
}

// maxBatch bounds the orders that are written ahead for one Allocation.
const maxBatch = 500

// group is runs that can use the same servers.
type group struct {
	runs   []Work
	length time.Duration
}

// grouped sorts by key and position. Groups come in the order of their first runs.
func grouped(waiting []Work) []group {
	byKey := map[string]int{}
	var groups []group
	if !slices.IsSortedFunc(waiting, InOrder) {
		waiting = slices.SortedFunc(slices.Values(waiting), InOrder)
	}
	for _, w := range waiting {
		i, known := byKey[w.Key]
		if !known {
			i = len(groups)
			byKey[w.Key] = i
			groups = append(groups, group{})
		}
		groups[i].runs = append(groups[i].runs, w)
		groups[i].length += w.Length
	}
	return groups
}

// InOrder compares by the order of the sweep.
func InOrder(a, b Work) int {
	return cmp.Or(cmp.Compare(a.Position, b.Position), cmp.Compare(a.Name, b.Name))
}

// Planned is one Allocation of a plan.
type Planned struct {
	Runs []Work
	// TimeLimit that Slurm is asked for.
	TimeLimit time.Duration
	// Begin and End say when it is under way, if every job starts at once and every load takes its whole length.
	Begin, End time.Duration
}

// Schedule plays all waiting runs through, with so many Allocations at once: each begins when another one ends.
func Schedule(waiting []Work, parallelism int) []Planned {
	left := grouped(waiting)
	free := make([]time.Duration, max(1, parallelism)) // when each place is free again
	var planned []Planned
	for len(left) > 0 {
		at := slices.Min(free)
		idle := 0
		for _, f := range free {
			if f <= at {
				idle++
			}
		}
		group, n := choose(left, idle)
		batch := left[group].runs[:n]
		p := Planned{Runs: batch, TimeLimit: TimeLimit(batch), Begin: at, End: at + batch[0].Startup}
		for _, w := range batch {
			p.End += w.Length
			left[group].length -= w.Length
		}
		if left[group].runs = left[group].runs[n:]; len(left[group].runs) == 0 {
			left = slices.Delete(left, group, group+1)
		}
		free[slices.Index(free, at)] = p.End
		planned = append(planned, p)
	}
	return planned
}
