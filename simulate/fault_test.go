package simulate

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFaultsAreSharesOfRequests(t *testing.T) {
	f := Faults{ErrorRate: 0.1, StallRate: 0.05, CutRate: 0.2, TruncateRate: 0.02, StreamErrorRate: 0.08, EmptyRate: 0.05, EarlyStopRate: 0.1, HangRate: 0.15}
	const requests = 100_000
	got := map[Fault]int{}
	for n := range uint64(requests) {
		got[f.draw(newRand(7, n))]++
	}
	none := 1.0
	for _, r := range f.rates() {
		none -= r.rate
		if share := float64(got[r.fault]) / requests; math.Abs(share-r.rate) > 0.005 {
			t.Errorf("%s struck %.3f of the requests, want %.3f", r.fault, share, r.rate)
		}
	}
	if share := float64(got[FaultNone]) / requests; math.Abs(share-none) > 0.005 {
		t.Errorf("%.3f of the requests had no fault, want %.3f", share, none)
	}
}

func TestNoFaultUnlessAskedFor(t *testing.T) {
	for n := range uint64(1000) {
		if got := (Faults{}).draw(newRand(0, n)); got != FaultNone {
			t.Fatalf("request %d drew %q", n, got)
		}
	}
}

func TestFaultsInStreams(t *testing.T) {
	for name, c := range map[string]struct {
		faults  Faults
		extra   string // of the request
		words   int
		finish  string
		done    bool
		failed  bool // the client's read
		wantErr bool // an error object in the stream
		fault   Fault
	}{
		"cut":                     {faults: Faults{CutRate: 1}, words: 2, failed: true, fault: FaultCut},
		"cut of one token":        {faults: Faults{CutRate: 1}, extra: `,"max_tokens":1`, words: 1, finish: "length", failed: true, fault: FaultCut},
		"truncate":                {faults: Faults{TruncateRate: 1}, words: 2, fault: FaultTruncate},
		"error in the stream":     {faults: Faults{StreamErrorRate: 1}, words: 2, done: true, wantErr: true, fault: FaultStreamError},
		"empty":                   {faults: Faults{EmptyRate: 1}, finish: "stop", done: true, fault: FaultEmpty},
		"stall":                   {faults: Faults{StallRate: 1, Stall: time.Minute}, words: 4, finish: "length", done: true, fault: FaultStall},
		"early stop":              {faults: Faults{EarlyStopRate: 1}, words: 2, finish: "stop", done: true, fault: FaultEarlyStop},
		"early stop, held off":    {faults: Faults{EarlyStopRate: 1}, extra: `,"ignore_eos":true`, words: 4, finish: "length", done: true},
		"early stop, moved":       {faults: Faults{EarlyStopRate: 1}, extra: `,"min_tokens":3`, words: 3, finish: "stop", done: true, fault: FaultEarlyStop},
		"early stop, moved off":   {faults: Faults{EarlyStopRate: 1}, extra: `,"min_tokens":4`, words: 4, finish: "length", done: true},
		"early stop of one token": {faults: Faults{EarlyStopRate: 1}, extra: `,"max_tokens":1`, words: 1, finish: "length", done: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, Config{Faults: c.faults})
				events, err := f.stream("/v1/chat/completions", `{"messages":[{"role":"user","content":"a"}],"stream":true,"max_tokens":4`+c.extra+`}`)
				if failed := err != nil; failed != c.failed {
					t.Errorf("reading ended with %v", err)
				}
				content, finish := text(t, events)
				if content != Text(c.words) || finish != c.finish {
					t.Errorf("text %q, finish %q; want %q, %q", content, finish, Text(c.words), c.finish)
				}
				var all strings.Builder
				for _, e := range events {
					all.WriteString(e.data + "\n")
				}
				if got := strings.HasSuffix(all.String(), "[DONE]\n"); got != c.done {
					t.Errorf("[DONE] at the end: %v, want %v, in\n%s", got, c.done, &all)
				}
				if got := strings.Contains(all.String(), `{"error":{`); got != c.wantErr {
					t.Errorf("an error object: %v, want %v, in\n%s", got, c.wantErr, &all)
				}
				rec := f.one()
				if rec.Fault != c.fault || rec.OutputTokens != c.words || rec.Outcome != OutcomeAnswered || rec.Status != 200 {
					t.Errorf("record %+v; want answered, %d tokens, fault %q", rec, c.words, c.fault)
				}
			})
		})
	}
}

