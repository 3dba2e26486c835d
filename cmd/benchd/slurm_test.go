package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/home"
)

// slurmVariable names the folder of the cluster that hack/slurm-cluster brought up, or is `off`.
const slurmVariable = "BENCHD_TEST_SLURM"

// slurmUser is the ordinary user that control planes and jobs run as: root would pass every permission check.
const slurmUser = "benchd"

// slurmLock keeps tests that break the cluster apart from those that only use it.
var slurmLock sync.RWMutex

// slurmCluster is the real cluster of the tests.
type slurmCluster struct {
	t   testing.TB
	dir string
}

// needSlurm skips the test where there is no cluster, which CI does not allow. With alone, no other test uses it.
func needSlurm(t testing.TB, alone bool) *slurmCluster {
	t.Helper()
	dir := os.Getenv(slurmVariable)
	if dir == "" || dir == "off" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s names no cluster: run `make test`", slurmVariable)
		}
		t.Skipf("left out: no Slurm cluster for tests (%s=%q); `make test` brings one up where it can", slurmVariable, dir)
	}
	if alone {
		slurmLock.Lock()
		t.Cleanup(slurmLock.Unlock)
	} else {
		slurmLock.RLock()
		t.Cleanup(slurmLock.RUnlock)
	}
	c := &slurmCluster{t: t, dir: dir}
	if alone {
		c.allIdle()
	}
	return c
}

// allIdle waits until every node can take jobs: after an outage that takes some seconds.
func (c *slurmCluster) allIdle() {
	c.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		out := c.command("sinfo", "-h", "-p", "gpu", "-o", "%T")
		if out == "idle" {
			return
		}
		c.resume()
		if time.Now().After(deadline) {
			c.t.Fatalf("the cluster's nodes do not come to rest: %s", c.command("sinfo"))
		}
		<-time.After(200 * time.Millisecond)
	}
}

// resume brings nodes back that Slurm has drained because a job's processes took too long to end: on a busy machine of two cores that
// happens after jobs were cancelled while slurmctld was away.
func (c *slurmCluster) resume() {
	c.t.Helper()
	for _, line := range strings.Split(c.command("sinfo", "-h", "-R", "-o", "%N|%E"), "\n") {
		if nodes, why, _ := strings.Cut(line, "|"); why == "Kill task failed" {
			c.t.Logf("%s: drained by Slurm (%s), taken back into service", nodes, why)
			c.command("scontrol", "update", "nodename="+nodes, "state=resume")
		}
	}
}

func (c *slurmCluster) conf() string { return filepath.Join(c.dir, "slurm.conf") }

// command runs one of Slurm's commands as root.
func (c *slurmCluster) command(name string, args ...string) string {
	c.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "SLURM_CONF="+c.conf(), "SLURM_TIME_FORMAT=%s")
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// control runs hack/slurm-cluster.
func (c *slurmCluster) control(args ...string) {
	c.t.Helper()
	out, err := exec.Command("../../hack/slurm-cluster", args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("slurm-cluster %v: %v: %s", args, err, out)
	}
}

// sharedBinary is a copy of the test binary that the ordinary user can read.
var sharedBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "benchd-test-bin")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	in, err := os.Open(self)
	if err != nil {
		return "", err
	}
	defer in.Close()
	path := filepath.Join(dir, "benchd")
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	return path, errors.Join(err, out.Close())
})

