package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/benchd/benchd/slurmadapter"
)

// SupervisorVerb is the hidden verb of the benchd binary that runs Supervise.
const SupervisorVerb = "embedded-job"

const (
	// supervisorBeat is how often the supervisor looks for a cancellation and at the clock.
	supervisorBeat = 50 * time.Millisecond
	// killWait is how long a job has between SIGTERM and SIGKILL, as Slurm's KillWait.
	killWait = 30 * time.Second
)

// supervisor carries one job from its release to its end.
type supervisor struct {
	cluster string
	dir     string
	id      string
	job     job
	limit   time.Duration
	state   state
	log     *slog.Logger
}

// Supervise runs one job: it waits for nodes, starts the script, keeps the time limit and writes how it ended. It is the
// body of a process of its own, and must be called from the main goroutine.
func Supervise(clusterDir, id string, limit func(string) (time.Duration, error), log *slog.Logger) error {
	// The script is to die with this thread (PR_SET_PDEATHSIG), so it must be the one that lives as long as the process.
	runtime.LockOSThread()
	s := &supervisor{cluster: clusterDir, dir: filepath.Join(clusterDir, "jobs", id), id: id, log: log.With("job", id)}
	lock, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("supervise job %s: %w", id, err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("supervise job %s: another supervisor has it", id)
	}
	if exists(filepath.Join(s.dir, "state.json")) {
		return fmt.Errorf("supervise job %s: it was started before", id)
	}
	if err := readJSON(filepath.Join(s.dir, "job.json"), &s.job); err != nil {
		return fmt.Errorf("supervise job %s: %w", id, err)
	}
	if s.limit, err = limit(s.job.Spec.TimeLimit); err != nil {
		return fmt.Errorf("supervise job %s: time limit %q: %w", id, s.job.Spec.TimeLimit, err)
	}
	// Signals of a shell that started the control plane are not for the job.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
	s.set(state{State: slurmadapter.Pending, Reason: "Priority"})
	if err := os.WriteFile(filepath.Join(s.dir, "released"), nil, 0o600); err != nil {
		return fmt.Errorf("supervise job %s: %w", id, err)
	}
	var nodes []int
	var held []*os.File
	if s.waitForJob() {
		nodes, held = s.waitForNodes()
	}
	defer func() {
		for _, f := range held {
			_ = f.Close() // frees the node
		}
	}()
	if nodes == nil {
		s.set(state{State: slurmadapter.Cancelled, Ended: time.Now()})
		return nil
	}
	s.run(nodes)
	return nil
}

func (s *supervisor) set(st state) {
	s.state = st
	if err := writeJSON(filepath.Join(s.dir, "state.json"), st); err != nil {
		s.log.Error("write the job's state", "error", err)
	}
}

func (s *supervisor) cancelled() bool { return exists(filepath.Join(s.dir, "cancelled")) }

// waitForJob waits for the job that has to end first. It says whether that came before a cancellation.
func (s *supervisor) waitForJob() bool {
	after := s.job.Spec.After
	if after == nil {
		return true
	}
	dir := filepath.Join(s.cluster, "jobs", filepath.Base(after.Job))
	s.set(state{State: slurmadapter.Pending, Reason: "Dependency"})
	for !s.cancelled() {
		alive := locked(filepath.Join(dir, "lock"))
		var other state
		err := readJSON(filepath.Join(dir, "state.json"), &other)
		due := after.Or > 0 && !other.Started.IsZero() && time.Since(other.Started) >= after.Or
		if err != nil && !exists(dir) || other.State.Stage() == slurmadapter.StageEnded && other.State != "" || due || !alive && exists(filepath.Join(dir, "released")) {
			return true
		}
		time.Sleep(supervisorBeat)
	}
	return false
}

// waitForNodes queues for the nodes, first come first served. It returns nil when the job was cancelled first.
func (s *supervisor) waitForNodes() ([]int, []*os.File) {
	if s.job.Spec.Nodes > s.job.Nodes {
		s.set(state{State: slurmadapter.Pending, Reason: "PartitionNodeLimit"})
		for !s.cancelled() {
			time.Sleep(supervisorBeat)
		}
		return nil, nil
	}
	var turn *os.File
	for turn == nil {
		if s.cancelled() {
			return nil, nil
		}
		if turn = tryLock(filepath.Join(s.cluster, "schedule")); turn == nil {
			time.Sleep(supervisorBeat)
		}
	}
	defer turn.Close()
	if s.state.Reason != "Resources" {
		s.set(state{State: slurmadapter.Pending, Reason: "Resources"})
	}
	var nodes []int
	var held []*os.File
	for {
		for n := 1; n <= s.job.Nodes && len(nodes) < s.job.Spec.Nodes; n++ {
			if f := tryLock(filepath.Join(s.cluster, "nodes", strconv.Itoa(n))); f != nil {
				nodes, held = append(nodes, n), append(held, f)
			}
		}
		if len(nodes) == s.job.Spec.Nodes {
			return nodes, held
		}
		for _, f := range held {
			_ = f.Close() // frees the node
		}
		nodes, held = nil, nil
		if s.cancelled() {
			return nil, nil
		}
		time.Sleep(supervisorBeat)
	}
}

