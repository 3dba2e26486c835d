package slurmadapter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Errors that callers act on.
var (
	// ErrOutage says that Slurm does not answer: wait it out.
	ErrOutage = errors.New("Slurm does not answer")
	// ErrBusy says that Slurm takes no further job at the moment: a submit limit, a full queue. Try again later.
	ErrBusy = errors.New("Slurm takes no further job at the moment")
	// ErrRejected says that Slurm refuses the job as it is: its owner must change it.
	ErrRejected = errors.New("Slurm refuses the job")
	// ErrNotFound says that Slurm does not know the job.
	ErrNotFound = errors.New("Slurm does not know the job")
	// ErrMissing says that Slurm's commands are not on this machine.
	ErrMissing = errors.New("Slurm's commands were not found")
)

// commandTimeout bounds one command: slurmctld away makes them wait some ten seconds, a site may have set more.
const commandTimeout = 90 * time.Second

// runner starts Slurm's commands.
type runner struct {
	binDir  string
	env     []string
	timeout time.Duration // of one command
}

func newRunner(binDir, conf string) *runner {
	return &runner{binDir: binDir, env: commandEnv(os.Environ(), conf), timeout: commandTimeout}
}

// commandEnv takes out what would change what the commands do or print: a shell inside a job, or a user's defaults.
func commandEnv(environ []string, conf string) []string {
	env := make([]string, 0, len(environ)+3)
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if name != "SLURM_CONF" && name != "SLURM_JWT" && hasAnyPrefix(name, "SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SCONTROL_", "SCANCEL_", "SINFO_", "SRUN_", "LC_", "LANG") {
			continue
		}
		if name == "SLURM_CONF" && conf != "" {
			continue
		}
		env = append(env, pair)
	}
	if conf != "" {
		env = append(env, "SLURM_CONF="+conf)
	}
	return append(env, "LC_ALL=C", "SLURM_TIME_FORMAT=%s")
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// find returns the path of a command, or an error that says what to load or name.
func (r *runner) find(name string) (string, error) {
	if r.binDir != "" {
		name = filepath.Join(r.binDir, name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		where := "on PATH"
		if r.binDir != "" {
			where = "in " + r.binDir
		}
		return "", fmt.Errorf("%w: no %s %s: load Slurm's module, name its folder in the Cluster object's spec.binDir, or set `cluster: embedded` to use this machine",
			ErrMissing, filepath.Base(name), where)
	}
	return path, nil
}

// run starts a command and returns what it printed. Its error is one of the package's where Slurm's message tells.
func (r *runner) run(ctx context.Context, name string, args ...string) (string, error) {
	stdout, _, err := r.runBoth(ctx, name, args...)
	return stdout, err
}

// runBoth is run that returns what was written to standard error too.
func (r *runner) runBoth(ctx context.Context, name string, args ...string) (out, said string, err error) {
	path, err := r.find(name)
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = r.env
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) { // that: it succeeded, and a child of a site's wrapper lives on
		return stdout.String(), stderr.String(), nil
	}
	message := strings.TrimSpace(stderr.String())
	if message == "" {
		message = err.Error()
	}
	if ctx.Err() != nil {
		return "", "", fmt.Errorf("%s: %w within %s: %s", name, ErrOutage, r.timeout, message)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Exited() {
		// It could not be started or was killed (no memory, no processes left): Slurm has refused nothing.
		return "", "", fmt.Errorf("%s: %w: %w: %s", name, ErrOutage, err, message)
	}
	return stdout.String(), stderr.String(), fmt.Errorf("%s: %w: %s", name, classify(message), message)
}

// The messages by which Slurm's commands (all exit with 1) tell what is the matter; from src/common/slurm_errno.c.
var messages = []struct {
	text string
	err  error
}{
	{"Unable to contact slurm controller", ErrOutage},
	{"Unable to contact slurm database", ErrOutage},
	{"Problem talking to the database", ErrOutage},
	{"Socket timed out", ErrOutage},
	{"Zero Bytes were transmitted", ErrOutage},
	{"Connection refused", ErrOutage},
	{"Connection timed out", ErrOutage},
	{"Connection reset", ErrOutage},
	{"No route to host", ErrOutage},
	{"slurm_receive_msg", ErrOutage},
	{"slurm_persist_conn", ErrOutage},
	{"Unexpected message received", ErrOutage}, // what `scontrol release` says when slurmctld is down
	{"Slurm backup controller in standby mode", ErrOutage},
	{"Munge encode failed", ErrOutage},
	{"Protocol authentication error", ErrOutage},
	{"Resource temporarily unavailable", ErrOutage},
	// What `scontrol release` of 22.05 says when the controller is away.
	{"Unexpected message received", ErrOutage},
	{"PerJobLimit", ErrRejected}, // printed together with "job submit limit", but it is the job that is too large
	{"temporarily unable to accept job", ErrBusy},
	{"Requested nodes are busy", ErrBusy}, // srun --immediate
	{"Job limit exceeded", ErrBusy},
	{"exceeded maximum", ErrBusy},
	{"MaxSubmitJob", ErrBusy},
	{"AssocMaxSubmit", ErrBusy},
	{"QOSMaxSubmit", ErrBusy},
	{"job submit limit", ErrBusy},
	{"partition is drained", ErrBusy},
	{"Required partition not available", ErrBusy},
	{"try again", ErrBusy},
	{"Invalid job id", ErrNotFound},
	{"does not exist", ErrNotFound},
}

// classify finds out what a message of Slurm's asks of us. An unknown one counts as a refusal: trying the same again
// is what floods a controller.
func classify(message string) error {
	for _, m := range messages {
		if strings.Contains(message, m.text) {
			return m.err
		}
	}
	return ErrRejected
}
