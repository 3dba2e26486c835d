package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The cores: a client is measured alone on its own, everything else shares the other.
const (
	clientCore = 0
	serverCore = 1
)

// peakEvery is how often the peak memory of a child is looked at. What wait4 reports is of no use for it: a process
// starts with the peak of the one it was forked from.
const peakEvery = 50 * time.Millisecond

// A child is a process on one core.
type child struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	started        time.Time
	ended          chan struct{}
	peak           int64 // bytes; read it after ended
	err            error
	wall           time.Duration
}

// A usage is what a process took, from its start to its end.
type usage struct {
	cpu, wall time.Duration
	peak      int64 // bytes
	stdout    []byte
}

// share is the part of a core that was used.
func (u usage) share() float64 { return u.cpu.Seconds() / u.wall.Seconds() }

// start starts a program on a core; the end of ctx kills it.
func start(ctx context.Context, core int, path string, args ...string) (*child, error) {
	c := &child{cmd: exec.CommandContext(ctx, path, args...), ended: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	c.cmd.Env = environment()
	c.cmd.WaitDelay = time.Second
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.started = time.Now()
	if err := onCore(core, c.cmd.Start); err != nil {
		return nil, err
	}
	go c.watch()
	return c, nil
}

// environment is ours without what would tell a Go program how many cores it has.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GOMAXPROCS=") {
			env = append(env, v)
		}
	}
	return env
}

// onCore calls f on a thread that is bound to the core; a process that f starts is bound to it too.
func onCore(core int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, want unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("get the cores: %w", err)
	}
	want.Set(core)
	if err := unix.SchedSetaffinity(0, &want); err != nil {
		return fmt.Errorf("bind to core %d: %w", core, err)
	}
	return errors.Join(f(), unix.SchedSetaffinity(0, &before))
}

// watch waits for the end of the child and follows its peak memory until then.
func (c *child) watch() {
	waited := make(chan error, 1)
	go func() { waited <- c.cmd.Wait() }()
	tick := time.NewTicker(peakEvery)
	defer tick.Stop()
	for {
		select {
		case c.err = <-waited:
			c.wall = time.Since(c.started)
			close(c.ended)
			return
		case <-tick.C:
			c.peak = max(c.peak, peakOf(c.cmd.Process.Pid))
		}
	}
}

// peakOf reads the highest resident size of a process so far, in bytes; 0 when it is gone.
func peakOf(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, _ := strconv.ParseInt(number, 10, 64) // 0 when there is none
	return kib << 10
}

// wait returns what the child took once it ended, and why it failed if it did.
func (c *child) wait() (usage, error) {
	<-c.ended
	u := usage{wall: c.wall, peak: c.peak, stdout: c.stdout.Bytes()}
	if state := c.cmd.ProcessState; state != nil {
		u.cpu = state.UserTime() + state.SystemTime()
	}
	if c.err != nil {
		return u, fmt.Errorf("%w%s", c.err, c.complaint())
	}
	return u, nil
}

// complaint is the first line of standard error, as the end of a sentence.
func (c *child) complaint() string {
	first, _, _ := strings.Cut(strings.TrimSpace(c.stderr.String()), "\n")
	if first != "" {
		return ": " + first
	}
	return ""
}

// stop ends the child: kindly, then firmly.
func (c *child) stop() (usage, error) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-c.ended:
	case <-time.After(5 * time.Second):
		c.kill()
	}
	return c.wait()
}

// kill ends the child at once; nothing happens when it has ended.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.ended
}

// run runs a client on its core, for at most limit.
func run(ctx context.Context, limit time.Duration, path string, args ...string) (usage, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := start(ctx, clientCore, path, args...)
	if err != nil {
		return usage{}, err
	}
	u, err := c.wait()
	if ctx.Err() != nil {
		return u, fmt.Errorf("killed after %s%s", c.wall.Round(time.Second), c.complaint())
	}
	return u, err
}
