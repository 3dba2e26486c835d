package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Cluster says how one Slurm is reached. `default` and `embedded` exist without being declared.
type Cluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              ClusterSpec   `json:"spec"`
	Status            ClusterStatus `json:"status,omitzero"`
}

// ClusterType is how a cluster is reached.
type ClusterType string

// Types of cluster.
const (
	// ClusterSlurm uses Slurm's commands on this machine.
	ClusterSlurm ClusterType = "slurm"
	// ClusterEmbedded runs the same jobs on this machine, each node an own loopback address.
	ClusterEmbedded ClusterType = "embedded"
)

// ClusterSpec says how the cluster is reached.
type ClusterSpec struct {
	// Type is `slurm` or `embedded`.
	Type ClusterType `json:"type,omitempty"`
	// Workdir is a folder that login node and compute nodes share. By default `work` in BENCHD_HOME.
	Workdir string `json:"workdir,omitempty"`
	// BinDir holds sbatch and its kin where they are not on PATH.
	BinDir string `json:"binDir,omitempty"`
	// Conf is the slurm.conf to use (SLURM_CONF) where it is not the site's usual one.
	Conf string `json:"conf,omitempty"`
	// PollInterval is the time between two looks at the queue.
	PollInterval metav1.Duration `json:"pollInterval,omitzero"`
	// MaxQueued bounds the jobs that benchd has in the queue at once.
	MaxQueued int32 `json:"maxQueued,omitempty"`
	// NodeAccess says how agents are reached: `auto` tries HTTPS and falls back to files, `files` uses files alone.
	NodeAccess NodeAccess `json:"nodeAccess,omitempty"`
	// VisibilityTimeout is how long a file on the shared file system may stay unseen before it counts as missing.
	VisibilityTimeout metav1.Duration `json:"visibilityTimeout,omitzero"`
	// Network is the interface name or CIDR prefix of the network that servers and agents use; by default the address of the host name.
	Network string `json:"network,omitempty"`
	// EmbeddedNodes is how many nodes an embedded cluster has.
	EmbeddedNodes int32 `json:"embeddedNodes,omitempty"`
	// Retention says how long finished runs are kept; not set means for ever.
	Retention *RetentionSpec `json:"retention,omitempty"`
}

// RetentionSpec says how long finished runs are kept. A run beyond any of the bounds goes; one that is pinned, referred to by
// another's `benchd.dev/baseline`, or of a sweep that goes on never does.
type RetentionSpec struct {
	// After is how long after its end a run is kept.
	After *metav1.Duration `json:"after,omitempty"`
	// Keep is how many of the newest are kept.
	Keep *int32 `json:"keep,omitempty"`
	// MaxSize of the result folders together, such as 500Gi.
	MaxSize *resource.Quantity `json:"maxSize,omitempty"`
	// Action is `archive` (the default): the folder and the object are packed into WORKDIR/NAMESPACE/archive; or `delete`.
	Action RetentionAction `json:"action,omitempty"`
	// ArchiveDir is where archives go, in a folder for each namespace; WORKDIR/NAMESPACE/archive by default.
	ArchiveDir string `json:"archiveDir,omitempty"`
	// Interval between two looks; 1h by default.
	Interval metav1.Duration `json:"interval,omitzero"`
}

// RetentionAction is what becomes of a run that is kept no longer.
type RetentionAction string

// Actions.
const (
	RetentionArchive RetentionAction = "archive"
	RetentionDelete  RetentionAction = "delete"
)

// AnnotationBaseline of a run, a sweep or a schedule names the run, or several with commas between them, that it is compared with:
// retention keeps it as long as what names it.
const AnnotationBaseline = "benchd.dev/baseline"

// AnnotationPrune on a Cluster asks for a look at its finished runs at once; its value has to change from one request to the next. A
// PruneRequest as JSON says what is to be kept this once; with any other text it is what the Cluster's spec says.
const AnnotationPrune = "benchd.dev/prune"

// PruneRequest asks for one look at finished runs.
type PruneRequest struct {
	// ID tells one request from another.
	ID string `json:"id"`
	// Retention is what is to be kept.
	Retention *RetentionSpec `json:"retention,omitempty"`
}

// NodeAccess says how the control plane reaches agents.
type NodeAccess string

// Ways to reach agents.
const (
	NodeAccessAuto  NodeAccess = "auto"
	NodeAccessFiles NodeAccess = "files"
)

// ClusterStatus is what was last seen of the cluster.
type ClusterStatus struct {
	// Version of Slurm.
	Version string `json:"version,omitempty"`
	// Accounting says whether sacct answers.
	Accounting bool `json:"accounting,omitempty"`
	// Suspects are nodes that failed jobs of late.
	Suspects []SuspectNode `json:"suspects,omitempty"`
	// Retention tells of the last look at finished runs.
	Retention *RetentionStatus `json:"retention,omitempty"`
	// Conditions: Reachable.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// RetentionStatus tells of the last look at a cluster's finished runs.
type RetentionStatus struct {
	// Time of the look, and the request that it answered (benchd.dev/prune), if it did one.
	Time  metav1.Time `json:"time"`
	Asked string      `json:"asked,omitempty"`
	// Gone runs were archived or deleted; Failed ones should have been, and are tried again at the next look.
	Gone   int64 `json:"gone"`
	Failed int64 `json:"failed,omitempty"`
	// Message says in a sentence what was done, and what was in the way.
	Message string `json:"message,omitempty"`
}

// SuspectNode is a node that failed jobs of late.
type SuspectNode struct {
	Node string `json:"node"`
	// Failures of the last 24 hours.
	Failures []metav1.Time `json:"failures"`
	// Reason of the last one.
	Reason string `json:"reason,omitempty"`
	// Until when new jobs avoid the node; nil while they do not.
	Until *metav1.Time `json:"until,omitempty"`
}
