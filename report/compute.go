package report

import (
	"fmt"
	"maps"

	"github.com/benchd/benchd/workload"
)

const second = 1e9

// Input is what a summary is computed from, beside the records.
type Input struct {
	Run, UID, Service, Model, Version string
	Attempt                           int32
	// Clients is how many client nodes the run had.
	Clients int
	// ClientsOnServers: client nodes that also ran servers.
	ClientsOnServers bool
	// Interrupted: the load did not come to its planned end, so rates over the whole window say nothing.
	Interrupted bool
	// Capped: the load had a concurrency cap, so the sent rate may lie below the offered one.
	Capped bool
}

// accumulator takes records one by one.
type accumulator struct {
	in       Input
	header   workload.Header
	headers  map[string]workload.Header
	trailers map[string]workload.Trailer
	nodes    map[string]*NodeSummary
	from, to int64

	sum       Summary
	flight    flight
	ttft, icl []float64
	itl       []float64
	tpot, e2e []float64
	norm, lag []float64
	capWait   []float64
	ttftI     []float64
	e2eI      []float64
	good      int64
	sent      int64
	completed int64
	whole     wholeRun
	windowOut float64
	windowIn  float64
	sources   map[string]bool
}

// Compute reads the records of an attempt and makes its summary. The population is those requests whose intended start
// lies in the measured window.
func Compute(dir string, in Input) (*Summary, error) {
	records, err := workload.OpenRecords(dir)
	if err != nil {
		return nil, fmt.Errorf("compute report: %w", err)
	}
	defer records.Close()
	a := &accumulator{
		in: in, headers: map[string]workload.Header{}, trailers: map[string]workload.Trailer{}, nodes: map[string]*NodeSummary{},
		sources: map[string]bool{},
	}
	a.sum.Errors = map[string]int64{}
	err = workload.ReadRecords(records, workload.Visitor{Header: a.addHeader, Record: a.addRecord, Trailer: a.addTrailer})
	if err != nil {
		return nil, fmt.Errorf("compute report: %w", err)
	}
	return a.finish(), nil
}

func (a *accumulator) addHeader(h workload.Header) error {
	a.header, a.headers[h.Node] = h, h
	a.nodes[h.Node] = &NodeSummary{ClockUncertainty: float64(h.ClockUncertainty) / second}
	a.from, a.to = h.Warmup, h.Warmup+h.Duration
	return nil
}

func (a *accumulator) addTrailer(t workload.Trailer) error {
	a.trailers[t.Node] = t
	if n := a.nodes[t.Node]; n != nil {
		n.Complete, n.CPUSeconds = true, t.CPUSeconds
	}
	return nil
}

func (a *accumulator) inWindow(at int64) bool { return at >= a.from && at < a.to }

func (a *accumulator) addRecord(r *workload.Record) error {
	node := a.nodes[r.Node]
	if node == nil {
		return fmt.Errorf("record %d is of node %q, which has no header", r.K, r.Node)
	}
	a.whole.add(r)
	if r.Class != workload.ClassDropped {
		a.flight.add(r.Sent, max(r.Sent, r.End))
	}
	a.addToWindow(r, node)
	if !a.inWindow(r.Intended) {
		return nil
	}
	for _, count := range []*Requests{&a.sum.Requests, &node.Requests} {
		countRequest(count, r.Class)
	}
	if r.Class != "" {
		a.sum.Errors[r.Class]++
	}
	if r.Class != workload.ClassDropped {
		a.sent++
		a.lag = append(a.lag, float64(r.Sent-r.Intended-r.CapWait)/second)
		a.capWait = append(a.capWait, float64(r.CapWait)/second)
	}
	if r.Class == "" {
		a.addSuccess(r)
	}
	return nil
}

func countRequest(c *Requests, class string) {
	c.Attempted++
	switch class {
	case "":
		c.Succeeded++
	case "cancelled":
		c.Cancelled++
	case workload.ClassDropped:
		c.Dropped++
	default:
		c.Failed++
	}
}

// addToWindow counts what arrived inside the window, whoever began it.
func (a *accumulator) addToWindow(r *workload.Record, node *NodeSummary) {
	if r.Class == "" && a.inWindow(finish(r)) {
		a.completed++
		node.RequestThroughput++
	}
	tokens := 0.0
	switch {
	case !r.Streamed:
		if r.Class == "" && a.inWindow(r.End) {
			tokens = float64(r.OutputTokens)
			a.windowIn += float64(r.PromptTokens)
		}
	default:
		// Chunks carry equal shares of the output: one token each, but for servers that coalesce.
		share := float64(r.OutputTokens) / float64(len(r.Gaps)+1)
		at := r.First
		if a.inWindow(at) {
			tokens += share
			a.windowIn += float64(r.PromptTokens)
		}
		for _, gap := range r.Gaps {
			if at += gap * 1000; a.inWindow(at) {
				tokens += share
			}
		}
	}
	a.windowOut += tokens
	node.OutputTokenThroughput += tokens
}

