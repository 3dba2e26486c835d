package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
)

const (
	// goodShare of a point's requests have to meet every SLO for it to count as good; without an SLO, so many have to succeed.
	goodShare = 0.99
	// flat is the share of a proportional gain below which more load is said to bring nothing.
	flat = 0.10
	// dear is by how much latency grows meanwhile for that to be worth saying.
	dear = 0.20
	// poorEfficiency is where more of something is said not to scale.
	poorEfficiency = 0.70
)

// Scaling is how throughput grows with the number of something that serves, all else being equal.
type Scaling struct {
	// Path of what grows, With what grows together with it, Others the values of the other axes.
	Path   string     `json:"path"`
	With   []string   `json:"with,omitempty"`
	Others api.Values `json:"others,omitempty"`
	// Kind is strong where the offered load stays the same, weak where it grows along.
	Kind string `json:"kind"`
	// Load is the axis that grows along in weak scaling, LoadPerCount how much of it comes with each; empty where nodes bring their load.
	Load         string        `json:"load,omitempty"`
	LoadPerCount float64       `json:"loadPerCount,omitempty"`
	Steps        []ScalingStep `json:"steps"`
}

// name says what grows, and with what.
func (s *Scaling) name() string {
	if len(s.With) == 0 {
		return s.Path
	}
	return s.Path + " with " + strings.Join(s.With, ", ")
}

// at says where the other axes stand, and how much load comes with each count.
func (s *Scaling) at() string {
	if s.Load == "" {
		return valuesText(s.Others)
	}
	load := fmt.Sprintf("%s=%s for each", s.Load[strings.LastIndexByte(s.Load, '.')+1:], Digits(s.LoadPerCount, 4))
	if len(s.Others) == 0 {
		return load
	}
	return load + ", " + valuesText(s.Others)
}

// ScalingStep is one count, against the smallest.
type ScalingStep struct {
	Count float64 `json:"count"`
	Point int     `json:"point"`
	// Throughput in output tokens per second; Speedup is its ratio to the first step's, Efficiency that per count.
	Throughput float64 `json:"throughput"`
	Speedup    float64 `json:"speedup"`
	Efficiency float64 `json:"efficiency"`
}

// Piece is one thing that follows from the numbers.
type Piece struct {
	// Kind is a stable word.
	Kind string `json:"kind"`
	Text string `json:"text"`
	// Evidence names runs and what was measured in them.
	Evidence []string `json:"evidence"`
}

// best picks, of the points that do what is asked, those with the highest throughput.
func (r *SweepResult) best(s *api.BenchmarkSweep) {
	share := goodShare
	if s.Spec.Search != nil && s.Spec.Search.Goodput > 0 {
		share = s.Spec.Search.Goodput
	}
	withSLO := s.Spec.Template.Spec.Workload.SLO != (api.SLOSpec{})
	for i := range r.Points { // the SLO may be a parameter
		_, told := r.Points[i].Metrics["goodputShare"]
		withSLO = withSLO || told
	}
	r.Objective = fmt.Sprintf("not Invalid, at most %.3g %% of the requests failed", 100*(1-goodShare))
	if withSLO {
		r.Objective = fmt.Sprintf("not Invalid, at least %.3g %% of the requests met the SLO", 100*share)
	}
	for _, name := range []string{"outputTokenThroughput", "tokensPerGPU", "requestThroughput"} {
		at := -1
		for i := range r.Points {
			p := &r.Points[i]
			good := p.Measured > 0 && p.Verdict != Invalid
			if withSLO { // failed requests meet no SLO
				good = good && p.metric("goodputShare") >= share
			} else {
				good = good && !(p.metric("errorRate") > 1-goodShare)
			}
			if v := p.metric(name); good && !math.IsNaN(v) && (at < 0 || v > r.Points[at].metric(name)) {
				at = i
			}
		}
		if at >= 0 {
			r.Best = append(r.Best, BestPoint{Metric: name, Point: at, Value: r.Points[at].Metrics[name]})
		}
	}
}

// pareto are the points that no other one beats in tokens per GPU and tokens per user at once, from the fastest for one user on. From
// there the front is where tokens per GPU reach a new height; equal points are on it together.
func pareto(points []PointResult) []int {
	type at struct {
		point     int
		gpu, user float64
	}
	var all []at
	for i := range points {
		p := at{i, points[i].metric("tokensPerGPU"), points[i].metric("tokensPerUser")}
		if !math.IsNaN(p.gpu) && !math.IsNaN(p.user) && points[i].Verdict != Invalid {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b at) int {
		return cmp.Or(cmp.Compare(b.user, a.user), cmp.Compare(b.gpu, a.gpu))
	})
	front := []int{}
	last := at{gpu: math.Inf(-1)}
	for _, p := range all {
		if p.gpu > last.gpu || p.gpu == last.gpu && p.user == last.user {
			front, last = append(front, p.point), p
		}
	}
	return front
}

