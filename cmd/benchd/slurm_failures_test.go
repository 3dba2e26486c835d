package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func TestSlurmControllerAwayIsWaitedOut(t *testing.T) {
	for name, phase := range map[string]api.RunPhase{"deploying": api.RunDeploying, "executing": api.RunExecuting} {
		t.Run(name, func(t *testing.T) {
			c := needSlurm(t, true)
			p := newSlurmPlane(c, nil).ready()
			p.create(slurmRun("outage", func(s *api.BenchmarkRunSpec) {
				s.Service.Config["startup"] = "3s"
				s.Workload.Duration = seconds(8)
			}))
			p.until("outage", time.Minute, phase)
			c.control("ctld-stop")
			t.Cleanup(func() { c.control("ctld-start") })
			p.eventually(time.Minute, "the outage is told as a condition of the cluster", func(ctx context.Context) (bool, string) {
				obj, err := p.api.Get(ctx, api.KindCluster, "", "test")
				if err != nil {
					return false, err.Error()
				}
				cluster, ok := obj.(*api.Cluster)
				return ok && meta.IsStatusConditionFalse(cluster.Status.Conditions, "Reachable"), fmt.Sprintf("%+v", cluster.Status.Conditions)
			})
			c.control("ctld-start")
			run := p.until("outage", 3*time.Minute, api.RunCompleted)
			if n := len(run.Status.Attempts); n != 1 {
				t.Errorf("attempts: got %d, want 1: an outage fails nothing", n)
			}
		})
	}
}

func TestSlurmJobCancelledByHand(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil).ready()
	p.create(slurmRun("byhand", func(s *api.BenchmarkRunSpec) { s.Workload.Duration = seconds(20) }))
	p.until("byhand", time.Minute, api.RunExecuting)
	c.command("scancel", p.allocation("byhand-1").Status.JobID)
	run := p.failed("byhand", api.FailureUser, "JobCancelled")
	if n := len(run.Status.Attempts); n != 1 {
		t.Errorf("attempts: got %d, want 1: what somebody cancelled is not submitted again", n)
	}
}

func TestSlurmRequeuedJobIsReplaced(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil).ready()
	p.create(slurmRun("requeued", func(s *api.BenchmarkRunSpec) { s.Workload.Duration = seconds(6) }))
	p.until("requeued", time.Minute, api.RunExecuting)
	id := p.allocation("requeued-1").Status.JobID
	c.command("scontrol", "update", "JobId="+id, "Requeue=1")
	c.command("scontrol", "requeue", id)
	run := p.until("requeued", 2*time.Minute, api.RunCompleted)
	if n := len(run.Status.Attempts); n != 2 {
		t.Fatalf("attempts: got %d, want 2", n)
	}
	if r := run.Status.Attempts[0].Outcome.Reason; r != "JobRequeued" && r != "FolderClaimed" && r != "JobEndedEarly" {
		t.Errorf("first attempt: got %+v", run.Status.Attempts[0].Outcome)
	}
}

func TestSlurmPreemptedJobIsRepeated(t *testing.T) {
	c := needSlurm(t, true)
	p := newSlurmPlane(c, nil).ready()
	p.create(slurmRun("preempted", func(s *api.BenchmarkRunSpec) {
		s.Slurm.Partition = "low"
		s.Nodes.Servers.Count = count(3)
		s.Workload.Duration = seconds(6)
	}))
	p.until("preempted", time.Minute, api.RunExecuting)
	c.command("sbatch", "--uid="+slurmUser, "--partition=high", "--nodes=4", "--exclusive", "--time=1", "--chdir=/tmp", "--output=/dev/null", "--wrap", "sleep 1")
	run := p.until("preempted", 3*time.Minute, api.RunCompleted)
	if n := len(run.Status.Attempts); n != 2 || run.Status.Attempts[0].Outcome.Reason != "Preempted" {
		t.Errorf("attempts: got %d, the first ended with %+v", n, run.Status.Attempts[0].Outcome)
	}
}

func TestSlurmLostNodeIsReplaced(t *testing.T) {
	for name, rank := range map[string]int{"the lead's node": 0, "a client's node": 1} {
		t.Run(name, func(t *testing.T) {
			c := needSlurm(t, true)
			p := newSlurmPlane(c, nil).ready()
			p.create(slurmRun("lost", func(s *api.BenchmarkRunSpec) { s.Workload.Duration = seconds(30) }))
			p.until("lost", time.Minute, api.RunExecuting)
			victim := p.allocation("lost-1").Status.Nodes[rank].Name
			c.control("node-down", victim)
			t.Cleanup(func() { c.control("node-up", victim) })
			p.eventually(3*time.Minute, "the next attempt executes elsewhere", func(ctx context.Context) (bool, string) {
				run, err := p.tryRun(ctx, "lost")
				if err != nil {
					return false, err.Error()
				}
				return len(run.Status.Attempts) == 2 && run.Status.Phase == api.RunExecuting, fmt.Sprintf("%s: %s", run.Status.Phase, run.Status.Message)
			})
			run := p.run("lost")
			if o := run.Status.Attempts[0].Outcome; o.Class != api.FailureInfrastructure {
				t.Errorf("first attempt: got %+v", o)
			}
			for _, n := range p.allocation("lost-2").Status.Nodes {
				if n.Name == victim {
					t.Errorf("the second attempt uses the dead node %s", victim)
				}
			}
			if _, err := p.api.Delete(t.Context(), api.KindBenchmarkRun, "default", "lost", ""); err != nil {
				t.Fatal(err)
			}
			c.gone(p)
		})
	}
}

