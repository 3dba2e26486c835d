package workload

import (
	"context"
	"math"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/protocol"
	"github.com/benchd/benchd/transport"
)

// What one thread makes with ease; beyond it another is started. The numbers must not depend on the machine: all nodes
// deal out the same sequence.
const (
	clientsPerThread = 1000
	ratePerThread    = 4000
	maxThreads       = 16
)

// threadCount is how many threads make a client node's share. A cap on concurrency and a trace's sessions are kept by one.
func threadCount(w *api.WorkloadSpec, ranks int) int {
	need := 1.0
	switch l := &w.Load; {
	case l.Pattern == api.PatternClosed:
		need = float64(l.ClientsPerNode) / clientsPerThread
	case l.MaxConcurrency == 0 && l.Pattern != api.PatternTrace:
		need = peakRate(l) / float64(ranks) / ratePerThread
	}
	return int(min(max(math.Ceil(need), 1), maxThreads))
}

func peakRate(l *api.LoadSpec) float64 {
	peak := l.Rate
	for _, s := range l.Steps {
		peak = max(peak, s.Rate)
	}
	if l.Ramp != nil {
		peak = max(peak, l.Ramp.From, l.Ramp.To)
	}
	return peak
}

// thread is one worker on its event loop.
type thread struct {
	loop    *transport.Loop
	servers []*transport.Server
	prompts Prompts
	worker  *worker
	gone    chan struct{} // closed when the loop has ended
	err     error         // why, of use once gone is closed
	cpu     *cpuMeter
	second  transport.Timer
	clients int
	first   int64 // global number of its first closed client
}

// startThreads starts the loops and connects ahead of the load.
func (l *Load) startThreads(ctx context.Context, endpoints []*transport.Endpoint, prompts func() Prompts) error {
	w := &l.plan.Workload
	n := threadCount(w, l.plan.Ranks)
	// A thread that comes back from the kernel must find a processor to run Go code on, also when the records' writer and
	// the garbage collector are busy.
	if runtime.GOMAXPROCS(0) < n+2 {
		runtime.GOMAXPROCS(n + 2)
	}
	clientsBefore := int64(l.plan.Rank) * int64(w.Load.ClientsPerNode)
	for i := range n {
		loop, err := transport.NewLoop()
		if err != nil {
			return err
		}
		t := &thread{loop: loop, prompts: prompts(), gone: make(chan struct{}), clients: share(int64(w.Load.ClientsPerNode), i, n), first: clientsBefore}
		clientsBefore += int64(t.clients)
		for _, e := range endpoints {
			t.servers = append(t.servers, loop.Server(e))
		}
		l.threads = append(l.threads, t)
		go func() {
			defer close(t.gone)
			t.err = loop.Run()
		}()
		t.connect(ctx, connections(w, t.clients, n*l.plan.Ranks, len(endpoints)))
	}
	return nil
}

// connections is how many to open ahead to each server.
func connections(w *api.WorkloadSpec, clients, workers, servers int) int {
	l := &w.Load
	if l.Pattern == api.PatternClosed {
		return (clients + servers - 1) / servers
	}
	const most = 64
	ahead := int(min(most, math.Ceil(peakRate(l)/float64(workers)/float64(servers))))
	if l.MaxConcurrency > 0 {
		ahead = min(ahead, int(l.MaxConcurrency))
	}
	return max(1, ahead)
}

// connect opens connections and waits until they stand; those that do not in a few seconds are left to the load.
func (t *thread) connect(ctx context.Context, each int) {
	t.loop.Post(func() {
		for _, s := range t.servers {
			s.Connect(each)
		}
	})
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		stand := make(chan bool, 1)
		t.loop.Post(func() {
			all := true
			for _, s := range t.servers {
				all = all && s.Kept() >= each
			}
			stand <- all
		})
		select {
		case all := <-stand:
			if all {
				return
			}
		case <-t.gone:
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// begin has the worker start at the load's T0.
func (t *thread) begin(l *Load, index int, done func()) {
	threads := len(l.threads)
	// All of a node's threads send indices that are its rank modulo the number of nodes.
	rank, ranks := index*l.plan.Ranks+l.plan.Rank, l.plan.Ranks*threads
	var schedule Schedule
	if l.plan.Workload.Load.Pattern != api.PatternClosed {
		schedule, _ = NewSchedule(&l.plan.Workload, l.plan.Seed, l.lines) // the plan was checked
	}
	t.cpu = newCPUMeter(unix.RUSAGE_THREAD)
	t.second.Fire = func() {
		now := t.loop.Now()
		t.cpu.read(now)
		t.loop.Set(&t.second, now+int64(time.Second))
	}
	over := make(chan struct{})
	t.worker = newWorker(l, &threadWire{t}, t.prompts, rank, ranks, schedule, func() {
		t.loop.Unset(&t.second)
		close(over)
	})
	go func() {
		select {
		case <-over:
		case <-t.gone: // the loop has failed: its error comes with Close
		}
		done()
	}()
	t.loop.Post(func() {
		t.second.Fire()
		t.worker.start(int64(l.zero.Sub(t.loop.Zero())), t.clients, t.first)
	})
}

// threadWire is a worker's view of its event loop.
type threadWire struct{ *thread }

var _ wire = (*threadWire)(nil)

func (t *threadWire) Now() int64                             { return t.loop.Now() }
func (t *threadWire) Set(timer *transport.Timer, when int64) { t.loop.Set(timer, when) }
func (t *threadWire) Unset(timer *transport.Timer)           { t.loop.Unset(timer) }
func (t *threadWire) Outstanding(target int) int             { return t.servers[target].Outstanding }

func (t *threadWire) NewCall(done func()) call {
	return &threadCall{t.loop.NewExchange(func(*transport.Exchange) { done() }), t.thread}
}

type threadCall struct {
	x *transport.Exchange
	t *thread
}

func (c *threadCall) Prepare(target int, q *protocol.Question) { c.x.Prepare(c.t.servers[target], q) }
func (c *threadCall) Send(timeout int64)                       { c.x.Send(timeout) }
func (c *threadCall) Cancel()                                  { c.x.Cancel() }
func (c *threadCall) Active() bool                             { return c.x.Active() }
func (c *threadCall) Result() *protocol.Result                 { return &c.x.Result }
