package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/node/logs"
)

// greeted is a rule that finds the simulated server's first line.
func greeted(severity string, class api.FailureClass) api.LogRule {
	return api.LogRule{Name: "Greeted", Patterns: []string{"simulated LLM server for model"}, Severity: severity, Class: class, Meaning: "the server said hello", NextStep: "say hello too"}
}

// A run's logs are sent to a service, compressed, and looked through by rules of its own; the status tells of all.
func TestLoggingThroughARun(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var sent strings.Builder
	loki := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if _, err := io.Copy(&sent, r.Body); err != nil {
			t.Error(err)
		}
	}))
	defer loki.Close()
	p := newPlane(t).ready()
	p.create(newRun("logged", func(s *api.BenchmarkRunSpec) {
		s.Logging.Type, s.Logging.Compress = api.CollectorForward, true
		s.Logging.FlushInterval = seconds(1)
		s.Logging.Forward = &api.ForwardSpec{URL: loki.URL, Format: api.ForwardLoki, Labels: map[string]string{"team": "red"}}
		s.Logging.Rules = []api.LogRule{greeted("warning", "")}
		s.Workload.Duration = seconds(3)
	}))
	run := p.until("logged", time.Minute, api.RunCompleted)
	a := run.Status.Attempts[0]
	if len(a.Findings) != 1 || a.Findings[0].Rule != "Greeted" || a.Findings[0].Severity != "warning" || a.Findings[0].Component != "server" {
		t.Errorf("findings: %+v", a.Findings)
	}
	if a.Logs == nil || a.Logs.Lines < 10 || a.Logs.Forwarded < a.Logs.Lines || a.Logs.Dropped != 0 || len(a.Logs.Nodes) != 2 || a.Logs.Files != 3 {
		t.Errorf("summary: %+v", a.Logs)
	}
	mu.Lock()
	for _, want := range []string{`"run":"logged"`, `"team":"red"`, "simulated LLM server", "load has ended"} {
		if !strings.Contains(sent.String(), want) {
			t.Errorf("the service was not sent %s", want)
		}
	}
	mu.Unlock()
	dir := filepath.Join(a.Folder, "logs")
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 4 {
		t.Errorf("files: %q, %v", names, err)
	}
	failed := 0
	for _, c := range logs.Validate(logs.Expect{Outputs: outputsIn(dir, &run.Spec.Logging), Flag: filepath.Join(dir, "loggers_ready"), Lines: 10, Nodes: 2, Components: componentsOf(&run.Spec)}) {
		if c.Problem != "" {
			failed++
			t.Errorf("%s: %s", c.Name, c.Problem)
		}
	}
	p.eventually(10*time.Second, "the finding is an event", func(ctx context.Context) (bool, string) {
		var events strings.Builder
		if err := printEvents(ctx, &events, p.api, run, ""); err != nil {
			return false, err.Error()
		}
		return strings.Contains(events.String(), "Greeted") && strings.Contains(events.String(), "say hello too"), events.String()
	})
}

// A rule of one's own decides who is to blame for a server that fails, and so whether the run is repeated.
func TestOwnRuleExplainsAFailure(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.create(newRun("explained", func(s *api.BenchmarkRunSpec) {
		faults(s, map[string]any{"crashAfter": 5})
		s.Logging.Rules = []api.LogRule{greeted("", api.FailureUser)}
		s.BackoffLimit = count(3)
		s.Workload.Duration = seconds(5)
	}))
	run := p.failed("explained", api.FailureUser, "Greeted")
	if n := len(run.Status.Attempts); n != 1 {
		t.Errorf("%d attempts of a failure that is the user's", n)
	}
	if m := run.Status.Outcome.Message; !strings.Contains(m, "the server said hello: say hello too") || !strings.Contains(m, "simulated LLM server for model") {
		t.Errorf("message: %s", m)
	}
	if found := run.Status.Attempts[0].Findings; len(found) != 1 || found[0].Rule != "Greeted" {
		t.Errorf("findings: %+v", found)
	}
}

// The logs of a run are held against what its nodes print: those that servers and clients share print as servers, and servers that run
// elsewhere print nothing.
func TestComponentsOfARun(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*api.BenchmarkRunSpec)
		want   string
	}{
		"nodes of their own": {func(*api.BenchmarkRunSpec) {}, "[server client]"},
		"clients on servers": {func(s *api.BenchmarkRunSpec) { s.Nodes.Clients.Count = count(0) }, "[server]"},
		"servers on clients": {func(s *api.BenchmarkRunSpec) { s.Nodes.Servers.Count = count(0) }, "[server]"},
		"servers elsewhere": {func(s *api.BenchmarkRunSpec) {
			s.Service.Endpoints, s.Nodes.Servers.Count = []string{"http://10.1.2.3:8000"}, count(0)
		}, "[client]"},
	} {
		if got := fmt.Sprint(componentsOf(&newRun("x", tc.change).Spec)); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// Times are told with their zone, for --since takes one without it as this machine's; one line alone has no silence beside it.
func TestPrintStats(t *testing.T) {
	t.Parallel()
	stats := logs.NewStats()
	begin := time.Date(2026, 1, 2, 23, 59, 58, 0, time.FixedZone("here", 3600))
	for i, want := range []string{"from 2026-01-02 22:59:58 to 2026-01-02 22:59:58 UTC", "3.0 s, from 2026-01-02 22:59:58 UTC"} {
		stats.Add(&logs.Line{At: begin.Add(time.Duration(i) * 3 * time.Second)})
		var out strings.Builder
		if err := printStats(&out, stats); err != nil || !strings.Contains(out.String(), want) || strings.Contains(out.String(), "silence") != (i > 0) {
			t.Errorf("%d lines: %v, want %q in\n%s", i+1, err, want, out.String())
		}
	}
}
