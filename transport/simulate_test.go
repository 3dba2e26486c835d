package transport

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/benchd/benchd/protocol"
	"github.com/benchd/benchd/simulate"
)

// simulated serves cfg and returns its endpoint, how many connections it saw, and what ends it and reads its log.
func simulated(t testing.TB, cfg simulate.Config, f protocol.Format) (*Endpoint, *atomic.Int64, func() map[string]simulate.Record) {
	t.Helper()
	var log bytes.Buffer
	cfg.Log, cfg.LogChunks = &log, true
	sim, err := simulate.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var conns atomic.Int64
	s := httptest.NewUnstartedServer(sim.Handler())
	s.Config.ErrorLog = quiet
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	return to(t, s.Listener.Addr().String(), f), &conns, func() map[string]simulate.Record {
		t.Helper()
		s.Close()
		if err := sim.Close(); err != nil {
			t.Fatal(err)
		}
		logs, err := simulate.ReadLog(&log)
		if err != nil || len(logs) != 1 {
			t.Fatalf("%d logs: %v", len(logs), err)
		}
		byID := map[string]simulate.Record{}
		for _, r := range logs[0].Requests {
			byID[r.ID] = r
		}
		return byID
	}
}

// slack is what a busy machine may add between the server's write and the client's time stamp.
const slack = 500 * time.Millisecond

func TestTimesAgreeWithTheServersOwn(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg simulate.Config
		api protocol.OpenAI
	}{
		"one token a chunk":   {simulate.Config{TTFT: 60 * time.Millisecond, ITL: 10 * time.Millisecond}, chat},
		"four tokens a chunk": {simulate.Config{TTFT: 60 * time.Millisecond, ITL: 5 * time.Millisecond, ChunkTokens: 4}, protocol.OpenAI{Model: "dummy", Chat: true, Streaming: true, Extensions: true}},
		"a lot at once":       {simulate.Config{TTFT: 30 * time.Millisecond, ITL: 1}, chat},
		"completions":         {simulate.Config{TTFT: 30 * time.Millisecond, ITL: 5 * time.Millisecond}, protocol.OpenAI{Model: "dummy", Streaming: true, Extensions: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			e, conns, log := simulated(t, tc.cfg, tc.api)
			s := l.Server(e)
			var results []protocol.Result
			for i := range 5 {
				results = append(results, l.send(s, patience, protocol.Question{ID: fmt.Sprint(i), Text: []byte("one two three"), MaxTokens: 9}).result())
			}
			truth := log()
			if n := conns.Load(); n != 1 {
				t.Errorf("%d connections for requests one after the other, want 1", n)
			}
			for i, r := range results {
				compare(t, i, &r, truth[fmt.Sprint(i)], tc.api.Extensions)
			}
		})
	}
}

// compare compares a result with the server's record. It has several chunks in one read where they came at once.
func compare(t *testing.T, i int, r *protocol.Result, want simulate.Record, continuous bool) {
	if r.Class != "" || r.OutputTokens != 9 || r.PromptTokens != want.PromptTokens || r.TokenSource != protocol.TokensFromServer {
		t.Errorf("request %d: %d/%d tokens from %q, class %q: %s", i, r.PromptTokens, r.OutputTokens, r.TokenSource, r.Class, r.Message)
	}
	if len(r.Chunks) != want.Chunks || len(want.ChunkTimes) != want.Chunks {
		t.Fatalf("request %d: %d chunks, the server sent %d", i, len(r.Chunks), want.Chunks)
	}
	// The request takes time to arrive, so TTFT seen here is never shorter than the server's.
	if got, least := time.Duration(r.First-r.Sent), want.FirstToken-want.Arrival; got < least || got > least+slack {
		t.Errorf("request %d: TTFT %s, the server's %s", i, got, least)
	}
	for k, sent := range want.ChunkTimes {
		// From the first chunk on, the two clocks run alike.
		if got, told := time.Duration(r.Chunks[k])*time.Microsecond, sent.At-want.FirstToken; (got - told).Abs() > slack {
			t.Errorf("request %d: chunk %d after %s, the server's after %s", i, k, got, told)
		}
		if continuous && (len(r.ChunkTokens) != want.Chunks || int(r.ChunkTokens[k]) != sent.Tokens) {
			t.Fatalf("request %d: tokens of chunks %v; the server's %v", i, r.ChunkTokens, want.ChunkTimes)
		}
	}
	if got, told := time.Duration(r.Last-r.First), want.LastToken-want.FirstToken; (got - told).Abs() > slack {
		t.Errorf("request %d: first to last token %s, the server's %s", i, got, told)
	}
	if (i > 0) != (r.Connected == 0) {
		t.Errorf("request %d: connected at %v", i, r.Connected)
	}
}

