package slurmadapter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/user"
	"strconv"
	"strings"
	"time"
)

// Slurm is a real cluster, reached through its commands on this machine.
type Slurm struct {
	run  *runner
	user string
}

// Config says how a Slurm is reached. The zero value means the commands on PATH and the site's own configuration.
type Config struct {
	// BinDir holds the commands where they are not on PATH.
	BinDir string
	// Conf is the slurm.conf to use.
	Conf string
	// Timeout bounds one command, for those who do not want to wait as long as a control plane does; 0 means its patience.
	Timeout time.Duration
}

// New returns a Slurm, or an error that says what to load or name when its commands are not there.
func New(cfg Config) (*Slurm, error) {
	s := &Slurm{run: newRunner(cfg.BinDir, cfg.Conf)}
	if cfg.Timeout > 0 {
		s.run.timeout = cfg.Timeout
	}
	for _, name := range []string{"sbatch", "squeue", "scontrol", "scancel"} {
		if _, err := s.run.find(name); err != nil {
			return nil, err
		}
	}
	me, err := user.Current()
	if err != nil {
		return nil, fmt.Errorf("find out who runs this: %w", err)
	}
	s.user = me.Uid
	return s, nil
}

// SubmitArgs is the command line that Submit gives sbatch.
func (spec JobSpec) SubmitArgs() []string {
	args := []string{
		"--hold", "--no-requeue", "--parsable", "--export=NONE", "--open-mode=append",
		"--job-name=" + spec.Name, "--comment=" + spec.Comment,
		"--chdir=" + spec.Folder, "--output=" + spec.Output,
		"--nodes=" + strconv.Itoa(spec.Nodes), "--ntasks-per-node=1", "--time=" + spec.TimeLimit,
	}
	add := func(set bool, arg string) {
		if set {
			args = append(args, arg)
		}
	}
	add(spec.Grace > 0, fmt.Sprintf("--signal=TERM@%d", max(1, int(spec.Grace/time.Second))))
	add(spec.Exclusive, "--exclusive")
	add(spec.CPUs > 0, "--cpus-per-task="+strconv.Itoa(spec.CPUs))
	add(spec.GPUs > 0, "--gres=gpu:"+strconv.Itoa(spec.GPUs))
	add(spec.MemoryMiB > 0, fmt.Sprintf("--mem=%dM", spec.MemoryMiB))
	add(spec.MemoryMiB == 0 && spec.Exclusive, "--mem=0")
	add(spec.Partition != "", "--partition="+spec.Partition)
	add(spec.Account != "", "--account="+spec.Account)
	add(spec.QOS != "", "--qos="+spec.QOS)
	add(spec.Nodelist != "", "--nodelist="+spec.Nodelist)
	add(spec.Exclude != "", "--exclude="+spec.Exclude)
	if after := spec.After; after != nil {
		dependency := "--dependency=afterany:" + after.Job
		if minutes := int(after.Or / time.Minute); minutes > 0 {
			dependency += fmt.Sprintf("?after:%s+%d", after.Job, minutes)
		}
		args = append(args, dependency)
	}
	args = append(args, spec.ExtraArgs...)
	return append(args, spec.Script)
}

// Submit submits the job held and returns its id. When the answer is lost the job may exist all the same: look it up
// by name before another is submitted.
func (s *Slurm) Submit(ctx context.Context, spec JobSpec) (string, error) {
	out, err := s.run.run(ctx, "sbatch", spec.SubmitArgs()...)
	if errors.Is(err, ErrNotFound) {
		// An account or a node that "does not exist"; there is no job yet that could be unknown.
		return "", fmt.Errorf("submit %s: %w: %w", spec.Name, ErrRejected, err)
	}
	if err != nil {
		return "", fmt.Errorf("submit %s: %w", spec.Name, err)
	}
	id, _, _ := strings.Cut(strings.TrimSpace(out), ";")
	if _, err := strconv.ParseUint(id, 10, 64); err != nil {
		return "", fmt.Errorf("submit %s: sbatch printed %q, not a job id", spec.Name, out)
	}
	return id, nil
}

