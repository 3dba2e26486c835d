package plan

import (
	"maps"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// checked is how many runs of a sweep are all looked at before it is taken.
const checked = 500

// Sample are trials that stand for all of a sweep, for whoever looks at what its runs ask for: all of them, or of a large sweep
// each value beside the first ones of the other parameters. Of a search they have the bounds of what it tries.
func Sample(s *api.BenchmarkSweepSpec) []Trial {
	points := samplePoints(s)
	var trials []Trial
	for _, v := range points {
		if l := s.Search; l != nil && s.Strategy == api.StrategySearch {
			trials = append(trials, Trial{Values: with(v, api.Values{l.Path: l.Min}), Repeat: 1}, Trial{Values: with(v, api.Values{l.Path: l.Max}), Repeat: 1})
			continue
		}
		trials = append(trials, Trial{Values: v, Repeat: 1})
	}
	if c := s.Control; c != nil && len(points) > 0 {
		trials = append(trials, Trial{Values: with(points[0], c.Values), Repeat: 1, Control: true})
	}
	for i := range trials {
		trials[i].Point, trials[i].Position = Digest(trials[i].Values), i
	}
	return trials
}

func samplePoints(s *api.BenchmarkSweepSpec) []api.Values {
	if Size(s) <= checked {
		return Points(s)
	}
	if s.Strategy == api.StrategyList || s.Strategy == api.StrategyRandom || s.Strategy == api.StrategyZip {
		points := Points(s)
		return points[:min(len(points), checked)]
	}
	first := combination(s.Parameters, 0)
	var points []api.Values
	for _, p := range s.Parameters {
		for _, value := range p.Values {
			v := maps.Clone(first)
			v[p.Path] = value
			points = append(points, v)
		}
	}
	return append(points, s.Include...)
}

// Size is how many runs a sweep has at most, without making them.
func Size(s *api.BenchmarkSweepSpec) int {
	points := 0
	switch s.Strategy {
	case api.StrategyList:
	case api.StrategyZip:
		points = longest(s.Parameters)
	case api.StrategyRandom:
		points = int(s.Samples)
	default:
		if points = 1; len(s.Parameters) == 0 && len(s.Include) > 0 {
			points = 0
		}
		for _, p := range s.Parameters {
			points *= len(p.Values)
		}
	}
	points += len(s.Include)
	if s.Strategy == api.StrategySearch && s.Search != nil {
		return points * int(s.Search.MaxTrials)
	}
	size := points * int(max(1, s.Repeats))
	if c := s.Control; c != nil {
		size += (size + int(c.Every) - 1) / int(c.Every)
	}
	if most := int(s.Limits.Trials); most > 0 {
		size = min(size, most)
	}
	return size
}
