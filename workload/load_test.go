package workload

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/simulate"
)

// simulated serves a pretended model until the test ends.
func simulated(t *testing.T, cfg simulate.Config) string {
	t.Helper()
	sim, err := simulate.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(sim.Handler())
	t.Cleanup(func() {
		s.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.URL
}

// short is a load of less than two seconds.
func short(load api.LoadSpec) api.WorkloadSpec {
	w := work(load)
	w.Warmup.Duration, w.Duration.Duration = 200*time.Millisecond, time.Second
	w.Output.Tokens = 8
	return w
}

func planOf(w api.WorkloadSpec, urls ...string) Plan {
	p := Plan{Workload: w, Ranks: 1, Seed: 1, Model: "dummy", Node: "n1", RunID: "r"}
	for i, u := range urls {
		p.Targets = append(p.Targets, Target{string(rune('a' + i)), u})
	}
	return p
}

// makeLoad prepares a load, makes it, and gives what it left.
func makeLoad(t *testing.T, plan Plan) (all, *Load) {
	t.Helper()
	l, err := NewLoad(plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Prepare(t.Context()); err != nil {
		t.Fatal(err, l.Close())
	}
	path := filepath.Join(t.TempDir(), "records-0.jsonl")
	w, err := CreateRecords(path, l.Header("uid", 1, 5))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Run(t.Context(), time.Now().Add(20*time.Millisecond), w, nil); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := readAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return got, l
}

func TestLoadAgainstAServer(t *testing.T) {
	t.Parallel()
	url := simulated(t, simulate.Config{TTFT: 20 * time.Millisecond, ITL: 5 * time.Millisecond})
	for name, tc := range map[string]struct {
		change func(*api.WorkloadSpec)
		check  func(*testing.T, *Record)
	}{
		"chat":               {},
		"completions by ids": {change: func(w *api.WorkloadSpec) { w.API, w.Prompts.Tokenizer = api.APICompletions, api.CounterIDs }},
		"in one piece": {
			change: func(w *api.WorkloadSpec) { *w.Streaming = false },
			check: func(t *testing.T, r *Record) {
				if r.Streamed || r.First != 0 || len(r.Gaps) != 0 {
					t.Errorf("an answer in one piece has no first token: %+v", r)
				}
			},
		},
		"rest": {change: func(w *api.WorkloadSpec) {
			*w.Streaming, w.API = false, api.APIREST
			w.REST = &api.RESTSpec{Path: "/generate", Body: `{"prompt":"$prompt","max_tokens":"$maxTokens"}`, Text: "text", PromptTokens: "usage.prompt_tokens", OutputTokens: "usage.completion_tokens"}
		}},
		"open":                          {change: func(w *api.WorkloadSpec) { w.Load = api.LoadSpec{Pattern: api.PatternPoisson, Rate: 60} }},
		"two threads' worth of clients": {change: func(w *api.WorkloadSpec) { w.Load.ClientsPerNode = 1001; w.Load.ThinkTime.Duration = time.Second }},
	} {
		t.Run(name, func(t *testing.T) {
			w := short(api.LoadSpec{ClientsPerNode: 4})
			w.Prompts.Tokens = 12
			if tc.change != nil {
				tc.change(&w)
			}
			got, l := makeLoad(t, planOf(w, url, url))
			if len(got.Headers) != 1 || len(got.Trailers) != 1 || len(got.Records) < 20 {
				t.Fatalf("%d headers, %d records, %d trailers", len(got.Headers), len(got.Records), len(got.Trailers))
			}
			seen := map[int64]bool{}
			for i := range got.Records {
				r := &got.Records[i]
				if r.Class != "" || r.OutputTokens != 8 || r.PromptTokens != 12 || r.Source != "server" || seen[r.K] {
					t.Fatalf("record %+v", r)
				}
				if *w.Streaming && (!r.Streamed || r.First < r.Sent || r.Last < r.First || r.End < r.Last) {
					t.Fatalf("times out of order: %+v", r)
				}
				seen[r.K] = true
				if tc.check != nil {
					tc.check(t, r)
				}
			}
			if p := l.Progress(); p.Stage != StageDone || p.Percent != 100 || p.InFlight != 0 || p.Sent != int64(len(got.Records)) {
				t.Errorf("progress at the end: %+v", p)
			}
			if trailer := got.Trailers[0]; trailer.CPUSeconds <= 0 || trailer.SendEnded <= 0 {
				t.Errorf("trailer %+v", trailer)
			}
		})
	}
}

func TestHeaderAndServerView(t *testing.T) {
	t.Parallel()
	url := simulated(t, simulate.Config{TTFT: 20 * time.Millisecond, ITL: time.Millisecond, Concurrency: 2})
	got, _ := makeLoad(t, planOf(short(api.LoadSpec{ClientsPerNode: 4}), url))
	h := got.Headers[0]
	if !h.Extensions || h.PromptCount != "server" || h.Concurrency != 4 || h.Pattern != "closed" || h.OfferedRate != 0 {
		t.Errorf("header %+v", h)
	}
	view := got.Trailers[0].Servers["a"]
	// Two of four wait at a time: each request waits about as long as another takes.
	if view.Source != "vllm" || view.Queue.Count < 20 || view.Queue.Sum/view.Queue.Count < 0.005 || view.TTFT.Count < 20 || view.Restarted {
		t.Errorf("what the server told: %+v", view)
	}
}

func TestPrepareRefuses(t *testing.T) {
	t.Parallel()
	url := simulated(t, simulate.Config{MaxModelLen: 300})
	for name, tc := range map[string]struct {
		change func(*Plan)
		want   string
		input  bool
	}{
		"a prompt longer than the model takes": {func(p *Plan) { p.Workload.Prompts.Tokens = 400 }, "the model takes 300", true},
		"a trace that is not there": {func(p *Plan) {
			p.Workload.Load = api.LoadSpec{Pattern: api.PatternTrace, Trace: &api.TraceSpec{Path: "/nowhere", Speed: 1}}
		}, "/nowhere", true},
		"prompts that are not there": {func(p *Plan) { p.Workload.Prompts.Source, p.Workload.Prompts.Path = api.PromptJSONL, "/nowhere" }, "/nowhere", true},
		"a tokenizer that is not there": {func(p *Plan) {
			p.Workload.Prompts.Tokenizer, p.Workload.Prompts.TokenizerPath = api.CounterFile, "/nowhere"
		}, "/nowhere", true},
		"a server that is not there":     {func(p *Plan) { p.Targets[0].URL = "http://127.0.0.1:1" }, "connect to http://127.0.0.1:1", false},
		"a URL with credentials":         {func(p *Plan) { p.Targets[0].URL = "http://me:secret@127.0.0.1:1" }, "credentials", false},
		"a server without that endpoint": {func(p *Plan) { p.Workload.Prompts.Tokenizer = api.CounterServer; p.Targets[0].URL += "/v2" }, "HTTP 404", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := planOf(short(api.LoadSpec{ClientsPerNode: 1}), url)
			tc.change(&plan)
			l, err := NewLoad(plan)
			if err != nil {
				t.Fatal(err)
			}
			err = l.Prepare(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, ErrInput) != tc.input || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v", err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNewLoadRefuses(t *testing.T) {
	t.Parallel()
	good := func() Plan { return planOf(constant(10, 0), "http://a") }
	if _, err := NewLoad(good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Plan){
		"no server":          func(p *Plan) { p.Targets = nil },
		"an unknown pattern": func(p *Plan) { p.Workload.Load.Pattern = "chaos" },
		"a negative rate":    func(p *Plan) { p.Workload.Load.Rate = -1 },
		"rank beyond ranks":  func(p *Plan) { p.Rank = 1 },
		"no ranks":           func(p *Plan) { p.Ranks = 0 },
		"no duration":        func(p *Plan) { p.Workload.Duration.Duration = 0 },
		"no drain":           func(p *Plan) { p.Workload.Drain = nil },
		"no clients":         func(p *Plan) { p.Workload.Load = api.LoadSpec{Pattern: api.PatternClosed} },
	} {
		p := good()
		spoil(&p)
		if _, err := NewLoad(p); err == nil || !strings.HasPrefix(err.Error(), "prepare load: ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// A load that is ended leaves a whole file, with a record of every request.
func TestRunCanBeEnded(t *testing.T) {
	t.Parallel()
	url := simulated(t, simulate.Config{TTFT: 10 * time.Millisecond, ITL: time.Second})
	w := short(api.LoadSpec{ClientsPerNode: 5})
	w.Duration = metav1.Duration{Duration: time.Hour}
	l, err := NewLoad(planOf(w, url))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "r")
	records, err := CreateRecords(path, l.Header("u", 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for l.Progress().InFlight < 5 { // it ends with the test if it never comes
			if ctx.Err() != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if err := l.Run(ctx, time.Now(), records, nil); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := readAll(f)
	if err != nil || len(got.Records) != 5 || len(got.Trailers) != 1 || got.Trailers[0].Bound != BoundStopped {
		t.Fatalf("%v: %d records, trailers %+v", err, len(got.Records), got.Trailers)
	}
	for _, r := range got.Records {
		if r.Class != "cancelled" {
			t.Errorf("record %+v", r)
		}
	}
}
