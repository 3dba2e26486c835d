package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/report"
)

// A run on Slurm is scraped by a real Prometheus through the control plane, and pushes to a real Pushgateway that the job itself has
// started on its monitor node. Every panel's questions have answers while it lasts; afterwards report and samples tell the same, and its
// logs pass all checks.
func TestSlurmRunIsSeen(t *testing.T) {
	needPrograms(t, "prometheus", "promtool", "prometheus-pushgateway")
	c := needSlurm(t, true)
	p := newSlurmPlane(c, nil).ready()
	p.kill()
	address := freeAddress(t)
	p.args = append(p.args, "--listen", address)
	p.start()
	p.ready()
	prom := newPrometheus(t, p, address, contract(t, "seen"))
	run := slurmRun("seen")
	run.Spec.Nodes.Servers.Count, run.Spec.Nodes.Clients.Count, run.Spec.Nodes.Monitors.Count = count(2), count(1), count(1)
	run.Spec.Workload.Duration, run.Spec.Workload.Load.ClientsPerNode = seconds(35), 8
	run.Spec.Monitoring.Pushgateway = &api.PushgatewaySpec{Start: &api.StartPushgatewaySpec{}}
	run.Spec.Monitoring.Pushgateway.Interval.Duration = time.Second
	p.create(run)
	p.until("seen", 2*time.Minute, api.RunExecuting)

	gateway := ""
	p.eventually(30*time.Second, "the Pushgateway's address is told", func(ctx context.Context) (bool, string) {
		obj, err := p.api.Get(ctx, api.KindAllocation, "default", p.run("seen").Status.AllocationRef.Name)
		if a, ok := obj.(*api.Allocation); err == nil && ok {
			gateway = a.Status.Pushgateway
		}
		return gateway != "", fmt.Sprint(err)
	})
	p.eventually(30*time.Second, "all nodes have pushed", func(ctx context.Context) (bool, string) {
		_, page := fetch(ctx, t, gateway+"/metrics")
		n := strings.Count(page, "benchd_node_cpu_percent{")
		return n == 4 && strings.Contains(page, "dummy_workload_running{"), fmt.Sprintf("%d nodes", n)
	})
	prom.answers(append(panelsOfDummy(t),
		panelQuery{"every node is scraped", `sum(up{job="benchd-nodes"}) == 4`},
		panelQuery{"servers tell of themselves", `count(benchd_server_requests_running{run_name="seen"}) >= 2`},
	)...)
	p.until("seen", 3*time.Minute, api.RunCompleted)
	folder := p.run("seen").Status.Folder
	sum, err := report.ReadSummary(filepath.Join(folder, report.Dir, report.SummaryJSON))
	if err != nil {
		t.Fatal(err)
	}
	if r := sum.Resources; r == nil || len(r.PerNode) != 4 || len(r.PerServer) != 2 {
		t.Errorf("resources: %+v", r)
	}
	out, err := exec.Command(p.binary, "logs", "validate", folder).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Total tests: 16") {
		t.Errorf("the run's logs: %v\n%s", err, out)
	}
	c.gone(p)
}
