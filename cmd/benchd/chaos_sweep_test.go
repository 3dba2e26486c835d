package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// chaosSeed draws the storm; BENCHD_CHAOS_SEED replays one.
func chaosSeed(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("BENCHD_CHAOS_SEED"); text != "" {
		given, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = given
	}
	t.Logf("seed %d (BENCHD_CHAOS_SEED=%d replays it)", seed, seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// stormBench is a sweep in a storm.
type stormBench struct {
	*plane
	random  *rand.Rand
	trials  int
	actions []func()
	count   map[string]int
}

// storm does one thing after the other, at drawn moments, until the sweep is done or so many were done.
func (s *stormBench) storm(name string, most int) {
	s.t.Helper()
	for range most {
		// Nothing is waited for: the moment is to be any.
		<-time.After(time.Duration(100+s.random.IntN(1500)) * time.Millisecond)
		if obj, err := s.api.Get(s.t.Context(), api.KindBenchmarkSweep, "default", name); err == nil && obj.(*api.BenchmarkSweep).Status.Phase == api.SweepCompleted {
			break
		}
		s.actions[s.random.IntN(len(s.actions))]()
	}
	s.t.Logf("the storm: %v", s.count)
}

func (s *stormBench) action(what string, do func()) {
	s.actions = append(s.actions, func() {
		s.count[what]++
		do()
	})
}

// killServer kills one of the servers that run for this home.
func (s *stormBench) killServer() {
	var servers []int
	for _, line := range s.processes() {
		pid, command, _ := strings.Cut(line, " ")
		if n, err := strconv.Atoi(pid); err == nil && strings.Contains(command, " simulate ") {
			servers = append(servers, n)
		}
	}
	if len(servers) > 0 {
		_ = syscall.Kill(servers[s.random.IntN(len(servers))], syscall.SIGKILL) // it may have ended
	}
}

// check holds what is promised: every trial has ended exactly once, with a result or a stated reason, and the sweep's counts say so.
func (s *stormBench) check(name string) {
	s.t.Helper()
	sweep := s.untilSweep(name, 40*time.Minute, api.SweepCompleted)
	runs := s.runsOf(name)
	if len(runs) != s.trials || int(sweep.Status.Total) != s.trials {
		s.t.Errorf("%d runs, %d counted, want %d", len(runs), sweep.Status.Total, s.trials)
	}
	got := map[api.RunPhase]int32{}
	attempts, moved := 0, 0
	for _, run := range runs {
		got[run.Status.Phase]++
		attempts += len(run.Status.Attempts)
		succeeded := 0
		for _, a := range run.Status.Attempts {
			switch {
			case a.Outcome == nil:
				s.t.Errorf("%s: attempt %d has no outcome", run.Name, a.Number)
			case a.Outcome.Result == api.ResultSucceeded:
				succeeded++
			case a.Outcome.Reason == "NotStarted":
				moved++
			}
		}
		switch {
		case run.Status.Phase == api.RunCompleted && (succeeded != 1 || run.Status.Summary == nil || len(run.Status.Reports) == 0):
			s.t.Errorf("%s completed with %d successful attempts, summary %v, %d files", run.Name, succeeded, run.Status.Summary != nil, len(run.Status.Reports))
		case run.Status.Phase == api.RunFailed && (succeeded != 0 || run.Status.Outcome == nil || run.Status.Outcome.Reason == "" || run.Status.Outcome.Message == ""):
			s.t.Errorf("%s failed without a reason: %+v", run.Name, run.Status.Outcome)
		case !run.Status.Phase.Terminal():
			s.t.Errorf("%s is %s in a sweep that is complete", run.Name, run.Status.Phase)
		}
	}
	st := sweep.Status
	if st.Succeeded != got[api.RunCompleted] || st.Failed != got[api.RunFailed] || st.Cancelled != got[api.RunCancelled] {
		s.t.Errorf("the sweep counts %d, %d, %d; there are %v", st.Succeeded, st.Failed, st.Cancelled, got)
	}
	s.t.Logf("%d trials: %v in %d attempts (%d never began), %d Allocations, %.3g node-hours", s.trials, got, attempts, moved, st.AllocationsMade, st.NodeHours)
	s.eventually(2*time.Minute, "no job is left", func(context.Context) (bool, string) {
		left := s.processes()
		return len(left) == 1, fmt.Sprint(left)
	})
	s.eventually(time.Minute, "the results are written", func(context.Context) (bool, string) {
		st := s.sweep(name).Status
		return st.Reported == st.Ended(), fmt.Sprintf("%d of %d", st.Reported, st.Ended())
	})
	if left := s.halfWritten(); len(left) > 0 {
		s.t.Errorf("half-written files: %v", left)
	}
}

func newStorm(t *testing.T, p *plane, short int) *stormBench {
	s := &stormBench{plane: p, random: chaosSeed(t), trials: short, count: map[string]int{}}
	if os.Getenv(chaosVariable) == "full" {
		s.trials = 1000
	}
	s.action("control plane killed", func() { p.kill(); p.start() })
	s.action("server killed", s.killServer)
	return s
}

// begin applies a sweep of two groups whose runs are short.
func (s *stormBench) begin(name, cluster string) {
	s.apply(newSweep(name, func(spec *api.BenchmarkSweepSpec) {
		spec.Parallelism, spec.Repeats = 2, int32(s.trials/2)
		spec.Order = api.OrderShuffled
		spec.Parameters = []api.ParameterSpec{{Path: "service.config.ttft", Values: []any{"1ms", "2ms"}}}
		spec.Template.Spec.Cluster = cluster
		spec.Template.Spec.Workload.Duration, spec.Template.Spec.BackoffLimit = seconds(0.3), count(20)
		spec.Template.Spec.Verdict.CompletionsPerClient = 1
	}))
}

func TestChaosSweepOnTheEmbeddedCluster(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	s := newStorm(t, p, 16)
	s.action("job cancelled", func() {
		jobs, err := filepath.Glob(filepath.Join(string(p.home), "embedded", "*", "jobs", "*", "released"))
		if err == nil && len(jobs) > 0 {
			// The newest one is the likeliest to run; one that has ended does not mind.
			_ = os.WriteFile(filepath.Join(filepath.Dir(jobs[len(jobs)-1]), "cancelled"), nil, 0o600)
		}
	})
	s.begin("storm", "embedded")
	s.storm("storm", s.trials/2)
	s.check("storm")
}

func TestChaosSweepOnSlurm(t *testing.T) {
	c := needSlurm(t, true)
	p := newSlurmPlane(c, nil).ready()
	s := newStorm(t, p, 16)
	s.action("job cancelled", func() {
		if lines := strings.Split(c.jobs(p), "\n"); lines[0] != "" {
			id, _, _ := strings.Cut(lines[s.random.IntN(len(lines))], "|")
			c.command("scancel", id)
		}
	})
	s.action("slurmctld restarted", func() {
		c.control("ctld-stop")
		<-time.After(time.Duration(s.random.IntN(3000)) * time.Millisecond)
		c.control("ctld-start")
	})
	if os.Getenv(chaosVariable) == "full" {
		s.action("node down and up", func() {
			name := fmt.Sprintf("mel200%d", 1+s.random.IntN(4))
			c.control("node-down", name)
			<-time.After(time.Duration(s.random.IntN(5000)) * time.Millisecond)
			c.control("node-up", name)
			c.resume() // as a site's staff would: a node that Slurm has drained comes back by itself no more
		})
	}
	s.begin("storm", "test")
	s.storm("storm", s.trials/2)
	s.check("storm")
	c.gone(p)
	c.allIdle() // the tests after this one want all nodes
}
