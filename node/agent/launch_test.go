package agent

import (
	"log/slog"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

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