func TestFaultsInWholeAnswers(t *testing.T) {
	const whole = `{"text":"the quick brown fox","usage":{"prompt_tokens":1,"total_tokens":5,"completion_tokens":4}}`
	const half = `{"text":"the quick","usage":{"prompt_tokens":1,"total_tokens":3,"completion_tokens":2}}`
	for name, c := range map[string]struct {
		faults Faults
		status int
		body   string
		failed bool
		took   time.Duration
		fault  Fault
	}{
		"error":          {Faults{ErrorRate: 1}, 500, `"code":500`, false, 0, FaultError},
		"another error":  {Faults{ErrorRate: 1, ErrorStatus: 429}, 429, `"type":"RateLimitError"`, false, 0, FaultError},
		"stall":          {Faults{StallRate: 1, Stall: time.Minute}, 200, whole, false, time.Minute + 80*time.Millisecond, FaultStall},
		"cut":            {Faults{CutRate: 1}, 200, half[:len(half)/2], true, 60 * time.Millisecond, FaultCut},
		"truncate":       {Faults{TruncateRate: 1}, 200, half[:len(half)/2], false, 60 * time.Millisecond, FaultTruncate},
		"error with 200": {Faults{StreamErrorRate: 1}, 200, `"code":500`, false, 60 * time.Millisecond, FaultStreamError},
		"empty":          {Faults{EmptyRate: 1}, 200, `{"text":"","usage":{"prompt_tokens":1,"total_tokens":1,"completion_tokens":0}}`, false, 50 * time.Millisecond, FaultEmpty},
		"early stop":     {Faults{EarlyStopRate: 1}, 200, half, false, 60 * time.Millisecond, FaultEarlyStop},
		"none":           {Faults{}, 200, whole, false, 80 * time.Millisecond, FaultNone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, Config{Faults: c.faults})
				resp, err := f.client.Do(f.request(t.Context(), "/generate", `{"prompt":"a","max_tokens":4}`))
				must(t, err)
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if failed := err != nil; failed != c.failed {
					t.Errorf("reading ended with %v", err)
				}
				if resp.StatusCode != c.status || !strings.Contains(string(body), c.body) {
					t.Errorf("HTTP %d %s; want %d %s", resp.StatusCode, body, c.status, c.body)
				}
				if got := f.server.now(); got != c.took {
					t.Errorf("took %v, want %v", got, c.took)
				}
				if rec := f.one(); rec.Fault != c.fault || rec.Outcome != OutcomeAnswered || rec.Status != c.status {
					t.Errorf("record %+v; want answered with %d, fault %q", rec, c.status, c.fault)
				}
			})
		})
	}
}

func TestHangAfter(t *testing.T) {
	for name, c := range map[string]struct {
		faults   Faults
		answered int
	}{
		"after two":        {Faults{HangAfter: 2}, 2},
		"from the first":   {Faults{HangRate: 1}, 0},
		"faults count too": {Faults{HangAfter: 1, ErrorRate: 1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, Config{Faults: c.faults})
				for range c.answered {
					f.do("/generate", `{"prompt":"a","max_tokens":1}`)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if _, err := f.client.Do(f.request(ctx, "/generate", `{"prompt":"a","max_tokens":1}`)); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v, want none but the client's own deadline", err)
				}
				if status, _ := f.do("/health", ""); status != http.StatusOK {
					t.Errorf("health is %d, want 200", status)
				}
				records := f.stop()
				last := records[len(records)-1]
				if len(records) != c.answered+1 || last.Outcome != OutcomeCancelled || last.Fault != FaultHang || last.Status != 0 {
					t.Errorf("%d records, the last %+v; want it cancelled, fault hang", len(records), last)
				}
			})
		})
	}
}

func TestUnhealthyAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{Faults: Faults{UnhealthyAfter: 2}})
		for n, want := range []int{200, 200, 500} {
			if status, body := f.do("/health", ""); status != want {
				t.Errorf("after %d requests health is %d %s, want %d", n, status, body, want)
			}
			if status, _ := f.do("/generate", `{"prompt":"a","max_tokens":1}`); status != http.StatusOK {
				t.Errorf("request %d got %d, want 200: only /health fails", n, status)
			}
		}
	})
}
