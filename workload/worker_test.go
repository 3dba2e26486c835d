package workload

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/protocol"
	"github.com/benchd/benchd/transport"
)

// thought is a wire on a clock that is only thought: time jumps from timer to timer, and servers answer after a time.
type thought struct {
	now    int64
	timers transport.Timers
	answer func(target int) time.Duration
	class  func(k int) protocol.Class // of the n-th request sent
	sent   []int64                    // when requests were sent
	toward []int                      // and to which server
	busy   map[int]int
	peak   int
}

var _ wire = (*thought)(nil)

func (w *thought) Now() int64                         { return w.now }
func (w *thought) Set(t *transport.Timer, when int64) { w.timers.Set(t, when) }
func (w *thought) Unset(t *transport.Timer)           { w.timers.Stop(t) }
func (w *thought) Outstanding(target int) int         { return w.busy[target] }
func (w *thought) NewCall(done func()) call {
	c := &thoughtCall{w: w, done: done}
	c.timer.Fire = c.answered
	return c
}

func (w *thought) under() (n int) {
	for _, b := range w.busy {
		n += b
	}
	return n
}

// run lets time pass until over is set.
func (w *thought) run(t checker, over *bool) {
	t.Helper()
	for steps := 0; !*over; steps++ {
		next, any := w.timers.Next()
		if !any || steps > 10_000_000 {
			t.Fatalf("at %s nothing is left to happen, and the load is not over", time.Duration(w.now))
		}
		w.now = max(w.now, next)
		w.timers.Pop(w.now).Fire()
	}
}

type thoughtCall struct {
	w      *thought
	done   func()
	target int
	result protocol.Result
	timer  transport.Timer
	active bool
	class  protocol.Class
}

func (c *thoughtCall) Prepare(target int, _ *protocol.Question) { c.target = target }
func (c *thoughtCall) Active() bool                             { return c.active }
func (c *thoughtCall) Result() *protocol.Result                 { return &c.result }

func (c *thoughtCall) Send(int64) {
	c.result.Reset()
	c.result.Sent, c.active, c.class = c.w.now, true, ""
	if c.w.class != nil {
		c.class = c.w.class(len(c.w.sent))
	}
	c.w.sent, c.w.toward = append(c.w.sent, c.w.now), append(c.w.toward, c.target)
	c.w.busy[c.target]++
	c.w.peak = max(c.w.peak, c.w.under())
	c.w.Set(&c.timer, c.w.now+int64(c.w.answer(c.target)))
}

func (c *thoughtCall) answered() { c.end(c.class) }

func (c *thoughtCall) end(class protocol.Class) {
	c.active = false
	c.w.busy[c.target]--
	c.result.Class, c.result.End, c.result.OutputTokens = class, c.w.now, 1
	c.done()
}

func (c *thoughtCall) Cancel() {
	if c.active {
		c.w.Unset(&c.timer)
		c.end(protocol.ClassCancelled)
	}
}

// work is a second of warm-up, four of measurement and two of drain.
func work(load api.LoadSpec) api.WorkloadSpec {
	w := api.WorkloadSpec{
		Warmup: metav1.Duration{Duration: time.Second}, Duration: metav1.Duration{Duration: 4 * time.Second},
		Drain: &metav1.Duration{Duration: 2 * time.Second}, Load: load,
		Prompts: api.PromptSpec{Tokens: 4}, Output: api.OutputSpec{Tokens: 1},
	}
	api.SetWorkloadDefaults(&w)
	return w
}

func constant(rate float64, most int32) api.WorkloadSpec {
	return work(api.LoadSpec{Pattern: api.PatternConstant, Rate: rate, MaxConcurrency: most})
}

// imagined is a load on a wire that is only thought.
type imagined struct {
	wire    *thought
	worker  *worker
	records []Record
	trailer string
	took    time.Duration
}

func (e *imagined) count(class string) int {
	n := 0
	for _, r := range e.records {
		if r.Class == class {
			n++
		}
	}
	return n
}

