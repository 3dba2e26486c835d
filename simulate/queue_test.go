package simulate

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

func TestQueueKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 0)
		must(t, q.acquire(t.Context()))
		served := make(chan int, 5)
		for i := range 5 {
			go func() {
				if q.acquire(t.Context()) == nil {
					served <- i
					q.release()
				}
			}()
			synctest.Wait() // so that i is in the queue before i+1
		}
		if running, waiting := q.counts(); running != 1 || waiting != 5 {
			t.Errorf("%d run and %d wait, want 1 and 5", running, waiting)
		}
		q.release()
		synctest.Wait()
		close(served)
		var got []int
		for i := range served {
			got = append(got, i)
		}
		if !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
			t.Errorf("served in the order %v", got)
		}
		if running, waiting := q.counts(); running != 0 || waiting != 0 {
			t.Errorf("%d run and %d wait in the end", running, waiting)
		}
	})
}

func TestQueueRefusesBeyondItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 1)
		must(t, q.acquire(t.Context()))
		errBored := errors.New("bored")
		ctx, leave := context.WithCancelCause(t.Context())
		left := make(chan error)
		go func() { left <- q.acquire(ctx) }()
		synctest.Wait()
		if err := q.acquire(t.Context()); !errors.Is(err, errQueueFull) {
			t.Errorf("the third got %v, want errQueueFull", err)
		}
		leave(errBored)
		if err := <-left; !errors.Is(err, errBored) {
			t.Errorf("the second left with %v, want its context's cause", err)
		}
		q.release()
		if running, waiting := q.counts(); running != 0 || waiting != 0 {
			t.Errorf("%d run and %d wait in the end", running, waiting)
		}
	})
}

func TestQueuePassesOnAnAdmissionNobodyWants(t *testing.T) {
	q := newQueue(1, 0)
	q.running = 1
	gone, next := make(chan struct{}), make(chan struct{})
	place := q.waiting.PushBack(gone)
	q.waiting.PushBack(next)
	q.release() // admits the first, whose client leaves at the same moment
	q.leave(place, gone)
	select {
	case <-next:
	default:
		t.Error("the place was lost")
	}
	if running, waiting := q.counts(); running != 1 || waiting != 0 {
		t.Errorf("%d run and %d wait, want 1 and 0", running, waiting)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
