package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/node/logs"
)

// never repeated, so that the first failure is the run's.
func once(s *api.BenchmarkRunSpec) { s.BackoffLimit = count(0) }

func faults(s *api.BenchmarkRunSpec, f map[string]any) { s.Service.Config["faults"] = f }

// failed waits for the run's failure and checks who is blamed and why.
func (p *plane) failed(name string, class api.FailureClass, reason string) *api.BenchmarkRun {
	p.t.Helper()
	run := p.until(name, time.Minute, api.RunFailed)
	if o := run.Status.Outcome; o == nil || o.Class != class || o.Reason != reason {
		p.t.Errorf("outcome: got %+v, want %s %s", o, class, reason)
	}
	return run
}

func TestServerThatNeverGetsHealthyFailsTheRunWithItsReason(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.create(newRun("sick", once, func(s *api.BenchmarkRunSpec) {
		faults(s, map[string]any{"neverHealthy": true})
		s.Service.Health.Timeout = seconds(1)
	}))
	run := p.failed("sick", api.FailureService, "ServerUnhealthy")
	if m := run.Status.Outcome.Message; !strings.Contains(m, "dummy-0") || !strings.Contains(m, "service.health.timeout") {
		t.Errorf("the message names neither server nor what to do: %s", m)
	}
}

func TestAnotherProcessOnThePortIsNeverMeasured(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 100)
	stranger := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.URL.Path:
		default:
		}
	})}
	go func() { _ = stranger.Serve(l) }()
	t.Cleanup(func() { _ = stranger.Close() })
	port := l.Addr().(*net.TCPAddr).Port
	p := newPlane(t).ready()
	p.create(newRun("taken", once, func(s *api.BenchmarkRunSpec) { s.Service.Port = int32(port) }))
	p.failed("taken", api.FailureService, "ServerPortInUse")
	close(asked)
	for path := range asked {
		if strings.HasPrefix(path, "/v1/") {
			t.Errorf("the stranger was sent a request: %s", path)
		}
	}
}

func TestServerThatCrashesGetsANewAllocationAndThenUp(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.create(newRun("crash", func(s *api.BenchmarkRunSpec) {
		faults(s, map[string]any{"crashAfter": 5})
		s.BackoffLimit = count(1)
		s.Workload.Duration = seconds(5)
	}))
	run := p.failed("crash", api.FailureService, "ServerExited")
	if n := len(run.Status.Attempts); n != 2 {
		t.Errorf("attempts: got %d, want 2", n)
	}
	if a, b := run.Status.Attempts[0].Allocation, run.Status.Attempts[1].Allocation; a == b {
		t.Errorf("both attempts used allocation %s, whose server had crashed", a)
	}
	if len(run.Status.Reports) == 0 {
		t.Error("a failed run is to leave what logs and report there are")
	}
}

func TestWorkloadFailureIsRepeatedOnTheSameServers(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.create(newRun("errors", func(s *api.BenchmarkRunSpec) {
		faults(s, map[string]any{"errorRate": 1.0})
		s.BackoffLimit = count(1)
	}))
	run := p.failed("errors", api.FailureWorkload, "NoRequestSucceeded")
	if n := len(run.Status.Attempts); n != 2 {
		t.Fatalf("attempts: got %d, want 2", n)
	}
	if a, b := run.Status.Attempts[0].Allocation, run.Status.Attempts[1].Allocation; a != b {
		t.Errorf("the second attempt used allocation %s, not %s, whose servers are fine", b, a)
	}
	if v := run.Status.Summary; v == nil || v.Verdict != "Invalid" || v.ErrorRate != 1 || strings.Contains(strings.Join(v.VerdictReasons, "; "), "before its time") {
		t.Errorf("summary: got %+v; the load came to its end", v)
	}
}

