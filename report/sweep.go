package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Trial is one run of a sweep, as far as the sweep's results go.
type Trial struct {
	Run    string     `json:"run"`
	UID    string     `json:"uid"`
	Point  string     `json:"point"`
	Values api.Values `json:"values"`
	Repeat int        `json:"repeat"`
	// Control marks a run that shows drift.
	Control bool         `json:"control,omitempty"`
	Phase   api.RunPhase `json:"phase"`
	// Reason why it did not complete.
	Reason string `json:"reason,omitempty"`
	// ServerNodes are the nodes that servers run on, or the servers themselves where they are external; GPUs are those of all of them.
	ServerNodes int32 `json:"serverNodes"`
	GPUs        int32 `json:"gpus"`
	// Ended is when the run did.
	Ended   time.Time    `json:"ended,omitzero"`
	Summary *api.Summary `json:"summary"`
	// Own is what the run's report says beyond the summary; nil where it cannot be seen from here. Unread says why one that is there
	// could not be read.
	Own    *Own   `json:"-"`
	Unread string `json:"-"`
	// Released says that the run was let go by retention, and this is what its sweep remembers of it.
	Released bool `json:"-"`
}

// TrialOf takes from a run what is of interest to its sweep. It reads the run's report where that is within reach; a damaged one does
// not keep the other trials from being told of. A report that is among the known ones is not read again; nil reads it.
func TrialOf(run *api.BenchmarkRun, known Reports) (Trial, error) {
	t := Trial{
		Run: run.Name, UID: string(run.UID), Point: run.Labels[api.LabelPoint], Control: run.Labels[api.LabelControl] != "",
		Phase: run.Status.Phase, Summary: run.Status.Summary,
	}
	if text := run.Annotations[api.AnnotationParameters]; text != "" {
		if err := json.Unmarshal([]byte(text), &t.Values); err != nil {
			return t, fmt.Errorf("read the parameters of run %s (annotation %s): %w", run.Name, api.AnnotationParameters, err)
		}
	}
	t.Repeat, _ = strconv.Atoi(run.Labels[api.LabelRepeat]) // 0 for a run that no sweep made
	t.ServerNodes = nodesWithServers(&run.Spec)
	if len(run.Spec.Service.Endpoints) == 0 { // of external servers nobody knows
		t.GPUs = t.ServerNodes * run.Spec.Nodes.Servers.GPUs
	}
	if at := run.Status.CompletionTime; at != nil {
		t.Ended = at.Time
	}
	if o := run.Status.Outcome; o != nil && o.Result != api.ResultSucceeded {
		t.Reason = o.Reason
	}
	own, err := known.own(run)
	if t.Own = own; err != nil {
		t.Unread = err.Error()
	}
	return t, nil
}

// nodesWithServers counts them: those of the clients, else of the monitors, where servers have none of their own. Of
// external servers only their number is known.
func nodesWithServers(spec *api.BenchmarkRunSpec) int32 {
	if n := len(spec.Service.Endpoints); n > 0 {
		return int32(n)
	}
	for _, role := range []*api.RoleSpec{&spec.Nodes.Servers, &spec.Nodes.Clients, &spec.Nodes.Monitors} {
		if role.Count != nil && *role.Count > 0 {
			return *role.Count
		}
	}
	return 0
}

