// Package workload makes the load of a run: when requests are sent (schedules), what they ask (prompts), and one record
// of each. It knows servers only through packages protocol and transport, and no store, no cluster.
//
// A Load prepares itself, ahead of the agreed beginning: it reads files, counts tokens, connects. Run then makes it:
// workers, each on a thread of its own, send their share of the global sequence and write records.
package workload

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/protocol"
	"github.com/benchd/benchd/tokenizer"
	"github.com/benchd/benchd/transport"
)

// Plan is one client node's share of a load.
type Plan struct {
	Workload api.WorkloadSpec
	// Rank of this client node among Ranks: it sends the global indices that are Rank modulo Ranks.
	Rank, Ranks int
	Seed        int64
	Targets     []Target
	// Model as the servers name it, and the key that they ask for.
	Model, APIKey string
	// Node is this node's name, for the records.
	Node string
	// RunID makes request ids unique.
	RunID string
}

// Stages of a load.
const (
	StageWaiting = "waiting"
	StageWarmup  = "warmup"
	StageMeasure = "measure"
	StageDrain   = "drain"
	StageDone    = "done"
)

// ErrInput marks a load that cannot be prepared for what its user gave: a file, a length, a format. Trying again does not
// help.
var ErrInput = errors.New("the workload cannot be made as it is")

// Load is a load in progress.
type Load struct {
	plan       Plan
	timeout    int64
	lines      []TraceLine
	extensions bool
	counted    string // how prompts' tokens were counted
	threads    []*thread
	zero       time.Time // T0

	records *Writer
	observe func(*Record)
	live    live
	started atomic.Bool
	ended   atomic.Bool

	sent, succeeded, failed, inFlight atomic.Int64
	firstSent                         atomic.Pointer[time.Duration]
	writeErr                          atomic.Pointer[error]
	bound                             atomic.Pointer[string]
	cacheMu                           sync.Mutex
	cache                             map[string]float64 // use of the servers' KV caches, by their names
}

// NewLoad checks a plan. It fails when the plan cannot be carried out.
func NewLoad(plan Plan) (*Load, error) {
	w := &plan.Workload
	switch {
	case len(plan.Targets) == 0:
		return nil, errors.New("prepare load: there is no server to send to")
	case plan.Rank < 0 || plan.Rank >= plan.Ranks:
		return nil, fmt.Errorf("prepare load: rank %d is not one of %d", plan.Rank, plan.Ranks)
	case w.Duration.Duration <= 0 || w.Drain == nil || w.RequestTimeout == nil || w.Streaming == nil:
		return nil, errors.New("prepare load: the workload lacks its defaults")
	case w.Load.Pattern == api.PatternClosed && w.Load.ClientsPerNode < 1:
		return nil, fmt.Errorf("prepare load: a closed loop of %d clients", w.Load.ClientsPerNode)
	}
	if w.Load.Pattern != api.PatternClosed && w.Load.Pattern != api.PatternTrace {
		if _, err := NewSchedule(w, plan.Seed, nil); err != nil {
			return nil, fmt.Errorf("prepare load: %w", err)
		}
	}
	return &Load{plan: plan, timeout: int64(w.RequestTimeout.Duration)}, nil
}

// Prepare does what takes time before the load begins: it reads files, asks servers, and connects. Nothing is sent that a
// server would take for load.
func (l *Load) Prepare(ctx context.Context) error {
	w := &l.plan.Workload
	if w.Load.Pattern == api.PatternTrace {
		var err error
		if l.lines, err = ReadTrace(w.Load.Trace.Path); err != nil {
			return fmt.Errorf("%w: %w", ErrInput, err)
		}
	}
	found := probe(ctx, w, l.plan.Targets[0], l.plan.Model, l.plan.APIKey)
	l.extensions = found.extensions
	if err := found.fits(w, l.lines); err != nil {
		return fmt.Errorf("%w: %w", ErrInput, err)
	}
	format, err := l.format()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInput, err)
	}
	prompts, err := l.prompts(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInput, err)
	}
	var endpoints []*transport.Endpoint
	for _, t := range l.plan.Targets {
		e, err := transport.Resolve(ctx, t.Name, t.URL, l.plan.APIKey, format)
		if err != nil {
			return err
		}
		endpoints = append(endpoints, e)
	}
	return l.startThreads(ctx, endpoints, prompts)
}

