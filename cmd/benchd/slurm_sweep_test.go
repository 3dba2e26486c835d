package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// slurmSweep is a sweep of short runs on the real cluster.
func slurmSweep(name string, change func(*api.BenchmarkSweepSpec)) *api.BenchmarkSweep {
	return newSweep(name, func(s *api.BenchmarkSweepSpec) {
		s.Template.Spec = slurmRun("template").Spec
		s.Template.Spec.Timeouts.Start = &metav1.Duration{Duration: 30 * time.Second}
		s.Template.Spec.Service.Health.Timeout = seconds(30)
		change(s)
	})
}

// With one Allocation at a time, the job of the second group is in the queue while the first one works, and waits for its end.
func TestSlurmSweepGoesOnInTheNextJob(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil)
	p.apply(slurmSweep("long", func(s *api.BenchmarkSweepSpec) {
		s.Repeats = 2
		s.Parameters = []api.ParameterSpec{{Path: "service.config.ttft", Values: []any{"1ms", "2ms"}}}
	}))
	p.until("long-ttft1ms-r1", 2*time.Minute, api.RunExecuting, api.RunReporting, api.RunCompleted)
	p.kill()
	p.start()
	p.untilSweep("long", 3*time.Minute, api.SweepCompleted)
	p.eventually(time.Minute, "the hours of both jobs are counted", func(context.Context) (bool, string) {
		st := p.sweep("long").Status
		return st.Succeeded == 4 && st.AllocationsMade == 2 && st.NodeHours > 0, fmt.Sprintf("%+v", st)
	})
	jobs := map[string]bool{}
	for _, run := range p.runsOf("long") {
		jobs[run.Status.Attempts[len(run.Status.Attempts)-1].JobID] = true
	}
	if len(jobs) != 2 {
		t.Errorf("jobs: %v, want 2", jobs)
	}
	var ids []string
	for id := range jobs {
		ids = append(ids, id)
	}
	// The second one did not begin before the first had ended.
	out := c.command("sacct", "-n", "-P", "-X", "-j", strings.Join(ids, ","), "-o", "JobID,Start,End")
	lines := strings.Split(out, "\n")
	if len(lines) == 2 {
		first, second := strings.Split(lines[0], "|"), strings.Split(lines[1], "|")
		if len(first) < 3 || len(second) < 3 || second[1] < first[2] {
			t.Errorf("jobs overlap: %q", out)
		}
	}
}

// A job that somebody cancels costs the sweep one attempt of the run that was under way; the others go to the next job.
func TestSlurmSweepSurvivesACancelledJob(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil)
	p.apply(slurmSweep("cut", func(s *api.BenchmarkSweepSpec) {
		s.Repeats = 3
		s.Template.Spec.Workload.Duration = seconds(4)
	}))
	run := p.until("cut-r1", 2*time.Minute, api.RunExecuting)
	c.command("scancel", run.Status.Attempts[0].JobID)
	st := p.untilSweep("cut", 3*time.Minute, api.SweepCompleted).Status
	if st.Succeeded != 3 || st.AllocationsMade != 2 {
		t.Errorf("status: %+v", st)
	}
	for _, run := range p.runsOf("cut") {
		n := len(run.Status.Attempts)
		if n != 2 {
			t.Errorf("run %s took %d attempts: %+v", run.Name, n, run.Status.Attempts)
			continue
		}
		want := "NotStarted"
		if run.Name == "cut-r1" {
			want = "JobCancelled"
		}
		if got := run.Status.Attempts[0].Outcome.Reason; got != want {
			t.Errorf("run %s: the first attempt ended with %s, want %s", run.Name, got, want)
		}
	}
}

// The control plane as a Slurm job, by the script that is shipped: it hands over before its time limit, is reached from another host,
// and the run that was under way completes.
func TestSlurmControlPlaneInAJob(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil).ready()
	p.create(slurmRun("over", func(s *api.BenchmarkRunSpec) { s.Workload.Duration = seconds(45) }))
	p.until("over", 2*time.Minute, api.RunExecuting)
	p.kill()
	script, err := os.ReadFile("../../config/deploy/serve.sbatch")
	if err != nil {
		t.Fatal(err)
	}
	// So soon before its limit that it hands over at once.
	short := strings.NewReplacer("--time=1-00:00:00", "--time=3", "B:USR1@120", "B:USR1@160").Replace(string(script))
	file := filepath.Join(string(p.home), "serve.sbatch")
	if err := os.WriteFile(file, []byte(short), 0o755); err != nil {
		t.Fatal(err)
	}
	stop := filepath.Join(string(p.home), "no-successor")
	sbatch := exec.Command("sbatch", "--output="+filepath.Join(string(p.home), "job.log"), file)
	sbatch.Dir, sbatch.SysProcAttr = string(p.home), p.attr
	sbatch.Env = append(os.Environ(), "SLURM_CONF="+c.conf(), "BENCHD_HOME="+string(p.home), "PATH="+filepath.Dir(p.binary)+":"+os.Getenv("PATH"))
	if out, err := sbatch.CombinedOutput(); err != nil {
		t.Fatalf("sbatch: %v: %s", err, out)
	}
	t.Cleanup(func() {
		_ = os.WriteFile(stop, nil, 0o600)
		c.command("scancel", "--name=benchd-serve", "--user="+slurmUser)
	})
	first := ""
	p.eventually(2*time.Minute, "a successor has the home", func(context.Context) (bool, string) {
		owner, err := p.home.Owner()
		if err != nil || owner.URL == "" {
			log, _ := os.ReadFile(filepath.Join(string(p.home), "job.log"))
			return false, fmt.Sprint(owner, err, string(log))
		}
		if first == "" {
			first = owner.Nonce
		}
		log, _ := os.ReadFile(filepath.Join(string(p.home), "job.log"))
		return owner.Nonce != first, fmt.Sprint(owner, string(log))
	})
	p.eventually(2*time.Minute, "the run completes", func(ctx context.Context) (bool, string) {
		get := exec.CommandContext(ctx, p.binary, "get", "run", "over", "-o", "jsonpath={.status.phase} {.status.attempts[*].number}", "--home", string(p.home))
		get.SysProcAttr, get.Env = p.attr, append(os.Environ(), p.env...)
		out, err := get.CombinedOutput()
		return err == nil && strings.TrimSpace(string(out)) == "Completed 1", string(out)
	})
}
