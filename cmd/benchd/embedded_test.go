package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/report"
	"github.com/benchd/benchd/slurmadapter"
)

// started counts the embedded jobs that ever had a start time.
func (p *plane) started() (started, total int) {
	files, err := filepath.Glob(filepath.Join(string(p.home), "embedded", "*", "jobs", "*", "job.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, file := range files {
		var st struct {
			Started time.Time
			State   slurmadapter.State
		}
		data, err := os.ReadFile(filepath.Join(filepath.Dir(file), "state.json"))
		if err == nil {
			if err := json.Unmarshal(data, &st); err != nil {
				p.t.Fatal(err)
			}
		}
		if !st.Started.IsZero() {
			started++
		}
	}
	return started, len(files)
}

func TestEmbeddedRunCompletesWithItsReport(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.create(newRun("plain", func(s *api.BenchmarkRunSpec) {
		s.Nodes.Servers.Count, s.Nodes.Clients.Count = count(2), count(2)
		s.Workload.Load.ClientsPerNode = 3
		s.Workload.Duration, s.Workload.Warmup = seconds(2), seconds(1)
	}))
	run := p.until("plain", time.Minute, api.RunCompleted)

	if len(run.Status.Attempts) != 1 {
		t.Errorf("attempts: got %d, want 1", len(run.Status.Attempts))
	}
	var phases []api.RunPhase
	for _, p := range run.Status.Attempts[0].Phases {
		phases = append(phases, p.Phase)
	}
	want := []api.RunPhase{
		api.RunPending, api.RunInitializing, api.RunDeploying, api.RunMonitoring, api.RunLaunching, api.RunExecuting,
		api.RunTearingDown, api.RunReporting,
	}
	if len(phases) != len(want) {
		t.Errorf("phases: got %v, want %v", phases, want)
	}
	summary, err := report.ReadSummary(filepath.Join(run.Status.Folder, "report", report.SummaryJSON))
	if err != nil {
		t.Fatal(err)
	}
	if r := summary.Requests; r.Succeeded == 0 || r.Attempted != r.Succeeded+r.Failed+r.Cancelled+r.Dropped {
		t.Errorf("requests do not add up: %+v", r)
	}
	if len(summary.PerNode) != 2 {
		t.Errorf("per node: got %d nodes, want 2", len(summary.PerNode))
	}
	for _, name := range []string{"stdout.log", "stderr.log", "aggregated.jsonl"} {
		if _, err := os.Stat(filepath.Join(run.Status.Folder, "logs", name)); err != nil {
			t.Error(err)
		}
	}
	if n := len(run.Status.Reports); n == 0 || n > 12 {
		t.Errorf("a finished trial has %d files, wants 1 to 12", n)
	}
	if started, total := p.started(); started != 1 || total != 1 {
		t.Errorf("jobs: %d started of %d, want 1 of 1", started, total)
	}
}

// The control plane dies by kill -9 right around every command to the cluster, and comes back. At most one job of the
// Allocation ever starts, and the run completes.
func TestKilledAroundClusterCommands(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"before-submit", "after-submit", "before-release", "after-release"} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			p := newPlane(t, killVariable+"="+moment)
			p.create(newRun("killed"))
			p.died(20 * time.Second)
			p.start()
			run := p.until("killed", time.Minute, api.RunCompleted)
			if len(run.Status.Attempts) != 1 {
				t.Errorf("attempts: got %d, want 1", len(run.Status.Attempts))
			}
			if started, total := p.started(); started != 1 || total != 1 {
				t.Errorf("jobs: %d started of %d, want 1 of 1", started, total)
			}
			if left := p.halfWritten(); len(left) > 0 {
				t.Errorf("half-written files: %v", left)
			}
		})
	}
}
