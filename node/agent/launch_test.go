package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/container"
	"github.com/benchd/benchd/node/logs"
	"github.com/benchd/benchd/services"
)

// A secret within a longer value, as templates make them, is masked as one that is the whole value.
func TestEnvironmentOfAServerIsMasked(t *testing.T) {
	a := &agent{token: "token-of-the-job", log: slog.New(slog.DiscardHandler), mask: logs.Mask("token-of-the-job")}
	s := &server{agent: a, died: make(chan struct{})}
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	proc := &process{cmd: cmd, exited: make(chan struct{})}
	close(proc.exited)
	s.started(services.Process{}, container.Command{Env: map[string]string{
		"ARGS": "--auth Bearer:" + apiKey(a.token), "MY_TOKEN": "x", "PLAIN": "plain",
	}}, proc)
	if diff := cmp.Diff(map[string]string{"ARGS": "***", "MY_TOKEN": "***", "PLAIN": "plain"}, s.status().Env); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.say("refused: %s", a.token)
	if got := s.status().Message; got != "refused: ***" {
		t.Errorf("the message is %q", got)
	}
}

// Sites give each job a TMPDIR of its own, which no container has by itself.
func TestContainersHaveTheNodesFolder(t *testing.T) {
	for _, tc := range []struct {
		tmp     string
		runtime api.Runtime
		bound   bool
	}{
		{"/tmp", api.RuntimeApptainer, false},
		{"/scratch/job.7", api.RuntimeApptainer, true},
		{"/scratch/job.7", api.RuntimeSingularity, true},
		{"/tmp", api.RuntimePodman, true},
		{"/tmp", api.RuntimePyxis, true},
		{"/scratch/job.7", api.RuntimePyxis, true},
	} {
		t.Setenv("TMPDIR", tc.tmp)
		s := &server{agent: &agent{}, replica: node.Replica{Name: "vllm-0"}}
		s.agent.manifest.Container.Runtime = tc.runtime
		binds := s.ownBinds(services.Process{Args: []string{"vllm"}})
		if (len(binds) == 1 && binds[0] == s.scratch()+":"+s.scratch()) != tc.bound {
			t.Errorf("%s with TMPDIR=%s: %q", tc.runtime, tc.tmp, binds)
		}
	}
}

// Ray's sockets lie 68 bytes below the folder, whose paths the kernel takes up to 107 bytes of; and charliecloud mounts /tmp alone.
func TestSocketsHaveShortPaths(t *testing.T) {
	for _, tc := range []struct {
		tmp, want string
		runtime   api.Runtime
	}{
		{"/tmp", "/tmp/benchd-01234567-vllm-0", api.RuntimeNone},
		{"/local/job.7", "/local/job.7/benchd-01234567-vllm-0", api.RuntimeNone},
		{"/tmp/slurm.1234567", "/tmp/benchd-01234567-vllm-0", api.RuntimeNone},
		{"/local/job.7", "/tmp/benchd-01234567-vllm-0", api.RuntimeCharliecloud},
	} {
		t.Setenv("TMPDIR", tc.tmp)
		s := &server{agent: &agent{}, replica: node.Replica{Name: "vllm-0"}}
		s.agent.manifest.Allocation.UID, s.agent.manifest.Container.Runtime = "01234567-89", tc.runtime
		if got := s.scratch(); got != tc.want {
			t.Errorf("%s with TMPDIR=%s: %s", tc.runtime, tc.tmp, got)
		}
	}
}

// A preparation that takes too long says so, and what to raise.
func TestASlowPreparationSaysWhatToDo(t *testing.T) {
	s := &server{agent: &agent{mask: logs.Mask()}, died: make(chan struct{})}
	s.agent.manifest.Service.Health.Timeout.Duration = 20 * time.Millisecond
	s.service = &services.Service{Prepare: func(ctx context.Context, _ services.Server) (services.Prepared, error) {
		<-ctx.Done()
		return services.Prepared{}, fmt.Errorf("pull model m: %w", ctx.Err())
	}}
	ctx, cancel := context.WithTimeout(t.Context(), s.agent.manifest.Service.Health.Timeout.Duration)
	defer cancel()
	_, err := s.prepare(ctx)
	var gate *gateError
	if want := "not prepared 20ms after its start: raise service.health.timeout; last seen: pull model m: context deadline exceeded"; !errors.As(err, &gate) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// A gate's program that is slow, as Python is on a node under load, does not say that a node is lost.
func TestASlowGateLosesNobody(t *testing.T) {
	s := &server{agent: &agent{mask: logs.Mask()}, cleanUps: map[string][]string{}}
	s.agent.manifest.Container.Runtime = api.RuntimeNone
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := s.askGate(ctx, &services.Gate{Args: []string{"/bin/sleep", "60"}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a gate that does not answer: %v", err)
	}
}

// What a program says last is the cause; it is read a moment after the program's end.
func TestLastWordsOfAServerAreHeard(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	p := newProcesses(time.Second, log)
	defer p.stopAll()
	s := &server{agent: &agent{log: log, mask: logs.Mask()}, died: make(chan struct{})}
	capture, err := logs.NewCapture(filepath.Join(t.TempDir(), "server-x.log"))
	if err != nil {
		t.Fatal(err)
	}
	proc, err := p.start([]string{"/bin/sh", "-c", "(sleep 0.1; echo out of memory >&2) & exit 1"}, nil, capture)
	if err != nil {
		t.Fatal(err)
	}
	<-proc.exited
	s.fail(&exitedError{proc})
	if st := s.status(); st.Reason != reasonExited || !slices.Contains(st.Evidence, "out of memory") {
		t.Errorf("%s with %q", st.Reason, st.Evidence)
	}
}

// A gate that fails once may come back; one that fails twice running holds no more, and is asked again sooner than otherwise.
func TestAGateThatFailsTwiceIsLost(t *testing.T) {
	s := &server{agent: &agent{log: slog.New(slog.DiscardHandler), mask: logs.Mask()}, died: make(chan struct{}), cleanUps: map[string][]string{}}
	s.agent.manifest.Container.Runtime = api.RuntimeNone
	const every, again = 200 * time.Millisecond, time.Millisecond
	var asked []time.Time
	answers := []bool{true, false, true, false, false}
	gate := &services.Gate{Args: []string{"/bin/true"}, Lost: "RayWorkerLost", Check: func(string) error {
		asked = append(asked, time.Now())
		if answers[len(asked)-1] {
			return nil
		}
		return errors.New("1 of 2 nodes")
	}}
	begun := time.Now()
	err := s.watch(t.Context(), []services.Process{{Name: "server"}, {Name: "head", Gate: gate}}, every, again)
	if lost := (*gateError)(nil); !errors.As(err, &lost) || lost.reason != "RayWorkerLost" || !strings.Contains(err.Error(), "1 of 2 nodes") || len(asked) != len(answers) {
		t.Fatalf("%v after %d looks", err, len(asked))
	}
	if took := asked[0].Sub(begun); took < every {
		t.Errorf("first asked after %s", took)
	}
	if total := asked[4].Sub(begun); total < 3*every { // before the first look, and after each of the two that held
		t.Errorf("asked five times in %s", total)
	}
}
