// Command standin plays the inference servers that benchd starts, on machines without GPUs and models. It is one binary
// with many names: linked as `vllm` it takes vLLM's command line, checks it as vLLM does, and serves vLLM's API.
//
// A stand-in is only worth something if it refuses what the real program refuses. So each personality names the source it
// follows (README.md has the table), and everything that it does beyond that is asked for by a STANDIN_ variable.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// The exit codes that are the same for all: those of Python's and Go's command lines.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitStandin = 64 // a mistake in a STANDIN_ variable, never one of the real program
)

// A call is one invocation of a personality.
type call struct {
	name   string   // what it was called as
	args   []string // without the name
	lookup func(string) (string, bool)
	knobs  knobs
	stdout io.Writer
	stderr io.Writer
}

// env is the value of a variable, empty when it is not set.
func (c *call) env(name string) string {
	value, _ := c.lookup(name)
	return value
}

// errorf writes a line to stderr and returns the exit code for a failure.
func (c *call) errorf(format string, args ...any) int {
	fmt.Fprintf(c.stderr, format+"\n", args...)
	return exitFailed
}

// raise fails as an uncaught exception of Python does.
func (c *call) raise(kind, format string, args ...any) int {
	fmt.Fprintln(c.stderr, "Traceback (most recent call last):")
	return c.errorf("%s: %s", kind, fmt.Sprintf(format, args...))
}

// A personality is one real program that can be played.
type personality struct {
	names   []string // base names of argv[0]
	version string
	summary string
	run     func(context.Context, *call) int
}

// personalities lists what can be played. The names in the first group get a link from `standin install`.
func personalities() []personality {
	return []personality{
		{[]string{"vllm"}, vllmVersion, "vllm serve", runVLLM},
		{[]string{"ray"}, rayVersion, "ray start, status, stop", runRay},
		{[]string{"ollama"}, ollamaVersion, "ollama serve", runOllama},
		{[]string{"sglang"}, sglangVersion, "sglang serve", runSGLang},
		{[]string{"python3", "python"}, "3.12", "-m sglang.launch_server, -m vllm.entrypoints.openai.api_server, main.py of Triton's OpenAI front end", runPython},
		{[]string{"llama-server"}, llamaVersion, "llama.cpp's server", runLlama},
		{[]string{"trtllm-serve"}, trtllmVersion, "TensorRT-LLM's server", runTRTLLM},
		{[]string{"text-generation-launcher"}, tgiVersion, "text-generation-inference", runTGI},
		{[]string{"apptainer", "singularity"}, apptainerVersion, "apptainer exec of an image that holds the stand-ins", runApptainer},
		// The daemons of Ray, which `ray start` starts itself.
		{[]string{gcsName}, rayVersion, "", runGCS},
		{[]string{rayletName}, rayVersion, "", runRaylet},
	}
}

// find returns the personality of a name.
func find(name string) (personality, bool) {
	for _, p := range personalities() {
		for _, n := range p.names {
			if n == name {
				return p, true
			}
		}
	}
	return personality{}, false
}

func main() { os.Exit(play(os.Args)) }

// play runs the personality that args ask for, until it ends or is told to.
func play(args []string) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c := &call{name: filepath.Base(args[0]), args: args[1:], lookup: os.LookupEnv, stdout: os.Stdout, stderr: os.Stderr}
	var err error
	if c.knobs, err = readKnobs(c.lookup); err != nil {
		c.errorf("standin: %v", err)
		return exitStandin
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for range signals {
			if c.knobs.hang != hangStop {
				stop()
			}
		}
	}()
	return c.dispatch(ctx)
}

// dispatch finds out who is played.
func (c *call) dispatch(ctx context.Context) int {
	if p, ok := find(c.name); ok {
		return p.run(ctx, c)
	}
	if len(c.args) == 0 {
		usage(c.stderr)
		return exitUsage
	}
	verb := c.args[0]
	switch {
	case verb == "--help" || verb == "-h" || verb == "help":
		usage(c.stdout)
		return exitOK
	case verb == "install":
		return install(c)
	}
	p, ok := find(verb)
	if !ok {
		c.errorf("standin: nothing here is called %q; see standin --help", verb)
		return exitUsage
	}
	c.name, c.args = verb, c.args[1:]
	return p.run(ctx, c)
}

// usage tells what can be played and which variables there are.
func usage(w io.Writer) {
	fmt.Fprintln(w, `standin plays inference servers on machines without GPUs.

  standin NAME ARG...      play NAME
  standin install DIR      make DIR/NAME for every name; called by such a link, it plays NAME

Names:`)
	for _, p := range personalities() {
		if p.summary != "" {
			fmt.Fprintf(w, "  %-26s %s (%s)\n", p.names[0], p.summary, p.version)
		}
	}
	fmt.Fprintln(w, "\nVariables:")
	for _, k := range knobHelp {
		fmt.Fprintf(w, "  %-22s %s\n", k.name, k.help)
	}
}

// install links every name to this binary. What is there already under a name is replaced only if it is a link.
func install(c *call) int {
	if len(c.args) != 2 {
		c.errorf("standin: install takes one folder")
		return exitUsage
	}
	self, err := os.Executable()
	if err != nil {
		return c.errorf("standin: %v", err)
	}
	dir := c.args[1]
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return c.errorf("standin: %v", err)
	}
	for _, p := range personalities() {
		if p.summary == "" {
			continue
		}
		for _, name := range p.names {
			link := filepath.Join(dir, name)
			if info, err := os.Lstat(link); err == nil && info.Mode()&os.ModeSymlink != 0 {
				_ = os.Remove(link)
			}
			if err := os.Symlink(self, link); err != nil {
				return c.errorf("standin: %v", err)
			}
		}
	}
	return exitOK
}

// sleep waits, and reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
