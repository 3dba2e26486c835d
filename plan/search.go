package plan

import (
	"cmp"
	"fmt"
	"math"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Probe is a value that a search tried, and what came of it.
type Probe struct {
	Value float64
	// Run that tried it.
	Run string
	// Ended: it has a result. Passed: the objective was met. Broken: it ended without numbers, whoever is to blame.
	Ended, Passed, Broken bool
	// Cancelled: it was ended before it could tell. Lost: a node, the job or a file system failed, which says nothing of the service.
	Cancelled, Lost bool
}

// maxLost is how many runs at one value may be lost, each after all of its attempts, before a search gives up there.
const maxLost = 2

// Search says what is tried next at a point, from what was tried: doubled until one fails, then half-way between the highest that
// passed and the lowest that failed. A value whose run was lost is tried again. found is what is known so far; no value is returned
// while a probe is under way or when the search is done.
func Search(s *api.SearchSpec, probes []Probe) (next *float64, found api.FoundLimit) {
	t := tried(probes)
	found = t.found
	if t.underWay {
		return nil, found
	}
	done := func(format string, args ...any) (*float64, api.FoundLimit) {
		found.Done, found.Why = true, fmt.Sprintf(format, args...)
		return nil, found
	}
	var value float64
	switch {
	case t.cancelled != "":
		return done("run %s was cancelled: begin a new search to go on", t.cancelled)
	case t.broken > 0 && t.broken+t.losses == len(probes):
		return done("%d runs ended without numbers: see why, and begin a new search", t.broken)
	case len(probes) >= int(s.MaxTrials):
		return done("search.maxTrials (%d) were tried", s.MaxTrials)
	case found.Failed == nil && found.Passed == nil:
		value = s.Min
	case found.Failed == nil:
		if *found.Passed >= s.Max {
			return done("search.max (%v) still passes: the limit lies beyond", s.Max)
		}
		value = math.Min(s.Max, *found.Passed*2)
	case found.Passed == nil:
		if *found.Failed <= s.Min {
			return done("search.min (%v) fails already", s.Min)
		}
		value = s.Min
	case *found.Passed >= *found.Failed:
		// A higher one passed: noise at the limit. What failed lowest is believed, and looked at from below.
		return done("%v failed and %v passed: the limit lies between, as far as noise lets it be told", *found.Failed, *found.Passed)
	case *found.Failed-*found.Passed <= s.Tolerance**found.Passed:
		return done("found within %v %%", Significant(100*s.Tolerance, 3))
	default:
		value = (*found.Passed + *found.Failed) / 2
	}
	if whole(s.Path) {
		value = math.Max(math.Floor(value), s.Min)
	} else {
		value = math.Min(math.Max(Significant(value, 4), s.Min), s.Max)
	}
	if found.Passed != nil && value <= *found.Passed || found.Failed != nil && value >= *found.Failed {
		return done("nothing lies between %v and %v", number(found.Passed), number(found.Failed))
	}
	if runs := t.lost[value]; len(runs) >= maxLost {
		return done("runs %s at %v were lost to the cluster, not to the service: see why, and begin a new search", strings.Join(runs, " and "), value)
	}
	return &value, found
}

// trail is what came of the values that were tried.
type trail struct {
	found          api.FoundLimit
	underWay       bool
	broken, losses int
	lost           map[float64][]string // runs, by their values
	cancelled      string               // the first run that was
}

func tried(probes []Probe) trail {
	t := trail{lost: map[float64][]string{}}
	for _, p := range probes {
		value := p.Value
		switch {
		case !p.Ended:
			t.underWay = true
		case p.Cancelled:
			t.cancelled = cmp.Or(t.cancelled, p.Run)
		case p.Lost:
			t.losses++
			t.lost[value] = append(t.lost[value], p.Run)
		case p.Passed:
			if t.found.Passed == nil || value > *t.found.Passed {
				t.found.Passed, t.found.Run = &value, p.Run
			}
		default:
			if p.Broken {
				t.broken++
			}
			// What broke counts as failed for where to look next: a service that fell over is not asked for more.
			if t.found.Failed == nil || value < *t.found.Failed {
				t.found.Failed = &value
			}
		}
	}
	return t
}

// whole says whether a field takes whole numbers alone. Of what a service makes of its config nobody here knows: counts, in most cases.
func whole(path string) bool {
	_, err := withValues(&api.BenchmarkRunSpec{}, api.Values{path: 0.5})
	return err != nil || strings.HasPrefix(path, "service.config.")
}

func number(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}