// newSlurmPlane starts a control plane as the ordinary user, with a Cluster object `test` for the real cluster.
func newSlurmPlane(c *slurmCluster, change func(*api.ClusterSpec), env ...string) *plane {
	c.t.Helper()
	account, err := user.Lookup(slurmUser)
	if err != nil {
		c.t.Fatal(err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		c.t.Fatal(err)
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		c.t.Fatal(err)
	}
	binary, err := sharedBinary()
	if err != nil {
		c.t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "bs")
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		c.t.Fatal(err)
	}
	p := &plane{
		t: c.t, home: home.Dir(dir), binary: binary, env: append([]string{"HOME=" + account.HomeDir, "USER=" + slurmUser}, env...),
		attr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}},
	}
	p.cleanUp()
	c.t.Cleanup(func() { c.cancelAll(p) })
	p.start()
	cluster := &api.Cluster{ObjectMeta: metav1.ObjectMeta{Name: "test"}, Spec: api.ClusterSpec{
		Type: api.ClusterSlurm, Conf: c.conf(), PollInterval: seconds(1), VisibilityTimeout: seconds(5),
	}}
	if change != nil {
		change(&cluster.Spec)
	}
	cluster.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindCluster))
	p.eventually(20*time.Second, "the cluster is declared", func(ctx context.Context) (bool, string) {
		_, _, err := p.api.Apply(ctx, cluster)
		return err == nil, fmt.Sprint(err)
	})
	return p
}

// cancelAll ends what a failed test left in the queue.
func (c *slurmCluster) cancelAll(p *plane) {
	for _, line := range strings.Split(c.jobs(p), "\n") {
		id, _, _ := strings.Cut(line, "|")
		if id != "" {
			cmd := exec.Command("scancel", id)
			cmd.Env = append(os.Environ(), "SLURM_CONF="+c.conf())
			_ = cmd.Run() // it may have ended
		}
	}
}

// jobs lists the jobs of this control plane that have not ended: id|state|reason|name.
func (c *slurmCluster) jobs(p *plane) string {
	out := c.command("squeue", "-h", "-o", "%i|%T|%r|%Z|%j")
	var ours []string
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, string(p.home)) {
			ours = append(ours, line)
		}
	}
	return strings.Join(ours, "\n")
}

// slurmRun is a short run on the test cluster.
func slurmRun(name string, change ...func(*api.BenchmarkRunSpec)) *api.BenchmarkRun {
	return newRun(name, append([]func(*api.BenchmarkRunSpec){func(s *api.BenchmarkRunSpec) { s.Cluster = "test" }}, change...)...)
}

// startedJobs counts the jobs of an Allocation's name that ever had a start time, as accounting tells once all have
// ended. Jobs that were cancelled while held do not appear there by name: they never were eligible.
func (c *slurmCluster) startedJobs(p *plane, allocation string) int {
	c.t.Helper()
	name := p.allocation(allocation).Status.JobName
	c.gone(p)
	started := 0
	p.eventually(30*time.Second, "accounting knows the ended jobs", func(context.Context) (bool, string) {
		out := c.command("sacct", "-n", "-P", "-X", "-D", "-S", "now-1day", "--name="+name, "-o", "JobIDRaw,State,Start,End")
		started = 0
		for _, line := range strings.Split(out, "\n") {
			f := strings.Split(line, "|")
			switch {
			case len(f) != 4:
			case f[3] == "Unknown": // not ended, as far as accounting knows
				return false, out
			case f[2] == "None", f[2] == "Unknown", strings.HasPrefix(f[1], "CANCELLED") && f[2] == f[3]: // cancelled before its start
			default:
				started++
			}
		}
		return started > 0, out
	})
	return started
}

func TestSlurmRunCompletesWithItsReport(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil)
	p.create(slurmRun("plain", func(s *api.BenchmarkRunSpec) {
		s.Nodes.Servers = api.RoleSpec{Count: count(2), GPUs: 2, CPUs: 1}
		s.Nodes.Clients = api.RoleSpec{Count: count(2), CPUs: 1}
		s.Workload.Load.ClientsPerNode = 3
		s.Workload.Duration, s.Workload.Warmup = seconds(2), seconds(1)
	}))
	run := p.until("plain", 2*time.Minute, api.RunCompleted)
	if v := run.Status.Summary.Verdict; v != "Valid" && v != "Suspect" {
		t.Errorf("verdict: got %s", v)
	}
	if n := c.startedJobs(p, "plain-1"); n != 1 {
		t.Errorf("%d jobs started, want 1", n)
	}
	job := c.command("sacct", "-n", "-P", "-X", "-j", run.Status.Attempts[0].JobID, "-o", "State,User")
	if job != "COMPLETED|"+slurmUser {
		t.Errorf("job: got %s", job)
	}
	overhead := run.Status.CompletionTime.Sub(run.Status.StartTime.Time) - 3*time.Second
	t.Logf("the run cost %s beyond warm-up and duration", overhead)
}

