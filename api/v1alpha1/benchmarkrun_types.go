package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BenchmarkRun is one trial: a service and a model, on some nodes, under a load, for a time.
type BenchmarkRun struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// Spec is what is wanted. Once the run has started only `cancel` and labels can change.
	Spec BenchmarkRunSpec `json:"spec"`
	// Status is what benchd has seen and done. Only benchd writes it.
	Status BenchmarkRunStatus `json:"status,omitzero"`
}

// BenchmarkRunSpec is what the user wants of one run.
type BenchmarkRunSpec struct {
	// Cluster names the Cluster object to use: `default` is the Slurm found on PATH, `embedded` is this machine.
	Cluster string `json:"cluster,omitempty"`
	// Cancel set to true ends the run, whatever its phase. It cannot be set back.
	Cancel bool `json:"cancel,omitempty"`
	// Slurm holds what sbatch is told beside nodes and resources.
	Slurm SlurmSpec `json:"slurm,omitzero"`
	// Nodes says how many nodes each role gets and what each needs.
	Nodes NodesSpec `json:"nodes,omitzero"`
	// Service is the inference service under test.
	Service ServiceSpec `json:"service"`
	// Container says how the service's program is packed.
	Container ContainerSpec `json:"container,omitzero"`
	// Workload is the load that the clients make.
	Workload WorkloadSpec `json:"workload"`
	// Verdict holds the limits beyond which numbers are called suspect or invalid.
	Verdict VerdictSpec `json:"verdict,omitzero"`
	// Monitoring says what is sampled on the nodes, and how often.
	Monitoring MonitoringSpec `json:"monitoring,omitzero"`
	// Logging says how the logs of all nodes are brought together.
	Logging LoggingSpec `json:"logging,omitzero"`
	// Timeouts bound each phase.
	Timeouts TimeoutsSpec `json:"timeouts,omitzero"`
	// BackoffLimit is how many times a failed attempt is repeated. Errors of the user are never repeated.
	BackoffLimit *int32 `json:"backoffLimit,omitempty"`
}

// SlurmSpec is what sbatch is told beside nodes and resources. Values are Slurm's own words.
type SlurmSpec struct {
	// Partition to submit to; empty means the site's default.
	Partition string `json:"partition,omitempty"`
	// Account to charge; empty means the user's default.
	Account string `json:"account,omitempty"`
	// QOS (quality of service) to ask for; empty means the default.
	QOS string `json:"qos,omitempty"`
	// TimeLimit of the job, in Slurm's forms: MM, HH:MM:SS, D-HH, D-HH:MM:SS. By default what the run's phases need.
	TimeLimit string `json:"timeLimit,omitempty"`
	// Exclusive asks for whole nodes; true by default, for neighbours disturb measurements.
	Exclusive *bool `json:"exclusive,omitempty"`
	// Modules are loaded with `module load` before anything starts.
	Modules []string `json:"modules,omitempty"`
	// Nodelist names nodes that must be used, as a Slurm host list.
	Nodelist string `json:"nodelist,omitempty"`
	// Exclude names nodes that must not be used, as a Slurm host list.
	Exclude string `json:"exclude,omitempty"`
	// ExtraArgs are handed to sbatch as they are; options that benchd sets itself are refused.
	ExtraArgs []string `json:"extraArgs,omitempty"`
}

// NodesSpec deals nodes out to roles. All counts are nodes of one homogeneous job.
type NodesSpec struct {
	// Servers run the inference service.
	Servers RoleSpec `json:"servers,omitzero"`
	// Clients make the load.
	Clients RoleSpec `json:"clients,omitzero"`
	// Monitors hold what watches the others; with count 0 the first client node does it.
	Monitors RoleSpec `json:"monitors,omitzero"`
	// ExecutorPort is the port of the agents' API on each node; one that is taken makes the agent try the next ones.
	ExecutorPort int32 `json:"executorPort,omitempty"`
}

