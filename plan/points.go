// Package plan holds the pure functions that say what is to be done, from objects alone: which runs a sweep has and in which
// order, which of them follow one another on the same servers, and what a search tries next.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Points are what a sweep measures, in the order in which its strategy declares them, without repeats. Of a search they are
// the points at each of which a limit is looked for.
func Points(s *api.BenchmarkSweepSpec) []api.Values {
	var points []api.Values
	seen := map[string]bool{}
	add := func(v api.Values) {
		if key := Digest(v); !seen[key] {
			seen[key] = true
			points = append(points, v)
		}
	}
	for _, v := range declared(s) {
		if !excluded(v, s.Exclude) {
			add(v)
		}
	}
	for _, v := range s.Include {
		add(v)
	}
	return points
}

// declared are the points of parameters and strategy alone.
func declared(s *api.BenchmarkSweepSpec) []api.Values {
	switch s.Strategy {
	case api.StrategyList:
		return nil // include has them
	case api.StrategyRandom:
		return drawn(s)
	case api.StrategyZip:
		var points []api.Values
		for i := range longest(s.Parameters) {
			v := make(api.Values, len(s.Parameters))
			for _, p := range s.Parameters {
				if i < len(p.Values) {
					v[p.Path] = p.Values[i]
				}
			}
			points = append(points, v)
		}
		return points
	}
	if len(s.Parameters) == 0 && len(s.Include) > 0 {
		return nil
	}
	total := 1
	for _, p := range s.Parameters {
		total *= len(p.Values)
	}
	points := make([]api.Values, total)
	for i := range points {
		points[i] = combination(s.Parameters, i)
	}
	return points
}

func longest(parameters []api.ParameterSpec) int {
	n := 0
	for _, p := range parameters {
		n = max(n, len(p.Values))
	}
	return n
}

// combination is one of all combinations, by its index: which value of each parameter, as the digits of a number of mixed base.
func combination(parameters []api.ParameterSpec, index int) api.Values {
	v := make(api.Values, len(parameters))
	for i := len(parameters) - 1; i >= 0; i-- {
		values := parameters[i].Values
		v[parameters[i].Path] = values[index%len(values)]
		index /= len(values)
	}
	return v
}

// drawn are random points. The n-th depends on the seed and on n alone: more samples leave those that were drawn as they are.
func drawn(s *api.BenchmarkSweepSpec) []api.Values {
	points := make([]api.Values, s.Samples)
	for i := range points {
		r := rand.New(rand.NewPCG(uint64(s.Seed), uint64(i)))
		v := make(api.Values, len(s.Parameters))
		for _, p := range s.Parameters {
			if p.Range == nil {
				v[p.Path] = p.Values[r.IntN(len(p.Values))]
				continue
			}
			v[p.Path] = draw(p.Range, r.Float64())
		}
		points[i] = v
	}
	return points
}

// draw is the value at u, 0 to 1, of a range.
func draw(r *api.RangeSpec, u float64) float64 {
	low, high := r.Min, r.Max
	if r.Integer {
		low, high = math.Ceil(low), math.Floor(high)+1 // each whole number has the same share
	}
	value := low + u*(high-low)
	if r.Scale == api.ScaleLog {
		value = low * math.Pow(high/low, u)
	}
	if r.Integer {
		return math.Min(math.Floor(value), math.Floor(r.Max))
	}
	// Three figures say enough, and can be read.
	if rounded := Significant(value, 3); rounded >= r.Min && rounded <= r.Max {
		return rounded
	}
	return value
}

// Significant rounds to some significant figures.
func Significant(v float64, figures int) float64 {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return v
	}
	scale := math.Pow(10, float64(figures-1)-math.Floor(math.Log10(math.Abs(v))))
	if math.IsInf(scale, 0) || scale == 0 {
		return v
	}
	return math.Round(v*scale) / scale
}

func excluded(v api.Values, rules []api.Values) bool {
	for _, rule := range rules {
		all := true
		for path, value := range rule {
			if got, has := v[path]; !has || !equal(got, value) {
				all = false
				break
			}
		}
		if all {
			return true
		}
	}
	return false
}

// equal compares values as JSON does: 8 and 8.0 are the same number.
func equal(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// Digest tells points from one another: ten hex digits of the SHA-256 of the values as JSON, whose keys are sorted.
func Digest(v api.Values) string {
	data, err := json.Marshal(v)
	if err != nil {
		data = fmt.Appendf(nil, "%v", v) // what came out of JSON goes back
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:5])
}

// with returns the values with some more, which go before.
func with(v, more api.Values) api.Values {
	out := maps.Clone(v)
	if out == nil {
		out = api.Values{}
	}
	maps.Copy(out, more)
	return out
}
