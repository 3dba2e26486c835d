package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// chaosVariable set to `full` asks for all kills; `make test` draws fewer.
const chaosVariable = "BENCHD_CHAOS"

func chaosKills(short int) int {
	if os.Getenv(chaosVariable) == "full" {
		return 200
	}
	return short
}

// The control plane is killed at random moments of a dozen runs, again and again. Every run completes exactly once, no
// Allocation ever has two started jobs, and no process or half-written file is left.
func TestChaosKillsOnTheEmbeddedCluster(t *testing.T) {
	p := newPlane(t).ready()
	chaos(t, p, chaosKills(15), newRun)
	started, total := p.started()
	if started != total || total != 12 {
		t.Errorf("jobs: %d started of %d, want 12 of 12", started, total)
	}
}

func TestChaosKillsOnSlurm(t *testing.T) {
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil).ready()
	chaos(t, p, chaosKills(15), slurmRun)
	for i := range 12 {
		allocation := fmt.Sprintf("chaos-%d-1", i)
		if n := c.startedJobs(p, allocation); n != 1 {
			t.Errorf("%s: %d jobs started, want 1", allocation, n)
		}
	}
}

func chaos(t *testing.T, p *plane, kills int, newRun func(string, ...func(*api.BenchmarkRunSpec)) *api.BenchmarkRun) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d kills", seed, kills)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 12 {
		p.create(newRun(fmt.Sprintf("chaos-%d", i), func(s *api.BenchmarkRunSpec) {
			// Runs that are long enough for all kills to fall into some run's life.
			s.Workload.Duration = seconds(1 + float64(kills)/40)
		}))
	}
	for range kills {
		// Nothing is waited for: the moment is to be any.
		<-time.After(time.Duration(20+random.IntN(600)) * time.Millisecond)
		p.kill()
		p.start()
	}
	completed := map[string]string{}
	for i := range 12 {
		name := fmt.Sprintf("chaos-%d", i)
		run := p.until(name, 5*time.Minute, api.RunCompleted)
		if n := len(run.Status.Attempts); n != 1 {
			t.Errorf("%s: %d attempts, want 1: %+v", name, n, run.Status.Attempts)
		}
		if len(run.Status.Reports) == 0 || run.Status.Summary == nil {
			t.Errorf("%s completed without its report", name)
		}
		completed[name] = run.ResourceVersion
	}
	for name, version := range completed {
		if run := p.run(name); run.ResourceVersion != version {
			t.Errorf("%s changed after it had completed", name)
		}
	}
	p.eventually(time.Minute, "no job is left", func(context.Context) (bool, string) {
		left := p.processes()
		return len(left) == 1, fmt.Sprint(left)
	})
	if left := p.halfWritten(); len(left) > 0 {
		t.Errorf("half-written files: %v", left)
	}
}
