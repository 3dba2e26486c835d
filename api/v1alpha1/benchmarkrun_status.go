package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// RunPhase says where a run is.
type RunPhase string

// Phases of a run, in order.
const (
	RunPending      RunPhase = "Pending"
	RunInitializing RunPhase = "Initializing"
	RunDeploying    RunPhase = "Deploying"
	RunMonitoring   RunPhase = "Monitoring"
	RunLaunching    RunPhase = "Launching"
	RunExecuting    RunPhase = "Executing"
	RunTearingDown  RunPhase = "TearingDown"
	RunReporting    RunPhase = "Reporting"
	RunCompleted    RunPhase = "Completed"
	RunFailed       RunPhase = "Failed"
	RunCancelled    RunPhase = "Cancelled"
)

// Terminal says whether the phase is an end.
func (p RunPhase) Terminal() bool {
	return p == RunCompleted || p == RunFailed || p == RunCancelled
}

// Result is how a run or an attempt ended.
type Result string

// Results of an outcome.
const (
	ResultSucceeded Result = "Succeeded"
	ResultFailed    Result = "Failed"
	ResultCancelled Result = "Cancelled"
)

// FailureClass says who is to blame for a failed attempt, and so what is done next.
type FailureClass string

// Classes of failure.
const (
	// FailureUser: the spec cannot work; the run ends.
	FailureUser FailureClass = "User"
	// FailureWorkload: the load failed, the servers are fine; the next attempt uses the same Allocation.
	FailureWorkload FailureClass = "Workload"
	// FailureService: a server failed; the next attempt gets a new Allocation.
	FailureService FailureClass = "Service"
	// FailureInfrastructure: node, job or file system failed; the next attempt gets a new Allocation.
	FailureInfrastructure FailureClass = "Infrastructure"
)

// Outcome is how a run or an attempt ended. It is written once.
type Outcome struct {
	// Result is Succeeded, Failed or Cancelled.
	Result Result `json:"result"`
	// Class says who is to blame for a failure.
	Class FailureClass `json:"class,omitempty"`
	// Reason is a stable CamelCase word.
	Reason string `json:"reason,omitempty"`
	// Message says what was seen and what to do next.
	Message string `json:"message,omitempty"`
	// Node that is to blame, where one is.
	Node string `json:"node,omitempty"`
}

// BenchmarkRunStatus is what benchd has seen and done.
type BenchmarkRunStatus struct {
	// Phase says where the run is; outcome says how it ended.
	Phase RunPhase `json:"phase,omitempty"`
	// PhaseSince is when the phase was entered.
	PhaseSince *metav1.Time `json:"phaseSince,omitempty"`
	// ObservedGeneration is the generation of the spec that the status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Message says in a sentence what is going on or being waited for.
	Message string `json:"message,omitempty"`
	// Outcome is written once, before TearingDown.
	Outcome *Outcome `json:"outcome,omitempty"`
	// AllocationRef names the Allocation that the current attempt is bound to. The planner alone writes it.
	AllocationRef *AllocationRef `json:"allocationRef,omitempty"`
	// Attempts is the history; the last one is current.
	Attempts []Attempt `json:"attempts,omitempty"`
	// Progress of the execution, live.
	Progress *Progress `json:"progress,omitempty"`
	// Summary holds the headline numbers.
	Summary *Summary `json:"summary,omitempty"`
	// Reports lists the files made.
	Reports []ReportFile `json:"reports,omitempty"`
	// Folder holds the results of the current attempt.
	Folder string `json:"folder,omitempty"`
	// Record of what the attempt was carried out with; it stands in the folder's run.lock.yaml alone.
	Record *RunRecord `json:"record,omitempty"`
	// StartTime is when the first attempt began, CompletionTime when the run ended.
	StartTime      *metav1.Time `json:"startTime,omitempty"`
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
	// Conditions tell the story: stable reasons, what was seen, the next step.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AllocationRef binds an attempt to an Allocation.
type AllocationRef struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
	// Attempt is the attempt that was bound.
	Attempt int32 `json:"attempt"`
	// Order is its place among the runs that were bound to the Allocation, from 1.
	Order int32 `json:"order,omitempty"`
}

// Attempt is one try to carry the run out.
type Attempt struct {
	// Number counts from 1.
	Number int32 `json:"number"`
	// Allocation is the name of the Allocation used, JobID its Slurm job.
	Allocation string `json:"allocation,omitempty"`
	JobID      string `json:"jobID,omitempty"`
	// Order is the number of the order in the Allocation's folder.
	Order int32 `json:"order,omitempty"`
	// Folder holds what the attempt left.
	Folder string `json:"folder,omitempty"`
	// Phases says when each phase was entered.
	Phases []PhaseTime `json:"phases,omitempty"`
	// ReadyToFirstRequest is the time from all servers being ready to the first request sent, in seconds.
	ReadyToFirstRequest float64 `json:"readyToFirstRequest,omitempty"`
	// LoadStart is when the load began, by the lead's wall clock.
	LoadStart *metav1.MicroTime `json:"loadStart,omitempty"`
	// ClockUncertainty of each client node against the lead's clock, in seconds, by measurements before and after the load.
	ClockUncertainty map[string]float64 `json:"clockUncertainty,omitempty"`
	// Findings are the known failures that the attempt's logs tell of.
	Findings []LogFinding `json:"findings,omitempty"`
	// Logs is what the attempt's log collector brought together.
	Logs *LogSummary `json:"logs,omitempty"`
	// Outcome of the attempt, written once.
	Outcome *Outcome `json:"outcome,omitempty"`
}