// Metrics of a trial, by the names of the report; seconds, tokens and shares. Those per GPU are per node with servers where nodes have
// no GPUs.
var sweepMetrics = []struct {
	Name, Unit string
	value      func(*Trial) float64
}{
	{"requestThroughput", "requests/s", func(t *Trial) float64 { return t.Summary.RequestThroughput }},
	{"outputTokenThroughput", "tokens/s", func(t *Trial) float64 { return t.Summary.OutputTokenThroughput }},
	{"tokensPerGPU", "tokens/s/GPU", func(t *Trial) float64 { return t.Summary.OutputTokenThroughput / float64(t.units()) }},
	{"tokensPerUser", "tokens/s/user", func(t *Trial) float64 { return 1 / t.Summary.TPOTP50 }},
	{"ttftP50", "s", func(t *Trial) float64 { return told(t.Summary.TTFTP50) }},
	{"ttftP99", "s", func(t *Trial) float64 { return told(t.Summary.TTFTP99) }},
	{"tpotP50", "s", func(t *Trial) float64 { return told(t.Summary.TPOTP50) }},
	{"e2eP50", "s", func(t *Trial) float64 { return told(t.Summary.E2EP50) }},
	{"e2eP99", "s", func(t *Trial) float64 { return told(t.Summary.E2EP99) }},
	{"errorRate", "", func(t *Trial) float64 { return t.Summary.ErrorRate }},
	{"goodputShare", "", func(t *Trial) float64 { return known(t.Summary.GoodputShare) }},
	{"kvCacheUsage", "", func(t *Trial) float64 { return known(t.Summary.KVCacheUsage) }},
	{"preemptions", "", func(t *Trial) float64 { return known(t.Summary.Preemptions) }},
	{"gpuUtilization", "%", func(t *Trial) float64 { return known(t.Summary.GPUUtilization) }},
	{"joulesPerOutputToken", "J/token", func(t *Trial) float64 { return known(t.Summary.JoulesPerOutputToken) }},
}

