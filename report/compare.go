package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/benchd/benchd/api/node"
)

// Side is one of the results that are compared.
type Side struct {
	// Name for people.
	Name string `json:"name"`
	// Verdict of the result; empty for one of another tool.
	Verdict string `json:"verdict,omitempty"`

	values  map[string]float64 // measured window; of another tool's result the whole run
	whole   map[string]float64
	foreign bool
	of      *accumulator // nil without raw records
	draws   map[string][]float64
}

// OpenSide reads a result: the folder of an attempt or of `benchd load`, or a result file of vLLM's benchmark.
func OpenSide(path string) (*Side, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open the result: %w", err)
	}
	if !info.IsDir() {
		return openForeign(path)
	}
	var from source
	if err := node.ReadJSON(filepath.Join(path, Dir, SourceJSON), &from); err != nil {
		return nil, fmt.Errorf("open the result %s: %w: name the folder of an attempt, or of a `benchd load`", path, err)
	}
	a, err := accumulate(filepath.Join(path, "results"), from.Input)
	if err != nil {
		return nil, fmt.Errorf("open the result %s: %w", path, err)
	}
	return &Side{Name: from.Input.Run, Verdict: a.sum.Verdict.State, values: measured(&a.sum), whole: wholeValues(a.sum.WholeRun), of: a}, nil
}

// openForeign reads the JSON file that `vllm bench serve --save-result` writes.
func openForeign(path string) (*Side, error) {
	const most = 1 << 30
	info, err := os.Stat(path)
	if err != nil || info.Size() > most {
		return nil, errors.Join(err, fmt.Errorf("open the result %s: a file of vLLM's benchmark has at most 1 GiB", path))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("open the result: %w", err)
	}
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("open the result %s: %w: name a folder, or a JSON file of `vllm bench serve --save-result`", path, err)
	}
	numbers := map[string]float64{}
	for key, v := range all {
		if n, is := v.(float64); is {
			numbers[key] = n
		}
	}
	whole := wholeValues(numbers)
	if _, has := whole["requestThroughput"]; !has {
		return nil, fmt.Errorf("open the result %s: it has no request_throughput: is it a file of `vllm bench serve --save-result`?", path)
	}
	return &Side{Name: filepath.Base(path), values: whole, whole: whole, foreign: true}, nil
}

// measured are the numbers of a summary under the names of --fail-if: metric, or metric.statistic.
func measured(s *Summary) map[string]float64 {
	out := map[string]float64{
		"requestThroughput": s.RequestThroughput, "outputTokenThroughput": s.OutputTokenThroughput, "totalTokenThroughput": s.TotalTokenThroughput,
		"errorRate": s.ErrorRate, "achievedRate": s.AchievedRate, "concurrency.mean": s.Concurrency.Mean, "concurrency.peak": float64(s.Concurrency.Peak),
	}
	if s.Goodput != nil {
		out["goodput"], out["goodput.rate"], out["goodput.fraction"] = s.Goodput.Rate, s.Goodput.Rate, s.Goodput.Fraction
	}
	for _, d := range distributions(s) {
		for _, st := range d.d.statistics() {
			if st.value != nil {
				out[d.name+"."+st.name] = *st.value
			}
		}
	}
	return out
}

// wholeValues brings vLLM's key names to ours, and milliseconds to seconds. What vLLM calls itl are gaps between chunks.
func wholeValues(w map[string]float64) map[string]float64 {
	out := map[string]float64{}
	for ours, theirs := range map[string]string{
		"requestThroughput": "request_throughput", "outputTokenThroughput": "output_throughput", "totalTokenThroughput": "total_token_throughput",
	} {
		if v, has := w[theirs]; has {
			out[ours] = v
		}
	}
	for ours, theirs := range map[string]string{"ttft": "ttft", "tpot": "tpot", "icl": "itl", "e2e": "e2el"} {
		for stat, prefix := range map[string]string{"mean": "mean", "std": "std", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"} {
			if v, has := w[prefix+"_"+theirs+"_ms"]; has {
				out[ours+"."+stat] = v / 1000
			}
		}
	}
	return out
}

// Comparison of results with the first of them.
type Comparison struct {
	Sides []*Side `json:"sides"`
	// WholeRun: one of them is of another tool, so the conventional numbers over the whole run are compared.
	WholeRun bool  `json:"wholeRun"`
	Rows     []Row `json:"rows"`
}

// Row is one number of all sides. Absent values are null.
type Row struct {
	Name   string     `json:"name"`
	Values []*float64 `json:"values"`
	// Differences to the first side, one for each further side; null where a value is absent.
	Differences []*Difference `json:"differences"`
}

// Difference of a number between two results.
type Difference struct {
	Absolute float64 `json:"absolute"`
	// Relative to the first; null when that is 0.
	Relative *float64 `json:"relative"`
	// CI95 of the absolute difference by the block bootstraps of both; null without raw records or with too few of them.
	CI95 *Interval `json:"ci95"`
	// P is the p-value of a rank test (Mann–Whitney) on the medians of the blocks of both windows; null where there is none.
	P *float64 `json:"p"`
	// Beyond says whether the difference exceeds the noise: its interval holds no 0. Null when that is not known.
	Beyond *bool `json:"beyondNoise"`
}

// rows of a comparison, in order.
var comparedMetrics = []string{"ttft", "itl", "icl", "tpot", "e2e", "normalizedLatency"}

