package monitor

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A real Pushgateway shows what was pushed, and nothing any more once the job is over.
func TestPusherWithARealGateway(t *testing.T) {
	path, err := exec.LookPath("prometheus-pushgateway")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("prometheus-pushgateway is not on PATH: hack/install-packages installs it")
		}
		t.Skip("left out: prometheus-pushgateway is not on PATH (hack/install-packages installs it)")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	gateway := exec.CommandContext(ctx, path, "--web.listen-address="+address, "--persistence.file=") // Debian's keeps a file that all share
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = gateway.Process.Kill()
		_ = gateway.Wait() // as it was told to
	}()
	waitForPage(ctx, t, "http://"+address+"/-/ready", func(string) bool { return true })

	registry := prometheus.NewRegistry()
	running := prometheus.NewGauge(prometheus.GaugeOpts{Name: "vllm_workload_running", ConstLabels: prometheus.Labels{"node": "n1"}})
	running.Set(1)
	registry.MustRegister(running)
	p := Pusher{URL: "http://" + address, Interval: 20 * time.Millisecond, Job: "benchd", Instance: "n1", Source: registry, Log: slog.New(slog.DiscardHandler)}
	pushing, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); p.Run(pushing) }()
	const series = `vllm_workload_running{instance="n1",job="benchd",node="n1"} 1`
	waitForPage(ctx, t, "http://"+address+"/metrics", func(page string) bool { return strings.Contains(page, series) })
	stop()
	<-done
	// The gateway takes changes up one after the other, beside its answers.
	waitForPage(ctx, t, "http://"+address+"/metrics", func(page string) bool { return !strings.Contains(page, "vllm_") })
	http.DefaultClient.CloseIdleConnections()
}

// waitForPage asks a process that nothing else tells of until its answer is as wanted.
func waitForPage(ctx context.Context, t *testing.T, url string, wanted func(string) bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			page, readErr := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if last = string(page); readErr == nil && resp.StatusCode == http.StatusOK && wanted(last) {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s is not as wanted: %v: %s", url, err, last)
		case <-tick.C:
		}
	}
}
