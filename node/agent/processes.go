package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/procfs"

	"github.com/benchd/benchd/node/logs"
)

// processes starts a node's processes from argument lists and ends every one of them, descendants included.
type processes struct {
	grace time.Duration
	log   *slog.Logger
	// starts run on one locked thread, for a child that dies with its parent (PR_SET_PDEATHSIG) dies with the thread.
	starts chan func()

	mu      sync.Mutex
	running []*process
	stopped bool // nothing is started any more
}

// errStopped is a start that came after the end of all processes.
var errStopped = errors.New("the node's processes are being ended")

// process is one that was started.
type process struct {
	cmd     *exec.Cmd
	capture *logs.Capture
	exited  chan struct{}
	err     error // how it ended, once exited is closed
}

func newProcesses(grace time.Duration, log *slog.Logger) *processes {
	p := &processes{grace: grace, log: log, starts: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for start := range p.starts {
			start()
		}
	}()
	return p
}

// start starts a process in its own group, its output captured by line.
func (p *processes) start(args, env []string, capture *logs.Capture) (*process, error) {
	stdout, err := capture.Pipe("out")
	if err != nil {
		return nil, err
	}
	stderr, err := capture.Pipe("err")
	if err != nil {
		return nil, errors.Join(err, stdout.Close())
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	proc := &process{cmd: cmd, capture: capture, exited: make(chan struct{})}
	err = p.launch(proc)
	// The process has its own copies; its end, and its children's, then ends the capture.
	err = errors.Join(err, stdout.Close(), stderr.Close())
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	go func() {
		proc.err = cmd.Wait()
		capture.Settle(settleTime) // its last words are the evidence
		close(proc.exited)
	}()
	return proc, nil
}

// settleTime is how long the output of a process that has ended is waited for; a child of it may hold it open.
const settleTime = time.Second

// launch starts the process, unless all are being ended: it would be missed.
func (p *processes) launch(proc *process) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return errStopped
	}
	done := make(chan error)
	p.starts <- func() { done <- proc.cmd.Start() }
	if err := <-done; err != nil {
		return err
	}
	p.running = append(p.running, proc)
	return nil
}

// stopAll ends all processes: SIGTERM to their groups, SIGKILL after the grace time, and then whatever descendants
// left their group.
func (p *processes) stopAll() {
	p.mu.Lock()
	running := p.running
	p.running, p.stopped = nil, true
	p.mu.Unlock()
	for _, proc := range running {
		proc.signal(syscall.SIGTERM)
	}
	timeout := time.After(p.grace)
	for _, proc := range running {
		select {
		case <-proc.exited:
		case <-timeout:
			timeout = time.After(0)
			p.log.Warn("a process did not end in time and is killed", "pid", proc.cmd.Process.Pid, "grace", p.grace)
		}
		proc.signal(syscall.SIGKILL)
		<-proc.exited
	}
	p.killOrphans()
	for _, proc := range running {
		_ = proc.capture.Close() // the raw log is best effort
	}
	close(p.starts)
}

// name is the program's.
func (proc *process) name() string { return filepath.Base(proc.cmd.Path) }

func (proc *process) signal(sig syscall.Signal) {
	_ = syscall.Kill(-proc.cmd.Process.Pid, sig) // fails only when the group is empty
}

// reapInterval is how often it is looked for orphans that have ended.
const reapInterval = time.Minute

// reapOrphans keeps descendants whose parents are gone, such as the monitors of containers, from piling up when they have ended.
func reapOrphans(ctx context.Context) {
	tick := time.NewTicker(reapInterval)
	defer tick.Stop()
	for seen := map[int]bool{}; ; seen = reap(seen) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reap takes away children that had ended when they were last looked for, and returns those that have ended since. What the agent
// itself started is waited for, and gone by the next look.
func reap(seen map[int]bool) map[int]bool {
	ended := map[int]bool{}
	for _, stat := range children(os.Getpid()) {
		switch {
		case stat.State != "Z":
		case seen[stat.PID]:
			_, _ = syscall.Wait4(stat.PID, nil, syscall.WNOHANG, nil) // fails only when somebody did it meanwhile
		default:
			ended[stat.PID] = true
		}
	}
	return ended
}

// killOrphans ends descendants that had left their process group. The agent is their reaper, so they are its children.
func (p *processes) killOrphans() {
	for range 100 {
		orphans := children(os.Getpid())
		if len(orphans) == 0 {
			return
		}
		for _, stat := range orphans {
			_ = syscall.Kill(stat.PID, syscall.SIGKILL) // fails only when it has ended
			_, _ = syscall.Wait4(stat.PID, nil, 0, nil) // no child any more: the next look tells
		}
	}
}

func children(pid int) []procfs.ProcStat {
	procs, err := procfs.AllProcs()
	if err != nil {
		return nil
	}
	var all []procfs.ProcStat
	for _, proc := range procs {
		if stat, err := proc.Stat(); err == nil && stat.PPID == pid {
			all = append(all, stat)
		}
	}
	return all
}
