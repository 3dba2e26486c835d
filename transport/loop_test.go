package transport

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The queue of timers agrees with a sorted list, whatever is set, set anew and stopped.
func TestTimersAgreeWithASortedList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var q Timers
		timers := make([]Timer, 8)
		model := map[*Timer]int64{}
		earliest := func() int64 {
			least := int64(math.MaxInt64)
			for _, when := range model {
				least = min(least, when)
			}
			return least
		}
		pick := rapid.Custom(func(t *rapid.T) *Timer { return &timers[rapid.IntRange(0, len(timers)-1).Draw(t, "timer")] })
		when := rapid.Int64Range(-5, 20)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				timer, at := pick.Draw(t, "which"), when.Draw(t, "when")
				q.Set(timer, at)
				model[timer] = at
			},
			"stop": func(t *rapid.T) {
				timer := pick.Draw(t, "which")
				q.Stop(timer)
				delete(model, timer)
			},
			"pop": func(t *rapid.T) {
				now := when.Draw(t, "now")
				got := q.Pop(now)
				switch least := earliest(); {
				case got == nil && least <= now:
					t.Errorf("nothing at %d, though one is set to %d", now, least)
				case got != nil && (got.When != least || model[got] != least || least > now):
					t.Errorf("popped %d at %d, the earliest is %d", got.When, now, least)
				}
				delete(model, got)
			},
			"": func(t *rapid.T) {
				next, any := q.Next()
				if any != (len(model) > 0) || any && next != earliest() {
					t.Errorf("next is %d, %v; want %d", next, any, earliest())
				}
				for i := range timers {
					if _, want := model[&timers[i]]; timers[i].Set() != want {
						t.Errorf("timer %d: set is %v", i, timers[i].Set())
					}
				}
			},
		})
	})
}

// Timers fire in the order of their times and never early; one may set itself anew, and one that is unset does not fire.
func TestTimersOfALoop(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	type firing struct {
		timer     int
		late, due int64
	}
	var fired []firing
	ended := make(chan struct{})
	timers := make([]Timer, 7)
	l.on(func() {
		base := l.Now() + int64(5*time.Millisecond)
		note := func(i int) { fired = append(fired, firing{i, l.Now() - timers[i].When, timers[i].When - base}) }
		again := 0
		for i := range timers {
			timers[i].Fire = func() { note(i) }
		}
		timers[3].Fire = func() { // sets itself anew
			note(3)
			if again++; again < 3 {
				l.Set(&timers[3], timers[3].When+int64(time.Millisecond))
			}
		}
		timers[2].Fire = func() { // stops another that is due as well
			note(2)
			l.Unset(&timers[4])
			l.Unset(&timers[4])
		}
		timers[6].Fire = func() {
			note(6)
			close(ended)
		}
		for i, at := range []int64{7, 1, 2, 3, 2, -1000, 8} {
			l.Set(&timers[i], base+at*int64(time.Millisecond))
		}
		l.Set(&timers[0], base) // brought forward
		l.Set(&timers[4], base+2*int64(time.Millisecond)+1)
	})
	l.wait("the last timer", ended)
	var order []int
	for _, f := range fired {
		order = append(order, f.timer)
		if f.late < 0 {
			t.Errorf("timer %d fired %d ns early", f.timer, -f.late)
		}
	}
	if want := []int{5, 0, 1, 2, 3, 3, 3, 6}; !slices.Equal(order, want) {
		t.Errorf("fired %v, want %v", order, want)
	}
}

// A timer that is long due does not keep the loop from its events, and an alarm for a stopped one does no harm.
func TestStoppedTimerWakesNobody(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ended := make(chan struct{})
	fired, before := 0, 0
	stopped := Timer{Fire: func() { fired++ }}
	later := Timer{Fire: func() { close(ended) }}
	l.on(func() { l.Set(&stopped, l.Now()+int64(10*time.Millisecond)) })
	l.on(func() { // the alarm is set by now
		before = fired // a slow machine may have come too late
		l.Unset(&stopped)
		l.Set(&later, l.Now()+int64(20*time.Millisecond))
	})
	l.wait("the later timer", ended)
	if fired != before {
		t.Error("a stopped timer fired")
	}
}

func TestPostFromManyGoroutines(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const goroutines, each = 16, 200
	var order [goroutines][]int
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for i := range each {
				l.Post(func() { order[g] = append(order[g], i) }) // no lock: all of it is on one thread
				if l.Now() < 0 {
					t.Error("a time below zero")
				}
			}
		})
	}
	all.Wait()
	l.on(func() {})
	for g := range order {
		if len(order[g]) != each || !slices.IsSorted(order[g]) {
			t.Errorf("goroutine %d: %d of %d were done, in order: %v", g, len(order[g]), each, slices.IsSorted(order[g]))
		}
	}
}

// What is posted from the loop's own thread is done as well; after the loop's end nothing is.
func TestPostFromTheLoopAndAfterItsEnd(t *testing.T) {
	t.Parallel()
	loop, err := NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(loop.Zero()); age < 0 || age > patience {
		t.Errorf("the clock began %s ago", age)
	}
	n := 0
	loop.Post(func() {
		n++
		loop.Post(func() {
			n++
			loop.Stop()
			loop.Post(func() { n += 100 })
		})
	})
	if err := loop.Run(); err != nil {
		t.Fatal(err)
	}
	loop.Post(func() { n += 100 })
	if n != 2 {
		t.Errorf("%d of 2 were done", n)
	}
}

func TestAfterwardIsCalledOnceARound(t *testing.T) {
	t.Parallel()
	loop, err := NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	var seen []int
	done := 0
	loop.Afterward(func() {
		if seen = append(seen, done); done == 10 {
			loop.Stop()
		}
	})
	for range 10 {
		loop.Post(func() { done++ })
	}
	if err := loop.Run(); err != nil || !slices.Equal(seen, []int{10}) {
		t.Errorf("%v, called with %v done; want once, with all", err, seen)
	}
}
