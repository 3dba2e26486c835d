package executor

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/simulate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is an executor behind its HTTP API and a simulated server to send to.
type fixture struct {
	t    *testing.T
	exec *Executor
	zero time.Time
	url  string
	llm  string
	dir  string
	open atomic.Int64 // connections to the simulated server
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	sim, err := simulate.New(simulate.Config{TTFT: 5 * time.Millisecond, ITL: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, zero: time.Now(), dir: t.TempDir()}
	llm := httptest.NewUnstartedServer(sim.Handler())
	llm.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			f.open.Add(1)
		case http.StateClosed:
			f.open.Add(-1)
		}
	}
	llm.Start()
	f.llm = llm.URL
	f.exec = New("n1", f.zero, slog.New(slog.DiscardHandler))
	mux := http.NewServeMux()
	f.exec.Register(mux)
	face := httptest.NewServer(mux)
	f.url = face.URL
	t.Cleanup(func() {
		f.exec.Stop()
		face.Close()
		llm.Close()
		_ = sim.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return f
}

func duration(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }

// request asks for a closed loop of two clients.
func (f *fixture) request(run string, attempt int32, lasts time.Duration) node.StartRequest {
	drain, timeout := duration(5*time.Second), duration(5*time.Second)
	req := node.StartRequest{
		RunUID: run, Attempt: attempt, Ranks: 1, Service: "dummy", Model: "dummy", Servers: []api.ServerStatus{{Name: "s0", URL: f.llm}},
		Records: filepath.Join(f.dir, run+".jsonl"), T0: int64(time.Since(f.zero)),
		Workload: api.WorkloadSpec{
			Duration: duration(lasts), Drain: &drain, Load: api.LoadSpec{Pattern: api.PatternClosed, ClientsPerNode: 2},
			Prompts: api.PromptSpec{Tokens: 4}, Output: api.OutputSpec{Tokens: 3}, RequestTimeout: &timeout,
		},
	}
	api.SetWorkloadDefaults(&req.Workload)
	return req
}

// call sends a body (bytes as they are, anything else as JSON) and returns status and answer.
func (f *fixture) call(method, path string, body any) (int, string) {
	f.t.Helper()
	var data []byte
	switch b := body.(type) {
	case nil:
	case []byte:
		data = b
	default:
		data, _ = json.Marshal(b)
	}
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, bytes.NewReader(data))
	if err != nil {
		f.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (f *fixture) start(req node.StartRequest) (int, node.ExecutorStatus) {
	f.t.Helper()
	code, text := f.call("POST", "/start", req)
	var st node.ExecutorStatus
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		f.t.Fatalf("%s: %v", text, err)
	}
	return code, st
}

func TestLifeOfALoad(t *testing.T) {
	f := newFixture(t)
	if code, text := f.call("GET", "/health", nil); code != 200 || text != `{"node":"n1","status":"ok"}`+"\n" {
		t.Errorf("health: %d %s", code, text)
	}
	if got := f.exec.Status(); got.State != node.ExecutorIdle || got.Node != "n1" {
		t.Errorf("idle: %+v", got)
	}
	if code, text := f.call("GET", "/metrics/prometheus", nil); code != 200 || text != "" {
		t.Errorf("metrics of nothing: %d %q", code, text)
	}
	code, text := f.call("POST", "/stop", nil)
	if code != 200 || !strings.Contains(text, `"idle"`) {
		t.Errorf("stop of nothing: %d %s", code, text)
	}
	a := f.request("a", 1, time.Hour)
	if code, st := f.start(a); code != 200 || st.State != node.ExecutorRunning || st.RunUID != "a" || st.Attempt != 1 {
		t.Fatalf("start: %d %+v", code, st)
	}
	if code, st := f.start(a); code != 200 || st.State != node.ExecutorRunning {
		t.Errorf("start again: %d %+v", code, st)
	}
	for name, other := range map[string]node.StartRequest{"run": f.request("b", 1, time.Hour), "attempt": f.request("a", 2, time.Hour)} {
		if code, text := f.call("POST", "/start", other); code != http.StatusConflict || !strings.Contains(text, "run a attempt 1 is still under way: stop it first") {
			t.Errorf("another %s: %d %s", name, code, text)
		}
	}
	if _, err := os.Stat(filepath.Join(f.dir, "b.jsonl")); !os.IsNotExist(err) {
		t.Errorf("the refused run has a file: %v", err)
	}
	f.answers(10)
	live := f.live()
	if live.Status.State != node.ExecutorRunning || live.InFlight < 0 || live.InFlight > 2 || live.LatencyP50 < 0.005 || live.TTFTP50 < 0.005 || live.Status.FirstSent < a.T0 {
		t.Errorf("live: %+v", live)
	}
	// When stop answers, the records are sealed.
	if code, text := f.call("POST", "/stop", nil); code != 200 || !strings.Contains(text, `"done"`) {
		t.Errorf("stop: %d %s", code, text)
	}
	if _, err := os.Stat(a.Records + ".done.json"); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(20 * time.Second); f.open.Load() > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections stay open after the load", f.open.Load())
		}
	}
	if code, st := f.start(a); code != 200 || st.State != node.ExecutorStopped {
		t.Errorf("start of what is done: %d %+v", code, st)
	}
	if code, st := f.start(f.request("b", 1, time.Millisecond)); code != 200 || st.RunUID != "b" {
		t.Errorf("the next run: %d %+v", code, st)
	}
}