// known is a number that not every run has.
func known(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

// told is a latency; of a run with too few requests for one, none.
func told(seconds float64) float64 {
	if seconds == 0 {
		return math.NaN()
	}
	return seconds
}

// units are the GPUs of the servers, or their nodes where there are none.
func (t *Trial) units() int32 { return max(1, cmp.Or(t.GPUs, t.ServerNodes)) }

// Stat is a mean over repeats, with its 95 % interval by Student's t where there are several.
type Stat struct {
	Mean float64   `json:"mean"`
	CI95 *Interval `json:"ci95"`
	N    int       `json:"n"`
	// Own: there is one repeat, and the interval is that of its own report. It leaves out how repeats would differ.
	Own bool `json:"own,omitempty"`
}

// PointResult is what the repeats of a point came to.
type PointResult struct {
	Point  string     `json:"point"`
	Values api.Values `json:"values"`
	Runs   []string   `json:"runs"`
	// Measured, Failed, Cancelled and Open count its runs: with numbers, two ways to end without, not ended.
	Measured  int `json:"measured"`
	Failed    int `json:"failed"`
	Cancelled int `json:"cancelled"`
	Open      int `json:"open"`
	// Verdict is the worst of the repeats'; Reasons are all of theirs.
	Verdict string   `json:"verdict"`
	Reasons []string `json:"reasons,omitempty"`
	// Saturated: one of the repeats was.
	Saturated bool            `json:"saturated,omitempty"`
	Metrics   map[string]Stat `json:"metrics"`
	// Queue is how long requests waited in the server, as it tells itself, on average; seconds.
	Queue float64 `json:"queue,omitempty"`
}

// metric is the mean of a metric; NaN when it was not measured.
func (p *PointResult) metric(name string) float64 {
	if s, has := p.Metrics[name]; has {
		return s.Mean
	}
	return math.NaN()
}

// Axis is a parameter that varies.
type Axis struct {
	Path   string `json:"path"`
	Values []any  `json:"values"`
	// Numeric: all values are numbers.
	Numeric bool `json:"numeric"`
	// With are other numeric axes that grow with this one, value by value, as in a zip: what is seen along it may be due to them.
	With []string `json:"with,omitempty"`
	// field is the last part of the path, or the whole of it where another axis has the same last part.
	field string
}

// SweepResult is what a sweep found, so far.
type SweepResult struct {
	Sweep string `json:"sweep"`
	UID   string `json:"uid"`
	// Total, Measured, Failed, Cancelled and Open count trials; those that failed or were cancelled have no numbers.
	Total     int           `json:"total"`
	Measured  int           `json:"measured"`
	Failed    int           `json:"failed"`
	Cancelled int           `json:"cancelled"`
	Open      int           `json:"open"`
	Axes      []Axis        `json:"axes"`
	Points    []PointResult `json:"points"`
	// PerWhat is what tokensPerGPU is divided by: GPU, or node where servers have none, or endpoint where they are external.
	PerWhat string `json:"perWhat"`
	// Objective says in words which points count as good.
	Objective string      `json:"objective"`
	Best      []BestPoint `json:"best"`
	// Pareto holds the points, by index, that no other one beats in tokens per GPU and tokens per user at once.
	Pareto  []int     `json:"pareto"`
	Scaling []Scaling `json:"scaling"`
	// Limits that a search found.
	Limits []api.FoundLimit `json:"limits,omitempty"`
	Drift  *ControlDrift    `json:"drift,omitempty"`
	// Guidance is what follows from the numbers, each piece with what it rests on.
	Guidance []Piece `json:"guidance"`

	Trials []Trial `json:"-"`
}

// BestPoint is the best of the good points by one metric.
type BestPoint struct {
	Metric string `json:"metric"`
	Point  int    `json:"point"`
	Value  Stat   `json:"value"`
}

// Sweep brings the trials of a sweep together. The same trials give the same result, in whatever order they come.
func Sweep(s *api.BenchmarkSweep, trials []Trial) *SweepResult {
	r := &SweepResult{Sweep: s.Name, UID: string(s.UID), Limits: s.Status.Limits, PerWhat: "GPU", Best: []BestPoint{}, Trials: slices.Clone(trials)}
	slices.SortFunc(r.Trials, func(a, b Trial) int { return cmp.Or(cmp.Compare(a.Run, b.Run), cmp.Compare(a.UID, b.UID)) })
	anyGPU := false
	for i := range r.Trials {
		t := &r.Trials[i]
		anyGPU = anyGPU || t.GPUs > 0
		r.Total++
		switch {
		case !t.Phase.Terminal():
			r.Open++
		case t.Summary != nil:
			r.Measured++
		case t.Phase == api.RunCancelled:
			r.Cancelled++
		default:
			r.Failed++
		}
	}
	switch {
	case anyGPU:
	case len(s.Spec.Template.Spec.Service.Endpoints) > 0:
		r.PerWhat = "endpoint"
	default:
		r.PerWhat = "node"
	}
	r.Axes = axesOf(s, r.Trials)
	r.Points = pointsOf(r.Axes, r.Trials)
	if s.Spec.Strategy != api.StrategyRandom { // a few points may be drawn in the same order by chance
		tie(r.Axes, r.Points)
	}
	r.Drift = driftOf(r.Trials)
	r.best(s)
	r.Pareto = pareto(r.Points)
	r.Scaling = scalings(s, r.Axes, r.Points)
	r.Guidance = r.guide(s)
	return r
}

// axesOf are the parameters that vary among the trials, in the order of the sweep.
func axesOf(s *api.BenchmarkSweep, trials []Trial) []Axis {
	values := map[string]map[string]any{}
	for i := range trials {
		for path, v := range trials[i].Values {
			if values[path] == nil {
				values[path] = map[string]any{}
			}
			values[path][text(v)] = v
		}
	}
	var order []string
	for _, p := range s.Spec.Parameters {
		order = append(order, p.Path)
	}
	if l := s.Spec.Search; l != nil {
		order = append(order, l.Path)
	}
	for _, path := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(order, path) {
			order = append(order, path)
		}
	}
	axes := []Axis{}
	for _, path := range order {
		if len(values[path]) < 2 {
			continue
		}
		a := Axis{Path: path, Values: slices.SortedFunc(maps.Values(values[path]), compareValues), Numeric: true}
		for _, v := range a.Values {
			if _, is := v.(float64); !is {
				a.Numeric = false
			}
		}
		axes = append(axes, a)
	}
	for i := range axes {
		axes[i].field = shortName(axes[i].Path, order)
	}
	return axes
}