// RoleSpec is what one role needs.
type RoleSpec struct {
	// Count of nodes. A role with count 0 shares the nodes of another role.
	Count *int32 `json:"count,omitempty"`
	// Nodelist names the role's nodes, as a Slurm host list; then every role that has nodes of its own must name them.
	Nodelist string `json:"nodelist,omitempty"`
	// GPUs per node.
	GPUs int32 `json:"gpus,omitempty"`
	// CPUs per node.
	CPUs int32 `json:"cpus,omitempty"`
	// Memory per node, such as 64Gi. Not set means all of an exclusive node, the site's default of a shared one.
	Memory *resource.Quantity `json:"memory,omitempty"`
}

// ServiceSpec is the inference service under test.
type ServiceSpec struct {
	// Name of the service, as `benchd get services` lists them, or of a ServiceTemplate.
	Name string `json:"name"`
	// Model to serve, in the service's own terms.
	Model string `json:"model,omitempty"`
	// Port of the first server of a node; further replicas of the node take the following ones.
	Port int32 `json:"port,omitempty"`
	// Replicas is how many servers run in all; by default one on each group of nodesPerReplica server nodes.
	Replicas int32 `json:"replicas,omitempty"`
	// NodesPerReplica is how many nodes one server spans.
	NodesPerReplica int32 `json:"nodesPerReplica,omitempty"`
	// Args are added to the service's command line as they are.
	Args []string `json:"args,omitempty"`
	// Config holds the service's settings by name; `benchd explain service NAME` lists them.
	Config map[string]any `json:"config,omitempty"`
	// Health says how a server is found to be ready.
	Health HealthSpec `json:"health,omitzero"`
	// Endpoints are the base URLs of servers that run already (service external), such as http://10.1.2.3:8000.
	Endpoints []string `json:"endpoints,omitempty"`
	// APIKey that servers which run already ask for, by reference. Servers that benchd starts get a key of their own.
	APIKey *SecretSource `json:"apiKey,omitempty"`
	// Template holds what the ServiceTemplate of this name said when the run was applied. It can be written here instead.
	Template *ServiceTemplateSpec `json:"template,omitempty"`
}

// SecretSource says where a secret is kept. The secret itself is never stored, nor put into a script, log or report.
type SecretSource struct {
	// Env is a variable in the environment of the control plane (`benchd serve`).
	Env string `json:"env,omitempty"`
	// File is the absolute path of a file that its owner alone can read (mode 0600); a line break at its end is left out.
	File string `json:"file,omitempty"`
}

// HealthSpec says how a server is found to be ready.
type HealthSpec struct {
	// Timeout is how long all servers together may take from their start to being healthy.
	Timeout metav1.Duration `json:"timeout,omitzero"`
	// Interval between two looks.
	Interval metav1.Duration `json:"interval,omitzero"`
	// Endpoint is the path to GET; by default the service's own.
	Endpoint string `json:"endpoint,omitempty"`
}

// Runtime runs container images.
type Runtime string

// Runtimes.
const (
	// RuntimeNone starts the program found on PATH, as a module or a virtual environment brings it.
	RuntimeNone Runtime = "none"
	// RuntimeApptainer is `apptainer exec`, RuntimeSingularity its predecessor of the same options.
	RuntimeApptainer   Runtime = "apptainer"
	RuntimeSingularity Runtime = "singularity"
	// RuntimePodman is `podman run`, rootless or not.
	RuntimePodman Runtime = "podman"
	// RuntimeCharliecloud is `ch-run` of an image folder or a SquashFS file.
	RuntimeCharliecloud Runtime = "charliecloud"
	// RuntimePyxis is the srun plug-in: `srun --container-image`.
	RuntimePyxis Runtime = "pyxis"
)

// Runtimes lists all runtimes.
func Runtimes() []Runtime {
	return []Runtime{RuntimeNone, RuntimeApptainer, RuntimeSingularity, RuntimePodman, RuntimeCharliecloud, RuntimePyxis}
}

// GPUVendor says whose GPUs a container is given.
type GPUVendor string

// Vendors of GPUs.
const (
	GPUNvidia GPUVendor = "nvidia"
	GPUAMD    GPUVendor = "amd"
	GPUNone   GPUVendor = "none"
)