func (f *fixture) live() (l Live) {
	f.t.Helper()
	_, text := f.call("GET", "/metrics", nil)
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		f.t.Fatal(err)
	}
	return l
}

// answers waits until so many requests succeeded.
func (f *fixture) answers(n int64) {
	f.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if p := f.live().Status.Progress; p != nil && p.Succeeded >= n {
			return
		}
	}
	f.t.Fatal("no answers within 20 s")
}

func TestRequestsThatCannotBeCarriedOut(t *testing.T) {
	f := newFixture(t)
	spoilt := func(change func(*node.StartRequest)) node.StartRequest {
		req := f.request("x", 1, time.Second)
		change(&req)
		return req
	}
	for name, tc := range map[string]struct {
		body any
		code int
		part string
	}{
		"not JSON":           {[]byte("hello"), 400, "decode the workload"},
		"the wrong type":     {[]byte(`{"rank":"first"}`), 400, "decode the workload"},
		"too large":          {bytes.Repeat([]byte(" "), 5<<20), 400, "too large"},
		"nothing in it":      {[]byte(`{}`), 409, "no server to send to"},
		"no server":          {spoilt(func(r *node.StartRequest) { r.Servers = nil }), 409, "no server to send to"},
		"no ranks":           {spoilt(func(r *node.StartRequest) { r.Ranks = 0 }), 409, "rank 0"},
		"an unknown pattern": {spoilt(func(r *node.StartRequest) { r.Workload.Load.Pattern = "chaos" }), 409, "chaos"},
		"a trace that is not there": {spoilt(func(r *node.StartRequest) {
			r.Workload.Load = api.LoadSpec{Pattern: api.PatternTrace, Trace: &api.TraceSpec{Path: "/nowhere", Speed: 1}}
		}), 422, "/nowhere"},
		"a server that is gone": {spoilt(func(r *node.StartRequest) { r.Servers[0].URL = "http://127.0.0.1:1" }), 409, "connect to http://127.0.0.1:1"},
		"no place for records":  {spoilt(func(r *node.StartRequest) { r.Records = filepath.Join(f.dir, "gone", "x") }), 409, "create records"},
	} {
		code, text := f.call("POST", "/start", tc.body)
		if code != tc.code || !strings.Contains(text, tc.part) {
			t.Errorf("%s: %d %s", name, code, text)
		}
	}
	if st := f.exec.Status(); st.State != node.ExecutorIdle {
		t.Errorf("after them: %+v", st)
	}
	if left, _ := os.ReadDir(f.dir); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}
	for path, want := range map[string]int{"GET /start": 405, "POST /health": 405, "GET /nothing": 404, "GET /stop": 405} {
		method, path, _ := strings.Cut(path, " ")
		if code, _ := f.call(method, path, nil); code != want {
			t.Errorf("%s %s: %d, want %d", method, path, code, want)
		}
	}
}

