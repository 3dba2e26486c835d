package workload

import (
	"fmt"
	"math"
	"strconv"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/protocol"
	"github.com/benchd/benchd/transport"
)

// failurePause keeps a closed loop from spinning on a server that refuses at once.
const failurePause = int64(50 * time.Millisecond)

// tooLate is how far behind its schedule an arrival may be and still be sent. After a stall of the client, such as a
// stopped process, what is later is recorded as dropped: sending it would be a burst that nobody asked for.
const tooLate = int64(time.Second)

// maxWaiting bounds the arrivals that wait for the cap.
const maxWaiting = 1_000_000

// wire is what a worker needs of the transport: a clock, timers, and requests. All of it is used on one thread.
type wire interface {
	Now() int64
	Set(t *transport.Timer, when int64)
	Unset(t *transport.Timer)
	// NewCall returns a request that can be sent again and again; done is called each time it has ended.
	NewCall(done func()) call
	// Outstanding is how many requests a target has under way.
	Outstanding(target int) int
}

// call is one request at a time.
type call interface {
	Prepare(target int, q *protocol.Question)
	Send(timeout int64)
	Cancel()
	Active() bool
	Result() *protocol.Result
}

// worker makes its share of a load on one thread: the indices that are rank modulo ranks of the global sequence. It is
// an automaton that is driven by timers and ended requests, so that it runs as well on a clock that is only thought.
type worker struct {
	load        *Load
	wire        wire
	prompts     Prompts
	rank, ranks int
	closed      bool
	t0          int64 // on the wire's clock
	sendEnd     int64
	done        func()

	slots    []*slot
	free     []*slot
	sending  bool
	active   int
	draining bool
	over     bool // done was called

	arrivals  Schedule
	next      *slot // prepared for the arrival to come
	nextAt    int64
	arrival   Arrival
	waiting   []waiting
	cap       int
	turn      int64 // of a closed loop: how many indices were taken
	measured  int64 // requests of the measured window so far, of this worker (closed) or of all (open)
	limit     int64 // of measured, 0 for none
	lastSent  int64
	bound     string
	sendTimer transport.Timer
	endTimer  transport.Timer
	lateTimer transport.Timer
	rec       Record
}

// waiting is an arrival that waits for the cap.
type waiting struct {
	arrival Arrival
	since   int64
}

// slot is one request under way, or one client of a closed loop.
type slot struct {
	w        *worker
	call     call
	question protocol.Question
	target   int
	client   int64
	k        int64
	intended int64
	capWait  int64
	first    int64 // when the first of several tries was sent
	retries  int32
	timer    transport.Timer
	id       []byte
}

func newWorker(l *Load, wi wire, prompts Prompts, rank, ranks int, schedule Schedule, done func()) *worker {
	spec := &l.plan.Workload
	w := &worker{
		load: l, wire: wi, prompts: prompts, rank: rank, ranks: ranks, arrivals: schedule, done: done,
		closed: spec.Load.Pattern == api.PatternClosed,
	}
	w.cap = share(int64(spec.Load.MaxConcurrency), rank, ranks)
	if w.cap == 0 && spec.Load.MaxConcurrency > 0 {
		w.cap = 1
	}
	if w.limit = spec.Load.Requests; w.closed && w.limit > 0 {
		w.limit = int64(share(spec.Load.Requests, rank, ranks))
	}
	w.sendTimer.Fire, w.endTimer.Fire, w.lateTimer.Fire = w.dispatch, w.endSending, w.dropLate
	return w
}

// share is a rank's part of a total; the parts add up to it.
func share(total int64, rank, ranks int) int {
	n := total / int64(ranks)
	if int64(rank) < total%int64(ranks) {
		n++
	}
	return int(n)
}

// start begins the load at t0 with so many closed clients.
func (w *worker) start(t0 int64, clients int, firstClient int64) {
	spec := &w.load.plan.Workload
	w.t0, w.sending = t0, true
	w.sendEnd = t0 + int64(spec.Warmup.Duration+spec.Duration.Duration)
	w.wire.Set(&w.endTimer, w.sendEnd)
	if !w.closed {
		w.prepareNext()
		return
	}
	if spec.Load.Requests > 0 && w.limit == 0 { // fewer requests than workers: this one has none of them
		w.stopSending(BoundRequests)
		return
	}
	for i := range clients {
		s := w.newSlot()
		s.client = firstClient + int64(i)
		s.timer.Fire = s.nextClosed
		w.wire.Set(&s.timer, t0)
	}
	w.checkOver()
}