// finish is when the answer was complete for its reader.
func finish(r *workload.Record) int64 {
	if r.Streamed {
		return r.Last
	}
	return r.End
}

func (a *accumulator) addSuccess(r *workload.Record) {
	e2e := float64(finish(r)-r.Sent) / second
	a.e2e = append(a.e2e, e2e)
	a.e2eI = append(a.e2eI, float64(finish(r)-r.Intended)/second)
	a.sum.Tokens.Prompt += int64(r.PromptTokens)
	a.sum.Tokens.Output += int64(r.OutputTokens)
	a.sources[r.Source] = true
	if r.OutputTokens < r.Target {
		a.sum.Tokens.ShortOfTarget++
	}
	if r.OutputTokens > 0 {
		a.norm = append(a.norm, e2e/float64(r.OutputTokens))
	}
	if r.Streamed {
		a.ttft = append(a.ttft, float64(r.First-r.Sent)/second)
		a.ttftI = append(a.ttftI, float64(r.First-r.Intended)/second)
		perToken := len(r.Gaps)+1 == r.OutputTokens
		for _, gap := range r.Gaps {
			a.icl = append(a.icl, float64(gap)/1e6)
			if perToken {
				a.itl = append(a.itl, float64(gap)/1e6)
			}
		}
		if r.OutputTokens > 1 {
			a.tpot = append(a.tpot, float64(r.Last-r.First)/second/float64(r.OutputTokens-1))
		}
	}
	if a.meetsSLO(r) {
		a.good++
	}
}

// meetsSLO compares whole nanoseconds, so that what lies exactly on a limit meets it.
func (a *accumulator) meetsSLO(r *workload.Record) bool {
	h := &a.header
	switch {
	case h.TTFT > 0 && (!r.Streamed || r.First-r.Sent > h.TTFT):
		return false
	case h.TPOT > 0 && r.Target > 1 && (!r.Streamed || r.OutputTokens <= 1 || r.Last-r.First > h.TPOT*int64(r.OutputTokens-1)):
		return false
	case h.E2E > 0 && finish(r)-r.Sent > h.E2E:
		return false
	}
	return true
}

func (a *accumulator) finish() *Summary {
	s := &a.sum
	s.Run, s.UID, s.Attempt, s.Service, s.Model, s.BenchdVers = a.in.Run, a.in.UID, a.in.Attempt, a.in.Service, a.in.Model, a.in.Version
	seconds := float64(a.to-a.from) / second
	s.MeasuredSeconds = seconds
	if seconds > 0 {
		s.RequestThroughput = float64(a.completed) / seconds
		s.OutputTokenThroughput = a.windowOut / seconds
		s.TotalTokenThroughput = (a.windowOut + a.windowIn) / seconds
		s.AchievedRate = float64(a.sent) / seconds
	}
	if n := s.Requests.Attempted; n > 0 {
		s.ErrorRate = float64(n-s.Requests.Succeeded) / float64(n)
		if h := a.header; h.TTFT > 0 || h.TPOT > 0 || h.E2E > 0 {
			s.Goodput = &Goodput{Rate: float64(a.good) / seconds, Fraction: float64(a.good) / float64(n)}
		}
	}
	if rate := a.header.OfferedRate; rate > 0 {
		s.OfferedRate = &rate
	}
	s.Concurrency = a.flight.within(a.from, a.to)
	delete(a.sources, "")
	for source := range a.sources {
		s.Tokens.Source = source
	}
	if len(a.sources) > 1 {
		s.Tokens.Source = "mixed"
	}
	s.TTFT, s.ITL, s.ICL, s.TPOT, s.E2E = describe(a.ttft), describe(a.itl), describe(a.icl), describe(a.tpot), describe(a.e2e)
	s.NormalizedLatency, s.ScheduleLag, s.CapWait = describe(a.norm), describe(a.lag), describe(a.capWait)
	s.TTFTFromIntent, s.E2EFromIntent = describe(a.ttftI), describe(a.e2eI)
	s.PerNode = map[string]NodeSummary{}
	for name, n := range a.nodes {
		if seconds > 0 {
			n.RequestThroughput /= seconds
			n.OutputTokenThroughput /= seconds
		}
		s.PerNode[name] = *n
	}
	s.WholeRun = a.whole.summary()
	s.Definitions = maps.Clone(definitions)
	s.Verdict = a.judge()
	return s
}