func (l *Load) format() (protocol.Format, error) {
	w := &l.plan.Workload
	streaming := *w.Streaming
	switch w.API {
	case api.APIOllamaChat, api.APIOllamaGenerate:
		return protocol.Ollama{Model: l.plan.Model, Chat: w.API == api.APIOllamaChat, Streaming: streaming}, nil
	case api.APIREST:
		if w.REST == nil {
			return nil, errors.New("prepare load: api rest is not described")
		}
		return protocol.NewREST(w.REST.Path, w.REST.Body, w.REST.Text, w.REST.PromptTokens, w.REST.OutputTokens)
	}
	return protocol.OpenAI{Model: l.plan.Model, Chat: w.API == api.APIChat, Streaming: streaming, Extensions: l.extensions}, nil
}

// prompts returns what makes the prompts of one worker.
func (l *Load) prompts(ctx context.Context) (func() Prompts, error) {
	w := &l.plan.Workload
	count, err := l.counter(ctx)
	if err != nil {
		return nil, err
	}
	if w.Prompts.Source != api.PromptSynthetic {
		l.counted = "dataset"
		d, err := ReadDataset(w, l.plan.Seed, count)
		if err != nil {
			return nil, err
		}
		return func() Prompts { return d.clone() }, nil
	}
	words := CommonWords()
	switch {
	case w.Prompts.Tokenizer == api.CounterIDs:
		words.Source = string(api.CounterIDs)
	case count != nil:
		source := string(w.Prompts.Tokenizer)
		if w.Prompts.Tokenizer == api.CounterAuto {
			source = string(api.CounterServer)
		}
		exact, err := Calibrate(count, source, int(w.Prompts.Tokens))
		if err == nil {
			words = exact
		} else if w.Prompts.Tokenizer != api.CounterAuto {
			return nil, fmt.Errorf("make prompts of an exact length: %w", err)
		}
	}
	l.counted = words.Source
	return func() Prompts { return NewSynthetic(w, l.plan.Seed, words) }, nil
}

// counter returns what counts tokens, nil where nothing does.
func (l *Load) counter(ctx context.Context) (Count, error) {
	w := &l.plan.Workload
	openAI := w.API == api.APIChat || w.API == api.APICompletions
	synthetic := w.Prompts.Source == api.PromptSynthetic
	if !synthetic && !w.Output.FromDataset {
		return nil, nil
	}
	switch w.Prompts.Tokenizer {
	case api.CounterFile:
		t, err := tokenizer.Open(w.Prompts.TokenizerPath)
		if err != nil {
			return nil, err
		}
		return t.Count, nil
	case api.CounterServer:
		return serverCount(ctx, l.plan.Targets[0].URL, l.plan.APIKey, l.plan.Model, synthetic && w.API == api.APIChat), nil
	case api.CounterAuto:
		count := serverCount(ctx, l.plan.Targets[0].URL, l.plan.APIKey, l.plan.Model, synthetic && w.API == api.APIChat)
		if !openAI {
			return nil, nil
		}
		if _, err := count("time"); err != nil {
			return nil, nil //nolint:nilerr // a server that does not count is measured all the same, and the report says so
		}
		return count, nil
	}
	return nil, nil
}

