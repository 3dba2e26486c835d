package simulate

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// errQueueFull is returned by acquire when no more requests may wait.
var errQueueFull = errors.New("the queue is full")

// A queue admits a limited number of requests at once and keeps the others in order of arrival.
type queue struct {
	limit     int // served at once; 0 is unlimited
	waitLimit int // waiting at once; 0 is unlimited

	mu      sync.Mutex
	running int
	waiting list.List // of chan struct{}, closed when admitted
}

func newQueue(limit, waitLimit int) *queue { return &queue{limit: limit, waitLimit: waitLimit} }

// acquire returns nil when the request may be served, errQueueFull, or why ctx ended. Each nil needs one release.
func (q *queue) acquire(ctx context.Context) error {
	q.mu.Lock()
	if q.limit == 0 || q.running < q.limit {
		q.running++
		q.mu.Unlock()
		return nil
	}
	if q.waitLimit > 0 && q.waiting.Len() >= q.waitLimit {
		q.mu.Unlock()
		return errQueueFull
	}
	admitted := make(chan struct{})
	place := q.waiting.PushBack(admitted)
	q.mu.Unlock()

	select {
	case <-admitted:
		return nil
	case <-ctx.Done():
		q.leave(place, admitted)
		return context.Cause(ctx)
	}
}

// leave gives up a place in the queue, or the admission that came at the same moment.
func (q *queue) leave(place *list.Element, admitted <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-admitted:
		q.next()
	default:
		q.waiting.Remove(place)
	}
}

// release ends one admitted request and admits the one that waited longest.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next()
}

// next hands the place of a request that ended to the first that waits. The caller holds mu.
func (q *queue) next() {
	first := q.waiting.Front()
	if first == nil {
		q.running--
		return
	}
	close(q.waiting.Remove(first).(chan struct{})) //nolint:errcheck // acquire stores nothing else
}

// counts returns how many requests are being served and how many wait.
func (q *queue) counts() (running, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running, q.waiting.Len()
}

// usage is the share of the places that are taken; 0 without a limit.
func (q *queue) usage() float64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.limit == 0 {
		return 0
	}
	return float64(q.running) / float64(q.limit)
}
