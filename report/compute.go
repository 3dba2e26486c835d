package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/workload"
)

const second = 1e9

// longest bounds what a record may tell of times: a load takes a week and a day at most.
const longest = int64(8 * 24 * 3600 * second)

// Input is what a summary is computed from, beside the records.
type Input struct {
	Run     string `json:"run"`
	UID     string `json:"uid"`
	Service string `json:"service"`
	Model   string `json:"model"`
	Version string `json:"version"`
	Attempt int32  `json:"attempt"`
	// Clients is how many client nodes the run had.
	Clients int `json:"clients"`
	// ClientsOnServers: client nodes that also ran servers.
	ClientsOnServers bool `json:"clientsOnServers,omitempty"`
	// Interrupted: the load did not come to its planned end, so rates over the whole window say nothing.
	Interrupted bool `json:"interrupted,omitempty"`
	// ClockUncertainty of each client node in seconds, by measurements before and after the load; the header has the first.
	ClockUncertainty map[string]float64 `json:"clockUncertainty,omitempty"`
	// Samples is the file of the nodes' samples in the attempt's metrics folder, SampleSeconds the time between two of them, and Start
	// the load's beginning on the nodes' wall clocks; none without samples.
	Samples       string    `json:"samples,omitempty"`
	SampleSeconds float64   `json:"sampleSeconds,omitempty"`
	Start         time.Time `json:"start,omitzero"`
	// ServerNodes are the nodes that servers ran on; none where nobody knows. Elsewhere: on none of the nodes that were sampled.
	ServerNodes []string `json:"serverNodes,omitempty"`
	Elsewhere   bool     `json:"elsewhere,omitempty"`
	// Limits of the verdict.
	Limits api.VerdictSpec `json:"limits"`
	// Sweep that the run is a trial of, and the values of its parameters there.
	Sweep      string     `json:"sweep,omitempty"`
	Parameters api.Values `json:"parameters,omitempty"`
}

// accumulator takes records one by one.
type accumulator struct {
	in       Input
	header   workload.Header
	headers  map[string]workload.Header
	trailers map[string]workload.Trailer
	nodes    map[string]*part
	servers  map[string]*part
	from, to int64
	blocks   int
	drawn    *bootstrap
	samples  map[string]samples // sorted, by the names of distributions

	sum            Summary
	flight         flight
	waiting        flight // for the cap
	series         series
	ttft, tpot     samples
	ttfat          samples
	e2e, norm      samples
	lag, capWait   samples
	ttftI, e2eI    samples
	prompt, output samples
	connect        samples
	own            ownTimes
	icl, itl       pooled
	good           int64
	met            struct{ ttft, tpot, e2e int64 }
	sent           int64
	completed      []float64 // by block
	windowOut      []float64
	windowIn       float64
	sides          bothSides
	chunks, shared int64
	whole          wholeRun
	sources        map[string]bool
	examples       map[string][]string // of messages, by class of error
}

// part is what one node or one server had of the load.
type part struct {
	requests          Requests
	completed, tokens float64
	ttft, e2e         samples
}

// ownTimes are a server's own timers of requests.
type ownTimes struct{ queue, load, prefill, decode samples }

// Compute reads the records of an attempt and makes its summary. The population is those requests whose intended start
// lies in the measured window. The same records and input give the same summary, to the bit.
func Compute(dir string, in Input) (*Summary, error) {
	a, err := accumulate(dir, in)
	if err != nil {
		return nil, err
	}
	return &a.sum, nil
}

