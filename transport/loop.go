package transport

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Loop is an event loop. Make it with NewLoop, use it in Run.
type Loop struct {
	zero      time.Time
	kernel    int64 // CLOCK_MONOTONIC at zero, for the timer
	epoll     int
	alarm     int // timerfd
	doorbell  int // eventfd
	timers    Timers
	armed     int64   // when the alarm rings; MaxInt64 when it is not set
	conns     []*conn // by descriptor
	secure    map[*conn]struct{}
	serial    int32 // tells a stale event from one of a descriptor's next owner
	read      []byte
	events    []unix.EpollEvent
	stopped   bool
	afterward func() // called after each round

	mail mailbox
}

// mailbox holds what other goroutines want done on the loop's thread.
type mailbox struct {
	mu     sync.Mutex
	posted []func()
	closed bool
}

// NewLoop returns a loop whose clock begins now.
func NewLoop() (*Loop, error) {
	l := &Loop{
		epoll: -1, alarm: -1, doorbell: -1, armed: math.MaxInt64, secure: map[*conn]struct{}{},
		read: make([]byte, 256<<10), events: make([]unix.EpollEvent, 256),
	}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make an event loop: epoll_create1: %w", err)
	}
	if l.alarm, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return nil, errors.Join(fmt.Errorf("make an event loop: timerfd_create: %w", err), l.close())
	}
	if l.doorbell, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return nil, errors.Join(fmt.Errorf("make an event loop: eventfd: %w", err), l.close())
	}
	for _, fd := range []int{l.alarm, l.doorbell} {
		if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return nil, errors.Join(fmt.Errorf("make an event loop: epoll_ctl: %w", err), l.close())
		}
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return nil, errors.Join(fmt.Errorf("make an event loop: clock_gettime: %w", err), l.close())
	}
	l.zero, l.kernel = time.Now(), ts.Nano()
	return l, nil
}

// Zero is the beginning of the loop's clock.
func (l *Loop) Zero() time.Time { return l.zero }

// Now is the time on the loop's clock, in nanoseconds. It can be called from everywhere.
func (l *Loop) Now() int64 { return int64(time.Since(l.zero)) }

// Set sets a timer to an absolute time on the loop's clock.
func (l *Loop) Set(t *Timer, when int64) { l.timers.Set(t, when) }

// Unset stops a timer.
func (l *Loop) Unset(t *Timer) { l.timers.Stop(t) }

// Post has do called on the loop's thread, from everywhere. After the loop's end it does nothing.
func (l *Loop) Post(do func()) {
	l.mail.mu.Lock()
	defer l.mail.mu.Unlock()
	if l.mail.closed {
		return
	}
	l.mail.posted = append(l.mail.posted, do)
	if len(l.mail.posted) == 1 {
		one := [8]byte{1}
		_, _ = unix.Write(l.doorbell, one[:]) // full means that it rings already
	}
}

// Afterward has do called after each round of events and timers, for what is better done once than for each.
func (l *Loop) Afterward(do func()) { l.afterward = do }

// Stop ends Run after the current round.
func (l *Loop) Stop() { l.stopped = true }

// Run works until Stop is called, on a thread of its own. It closes everything at its end; a loop runs once.
func (l *Loop) Run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The kernel may delay a wake-up by the timer slack, 50 µs by default. A kernel that refuses keeps it.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	for !l.stopped {
		l.arm()
		n, err := unix.EpollWait(l.epoll, l.events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return errors.Join(fmt.Errorf("wait for events: epoll_wait: %w", err), l.close())
		}
		for i := range max(n, 0) {
			l.dispatch(&l.events[i])
		}
		for now := l.Now(); ; {
			t := l.timers.Pop(now)
			if t == nil {
				break
			}
			t.Fire()
		}
		if l.afterward != nil {
			l.afterward()
		}
	}
	return l.close()
}

// arm sets the alarm to the earliest timer. An alarm that rings for a timer which was stopped meanwhile costs one idle
// round; setting it anew for each request would cost a system call for each.
func (l *Loop) arm() {
	when, any := l.timers.Next()
	if !any || when >= l.armed {
		return
	}
	at := max(1, when+l.kernel) // 0 would disarm it
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(at)}
	if unix.TimerfdSettime(l.alarm, unix.TFD_TIMER_ABSTIME, &spec, nil) == nil {
		l.armed = when
	}
}

func (l *Loop) dispatch(ev *unix.EpollEvent) {
	switch fd := int(ev.Fd); fd {
	case l.alarm:
		var ticks [8]byte
		_, _ = unix.Read(l.alarm, ticks[:]) // how often it rang means nothing
		l.armed = math.MaxInt64
	case l.doorbell:
		l.openMail()
	default:
		if fd < len(l.conns) && l.conns[fd] != nil && l.conns[fd].serial == ev.Pad {
			l.conns[fd].ready(ev.Events)
		}
	}
}

func (l *Loop) openMail() {
	var count [8]byte
	_, _ = unix.Read(l.doorbell, count[:]) // how often it rang means nothing
	l.mail.mu.Lock()
	posted := l.mail.posted
	l.mail.posted = nil
	l.mail.mu.Unlock()
	for _, do := range posted {
		do()
	}
}

// close frees what the loop holds. Timers are not called any more.
func (l *Loop) close() error {
	l.mail.mu.Lock()
	l.mail.closed, l.mail.posted = true, nil
	l.mail.mu.Unlock()
	for _, c := range l.conns {
		if c != nil {
			c.close()
		}
	}
	for c := range l.secure {
		c.close()
	}
	var err error
	for _, fd := range []int{l.epoll, l.alarm, l.doorbell} {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	return err
}

// watch adds a connection's descriptor.
func (l *Loop) watch(c *conn, events uint32) error {
	for len(l.conns) <= c.fd {
		l.conns = append(l.conns, nil)
	}
	l.serial++
	c.serial = l.serial
	l.conns[c.fd] = c
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{Events: events, Fd: int32(c.fd), Pad: c.serial})
}

// rewatch changes what is waited for.
func (l *Loop) rewatch(c *conn, events uint32) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, c.fd, &unix.EpollEvent{Events: events, Fd: int32(c.fd), Pad: c.serial})
}

// rawRead and rawWrite are read(2) and write(2) on descriptors that never block: the scheduler need not be told.
func rawRead(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}

func rawWrite(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}
