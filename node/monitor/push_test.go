package monitor

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// gateway is a Pushgateway that remembers what it was asked.
type gateway struct {
	mu    sync.Mutex
	asked []string
	fails bool
	seen  chan string
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	g.mu.Lock()
	fails := g.fails
	g.asked = append(g.asked, r.Method+" "+r.URL.Path)
	g.mu.Unlock()
	if fails {
		http.Error(w, strings.Repeat("no ", 100_000), http.StatusServiceUnavailable)
	} else if r.Method == http.MethodDelete {
		w.WriteHeader(http.StatusAccepted)
	}
	select {
	case g.seen <- r.Method + " " + r.URL.Path + " " + string(body):
	default:
	}
}

func TestPusher(t *testing.T) {
	g := &gateway{seen: make(chan string, 100)}
	server := httptest.NewServer(g)
	defer server.Close()
	registry := prometheus.NewRegistry()
	running := prometheus.NewGauge(prometheus.GaugeOpts{Name: "vllm_workload_running", ConstLabels: prometheus.Labels{"node": "n1"}})
	registry.MustRegister(running)
	var source prometheus.GathererFunc = func() ([]*dto.MetricFamily, error) { return registry.Gather() }
	var log bytes.Buffer
	p := Pusher{URL: server.URL, Interval: 5 * time.Millisecond, Job: "benchd", Instance: "n1", Source: source, Log: slog.New(slog.NewTextHandler(&log, nil))}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	if first := <-g.seen; !strings.HasPrefix(first, "PUT /metrics/job/benchd/instance/n1 ") || !strings.Contains(first, "vllm_workload_running") {
		t.Errorf("pushed: %q", first)
	}
	g.mu.Lock()
	g.fails = true
	g.mu.Unlock()
	for range 4 {
		<-g.seen
	}
	cancel()
	<-done
	if last := g.asked[len(g.asked)-1]; last != "DELETE /metrics/job/benchd/instance/n1" {
		t.Errorf("at the end: %q", last)
	}
	if n := strings.Count(log.String(), "push metrics"); n != 1 {
		t.Errorf("%d warnings of one outage:\n%s", n, log.String())
	}
	if log.Len() > 2000 {
		t.Errorf("a page of 300 kB is in the log: %d bytes", log.Len())
	}
	server.CloseClientConnections()
	http.DefaultClient.CloseIdleConnections()
}

// Nothing is pushed before there is a load, nor deleted.
func TestPusherWithoutMetrics(t *testing.T) {
	g := &gateway{seen: make(chan string, 1)}
	server := httptest.NewServer(g)
	defer server.Close()
	looked := make(chan struct{}, 10)
	p := Pusher{URL: server.URL, Interval: time.Millisecond, Job: "benchd", Instance: "n1", Log: slog.New(slog.DiscardHandler), Source: prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		select {
		case looked <- struct{}{}:
		default:
		}
		return nil, nil
	})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	for range 3 {
		<-looked
	}
	cancel()
	<-done
	if len(g.asked) > 0 {
		t.Errorf("asked: %v", g.asked)
	}
}

// What a slow gateway may have taken is deleted too, though it was never heard that it did.
func TestPusherDeletesWhatASlowGatewayMayHave(t *testing.T) {
	arrived, deleted := make(chan struct{}), make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		if r.Method == http.MethodDelete {
			deleted <- struct{}{}
			w.WriteHeader(http.StatusAccepted)
			return
		}
		close(arrived)
		<-r.Context().Done()
	}))
	defer server.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "up"}))
	p := Pusher{URL: server.URL, Interval: time.Millisecond, Job: "benchd", Instance: "n1", Source: registry, Log: slog.New(slog.DiscardHandler), Direct: true}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	<-arrived
	cancel()
	<-done
	select {
	case <-deleted:
	default:
		t.Error("the group stays for ever")
	}
}

// The gateway of the job itself is asked past the proxy that a site sets for the world outside; one that was named by its proxy.
func TestPusherAndProxies(t *testing.T) {
	for _, direct := range []bool{true, false} {
		p := Pusher{Direct: direct}
		if through := p.transport().Proxy != nil; through == direct {
			t.Errorf("direct: %t, through a proxy: %t", direct, through)
		}
	}
}

// The job's own gateway may have ended before the others of the job: nothing is left there to be deleted, so nobody is warned.
func TestPusherWhoseGatewayEndsWithTheJob(t *testing.T) {
	for _, direct := range []bool{true, false} {
		g := &gateway{seen: make(chan string, 100)}
		server := httptest.NewServer(g)
		registry := prometheus.NewRegistry()
		registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "up"}))
		var log bytes.Buffer
		p := Pusher{URL: server.URL, Interval: time.Millisecond, Job: "benchd", Instance: "n1", Log: slog.New(slog.NewTextHandler(&log, nil)), Direct: direct}
		ctx, cancel := context.WithCancel(t.Context())
		p.Source = prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
			if len(g.seen) > 0 { // one push was taken
				server.Close()
				cancel()
			}
			return registry.Gather()
		})
		p.Run(ctx)
		if warned := strings.Contains(log.String(), "delete"); warned == direct {
			t.Errorf("direct: %t, log: %s", direct, log.String())
		}
	}
}

// Metrics that end at a login page have not been pushed.
func TestPusherDoesNotEndAtALoginPage(t *testing.T) {
	asked := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.Method:
		default:
		}
		if r.URL.Path != "/login" {
			http.Redirect(w, r, "/login", http.StatusFound)
		}
	}))
	defer server.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "up"}))
	var log bytes.Buffer
	p := Pusher{URL: server.URL, Interval: time.Millisecond, Job: "benchd", Instance: "n1", Source: registry, Log: slog.New(slog.NewTextHandler(&log, nil))}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	for range 3 {
		if method := <-asked; method != http.MethodPut {
			t.Errorf("asked by %s", method)
		}
	}
	cancel()
	<-done
	if got := log.String(); !strings.Contains(got, "302") {
		t.Errorf("log: %s", got)
	}
}

// A gateway that asks for a password gets what a private file holds, at the end too.
func TestPusherWithAuthorization(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("Basic YTpi"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := &gateway{seen: make(chan string, 100)}
	var refused atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "a" || password != "b" {
			refused.Add(1)
		}
		g.ServeHTTP(w, r)
	}))
	defer server.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "up"}))
	p := Pusher{URL: server.URL, AuthorizationFile: file, Interval: time.Millisecond, Job: "benchd", Instance: "n1", Source: registry, Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	<-g.seen
	cancel()
	<-done
	if last := g.asked[len(g.asked)-1]; last != "DELETE /metrics/job/benchd/instance/n1" || refused.Load() > 0 {
		t.Errorf("at the end: %q; %d without the password", last, refused.Load())
	}
}
