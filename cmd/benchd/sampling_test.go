package main

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/node/monitor"
	"github.com/benchd/benchd/report"
)

// A job starts its own Pushgateway on its monitor node, tells its address, and pushes what every node samples and what clients
// measure. When the job has ended, nothing of it runs.
func TestPushgatewayOfAJob(t *testing.T) {
	needPrograms(t, "prometheus-pushgateway")
	t.Parallel()
	p := newPlane(t).ready()
	p.create(newRun("pushing", func(s *api.BenchmarkRunSpec) {
		s.Nodes.Servers.Count, s.Nodes.Clients.Count, s.Nodes.Monitors.Count = count(1), count(1), count(1)
		s.Workload.Duration = seconds(20)
		s.Monitoring.Pushgateway = &api.PushgatewaySpec{Start: &api.StartPushgatewaySpec{Port: 29091}}
		s.Monitoring.Pushgateway.Interval.Duration = time.Second
	}))
	p.until("pushing", time.Minute, api.RunExecuting)
	address := ""
	p.eventually(30*time.Second, "the gateway's address is told", func(ctx context.Context) (bool, string) {
		obj, err := p.api.Get(ctx, api.KindAllocation, "default", p.run("pushing").Status.AllocationRef.Name)
		if err != nil {
			return false, err.Error()
		}
		a, ok := obj.(*api.Allocation)
		if ok {
			address = a.Status.Pushgateway
		}
		return address != "", "nothing yet"
	})
	p.eventually(30*time.Second, "all nodes push", func(ctx context.Context) (bool, string) {
		code, page := fetch(ctx, t, address+"/metrics")
		if code != http.StatusOK {
			return false, page
		}
		for _, want := range []string{
			`benchd_node_cpu_percent{instance="node001"`, `benchd_node_cpu_percent{instance="node002"`, `benchd_node_cpu_percent{instance="node003"`,
			`benchd_role_memory_bytes{instance="node001",job="benchd-pushing-1",node="node001",role="server"}`,
			`benchd_server_requests_running{instance="node001",job="benchd-pushing-1",node="node001",server="dummy-0"}`, `dummy_workload_running{instance="node002"`,
		} {
			if !strings.Contains(page, want) {
				return false, want + " is not there"
			}
		}
		return true, ""
	})
	p.until("pushing", time.Minute, api.RunCompleted)
	p.eventually(30*time.Second, "the gateway has ended", func(ctx context.Context) (bool, string) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(address, "http://"))
		if err == nil {
			_ = conn.Close() // nothing was asked
		}
		return err != nil, "it answers still"
	})
	folder := p.run("pushing").Status.Folder
	if err := monitor.Read(filepath.Join(folder, "metrics", "benchmark_metrics.csv"), func([]string, monitor.Sample) error { return nil }); err != nil {
		t.Error(err)
	}
}

// What is sampled stands in the report: each node's CPU and memory, the roles, what servers tell; and the two sides agree.
func TestSamplesInTheReport(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.create(newRun("sampled", func(s *api.BenchmarkRunSpec) {
		s.Nodes.Servers.Count, s.Nodes.Clients.Count = count(2), count(1)
		s.Workload.Load.ClientsPerNode, s.Workload.Duration = 8, seconds(12)
		s.Service.Config = map[string]any{"ttft": "100ms", "itl": "10ms"}
	}))
	p.until("sampled", time.Minute, api.RunCompleted)
	sum, err := report.ReadSummary(filepath.Join(p.run("sampled").Status.Folder, report.Dir, report.SummaryJSON))
	if err != nil {
		t.Fatal(err)
	}
	r := sum.Resources
	if r == nil || len(r.PerNode) != 3 || len(r.PerServer) != 2 || r.Energy != nil {
		t.Fatalf("resources: %+v", r)
	}
	tokens := 0.0
	for name, server := range r.PerServer {
		if server.Running == nil || server.Running.Mean < 2 || server.Running.Mean > 6 || server.OutputTokens == nil {
			t.Errorf("%s: %+v", name, server)
			continue
		}
		tokens += *server.OutputTokens
	}
	if out := sum.OutputTokenThroughput * sum.MeasuredSeconds; tokens < 0.8*out || tokens > 1.2*out {
		t.Errorf("servers tell of %.0f tokens, clients of %.0f", tokens, out)
	}
	for _, column := range []string{"cpu_percent", "memory_used_bytes", "server_cpu_percent", "server_memory_bytes", "dummy-0_requests_running"} {
		if usage, known := r.PerNode["node001"].Metrics[column]; !known || usage.Mean <= 0 {
			t.Errorf("node001: no %s: %+v", column, r.PerNode["node001"].Metrics)
		}
	}
	if usage := r.PerNode["node003"].Metrics["client_cpu_percent"]; usage.Mean <= 0 {
		t.Errorf("node003: client CPU %+v", usage)
	}
	for _, reason := range sum.Verdict.Reasons {
		if strings.Contains(reason, "servers") {
			t.Errorf("the sides disagree: %s", reason)
		}
	}
}
