package workload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/protocol"
)

// Target is one server to send to.
type Target struct {
	Name   string
	Client protocol.Client
}

// Plan is one client node's share of a load.
type Plan struct {
	Workload api.WorkloadSpec
	// Rank of this client node among Ranks: it sends the global indices that are Rank modulo Ranks.
	Rank, Ranks int
	Seed        int64
	Targets     []Target
	// Node is this node's name, for the records.
	Node string
	// RunID makes request ids unique.
	RunID string
	// T0 is the agreed beginning of the load.
	T0 time.Time
	// Records takes every request.
	Records *Writer
	// Observe is called with every record, from many goroutines; it may be nil.
	Observe func(*Record)
}

// failurePause keeps a closed loop from spinning on a server that refuses at once.
const failurePause = 50 * time.Millisecond

// Stages of a load.
const (
	StageWaiting = "waiting"
	StageWarmup  = "warmup"
	StageMeasure = "measure"
	StageDrain   = "drain"
	StageDone    = "done"
)

// Load is a load in progress.
type Load struct {
	plan      Plan
	prompts   Synthetic
	sendEnd   time.Time // no request is sent after it
	sent      atomic.Int64
	succeeded atomic.Int64
	failed    atomic.Int64
	inFlight  atomic.Int64
	firstSent atomic.Pointer[time.Duration]
	lastSent  atomic.Int64
	ended     atomic.Bool
	writeErr  atomic.Pointer[error]
	stop      context.CancelFunc // ends the load early
}

// NewLoad prepares a load. It fails when the plan cannot be carried out.
func NewLoad(plan Plan) (*Load, error) {
	if len(plan.Targets) == 0 {
		return nil, errors.New("prepare load: there is no server to send to")
	}
	w := &plan.Workload
	switch {
	case w.Prompts.Source != api.PromptSynthetic:
		return nil, fmt.Errorf("prepare load: prompt source %q is not known to this benchd", w.Prompts.Source)
	case w.Load.Pattern != api.PatternClosed && w.Load.Pattern != api.PatternConstant:
		return nil, fmt.Errorf("prepare load: pattern %q is not known to this benchd", w.Load.Pattern)
	case w.Load.Pattern == api.PatternConstant && !(w.Load.Rate > 0):
		return nil, fmt.Errorf("prepare load: a rate of %g requests/s", w.Load.Rate)
	case plan.Rank < 0 || plan.Rank >= plan.Ranks:
		return nil, fmt.Errorf("prepare load: rank %d is not one of %d", plan.Rank, plan.Ranks)
	case w.Duration.Duration <= 0 || w.Drain == nil:
		return nil, errors.New("prepare load: the workload has no duration or no drain")
	}
	return &Load{
		plan: plan, prompts: Synthetic{Seed: plan.Seed, Words: int(w.Prompts.Tokens)},
		sendEnd: plan.T0.Add(w.Warmup.Duration + w.Duration.Duration),
	}, nil
}

// Run sends the load and waits for its answers: warm-up and measured window without a pause between them, then a
// bounded drain, after which what is still in flight is cancelled and counted. It returns when every request has its
// record. Cancelling ctx ends it early; so does a records file that cannot be written, which is the error returned.
func (l *Load) Run(ctx context.Context) error {
	defer l.ended.Store(true)
	w := &l.plan.Workload
	before := cpuSeconds()
	ctx, l.stop = context.WithCancel(ctx)
	defer l.stop()
	drained, cancel := context.WithDeadline(ctx, l.sendEnd.Add(w.Drain.Duration))
	defer cancel()
	sending, stopSending := context.WithDeadline(drained, l.sendEnd)
	defer stopSending()
	if err := sleepUntil(sending, l.plan.T0); err == nil {
		switch w.Load.Pattern {
		case api.PatternClosed:
			l.closed(sending, drained)
		case api.PatternConstant:
			l.open(sending, drained, Constant(w.Load.Rate))
		}
	}
	end := time.Now()
	return l.plan.Records.Close(Trailer{
		Node: l.plan.Node, SendEnded: l.lastSent.Load(), Ended: sinceNanos(l.plan.T0, end), CPUSeconds: cpuSeconds() - before,
	})
}

// closed keeps a fixed number of clients busy, each with one request at a time.
func (l *Load) closed(sending, drained context.Context) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range int(l.plan.Workload.Load.ClientsPerNode) {
		wg.Go(func() {
			for sending.Err() == nil && time.Now().Before(l.sendEnd) {
				k := l.index(next.Add(1) - 1)
				pause := l.plan.Workload.Load.ThinkTime.Duration
				if ok := l.send(drained, k, time.Time{}, 0); !ok {
					pause = max(pause, failurePause)
				}
				if pause > 0 {
					_ = sleepUntil(sending, time.Now().Add(pause)) // the loop's condition sees the end
				}
			}
		})
	}
	wg.Wait()
}

