package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/server"
)

// fakeNodes are nodes that answer as a test says, by their names.
type fakeNodes struct {
	targets []node.Target
	answer  map[string]func(ctx context.Context, method, path string, header http.Header, body string) (*http.Response, error)
	now     atomic.Int64 // being asked
	most    atomic.Int64 // at the same time
	asked   atomic.Int64
}

func (f *fakeNodes) Targets(context.Context) ([]node.Target, error) { return f.targets, nil }

func (f *fakeNodes) Find(_ context.Context, namespace, allocation, name string) (node.Target, error) {
	for _, t := range f.targets {
		if t.Namespace == namespace && t.Allocation == allocation && t.Node == name {
			return t, nil
		}
	}
	return node.Target{}, apierrors.NewNotFound(api.Resource(api.KindAllocation), allocation)
}

func (f *fakeNodes) Open(ctx context.Context, t node.Target, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	f.asked.Add(1)
	now := f.now.Add(1)
	defer f.now.Add(-1)
	for most := f.most.Load(); now > most && !f.most.CompareAndSwap(most, now); most = f.most.Load() {
	}
	var sent []byte
	if body != nil {
		sent, _ = io.ReadAll(body)
	}
	return f.answer[t.Node](ctx, method, path, header, string(sent))
}

type nodeAnswer = func(ctx context.Context, method, path string, header http.Header, body string) (*http.Response, error)

// says answers with a text.
func says(code int, text string) nodeAnswer {
	return func(context.Context, string, string, http.Header, string) (*http.Response, error) {
		return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {"text/plain; version=0.0.4"}}, Body: io.NopCloser(strings.NewReader(text))}, nil
	}
}

// hangs answers nothing until it is no longer waited for.
func hangs(ctx context.Context, _, _ string, _ http.Header, _ string) (*http.Response, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func target(name string) node.Target {
	return node.Target{
		Namespace: "default", Allocation: "a", UID: "u", Cluster: "slurm", Service: "vllm", Node: name, Host: name + ":6000", Roles: []string{"server", "client"},
		Run: "uid-2", Runs: map[string]string{"uid-1": "one", "uid-2": "two"},
	}
}

// ask asks a server that knows these nodes.
func ask(t *testing.T, nodes *fakeNodes, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	server.New(server.Options{Nodes: nodes}).Handler().ServeHTTP(w, r)
	return w
}

func get(path string) *http.Request {
	return httptest.NewRequest(http.MethodGet, "http://localhost:8443"+path, nil)
}

func TestTargets(t *testing.T) {
	nodes := &fakeNodes{targets: []node.Target{target("n1")}}
	want := `[{"targets":["localhost:8443"],"labels":{"__metrics_path__":"/metrics/nodes/default/a/n1","__scheme__":"http","allocation":"a","cluster":"slurm",` +
		`"instance":"default/a/n1","namespace":"default","node":"n1","roles":"server,client","run":"uid-2","run_name":"two","service":"vllm"}}]` + "\n"
	w := ask(t, nodes, get("/metrics/targets"))
	if diff := cmp.Diff(want, w.Body.String()); diff != "" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// Prometheus takes null for a fault of the list, and an address without a port for a fault of the target.
	if got := ask(t, &fakeNodes{}, get("/metrics/targets")).Body.String(); got != "[]\n" {
		t.Errorf("without nodes: %q", got)
	}
	r := get("/metrics/targets")
	r.Host = "login"
	if got := ask(t, nodes, r).Body.String(); !strings.Contains(got, `["login:80"]`) {
		t.Errorf("a host without a port: %s", got)
	}
	nodes.targets[0].Run, nodes.targets[0].Roles = "", nil
	if got := ask(t, nodes, get("/metrics/targets")).Body.String(); strings.Contains(got, `"run`) || strings.Contains(got, "roles") {
		t.Errorf("labels without values: %s", got)
	}
}

// Metrics of many nodes come as one page: families are merged, labels are added, what a metric says of itself stays.
func TestMergedPage(t *testing.T) {
	nodes := &fakeNodes{targets: []node.Target{target("n1"), target("n2"), target("n3"), target("n4"), target("n5")}, answer: map[string]nodeAnswer{
		"n1": says(200, "# TYPE vllm_requests_total counter\nvllm_requests_total{node=\"n1\",run=\"uid-1\"} 5\n# TYPE benchd_node_load1 gauge\nbenchd_node_load1{node=\"n1\"} 2\n"),
		"n2": says(200, "# TYPE vllm_requests_total counter\nvllm_requests_total{node=\"n2\",run=\"uid-9\"} 7\n# TYPE benchd_node_load1 counter\nbenchd_node_load1{node=\"n2\"} 2\n"),
		"n3": says(500, "no"), "n4": says(200, "}{ no metrics"), "n5": says(200, ""),
	}}
	page := ask(t, nodes, get("/metrics/nodes")).Body.String()
	const rest = `namespace="default",node="%s",roles="server,client",run="%s",%sservice="vllm"`
	for _, want := range []string{
		// The node has turned to another run since; a run that is not known has no name.
		`vllm_requests_total{allocation="a",cluster="slurm",` + fmt.Sprintf(rest, "n1", "uid-1", `run_name="one",`) + `} 5`,
		`vllm_requests_total{allocation="a",cluster="slurm",` + fmt.Sprintf(rest, "n2", "uid-9", "") + `} 7`,
		`benchd_node_up{allocation="a",cluster="slurm",` + fmt.Sprintf(rest, "n3", "uid-2", `run_name="two",`) + `} 0`,
		`benchd_node_up{allocation="a",cluster="slurm",` + fmt.Sprintf(rest, "n5", "uid-2", `run_name="two",`) + `} 1`,
		`benchd_scrape_nodes{result="answered"} 3`, `benchd_scrape_nodes{result="left_out"} 2`, "benchd_scrape_conflicts 1",
	} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("the page lacks %s:\n%s", want, page)
		}
	}
	if n := strings.Count(page, "# TYPE vllm_requests_total "); n != 1 {
		t.Errorf("a family comes %d times", n)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(page)); err != nil {
		t.Errorf("the page cannot be read: %v", err)
	}
}

