package agent

import (
	"os"
	"testing"

	"github.com/prometheus/procfs"
)

// Servers that Slurm itself starts (Pyxis) are steps of the job, and no children of the agent.
func TestProcessesOfTheJob(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"/system.slice/slurmstepd.scope/job_123/step_1/user/task_0":   true, // version 2
		"/slurm/uid_1000/job_123/step_2":                              true, // version 1
		"/system.slice/slurmstepd.scope/job_1234/step_1/user/task_0":  false,
		"/system.slice/slurmstepd.scope/job_12/step_123/user/job_1_2": false,
		"/": false,
	} {
		if got := inJob([]procfs.Cgroup{{Path: "/"}, {Path: path}}, "123"); got != want {
			t.Errorf("%s: %t", path, got)
		}
	}
	if inJob([]procfs.Cgroup{{Path: "/job_/x"}}, "") {
		t.Error("without Slurm all are the job's")
	}
	if !isOurs(os.Getpid()) || isOurs(1) {
		t.Error("this process is its own, and init somebody else's")
	}
}