// imagine runs one worker's share of a load. Change may alter the wire; during is called when the load has begun.
func imagine(t checker, w api.WorkloadSpec, rank, ranks int, change func(*thought), during func(*imagined), lines ...TraceLine) *imagined {
	t.Helper()
	wi := &thought{now: 5e8, busy: map[int]int{}, answer: func(int) time.Duration { return 100 * time.Millisecond }}
	if change != nil {
		change(wi)
	}
	l, err := NewLoad(Plan{
		Workload: w, Rank: rank, Ranks: ranks, Seed: 7, Node: "n1", RunID: "r",
		Targets: []Target{{"a", "http://a"}, {"b", "http://b"}, {"c", "http://c"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "worker")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	e := &imagined{wire: wi}
	l.observe = func(r *Record) { e.records = append(e.records, *r) }
	if l.records, err = CreateRecords(filepath.Join(dir, "r"), Header{Format: Format}); err != nil {
		t.Fatal(err)
	}
	var schedule Schedule
	if w.Load.Pattern != api.PatternClosed {
		if schedule, err = NewSchedule(&w, 7, lines); err != nil {
			t.Fatal(err)
		}
	}
	over := false
	e.worker = newWorker(l, wi, NewSynthetic(&w, 7, CommonWords()), rank, ranks, schedule, func() { over = true })
	t0 := wi.now + 1e8
	e.worker.start(t0, int(w.Load.ClientsPerNode), int64(rank)*int64(w.Load.ClientsPerNode))
	if during != nil {
		during(e)
	}
	wi.run(t, &over)
	e.took, e.trailer = time.Duration(wi.now-t0), e.worker.bound
	if err := l.records.Close(Trailer{}); err != nil {
		t.Fatal(err)
	}
	if n := l.inFlight.Load(); n != 0 || wi.under() != 0 {
		t.Errorf("%d requests are still counted as under way, %d are", n, wi.under())
	}
	return e
}

func TestClosedLoop(t *testing.T) {
	t.Parallel()
	e := imagine(t, work(api.LoadSpec{ClientsPerNode: 3, ThinkTime: metav1.Duration{Duration: 20 * time.Millisecond}}), 0, 1,
		func(w *thought) { w.answer = func(int) time.Duration { return 80 * time.Millisecond } }, nil)
	// Each client sends every 100 ms from 0 up to and not at 5 s.
	if e.wire.peak != 3 || len(e.records) != 150 || e.count("") != 150 {
		t.Errorf("peak %d of 3 clients, %d records, %d good", e.wire.peak, len(e.records), e.count(""))
	}
	seen := map[int64]bool{}
	for _, r := range e.records {
		if r.Intended != r.Sent || seen[r.K] {
			t.Fatalf("record %d: intended %d, sent %d, seen %v", r.K, r.Intended, r.Sent, seen[r.K])
		}
		seen[r.K] = true
	}
}

func TestClosedLoopPausesAfterFailure(t *testing.T) {
	t.Parallel()
	e := imagine(t, work(api.LoadSpec{ClientsPerNode: 2}), 0, 1, func(w *thought) {
		w.answer = func(int) time.Duration { return 0 }
		w.class = func(int) protocol.Class { return protocol.ClassConnect }
	}, nil)
	if n := e.count(string(protocol.ClassConnect)); n != 200 { // every 50 ms for 5 s
		t.Errorf("%d refused requests of two clients, want 200", n)
	}
}

func TestOpenLoopSendsAtItsTimesWhateverTheServerDoes(t *testing.T) {
	t.Parallel()
	e := imagine(t, constant(50, 0), 0, 1, func(w *thought) { w.answer = func(int) time.Duration { return time.Second } }, nil)
	if len(e.records) != 250 || e.wire.peak != 50 {
		t.Fatalf("%d records and a peak of %d, want 250 and 50", len(e.records), e.wire.peak)
	}
	for _, r := range e.records {
		if want := r.K * 20e6; r.Intended != want || r.Sent != want || r.CapWait != 0 {
			t.Fatalf("request %d: intended %d, sent %d, want %d", r.K, r.Intended, r.Sent, want)
		}
	}
}

func TestCap(t *testing.T) {
	t.Parallel()
	second := func(w *thought) { w.answer = func(int) time.Duration { return time.Second } }
	e := imagine(t, constant(10, 2), 0, 1, second, nil)
	if e.wire.peak != 2 {
		t.Errorf("%d in flight with a cap of 2", e.wire.peak)
	}
	// 50 arrivals; two go out each second; those that still wait at 5 s are dropped.
	if sent, dropped := len(e.wire.sent), e.count(ClassDropped); sent != 10 || sent+dropped != 50 {
		t.Errorf("%d sent and %d dropped of 50", sent, dropped)
	}
	for _, r := range e.records {
		if lag := r.Sent - r.Intended - r.CapWait; r.Class == "" && lag != 0 {
			t.Errorf("request %d: waiting for the cap counts as %d ns of lag", r.K, lag)
		}
	}
	w := constant(10, 2)
	w.Load.MaxWait.Duration = 300 * time.Millisecond
	e = imagine(t, w, 0, 1, second, nil)
	for _, r := range e.records {
		if r.CapWait > 300e6 {
			t.Errorf("request %d waited %d ns, longer than maxWait", r.K, r.CapWait)
		}
	}
	for _, tc := range []struct{ most, ranks, rank, want int }{{4, 2, 1, 2}, {5, 3, 0, 2}, {5, 3, 2, 1}, {1, 3, 2, 1}} {
		e := imagine(t, constant(100*float64(tc.ranks), int32(tc.most)), tc.rank, tc.ranks, second, nil)
		if e.wire.peak != tc.want {
			t.Errorf("a cap of %d over %d nodes gives rank %d %d in flight, want %d", tc.most, tc.ranks, tc.rank, e.wire.peak, tc.want)
		}
	}
}

// A client that was stopped for a while does not send all at once what it has missed.
func TestStallIsNoBurst(t *testing.T) {
	t.Parallel()
	e := imagine(t, constant(100, 0), 0, 1, nil, func(e *imagined) {
		var stall transport.Timer
		stall.Fire = func() { e.wire.now += 2.5e9 }
		e.wire.Set(&stall, e.wire.now+1.1e9) // a second into the load
	})
	late := 0
	for _, r := range e.records {
		if r.Class == "" && r.Sent-r.Intended > tooLate {
			t.Errorf("request %d was sent %d ns late", r.K, r.Sent-r.Intended)
		}
		if r.Sent-r.Intended > 0 && r.Class == "" {
			late++
		}
	}
	if dropped := e.count(ClassDropped); dropped < 149 || dropped > 151 || late < 99 || late > 101 || len(e.records) != 500 {
		t.Errorf("%d dropped, %d sent late, %d in all; want 150, 100, 500", dropped, late, len(e.records))
	}
}

// A stall over the end of sending leaves no arrival out of the records.
func TestStallOverTheEnd(t *testing.T) {
	t.Parallel()
	e := imagine(t, constant(10, 0), 0, 1, nil, func(e *imagined) {
		var stall transport.Timer
		stall.Fire = func() { e.wire.now += 60e9 }
		e.wire.Set(&stall, e.wire.now+1e8+4.05e9)
	})
	if len(e.records) != 50 || e.count(ClassDropped) != 9 {
		t.Errorf("%d records, %d dropped; want 50 and 9", len(e.records), e.count(ClassDropped))
	}
}

func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	e := imagine(t, constant(10, 0), 0, 1, func(w *thought) { w.answer = func(int) time.Duration { return time.Hour } }, nil)
	if e.took != 7*time.Second || e.count(string(protocol.ClassCancelled)) != 50 {
		t.Errorf("over after %s with %d cancelled; want 7s and 50", e.took, e.count(string(protocol.ClassCancelled)))
	}
}

func TestAbort(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]api.WorkloadSpec{"open": constant(10, 2), "closed": work(api.LoadSpec{ClientsPerNode: 4, ThinkTime: metav1.Duration{Duration: time.Second}})} {
		e := imagine(t, w, 0, 1, func(w *thought) { w.answer = func(int) time.Duration { return time.Hour } }, func(e *imagined) {
			var stop transport.Timer
			stop.Fire = func() { e.worker.abort(); e.worker.abort() }
			e.wire.Set(&stop, e.wire.now+1e9)
		})
		if e.took > 950*time.Millisecond || e.trailer != BoundStopped {
			t.Errorf("%s: over after %s by %q", name, e.took, e.trailer)
		}
	}
}

func TestRequestCountEndsSending(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ranks := rapid.IntRange(1, 4).Draw(t, "ranks")
		requests := rapid.Int64Range(1, 120).Draw(t, "requests")
		open := rapid.Bool().Draw(t, "open")
		w := work(api.LoadSpec{ClientsPerNode: 5})
		if open {
			w = work(api.LoadSpec{Pattern: api.PatternPoisson, Rate: 60})
		}
		w.Load.Requests = requests
		measured, seen := int64(0), map[int64]bool{}
		for rank := range ranks {
			e := imagine(t, w, rank, ranks, nil, nil)
			if !open && e.trailer != BoundRequests {
				t.Fatalf("rank %d of %d ended by %q", rank, ranks, e.trailer)
			}
			for _, r := range e.records {
				if r.Intended >= int64(time.Second) {
					measured++
				}
				if seen[r.K] {
					t.Fatalf("index %d was sent twice", r.K)
				}
				seen[r.K] = true
			}
		}
		// A closed client finds the end by itself; an open loop may run out of time first.
		if measured > requests || !open && measured != requests || open && measured < requests && measured < 180 {
			t.Fatalf("%d measured requests, want %d", measured, requests)
		}
	})
}

