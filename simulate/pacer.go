package simulate

import (
	"container/heap"
	"context"
	"errors"
	"net"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A pacer sends the chunks of all streams from one thread of its own, each when it is due. A goroutine, a timer and a
// buffered writer for each stream cost about as much again as the write itself; on one core that made chunks late at a
// thousand streams of a hundred tokens a second.
//
// The handler of a request waits meanwhile. What is written here are HTTP chunks on its connection, between those that
// net/http writes: to the client there is one body.
type pacer struct {
	s     *Server
	bell  int // eventfd: there is mail
	alarm int // timerfd
	epoll int
	zero  int64 // CLOCK_MONOTONIC at the server's zero

	marks   sync.Map // of connections, by their numbers
	numbers sync.Map // of connections, by themselves
	next    atomic.Uint64

	mu     sync.Mutex
	mail   []func()
	closed bool

	streams streamHeap
	ended   chan struct{}
}

// pacedStream is a stretch of an answer whose chunks the pacer sends.
type pacedStream struct {
	x           *exchange
	chunks      *chunks
	plan        plan
	first, end  int // tokens still to be sent
	due         time.Duration
	last        int // the next write ends before this token
	conn        net.Conn
	raw         syscall.RawConn
	rest        []byte // of a chunk that the socket did not take whole
	done        chan error
	slot        int // in the heap plus one
	body, frame []byte
}

// startPacer starts the thread. It ends with stop.
func startPacer(s *Server) (*pacer, error) {
	p := &pacer{s: s, bell: -1, alarm: -1, epoll: -1, ended: make(chan struct{})}
	if err := p.open(); err != nil {
		p.close()
		return nil, err
	}
	// The thread sleeps in the kernel and must find a processor when it wakes, also on a machine with one core; and so must
	// those that take requests in, for the log says when they arrived.
	if runtime.GOMAXPROCS(0) < 4 {
		runtime.GOMAXPROCS(4)
	}
	go p.run()
	return p, nil
}

// open makes the descriptors.
func (p *pacer) open() (err error) {
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if p.bell, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return err
	}
	if p.alarm, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return err
	}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, p.bell, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		return err
	}
	// Edge-triggered: an alarm that rang is told once and need not be read. Else it would keep the thread awake until the next
	// stream sets it anew.
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, p.alarm, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}); err != nil {
		return err
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return err
	}
	p.zero = ts.Nano() - int64(p.s.now())
	return nil
}

func (p *pacer) close() {
	for _, fd := range []int{p.epoll, p.bell, p.alarm} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// A mark is when the first bytes of a connection's next request came in. A goroutine that serves a connection may run
// milliseconds after its socket became readable, and would then take the time at which it got round to the request for
// that at which the request came.
type mark struct{ arrived atomic.Int64 }

// follow has the thread note arrivals on a connection; the descriptor leaves the set when it is closed.
func (p *pacer) follow(conn *net.TCPConn) *mark {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	m, number := &mark{}, p.next.Add(1)
	p.marks.Store(number, m)
	p.numbers.Store(net.Conn(conn), number)
	var ctl error
	err = raw.Control(func(fd uintptr) {
		event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(uint32(number)), Pad: int32(number >> 32)}
		ctl = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, int(fd), &event)
	})
	if err != nil || ctl != nil {
		p.forget(conn)
		return nil
	}
	return m
}

// forget drops what is kept of a connection that is closed.
func (p *pacer) forget(conn net.Conn) {
	if number, ok := p.numbers.LoadAndDelete(conn); ok {
		p.marks.Delete(number)
	}
}

// note notes what came in.
func (p *pacer) note(ev *unix.EpollEvent) {
	number := uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32
	v, ok := p.marks.Load(number)
	if !ok {
		return
	}
	if m, is := v.(*mark); is {
		m.arrived.CompareAndSwap(0, int64(p.s.now()))
	}
}

// pacing returns the server's pacer, nil when there cannot be one.
func (s *Server) pacing() *pacer {
	s.paced.Do(func() {
		if p, err := startPacer(s); err == nil { // without one every stream has a timer of its own
			s.pacer = p
		}
	})
	return s.pacer
}

func (p *pacer) post(do func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.mail = append(p.mail, do)
	one := [8]byte{1}
	_, _ = unix.Write(p.bell, one[:]) // full means that it rings already
	return true
}

// stop ends the thread; streams still there end with errStopped.
func (p *pacer) stop() {
	if p.post(func() { p.closed = true }) {
		<-p.ended
	}
}

func (p *pacer) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // a kernel that refuses wakes us up to 50 µs late
	events := make([]unix.EpollEvent, 256)
	armed := time.Duration(-1) // when the alarm rings
	for {
		if len(p.streams) > 0 && p.streams[0].due != armed {
			armed = p.streams[0].due
			spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(1, int64(armed)+p.zero))}
			_ = unix.TimerfdSettime(p.alarm, unix.TFD_TIMER_ABSTIME, &spec, nil) // it only fails on wrong arguments
		}
		n, err := unix.EpollWait(p.epoll, events, -1)
		for i := range max(0, n) {
			if events[i].Fd != 0 || events[i].Pad != 0 { // bell and alarm have no number
				p.note(&events[i])
			} else {
				armed = -1 // an alarm may ring a little early, and rings once
			}
		}
		if (n > 0 || err != nil) && p.read() {
			return
		}
		for now := p.s.now(); len(p.streams) > 0 && p.streams[0].due <= now; {
			p.send(p.streams[0])
		}
	}
}