// counts are the fields whose number is of things that serve.
var counts = []string{serverNodes, "nodes.servers.gpus", "service.replicas", "service.nodesPerReplica", "service.config.tensorParallelSize", "service.config.pipelineParallelSize", "service.config.dataParallelSize", clientNodes}

const (
	// clientNodes make load. Their number tells of the client and not of what serves.
	clientNodes = "nodes.clients.count"
	serverNodes = "nodes.servers.count"
	// loadBound ends a load and changes nothing about how much is asked for at a time.
	loadBound = "workload.load.requests"
)

// loadsOf are the fields that say how much is asked for at a time. The nodes of clients do in a closed loop, where each brings its
// clients; otherwise they share a rate.
func loadsOf(s *api.BenchmarkSweep) []string {
	loads := []string{"workload.load.rate", "workload.load.clientsPerNode"}
	if closed(s) {
		loads = append(loads, clientNodes)
	}
	return loads
}

// along is the points along one axis, all else being equal; by index, in the order of the axis.
type along struct {
	others api.Values
	points []int
}

// lines cuts the points along an axis. The values of the axes in free may differ along a line.
func lines(axis *Axis, free []string, axes []Axis, points []PointResult) []along {
	var all []along
	index := map[string]int{}
	for i := range points {
		if _, is := points[i].Values[axis.Path].(float64); !is || points[i].Measured == 0 {
			continue
		}
		others := api.Values{}
		for _, a := range axes {
			if v, has := points[i].Values[a.Path]; has && a.Path != axis.Path && !slices.Contains(free, a.Path) {
				others[a.Path] = v
			}
		}
		key := text(map[string]any(others))
		at, known := index[key]
		if !known {
			at = len(all)
			index[key] = at
			all = append(all, along{others: others})
		}
		all[at].points = append(all[at].points, i)
	}
	for _, l := range all {
		slices.SortStableFunc(l.points, func(a, b int) int {
			return compareValues(points[a].Values[axis.Path], points[b].Values[axis.Path])
		})
	}
	return all
}

// tie finds which numeric axes grow together, value by value.
func tie(axes []Axis, points []PointResult) {
	for i := range axes {
		axes[i].With = nil
		for j := range axes {
			if i != j && axes[i].Numeric && axes[j].Numeric && len(axes[i].Values) == len(axes[j].Values) && growTogether(&axes[i], &axes[j], points) {
				axes[i].With = append(axes[i].With, axes[j].Path)
			}
		}
	}
}

// growTogether says whether the nth value of one axis always comes with the nth of the other.
func growTogether(a, b *Axis, points []PointResult) bool {
	first, second := a.places(), b.places()
	for i := range points {
		if first(&points[i]) != second(&points[i]) {
			return false
		}
	}
	return len(points) > 1
}

// places gives which of the axis's values a point has; -1 when it has none.
func (a *Axis) places() func(*PointResult) int {
	index := make(map[string]int, len(a.Values))
	for i, v := range a.Values {
		index[text(v)] = i
	}
	return func(p *PointResult) int {
		if v, has := p.Values[a.Path]; has {
			if i, known := index[text(v)]; known {
				return i
			}
		}
		return -1
	}
}

// scalings are told once for counts that grow together. Load that grows along makes it weak scaling, or none.
func scalings(s *api.BenchmarkSweep, axes []Axis, points []PointResult) []Scaling {
	all := []Scaling{}
	var told []string
	loads := loadsOf(s)
	loaded := func(path string) bool { return slices.Contains(loads, path) }
	for i := range axes {
		axis := &axes[i]
		if !slices.Contains(counts, axis.Path) || !axis.Numeric || slices.ContainsFunc(axis.With, func(w string) bool { return slices.Contains(told, w) }) {
			continue
		}
		if slices.ContainsFunc(axis.With, func(w string) bool { return !slices.Contains(counts, w) && !loaded(w) && w != loadBound }) {
			continue // longer prompts along with more servers: which of them did it?
		}
		if axis.Path != clientNodes { // servers beside them are told of
			told = append(told, axis.Path)
		}
		kind := "strong"
		if bringsClients(s, axis) {
			kind = "weak" // each node brings its clients along
		}
		if !slices.ContainsFunc(axis.With, loaded) {
			for _, l := range lines(axis, axis.With, axes, points) {
				all = climb(all, Scaling{Kind: kind}, axis, l, points)
			}
		}
		for _, load := range axes {
			if loaded(load.Path) && load.Path != axis.Path && kind != "weak" {
				all = weakScalings(all, axis, load.Path, axes, points)
			}
		}
	}
	return all
}

