package slurmadapter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Query runs one of Slurm's commands that only look (sinfo, scontrol show, sacctmgr show) as every other command is run: in a
// scrubbed environment and within the timeout. What a command that failed printed comes beside the error, for some tell there.
func (s *Slurm) Query(ctx context.Context, name string, args ...string) (string, error) {
	return s.run.run(ctx, name, args...)
}

var startEstimate = regexp.MustCompile(`to start at (\S+)`)

// Estimate asks when the job would start, without submitting anything. With nothing else in the queue to plan by, that is Slurm's
// guess of the moment; the zero time means that it made none.
func (s *Slurm) Estimate(ctx context.Context, spec JobSpec) (time.Time, error) {
	_, said, err := s.run.runBoth(ctx, "sbatch", spec.TestArgs()...)
	if err != nil {
		return time.Time{}, err
	}
	m := startEstimate.FindStringSubmatch(said)
	if m == nil {
		return time.Time{}, nil
	}
	if seconds, err := strconv.ParseInt(m[1], 10, 64); err == nil {
		return time.Unix(seconds, 0), nil
	}
	at, err := time.ParseInLocation("2006-01-02T15:04:05", m[1], time.Local)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the estimate of sbatch --test-only: %w", err)
	}
	return at, nil
}

// TestArgs ask sbatch whether it would take the job. With --test-only, Slurm 22.05 refuses a list of fewer nodes than are asked
// for, which it fills up otherwise: such a list is left out.
func (spec JobSpec) TestArgs() []string {
	spec.Folder, spec.Output, spec.Script, spec.Comment, spec.After = "/", "/dev/null", "--wrap=true", "benchd looks ahead", nil
	if names, err := ExpandHostlist(spec.Nodelist); err == nil && len(names) < spec.Nodes {
		spec.Nodelist = ""
	}
	return append([]string{"--test-only"}, spec.SubmitArgs()...)
}

// UID is the user whose jobs these are, as Slurm's --user takes it.
func (s *Slurm) UID() string { return s.user }

// StepSpec is a short program on one node, of a job of its own that waits no longer than asked.
type StepSpec struct {
	// Name of the job. It must be the caller's alone: what is left at the end is cancelled by it.
	Name string
	// Program is the path of the program and its arguments; there is no shell and no environment of the caller's.
	Program []string
	// Wait is how long the job may wait for its node.
	Wait time.Duration

	Partition, Account, QOS, Nodelist string
}

// stepMemoryMiB is asked for because a job that names no memory is given a whole node's at some sites, and then waits for one.
const stepMemoryMiB = 256

// Args is the command line that Step gives srun.
func (spec StepSpec) Args() []string {
	args := []string{
		"--job-name=" + spec.Name, fmt.Sprintf("--immediate=%d", max(1, int(spec.Wait/time.Second))),
		"--nodes=1", "--ntasks=1", "--time=2", fmt.Sprintf("--mem=%dM", stepMemoryMiB), "--chdir=/", "--quiet",
		"--export=HOME,USER,LOGNAME,SHELL",
	}
	for _, o := range []struct{ name, value string }{
		{"partition", spec.Partition}, {"account", spec.Account}, {"qos", spec.QOS}, {"nodelist", spec.Nodelist},
	} {
		if o.value != "" {
			args = append(args, "--"+o.name+"="+o.value)
		}
	}
	return append(args, spec.Program...)
}

// Step runs a program on one node while talk has its standard input and output. It returns once both have ended, or ctx has;
// nothing of the job is left then. The error holds what srun and the program said on standard error.
func (s *Slurm) Step(ctx context.Context, spec StepSpec, talk func(in io.Writer, out io.Reader) error) error {
	path, err := s.run.find("srun")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, spec.Args()...)
	cmd.Env = s.run.env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // srun gives its job back before it ends
	cmd.WaitDelay = 5 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("srun: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("srun: %w", err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("srun: %w", err)
	}
	defer s.sweep(ctx, spec.Name)
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(2*cmd.WaitDelay, func() { _ = out.Close() }) // whoever else holds the pipe, talk does not wait for them
	})()
	talkErr := talk(in, out)
	_ = in.Close()
	err = cmd.Wait()
	message := strings.TrimSpace(stderr.String())
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return talkErr
	case ctx.Err() != nil:
		return fmt.Errorf("srun: %w: %s", ctx.Err(), message)
	}
	var exit *exec.ExitError
	if message == "" || strings.Contains(message, ": task 0: ") || !errors.As(err, &exit) {
		return fmt.Errorf("srun: %w: the program failed on its node: %s", err, message)
	}
	return fmt.Errorf("srun: %w: %s", classify(message), message)
}

// sweep cancels what a step may have left, whatever became of srun and of the context.
func (s *Slurm) sweep(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	_, _ = s.run.run(ctx, "scancel", "--user="+s.user, "--name="+name) // there is nothing left in most cases; its limit ends it otherwise
}