// A Prometheus that knows native histograms gets them from the page as from the node.
func TestNativeHistogramsComeThrough(t *testing.T) {
	registry := prometheus.NewRegistry()
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", Buckets: []float64{1}, NativeHistogramBucketFactor: 1.05})
	histogram.Observe(0.5)
	registry.MustRegister(histogram)
	agent := func(ctx context.Context, method, path string, header http.Header, _ string) (*http.Response, error) {
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, method, path, nil)
		r.Header = header
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
		return w.Result(), nil
	}
	nodes := &fakeNodes{targets: []node.Target{target("n1"), target("n2")}, answer: map[string]nodeAnswer{"n1": agent, "n2": agent}}
	r := get("/metrics/nodes")
	r.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	w := ask(t, nodes, r)
	decoder := expfmt.NewDecoder(w.Body, expfmt.ResponseFormat(w.Header()))
	native := 0
	for {
		var f dto.MetricFamily
		err := decoder.Decode(&f)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range f.GetMetric() {
			if f.GetName() == "h" && len(m.GetHistogram().GetPositiveSpan()) > 0 && len(m.GetHistogram().GetBucket()) > 0 {
				native++
			}
		}
	}
	if native != 2 {
		t.Errorf("%d native histograms with classic buckets, want 2", native)
	}
}

func TestPageOfOneNode(t *testing.T) {
	long := "# TYPE x gauge\nx{l=\"" + strings.Repeat("y", 5<<20) + "\"} 1\n"
	nodes := &fakeNodes{targets: []node.Target{target("good"), target("down"), target("long"), target("refuses")}, answer: map[string]nodeAnswer{
		"good": says(200, "# TYPE x gauge\nx 1\n"), "long": says(200, long), "refuses": says(401, "the job's token is needed"),
		"down": func(context.Context, string, string, http.Header, string) (*http.Response, error) {
			return nil, errors.New("connection refused")
		},
	}}
	for name, want := range map[string]struct {
		code int
		text string
	}{
		"good": {200, `x{allocation="a",cluster="slurm",`}, "down": {502, "node down of allocation a (down:6000 on cluster slurm) does not answer the control plane: connection refused"},
		"long": {502, "longer than 4 MiB"}, "refuses": {502, "the job's token is needed"}, "unknown": {404, "not found"},
	} {
		w := ask(t, nodes, get("/metrics/nodes/default/a/"+name))
		if w.Code != want.code || !strings.Contains(w.Body.String(), want.text) {
			t.Errorf("%s: %d %.300s, want %d %q", name, w.Code, w.Body, want.code, want.text)
		}
	}
}

// Nodes that hang cost a scrape a bounded time, and the next scrape none; those that answer are on the page.
func TestNodesThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := &fakeNodes{answer: map[string]nodeAnswer{}}
		for i := range 100 {
			name := fmt.Sprintf("n%d", i)
			nodes.targets = append(nodes.targets, target(name))
			nodes.answer[name] = says(200, "# TYPE x gauge\nx 1\n")
			if i%10 == 0 {
				nodes.answer[name] = hangs
			}
		}
		registry := prometheus.NewRegistry()
		handler := server.New(server.Options{Nodes: nodes, Registry: registry}).Handler()
		scrape := func() (page string, took time.Duration) {
			begun, w := time.Now(), httptest.NewRecorder()
			handler.ServeHTTP(w, get("/metrics/nodes"))
			return w.Body.String(), time.Since(begun)
		}
		page, took := scrape()
		if !strings.Contains(page, `result="answered"} 90`) || !strings.Contains(page, `result="left_out"} 10`) || took != 3*time.Second {
			t.Errorf("took %s:\n%s", took, page[:400])
		}
		asked := nodes.asked.Load()
		if page, took = scrape(); !strings.Contains(page, `result="left_out"} 10`) || took != 0 || nodes.asked.Load() != asked+90 {
			t.Errorf("the next one took %s and asked %d nodes", took, nodes.asked.Load()-asked)
		}
		time.Sleep(31 * time.Second) // fake time: the pause is over
		if _, took = scrape(); took != 3*time.Second || nodes.most.Load() > 64 {
			t.Errorf("after the pause: took %s, %d nodes asked at the same time", took, nodes.most.Load())
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]float64{}
		for _, f := range families {
			if f.GetName() == "benchd_node_scrapes_total" {
				for _, m := range f.GetMetric() {
					counts[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
				}
			}
		}
		if diff := cmp.Diff(map[string]float64{"answered": 270, "left_out": 30}, counts); diff != "" {
			t.Errorf("counted (-want +got):\n%s", diff)
		}
	})
}