// weakScalings adds a line for each load per count.
func weakScalings(all []Scaling, axis *Axis, load string, axes []Axis, points []PointResult) []Scaling {
	for _, l := range lines(axis, append([]string{load}, axis.With...), axes, points) {
		for _, p := range proportional(axis, load, l.points, points) {
			all = climb(all, Scaling{Kind: "weak", Load: load, LoadPerCount: p.perCount}, axis, along{points: p.points, others: l.others}, points)
		}
	}
	return all
}

// bringsClients says whether clients in a closed loop grow with a count: with that of their own nodes, or with that of the servers' nodes
// where they sit on them.
func bringsClients(s *api.BenchmarkSweep, axis *Axis) bool {
	if !closed(s) {
		return false
	}
	own := s.Spec.Template.Spec.Nodes.Clients.Count
	return axis.Path == clientNodes || own != nil && *own == 0 && (axis.Path == serverNodes || slices.Contains(axis.With, serverNodes))
}

// closed says whether the load of a sweep's runs is so many clients, rather than a rate.
func closed(s *api.BenchmarkSweep) bool {
	pattern := s.Spec.Template.Spec.Workload.Load.Pattern
	return pattern == "" || pattern == api.PatternClosed
}

// proportion are points whose load per count is the same.
type proportion struct {
	perCount float64
	points   []int
}

// proportional groups points along an axis by their load per count, the smallest first.
func proportional(axis *Axis, load string, at []int, points []PointResult) []proportion {
	var groups []proportion
	for _, i := range at {
		n, _ := points[i].Values[axis.Path].(float64)
		l, _ := points[i].Values[load].(float64)
		if n <= 0 || l <= 0 {
			continue
		}
		same := func(p proportion) bool { return math.Abs(l/n-p.perCount) <= 1e-9*p.perCount }
		if g := slices.IndexFunc(groups, same); g >= 0 {
			groups[g].points = append(groups[g].points, i)
		} else {
			groups = append(groups, proportion{l / n, []int{i}})
		}
	}
	slices.SortFunc(groups, func(a, b proportion) int { return cmp.Compare(a.perCount, b.perCount) })
	return groups
}

// climb adds a scaling with its steps, from points along an axis, where there are at least two.
func climb(all []Scaling, s Scaling, axis *Axis, l along, points []PointResult) []Scaling {
	s.Path, s.With, s.Others = axis.Path, axis.With, l.others
	for _, i := range l.points {
		n, _ := points[i].Values[s.Path].(float64)
		v := points[i].metric("outputTokenThroughput")
		if n <= 0 || !(v > 0) {
			continue
		}
		step := ScalingStep{Count: n, Point: i, Throughput: v, Speedup: 1, Efficiency: 1}
		if len(s.Steps) > 0 {
			first := s.Steps[0]
			step.Speedup = v / first.Throughput
			step.Efficiency = step.Speedup / (n / first.Count)
		}
		s.Steps = append(s.Steps, step)
	}
	if len(s.Steps) < 2 {
		return all
	}
	return append(all, s)
}

// guide says what follows from the numbers.
func (r *SweepResult) guide(s *api.BenchmarkSweep) []Piece {
	var pieces []Piece
	loads := loadsOf(s)
	for i := range r.Axes {
		if axis := &r.Axes[i]; axis.Numeric && slices.Contains(loads, axis.Path) {
			for _, l := range lines(axis, axis.With, r.Axes, r.Points) {
				pieces = append(pieces, r.alongLoad(axis, l, loads)...)
			}
		}
	}
	for _, s := range r.Scaling {
		if last := s.Steps[len(s.Steps)-1]; last.Efficiency < poorEfficiency && s.Path != clientNodes {
			pieces = append(pieces, Piece{
				Kind:     "ScalesPoorly",
				Text:     fmt.Sprintf("%s from %v to %v brings %.2f times the throughput, %.0f %% of what would be even%s: the load may be too small for it, or it waits for the network", s.name(), s.Steps[0].Count, last.Count, last.Speedup, 100*last.Efficiency, place(s.at())),
				Evidence: []string{r.evidence(s.Steps[0].Point, "outputTokenThroughput"), r.evidence(last.Point, "outputTokenThroughput")},
			})
		}
	}
	pieces = append(pieces, r.byReason("ClientLimited", "the client was the bottleneck of these points: give it more nodes (nodes.clients.count) or CPUs, and repeat them", "load engine on", "the client on", "the client lagged")...)
	pieces = append(pieces, r.warmups()...)
	pieces = append(pieces, r.byReason("Unsteady", "the measured window of these points was not one state: a longer workload.warmup or workload.duration would tell more", "unsteady:")...)
	pieces = append(pieces, r.unread()...)
	if d := r.Drift; d != nil && math.Abs(d.Throughput) > 0.05 {
		pieces = append(pieces, Piece{
			Kind: "Drift", Text: fmt.Sprintf("the control run changed by %+.1f %% in throughput from first to last: the machine was not the same throughout, so compare neighbours in time alone", 100*d.Throughput),
			Evidence: []string{fmt.Sprintf("%s to %s: TTFT p50 %s", d.Runs[0], d.Runs[len(d.Runs)-1], d.ttft())},
		})
	}
	return fewOfAKind(pieces)
}

