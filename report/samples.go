package report

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/benchd/benchd/node/monitor"
)

// track follows one column of one node's samples.
type track struct {
	node, name string
	counter    bool
	at, value  float64 // the last known one's, in seconds after the load's beginning; NaN before the first

	// Of the measured window: samples, and their sum and peak; of a counter its growth, and its largest growth per second.
	count     int
	sum, peak float64
	grown     float64
	// area below the values, by trapezoids, and the seconds that they cover; between samples too far apart there are none.
	area, covered float64

	steps []stepMean
}

type stepMean struct{ sum, count float64 }

// apart is how many intervals may lie between two samples which the time between them is still known by.
const apart = 3

// add takes a sample at a time; from and to are the measured window, all in seconds.
func (t *track) add(at, v, interval, from, to, step float64) {
	if math.IsNaN(v) { // a source that came too late once takes nothing from the samples around it
		return
	}
	before, had := t.at, t.value
	t.at, t.value = at, v
	near := !math.IsNaN(had) && at > before && at-before <= apart*interval
	inside := 0.0 // the share of the time since the last sample that lies in the window
	if near {
		inside = max(0, min(at, to)-max(before, from)) / (at - before)
	}
	shown := v
	if t.counter {
		if !near || v < had { // what it counts began anew
			return
		}
		shown = (v - had) / (at - before)
		t.grown += inside * (v - had)
		if inside > 0 {
			t.peak = max(t.peak, shown)
		}
	} else if at >= from && at <= to {
		if t.count == 0 {
			t.peak = v
		}
		t.peak = max(t.peak, v)
		t.sum += v
	}
	if at >= from && at <= to {
		t.count++
	}
	if near {
		t.area += inside * (at - before) * (v + had) / 2
		t.covered += inside * (at - before)
	}
	if i := int(at / step); at >= 0 && i < len(t.steps) {
		t.steps[i].sum += shown
		t.steps[i].count++
	}
}

// usage in the window; false when nothing is known of it.
func (t *track) usage() (Usage, bool) {
	switch {
	case t.counter && t.covered > 0:
		return Usage{t.grown / t.covered, t.peak}, true
	case !t.counter && t.count > 0:
		return Usage{t.sum / float64(t.count), t.peak}, true
	}
	return Usage{}, false
}

// tracks are all columns of all nodes.
type tracks struct {
	list   []*track
	byName map[[2]string]*track // by node and column
}

func (t *tracks) of(node, name string) *track { return t.byName[[2]string{node, name}] }

// clock is the column that stands for a node's samples as such.
const clock = ""

