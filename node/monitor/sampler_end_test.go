package monitor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// stuck is a source whose end hangs until it is let go.
type stuck struct {
	fixed
	release chan struct{}
}

func (s stuck) Close() error {
	<-s.release
	return nil
}

// A driver that hangs when its use ends holds up nobody for long, and no other source from being closed.
func TestSamplerEndsWithASourceThatDoesNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.csv")
	synctest.Test(t, func(t *testing.T) {
		closed := false
		hangs := stuck{fixed{func([]float64) {}, nil}, make(chan struct{})}
		well := fixed{func([]float64) {}, &closed}
		s := NewSampler("n", path, time.Second, quiet(), hangs, well)
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(10 * time.Second)
		select {
		case err := <-done:
			if err != nil || !closed {
				t.Errorf("%v; the other source closed: %t", err, closed)
			}
		default:
			t.Error("it waits still")
		}
		close(hangs.release)
		synctest.Wait()
	})
}

// Sources are freed, and at once, though there is no place to write to.
func TestSamplerThatCannotWriteFreesItsSources(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone", "x.csv")
	synctest.Test(t, func(t *testing.T) {
		closed := false
		s := NewSampler("n", path, time.Second, quiet(), fixed{func([]float64) {}, &closed})
		began := time.Now()
		if err := s.Run(t.Context()); err == nil || !closed || time.Since(began) > 0 {
			t.Errorf("%v; closed: %t after %s", err, closed, time.Since(began))
		}
	})
}

// What was sampled last is not shown as the present when sampling has ended.
func TestNothingIsShownAfterTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.csv")
	synctest.Test(t, func(t *testing.T) {
		s := NewSampler("n", path, time.Second, quiet(), fixed{func(v []float64) { v[0], v[1] = 1, 1 }, nil})
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		if err := s.Run(ctx); err != nil || s.values != nil {
			t.Errorf("%v; shown: %v", err, s.values)
		}
	})
	if n := len(rows(t, path)); n < 2 {
		t.Errorf("%d rows", n)
	}
}

// A clock that is set back, as by NTP, costs no more than the sample of that moment.
func TestSamplerWhenTheClockIsSetBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.csv")
	synctest.Test(t, func(t *testing.T) {
		s := NewSampler("n", path, time.Second, quiet())
		began, back := time.Now(), time.Duration(0)
		s.now = func() time.Time { return time.Now().Round(0).Add(-back) }
		ticks := 0
		s.wait = func(ctx context.Context, until time.Time) error {
			err := sleepUntil(ctx, until.Add(back))
			if ticks++; ticks == 3 {
				back = time.Hour
			}
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 7500*time.Millisecond)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		var got []string
		for _, row := range rows(t, path)[1:] {
			at, err := time.Parse(time.RFC3339Nano, row[0])
			got = append(got, fmt.Sprintf("%s %s %v", at.Sub(began.Truncate(time.Second)), row[2], err))
		}
		want := []string{"1s 0 <nil>", "2s 0 <nil>", "-59m57s 0 <nil>", "-59m56s 0 <nil>", "-59m55s 0 <nil>", "-59m54s 0 <nil>", "-59m53s 0 <nil>"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A driver that hangs when its GPUs are looked for keeps no node from starting, and what it gives in the end is freed.
func TestGPUsOfADriverThatHangs(t *testing.T) {
	had := finders
	t.Cleanup(func() { finders = had })
	synctest.Test(t, func(t *testing.T) {
		closed := false
		finders = []finder{{"", func(visible, func(int) bool) (*gpus, error) {
			time.Sleep(time.Hour)
			return newGPUs(nil, nil, func() error { closed = true; return nil }), nil
		}}}
		began := time.Now()
		if source, err := GPUs(os.Getenv, nil); source != nil || err == nil || time.Since(began) > time.Minute {
			t.Errorf("%v, %v after %s", source, err, time.Since(began))
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if !closed {
			t.Error("it is held for ever")
		}
	})
}