// ContainerSpec says how the service's program is packed.
type ContainerSpec struct {
	// Runtime that runs the image: `apptainer`, `singularity`, `podman`, `charliecloud` or `pyxis`; `none` starts the program
	// found on PATH.
	Runtime Runtime `json:"runtime,omitempty"`
	// Image to run: the path of a file or folder, or a reference such as docker://ollama/ollama:latest, which `benchd image
	// pull` fetches once for all nodes.
	Image string `json:"image,omitempty"`
	// Binds are mounts, as source:destination[:mode] with mode rw or ro.
	Binds []string `json:"binds,omitempty"`
	// GPU says whose GPUs the container is given (`--nv`, `--rocm`); by default nvidia where server nodes have GPUs.
	GPU GPUVendor `json:"gpu,omitempty"`
	// Env is added to the environment of the service. It is stored and shown: secrets belong into `secrets`.
	Env map[string]string `json:"env,omitempty"`
	// Secrets are variables of the service's environment whose values are kept elsewhere, such as HF_TOKEN.
	Secrets map[string]SecretSource `json:"secrets,omitempty"`
	// Path holds folders that are put before PATH, such as a virtual environment's bin (runtime none).
	Path []string `json:"path,omitempty"`
	// Args are added to the runtime's command line, before the image.
	Args []string `json:"args,omitempty"`
}

// MonitoringSpec says what is sampled on the nodes, and how often.
type MonitoringSpec struct {
	// Enabled switches sampling on; it is on by default.
	Enabled *bool `json:"enabled,omitempty"`
	// Interval between two samples.
	Interval metav1.Duration `json:"interval,omitzero"`
	// Output is the CSV file's name in the run's metrics folder.
	Output string `json:"output,omitempty"`
	// Pushgateway is where live metrics of all nodes are pushed to.
	Pushgateway *PushgatewaySpec `json:"pushgateway,omitempty"`
}

// PushgatewaySpec says where metrics are pushed to. One that cannot be reached is a warning in the log, never a failure.
type PushgatewaySpec struct {
	// URL of the Pushgateway, such as http://mel2109:9091; left out where one is started.
	URL string `json:"url,omitempty"`
	// AuthorizationFile is the absolute path of a file that its owner alone can read (mode 0600) with the value of the Authorization
	// header, such as `Basic BASE64`. The nodes read it, at each push.
	AuthorizationFile string `json:"authorizationFile,omitempty"`
	// Start has a Pushgateway started for the job, on its first monitor node, or on the lead's node where there is none.
	Start *StartPushgatewaySpec `json:"start,omitempty"`
	// Interval between two pushes; 15s by default.
	Interval metav1.Duration `json:"interval,omitzero"`
}

// StartPushgatewaySpec says how a Pushgateway is started. It ends with the job, and what it holds with it.
type StartPushgatewaySpec struct {
	// Image of a container to run it in, by container.runtime (apptainer where there is none); without one, pushgateway or
	// prometheus-pushgateway is taken from container.path or PATH.
	Image string `json:"image,omitempty"`
	// Port to listen on, at the node's address; 9091 by default.
	Port int32 `json:"port,omitempty"`
}

// Collector brings logs together.
type Collector string

const (
	// CollectorTailer merges the raw logs of all nodes, while the run goes on and at its end.
	CollectorTailer Collector = "tailer"
	// CollectorForward does what the tailer does, and sends every line to a log service too.
	CollectorForward Collector = "forward"
)

// LoggingSpec says how the logs of all nodes are brought together.
type LoggingSpec struct {
	// Type of the collector: `tailer` or `forward`.
	Type Collector `json:"type,omitempty"`
	// JSONL writes the aggregated JSON lines file; on by default.
	JSONL *bool `json:"jsonl,omitempty"`
	// FlushInterval bounds how long a line may wait in memory.
	FlushInterval metav1.Duration `json:"flushInterval,omitzero"`
	// Outputs names the files.
	Outputs LogOutputs `json:"outputs,omitzero"`
	// Compress makes the files of a finished run gzip ones, whose names end in .gz.
	Compress bool `json:"compress,omitempty"`
	// Forward says where lines are sent to, for type `forward`.
	Forward *ForwardSpec `json:"forward,omitempty"`
	// Rules of one's own, which find failures in logs. They come before the built-in ones; one of the same name takes its place.
	Rules []LogRule `json:"rules,omitempty"`
}