// readSamples reads what was sampled while the load was made; nil when nothing was.
func (a *accumulator) readSamples(dir string) (*tracks, error) {
	if a.in.Samples == "" || a.in.Start.IsZero() || a.in.SampleSeconds <= 0 {
		return nil, nil
	}
	from, to, steps := float64(a.from)/second, float64(a.to)/second, a.sum.Series
	all := &tracks{byName: map[[2]string]*track{}}
	node, row := "", []*track(nil)
	path := filepath.Join(filepath.Dir(dir), "metrics", a.in.Samples)
	err := monitor.Read(path, func(columns []string, s monitor.Sample) error {
		if s.Node != node || row == nil { // nodes stand one after the other
			node, row = s.Node, all.row(s.Node, columns, len(steps.InFlight))
		}
		at := s.At.Sub(a.in.Start).Seconds()
		row[0].add(at, 1, a.in.SampleSeconds, from, to, steps.StepSeconds)
		for i, v := range s.Values {
			row[i+1].add(at, v, a.in.SampleSeconds, from, to, steps.StepSeconds)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("compute report: %w", err)
	}
	return all, nil
}

// row are the tracks of a node's rows: the clock's, and each column's.
func (t *tracks) row(node string, columns []string, steps int) []*track {
	row := []*track{t.add(node, clock, steps)}
	for _, name := range columns {
		row = append(row, t.add(node, name, steps))
	}
	return row
}

func (t *tracks) add(node, name string, steps int) *track {
	key := [2]string{node, name}
	if t.byName[key] == nil {
		t.byName[key] = &track{node: node, name: name, counter: monitor.Counter(name), at: math.NaN(), value: math.NaN(), steps: make([]stepMean, steps)}
		t.list = append(t.list, t.byName[key])
	}
	return t.byName[key]
}

// finishResources makes what the report tells of samples.
func (a *accumulator) finishResources(t *tracks) *Resources {
	if t == nil || len(t.list) == 0 {
		return nil
	}
	r := &Resources{IntervalSeconds: a.in.SampleSeconds, PerNode: map[string]NodeResources{}, PerServer: map[string]ServerResources{}, Series: []ResourceSeries{}}
	window := float64(a.to-a.from) / second
	for _, one := range t.list {
		if one.name == clock {
			r.PerNode[one.node] = NodeResources{Samples: one.count, GapSeconds: max(0, window-one.covered), Metrics: map[string]Usage{}}
			if a.in.serves(one.node) {
				r.serverNodes = append(r.serverNodes, one.node)
			}
			continue
		}
		if usage, known := one.usage(); known {
			r.PerNode[one.node].Metrics[one.name] = usage
		}
		if s, worth := one.series(); worth {
			r.Series = append(r.Series, s)
		}
	}
	for name := range a.servers {
		if s, told := t.server(name, window); told {
			r.PerServer[name] = s
		}
	}
	r.Energy = a.energy(t)
	return r
}

// charted are the columns whose course is kept; of the others there are means and peaks.
var charted = []string{
	"cpu_percent", "memory_used_bytes", "memory_bytes", "network_received_bytes_total", "network_sent_bytes_total", "infiniband_received_bytes_total",
	"infiniband_sent_bytes_total", "utilization_percent", "power_watts", "temperature_celsius", "sm_clock_mhz", "requests_running", "requests_waiting",
	"kv_cache_usage_ratio", "preemptions_total", "generation_tokens_total",
}

// series is the column's course, if it is one to be drawn and ever other than 0.
func (t *track) series() (ResourceSeries, bool) {
	s := ResourceSeries{Node: t.node, Name: t.name, Values: make([]*float64, len(t.steps))}
	if !slices.ContainsFunc(charted, func(name string) bool { return t.name == name || strings.HasSuffix(t.name, "_"+name) }) {
		return s, false
	}
	worth := false
	for i, step := range t.steps {
		if step.count > 0 {
			mean := rounded(step.sum / step.count)
			s.Values[i] = &mean
			worth = worth || mean != 0
		}
	}
	return s, worth
}

// rounded has five significant digits: more than a line in a plot shows.
func rounded(v float64) float64 {
	if v == 0 {
		return 0
	}
	scale := math.Pow(10, 4-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

// server is what a server told of itself. Its columns begin with its name, on whatever node they were asked for.
func (t *tracks) server(name string, window float64) (s ServerResources, told bool) {
	find := func(column string) *track {
		for _, one := range t.list {
			if one.name == name+"_"+column && (one.count > 0 || one.covered > 0) {
				return one
			}
		}
		return nil
	}
	for column, to := range map[string]**Usage{"requests_running": &s.Running, "requests_waiting": &s.Waiting, "kv_cache_usage_ratio": &s.KVCacheUsage} {
		if one := find(column); one != nil && one.count > 0 {
			usage, _ := one.usage()
			*to, told = &usage, true
		}
	}
	for column, to := range map[string]**float64{"preemptions_total": &s.Preemptions, "prompt_tokens_total": &s.PromptTokens, "generation_tokens_total": &s.OutputTokens} {
		if one := find(column); one != nil && one.covered > 0 {
			grown := one.grown
			*to, told = &grown, true
		}
	}
	if one := find("requests_running"); one != nil {
		s.samples = one.count
	}
	if one := find("generation_tokens_total"); one != nil {
		s.allTokens = one.covered > (1-1e-6)*window
	}
	queries, hits := find("prefix_cache_queries_total"), find("prefix_cache_hits_total")
	if queries != nil && hits != nil && queries.grown > 0 {
		rate := hits.grown / queries.grown
		s.PrefixCacheHitRate = &rate
	}
	return s, told
}

// serves says whether a node's GPUs serve, as far as anybody knows.
func (in *Input) serves(node string) bool {
	return !in.Elsewhere && (len(in.ServerNodes) == 0 || slices.Contains(in.ServerNodes, node))
}

// energy adds up the GPUs of the server nodes: by their counters, and where a GPU has none, by its power.
func (a *accumulator) energy(t *tracks) *Energy {
	e := &Energy{}
	sources := map[string]bool{}
	window := float64(a.to-a.from) / second
	for _, power := range t.list {
		gpu, is := strings.CutSuffix(power.name, "_power_watts")
		if !is || !a.in.serves(power.node) {
			continue
		}
		used, covered, source := power.area, power.covered, "power"
		if counter := t.of(power.node, gpu+"_energy_joules_total"); counter != nil && counter.covered > 0 {
			used, covered, source = counter.grown, counter.covered, "counter"
		}
		if covered == 0 {
			continue
		}
		e.Joules += used
		e.GapSeconds = max(e.GapSeconds, window-covered)
		sources[source] = true
	}
	if len(sources) == 0 {
		return nil
	}
	e.Source = strings.Join(sortedKeys(sources), " and ")
	if out := total(a.windowOut); out > 0 {
		per := e.Joules / out
		e.PerOutputToken = &per
	}
	return e
}