// accumulate reads the records and keeps the samples, for whoever compares them with others.
func accumulate(dir string, in Input) (*accumulator, error) {
	a := &accumulator{
		in: in, headers: map[string]workload.Header{}, trailers: map[string]workload.Trailer{}, nodes: map[string]*part{},
		servers: map[string]*part{}, sources: map[string]bool{}, examples: map[string][]string{},
	}
	a.sum.Errors = map[string]int64{}
	// The window's end and its blocks are known only when all is read: once for them, once for the numbers.
	attempted := int64(0)
	err := a.read(dir, workload.Visitor{Header: a.addHeader, Trailer: a.addTrailer, Record: func(r *workload.Record) error {
		if r.Intended >= a.header.Warmup && r.Class == "" {
			attempted++
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	a.setWindow(attempted)
	nothing := workload.Visitor{Header: func(workload.Header) error { return nil }, Trailer: func(workload.Trailer) error { return nil }, Record: a.addRecord}
	if err := a.read(dir, nothing); err != nil {
		return nil, err
	}
	return a, a.finish(dir)
}

func (a *accumulator) read(dir string, v workload.Visitor) error {
	records, err := workload.OpenRecords(dir)
	if err != nil {
		return fmt.Errorf("compute report: %w", err)
	}
	defer records.Close()
	if err := workload.ReadRecords(records, v); err != nil {
		return fmt.Errorf("compute report: %w", err)
	}
	return nil
}

func (a *accumulator) addHeader(h workload.Header) error {
	if h.Warmup < 0 || h.Duration <= 0 || h.Warmup > longest || h.Duration > longest {
		return fmt.Errorf("the header of node %q tells a warm-up of %d ns and a window of %d ns: the records are damaged", h.Node, h.Warmup, h.Duration)
	}
	a.header, a.headers[h.Node] = h, h
	a.nodes[h.Node] = &part{}
	return nil
}

func (a *accumulator) addTrailer(t workload.Trailer) error {
	a.trailers[t.Node] = t
	return nil
}

// boundsByWeight: where nodes were bound by different things, the report tells the gravest.
var boundsByWeight = []string{"", workload.BoundRequests, workload.BoundTrace, workload.BoundStopped, workload.BoundErrorBudget}

// setWindow finds the measured window. Where the number of requests or a trace's end stopped sending, it ends with the
// last request sent.
func (a *accumulator) setWindow(requests int64) {
	a.from, a.to = a.header.Warmup, a.header.Warmup+a.header.Duration
	last, bound := int64(0), len(a.trailers) > 0
	for _, node := range sortedKeys(a.trailers) {
		t := a.trailers[node]
		last = max(last, t.SendEnded)
		if slices.Index(boundsByWeight, t.Bound) > slices.Index(boundsByWeight, a.sum.Bound) {
			a.sum.Bound = t.Bound
		}
		bound = bound && t.Bound != "" && t.Bound != workload.BoundStopped
	}
	if bound && len(a.trailers) == len(a.headers) && last >= a.from {
		a.to = min(a.to, last+1)
	}
	a.blocks = blocksFor(requests)
	a.completed, a.windowOut = make([]float64, maxBlocks), make([]float64, maxBlocks)
}

func (a *accumulator) inWindow(at int64) bool { return at >= a.from && at < a.to }

// block of a time inside the window.
func (a *accumulator) block(at int64) uint8 {
	if a.blocks == 0 {
		return 0
	}
	return uint8(min(float64(a.blocks-1), float64(at-a.from)/float64(a.to-a.from)*float64(a.blocks)))
}

func (a *accumulator) addRecord(r *workload.Record) error {
	node := a.nodes[r.Node]
	if node == nil {
		return fmt.Errorf("record %d is of node %q, which has no header", r.K, r.Node)
	}
	for _, at := range []int64{r.Intended, r.Sent, r.First, r.Last, r.End} {
		if at < -longest || at > 2*longest {
			return fmt.Errorf("record %d of node %q has a time of %d ns after the beginning: the records are damaged", r.K, r.Node, at)
		}
	}
	parts := []*part{node}
	if r.Server != "" {
		if a.servers[r.Server] == nil {
			a.servers[r.Server] = &part{}
		}
		parts = append(parts, a.servers[r.Server])
	}
	a.whole.add(r)
	if r.Class != workload.ClassDropped {
		a.flight.add(r.Sent, max(r.Sent, r.End))
	}
	if r.CapWait > 0 {
		a.waiting.add(r.Intended, r.Intended+r.CapWait)
	}
	a.addOverTime(r)
	a.addToWindow(r, parts)
	if !a.inWindow(r.Intended) {
		return nil
	}
	countRequest(&a.sum.Requests, r.Class)
	for _, p := range parts {
		countRequest(&p.requests, r.Class)
	}
	if r.Class != "" {
		a.sum.Errors[r.Class]++
		a.addExample(r)
	}
	if block := a.block(r.Intended); r.Class != workload.ClassDropped {
		a.sent++
		a.lag.add(float64(r.Sent-r.Intended-r.CapWait)/second, block)
		a.capWait.add(float64(r.CapWait)/second, block)
		if r.Connected > 0 {
			a.connect.add(float64(max(0, r.Connected-r.Sent))/second, block)
		}
	}
	a.sum.Client.Redials += int64(r.Redials)
	a.sum.Client.Retries += int64(r.Retries)
	if r.Class == "" {
		a.addSuccess(r, parts)
	}
	return nil
}

// errorExamples bounds how many messages are kept of one class of error, exampleLength how long each may be.
const errorExamples, exampleLength = 3, 300

func (a *accumulator) addExample(r *workload.Record) {
	seen, text := a.examples[r.Class], r.Message
	if r.Status != 0 {
		text = strings.TrimSpace(fmt.Sprintf("HTTP %d %s", r.Status, text))
	}
	if short := []rune(text); len(short) > exampleLength {
		text = string(short[:exampleLength]) + "…"
	}
	if text != "" && len(seen) < errorExamples && !slices.Contains(seen, text) {
		a.examples[r.Class] = append(seen, text)
	}
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

// addOverTime puts a request into the series, whenever it came.
func (a *accumulator) addOverTime(r *workload.Record) {
	s := &a.series
	switch {
	case r.Class == workload.ClassDropped:
		*grow(&s.failures, slot(r.Intended))++
		return
	case r.Class != "":
		*grow(&s.failures, slot(r.End))++
	default:
		*grow(&s.completions, slot(r.Finish()))++
		at := grow(&s.e2e, slot(r.Finish()))
		*at = append(*at, float64(r.Finish()-r.Sent)/second)
	}
	if !r.Streamed {
		return
	}
	if at := grow(&s.ttft, slot(r.First)); r.Class == "" {
		*at = append(*at, float64(r.First-r.Sent)/second)
	}
	eachGap(r, func(at int64, gap float64, _ float64) {
		*grow(&s.gapSum, slot(at)) += gap
		*grow(&s.gapCount, slot(at))++
	})
}

// tokensOf is how many tokens the chunks of a streamed answer held: the first and the further ones. Where the server did
// not say, each chunk has an equal share of them.
func tokensOf(r *workload.Record) (first float64, further func(i int) float64) {
	if len(r.ChunkTokens) == len(r.Gaps)+1 {
		return float64(r.ChunkTokens[0]), func(i int) float64 { return float64(r.ChunkTokens[i+1]) }
	}
	equal := float64(r.OutputTokens) / float64(len(r.Gaps)+1)
	return equal, func(int) float64 { return equal }
}

// eachGap calls do with the end of each gap, its length in seconds, and the tokens of the chunk that ended it.
func eachGap(r *workload.Record, do func(at int64, gap, tokens float64)) {
	_, further := tokensOf(r)
	at := r.First
	for i, gap := range r.Gaps {
		at += int64(gap) * 1000
		do(at, float64(gap)/1e6, further(i))
	}
}

// addToWindow counts what arrived inside the window, whoever began it.
func (a *accumulator) addToWindow(r *workload.Record, parts []*part) {
	if r.Class == "" && a.inWindow(r.Finish()) {
		a.completed[a.block(r.Finish())]++
		for _, p := range parts {
			p.completed++
		}
	}
	if r.Class == "" {
		a.addEnded(r)
	}
	arrive := func(at int64, tokens float64) {
		*grow(&a.series.tokens, slot(at)) += tokens
		a.addToBounds(&a.sides.arrived, at, tokens)
		if !a.inWindow(at) {
			return
		}
		a.windowOut[a.block(at)] += tokens
		for _, p := range parts {
			p.tokens += tokens
		}
	}
	if !r.Streamed {
		if r.Class == "" {
			arrive(r.End, float64(r.OutputTokens))
			if a.inWindow(r.End) {
				a.windowIn += float64(r.PromptTokens)
			}
		}
		return
	}
	first, _ := tokensOf(r)
	arrive(r.First, first)
	if a.inWindow(r.First) {
		a.windowIn += float64(r.PromptTokens)
	}
	eachGap(r, func(at int64, _, tokens float64) { arrive(at, tokens) })
}

func (a *accumulator) addSuccess(r *workload.Record, parts []*part) {
	block := a.block(r.Intended)
	e2e := float64(r.Finish()-r.Sent) / second
	a.e2e.add(e2e, block)
	a.e2eI.add(float64(r.Finish()-r.Intended)/second, block)
	for _, p := range parts {
		p.e2e.add(e2e, block)
	}
	t := &a.sum.Tokens
	t.Prompt += int64(r.PromptTokens)
	t.Output += int64(r.OutputTokens)
	t.Cached += int64(r.Cached)
	a.sources[r.Source] = true
	if r.Source == workload.CountedByServer && r.OutputTokens < r.Target { // chunks may hold more than a token each
		t.ShortOfTarget++
	}
	if r.PromptTokens > 0 {
		a.prompt.add(float64(r.PromptTokens), block)
	}
	if r.OutputTokens > 0 {
		a.output.add(float64(r.OutputTokens), block)
		a.norm.add(e2e/float64(r.OutputTokens), block)
	}
	if r.Streamed {
		a.addStreamed(r, parts, block)
	}
	if r.ServerQueue+r.ServerLoad+r.ServerPrefill+r.ServerDecode > 0 {
		a.own.queue.add(float64(r.ServerQueue)/second, block)
		a.own.load.add(float64(r.ServerLoad)/second, block)
		a.own.prefill.add(float64(r.ServerPrefill)/second, block)
		a.own.decode.add(float64(r.ServerDecode)/second, block)
	}
	a.countSLO(r)
}

func (a *accumulator) addStreamed(r *workload.Record, parts []*part, block uint8) {
	ttft := float64(r.First-r.Sent) / second
	a.ttft.add(ttft, block)
	for _, p := range parts {
		p.ttft.add(ttft, block)
	}
	a.ttftI.add(float64(r.First-r.Intended)/second, block)
	if r.FirstAnswer > 0 {
		a.ttfat.add(float64(r.FirstAnswer-r.Sent)/second, block)
	}
	a.chunks += int64(len(r.Gaps)) + 1
	a.shared += int64(r.SharedReads)
	known := len(r.ChunkTokens) == len(r.Gaps)+1
	onesAlone := len(r.Gaps)+1 == r.OutputTokens
	for i, gap := range r.Gaps {
		a.icl.add(float64(gap), block, 1)
		if onesAlone && !known {
			a.itl.add(float64(gap), block, 1)
		} else if known && r.ChunkTokens[i+1] > 0 {
			k := r.ChunkTokens[i+1]
			a.itl.add(float64(gap)/float64(k), block, k)
		}
	}
	if known && r.ChunkTokens[0] > 1 { // tokens that came with the first one: no time lies between them
		a.itl.add(0, block, r.ChunkTokens[0]-1)
	}
	if r.OutputTokens > 1 {
		a.tpot.add(float64(r.Last-r.First)/second/float64(r.OutputTokens-1), block)
	}
}

// countSLO compares whole nanoseconds, so that what lies exactly on a limit meets it. A TPOT limit does not apply where
// one token was asked for.
func (a *accumulator) countSLO(r *workload.Record) {
	h := &a.header
	ttft := h.TTFT == 0 || r.Streamed && r.First-r.Sent <= h.TTFT
	tpot := h.TPOT == 0 || r.Target <= 1 || r.Streamed && r.OutputTokens > 1 && r.Last-r.First <= h.TPOT*int64(r.OutputTokens-1)
	e2e := h.E2E == 0 || r.Finish()-r.Sent <= h.E2E
	for _, m := range []struct {
		met   bool
		count *int64
	}{{ttft, &a.met.ttft}, {tpot, &a.met.tpot}, {e2e, &a.met.e2e}, {ttft && tpot && e2e, &a.good}} {
		if m.met {
			*m.count++
		}
	}
}

// finish makes the summary of what was added, and of what was sampled meanwhile.
func (a *accumulator) finish(dir string) error {
	s := &a.sum
	s.Sweep, s.Parameters = a.in.Sweep, a.in.Parameters
	s.Run, s.UID, s.Attempt, s.Service, s.Model, s.BenchdVers = a.in.Run, a.in.UID, a.in.Attempt, a.in.Service, a.in.Model, a.in.Version
	seconds := float64(a.to-a.from) / second
	s.MeasuredSeconds = seconds
	a.finishRates(seconds)
	a.finishTokens()
	a.flight.sort()
	s.Concurrency = a.flight.within(a.from, a.to)
	a.finishDistributions(seconds)
	a.finishParts(seconds)
	s.ServerView = a.serverView()
	a.finishSteady()
	s.Series = a.series.finish(&a.flight, a.from, a.to)
	s.WholeRun = a.whole.summary()
	s.Definitions = maps.Clone(definitions)
	sampled, err := a.readSamples(dir)
	if err != nil {
		return err
	}
	s.Resources = a.finishResources(sampled)
	s.Verdict = a.judge(sampled)
	return nil
}