// checker is what helpers need of a test or of a property's check.
type checker interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func TestErrorBudget(t *testing.T) {
	t.Parallel()
	w := constant(20, 0)
	w.Load.ErrorBudget = 0.5
	e := imagine(t, w, 0, 1, func(w *thought) {
		w.class = func(n int) protocol.Class {
			if n > 20 {
				return protocol.ClassStatus
			}
			return ""
		}
	}, nil)
	if e.trailer != BoundErrorBudget || len(e.wire.sent) < 42 || len(e.wire.sent) > 46 {
		t.Errorf("ended by %q after %d requests; 21 good ones want as many bad", e.trailer, len(e.wire.sent))
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	w := work(api.LoadSpec{ClientsPerNode: 1})
	w.Retries = 2
	e := imagine(t, w, 0, 1, func(w *thought) {
		w.class = func(n int) protocol.Class {
			if n%3 < 2 {
				return protocol.ClassConnect
			}
			return ""
		}
	}, nil)
	first := e.records[0]
	if first.Retries != 2 || first.Class != "" || first.Sent != 0 || first.End != 300e6 || first.Intended != 0 {
		t.Errorf("a request that succeeded at its third try: %+v", first)
	}
}

func TestBalance(t *testing.T) {
	t.Parallel()
	counts := func(e *imagined) (out []int) {
		out = make([]int, 3)
		for _, target := range e.wire.toward {
			out[target]++
		}
		return out
	}
	e := imagine(t, constant(60, 0), 0, 1, nil, nil)
	if diff := cmp.Diff([]int{100, 100, 100}, counts(e)); diff != "" {
		t.Errorf("round robin (-want +got):\n%s", diff)
	}
	w := constant(60, 0)
	w.Balance = api.BalanceLeastOutstanding
	e = imagine(t, w, 0, 1, func(w *thought) {
		w.answer = func(target int) time.Duration { return []time.Duration{time.Second, 10e6, 10e6}[target] }
	}, nil)
	if n := counts(e); n[0] > 20 {
		t.Errorf("least outstanding sent %v: the slow server has as many as the others", n)
	}
	w = work(api.LoadSpec{ClientsPerNode: 4})
	w.Balance = api.BalancePinned
	e = imagine(t, w, 0, 1, nil, nil)
	if diff := cmp.Diff([]int{100, 50, 50}, counts(e)); diff != "" {
		t.Errorf("four pinned clients over three servers (-want +got):\n%s", diff)
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	var lines []TraceLine
	for i := range 60 {
		lines = append(lines, TraceLine{At: time.Duration(i) * 50 * time.Millisecond, Input: 10 + i, Output: 3, Session: fmt.Sprint("s", i%7)})
	}
	w := work(api.LoadSpec{Pattern: api.PatternTrace, Trace: &api.TraceSpec{Path: "/t", Speed: 2}})
	owner := map[string]int{}
	total := 0
	for rank := range 3 {
		e := imagine(t, w, rank, 3, nil, nil, lines...)
		for _, r := range e.records {
			if want := r.K * 25e6; r.Intended != want || r.Target != 3 {
				t.Errorf("request %d: intended %d, %d tokens asked", r.K, r.Intended, r.Target)
			}
			session := lines[r.K].Session
			if before, known := owner[session]; known && before != rank {
				t.Errorf("session %s is sent by two nodes", session)
			}
			owner[session] = rank
		}
		total += len(e.records)
		if e.trailer != BoundTrace {
			t.Errorf("ended by %q", e.trailer)
		}
	}
	if total != 60 {
		t.Errorf("%d of 60 lines were sent", total)
	}
}

// Lag is what the client adds; in thought time there is none, whatever the pattern.
func TestNoLagInThoughtTime(t *testing.T) {
	t.Parallel()
	for _, l := range []api.LoadSpec{
		{Pattern: api.PatternPoisson, Rate: 40},
		{Pattern: api.PatternGamma, Rate: 40, Burstiness: 0.3},
		{Pattern: api.PatternBurst, Rate: 80, Burst: &api.BurstSpec{On: metav1.Duration{Duration: 5e8}, Off: metav1.Duration{Duration: 5e8}}},
		{Pattern: api.PatternRamp, Ramp: &api.RampSpec{From: 1, To: 50}},
		{Pattern: api.PatternSteps, Steps: []api.StepSpec{{Rate: 0, Duration: metav1.Duration{Duration: 1e9}}, {Rate: 30, Duration: metav1.Duration{Duration: 1e9}}}},
	} {
		e := imagine(t, work(l), 0, 1, nil, nil)
		if len(e.records) < 30 {
			t.Errorf("%s: %d requests", l.Pattern, len(e.records))
		}
		for _, r := range e.records {
			if math.Abs(float64(r.Sent-r.Intended)) > 0 {
				t.Fatalf("%s: request %d was sent %d ns after its time", l.Pattern, r.K, r.Sent-r.Intended)
			}
		}
	}
}
