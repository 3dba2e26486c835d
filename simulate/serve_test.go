package simulate

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestConcurrencyMakesAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{Concurrency: 1, QueueLimit: 2})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { f.do("/generate", `{"prompt":"a b","max_tokens":6}`) }) // 100 ms each
			synctest.Wait()
		}
		if status, body := f.do("/generate", `{"prompt":"a"}`); status != http.StatusServiceUnavailable || !strings.Contains(body, "2 wait") {
			t.Errorf("the fourth got %d %s, want 503", status, body)
		}
		_, scrape := f.do("/metrics", "")
		for _, line := range []string{
			`vllm:num_requests_running{engine="0",model_name="dummy"} 1`,
			`vllm:num_requests_waiting{engine="0",model_name="dummy"} 2`,
		} {
			if !strings.Contains(scrape, line+"\n") {
				t.Errorf("no line %s in\n%s", line, scrape)
			}
		}
		wg.Wait()
		records := f.stop()
		if len(records) != 4 || records[0].Outcome != OutcomeRefused {
			t.Fatalf("%d records, want 4 with the refused one first:\n%s", len(records), f.log)
		}
		for i, rec := range records[1:] {
			start := time.Duration(i) * 100 * time.Millisecond
			if rec.Seq != uint64(i+1) || rec.Queue != start || rec.Dequeued != start || rec.LastToken != start+100*time.Millisecond {
				t.Errorf("record %+v; want request %d to leave the queue at %v", rec, i+1, start)
			}
		}
	})
}

func TestMetricsCountWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{OutputTokens: 3})
		f.do("/generate", `{"prompt":"a b","max_tokens":2}`)
		_, err := f.stream("/v1/completions", `{"prompt":"a","stream":true}`)
		must(t, err)
		f.do("/v1/completions", `{"prompt":"a","model":"other"}`) // refused: not the engine's
		_, scrape := f.do("/metrics", "")
		const labels = `engine="0",model_name="dummy"`
		for _, line := range []string{
			`vllm:prompt_tokens_total{` + labels + `} 3`,
			`vllm:generation_tokens_total{` + labels + `} 5`,
			`vllm:request_success_total{engine="0",finished_reason="length",model_name="dummy"} 1`,
			`vllm:request_success_total{engine="0",finished_reason="stop",model_name="dummy"} 1`,
			`vllm:request_success_total{engine="0",finished_reason="abort",model_name="dummy"} 0`,
			`vllm:time_to_first_token_seconds_bucket{` + labels + `,le="0.06"} 2`,
			`vllm:time_to_first_token_seconds_count{` + labels + `} 2`,
			`vllm:inter_token_latency_seconds_count{` + labels + `} 2`,
			`vllm:e2e_request_latency_seconds_count{` + labels + `} 2`,
			`vllm:request_queue_time_seconds_count{` + labels + `} 2`,
		} {
			if !strings.Contains(scrape, line+"\n") {
				t.Errorf("no line %s in\n%s", line, scrape)
			}
		}
	})
}

func TestClientThatLeavesEndsItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{Concurrency: 1})
		ctx, leave := context.WithCancel(t.Context())
		resp, err := f.client.Do(f.request(ctx, "/v1/completions", `{"prompt":"a","stream":true}`))
		must(t, err)
		in := bufio.NewReader(resp.Body)
		for range 4 { // two events and the empty lines after them
			_, err := in.ReadString('\n')
			must(t, err)
		}
		leave()
		resp.Body.Close()
		f.do("/generate", `{"prompt":"a","max_tokens":1}`) // the place is free
		rec := f.stop()[0]
		if at := 60 * time.Millisecond; rec.Outcome != OutcomeCancelled || rec.OutputTokens != 2 || rec.End != at {
			t.Errorf("record %+v; want it cancelled after 2 tokens at %v", rec, at)
		}
	})
}

func TestClientThatLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{Concurrency: 1, Faults: Faults{HangRate: 1}})
		first, leave := context.WithCancel(t.Context())
		go f.client.Do(f.request(first, "/generate", `{"prompt":"a"}`)) //nolint:errcheck // never answered
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.client.Do(f.request(ctx, "/generate", `{"prompt":"a"}`)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the client's own deadline", err)
		}
		synctest.Wait()
		leave()
		rec := f.stop()[0]
		if rec.Seq != 2 || rec.Outcome != OutcomeCancelled || rec.Queue != time.Second || rec.Fault != FaultNone {
			t.Errorf("record %+v; want the second, cancelled after 1s in the queue", rec)
		}
	})
}

func TestStopLetsRequestsFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{})
		var events []event
		var wg sync.WaitGroup
		wg.Go(func() {
			var err error
			events, err = f.stream("/v1/completions", `{"prompt":"a","stream":true,"max_tokens":5}`)
			must(t, err)
		})
		synctest.Wait()
		rec := f.one()
		wg.Wait()
		if rec.Outcome != OutcomeAnswered || len(events) != 6 || f.result != nil {
			t.Errorf("record %+v, %d events, Serve returned %v; want a whole answer and nil", rec, len(events), f.result)
		}
	})
}

func TestStopIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		cfg     Config
		within  time.Duration
		outcome Outcome
	}{
		"a long stream is cut after the grace": {Config{ITL: time.Minute, ShutdownGrace: 2 * time.Second}, 2*time.Second + 600*time.Millisecond, OutcomeStopped},
		"a hung request is cut at once":        {Config{Faults: Faults{HangRate: 1}}, 100 * time.Millisecond, OutcomeStopped},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, c.cfg)
				var wg sync.WaitGroup
				wg.Go(func() {
					if _, err := f.stream("/v1/completions", `{"prompt":"a","stream":true}`); err == nil {
						t.Error("the client saw a proper end; want its read to fail")
					}
				})
				synctest.Wait()
				rec := f.one()
				if took := f.server.now(); took > c.within {
					t.Errorf("stopped after %v, want at most %v", took, c.within)
				}
				wg.Wait()
				if rec.Outcome != c.outcome || f.result != nil {
					t.Errorf("record %+v, Serve returned %v; want %s and nil", rec, f.result, c.outcome)
				}
			})
		})
	}
}

func TestStopDoesNotWaitForUnusedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{})
		c, err := f.listen.dial(t.Context(), "", "")
		must(t, err)
		defer c.Close()
		synctest.Wait()
		f.stop()
		if took := f.server.now(); took > 100*time.Millisecond {
			t.Errorf("stopped after %v", took)
		}
	})
}

func TestServeReportsABrokenListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{})
		f.listen.Close()
		synctest.Wait()
		if f.stop(); !errors.Is(f.result, net.ErrClosed) || !strings.Contains(f.result.Error(), "serve on memory") {
			t.Errorf("Serve returned %v; want the listener's error and address", f.result)
		}
	})
}

func TestCrashAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var crashed atomic.Int32
		var atCrash string
		var f *fixture
		f = start(t, Config{Faults: Faults{CrashAfter: 2}, OnCrash: func() {
			crashed.Add(1)
			atCrash = f.log.String()
		}})
		var wg sync.WaitGroup
		wg.Go(func() { // open when the server crashes
			if _, err := f.stream("/v1/completions", `{"prompt":"a","stream":true}`); err == nil {
				t.Error("a stream outlived the crash")
			}
		})
		for range 2 {
			if status, _ := f.do("/v1/completions", `{"prompt":"a","max_tokens":3}`); status != http.StatusOK {
				t.Errorf("status %d before the crash", status)
			}
		}
		wg.Wait()
		if _, err := f.client.Do(f.request(t.Context(), "/health", "")); err == nil {
			t.Error("/health answers after the crash")
		}
		records := f.stop()
		if !errors.Is(f.result, ErrCrashed) || crashed.Load() != 1 {
			t.Errorf("Serve returned %v and OnCrash ran %d times; want ErrCrashed and once", f.result, crashed.Load())
		}
		if len(records) != 3 || records[2].Outcome != OutcomeStopped || strings.Count(atCrash, "\n") != 3 {
			t.Errorf("%d records, and %q at the crash; want 3, of which two at the crash", len(records), atCrash)
		}
	})
}

func TestCrashUnderAnotherServer(t *testing.T) {
	s, err := New(Config{TTFT: 1, Faults: Faults{CrashAfter: 1}})
	must(t, err)
	defer s.Close()
	hs := httptest.NewServer(s.Handler())
	defer hs.Close()
	client := hs.Client()
	resp, err := client.Post(hs.URL+"/generate", "application/json", strings.NewReader(`{"prompt":"a","max_tokens":1}`))
	must(t, err)
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("HTTP %d %s, %v; want a whole answer before the crash", resp.StatusCode, body, err)
	}
	if resp, err = client.Get(hs.URL + "/health"); err == nil {
		resp.Body.Close()
		t.Error("/health answers after the crash")
	}
}

// The one test on real sockets and a real clock: a client never sees a token before the log says it was sent.
func TestClientNeverSeesATokenEarly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "truth.jsonl")
	s, err := New(Config{TTFT: 5 * time.Millisecond, ITL: time.Millisecond, LogPath: path, LogChunks: true})
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()

	f := &fixture{t: t, server: s, client: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		},
	}}}
	events, err := f.stream("/v1/completions", `{"prompt":"a","stream":true,"max_tokens":50}`)
	must(t, err)
	stop()
	must(t, <-served)
	f.client.CloseIdleConnections()

	file, err := os.Open(path)
	must(t, err)
	defer file.Close()
	logs, err := ReadLog(file)
	must(t, err)
	rec := logs[0].Requests[0]
	if len(rec.ChunkTimes) != 50 || len(events) != 51 {
		t.Fatalf("%d chunks sent, %d events seen; want 50 and 51", len(rec.ChunkTimes), len(events))
	}
	for i, sent := range rec.ChunkTimes {
		due := rec.Dequeued + 5*time.Millisecond + time.Duration(i)*time.Millisecond
		if sent.At < due || events[i].at < sent.At || sent.At-due > rec.MaxLate {
			t.Errorf("token %d: due %v, sent %v, seen %v, at most %v late", i, due, sent.At, events[i].at, rec.MaxLate)
		}
	}
}
