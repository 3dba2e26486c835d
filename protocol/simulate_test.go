package protocol

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/benchd/benchd/simulate"
)

// simulated serves cfg and returns its URL, how many connections it saw, and what ends it and reads its log.
func simulated(t *testing.T, cfg simulate.Config) (string, *atomic.Int64, func() map[string]simulate.Record) {
	t.Helper()
	var log bytes.Buffer
	cfg.Log, cfg.LogChunks = &log, true
	sim, err := simulate.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var conns atomic.Int64
	s := httptest.NewUnstartedServer(sim.Handler())
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	return s.URL, &conns, func() map[string]simulate.Record {
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
	for name, cfg := range map[string]simulate.Config{
		"one token a chunk":   {TTFT: 60 * time.Millisecond, ITL: 10 * time.Millisecond},
		"four tokens a chunk": {TTFT: 60 * time.Millisecond, ITL: 5 * time.Millisecond, ChunkTokens: 4},
		"a lot at once":       {TTFT: 30 * time.Millisecond, ITL: 1},
	} {
		t.Run(name, func(t *testing.T) {
			url, conns, log := simulated(t, cfg)
			client := NewOpenAI(OpenAI{URL: url, Model: "dummy", Chat: true, Streaming: true, Timeout: patience})
			var results []Result
			for i := range 5 {
				results = append(results, client.Do(t.Context(), Request{ID: fmt.Sprint(i), Prompt: "one two three", MaxTokens: 9}))
			}
			client.Close()
			truth := log()
			if n := conns.Load(); n != 1 {
				t.Errorf("%d connections for requests one after the other, want 1", n)
			}
			for i, r := range results {
				want := truth[fmt.Sprint(i)]
				if r.Class != "" || r.OutputTokens != 9 || r.PromptTokens != want.PromptTokens || r.TokenSource != TokensFromServer {
					t.Errorf("request %d: %d/%d tokens from %q, class %q: %s", i, r.PromptTokens, r.OutputTokens, r.TokenSource, r.Class, r.Message)
				}
				if len(r.Gaps) > want.Chunks-1 {
					t.Errorf("request %d: %d gaps between %d chunks", i, len(r.Gaps), want.Chunks)
				}
				// The request takes time to arrive, so TTFT seen here is never shorter than the server's.
				if got, least := r.First.Sub(r.Sent), want.FirstToken-want.Arrival; got < least || got > least+slack {
					t.Errorf("request %d: TTFT %s, the server's %s", i, got, least)
				}
				if got, told := r.Last.Sub(r.First), want.LastToken-want.FirstToken; (got - told).Abs() > slack {
					t.Errorf("request %d: first to last token %s, the server's %s", i, got, told)
				}
				sum := time.Duration(0)
				for _, g := range r.Gaps {
					sum += g
				}
				if sum != r.Last.Sub(r.First) {
					t.Errorf("request %d: gaps add up to %s, not to %s", i, sum, r.Last.Sub(r.First))
				}
				if (i > 0) != r.Connected.IsZero() {
					t.Errorf("request %d: connected at %v", i, r.Connected)
				}
			}
		})
	}
}

func TestFaultsOfTheSimulatedServer(t *testing.T) {
	for name, tc := range map[string]struct {
		faults simulate.Faults
		class  Class
	}{
		"error":        {simulate.Faults{ErrorRate: 1}, ClassStatus},
		"cut":          {simulate.Faults{CutRate: 1}, ClassCut},
		"truncate":     {simulate.Faults{TruncateRate: 1}, ClassCut},
		"stream error": {simulate.Faults{StreamErrorRate: 1}, ClassServer},
		"empty":        {simulate.Faults{EmptyRate: 1}, ClassEmpty},
		"hang":         {simulate.Faults{HangRate: 1}, ClassTimeout},
		"stall":        {simulate.Faults{StallRate: 1, Stall: 20 * time.Millisecond}, ""},
		"early stop":   {simulate.Faults{EarlyStopRate: 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			url, _, log := simulated(t, simulate.Config{TTFT: time.Millisecond, ITL: time.Millisecond, Faults: tc.faults})
			client := NewOpenAI(OpenAI{URL: url, Model: "dummy", Chat: true, Streaming: true, Timeout: 300 * time.Millisecond})
			r := client.Do(t.Context(), Request{ID: "x", Prompt: "one", MaxTokens: 6})
			client.Close()
			truth := log()["x"]
			if r.Class != tc.class {
				t.Errorf("class %q (%s), want %q; the server says %+v", r.Class, r.Message, tc.class, truth)
			}
			if r.Class == "" && r.OutputTokens != truth.OutputTokens {
				t.Errorf("%d output tokens, the server sent %d", r.OutputTokens, truth.OutputTokens)
			}
		})
	}
}

func TestTransportErrorsAreClassified(t *testing.T) {
	deadline, cancel := context.WithTimeoutCause(t.Context(), 0, errors.New("another cause"))
	defer cancel()
	if got := classifyTransport(deadline, errors.New("x")); got != ClassCancelled {
		t.Errorf("a caller's deadline is %q", got)
	}
	if got := classifyTransport(t.Context(), &net.OpError{Op: "dial", Err: timeoutError{}}); got != ClassTimeout {
		t.Errorf("a dial that timed out is %q", got)
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "timed out" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

var _ net.Error = timeoutError{}