// Compare puts results side by side; there are at least two.
func Compare(sides []*Side) (*Comparison, error) {
	if len(sides) < 2 {
		return nil, errors.New("compare: name at least two results")
	}
	c := &Comparison{Sides: sides}
	for i, s := range sides {
		c.WholeRun = c.WholeRun || s.foreign
		if s.of != nil {
			s.draws = s.of.drawAll(i)
		}
	}
	names := []string{"requestThroughput", "outputTokenThroughput", "totalTokenThroughput", "goodput", "goodput.fraction", "errorRate"}
	for _, m := range comparedMetrics {
		for _, stat := range []string{"mean", "p50", "p90", "p95", "p99"} {
			names = append(names, m+"."+stat)
		}
	}
	for _, name := range names {
		if row := c.row(name); row.present() {
			c.Rows = append(c.Rows, row)
		}
	}
	return c, nil
}

func (r *Row) present() bool {
	return slices.ContainsFunc(r.Values, func(v *float64) bool { return v != nil })
}

func (c *Comparison) value(s *Side, name string) *float64 {
	values := s.values
	if c.WholeRun {
		values = s.whole
	}
	if v, has := values[name]; has {
		return &v
	}
	return nil
}

func (c *Comparison) row(name string) Row {
	r := Row{Name: name}
	base := c.value(c.Sides[0], name)
	for i, s := range c.Sides {
		v := c.value(s, name)
		r.Values = append(r.Values, v)
		if i == 0 {
			continue
		}
		if base == nil || v == nil {
			r.Differences = append(r.Differences, nil)
			continue
		}
		d := &Difference{Absolute: *v - *base}
		if *base != 0 {
			relative := d.Absolute / math.Abs(*base)
			d.Relative = &relative
		}
		if !c.WholeRun {
			d.CI95, d.P = noise(c.Sides[0], s, name)
		}
		if d.CI95 != nil {
			beyond := d.CI95[0] > 0 || d.CI95[1] < 0
			d.Beyond = &beyond
		}
		r.Differences = append(r.Differences, d)
	}
	return r
}

// noise gives the interval of the difference of two independent results, and the p-value of the rank test.
func noise(a, b *Side, name string) (*Interval, *float64) {
	first, second := a.draws[name], b.draws[name]
	n := min(len(first), len(second))
	if n == 0 {
		return nil, nil
	}
	differences := make([]float64, n)
	for i := range differences {
		differences[i] = second[i] - first[i]
	}
	return interval(differences), rankTest(a.of.blockValues(name), b.of.blockValues(name))
}

// statistics are those that are drawn, mean first.
var statisticNames = [...]string{"mean", "p50", "p90", "p95", "p99", "p999"}

// drawAll takes the bootstrap draws of all statistics of a side. Each side has draws of its own: with those of the report
// two runs of one seed would meet block by block, as if they had run at the same time.
func (a *accumulator) drawAll(side int) map[string][]float64 {
	out := map[string][]float64{}
	if a.blocks == 0 {
		return out
	}
	drawn := newBootstrap(a.blocks, a.header.Seed^int64(side+1)<<40)
	seconds := a.sum.MeasuredSeconds
	out["requestThroughput"] = drawn.drawRate(a.completed, seconds)
	out["outputTokenThroughput"] = drawn.drawRate(a.windowOut, seconds)
	for _, d := range distributions(&a.sum) {
		if d.d.CI95 == nil {
			continue
		}
		means, values := drawn.draw(d.d, a.samples[d.name])
		out[d.name+"."+statisticNames[0]] = means
		for k, v := range values {
			out[d.name+"."+statisticNames[k+1]] = v
		}
	}
	return out
}

// blockValues are a metric's medians, block by block, or a rate's values: blocks are about independent, requests are not.
func (a *accumulator) blockValues(name string) []float64 {
	if a.blocks == 0 {
		return nil
	}
	switch name {
	case "requestThroughput":
		return slices.Clone(a.completed[:a.blocks])
	case "outputTokenThroughput":
		return slices.Clone(a.windowOut[:a.blocks])
	}
	for metric, all := range a.samples {
		if name != metric+".p50" && name != metric+".mean" {
			continue
		}
		byBlock := make([]samples, a.blocks)
		for _, s := range all { // sorted, so the parts are too
			byBlock[s.block] = append(byBlock[s.block], s)
		}
		var medians []float64
		for _, part := range byBlock {
			count := int64(0)
			for i := range part {
				count += int64(part[i].n)
			}
			seen := int64(0)
			for i := range part {
				if seen += int64(part[i].n); seen > count/2 {
					medians = append(medians, part[i].value)
					break
				}
			}
		}
		return medians
	}
	return nil
}

// rankTest is the two-sided p-value of Mann and Whitney's test in its normal approximation, with ties and a continuity
// correction (Annals of Mathematical Statistics 18, 1947); nil with fewer than eight values on a side.
func rankTest(a, b []float64) *float64 {
	if len(a) < 8 || len(b) < 8 {
		return nil
	}
	type ranked struct {
		value float64
		first bool
	}
	var all []ranked
	for _, v := range a {
		all = append(all, ranked{v, true})
	}
	for _, v := range b {
		all = append(all, ranked{v, false})
	}
	slices.SortFunc(all, func(x, y ranked) int { return cmp.Compare(x.value, y.value) })
	n1, n2 := float64(len(a)), float64(len(b))
	n := n1 + n2
	ranks, ties := 0.0, 0.0
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].value == all[i].value {
			j++
		}
		t := float64(j - i)
		ties += t*t*t - t
		for k := i; k < j; k++ {
			if all[k].first {
				ranks += float64(i+j+1) / 2
			}
		}
		i = j
	}
	u := ranks - n1*(n1+1)/2
	spread := math.Sqrt(n1 * n2 / 12 * (n + 1 - ties/(n*(n-1))))
	p := 1.0
	if spread > 0 {
		p = math.Erfc(max(0, math.Abs(u-n1*n2/2)-0.5) / spread / math.Sqrt2)
	}
	return &p
}