// Release lets a held job start. Releasing one that is not held changes nothing.
func (s *Slurm) Release(ctx context.Context, id string) error {
	if _, err := s.run.run(ctx, "scontrol", "release", id); err != nil {
		return fmt.Errorf("release job %s: %w", id, err)
	}
	return nil
}

// Cancel ends a job. One that is unknown or has ended is no error.
func (s *Slurm) Cancel(ctx context.Context, id string) error {
	_, err := s.run.run(ctx, "scancel", id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("cancel job %s: %w", id, err)
	}
	return nil
}

// List returns the user's jobs, finished ones too until Slurm purges them (MinJobAge). It is one squeue whatever
// their number.
func (s *Slurm) List(ctx context.Context) ([]Job, error) {
	out, err := s.run.run(ctx, "squeue", "-h", "--user="+s.user, "-t", "all", "-o", queueFormat)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return parseQueue(out)
}

// Lookup asks for one job that List no longer shows, since it was submitted. Where accounting and controller disagree,
// the first of these that applies is true:
//
//  1. accounting has it ended: so it has;
//  2. the controller knows it: what it says (accounting lags behind);
//  3. accounting has it waiting or running, the controller does not know it: that is returned, and it is for the caller
//     to ask again until a deadline, for the end may still be on its way to the database;
//  4. neither knows it: ErrNotFound.
//
// An outage of one of them counts only when the other cannot tell.
func (s *Slurm) Lookup(ctx context.Context, id string, since time.Time) (Job, error) {
	recorded, historyErr := s.history(ctx, id, since)
	if historyErr == nil && recorded.State.Stage() == StageEnded {
		return recorded, nil
	}
	out, err := s.run.run(ctx, "scontrol", "show", "job", "-o", id)
	switch {
	case err == nil:
		return parseControl(out)
	case !errors.Is(err, ErrNotFound):
		return Job{}, fmt.Errorf("look up job %s: %w", id, err)
	case historyErr == nil:
		return recorded, nil
	case !errors.Is(historyErr, ErrNotFound):
		return Job{}, fmt.Errorf("look up job %s: %w", id, historyErr)
	}
	return Job{}, fmt.Errorf("look up job %s: %w", id, ErrNotFound)
}

// Details is all that the controller says of a job, in its own words. A job that it has forgotten is ErrNotFound.
func (s *Slurm) Details(ctx context.Context, id string) (map[string]string, error) {
	out, err := s.run.run(ctx, "scontrol", "show", "job", "-o", id)
	if err != nil {
		return nil, fmt.Errorf("read the record of job %s: %w", id, err)
	}
	return controlFields(out), nil
}

// history asks accounting. Sites without it make sacct fail, which counts as not found.
func (s *Slurm) history(ctx context.Context, id string, since time.Time) (Job, error) {
	// sacct without -S looks at today alone; an hour more covers a clock that differs from the cluster's.
	from := fmt.Sprintf("now-%d", int64(time.Since(since)/time.Second)+3600)
	out, err := s.run.run(ctx, "sacct", "-n", "-P", "-X", "-D", "-j", id, "-S", from, "-o", historyFields)
	if err != nil {
		if errors.Is(err, ErrOutage) {
			return Job{}, err
		}
		return Job{}, ErrNotFound
	}
	jobs, err := parseHistory(out)
	if err != nil {
		return Job{}, err
	}
	// With -D there is a row per start of a requeued job; the last is the latest.
	for i := len(jobs) - 1; i >= 0; i-- {
		if jobs[i].ID == id {
			jobs[i].Restarts = len(jobs) - 1
			return jobs[i], nil
		}
	}
	return Job{}, ErrNotFound
}

// Info asks for the version, and whether finished jobs can be looked up.
func (s *Slurm) Info(ctx context.Context) (Info, error) {
	out, err := s.run.run(ctx, "scontrol", "show", "config")
	if err != nil {
		return Info{}, fmt.Errorf("read the cluster's configuration: %w", err)
	}
	var info Info
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(line, "=")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "SLURM_VERSION":
			info.Version = value
		case "AccountingStorageType":
			info.Accounting = !strings.HasSuffix(value, "/none") && value != "(null)"
		}
	}
	return info, nil
}

// Dial connects to a node of the cluster.
func (s *Slurm) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}
