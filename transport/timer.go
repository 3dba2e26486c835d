package transport

import "container/heap"

// A Timer calls Fire at an absolute time. It is set and stopped by Loop, and can be used again and again.
type Timer struct {
	// Fire is called on the loop's thread.
	Fire func()
	// When is the time it is set to, on the loop's clock.
	When int64
	slot int // in the heap plus one; 0 when not set
}

// Set says whether the timer is set.
func (t *Timer) Set() bool { return t.slot > 0 }

// Timers is a queue of timers by their times. The zero value is empty.
type Timers struct{ heap timerHeap }

// Set sets a timer, or sets it anew.
func (q *Timers) Set(t *Timer, when int64) {
	t.When = when
	if t.slot > 0 {
		heap.Fix(&q.heap, t.slot-1)
		return
	}
	heap.Push(&q.heap, t)
}

// Stop takes a timer out.
func (q *Timers) Stop(t *Timer) {
	if t.slot > 0 {
		heap.Remove(&q.heap, t.slot-1)
	}
}

// Next is the earliest time; false when no timer is set.
func (q *Timers) Next() (int64, bool) {
	if len(q.heap) == 0 {
		return 0, false
	}
	return q.heap[0].When, true
}

// Pop takes the earliest timer out if its time has come; nil otherwise.
func (q *Timers) Pop(now int64) *Timer {
	if len(q.heap) == 0 || q.heap[0].When > now {
		return nil
	}
	t, _ := heap.Pop(&q.heap).(*Timer)
	return t
}

type timerHeap []*Timer

var _ heap.Interface = (*timerHeap)(nil)

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].When < h[j].When }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t, _ := x.(*Timer)
	*h = append(*h, t)
	t.slot = len(*h)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.slot = 0
	return t
}
