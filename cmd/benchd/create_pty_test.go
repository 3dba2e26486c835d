package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
)

// terminal is a pseudo-terminal with benchd on it.
type terminal struct {
	t   *testing.T
	tty *os.File
	cmd *exec.Cmd

	mu     sync.Mutex
	output []byte // what was not expected yet
	raw    []byte // everything
	news   chan struct{}
	ended  chan error
}

// siteFolder holds programs of a site: a Slurm of two partitions, and a container runtime.
func siteFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, script := range map[string]string{
		"sinfo":  `printf 'cpu*|up|2-00:00:00|573|idle|128|510000|(null)|c[1-573]\ngpu|up|2-00:00:00|200|idle|64|510000|gpu:a100:4(S:0-1)|g[1-200]\n'`,
		"sbatch": "exit 1", "squeue": "exit 0", "scancel": "exit 0",
		"scontrol": `[ "$1" = ping ] && printf 'Slurmctld(primary) at ctl is UP\n'
[ "$2" = config ] && printf 'ClusterName = mel\nSLURM_VERSION = 22.05.8\nAccountingStorageType = (null)\n'
exit 0`,
		"apptainer": "exit 1",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// drawPatience is how long a terminal is watched for what has to come.
const drawPatience = time.Minute * patience

// startTerminal starts benchd on a terminal of 80 columns and 24 lines.
func startTerminal(t *testing.T, term string, args ...string) *terminal {
	t.Helper()
	cmd := exec.Command(testBinary(t), append([]string{"--home", filepath.Join(t.TempDir(), "home")}, args...)...)
	cmd.Env = append(os.Environ(), "TERM="+term, "PATH="+siteFolder(t), "MLUX_ACCOUNT=p200981")
	return newTerminal(t, cmd)
}

// newTerminal starts a program on a terminal of 80 columns and 24 lines.
func newTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	m := &terminal{t: t, tty: tty, cmd: cmd, news: make(chan struct{}, 1), ended: make(chan error, 1)}
	go m.read()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = tty.Close()
	})
	return m
}

func (m *terminal) read() {
	buf := make([]byte, 4096)
	for {
		n, err := m.tty.Read(buf)
		m.mu.Lock()
		m.output, m.raw = append(m.output, buf[:n]...), append(m.raw, buf[:n]...)
		m.mu.Unlock()
		select {
		case m.news <- struct{}{}:
		default:
		}
		if err != nil {
			m.ended <- m.cmd.Wait()
			return
		}
	}
}

// control is what a terminal takes for something else than text.
var control = regexp.MustCompile(`\x1b\[[0-9;?<>=]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[PX^_][^\x1b]*\x1b\\|\x1b.|[\x00-\x20]`)

// bare leaves the letters of what was drawn, for spaces may be drawn as movements.
func bare(text []byte) string { return string(control.ReplaceAll(text, nil)) }

// expect waits until a text was drawn. A drawing program repeats on a new size what it has not changed, so it is given one as long
// as the text has not come.
func (m *terminal) expect(text string) {
	m.t.Helper()
	deadline := time.After(drawPatience)
	redraw := time.NewTicker(250 * time.Millisecond)
	defer redraw.Stop()
	wanted := bare([]byte(text))
	columns := uint16(80)
	for {
		m.mu.Lock()
		drawn := bare(m.output)
		if _, after, found := strings.Cut(drawn, wanted); found {
			m.output = append([]byte(nil), after...)
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		select {
		case <-m.news:
		case <-redraw.C:
			columns = 161 - columns
			_ = pty.Setsize(m.tty, &pty.Winsize{Rows: 24, Cols: columns})
		case <-deadline:
			m.t.Fatalf("%q was not drawn, but:\n%s", text, drawn[max(0, len(drawn)-1000):])
		}
	}
}

// press types keys.
func (m *terminal) press(keys string) {
	m.t.Helper()
	if _, err := m.tty.WriteString(keys); err != nil {
		m.t.Fatal(err)
	}
}

// exit waits for the end and returns the exit code.
func (m *terminal) exit() int {
	m.t.Helper()
	select {
	case err := <-m.ended:
		if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
			return failed.ExitCode()
		}
		return 0
	case <-time.After(drawPatience):
		m.mu.Lock()
		defer m.mu.Unlock()
		m.t.Fatalf("it does not end; drawn was:\n%s", bare(m.output))
		return -1
	}
}

