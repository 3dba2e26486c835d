package simulate

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadLog(t *testing.T) {
	const (
		first  = `{"event":"start","model":"a","seed":1}` + "\n"
		second = `{"event":"start","model":"b"}` + "\n"
		one    = `{"event":"request","id":"x","outcome":"answered","fault":"stall","lastTokenNs":5}` + "\n"
	)
	x := Record{Event: "request", ID: "x", Outcome: OutcomeAnswered, Fault: FaultStall, LastToken: 5}
	start := Start{Event: "start", Model: "a", Seed: 1}
	for name, c := range map[string]struct {
		text string
		want []Log
		err  string
	}{
		"nothing":            {"", nil, ""},
		"one life":           {first + one + one, []Log{{start, []Record{x, x}}}, ""},
		"two lives":          {first + one + second, []Log{{start, []Record{x}}, {Start{Event: "start", Model: "b"}, nil}}, ""},
		"killed in a line":   {first + one + one[:20], []Log{{start, []Record{x}}}, ""},
		"no start":           {one, nil, "line 1 of the simulated server's log: a request before the first start"},
		"another file":       {first + `{"event":"boot"}` + "\n", []Log{{Start: start}}, `line 2 of the simulated server's log: event "boot"`},
		"not JSON":           {"hello\n", nil, "line 1 of the simulated server's log: invalid character"},
		"a field of no type": {first + `{"event":"request","id":5}` + "\n", []Log{{start, []Record{{Event: "request"}}}}, "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ReadLog(strings.NewReader(c.text))
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestLogIsFlushedEveryTenthOfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{TTFT: time.Millisecond})
		for n := range 3 {
			f.do("/generate", `{"prompt":"a","max_tokens":1}`)
			time.Sleep(flushEvery)
			synctest.Wait()
			if lines := strings.Count(f.log.String(), "\n"); lines != n+2 {
				t.Errorf("%d lines after %d requests and 100 ms, want %d", lines, n+1, n+2)
			}
		}
	})
}

func TestStartTiesTheClockToTheWall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		f := start(t, Config{Seed: 9})
		f.stop()
		logs, err := ReadLog(strings.NewReader(f.log.String()))
		must(t, err)
		if s := logs[0].Start; !s.Wall.Equal(now) || s.WallUnix != now.UnixNano() || s.Seed != 9 || s.Model != DefaultModel {
			t.Errorf("start %+v, want the time %v, seed 9 and the model", s, now)
		}
	})
}

func TestRestartAppendsToTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "truth.jsonl")
	for range 2 {
		s, err := New(Config{LogPath: path})
		must(t, err)
		must(t, s.Close())
		must(t, s.Close()) // a second close does nothing
	}
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	if logs, err := ReadLog(f); err != nil || len(logs) != 2 {
		t.Errorf("%d lives, error %v; want 2", len(logs), err)
	}
}

var errBoom = errors.New("boom")

// A failingWriter takes n lines.
type failingWriter struct{ n int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.n--; w.n < 0 {
		return 0, errBoom
	}
	return len(p), nil
}

func TestLogErrorsAreReported(t *testing.T) {
	if _, err := New(Config{Log: &failingWriter{}}); !errors.Is(err, errBoom) {
		t.Errorf("New returned %v, want the writer's error", err)
	}
	s, err := New(Config{Log: &failingWriter{n: 1}})
	must(t, err)
	s.journal.write(&Record{Event: eventRequest})
	if err := s.Close(); !errors.Is(err, errBoom) {
		t.Errorf("Close returned %v, want the writer's error", err)
	}
}
