package agent

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/benchd/benchd/node/logs"
)

// A server that is still starting when the node ends must neither bring the agent down nor leave a process behind.
func TestNothingStartsAfterTheEnd(t *testing.T) {
	p := newProcesses(time.Second, slog.New(slog.DiscardHandler))
	p.stopAll()
	capture, err := logs.NewCapture(filepath.Join(t.TempDir(), "server-x.log"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.start([]string{"/bin/sleep", "60"}, nil, capture); !errors.Is(err, errStopped) {
		t.Errorf("a start after the end: %v", err)
	}
	if err := capture.Close(); err != nil {
		t.Error(err)
	}
}