func TestSlurmKilledAroundClusterCommands(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"before-submit", "after-submit", "before-release", "after-release"} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			c := needSlurm(t, false)
			p := newSlurmPlane(c, nil, killVariable+"="+moment)
			p.create(slurmRun("killed"))
			p.died(30 * time.Second)
			p.start()
			p.until("killed", 2*time.Minute, api.RunCompleted)
			if n := c.startedJobs(p, "killed-1"); n != 1 {
				t.Errorf("%d jobs started, want 1", n)
			}
		})
	}
}

// An sbatch that is under way when the control plane dies submits its job late, after the next control plane has
// submitted another. Only one of the two ever starts, and the late one is cancelled.
func TestSlurmOrphanedSubmissionComesLate(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	bin := t.TempDir()
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"squeue", "scontrol", "scancel", "sacct"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	real, err := exec.LookPath("sbatch")
	if err != nil {
		t.Fatal(err)
	}
	marks := t.TempDir()
	if err := errors.Join(os.Chmod(marks, 0o777), os.Chmod(filepath.Dir(marks), 0o755), os.Chmod(filepath.Dir(bin), 0o755)); err != nil {
		t.Fatal(err)
	}
	// The first sbatch kills the control plane and waits until it is told to go on.
	script := fmt.Sprintf(`#!/bin/bash
if mkdir %[1]s/first 2>/dev/null; then
  kill -9 $PPID
  while [ ! -e %[1]s/go ]; do sleep 0.05; done
fi
exec %[2]s "$@"
`, marks, real)
	if err := os.WriteFile(filepath.Join(bin, "sbatch"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	p := newSlurmPlane(c, func(s *api.ClusterSpec) { s.BinDir = bin })
	p.create(slurmRun("orphan", func(s *api.BenchmarkRunSpec) { s.Workload.Duration = seconds(6) }))
	p.died(30 * time.Second)
	p.start()
	p.until("orphan", time.Minute, api.RunExecuting)
	if err := os.WriteFile(filepath.Join(marks, "go"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	p.eventually(30*time.Second, "the late duplicate is submitted and cancelled", func(context.Context) (bool, string) {
		out := c.command("squeue", "-h", "-t", "all", "--name="+p.allocation("orphan-1").Status.JobName, "-o", "%i|%T|%r")
		return strings.Contains(out, "CANCELLED|JobHeldUser"), out
	})
	p.until("orphan", time.Minute, api.RunCompleted)
	if n := c.startedJobs(p, "orphan-1"); n != 1 {
		t.Errorf("%d jobs started, want 1", n)
	}
}

// Roles get the nodes that they name, whatever order Slurm has for them.
func TestSlurmNamedNodes(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil).ready()
	p.create(slurmRun("named", func(s *api.BenchmarkRunSpec) {
		s.Nodes.Servers = api.RoleSpec{Count: count(2), Nodelist: "mel[2003-2004]"}
		s.Nodes.Clients = api.RoleSpec{Count: count(1), Nodelist: "mel2001"}
		s.Nodes.Monitors = api.RoleSpec{Count: count(1), Nodelist: "mel2002"}
		s.Nodes.ExecutorPort = 6111
	}))
	p.until("named", 2*time.Minute, api.RunCompleted)
	var got []string
	for _, n := range p.allocation("named-1").Status.Nodes {
		got = append(got, n.Name+" "+n.Roles[0])
		if !strings.HasSuffix(n.Executor, ":6111") {
			t.Errorf("executor of %s: %s, want port 6111", n.Name, n.Executor)
		}
	}
	if want := "[mel2003 server mel2004 server mel2001 client mel2002 monitor]"; fmt.Sprint(got) != want {
		t.Errorf("nodes: got %v, want %s", got, want)
	}
}