// Keys of a terminal.
const (
	keyEnter, keyClear, keyEsc, keyCtrlC, keyDown = "\r", "\x15", "\x1b", "\x03", "\x1b[B"
)

// A whole dialogue on drawn forms: vLLM over two nodes. A wrong answer is refused at its place, Esc goes back, and what was written
// is what is read.
func TestCreateOnForms(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "vllm.yaml")
	m := startTerminal(t, "xterm-256color", "create", file, "--service", "vllm")
	for _, step := range []struct{ wait, press string }{
		{"┃ Which inference service?", keyEnter},
		{"┃ Name of the scenario", keyClear + "No Such" + keyEnter},
		{"use at most 63 lower-case letters", keyClear + "two-nodes" + keyEnter},
		{"┃ Where is it to run?", keyEnter},
		{"┃ Slurm partition", keyEnter}, // the one with GPUs is proposed
		{"┃ Account to charge", keyEnter},
		{"┃ QOS", "default" + keyEnter},
		{"┃ Server nodes", keyClear + "2" + keyEnter},
		{"┃ Nodes that one server spans", keyClear + "3" + keyEnter},
		{"= 3 server nodes, but nodes.servers.count is 2", keyClear + "2" + keyEnter},
		{"┃ Client nodes", keyEnter},
		{"┃ Monitor nodes", keyEnter},
		{"┃ How are the nodes of a server joined?", keyEsc},
		{"┃ Server nodes", keyEnter},
		{"┃ Nodes that one server spans", keyEnter},
		{"┃ Client nodes", keyEnter},
		{"┃ Monitor nodes", keyEnter},
		{"┃ How are the nodes of a server joined?", keyEnter},
		{"┃ GPUs of each server node", keyEnter},
		{"┃ CPUs of each server node", keyEnter},
		{"┃ Memory of each server node", "64" + keyEnter},
		{"┃ CPUs of each client node", keyEnter},
		{"┃ Memory of each client node", keyEnter},
		{"┃ Model", keyEnter},
		{"name the model to serve", "Qwen/Qwen2.5-14B-Instruct" + keyEnter},
		{"┃ Settings of the service", "maxModelLen=4k" + keyEnter},
		{"use a whole number", keyClear + "maxModelLen=4096" + keyEnter},
		{"┃ Measured time", keyEnter},
		{"┃ Warm-up before it", keyEnter},
		{"┃ Load pattern", keyDown},
		{"> constant", keyEnter},
		{"┃ Requests per second", keyClear + "5" + keyEnter},
		{"┃ Prompts", keyEnter},
		{"┃ Tokens of a prompt", keyEnter},
		{"┃ Tokens of an answer", keyEnter},
		{"┃ Limit of the time to the first token", "500ms" + keyEnter},
		{"┃ Limit of the time per further token", keyEnter},
		{"┃ Limit of the time to the last token", keyEnter},
		{"┃ What runs the service's program?", keyEnter}, // apptainer is proposed
		{"┃ Image", keyEnter},
		{"┃ Bind mounts", keyEnter},
		{"┃ Secrets", "HF_TOKEN" + keyEnter},
		{"┃ Modules to load", "Apptainer" + keyEnter},
		{"┃ What now?", keyEnter},
	} {
		m.expect(step.wait)
		m.press(step.press)
	}
	if code := m.exit(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, m.raw)
	}
	compareFile(t, file, `apiVersion: benchd.dev/v1alpha1
kind: BenchmarkRun
metadata:
  name: two-nodes
spec:
  slurm:
    partition: gpu
    account: p200981
    qos: default
    modules: [Apptainer]
  nodes:
    servers:
      count: 2
      gpus: 4
      memory: 64Gi
  service:
    name: vllm
    model: Qwen/Qwen2.5-14B-Instruct
    nodesPerReplica: 2
    config:
      backend: ray
      maxModelLen: 4096
  container:
    runtime: apptainer
    image: docker://vllm/vllm-openai:latest
    secrets:
      HF_TOKEN:
        env: HF_TOKEN
  workload:
    duration: 5m
    warmup: 30s
    load:
      pattern: constant
      rate: 5
    slo:
      ttft: 500ms
`)
}