// open sends at the schedule's absolute times, whatever the server does. With a cap, an arrival waits for its turn and
// the wait is recorded; those still waiting when sending ends are dropped and recorded.
func (l *Load) open(sending, drained context.Context, schedule Schedule) {
	var wg sync.WaitGroup
	var slots chan struct{}
	// A cap is a total; this node's share rounds up so that the shares are never less than the cap.
	if most := int(l.plan.Workload.Load.MaxConcurrency); most > 0 {
		slots = make(chan struct{}, (most+l.plan.Ranks-1-l.plan.Rank)/l.plan.Ranks)
		if cap(slots) == 0 {
			slots = make(chan struct{}, 1)
		}
	}
	for j := int64(0); ; j++ {
		k := l.index(j)
		intended := l.plan.T0.Add(schedule.At(k))
		if !intended.Before(l.sendEnd) {
			break
		}
		if sleepUntil(sending, intended) != nil {
			// The sender fell so far behind that sending ended first: what it did not send is not left out of the record.
			if drained.Err() == nil {
				l.drop(k, intended)
				continue
			}
			break
		}
		wg.Go(func() {
			waited := time.Duration(0)
			if slots != nil {
				from := time.Now()
				select {
				case slots <- struct{}{}:
					defer func() { <-slots }()
				case <-sending.Done():
					l.drop(k, intended)
					return
				}
				waited = time.Since(from)
			}
			l.send(drained, k, intended, waited)
		})
	}
	wg.Wait()
}

// index maps this node's j-th request to the global sequence.
func (l *Load) index(j int64) int64 { return j*int64(l.plan.Ranks) + int64(l.plan.Rank) }

// send sends request k and records it. It says whether the request succeeded.
func (l *Load) send(ctx context.Context, k int64, intended time.Time, waited time.Duration) bool {
	// Round robin on every node, each beginning at another server, so that no node is tied to one server.
	target := l.plan.Targets[(k/int64(l.plan.Ranks)+k%int64(l.plan.Ranks))%int64(len(l.plan.Targets))]
	prompt := l.prompts.Prompt(k)
	tokens := int(l.plan.Workload.Output.Tokens)
	l.inFlight.Add(1)
	l.sent.Add(1)
	l.noteFirst(time.Since(l.plan.T0))
	result := target.Client.Do(ctx, protocol.Request{ID: fmt.Sprintf("%s-%d", l.plan.RunID, k), Prompt: prompt, MaxTokens: tokens})
	l.inFlight.Add(-1)
	if intended.IsZero() {
		intended = result.Sent
	}
	at := sinceNanos(l.plan.T0, result.Sent)
	storeMax(&l.lastSent, at)
	rec := Record{
		K: k, Server: target.Name, Node: l.plan.Node, Intended: sinceNanos(l.plan.T0, intended), CapWait: int64(waited), Sent: at,
		Connected: sinceNanos(l.plan.T0, result.Connected), First: sinceNanos(l.plan.T0, result.First),
		Last: sinceNanos(l.plan.T0, result.Last), End: sinceNanos(l.plan.T0, result.End), Streamed: !result.First.IsZero(),
		PromptTokens: result.PromptTokens, OutputTokens: result.OutputTokens, Source: result.TokenSource, Target: tokens,
		Class: string(result.Class), Message: result.Message, Status: result.Status,
	}
	for _, gap := range result.Gaps {
		rec.Gaps = append(rec.Gaps, gap.Microseconds())
	}
	l.add(&rec)
	return rec.Class == ""
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

func (l *Load) drop(k int64, intended time.Time) {
	at := sinceNanos(l.plan.T0, intended)
	l.add(&Record{K: k, Node: l.plan.Node, Intended: at, CapWait: int64(time.Since(intended)), Class: ClassDropped})
}

func (l *Load) add(rec *Record) {
	if rec.Class == "" {
		l.succeeded.Add(1)
	} else {
		l.failed.Add(1)
	}
	if err := l.plan.Records.Add(rec); err != nil {
		l.writeErr.CompareAndSwap(nil, &err)
		l.stop()
	}
	if l.plan.Observe != nil {
		l.plan.Observe(rec)
	}
}

// Progress tells how far the load is.
func (l *Load) Progress() api.Progress {
	w := &l.plan.Workload
	p := api.Progress{Sent: l.sent.Load(), Succeeded: l.succeeded.Load(), Failed: l.failed.Load()}
	elapsed := time.Since(l.plan.T0)
	total := w.Warmup.Duration + w.Duration.Duration
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
	p.Percent = int32(min(100, max(0, 100*elapsed/total)))
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

// InFlight is how many requests are under way.
func (l *Load) InFlight() int64 { return l.inFlight.Load() }

// WriteError is why records could not be written, nil while they can.
func (l *Load) WriteError() error {
	if failed := l.writeErr.Load(); failed != nil {
		return *failed
	}
	return nil
}

// sleepUntil waits for an absolute time, so that late wake-ups do not add up.
func sleepUntil(ctx context.Context, t time.Time) error {
	d := time.Until(t)
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func storeMax(v *atomic.Int64, n int64) {
	for {
		old := v.Load()
		if n <= old || v.CompareAndSwap(old, n) {
			return
		}
	}
}

func cpuSeconds() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}
