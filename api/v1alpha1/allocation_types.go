package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Allocation is one Slurm job whose nodes run agents and whose servers are ready to be measured. It is made by the
// planner and used once, as a Pod is.
type Allocation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              AllocationSpec   `json:"spec"`
	Status            AllocationStatus `json:"status,omitzero"`
}

// AllocationSpec is the part of its runs' specs that the servers depend on.
type AllocationSpec struct {
	// Cluster that the job is submitted to.
	Cluster string `json:"cluster"`
	// Slurm holds what sbatch is told beside nodes and resources.
	Slurm SlurmSpec `json:"slurm"`
	// Nodes that each role gets.
	Nodes NodesSpec `json:"nodes"`
	// Service that is brought up.
	Service ServiceSpec `json:"service"`
	// Container that the service's program is packed in.
	Container ContainerSpec `json:"container,omitzero"`
	// Monitoring of the job's nodes, from its first second.
	Monitoring MonitoringSpec `json:"monitoring,omitzero"`
	// Timeouts of queue and start.
	Timeouts TimeoutsSpec `json:"timeouts,omitzero"`
	// SharingKey is equal for runs that can use the same servers.
	SharingKey string `json:"sharingKey"`
	// Trials are the uids of the runs that it was made for: when all of them have ended, so does the job.
	Trials []string `json:"trials,omitempty"`
	// Open says that further runs may come at any time; the job ends when none has come for a while.
	Open bool `json:"open,omitempty"`
	// Orders is how many runs were bound to it so far, each with an order of its own.
	Orders int32 `json:"orders,omitempty"`
	// Between says what lies between two of its runs.
	Between BetweenSpec `json:"between,omitzero"`
	// After names an Allocation that this one follows, so that no more of them are under way than its sweep may have.
	After *AfterSpec `json:"after,omitempty"`
	// Drain set to true ends the job after the run that is under way. It cannot be set back.
	Drain bool `json:"drain,omitempty"`
	// Release set to true gives the job back, whatever the phase. It cannot be set back.
	Release bool `json:"release,omitempty"`
	// ReleaseReason says why.
	ReleaseReason string `json:"releaseReason,omitempty"`
}

// BetweenSpec says what lies between two runs that use the same servers.
type BetweenSpec struct {
	// Pause without a load.
	Pause metav1.Duration `json:"pause,omitzero"`
	// ResetCache empties the service's prefix cache, where it can be.
	ResetCache bool `json:"resetCache,omitempty"`
}

// AfterSpec makes a job wait for another one of the same sweep.
type AfterSpec struct {
	// Allocation whose job has to end first.
	Allocation string `json:"allocation"`
	// Or is how long after its start this one may begin even if it has not ended: its work is to be done by then but for what
	// the queue's wait takes. Zero means never.
	Or metav1.Duration `json:"or,omitzero"`
}

// AllocationPhase says where an Allocation is.
type AllocationPhase string

// Phases of an Allocation, in order.
const (
	AllocationPending   AllocationPhase = "Pending"
	AllocationSubmitted AllocationPhase = "Submitted"
	AllocationQueued    AllocationPhase = "Queued"
	AllocationStarting  AllocationPhase = "Starting"
	AllocationPreparing AllocationPhase = "Preparing"
	AllocationReady     AllocationPhase = "Ready"
	AllocationReleasing AllocationPhase = "Releasing"
	AllocationReleased  AllocationPhase = "Released"
	AllocationFailed    AllocationPhase = "Failed"
	AllocationLost      AllocationPhase = "Lost"
)

// Terminal says whether the phase is an end: nothing of the Allocation runs any more.
func (p AllocationPhase) Terminal() bool {
	return p == AllocationReleased || p == AllocationFailed || p == AllocationLost
}

// AllocationStatus is what benchd has seen and done.
type AllocationStatus struct {
	Phase              AllocationPhase `json:"phase,omitempty"`
	PhaseSince         *metav1.Time    `json:"phaseSince,omitempty"`
	ObservedGeneration int64           `json:"observedGeneration,omitempty"`
	// Message says in a sentence what is going on or being waited for.
	Message string `json:"message,omitempty"`
	// JobName carries the Allocation's uid; JobID is stored before the job is released, so only one can ever start.
	JobName string `json:"jobName,omitempty"`
	JobID   string `json:"jobID,omitempty"`
	// Folder on the shared file system through which agents and control plane talk.
	Folder string `json:"folder,omitempty"`
	// Job is what Slurm last said.
	Job *JobStatus `json:"job,omitempty"`
	// MissingSince is when the job was first not found where it should be.
	MissingSince *metav1.Time `json:"missingSince,omitempty"`
	// EndedSince is when the job was first seen ended while its lead's last words were not there yet.
	EndedSince *metav1.Time `json:"endedSince,omitempty"`
	// Order is the run being carried out, by its number, or the last one that was.
	Order int32 `json:"order,omitempty"`
	// Nodes of the job, in rank order.
	Nodes []NodeStatus `json:"nodes,omitempty"`
	// Servers that were healthy and prepared when the Allocation became Ready.
	Servers []ServerStatus `json:"servers,omitempty"`
	// Pushgateway is the address of the one that was started for the job; empty when none was asked for, or before it is up.
	Pushgateway string `json:"pushgateway,omitempty"`
	// Failure says why a Failed or Lost Allocation is so.
	Failure *Outcome `json:"failure,omitempty"`
	// Findings are the known failures that the logs of a job that failed tell of.
	Findings []LogFinding `json:"findings,omitempty"`
	// Conditions tell the story: stable reasons, what was seen, the next step.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// JobStatus is what Slurm last said of a job.
type JobStatus struct {
	State string `json:"state"`
	// Reason as Slurm gives it, Explanation in words.
	Reason      string `json:"reason,omitempty"`
	Explanation string `json:"explanation,omitempty"`
	// EstimatedStart is Slurm's guess for a pending job.
	EstimatedStart *metav1.Time `json:"estimatedStart,omitempty"`
	StartTime      *metav1.Time `json:"startTime,omitempty"`
	EndTime        *metav1.Time `json:"endTime,omitempty"`
	ExitCode       string       `json:"exitCode,omitempty"`
	Nodes          string       `json:"nodes,omitempty"`
}

// NodeStatus is one node of a job.
type NodeStatus struct {
	Rank    int32    `json:"rank"`
	Name    string   `json:"name"`
	Address string   `json:"address"`
	Roles   []string `json:"roles"`
	// Executor is the URL of the agent's API.
	Executor string `json:"executor,omitempty"`
}

// ServerStatus is one ready server.
type ServerStatus struct {
	Name    string `json:"name"`
	Node    string `json:"node"`
	URL     string `json:"url"`
	Version string `json:"version,omitempty"`
	// Model is the name that the server serves the model under, when that is not the run's service.model.
	Model string `json:"model,omitempty"`
	// Command and Env are what it was started with; secrets in Env are masked.
	Command []string          `json:"command,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
}

// Types of conditions on an Allocation.
const (
	// ConditionQueued: the job was released to Slurm. Its message says in words why it pends.
	ConditionQueued = "Queued"
	// ConditionSchedulable: False when Slurm says that the job can never start as it is.
	ConditionSchedulable = "Schedulable"
	// ConditionReady: all servers are healthy and prepared.
	ConditionReady = "Ready"
	// ConditionReleased: nothing of the job is left.
	ConditionReleased = "Released"
)