func TestKilledExecutorIsRepeatedElsewhere(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.create(newRun("executor", func(s *api.BenchmarkRunSpec) { s.Workload.Duration = seconds(10) }))
	p.until("executor", time.Minute, api.RunExecuting)
	var record node.AgentRecord
	if err := node.ReadJSON(node.Folder(p.allocation("executor-1").Status.Folder).Agent(1), &record); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(record.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	run := p.until("executor", time.Minute, api.RunCompleted)
	if n := len(run.Status.Attempts); n != 2 || run.Status.Attempts[0].Outcome.Reason != "ClientLost" {
		t.Errorf("attempts: got %+v", run.Status.Attempts)
	}
}

func TestControlPlaneAwayFromBeforeTheStartUntilAfterTheEnd(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.create(newRun("alone", func(s *api.BenchmarkRunSpec) { s.Service.Config["startup"] = "2s" }))
	p.eventually(20*time.Second, "the job is released", func(context.Context) (bool, string) {
		started, _ := p.started()
		return started == 1, ""
	})
	p.kill()
	p.eventually(time.Minute, "the job has ended", func(context.Context) (bool, string) {
		left := p.processes()
		return len(left) == 0, strings.Join(left, "\n")
	})
	p.start()
	run := p.until("alone", time.Minute, api.RunCompleted)
	if started, total := p.started(); started != 1 || total != 1 || len(run.Status.Attempts) != 1 {
		t.Errorf("jobs: %d started of %d, want 1 of 1", started, total)
	}
	// The phases are gone through one by one even when the lead was far ahead.
	if n := len(run.Status.Attempts[0].Phases); n != 8 {
		t.Errorf("phases: got %v", run.Status.Attempts[0].Phases)
	}
}

func TestNodeWhoseClockIsOff(t *testing.T) {
	t.Parallel()
	p := newPlane(t, clockSkewVariable+"=7m").ready()
	run := newRun("skewed", func(s *api.BenchmarkRunSpec) {
		s.Nodes.Clients.Count = count(2)
		s.Workload.Load.ClientsPerNode = 2
	})
	p.create(run)
	done := p.until("skewed", time.Minute, api.RunCompleted)
	if v := done.Status.Summary.Verdict; v == "Invalid" {
		t.Errorf("verdict: %s", v)
	}
	// The lines of all nodes are there, by one clock.
	ends := map[string]bool{}
	err := logs.ReadFinished(outputsIn(filepath.Join(done.Status.Folder, "logs"), &done.Spec.Logging), func(l *logs.Line) error {
		if off := time.Since(l.At).Abs(); off > 2*time.Minute {
			t.Errorf("a line of %s is %s off: %s", l.Node, off, l.Text)
		}
		ends[l.Node] = ends[l.Node] || strings.Contains(l.Text, "load has ended")
		return nil
	})
	if err != nil || len(ends) != 3 || !ends["node002"] || !ends["node003"] {
		t.Errorf("nodes, and whether they told of the load's end: %v (%v)", ends, err)
	}
}

func TestCancelAndDeleteInEveryPhaseLeaveNothing(t *testing.T) {
	t.Parallel()
	slow := func(s *api.BenchmarkRunSpec) {
		s.Service.Config["startup"] = "2s"
		s.Workload.Duration = seconds(30)
	}
	for name, phase := range map[string]api.RunPhase{"new": "", "deploying": api.RunDeploying, "executing": api.RunExecuting} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlane(t).ready()
			p.create(newRun("cancelled", slow))
			p.create(newRun("deleted", slow))
			if phase != "" {
				p.until("cancelled", time.Minute, phase)
				p.until("deleted", time.Minute, phase)
			}
			ctx := t.Context()
			if _, err := p.api.Patch(ctx, api.KindBenchmarkRun, "default", "cancelled", map[string]any{"spec": map[string]any{"cancel": true}}); err != nil {
				t.Fatal(err)
			}
			if _, err := p.api.Delete(ctx, api.KindBenchmarkRun, "default", "deleted", ""); err != nil {
				t.Fatal(err)
			}
			run := p.until("cancelled", time.Minute, api.RunCancelled)
			if phase == api.RunExecuting && run.Status.Summary == nil {
				t.Error("a run cancelled while executing keeps what it measured")
			}
			p.eventually(time.Minute, "the deleted run is gone", func(ctx context.Context) (bool, string) {
				_, err := p.tryRun(ctx, "deleted")
				return apierrors.IsNotFound(err), fmt.Sprint(err)
			})
			p.eventually(time.Minute, "no process of a job is left", func(context.Context) (bool, string) {
				left := p.processes()
				return len(left) == 1, strings.Join(left, "\n") // the control plane itself
			})
		})
	}
}

func TestExecutorRefusesAWrongToken(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.create(newRun("token", func(s *api.BenchmarkRunSpec) { s.Workload.Duration = seconds(60) }))
	p.until("token", time.Minute, api.RunExecuting)
	var record node.AgentRecord
	if err := node.ReadJSON(node.Folder(p.allocation("token-1").Status.Folder).Agent(1), &record); err != nil {
		t.Fatal(err)
	}
	//nolint:gosec // the certificate is the job's own; what is looked at is the token
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for _, path := range []string{"/health", "/status", "/metrics", "/stop"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("https://%s:%d%s", record.Address, record.Port, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer wrong")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("GET %s with a wrong token: HTTP %d", path, resp.StatusCode)
		}
	}
	p.cancelRun("token")
	p.until("token", time.Minute, api.RunCancelled)
}

