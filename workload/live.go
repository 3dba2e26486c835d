package workload

import (
	"slices"
	"sync"
	"time"
)

// live keeps what is going on now: what a user looks at while the load runs. It never grows.
type live struct {
	mu      sync.Mutex
	seconds [liveWindow + 1]liveSecond
	ttft    recent
	e2e     recent
}

// liveWindow is over how many full seconds live rates are taken.
const liveWindow = 10

type liveSecond struct {
	second           int64
	requests, tokens int64
}

// recent holds the last few values and when they came.
type recent struct {
	values [256]struct {
		at    int64
		value float64
	}
	next int
}

func (r *recent) add(at int64, value float64) {
	r.values[r.next%len(r.values)].at, r.values[r.next%len(r.values)].value = at, value
	r.next++
}

// median of the values not older than the live window; 0 when there is none.
func (r *recent) median(now int64) float64 {
	var values []float64
	for i := range min(r.next, len(r.values)) {
		if now-r.values[i].at <= int64(liveWindow*time.Second) {
			values = append(values, r.values[i].value)
		}
	}
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// ended notes a request that ended at a time after T0.
func (l *live) ended(r *Record, at int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	second := max(0, at) / int64(time.Second)
	slot := &l.seconds[second%int64(len(l.seconds))]
	if slot.second != second {
		*slot = liveSecond{second: second}
	}
	if r.Class != "" {
		return
	}
	slot.requests++
	slot.tokens += int64(r.OutputTokens)
	if r.Streamed {
		l.ttft.add(at, float64(r.First-r.Sent)/1e9)
	}
	l.e2e.add(at, float64(r.Finish()-r.Sent)/1e9)
}

// now gives rates over the last full seconds, and medians.
func (l *live) now(at int64) (requests, tokens, ttft, e2e float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	second := max(0, at) / int64(time.Second)
	window := min(second, liveWindow)
	for _, s := range l.seconds {
		if s.second >= second-window && s.second < second {
			requests += float64(s.requests)
			tokens += float64(s.tokens)
		}
	}
	if window > 0 {
		requests /= float64(window)
		tokens /= float64(window)
	}
	return requests, tokens, l.ttft.median(at), l.e2e.median(at)
}