// Header is the records' first line.
func (l *Load) Header(run string, attempt int32, uncertainty int64) Header {
	w := &l.plan.Workload
	h := Header{
		Format: Format, Run: run, Attempt: attempt, Node: l.plan.Node, Rank: l.plan.Rank, Ranks: l.plan.Ranks, Seed: l.plan.Seed,
		Warmup: int64(w.Warmup.Duration), Duration: int64(w.Duration.Duration), Pattern: string(w.Load.Pattern),
		OfferedRate: OfferedRate(w, l.lines), Drawn: drawn(w, l.plan.Seed, l.lines), MaxConcurrency: int64(w.Load.MaxConcurrency), Streaming: *w.Streaming,
		Extensions: l.extensions, PromptCount: l.counted, ClockUncertainty: uncertainty,
	}
	if w.Load.Pattern == api.PatternClosed {
		h.Concurrency = int64(w.Load.ClientsPerNode) * int64(l.plan.Ranks)
	}
	if s := w.SLO.TTFT; s != nil {
		h.TTFT = int64(s.Duration)
	}
	if s := w.SLO.TPOT; s != nil {
		h.TPOT = int64(s.Duration)
	}
	if s := w.SLO.E2E; s != nil {
		h.E2E = int64(s.Duration)
	}
	return h
}