// mostOfAKind is how many pieces say the same of different places. Points that were drawn have a place each.
const mostOfAKind = 5

// fewOfAKind keeps the first pieces of each kind, and one that says at how many more places the same was found.
func fewOfAKind(pieces []Piece) []Piece {
	few, seen, more := []Piece{}, map[string]int{}, map[string][]string{}
	for _, p := range pieces {
		if seen[p.Kind]++; seen[p.Kind] <= mostOfAKind {
			few = append(few, p)
		} else if len(more[p.Kind]) < mostOfAKind {
			more[p.Kind] = append(more[p.Kind], p.Evidence...)
		}
	}
	for _, kind := range sortedKeys(more) {
		few = append(few, Piece{Kind: kind, Text: fmt.Sprintf("the same (%s) was found at %d more places", kind, seen[kind]-mostOfAKind), Evidence: more[kind]})
	}
	return few
}

// byReason gathers the points whose verdict has a reason that holds one of the phrases.
func (r *SweepResult) byReason(kind, text string, phrases ...string) []Piece {
	var evidence []string
	for i := range r.Points {
		for _, reason := range r.Points[i].Reasons {
			if slices.ContainsFunc(phrases, func(p string) bool { return strings.Contains(reason, p) }) {
				evidence = append(evidence, fmt.Sprintf("%s: %s", strings.Join(r.Points[i].Runs, ", "), reason))
				break
			}
		}
	}
	return pieceOf(kind, text, "points", evidence)
}

// pieceOf is a piece with the first of its evidence; without any there is none.
func pieceOf(kind, text, what string, evidence []string) []Piece {
	if len(evidence) == 0 {
		return nil
	}
	const shown = 10
	if more := len(evidence) - shown; more > 0 {
		evidence = append(evidence[:shown], fmt.Sprintf("and %d more %s", more, what))
	}
	return []Piece{{Kind: kind, Text: text, Evidence: evidence}}
}

// warmups names the runs whose measured window began before things had settled.
func (r *SweepResult) warmups() []Piece {
	var evidence []string
	for i := range r.Trials {
		if t := &r.Trials[i]; t.Own != nil && t.Own.Opening != 0 {
			evidence = append(evidence, fmt.Sprintf("%s: output of the first %g s %+.0f %% against the rest", t.Run, t.Own.OpeningSeconds, 100*t.Own.Opening))
		}
	}
	return pieceOf("WarmupTooShort", "the measured window of these runs began before output had settled, and was steady from then on: a longer workload.warmup would leave that out", "runs", evidence)
}

// unread names the runs whose reports are damaged: their intervals are missing.
func (r *SweepResult) unread() []Piece {
	var evidence []string
	for i := range r.Trials {
		if t := &r.Trials[i]; t.Unread != "" {
			evidence = append(evidence, t.Run+": "+t.Unread)
		}
	}
	return pieceOf("ReportUnread", "the reports of these runs could not be read, so that their own intervals are missing: `benchd report RUN --again DIR` makes them again from the records", "runs", evidence)
}

// evidence names the runs of a point and what was measured.
func (r *SweepResult) evidence(point int, metrics ...string) string {
	p := &r.Points[point]
	out := strings.Join(p.Runs, ", ") + ":"
	for _, m := range metrics {
		out += " " + m + " " + Digits(p.metric(m), 4)
	}
	return out
}

// Where says at which values of the other axes something holds.
func Where(others api.Values) string {
	return place(valuesText(others))
}

func place(text string) string {
	if text == "" {
		return ""
	}
	return " (at " + text + ")"
}

func valuesText(values api.Values) string {
	var parts []string
	paths := sortedKeys(values)
	for _, path := range paths {
		parts = append(parts, shortName(path, paths)+"="+text(values[path]))
	}
	return strings.Join(parts, ", ")
}
