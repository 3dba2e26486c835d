// Package slurmadapter is what benchd needs of a cluster: submit a held job, release it, list, look up, cancel, reach a
// node. Slurm drives a real one through its commands; package embedded, beside it, plays the same on one machine.
//
// The adapter has its own types and knows nothing of benchd's objects. It reads only Slurm's text formats with format
// letters that have been stable since before 20.02; its JSON changes shape between releases.
package slurmadapter

import (
	"fmt"
	"time"
)

// JobSpec is a job to submit. The job is always held, never requeued, and gets no environment from the caller.
type JobSpec struct {
	// Name identifies the job: Slurm's look-ups by name find it whatever happened to the answer of sbatch.
	Name string
	// Comment is for people who look at the queue.
	Comment string
	// Script is the path of the batch script, Folder where it runs, Output where its own output goes.
	Script, Folder, Output string
	// Nodes of the job; the other figures are per node, 0 meaning the site's default.
	Nodes, CPUs, GPUs int
	MemoryMiB         int64
	Exclusive         bool
	// TimeLimit in Slurm's form.
	TimeLimit string
	// Grace is how long before the time limit the job's steps get SIGTERM.
	Grace time.Duration

	Partition, Account, QOS, Nodelist, Exclude string
	// After is a job that has to end first; nil for none.
	After *After
	// ExtraArgs are handed to sbatch as they are.
	ExtraArgs []string
}

// After makes a job wait for the end of another one.
type After struct {
	Job string
	// Or lets it begin so long after the other one's start even if that has not ended; whole minutes, zero for never.
	Or time.Duration
}

// Job is what a cluster says of one job.
type Job struct {
	// ID as Slurm prints it: 12, 12_3 (array), 12+0 (heterogeneous).
	ID   string
	Name string
	// State is the base state, Raw what was printed.
	State State
	Raw   string
	// Reason is why a job pends or ended, in Slurm's words; it may hold spaces and commas.
	Reason string
	// Nodes is a host list; empty before the start.
	Nodes string
	// Submitted, Started and Ended; of a pending job, Started is Slurm's estimate. Zero when not known.
	Submitted, Started, Ended time.Time
	// ExitCode is `code:signal`; only look-ups know it.
	ExitCode string
	// Restarts counts requeues; only look-ups know it.
	Restarts int
}

// State is a job's base state.
type State string

// Job states, from squeue's manual page. Unknown stands for one that this version does not know.
const (
	Pending      State = "PENDING"
	Configuring  State = "CONFIGURING"
	Running      State = "RUNNING"
	Suspended    State = "SUSPENDED"
	Stopped      State = "STOPPED"
	Completing   State = "COMPLETING"
	Requeued     State = "REQUEUED"
	RequeueHold  State = "REQUEUE_HOLD"
	SpecialExit  State = "SPECIAL_EXIT"
	Completed    State = "COMPLETED"
	Failed       State = "FAILED"
	Cancelled    State = "CANCELLED"
	Timeout      State = "TIMEOUT"
	NodeFail     State = "NODE_FAIL"
	Preempted    State = "PREEMPTED"
	OutOfMemory  State = "OUT_OF_MEMORY"
	BootFail     State = "BOOT_FAIL"
	Deadline     State = "DEADLINE"
	Revoked      State = "REVOKED"
	LaunchFailed State = "LAUNCH_FAILED"
	Unknown      State = "UNKNOWN"
)

// Stage groups states by what they mean to somebody who waits.
type Stage int

// Stages of a job.
const (
	// StageWaiting: not on nodes; a requeued job is here again.
	StageWaiting Stage = iota
	// StageOnNodes: nodes are taken, the script runs, or its end is being cleaned up.
	StageOnNodes
	// StageEnded: terminal, nothing of it will run again.
	StageEnded
)

var stages = map[State]Stage{
	Pending: StageWaiting, Requeued: StageWaiting, RequeueHold: StageWaiting, SpecialExit: StageWaiting,
	Configuring: StageOnNodes, Running: StageOnNodes, Suspended: StageOnNodes, Stopped: StageOnNodes, Completing: StageOnNodes,
	"RESIZING": StageOnNodes, "SIGNALING": StageOnNodes, "STAGE_OUT": StageOnNodes, "RESV_DEL_HOLD": StageWaiting,
	"REQUEUE_FED": StageWaiting, "POWER_UP_NODE": StageOnNodes, "EXPEDITING": StageWaiting, "UPDATE_DB": StageOnNodes,
	Completed: StageEnded, Failed: StageEnded, Cancelled: StageEnded, Timeout: StageEnded, NodeFail: StageEnded,
	Preempted: StageEnded, OutOfMemory: StageEnded, BootFail: StageEnded, Deadline: StageEnded, Revoked: StageEnded,
	LaunchFailed: StageEnded, "RECONFIG_FAIL": StageEnded,
}

// Stage says what the state means to somebody who waits. A state of a future Slurm counts as on nodes: acting on it as
// if it had ended could start work twice.
func (s State) Stage() Stage {
	if stage, known := stages[s]; known {
		return stage
	}
	return StageOnNodes
}

// Held says that the job waits for a release by its owner.
func (j Job) Held() bool { return j.State.Stage() == StageWaiting && j.Reason == "JobHeldUser" }

// Same says whether two looks at a job tell the same story, so that nobody need be woken.
func (j Job) Same(other Job) bool {
	// The estimated start of a pending job moves all the time; a minute is worth telling.
	moved := j.Started.Sub(other.Started).Abs()
	return j.ID == other.ID && j.State == other.State && j.Reason == other.Reason && j.Nodes == other.Nodes &&
		(moved == 0 || moved < time.Minute && j.State.Stage() == StageWaiting && !j.Started.IsZero() && !other.Started.IsZero()) &&
		j.Ended.Equal(other.Ended)
}

// Info is what is known of a cluster as a whole.
type Info struct {
	// Version as the cluster's own commands print it.
	Version string
	// Accounting says whether finished jobs can be looked up for long.
	Accounting bool
}

// String prints the job as a message about it would.
func (j Job) String() string {
	if j.Reason == "" || j.Reason == "None" {
		return fmt.Sprintf("job %s %s", j.ID, j.State)
	}
	return fmt.Sprintf("job %s %s (%s)", j.ID, j.State, j.Reason)
}

// WithRaw returns the job with Raw taken from its state, for adapters that print none.
func (j Job) WithRaw() Job {
	j.Raw = string(j.State)
	return j
}