// ForwardFormat is how a log service wants its lines.
type ForwardFormat string

const (
	// ForwardLoki is Loki's push API.
	ForwardLoki ForwardFormat = "loki"
	// ForwardElasticsearch is the bulk API of Elasticsearch and OpenSearch.
	ForwardElasticsearch ForwardFormat = "elasticsearch"
	// ForwardFluentBit is the HTTP input of Fluent Bit.
	ForwardFluentBit ForwardFormat = "fluentbit"
)

// ForwardSpec says where lines are sent to. A service that cannot be reached is a warning in the log, never a failure; lines that it
// does not take in time are dropped and counted.
type ForwardSpec struct {
	// URL of the service, such as http://loki:3100. Without a path the format's own is taken: /loki/api/v1/push, /benchd/_bulk, /benchd.
	URL string `json:"url"`
	// Format is `loki`, `elasticsearch` or `fluentbit`.
	Format ForwardFormat `json:"format"`
	// AuthorizationFile is the absolute path of a file that its owner alone can read (mode 0600) with the value of the Authorization
	// header, such as `Bearer TOKEN`, `Basic BASE64` or `ApiKey KEY`. The job's first node reads it, for each batch of lines.
	AuthorizationFile string `json:"authorizationFile,omitempty"`
	// Labels are sent with every line, beside run, node, component and stream.
	Labels map[string]string `json:"labels,omitempty"`
}

// LogRule finds a known failure in logs.
type LogRule struct {
	// Name is a stable word in CamelCase, such as CUDAOutOfMemory; it is the reason of a failure that the rule explains.
	Name string `json:"name"`
	// Patterns are regular expressions (Go's, RE2); a line that one of them matches is found.
	Patterns []string `json:"patterns"`
	// Components whose lines are looked at: server, client, monitor, agent (benchd's own), job (what the batch script prints); all but
	// agent when none is named.
	Components []string `json:"components,omitempty"`
	// Stream is out or err; both when it is not set.
	Stream string `json:"stream,omitempty"`
	// Severity is error or warning; error when it is not set.
	Severity string `json:"severity,omitempty"`
	// Class says who is to blame when a server fails with such a line among its last ones: User ends the run, Service and Infrastructure
	// repeat it. A rule without a class explains no failure.
	Class FailureClass `json:"class,omitempty"`
	// Meaning says in a sentence what happened, NextStep what to do about it.
	Meaning  string `json:"meaning"`
	NextStep string `json:"nextStep"`
}

// LogOutputs names the log files in a run's logs folder.
type LogOutputs struct {
	// Stdout takes every line of every node.
	Stdout string `json:"stdout,omitempty"`
	// Stderr takes the lines of standard error.
	Stderr string `json:"stderr,omitempty"`
	// Aggregated takes every line as a JSON object.
	Aggregated string `json:"aggregated,omitempty"`
}

// TimeoutsSpec bounds each phase. The clock of a phase starts when the run enters it.
type TimeoutsSpec struct {
	// Queue bounds the wait in Slurm's queue; not set means for ever, as sweeps over days want it.
	Queue *metav1.Duration `json:"queue,omitempty"`
	// Start bounds the time from the job's start until its agents answer.
	Start *metav1.Duration `json:"start,omitempty"`
	// Launch bounds Monitoring and Launching, each.
	Launch *metav1.Duration `json:"launch,omitempty"`
	// Execution is what Executing may take beyond warm-up, duration and drain.
	Execution *metav1.Duration `json:"execution,omitempty"`
	// Teardown bounds TearingDown.
	Teardown *metav1.Duration `json:"teardown,omitempty"`
	// Report bounds Reporting.
	Report *metav1.Duration `json:"report,omitempty"`
}