// gone waits until no job of the control plane is left.
func (c *slurmCluster) gone(p *plane) {
	c.t.Helper()
	p.eventually(time.Minute, "no job is left", func(context.Context) (bool, string) {
		left := c.jobs(p)
		return left == "", left
	})
}

func TestSlurmTimeLimit(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil).ready()
	p.create(slurmRun("limit", func(s *api.BenchmarkRunSpec) {
		s.Slurm.TimeLimit = "00:01:00"
		s.Service.Config["startup"] = "5m"
	}))
	run := p.until("limit", 3*time.Minute, api.RunFailed)
	if o := run.Status.Outcome; o.Class != api.FailureUser || o.Reason != "TimeLimit" {
		t.Errorf("outcome: got %+v", o)
	}
	if n := len(run.Status.Attempts); n != 1 {
		t.Errorf("attempts: got %d, want 1: a limit that is too short is so again", n)
	}
}

func TestSlurmJobThatCanNeverStartSaysSo(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil).ready()
	p.create(slurmRun("never", func(s *api.BenchmarkRunSpec) {
		s.Slurm.Partition, s.Slurm.TimeLimit = "short", "01:00:00"
	}))
	p.eventually(30*time.Second, "the run says that it can never start", func(ctx context.Context) (bool, string) {
		run, err := p.tryRun(ctx, "never")
		if err != nil {
			return false, err.Error()
		}
		if run.Status.Phase == api.RunFailed {
			return run.Status.Outcome.Reason == "SubmissionRejected", run.Status.Message
		}
		cond := meta.FindStatusCondition(run.Status.Conditions, api.ConditionSchedulable)
		return cond != nil && cond.Status == metav1.ConditionFalse && strings.Contains(cond.Message, "slurm.timeLimit"), fmt.Sprintf("%s %+v", run.Status.Message, cond)
	})
	if _, err := p.api.Delete(t.Context(), api.KindBenchmarkRun, "default", "never", ""); err != nil {
		t.Fatal(err)
	}
	c.gone(p)
}

func TestSlurmRefusesTheSubmission(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil).ready()
	p.create(slurmRun("refused", func(s *api.BenchmarkRunSpec) { s.Slurm.Partition = "nowhere" }))
	run := p.failed("refused", api.FailureUser, "SubmissionRejected")
	if m := run.Status.Outcome.Message; !strings.Contains(m, "partition") {
		t.Errorf("message: %s", m)
	}
}

// The control plane is stopped from before the job starts until Slurm has forgotten the job. It runs with accounting and,
// by hack/test, once more on a cluster without.
func TestSlurmControlPlaneAwayUntilTheJobIsForgotten(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil).ready()
	p.create(slurmRun("forgotten", func(s *api.BenchmarkRunSpec) { s.Service.Config["startup"] = "2s" }))
	p.eventually(time.Minute, "the job is released", func(ctx context.Context) (bool, string) {
		obj, err := p.api.Get(ctx, api.KindAllocation, "default", "forgotten-1")
		if err != nil {
			return false, err.Error()
		}
		a, ok := obj.(*api.Allocation)
		return ok && a.Status.Phase != api.AllocationPending && a.Status.Phase != api.AllocationSubmitted && a.Status.Phase != "", string(a.Status.Phase)
	})
	id := p.allocation("forgotten-1").Status.JobID
	p.kill()
	p.eventually(4*time.Minute, "Slurm has forgotten the job", func(context.Context) (bool, string) {
		out := c.command("squeue", "-h", "-t", "all", "-o", "%i|%T")
		return !strings.Contains("\n"+out, "\n"+id+"|"), out
	})
	p.start()
	run := p.until("forgotten", time.Minute, api.RunCompleted)
	if n := len(run.Status.Attempts); n != 1 {
		t.Errorf("attempts: got %d, want 1", n)
	}
}

func TestSlurmCancelAndDeleteLeaveNothing(t *testing.T) {
	t.Parallel()
	for name, phase := range map[string]api.RunPhase{"new": "", "deploying": api.RunDeploying, "executing": api.RunExecuting} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := needSlurm(t, false)
			p := newSlurmPlane(c, nil).ready()
			p.create(slurmRun("gone", func(s *api.BenchmarkRunSpec) {
				s.Service.Config["startup"] = "2s"
				s.Workload.Duration = seconds(30)
			}))
			if phase != "" {
				p.until("gone", time.Minute, phase)
			}
			if _, err := p.api.Patch(t.Context(), api.KindBenchmarkRun, "default", "gone", map[string]any{"spec": map[string]any{"cancel": true}}); err != nil {
				t.Fatal(err)
			}
			p.until("gone", time.Minute, api.RunCancelled)
			c.gone(p)
		})
	}
}

// A work folder that the user may not write to is waited out, and said.
func TestSlurmWorkFolderNotWritable(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	dir, err := os.MkdirTemp("", "bw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // the test's own: root's
		t.Fatal(err)
	}
	p := newSlurmPlane(c, func(s *api.ClusterSpec) { s.Workdir = dir }).ready()
	p.create(slurmRun("locked"))
	p.eventually(30*time.Second, "the run says that the folder cannot be written", func(ctx context.Context) (bool, string) {
		run, err := p.tryRun(ctx, "locked")
		if err != nil {
			return false, err.Error()
		}
		return strings.Contains(run.Status.Message, "permission denied") && strings.Contains(run.Status.Message, "spec.workdir"), run.Status.Message
	})
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	p.until("locked", time.Minute, api.RunCompleted)
}