func (w *worker) newSlot() *slot {
	s := &slot{w: w, client: -1}
	s.call = w.wire.NewCall(s.answered)
	w.slots = append(w.slots, s)
	return s
}

// nextClosed sends a closed client's next request.
func (s *slot) nextClosed() {
	w := s.w
	if !w.sending || w.wire.Now() >= w.sendEnd {
		w.checkOver()
		return
	}
	s.k = w.turn*int64(w.ranks) + int64(w.rank)
	w.turn++
	s.prepare(nil)
	s.send(0)
}

// prepare makes the question and chooses the server.
func (s *slot) prepare(line *TraceLine) {
	w := s.w
	s.question.Reset()
	s.id = strconv.AppendInt(append(append(s.id[:0], w.load.plan.RunID...), '-'), s.k, 10)
	s.question.ID = string(s.id)
	group := w.prompts.Fill(&s.question, s.k, line)
	if group < 0 {
		group = s.client
	}
	s.target = w.choose(s.k, group)
	s.call.Prepare(s.target, &s.question)
	s.retries, s.first = 0, 0
}

// choose picks the server for request k.
func (w *worker) choose(k, group int64) int {
	targets := int64(len(w.load.plan.Targets))
	switch w.load.plan.Workload.Balance {
	case api.BalancePinned:
		if group >= 0 {
			return int(group % targets)
		}
	case api.BalanceLeastOutstanding:
		best := int(k % targets) // ties go round
		for i := range targets {
			if t := int((k + i) % targets); w.wire.Outstanding(t) < w.wire.Outstanding(best) {
				best = t
			}
		}
		return best
	}
	// Round robin on every node, each beginning at another server, so that no node is tied to one.
	return int((k/int64(w.ranks) + k%int64(w.ranks)) % targets)
}

// send sends what was prepared; the intended start is 0 in a closed loop.
func (s *slot) send(intended int64) {
	w := s.w
	s.intended = intended
	w.active++
	w.load.inFlight.Add(1)
	w.load.sent.Add(1)
	if now := w.wire.Now() - w.t0; w.closed {
		w.countMeasured(now)
	} else {
		s.capWait = max(0, min(s.capWait, w.t0+now-intended))
	}
	s.call.Send(w.load.timeout)
}

// countMeasured counts a request of the measured window, and ends sending when there are enough.
func (w *worker) countMeasured(at int64) {
	if w.limit == 0 || at < int64(w.load.plan.Workload.Warmup.Duration) {
		return
	}
	if w.measured++; w.measured >= w.limit {
		w.stopSending(BoundRequests)
	}
}

// prepareNext finds this worker's next arrival and makes its request ahead of its time.
func (w *worker) prepareNext() {
	warmup := w.load.plan.Workload.Warmup.Duration
	for {
		a, more := w.arrivals.Next()
		if !more || w.t0+int64(a.At) >= w.sendEnd {
			bound := ""
			if !more && w.load.plan.Workload.Load.Pattern == api.PatternTrace {
				bound = BoundTrace
			}
			w.runOut(bound)
			return
		}
		if w.limit > 0 && a.At >= warmup {
			if w.measured++; w.measured > w.limit {
				w.runOut(BoundRequests)
				return
			}
		}
		if a.owner(w.ranks) == w.rank {
			w.arrival, w.nextAt = a, w.t0+int64(a.At)
			break
		}
	}
	if w.load.plan.Workload.Balance != api.BalanceLeastOutstanding && (w.cap == 0 || w.active < w.cap) {
		w.next = w.takeSlot()
		w.next.k = w.arrival.K
		w.next.prepare(w.arrival.Line)
	}
	w.wire.Set(&w.sendTimer, w.nextAt)
}

// runOut ends sending when the schedule has no more arrivals for this worker. Of a rate, the time goes on to its end.
func (w *worker) runOut(bound string) {
	w.nextAt = math.MaxInt64
	if bound == "" {
		return
	}
	w.bound, w.sending = bound, false
	if len(w.waiting) == 0 { // else those go out as the cap allows, until the time is over
		w.drain()
	}
}

func (w *worker) takeSlot() *slot {
	if n := len(w.free); n > 0 {
		s := w.free[n-1]
		w.free = w.free[:n-1]
		return s
	}
	return w.newSlot()
}