// text is a value as people write it.
func text(v any) string {
	if s, is := v.(string); is {
		return s
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}

// compareValues orders numbers by size, before everything else by its text.
func compareValues(a, b any) int {
	x, xn := a.(float64)
	y, yn := b.(float64)
	switch {
	case xn && yn:
		return cmp.Compare(x, y)
	case xn != yn:
		if xn {
			return -1
		}
		return 1
	}
	return cmp.Compare(text(a), text(b))
}

// pointsOf brings the repeats of each point together, in the order of the axes. The trials of a search are points of their own, each
// value being one.
func pointsOf(axes []Axis, trials []Trial) []PointResult {
	byKey := map[string][]*Trial{}
	for i := range trials {
		if t := &trials[i]; !t.Control {
			key := text(map[string]any(t.Values))
			byKey[key] = append(byKey[key], t)
		}
	}
	points := []PointResult{}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		points = append(points, pointOf(byKey[key]))
	}
	slices.SortStableFunc(points, func(a, b PointResult) int {
		for _, axis := range axes {
			if c := compareValues(a.Values[axis.Path], b.Values[axis.Path]); c != 0 {
				return c
			}
		}
		return 0
	})
	return points
}

var verdictRank = map[string]int{Valid: 1, Suspect: 2, Invalid: 3}

func pointOf(repeats []*Trial) PointResult {
	p := PointResult{Point: repeats[0].Point, Values: repeats[0].Values, Metrics: map[string]Stat{}}
	samples := map[string][]float64{}
	for _, t := range repeats {
		p.Runs = append(p.Runs, t.Run)
		switch {
		case !t.Phase.Terminal():
			p.Open++
			continue
		case t.Summary == nil && t.Phase == api.RunCancelled:
			p.Cancelled++
			continue
		case t.Summary == nil:
			p.Failed++
			continue
		}
		p.Measured++
		p.Saturated = p.Saturated || t.Summary.Saturated
		p.Queue = max(p.Queue, t.Summary.QueueMean)
		if verdictRank[t.Summary.Verdict] > verdictRank[p.Verdict] {
			p.Verdict = t.Summary.Verdict
		}
		for _, reason := range t.Summary.VerdictReasons {
			if !slices.Contains(p.Reasons, reason) {
				p.Reasons = append(p.Reasons, reason)
			}
		}
		for _, m := range sweepMetrics {
			if v := m.value(t); !math.IsNaN(v) && !math.IsInf(v, 0) {
				samples[m.Name] = append(samples[m.Name], v)
			}
		}
	}
	for name, values := range samples {
		p.Metrics[name] = statOf(values)
	}
	if p.Measured == 1 {
		p.ownIntervals(repeats)
	}
	return p
}

// ownIntervals gives the means of a point that was measured once the intervals of that run's own report.
func (p *PointResult) ownIntervals(repeats []*Trial) {
	i := slices.IndexFunc(repeats, func(t *Trial) bool { return t.Phase.Terminal() && t.Summary != nil })
	t := repeats[i]
	if t.Own == nil {
		return
	}
	for name, s := range p.Metrics {
		ci, has := t.Own.Intervals[name]
		if tokens, known := t.Own.Intervals["outputTokenThroughput"]; name == "tokensPerGPU" && known {
			n := float64(t.units())
			ci, has = Interval{tokens[0] / n, tokens[1] / n}, true
		}
		if has {
			s.CI95, s.Own = &ci, true
			p.Metrics[name] = s
		}
	}
}

// statOf is the mean of repeats. Its interval is mean ± t(0.975, n−1) · s/√n, which takes repeats for independent and normal.
func statOf(values []float64) Stat {
	n := float64(len(values))
	mean := 0.0
	for _, v := range values {
		mean += v / n
	}
	s := Stat{Mean: mean, N: len(values)}
	if n < 2 {
		return s
	}
	variance := 0.0
	for _, v := range values {
		variance += (v - mean) * (v - mean) / (n - 1)
	}
	half := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: n - 1}.Quantile(0.975) * math.Sqrt(variance/n)
	s.CI95 = &Interval{mean - half, mean + half}
	return s
}

// shortName is the last part of a path, or the whole of it where one of the others has the same last part.
func shortName(path string, others []string) string {
	name := lastField(path)
	if slices.ContainsFunc(others, func(o string) bool { return o != path && lastField(o) == name }) {
		return path
	}
	return name
}

func lastField(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '.' {
			return path[i+1:]
		}
	}
	return path
}