// A work folder without room is waited out: the run says so, and goes on when there is room.
func TestFullWorkFolderIsWaitedOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		if errors.Is(err, syscall.EPERM) && os.Getenv("CI") != "true" {
			t.Skip("left out: mounting a small file system needs root")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	p := newPlane(t).ready()
	small := &api.Cluster{Spec: api.ClusterSpec{Type: api.ClusterEmbedded, Workdir: dir}}
	small.Name = "small"
	small.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindCluster))
	if _, err := p.api.Create(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	p.create(newRun("full", func(s *api.BenchmarkRunSpec) { s.Cluster = "small" }))
	p.eventually(30*time.Second, "the run says that the disk is full", func(ctx context.Context) (bool, string) {
		run, err := p.tryRun(ctx, "full")
		if err != nil {
			return false, err.Error()
		}
		return strings.Contains(run.Status.Message, "no space left"), run.Status.Message
	})
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=400m"); err != nil {
		t.Fatal(err)
	}
	p.until("full", time.Minute, api.RunCompleted)
}

func TestTwoControlPlanesOnOneHome(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	second := &plane{t: t, home: p.home, binary: p.binary, env: p.env}
	second.start()
	second.died(20 * time.Second)
	log, err := os.ReadFile(p.home.Log())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "another control plane has this home") {
		t.Errorf("the second one does not say why it ends: %s", log)
	}
	p.create(newRun("still"))
	p.until("still", time.Minute, api.RunCompleted)
}

func TestHomeOfAnotherHost(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.kill()
	owner := filepath.Join(string(p.home), "owner.json")
	data, err := os.ReadFile(owner)
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(owner, []byte(strings.Replace(string(data), `"`+host+`"`, `"elsewhere"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	p.died(20 * time.Second)
	log, err := os.ReadFile(p.home.Log())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "on host elsewhere") || !strings.Contains(string(log), "--take-over") {
		t.Errorf("it does not say who holds the home and what to do: %s", log)
	}
}

// A job that was queued by one binary runs with a copy of it, whatever becomes of the original.
func TestUpgradeWhileAJobIsQueued(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	narrow := &api.Cluster{Spec: api.ClusterSpec{Type: api.ClusterEmbedded, EmbeddedNodes: 2}}
	narrow.Name = "narrow"
	narrow.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindCluster))
	if _, err := p.api.Create(t.Context(), narrow); err != nil {
		t.Fatal(err)
	}
	onNarrow := func(s *api.BenchmarkRunSpec) { s.Cluster = "narrow" }
	p.create(newRun("first", onNarrow, func(s *api.BenchmarkRunSpec) { s.Workload.Duration = seconds(20) })) // longer than a busy machine takes
	p.until("first", time.Minute, api.RunExecuting)
	p.create(newRun("second", onNarrow))
	p.eventually(20*time.Second, "the second job is queued", func(ctx context.Context) (bool, string) {
		run, err := p.tryRun(ctx, "second")
		if err != nil {
			return false, err.Error()
		}
		return strings.Contains(run.Status.Message, "the nodes it needs are busy"), run.Status.Message
	})
	p.kill()
	// The next binary is another file with another hash.
	data, err := os.ReadFile(p.binary)
	if err != nil {
		t.Fatal(err)
	}
	p.binary = filepath.Join(string(p.home), "upgraded")
	if err := os.WriteFile(p.binary, append(data, "a newer benchd"...), 0o755); err != nil {
		t.Fatal(err)
	}
	p.start()
	p.create(newRun("third", onNarrow))
	for _, name := range []string{"first", "second", "third"} {
		if run := p.until(name, time.Minute, api.RunCompleted); len(run.Status.Attempts) != 1 {
			t.Errorf("%s: %d attempts, want 1", name, len(run.Status.Attempts))
		}
	}
	binaries, err := filepath.Glob(filepath.Join(string(p.home), "work", "bin", "benchd-*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(binaries) != 2 {
		t.Errorf("copies for jobs: got %v, want one of each binary", binaries)
	}
}

func TestKilledLeadIsRepeatedElsewhere(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.create(newRun("lead", func(s *api.BenchmarkRunSpec) { s.Workload.Duration = seconds(8) }))
	p.until("lead", time.Minute, api.RunExecuting)
	var record node.AgentRecord
	if err := node.ReadJSON(node.Folder(p.allocation("lead-1").Status.Folder).Agent(0), &record); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(record.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The other member notices that its lead is gone and ends the job; a new one repeats the run.
	run := p.until("lead", 4*time.Minute, api.RunCompleted)
	if n := len(run.Status.Attempts); n != 2 || run.Status.Attempts[0].Outcome.Class != api.FailureInfrastructure {
		t.Errorf("attempts: got %+v", run.Status.Attempts)
	}
}
