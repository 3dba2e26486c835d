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

	"github.com/charmbracelet/x/ansi"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// tmux is a terminal multiplexer of a test: a real terminal whose screen can be read.
type tmux struct {
	t       *testing.T
	program string
	socket  string
}

// newTmux needs the program tmux. Where it is not, the test is left out and says so; in CI it has to be there.
func newTmux(t *testing.T) *tmux {
	t.Helper()
	needPrograms(t, "tmux")
	program, err := exec.LookPath("tmux")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "bt") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	m := &tmux{t: t, program: program, socket: filepath.Join(dir, "s")}
	t.Cleanup(func() {
		_ = m.command("kill-server").Run()
		_ = os.RemoveAll(dir)
	})
	return m
}

func (m *tmux) command(args ...string) *exec.Cmd {
	cmd := exec.Command(m.program, append([]string{"-u", "-S", m.socket, "-f", "/dev/null"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "NO_COLOR=", "TMUX=")
	return cmd
}

func (m *tmux) do(args ...string) string {
	m.t.Helper()
	out, err := m.command(args...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// start runs a command on a window of a size; what it leaves there stays when it has ended. A cat holds the window open: tmux,
// were it to keep the window of a command that is gone, scrolls it by a line to say so.
func (m *tmux) start(name string, width, height int, args ...string) {
	m.t.Helper()
	m.do(append([]string{"new-session", "-d", "-s", name, "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), ";", "set-option", "-g", "status", "off", ";", "respawn-window", "-k", "sh", "-c", `"$@"; exec cat`, "sh"}, args...)...)
}

// screen is what stands on a window.
func (m *tmux) screen(name string) string {
	m.t.Helper()
	return strings.TrimRight(m.do("capture-pane", "-p", "-t", name), "\n ")
}

// In a real terminal, wide and narrow: the way of a run as it is drawn, nothing broken or left over after the window changed
// its size, the summary in its place, and the same run in top.
func TestRunAndTopInTmux(t *testing.T) {
	t.Parallel()
	for _, size := range []struct{ width, height, otherWidth, otherHeight int }{{100, 30, 40, 20}, {40, 20, 100, 30}} {
		t.Run(fmt.Sprintf("%dx%d", size.width, size.height), func(t *testing.T) {
			t.Parallel()
			p := newPlane(t).ready()
			m := newTmux(t)
			shows := func(window string, wanted ...string) string {
				t.Helper()
				var last string
				p.eventually(time.Minute, fmt.Sprintf("%q on the window", wanted), func(context.Context) (bool, string) {
					last = m.screen(window)
					for _, text := range wanted {
						if strings.Count(last, text) != 1 {
							return false, "\n" + last
						}
					}
					return true, ""
				})
				return last
			}
			m.start("run", size.width, size.height, p.binary, "run", "-f", runFile(t, "seen", 45), "--home", string(p.home))
			shows("run", "run/seen  ", "▸ Executing", "· Reporting", "warm-up ", "0 failed", "Ctrl-C leaves it going")
			m.start("top", size.width, size.height, p.binary, "top", "--home", string(p.home))
			picture := shows("top", "ALLOCATION", "Ready ", "2/2", "1/1", "1  seen  Executing", "q quit")
			for _, wide := range []string{"TOK/S SO FAR", "REQ/S", "MESSAGE"} {
				if strings.Contains(picture, wide) != (size.width == 100) {
					t.Errorf("column %s at width %d:\n%s", wide, size.width, picture)
				}
			}
			m.do("send-keys", "-t", "top", "1")
			shows("top", "run/seen", "✓ Deploying", "▸ Executing", "esc back")
			m.do("send-keys", "-t", "top", "q")
			shows("run", "measured █", "tok/s    ▁", "TTFT     ")
			m.do("resize-window", "-t", "run", "-x", fmt.Sprint(size.otherWidth), "-y", fmt.Sprint(size.otherHeight))
			picture = shows("run", "run/seen  ", "▸ Executing", "measured █", "Ctrl-C leaves it going")
			for line := range strings.Lines(picture) {
				if ansi.StringWidth(strings.TrimSuffix(line, "\n")) > size.otherWidth {
					t.Errorf("a line is wider than the window of %d:\n%s", size.otherWidth, picture)
				}
			}
			picture = shows("run", "run/seen  after ", "requests ", "throughput ", "benchd compare seen OTHER")
			for _, gone := range []string{"▸", "✓ Executing", "█", "Ctrl-C", "# Benchmark report"} {
				if strings.Contains(picture, gone) {
					t.Errorf("%q stands there still:\n%s", gone, picture)
				}
			}
			p.until("seen", time.Minute, api.RunCompleted)
		})
	}
}
