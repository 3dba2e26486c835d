package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/home"
)

// plane is a control plane in a process of its own, with a home of its own.
type plane struct {
	t    testing.TB
	home home.Dir
	env  []string
	args []string // of serve, beside the home
	cmd  *exec.Cmd
	exit chan error
	api  *client.Client
	// binary is the test binary, or a copy of it; attr is how it is started: as another user.
	binary string
	attr   *syscall.SysProcAttr
}

// patience is how many times as long as a test says is waited. What a test says is what it takes on a machine of one's own: on a
// shared one a core may be somebody else's, and on a cluster that tests share jobs queue behind each other's. It costs time only
// where a test fails.
const patience = 5

// newPlane starts a control plane and sees to it that nothing of it is left when the test ends.
func newPlane(t testing.TB, env ...string) *plane {
	t.Helper()
	dir, err := os.MkdirTemp("", "bh")
	if err != nil {
		t.Fatal(err)
	}
	p := &plane{t: t, home: home.Dir(dir), binary: testBinary(t), env: env}
	p.cleanUp()
	p.start()
	return p
}

// cleanUp sees to it that nothing is left when the test ends; of a failed one the folder stays.
func (p *plane) cleanUp() {
	p.t.Cleanup(func() {
		p.kill()
		p.assertNothingLeft()
		if p.t.Failed() {
			log, _ := os.ReadFile(p.home.Log())
			p.t.Logf("the control plane's log:\n%s", log)
			p.t.Logf("kept for a look: %s", p.home)
			return
		}
		_ = os.RemoveAll(string(p.home))
	})
}

// allocation reads an Allocation.
func (p *plane) allocation(name string) *api.Allocation {
	p.t.Helper()
	obj, err := p.api.Get(p.t.Context(), api.KindAllocation, "default", name)
	if err != nil {
		p.t.Fatal(err)
	}
	a, ok := obj.(*api.Allocation)
	if !ok {
		p.t.Fatalf("allocation %s is a %T", name, obj)
	}
	return a
}

func (p *plane) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.home.Log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(p.binary, append([]string{"serve", "--home", string(p.home)}, p.args...)...)
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = p.attr
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.exit = make(chan error, 1)
	go func(cmd *exec.Cmd, exit chan<- error) { exit <- cmd.Wait() }(p.cmd, p.exit)
	if p.api, err = client.New(client.Endpoint{Socket: p.home.Socket()}); err != nil {
		p.t.Fatal(err)
	}
}

// ready waits until the control plane answers.
func (p *plane) ready() *plane {
	p.t.Helper()
	p.eventually(10*time.Second, "the control plane answers", func(ctx context.Context) (bool, string) {
		err := p.api.Ready(ctx)
		return err == nil, fmt.Sprint(err)
	})
	return p
}

// kill ends the control plane with SIGKILL.
func (p *plane) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		<-p.exit
		p.cmd = nil
		p.api.Close()
	}
}

// died waits until the control plane has ended by itself.
func (p *plane) died(within time.Duration) {
	p.t.Helper()
	select {
	case <-p.exit:
		p.cmd = nil
	case <-time.After(within * patience):
		p.t.Fatal("the control plane was to die and lives")
	}
}

// eventually polls a condition until it holds. It is for what happens in other processes, which no test can wait for
// otherwise.
func (p *plane) eventually(within time.Duration, what string, holds func(context.Context) (bool, string)) {
	p.t.Helper()
	within *= patience
	ctx, cancel := context.WithTimeout(p.t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for {
		ok, seen := holds(ctx)
		if ok {
			return
		}
		if ctx.Err() == nil {
			last = seen
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("within %s: %s; last seen: %s", within, what, last)
		case <-tick.C:
		}
	}
}

// create makes a run, again while the control plane does not answer.
func (p *plane) create(run *api.BenchmarkRun) {
	p.t.Helper()
	p.eventually(20*time.Second, "run "+run.Name+" is created", func(ctx context.Context) (bool, string) {
		_, err := p.api.Create(ctx, run)
		return err == nil || apierrors.IsAlreadyExists(err), fmt.Sprint(err)
	})
}

func (p *plane) run(name string) *api.BenchmarkRun {
	p.t.Helper()
	run, err := p.tryRun(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	return run
}

func (p *plane) tryRun(ctx context.Context, name string) (*api.BenchmarkRun, error) {
	obj, err := p.api.Get(ctx, api.KindBenchmarkRun, "default", name)
	if err != nil {
		return nil, err
	}
	run, ok := obj.(*api.BenchmarkRun)
	if !ok {
		return nil, fmt.Errorf("run %s is a %T", name, obj)
	}
	return run, nil
}

// until waits until the run is in one of the phases, or at its end.
func (p *plane) until(name string, within time.Duration, phases ...api.RunPhase) *api.BenchmarkRun {
	p.t.Helper()
	var run *api.BenchmarkRun
	p.eventually(within, fmt.Sprintf("run %s is %v", name, phases), func(ctx context.Context) (bool, string) {
		var err error
		if run, err = p.tryRun(ctx, name); err != nil {
			return false, err.Error()
		}
		for _, phase := range phases {
			if run.Status.Phase == phase {
				return true, ""
			}
		}
		if run.Status.Phase.Terminal() {
			p.t.Fatalf("run %s is %s: %s\noutcome %+v\nattempts %+v", name, run.Status.Phase, run.Status.Message, run.Status.Outcome, run.Status.Attempts)
		}
		return false, fmt.Sprintf("%s: %s", run.Status.Phase, run.Status.Message)
	})
	return run
}

// assertNothingLeft fails the test when a process of this home still runs.
func (p *plane) assertNothingLeft() {
	deadline := time.Now().Add(30 * time.Second * patience)
	for {
		left := p.processes()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Errorf("processes left behind:\n%s", strings.Join(left, "\n"))
			return
		}
		<-time.After(100 * time.Millisecond)
	}
}

// processes lists what runs with this home in its command line.
func (p *plane) processes() []string {
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		p.t.Fatal(err)
	}
	var left []string
	for _, entry := range entries {
		data, err := os.ReadFile(entry)
		if err != nil {
			continue // it ended
		}
		line := strings.ReplaceAll(string(data), "\x00", " ")
		if strings.Contains(line, string(p.home)+"/") || strings.Contains(line, string(p.home)+" ") {
			left = append(left, filepath.Base(filepath.Dir(entry))+" "+line)
		}
	}
	return left
}

// halfWritten lists temporary files under the home.
func (p *plane) halfWritten() []string {
	var found []string
	err := filepath.WalkDir(string(p.home), func(path string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(filepath.Base(path), ".") && strings.HasSuffix(path, ".tmp") {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return found
}

func testBinary(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// newRun is a short run on the embedded cluster; change adapts it.
func newRun(name string, change ...func(*api.BenchmarkRunSpec)) *api.BenchmarkRun {
	run := &api.BenchmarkRun{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	run.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkRun))
	run.Spec.Cluster = "embedded"
	run.Spec.Service = api.ServiceSpec{Name: "dummy", Config: map[string]any{"ttft": "10ms", "itl": "1ms"}}
	run.Spec.Workload = api.WorkloadSpec{Duration: seconds(1), Output: api.OutputSpec{Tokens: 8}, Prompts: api.PromptSpec{Tokens: 16}}
	drain := seconds(5)
	run.Spec.Workload.Drain = &drain
	for _, c := range change {
		c(&run.Spec)
	}
	return run
}

func seconds(n float64) metav1.Duration {
	return metav1.Duration{Duration: time.Duration(n * float64(time.Second))}
}

func count(n int32) *int32 { return &n }