// However many nodes hang, a scrape ends before Prometheus gives up.
func TestScrapeEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := &fakeNodes{answer: map[string]nodeAnswer{}}
		for i := range 1000 {
			name := fmt.Sprintf("n%d", i)
			nodes.targets, nodes.answer[name] = append(nodes.targets, target(name)), hangs
		}
		r := get("/metrics/nodes")
		begun := time.Now()
		if w := ask(t, nodes, r); time.Since(begun) != 8*time.Second || !strings.Contains(w.Body.String(), `result="left_out"} 1000`) {
			t.Errorf("took %s: %.300s", time.Since(begun), w.Body)
		}
		r.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", "2")
		begun = time.Now()
		if ask(t, nodes, r); time.Since(begun) != 1800*time.Millisecond {
			t.Errorf("a Prometheus that waits 2 s gets its answer after %s", time.Since(begun))
		}
	})
}

func TestProxy(t *testing.T) {
	type asked struct{ Method, Path, Accept, Secret, Body string }
	var got asked
	nodes := &fakeNodes{targets: []node.Target{target("n1"), target("down"), target("long")}, answer: map[string]nodeAnswer{
		"n1": func(_ context.Context, method, path string, header http.Header, body string) (*http.Response, error) {
			got = asked{method, path, header.Get("Accept"), header.Get("Authorization") + header.Get(node.LeadHeader), body}
			return &http.Response{StatusCode: 418, Header: http.Header{"Content-Type": {"x/y"}, "Set-Cookie": {"a=b"}}, Body: io.NopCloser(strings.NewReader("said"))}, nil
		},
		"down": func(context.Context, string, string, http.Header, string) (*http.Response, error) {
			return nil, errors.New("no route to host")
		},
		"long": says(200, strings.Repeat("x", 65<<20)),
	}}
	path := allocs + "/a/proxy/"
	r := httptest.NewRequest(http.MethodPost, "http://benchd"+path+"n1/some/way?q=1%202", bytes.NewBufferString("body"))
	r.Header.Set("Accept", "text/plain")
	r.Header.Set("Authorization", "Bearer the-user's")
	r.Header.Set(node.LeadHeader, "1") // would keep a node alive whose lead is gone
	w := ask(t, nodes, r)
	if diff := cmp.Diff(asked{http.MethodPost, "/some/way?q=1%202", "text/plain", "", "body"}, got); diff != "" {
		t.Errorf("passed on (-want +got):\n%s", diff)
	}
	if w.Code != 418 || w.Body.String() != "said" || w.Header().Get("Content-Type") != "x/y" || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("answer: %d %s %v", w.Code, w.Body, w.Header())
	}
	for name, want := range map[string]struct {
		code int
		text string
	}{"down": {502, "no route to host"}, "long": {502, "longer than the 64 MiB"}, "nobody": {404, "not found"}} {
		if w := ask(t, nodes, get(path+name+"/status")); w.Code != want.code || !strings.Contains(w.Body.String(), want.text) {
			t.Errorf("%s: %d %.300s", name, w.Code, w.Body)
		}
	}
	if w := ask(t, nodes, httptest.NewRequest(http.MethodDelete, path+"n1/status", nil)); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: %d", w.Code)
	}
	if w := ask(t, &fakeNodes{}, get(path+"n1/status")); w.Code != http.StatusNotFound {
		t.Errorf("without nodes: %d", w.Code)
	}
}

// Whatever a node says, the page can be read, or says that the node is left out.
func FuzzMergedPage(f *testing.F) {
	f.Add([]byte("# TYPE a counter\na{x=\"y\"} 1\n"), []byte("# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n"))
	f.Add([]byte("a 1\na 1\n"), []byte("# HELP a b\na{node=\"n1\",run=\"\"} NaN\n"))
	f.Fuzz(func(t *testing.T, one, other []byte) {
		nodes := &fakeNodes{targets: []node.Target{target("n1"), target("n2")}, answer: map[string]nodeAnswer{"n1": says(200, string(one)), "n2": says(200, string(other))}}
		w := ask(t, nodes, get("/metrics/nodes"))
		parser := expfmt.NewTextParser(model.UTF8Validation)
		if _, err := parser.TextToMetricFamilies(w.Body); err != nil && w.Code == http.StatusOK {
			t.Errorf("%v", err)
		}
	})
}