func TestFaultsOfTheSimulatedServer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		faults simulate.Faults
		class  protocol.Class
		whole  protocol.Class // of an answer in one piece
	}{
		"none":         {simulate.Faults{}, "", ""},
		"error":        {simulate.Faults{ErrorRate: 1}, protocol.ClassStatus, protocol.ClassStatus},
		"cut":          {simulate.Faults{CutRate: 1}, protocol.ClassCut, protocol.ClassCut},
		"truncate":     {simulate.Faults{TruncateRate: 1}, protocol.ClassCut, "-"},
		"stream error": {simulate.Faults{StreamErrorRate: 1}, protocol.ClassServer, "-"},
		"empty":        {simulate.Faults{EmptyRate: 1}, protocol.ClassEmpty, protocol.ClassEmpty},
		"hang":         {simulate.Faults{HangRate: 1}, protocol.ClassTimeout, protocol.ClassTimeout},
		"stall":        {simulate.Faults{StallRate: 1, Stall: 20 * time.Millisecond}, "", ""},
		"early stop":   {simulate.Faults{EarlyStopRate: 1}, "", ""},
	} {
		for _, api := range []protocol.OpenAI{chat, whole} {
			want := tc.class
			if !api.Streaming {
				want = tc.whole
			}
			if want == "-" { // a fault of streams
				continue
			}
			t.Run(fmt.Sprint(name, ", streamed ", api.Streaming), func(t *testing.T) {
				t.Parallel()
				l := newLab(t)
				e, _, log := simulated(t, simulate.Config{TTFT: time.Millisecond, ITL: time.Millisecond, Faults: tc.faults}, api)
				timeout := patience
				if want == protocol.ClassTimeout {
					timeout = brief
				}
				r := l.send(l.Server(e), timeout, protocol.Question{ID: "x", Text: []byte("one"), MaxTokens: 6}).result()
				truth := log()["x"]
				if r.Class != want {
					t.Errorf("class %q (%s), want %q; the server says %+v", r.Class, r.Message, want, truth)
				}
				if r.Class == "" && r.OutputTokens != truth.OutputTokens {
					t.Errorf("%d output tokens, the server sent %d", r.OutputTokens, truth.OutputTokens)
				}
			})
		}
	}
}

// Many streams at once on one loop: each gets its own answer.
func TestManyStreamsAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	e, _, log := simulated(t, simulate.Config{TTFT: 20 * time.Millisecond, ITL: time.Millisecond}, chat)
	s := l.Server(e)
	const streams = 100
	var all []*pending
	for i := range streams {
		all = append(all, l.send(s, patience, protocol.Question{ID: fmt.Sprint(i), Text: []byte("one"), MaxTokens: 1 + i%7}))
	}
	var results []protocol.Result
	for _, p := range all {
		results = append(results, p.result())
	}
	if n := value(l, func() int { return s.Outstanding }); n != 0 {
		t.Errorf("%d requests are under way", n)
	}
	truth := log()
	for i, r := range results {
		if r.Class != "" || r.OutputTokens != 1+i%7 || len(r.Chunks) != truth[fmt.Sprint(i)].Chunks {
			t.Errorf("request %d: %d tokens in %d chunks, class %q: %s", i, r.OutputTokens, len(r.Chunks), r.Class, r.Message)
		}
	}
}