func tryLock(path string) *os.File {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		_ = f.Close() // nothing was written
		return nil
	}
	return f
}

// run starts the script and stays with it to the end of its last descendant.
func (s *supervisor) run(nodes []int) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		s.log.Error("become the reaper of the job's processes", "error", err)
	}
	started := time.Now()
	st := state{State: slurmadapter.Running, Nodes: nodes, Started: started}
	cmd, err := s.start(nodes)
	if err != nil {
		s.log.Error("start the job's script", "error", err)
		s.set(state{State: slurmadapter.Failed, Reason: "JobLaunchFailure", Nodes: nodes, Started: started, Ended: time.Now(), ExitCode: "1:0"})
		return
	}
	s.set(st)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	waitErr, end := s.watch(cmd, started, done)
	killDescendants(s.log)
	st.Ended, st.ExitCode = time.Now(), exitCode(waitErr)
	switch {
	case end != "":
		st.State = end
	case waitErr != nil:
		st.State, st.Reason = slurmadapter.Failed, "NonZeroExitCode"
	default:
		st.State = slurmadapter.Completed
	}
	s.set(st)
}

func (s *supervisor) start(nodes []int) (*exec.Cmd, error) {
	bin := filepath.Join(s.cluster, "bin")
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := linkShims(bin, self); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(s.job.Spec.Output, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command("/bin/bash", s.job.Spec.Script)
	cmd.Dir = s.job.Spec.Folder
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "USER=" + os.Getenv("USER"), "LANG=C.UTF-8",
		"SLURM_JOB_ID=" + s.id, "SLURM_JOB_NAME=" + s.job.Spec.Name, "SLURM_JOB_NODELIST=" + nodeList(nodes),
		"SLURM_JOB_NUM_NODES=" + strconv.Itoa(len(nodes)), "SLURM_NNODES=" + strconv.Itoa(len(nodes)), subnetVariable + "=" + s.job.Subnet,
	}
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, testVariables) {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	return cmd, cmd.Start()
}

// watch waits for the script's end, and ends it when it is cancelled or out of time. The state is empty when the script
// ended by itself.
func (s *supervisor) watch(cmd *exec.Cmd, started time.Time, done <-chan error) (error, slurmadapter.State) {
	beat := time.NewTicker(supervisorBeat)
	defer beat.Stop()
	var end slurmadapter.State
	var killAt time.Time
	warned := false
	terminate := func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			s.log.Error("end the job's script", "error", err)
		}
	}
	for {
		select {
		case err := <-done:
			return err, end
		case now := <-beat.C:
			elapsed := now.Sub(started)
			switch {
			case end == "" && s.cancelled():
				end, killAt = slurmadapter.Cancelled, now.Add(killWait)
				terminate()
			case end == "" && elapsed >= s.limit:
				end, killAt = slurmadapter.Timeout, now.Add(killWait)
				terminate()
			case !warned && s.job.Spec.Grace > 0 && elapsed >= s.limit-s.job.Spec.Grace:
				warned = true
				terminate()
			case !killAt.IsZero() && now.After(killAt):
				_ = cmd.Process.Kill() // fails only when it has ended, which done tells
			}
		}
	}
}

func exitCode(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "0:0"
	case errors.As(err, &exit) && exit.Exited():
		return fmt.Sprintf("%d:0", exit.ExitCode())
	case errors.As(err, &exit):
		if status, ok := exit.Sys().(syscall.WaitStatus); ok {
			return fmt.Sprintf("0:%d", status.Signal())
		}
	}
	return "1:0"
}

// killDescendants ends and reaps every process that the script left; being the subreaper, all of them are children.
func killDescendants(log *slog.Logger) {
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		children, err := childrenOf(os.Getpid())
		if err != nil {
			log.Error("look for the job's last processes", "error", err)
			return
		}
		if len(children) == 0 {
			return
		}
		for _, pid := range children {
			_ = syscall.Kill(pid, syscall.SIGKILL) // fails only when it has ended
			var status syscall.WaitStatus
			_, _ = syscall.Wait4(pid, &status, syscall.WNOHANG, nil) // looked at again in the next round
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func childrenOf(pid int) ([]int, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // the thread ended
		}
		for _, word := range strings.Fields(string(data)) {
			if n, err := strconv.Atoi(word); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids, nil
}