// Run makes the load from t0 on: warm-up and measured window without a pause between them, then a bounded drain, after
// which what is still in flight is cancelled and counted. It returns when every request has its record and the records
// are sealed. Cancelling ctx ends it early; so does a records file that cannot be written, which is the error returned.
// Observe is called with every record, on the workers' threads; it may be nil, and must not keep the record.
func (l *Load) Run(ctx context.Context, t0 time.Time, records *Writer, observe func(*Record)) error {
	l.zero, l.records, l.observe = t0, records, observe
	l.started.Store(true)
	process := newCPUMeter(unix.RUSAGE_SELF)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	views := l.watchServers(ctx)
	var all sync.WaitGroup
	for i, t := range l.threads {
		all.Add(1)
		t.begin(l, i, all.Done)
	}
	finished := make(chan struct{})
	go func() { all.Wait(); close(finished) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	process.read(int64(time.Since(t0)))
	stop := ctx.Done()
	for running := true; running; {
		select {
		case <-finished:
			running = false
		case <-stop:
			stop = nil
			l.abort()
		case <-tick.C:
			process.read(int64(time.Since(t0)))
			if l.writeErr.Load() != nil {
				l.abort()
			}
		}
	}
	trailer := l.trailer(process)
	err := l.Close()
	l.bound.CompareAndSwap(nil, &trailer.Bound)
	l.ended.Store(true)
	cancel(nil)
	trailer.Servers = views()
	return errors.Join(err, records.Close(trailer))
}

func (l *Load) abort() {
	for _, t := range l.threads {
		t.loop.Post(func() { t.worker.abort() })
	}
}

// Close frees the threads and connections of a load. Of one that has run they are free already.
func (l *Load) Close() error {
	var err error
	for _, t := range l.threads {
		t.loop.Post(t.loop.Stop)
		<-t.gone
		err = errors.Join(err, t.err)
	}
	l.threads = nil
	return err
}

func (l *Load) trailer(process *cpuMeter) Trailer {
	t := Trailer{
		Node: l.plan.Node, Ended: int64(time.Since(l.zero)), CPUSeconds: process.used(), CPUs: runtime.NumCPU(), PeakCPU: process.peak,
	}
	for _, thread := range l.threads {
		t.SendEnded = max(t.SendEnded, thread.worker.lastSent)
		t.PeakThread = max(t.PeakThread, thread.cpu.peak)
		if bound := thread.worker.bound; t.Bound == "" || bound == BoundStopped { // the gravest: a load that was stopped is cut
			t.Bound = bound
		}
	}
	if l.Bound() == BoundErrorBudget {
		t.Bound = BoundErrorBudget
	}
	return t
}

// overBudget says whether more of this node's requests failed than the workload allows; all threads see it at their next
// answer.
func (l *Load) overBudget() bool {
	budget := l.plan.Workload.Load.ErrorBudget
	if budget <= 0 {
		return false
	}
	failed := l.failed.Load()
	ended := failed + l.succeeded.Load()
	if ended < 20 || float64(failed) <= budget*float64(ended) {
		return false
	}
	bound := BoundErrorBudget
	l.bound.CompareAndSwap(nil, &bound)
	return true
}

// noteFirst keeps the earliest time of a request sent, after T0.
func (l *Load) noteFirst(at time.Duration) {
	for {
		old := l.firstSent.Load()
		if old != nil && *old <= at || l.firstSent.CompareAndSwap(old, &at) {
			return
		}
	}
}

// add takes a record; at is now, after T0.
func (l *Load) add(rec *Record, at int64) {
	if rec.Class == "" {
		l.succeeded.Add(1)
	} else {
		l.failed.Add(1)
	}
	l.live.ended(rec, at)
	if err := l.records.Add(rec); err != nil {
		l.writeErr.CompareAndSwap(nil, &err)
	}
	if l.observe != nil {
		l.observe(rec)
	}
}

// Progress tells how far the load is.
func (l *Load) Progress() api.Progress {
	w := &l.plan.Workload
	p := api.Progress{Sent: l.sent.Load(), Succeeded: l.succeeded.Load(), Failed: l.failed.Load(), InFlight: l.inFlight.Load()}
	total := w.Warmup.Duration + w.Duration.Duration
	if !l.started.Load() {
		p.Stage, p.Remaining = StageWaiting, total.Seconds()
		return p
	}
	elapsed := time.Since(l.zero)
	switch {
	case l.ended.Load():
		p.Stage = StageDone
	case elapsed < 0:
		p.Stage = StageWaiting
	case elapsed < w.Warmup.Duration:
		p.Stage = StageWarmup
	case elapsed < total:
		p.Stage = StageMeasure
	default:
		p.Stage = StageDrain
	}
	share := float64(elapsed) / float64(total)
	remaining := max(0, total-elapsed).Seconds()
	if n := float64(w.Load.Requests) / float64(l.plan.Ranks); n > 0 && elapsed > w.Warmup.Duration {
		if done := float64(p.Sent) / n; done > share { // warm-up counts too: an estimate
			share = done
			remaining = min(remaining, elapsed.Seconds()*(1-min(done, 1))/done)
		}
	}
	p.Percent = int32(min(100, max(0, 100*share)))
	if p.Stage == StageDrain || p.Stage == StageDone {
		remaining = 0
	}
	p.Remaining = remaining
	p.RequestRate, p.TokenRate, p.TTFTP50, p.E2EP50 = l.live.now(int64(elapsed))
	return p
}

// FirstSent is when the first request was sent, after T0; false before.
func (l *Load) FirstSent() (time.Duration, bool) {
	first := l.firstSent.Load()
	if first == nil {
		return 0, false
	}
	return *first, true
}

// Bound says what ended sending before its time; empty while the load goes on, and when its time ended it.
func (l *Load) Bound() string {
	if b := l.bound.Load(); b != nil {
		return *b
	}
	return ""
}

// CacheUse is the share of the servers' KV cache that is in use, the fullest of those this node looks at; false when none
// tells.
func (l *Load) CacheUse() (float64, bool) {
	l.cacheMu.Lock()
	defer l.cacheMu.Unlock()
	fullest, told := 0.0, false
	for _, use := range l.cache {
		fullest, told = max(fullest, use), true
	}
	return fullest, told
}

// noteCache keeps what a server told of its cache; less than 0 is nothing.
func (l *Load) noteCache(server string, use float64) {
	if use < 0 {
		return
	}
	l.cacheMu.Lock()
	defer l.cacheMu.Unlock()
	if l.cache == nil {
		l.cache = map[string]float64{}
	}
	l.cache[server] = use
}

// WriteError is why records could not be written, nil while they can.
func (l *Load) WriteError() error {
	if failed := l.writeErr.Load(); failed != nil {
		return *failed
	}
	return nil
}
