package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// Daemons leave children to the agent, which would pile up as zombies in a long job; what is waited for is left to who waits.
func TestOrphansAreReaped(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/bin/sh", "-c", "sleep 0.1 >/dev/null & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	orphan, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	var seen map[int]bool
	for deadline := time.Now().Add(10 * time.Second); !seen[orphan]; seen = reap(nil) {
		if time.Now().After(deadline) {
			t.Fatal("the orphan does not become a zombie of this process")
		}
	}
	reap(seen)
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", orphan)); !os.IsNotExist(err) {
		t.Errorf("the orphan is still there: %v", err)
	}
}