// dispatch sends the arrivals whose time has come.
func (w *worker) dispatch() {
	for w.sending && w.nextAt <= w.wire.Now() {
		a, at, s := w.arrival, w.nextAt, w.next
		w.next = nil
		now := w.wire.Now()
		switch {
		case now-at > tooLate:
			w.release(s)
			w.drop(a, 0, fmt.Sprintf("the client was %.1f s behind its schedule", float64(now-at)/1e9))
		case w.cap > 0 && w.active >= w.cap:
			w.release(s)
			w.wait(a, now)
		default:
			w.sendArrival(s, a, at, 0)
		}
		w.wire.Unset(&w.sendTimer)
		w.prepareNext()
	}
}

func (w *worker) sendArrival(s *slot, a Arrival, intended, capWait int64) {
	if s == nil {
		s = w.takeSlot()
		s.k = a.K
		s.prepare(a.Line)
	}
	s.capWait = capWait
	s.send(intended)
}

func (w *worker) release(s *slot) {
	if s != nil {
		w.free = append(w.free, s)
	}
}

// wait queues an arrival until the cap lets it through.
func (w *worker) wait(a Arrival, now int64) {
	if len(w.waiting) >= maxWaiting {
		w.drop(a, 0, fmt.Sprintf("%d arrivals waited for the concurrency cap", maxWaiting))
		return
	}
	w.waiting = append(w.waiting, waiting{a, now})
	if longest := int64(w.load.plan.Workload.Load.MaxWait.Duration); longest > 0 && !w.lateTimer.Set() {
		w.wire.Set(&w.lateTimer, now+longest)
	}
}

// dropLate drops what has waited for longer than it may.
func (w *worker) dropLate() {
	longest := int64(w.load.plan.Workload.Load.MaxWait.Duration)
	for len(w.waiting) > 0 {
		first := w.waiting[0]
		if w.wire.Now() < first.since+longest {
			w.wire.Set(&w.lateTimer, first.since+longest)
			return
		}
		w.waiting = w.waiting[1:]
		w.drop(first.arrival, w.wire.Now()-first.since, "it waited for the concurrency cap for longer than maxWait")
	}
}

// letThrough sends what waits, as far as the cap allows.
func (w *worker) letThrough() {
	for len(w.waiting) > 0 && w.active < w.cap && w.wire.Now() < w.sendEnd {
		first := w.waiting[0]
		w.waiting = w.waiting[1:]
		now := w.wire.Now()
		w.sendArrival(nil, first.arrival, w.t0+int64(first.arrival.At), max(1, now-first.since))
	}
	if len(w.waiting) == 0 && !w.sending && !w.draining {
		w.drain()
	}
}

// endSending is called when the time for sending is over.
func (w *worker) endSending() {
	for w.sending && !w.closed && w.nextAt < w.sendEnd { // arrivals that a late client did not come to
		w.release(w.next)
		w.next = nil
		w.drop(w.arrival, 0, "sending was over before the client came to it")
		w.prepareNext()
	}
	w.stopSending("")
}

// stopSending ends sending: what waits is dropped, what is under way may end.
func (w *worker) stopSending(bound string) {
	if w.draining {
		return
	}
	if bound != "" {
		w.bound = bound
	}
	w.sending = false
	w.wire.Unset(&w.sendTimer)
	w.wire.Unset(&w.lateTimer)
	w.release(w.next)
	w.next = nil
	for _, waits := range w.waiting {
		w.drop(waits.arrival, w.wire.Now()-waits.since, "it still waited for the concurrency cap when sending ended")
	}
	w.waiting = nil
	w.drain()
}

// drain waits for what is under way, for a bounded time.
func (w *worker) drain() {
	w.draining = true
	for _, s := range w.slots {
		w.wire.Unset(&s.timer) // thinking clients
	}
	w.endTimer.Fire = w.cancelAll
	w.wire.Set(&w.endTimer, min(w.wire.Now(), w.sendEnd)+int64(w.load.plan.Workload.Drain.Duration))
	w.checkOver()
}

// cancelAll ends what is still under way.
func (w *worker) cancelAll() {
	for _, s := range w.slots {
		s.call.Cancel()
	}
	w.checkOver()
}

// abort ends the load at once.
func (w *worker) abort() {
	if w.over {
		return
	}
	w.stopSending(BoundStopped)
	w.cancelAll()
}

func (w *worker) checkOver() {
	if w.over || w.sending || w.active > 0 || len(w.waiting) > 0 {
		return
	}
	for _, s := range w.slots {
		if s.timer.Set() {
			return
		}
	}
	w.over = true
	w.wire.Unset(&w.endTimer)
	w.done()
}
