package workload

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// cpuWindow is over how many seconds the use of CPU is judged.
const cpuWindow = 5

// cpuMeter finds the busiest seconds of a process or a thread. It is read once a second, on that thread.
type cpuMeter struct {
	who   int // unix.RUSAGE_SELF or unix.RUSAGE_THREAD
	cpus  float64
	past  [cpuWindow + 1]struct{ at, used float64 }
	n     int
	first float64
	peak  float64
}

func newCPUMeter(who int) *cpuMeter {
	m := &cpuMeter{who: who, cpus: 1}
	if who == unix.RUSAGE_SELF {
		m.cpus = float64(runtime.NumCPU())
	}
	return m
}

// read takes a sample at a time in nanoseconds.
func (m *cpuMeter) read(now int64) {
	used := cpuSeconds(m.who)
	if m.n == 0 {
		m.first = used
	}
	m.past[m.n%len(m.past)].at, m.past[m.n%len(m.past)].used = float64(now)/1e9, used
	m.n++
	if m.n <= cpuWindow {
		return
	}
	from, to := m.past[m.n%len(m.past)], m.past[(m.n-1)%len(m.past)]
	if to.at > from.at {
		m.peak = max(m.peak, (to.used-from.used)/(to.at-from.at)/m.cpus)
	}
}

// used is the CPU time since the first sample, in seconds.
func (m *cpuMeter) used() float64 { return cpuSeconds(m.who) - m.first }

func cpuSeconds(who int) float64 {
	var u unix.Rusage
	if unix.Getrusage(who, &u) != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}
