package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// colour is a sequence that sets one.
var colour = regexp.MustCompile(`\x1b\[([0-9;:]*;)?(3[0-8]|4[0-8]|9[0-7]|10[0-7])([;:][0-9;:]*)?m`)

// onTerminal starts benchd on a terminal of 80 columns and 24 lines with the home of a control plane. Where stdout is given,
// standard output goes there.
func (p *plane) onTerminal(stdout *os.File, env []string, args ...string) *terminal {
	p.t.Helper()
	t, ok := p.t.(*testing.T)
	if !ok {
		p.t.Fatal("terminals are for tests")
	}
	cmd := exec.Command(p.binary, append(args, "--home", string(p.home))...)
	cmd.Env = append(os.Environ(), append([]string{"TERM=xterm-256color", "LC_ALL=C.UTF-8", "NO_COLOR=", "CLICOLOR_FORCE="}, env...)...)
	if stdout != nil {
		cmd.Stdout = stdout
	}
	return newTerminal(t, cmd)
}

// drawn is everything that was written to the terminal so far.
func (m *terminal) drawn() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.raw)
}

// runFile writes a run of a number of measured seconds to a file, with half as many before them to warm up.
func runFile(t *testing.T, name string, seconds int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name+".yaml")
	text := fmt.Sprintf(`apiVersion: benchd.dev/v1alpha1
kind: BenchmarkRun
metadata: {name: %s}
spec:
  cluster: embedded
  service: {name: dummy, config: {ttft: 20ms, itl: 2ms}}
  workload:
    warmup: %dms
    duration: %ds
    load: {pattern: closed, clientsPerNode: 2}
    output: {tokens: 16}
`, name, 500*seconds, seconds)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A whole run on a terminal: its way is drawn, with NO_COLOR without any colour; at the end stands the summary instead of it,
// and not the report.
func TestRunOnATerminal(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	m := p.onTerminal(nil, []string{"NO_COLOR=yes"}, "run", "-f", runFile(t, "seen", 6))
	m.expect("run/seen")
	m.expect("▸ Executing")
	m.expect("· Reporting")
	m.expect("warm-up")
	m.expect("█")
	m.expect("measured")
	m.expect("in flight")
	m.expect("tok/s  TTFT")
	m.expect("tok/s    ▁")
	m.expect("Ctrl-C leaves it going")
	m.expect("run/seen  after")
	m.expect("requests")
	m.expect("benchd report seen --home " + string(p.home))
	if code := m.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	raw := m.drawn()
	if found := colour.Find(raw); found != nil {
		t.Errorf("%q was drawn", found)
	}
	if bytes.Contains(raw, []byte("# Benchmark report")) {
		t.Error("the report was printed on the terminal")
	}
	if hidden, shown := bytes.LastIndex(raw, []byte("\x1b[?25l")), bytes.LastIndex(raw, []byte("\x1b[?25h")); shown < hidden {
		t.Error("the cursor stays hidden")
	}
}

// To a file goes the report; the terminal shows the rest, in colours and without Unicode where the locale has none.
func TestRunIntoAFile(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	file, err := os.Create(filepath.Join(t.TempDir(), "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	m := p.onTerminal(file, []string{"LC_ALL=C"}, "run", "-f", runFile(t, "filed", 3))
	m.expect("> Executing")
	m.expect("measured #")
	m.expect("run/filed  after")
	if code := m.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	raw := m.drawn()
	if !colour.Match(raw) {
		t.Error("nothing was coloured")
	}
	if strings.ContainsFunc(string(raw), func(r rune) bool { return r > 126 }) {
		t.Errorf("Unicode in the locale C:\n%s", raw)
	}
	text, err := os.ReadFile(file.Name())
	if err != nil || !bytes.HasPrefix(text, []byte("# Benchmark report: filed\n")) || bytes.Contains(text, []byte("\x1b")) {
		t.Errorf("the file holds\n%.300s", text)
	}
}

// In lines there is nothing that a terminal would obey: with --plain, on a dumb terminal, in silence. --report prints the report too.
func TestRunInPlainLines(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	for name, c := range map[string]struct {
		env, args []string
		lines     bool
		report    bool
	}{
		"plain": {args: []string{"--plain", "--report"}, lines: true, report: true},
		"dumb":  {env: []string{"TERM=dumb", "CLICOLOR_FORCE=1"}, lines: true},
		"quiet": {env: []string{"NO_COLOR=1", "TERM=dumb"}, args: []string{"--quiet"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := p.onTerminal(nil, c.env, append([]string{"run", "-f", runFile(t, name, 1)}, c.args...)...)
			if code := m.exit(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			raw := string(m.drawn())
			if strings.Contains(raw, "\x1b") {
				t.Errorf("escapes in\n%q", raw)
			}
			if got := strings.Contains(raw, "s  run/"+name+"  Executing"); got != c.lines {
				t.Errorf("lines of progress: %v, want %v:\n%s", got, c.lines, raw)
			}
			if got := strings.Contains(raw, "# Benchmark report: "+name); got != c.report {
				t.Errorf("the report: %v, want %v:\n%s", got, c.report, raw)
			}
			if !strings.Contains(raw, "run/"+name+"  after") || !strings.Contains(raw, "throughput") {
				t.Errorf("no summary in\n%s", raw)
			}
		})
	}
}

// Ctrl-C leaves a run going and says how to come back. top shows it, opens it and comes back; what it draws without a terminal is text.
func TestRunIsLeftAndFoundAgain(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	m := p.onTerminal(nil, nil, "run", "-f", runFile(t, "long", 300), "-f", runFile(t, "other", 300))
	m.expect("run/long  1 of 2")
	m.expect("▸ Executing")
	m.press(keyCtrlC)
	m.expect("run/long goes on. Come back with:")
	m.expect("benchd cancel long")
	m.expect("run/other goes on too")
	if code := m.exit(); code != exitDetached {
		t.Errorf("exit code %d, want %d", code, exitDetached)
	}

	top := p.onTerminal(nil, []string{"NO_COLOR=1"}, "top", "--interval", "300ms")
	top.expect("ALLOCATION")
	top.expect("Executing")
	top.press(keyEnter + "1")
	top.expect("run/long")
	top.expect("✓ Launching")
	top.expect("dummy-0")
	top.expect("ROLES")
	top.expect("GiB") // nodes tell how busy they are
	top.expect("esc back")
	top.press(keyEsc)
	top.expect("enter or 1-9 open")
	top.press("q")
	if code := top.exit(); code != 0 {
		t.Errorf("top: exit code %d", code)
	}
	if found := colour.Find(top.drawn()); found != nil {
		t.Errorf("top drew %q", found)
	}

	cmd := exec.Command(p.binary, "top", "--home", string(p.home))
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "CLICOLOR_FORCE=")
	text, err := cmd.Output()
	if err != nil || bytes.Contains(text, []byte("\x1b")) || !bytes.Contains(text, []byte("Executing")) || !bytes.Contains(text, []byte("2/2")) {
		t.Errorf("top without a terminal: %v\n%s", err, text)
	}
	if out, err := exec.Command(p.binary, "cancel", "long", "other", "--home", string(p.home)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p.until("long", time.Minute, api.RunCancelled)
	p.until("other", time.Minute, api.RunCancelled)
}
