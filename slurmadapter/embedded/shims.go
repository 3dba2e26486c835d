package embedded

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/slurmadapter"
)

// subnetVariable carries the first three bytes of the nodes' addresses from supervisor to srun.
const subnetVariable = "BENCHD_EMBEDDED_SUBNET"

// testVariables is how variables begin by which tests change what agents do; jobs get no others of the control plane's.
const testVariables = "BENCHD_TEST_"

// Shims are the names under which the benchd binary plays one of Slurm's commands inside an embedded job.
var Shims = map[string]func(args []string, stdout io.Writer) error{"srun": srun, "scontrol": scontrol}

func linkShims(bin, self string) error {
	for name := range Shims {
		link := filepath.Join(bin, name)
		if target, err := os.Readlink(link); err == nil && target == self {
			continue
		}
		// Replaced by rename: other jobs may be starting.
		tmp := link + "." + strconv.Itoa(os.Getpid())
		if err := os.Symlink(self, tmp); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("link %s: %w", name, err)
		}
		if err := os.Rename(tmp, link); err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	return nil
}

// scontrol knows `show hostnames LIST`.
func scontrol(args []string, stdout io.Writer) error {
	if len(args) < 2 || args[0] != "show" || args[1] != "hostnames" {
		return fmt.Errorf("the embedded cluster's scontrol knows only `show hostnames [LIST]`, not %q", strings.Join(args, " "))
	}
	list := os.Getenv("SLURM_JOB_NODELIST")
	if len(args) > 2 {
		list = args[2]
	}
	names, err := slurmadapter.ExpandHostlist(list)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, strings.Join(names, "\n"))
	return err
}

// srun starts one task on each node of the job and waits for all. As with --kill-on-bad-exit=0 --wait=0, one that ends
// leaves the others running. SIGTERM is handed on.
func srun(args []string, _ io.Writer) error {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		args = args[1:] // options divide real resources up; here there is nothing to divide
	}
	if len(args) == 0 {
		return errors.New("srun: no command given")
	}
	runtime.LockOSThread() // tasks die with this thread
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("srun: become the reaper of the tasks: %w", err)
	}
	nodes, err := slurmadapter.ExpandHostlist(os.Getenv("SLURM_JOB_NODELIST"))
	if err != nil || len(nodes) == 0 {
		return fmt.Errorf("srun: SLURM_JOB_NODELIST: %w", errors.Join(err, errors.New("no nodes")))
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	ended := make(chan error, len(nodes))
	var tasks []*exec.Cmd
	for rank, name := range nodes {
		task := exec.Command(args[0], args[1:]...)
		task.Stdout, task.Stderr = os.Stdout, os.Stderr
		task.Env = append(os.Environ(), taskEnv(rank, name, len(nodes))...)
		task.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
		if err := task.Start(); err != nil {
			return fmt.Errorf("srun: start task %d: %w", rank, err)
		}
		tasks = append(tasks, task)
	}
	for _, task := range tasks {
		go func() { ended <- task.Wait() }()
	}
	var worst error
	for left := len(tasks); left > 0; {
		select {
		case err := <-ended:
			left--
			if err != nil {
				worst = err
			}
		case sig := <-signals:
			for _, task := range tasks {
				_ = task.Process.Signal(sig) // fails only when it has ended
			}
		}
	}
	if worst != nil {
		return fmt.Errorf("srun: a task failed: %w", worst)
	}
	return nil
}

func taskEnv(rank int, name string, tasks int) []string {
	r := strconv.Itoa(rank)
	number := strings.TrimLeft(strings.TrimPrefix(name, "node"), "0")
	return []string{
		"SLURM_NODEID=" + r, "SLURM_PROCID=" + r, "SLURM_LOCALID=0", "SLURM_NTASKS=" + strconv.Itoa(tasks),
		"SLURMD_NODENAME=" + name, node.AddressVariable + "=" + os.Getenv(subnetVariable) + number,
	}
}