// read does what was posted. True means that the pacer is to end.
func (p *pacer) read() bool {
	p.mu.Lock()
	if len(p.mail) > 0 {
		var count [8]byte
		_, _ = unix.Read(p.bell, count[:]) // how often it rang means nothing
	}
	mail := p.mail
	p.mail = nil
	for _, do := range mail {
		do()
	}
	closed := p.closed
	p.mu.Unlock()
	if closed {
		for len(p.streams) > 0 {
			p.finish(p.streams[0], errStopped)
		}
		p.close()
	}
	return closed
}

// send sends the chunk that is due, and says when the next one is.
func (p *pacer) send(st *pacedStream) {
	x := st.x
	st.body = st.body[:0]
	writes := 0
	for st.first < st.end {
		st.body = st.append(st.body)
		x.sent((st.last-st.first)*len(x.gen.prompts), st.due)
		st.first = st.last
		writes++
		if st.first < st.end {
			st.next()
		}
		if writes >= x.s.cfg.WriteChunks || x.rec.Chunks == 1 {
			break
		}
	}
	// The chunked coding (RFC 9112, section 7.1) around what goes out in one write.
	st.frame = strconv.AppendInt(st.frame[:0], int64(len(st.body)), 16)
	st.frame = append(st.frame, "\r\n"...)
	st.frame = append(st.frame, st.body...)
	st.frame = append(st.frame, "\r\n"...)
	rest, err := writeOnce(st.raw, st.frame)
	switch {
	case err != nil:
		p.finish(st, err)
	case len(rest) > 0: // the client reads too slowly: its handler waits for it, not this thread
		st.rest = append(st.rest[:0], rest...)
		p.finish(st, errBlocked)
	case st.first >= st.end:
		p.finish(st, nil)
	default:
		heap.Fix(&p.streams, st.slot-1)
	}
}

// errBlocked says that the socket took a part of a chunk.
var errBlocked = errors.New("the client reads too slowly")

func (p *pacer) finish(st *pacedStream, err error) {
	if st.slot == 0 {
		return
	}
	heap.Remove(&p.streams, st.slot-1)
	st.done <- err
}

// writeOnce writes what the socket takes without waiting, and returns what it did not.
func writeOnce(raw syscall.RawConn, data []byte) (rest []byte, err error) {
	var n int
	var wrote error
	err = raw.Write(func(fd uintptr) bool {
		n, wrote = unix.Write(int(fd), data)
		return true // whatever came of it: no waiting here
	})
	switch {
	case err != nil:
		return nil, err
	case errors.Is(wrote, unix.EAGAIN) || errors.Is(wrote, unix.EINTR):
		return data, nil
	case wrote != nil:
		return nil, wrote
	}
	return data[n:], nil
}

// next says which tokens come next and when.
func (st *pacedStream) next() {
	st.last = min(st.first+st.x.s.cfg.ChunkTokens, st.end)
	if st.first == 0 {
		st.last = 1
	}
	st.due = st.x.pace.next(st.last - st.first)
}

func (st *pacedStream) append(b []byte) []byte {
	finish := ""
	if st.last == st.plan.tokens && st.plan.finish == finishLength {
		finish = finishLength
	}
	for i := range st.x.gen.prompts {
		b = st.chunks.appendTokens(b, i, st.first, st.last, finish)
	}
	return b
}

// stream sends the tokens from first to end-1 of an answer whose head was flushed. The caller waits.
func (p *pacer) stream(x *exchange, c *chunks, plan plan, first, end int, conn net.Conn, raw syscall.RawConn) error {
	st := &pacedStream{x: x, chunks: c, plan: plan, first: first, end: end, conn: conn, raw: raw, done: make(chan error, 1)}
	st.next()
	for {
		if !p.post(func() { heap.Push(&p.streams, st) }) {
			return errStopped
		}
		var err error
		select {
		case err = <-st.done:
		case <-x.ctx.Done():
			if !p.post(func() { p.finish(st, context.Cause(x.ctx)) }) {
				return errStopped
			}
			err = <-st.done
			if err == nil {
				err = context.Cause(x.ctx)
			}
		}
		if !errors.Is(err, errBlocked) {
			return err
		}
		if _, err := conn.Write(st.rest); err != nil {
			return err
		}
		if st.first >= st.end {
			return nil
		}
	}
}

// direct returns the connection of a request that Serve took in; false elsewhere, as behind a test's own server.
func direct(ctx context.Context) (net.Conn, syscall.RawConn, bool) {
	conn, ok := ctx.Value(connKey{}).(*net.TCPConn)
	if !ok {
		return nil, nil, false
	}
	raw, err := conn.SyscallConn()
	return conn, raw, err == nil
}

type streamHeap []*pacedStream

var _ heap.Interface = (*streamHeap)(nil)

func (h streamHeap) Len() int           { return len(h) }
func (h streamHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h streamHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i+1, j+1
}

func (h *streamHeap) Push(v any) {
	st, _ := v.(*pacedStream)
	*h = append(*h, st)
	st.slot = len(*h)
}

func (h *streamHeap) Pop() any {
	old := *h
	st := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	st.slot = 0
	return st
}