// A whole dialogue in plain lines: Ollama, with an answer that is wrong, one by its number, one left open, a step changed at the end.
func TestCreateInLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "ollama.yaml")
	m := startTerminal(t, "dumb", "create", "--qos", "default")
	for _, step := range []struct{ wait, line string }{
		{"Number or name [dummy]", "ollama"},
		{"Name of the scenario", ""},
		{"Number or name [default]", "1"},
		{"Number or name [gpu]", ""},
		{"Account to charge", "p 1"},
		{"use an account's name", "p1"},
		{"QOS (empty for the site's default) [default]", "-"},
		{"Server nodes [1]", ""},
		{"Client nodes [1]", "two"},
		{`"two" is a string, wants an integer`, "2"},
		{"Monitor nodes", ""},
		{"GPUs of each server node", "1"},
		{"CPUs of each server node", "16"},
		{"Memory of each server node", ""},
		{"CPUs of each client node", ""},
		{"Memory of each client node", ""},
		{"Model (such as llama3.2:3b)", "llama3.2:3b"},
		{"Settings of the service", "gpuLayers=20, numParallel=4"},
		{"Measured time", ""},
		{"Warm-up before it", "<"}, // back to the model
		{"[llama3.2:3b]", ""},
		{"[gpuLayers=20, numParallel=4]", ""},
		{"Measured time", "2m"},
		{"Warm-up before it", ""},
		{"Number or name [closed]", "poisson"},
		{"Requests per second", "5"},
		{"Number or name [synthetic]", ""},
		{"Tokens of a prompt", "256"},
		{"Tokens of an answer", ""},
		{"time to the first token", ""},
		{"time per further token", ""},
		{"time to the last token", ""},
		{"Number or name [apptainer]", ""},
		{"Image", "/project/ollama.sif"},
		{"Bind mounts", "/project/ollama:/root/.ollama"},
		{"Secrets", ""},
		{"Modules to load", ""},
		{"change Nodes", "change Nodes"},
		{"Server nodes [1]", ""},
		{"Client nodes [2]", "1"},
		{"Monitor nodes", ""},
		{"change Nodes", "write"},
		{"Write to which file? (- is standard output) [ollama.yaml]", file},
	} {
		m.expect(step.wait)
		m.press(step.line + "\n")
	}
	if code := m.exit(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, m.raw)
	}
	compareFile(t, file, `apiVersion: benchd.dev/v1alpha1
kind: BenchmarkRun
metadata:
  name: ollama
spec:
  slurm:
    partition: gpu
    account: p1
  nodes:
    servers:
      gpus: 1
      cpus: 16
  service:
    name: ollama
    model: llama3.2:3b
    config:
      gpuLayers: 20
      numParallel: 4
  container:
    runtime: apptainer
    image: /project/ollama.sif
    binds: ['/project/ollama:/root/.ollama']
  workload:
    duration: 2m
    warmup: 30s
    load:
      pattern: poisson
      rate: 5
    prompts:
      tokens: 256
`)
}

// Ctrl-C leaves without writing, in both forms of the dialogue, and gives the terminal back.
func TestCreateIsLeft(t *testing.T) {
	t.Parallel()
	for term, first := range map[string]string{"dumb": "Number or name", "xterm": "┃ Which inference service?"} {
		t.Run(term, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.yaml")
			m := startTerminal(t, term, "create", file)
			m.expect(first)
			m.press(keyCtrlC)
			m.expect("left without writing anything")
			if code := m.exit(); code != exitDetached {
				t.Errorf("exit code %d, want %d", code, exitDetached)
			}
			if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it left a file: %v", err)
			}
		})
	}
}

// With NO_COLOR nothing is coloured.
func TestCreateWithoutColours(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	m := startTerminal(t, "xterm-256color", "create")
	m.expect("┃ Which inference service?")
	m.press(keyCtrlC)
	m.exit()
	m.mu.Lock()
	defer m.mu.Unlock()
	if colour := regexp.MustCompile(`\x1b\[([0-9;]*;)?(3[0-8]|4[0-8]|9[0-7])(;[0-9;]*)?m`).Find(m.raw); colour != nil {
		t.Errorf("%q was drawn", colour)
	}
}

// compareFile compares a file with what is wanted of it, comments left out.
func compareFile(t *testing.T, file, want string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(strings.TrimRight(line, "\n"), "#")
		if line = strings.TrimRight(line, " "); line != "" {
			got.WriteString(line + "\n")
		}
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