func TestPrometheusText(t *testing.T) {
	f := newFixture(t)
	req := f.request("a", 1, time.Hour)
	broken := httptest.NewServer(http.NotFoundHandler())
	defer broken.Close()
	req.Servers = append(req.Servers, api.ServerStatus{Name: "broken", URL: broken.URL}) // every second request fails
	f.start(req)
	f.answers(5)
	scrape := func() map[string]*dto.MetricFamily {
		t.Helper()
		_, text := f.call("GET", "/metrics/prometheus", nil)
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		return families
	}
	running := scrape()
	if v := running["dummy_workload_running"].GetMetric()[0].GetGauge().GetValue(); v != 1 {
		t.Errorf("running is %v", v)
	}
	f.exec.Stop()
	got := scrape()
	types := map[string]dto.MetricType{}
	for name, family := range got {
		types[name] = family.GetType()
		labels := map[string]string{}
		for _, l := range family.GetMetric()[0].GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if diff := cmp.Diff(map[string]string{"run": "a", "node": "n1"}, labels); diff != "" {
			t.Errorf("labels of %s (-want +got):\n%s", name, diff)
		}
	}
	want := map[string]dto.MetricType{
		"dummy_workload_running": dto.MetricType_GAUGE, "dummy_throughput_rps": dto.MetricType_GAUGE,
		"dummy_request_latency_seconds": dto.MetricType_HISTOGRAM, "dummy_requests_total": dto.MetricType_COUNTER,
		"dummy_errors_total": dto.MetricType_COUNTER, "dummy_output_tokens_total": dto.MetricType_COUNTER,
		"dummy_requests_in_flight": dto.MetricType_GAUGE, "dummy_workload_progress_ratio": dto.MetricType_GAUGE,
		"dummy_time_to_first_token_seconds": dto.MetricType_HISTOGRAM, "dummy_time_per_output_token_seconds": dto.MetricType_HISTOGRAM,
		"dummy_tokens_per_request": dto.MetricType_HISTOGRAM,
	}
	delete(types, "dummy_cache_usage") // there once the server was looked at
	if diff := cmp.Diff(want, types); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	p := f.exec.Status().Progress
	count := func(name string) int64 { return int64(got[name].GetMetric()[0].GetCounter().GetValue()) }
	latency := got["dummy_request_latency_seconds"].GetMetric()[0].GetHistogram()
	if count("dummy_requests_total") != p.Sent || count("dummy_errors_total") != p.Failed || int64(latency.GetSampleCount()) != p.Succeeded {
		t.Errorf("%d requests, %d errors, %d latencies; progress %+v", count("dummy_requests_total"), count("dummy_errors_total"), latency.GetSampleCount(), p)
	}
	if p.Failed == 0 || count("dummy_output_tokens_total") != 3*p.Succeeded {
		t.Errorf("%d tokens, progress %+v", count("dummy_output_tokens_total"), p)
	}
	if v := got["dummy_workload_running"].GetMetric()[0].GetGauge().GetValue(); v != 0 {
		t.Errorf("running is %v after the end", v)
	}
}

// What takes its time is done before the beginning: a prepared load begins at once, and one that is never begun is freed.
func TestPrepare(t *testing.T) {
	f := newFixture(t)
	a := f.request("a", 1, time.Millisecond)
	for range 2 {
		if code, text := f.call("POST", "/prepare", a); code != 200 || !strings.Contains(text, `"idle"`) {
			t.Errorf("prepare: %d %s", code, text)
		}
	}
	if f.open.Load() < 2 {
		t.Errorf("%d connections ahead of two clients", f.open.Load())
	}
	if _, err := os.Stat(a.Records); !os.IsNotExist(err) {
		t.Errorf("a prepared load has a file: %v", err)
	}
	b := f.request("b", 1, time.Hour)
	if code, text := f.call("POST", "/prepare", b); code != 200 {
		t.Errorf("prepare another: %d %s", code, text)
	}
	b.T0 = int64(time.Since(f.zero))
	if code, st := f.start(b); code != 200 || st.State != node.ExecutorRunning || st.RunUID != "b" {
		t.Errorf("start: %d %+v", code, st)
	}
	if code, _ := f.call("POST", "/prepare", a); code != http.StatusConflict {
		t.Errorf("prepare while another runs: %d", code)
	}
	f.answers(4)
}