// LogSummary says what a log collector brought together.
type LogSummary struct {
	// Lines of both streams, StderrLines of standard error, Bytes of all files before compression.
	Lines       int64 `json:"lines"`
	StderrLines int64 `json:"stderrLines"`
	Bytes       int64 `json:"bytes"`
	// Nodes, Components and Levels count lines; a line whose level is not known counts to none.
	Nodes      map[string]int64 `json:"nodes,omitempty"`
	Components map[string]int64 `json:"components,omitempty"`
	Levels     map[string]int64 `json:"levels,omitempty"`
	// Duration from the first line to the last one.
	Duration metav1.Duration `json:"duration,omitzero"`
	// Files that were written.
	Files int32 `json:"files"`
	// Forwarded lines were taken by the log service, Dropped ones were not.
	Forwarded int64 `json:"forwarded,omitempty"`
	Dropped   int64 `json:"dropped,omitempty"`
}

// LogFinding is a known failure that lines of a log tell of.
type LogFinding struct {
	// Rule that found it, such as CUDAOutOfMemory; a stable word.
	Rule string `json:"rule"`
	// Severity is error or warning.
	Severity string `json:"severity"`
	// Meaning says in a sentence what happened, NextStep what to do about it.
	Meaning  string `json:"meaning"`
	NextStep string `json:"nextStep"`
	// Node and Component of the first line that matched, and when it was written.
	Node      string           `json:"node"`
	Component string           `json:"component"`
	At        metav1.MicroTime `json:"at"`
	// Count of lines that matched, on all nodes; Lines are the first of them, as evidence.
	Count int64    `json:"count"`
	Lines []string `json:"lines"`
}

// PhaseTime is when a phase was entered.
type PhaseTime struct {
	Phase RunPhase         `json:"phase"`
	Since metav1.MicroTime `json:"since"`
}

// Progress of an execution, as the lead last reported it.
type Progress struct {
	// Stage is waiting, warmup, measure, drain or done.
	Stage string `json:"stage,omitempty"`
	// Percent of the planned time, or of the planned requests, gone, 0 to 100.
	Percent int32 `json:"percent"`
	// Sent, Succeeded and Failed count requests so far.
	Sent      int64 `json:"sent"`
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"`
	// InFlight are under way now.
	InFlight int64 `json:"inFlight,omitempty"`
	// RequestRate and TokenRate are completions and output tokens per second over the last ten seconds.
	RequestRate float64 `json:"requestRate,omitempty"`
	TokenRate   float64 `json:"tokenRate,omitempty"`
	// TTFTP50 and E2EP50 are medians over the last ten seconds, in seconds; of several clients the largest.
	TTFTP50 float64 `json:"ttftP50,omitempty"`
	E2EP50  float64 `json:"e2eP50,omitempty"`
	// Remaining seconds until sending ends, as planned.
	Remaining float64 `json:"remaining,omitempty"`
}

// Summary holds the headline numbers of a report; seconds and tokens.
type Summary struct {
	Requests              int64   `json:"requests"`
	Failed                int64   `json:"failed"`
	RequestThroughput     float64 `json:"requestThroughput"`
	OutputTokenThroughput float64 `json:"outputTokenThroughput"`
	TTFTP50               float64 `json:"ttftP50,omitempty"`
	TTFTP99               float64 `json:"ttftP99,omitempty"`
	TPOTP50               float64 `json:"tpotP50,omitempty"`
	E2EP50                float64 `json:"e2eP50,omitempty"`
	E2EP99                float64 `json:"e2eP99,omitempty"`
	ErrorRate             float64 `json:"errorRate"`
	// GoodputShare is the share of requests that met every SLO; nil without one. Saturated: more was offered than was taken.
	GoodputShare *float64 `json:"goodputShare,omitempty"`
	Saturated    bool     `json:"saturated,omitempty"`
	// QueueMean is how long requests waited in the server's queue on average, as it tells itself; 0 where none does.
	QueueMean float64 `json:"queueMean,omitempty"`
	// KVCacheUsage is the mean share of the KV cache in use, of the server whose is fullest, Preemptions the requests that all of them
	// put off for it; nil where servers do not tell.
	KVCacheUsage *float64 `json:"kvCacheUsage,omitempty"`
	Preemptions  *float64 `json:"preemptions,omitempty"`
	// GPUUtilization is the mean over the GPUs of the server nodes, in percent; JoulesPerOutputToken what they used for a token; nil
	// where they do not tell.
	GPUUtilization       *float64 `json:"gpuUtilization,omitempty"`
	JoulesPerOutputToken *float64 `json:"joulesPerOutputToken,omitempty"`
	// Verdict is Valid, Suspect or Invalid, VerdictReasons say why it is not Valid.
	Verdict        string   `json:"verdict,omitempty"`
	VerdictReasons []string `json:"verdictReasons,omitempty"`
}

// ReportFile is one file that a run left for its user.
type ReportFile struct {
	// Path is absolute.
	Path string `json:"path"`
	// Size in bytes.
	Size int64 `json:"size"`
	// SHA256 of the content, in hex.
	SHA256 string `json:"sha256"`
}

// Types of conditions on a run.
const (
	// ConditionScheduled: the run is bound and its job is known to the cluster.
	ConditionScheduled = "Scheduled"
	// ConditionDeployed: all servers are healthy and prepared.
	ConditionDeployed = "Deployed"
	// ConditionExecuted: the load was made to its end.
	ConditionExecuted = "Executed"
	// ConditionReported: report files are attached.
	ConditionReported = "Reported"
	// ConditionWorkdirWritable: False while the shared work folder is full, over quota or forbidden, which is waited out.
	ConditionWorkdirWritable = "WorkdirWritable"
	// ConditionClusterReachable: the cluster answers. False is an outage to wait out, never a failed run.
	ConditionClusterReachable = "ClusterReachable"
)
