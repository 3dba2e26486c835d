package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BenchmarkSweep stamps out runs from a template, one for each point that its strategy chooses, as often as it repeats them.
// Runs that need the same servers follow one another in one Allocation.
type BenchmarkSweep struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// Spec is what is wanted. When it changes, runs that have not begun are added and removed; what has begun stays.
	Spec BenchmarkSweepSpec `json:"spec"`
	// Status is what benchd has seen and done. Only benchd writes it.
	Status BenchmarkSweepStatus `json:"status,omitzero"`
}

// BenchmarkSweepSpec is what the user wants of a sweep.
type BenchmarkSweepSpec struct {
	// Template of the runs. Its slurm.timeLimit bounds each Allocation, not each run.
	Template RunTemplate `json:"template"`
	// Strategy says how points are made of parameters: `grid` takes all combinations, the last parameter varying fastest; `zip`
	// the first values together, then the second ones; `list` the points of `include` alone; `random` draws `samples` points;
	// `search` looks for the highest value of `search.path` that meets the objective, at each point of the grid.
	Strategy Strategy `json:"strategy,omitempty"`
	// Parameters are varied.
	Parameters []ParameterSpec `json:"parameters,omitempty"`
	// Samples is how many points are drawn (strategy random).
	Samples int32 `json:"samples,omitempty"`
	// Seed of all that is drawn: random points, and the order when it is shuffled.
	Seed int64 `json:"seed,omitempty"`
	// Exclude leaves out the points that have all values of one of these.
	Exclude []Values `json:"exclude,omitempty"`
	// Include adds points. One that is there already is not added again.
	Include []Values `json:"include,omitempty"`
	// Search says what is looked for (strategy search).
	Search *SearchSpec `json:"search,omitempty"`
	// Repeats is how often each point is measured, with new prompts each time; 1 by default.
	Repeats int32 `json:"repeats,omitempty"`
	// Order of the runs: `declared` repeats each point at once, `interleaved` (the default) goes through all points before it
	// repeats them, so that the repeats of a point are apart in time, `shuffled` draws an order.
	Order Order `json:"order,omitempty"`
	// Control is a run that is made again and again between the others, to show drift.
	Control *ControlSpec `json:"control,omitempty"`
	// Parallelism is how many of its Allocations may be under way at once; 1 by default.
	Parallelism int32 `json:"parallelism,omitempty"`
	// Sharing says which runs may use the same servers.
	Sharing SharingSpec `json:"sharing,omitzero"`
	// Limits end a sweep that spends too much. What has begun is measured to its end.
	Limits SweepLimits `json:"limits,omitzero"`
	// FailurePolicy says what follows when runs fail.
	FailurePolicy FailurePolicySpec `json:"failurePolicy,omitzero"`
	// Priority among the sweeps that wait for room in a cluster's queue: the highest goes first.
	Priority int32 `json:"priority,omitempty"`
	// Suspend set to true begins no further runs; those under way go on, and nodes that nothing is measured on are given back.
	Suspend bool `json:"suspend,omitempty"`
}

// Strategy says how points are made of parameters.
type Strategy string

// Strategies.
const (
	StrategyGrid   Strategy = "grid"
	StrategyZip    Strategy = "zip"
	StrategyList   Strategy = "list"
	StrategyRandom Strategy = "random"
	StrategySearch Strategy = "search"
)

// Order of a sweep's runs.
type Order string

// Orders.
const (
	OrderDeclared    Order = "declared"
	OrderInterleaved Order = "interleaved"
	OrderShuffled    Order = "shuffled"
)

// Values of parameters, by their paths below a run's spec.
type Values map[string]any

// RunTemplate is what the runs of a sweep have in common.
type RunTemplate struct {
	// Labels of the runs.
	Labels map[string]string `json:"labels,omitempty"`
	// Spec of the runs, in which parameters are set.
	Spec BenchmarkRunSpec `json:"spec"`
}

// ParameterSpec is one field of a run's spec and the values that it takes.
type ParameterSpec struct {
	// Path of the field below the run's spec, such as workload.load.clientsPerNode.
	Path string `json:"path"`
	// Values that the field takes, one after the other.
	Values []any `json:"values,omitempty"`
	// Range that values are drawn from (strategy random), instead of values.
	Range *RangeSpec `json:"range,omitempty"`
}

// RangeSpec is what numbers are drawn from.
type RangeSpec struct {
	// Min and Max are the bounds; both may be drawn.
	Min float64 `json:"min"`
	Max float64 `json:"max"`
	// Scale is `linear` (the default) or `log`, which draws each order of magnitude as often as the others.
	Scale Scale `json:"scale,omitempty"`
	// Integer draws whole numbers alone.
	Integer bool `json:"integer,omitempty"`
}

// Scale of a range.
type Scale string

// Scales.
const (
	ScaleLinear Scale = "linear"
	ScaleLog    Scale = "log"
)

// SearchSpec asks for the highest value of a field at which the service still does what is asked of it. Values are doubled
// until one fails, then the gap is halved. Everything that is tried stays as a run.
type SearchSpec struct {
	// Path of the field below the run's spec: workload.load.rate, or workload.load.clientsPerNode.
	Path string `json:"path"`
	// Min is tried first, Max is the highest that is tried.
	Min float64 `json:"min"`
	Max float64 `json:"max"`
	// Tolerance is how near the limit is to be found, as a share of it; 0.05 by default.
	Tolerance float64 `json:"tolerance,omitempty"`
	// Goodput is the share of requests that have to meet workload.slo; 0.99 by default. A saturated service never passes.
	Goodput float64 `json:"goodput,omitempty"`
	// MaxTrials bounds the runs at each point; 20 by default.
	MaxTrials int32 `json:"maxTrials,omitempty"`
}

// ControlSpec is a run that is made again and again.
type ControlSpec struct {
	// Every is after how many other runs it is made.
	Every int32 `json:"every"`
	// Values of the parameters; by default those of the first point.
	Values Values `json:"values,omitempty"`
}

// Isolation says whether runs share servers.
type Isolation string

// Isolations.
const (
	// IsolationShared: runs that need the same servers follow one another in one Allocation.
	IsolationShared Isolation = "shared"
	// IsolationPerTrial: each run has servers and an Allocation of its own.
	IsolationPerTrial Isolation = "perTrial"
)

// SharingSpec says which runs may use the same servers.
type SharingSpec struct {
	// Isolation is `shared` (the default) or `perTrial`.
	Isolation Isolation `json:"isolation,omitempty"`
	// MaxTime bounds one Allocation where template.spec.slurm.timeLimit does not; 8h by default. Runs that do not fit go to the
	// next one.
	MaxTime metav1.Duration `json:"maxTime,omitzero"`
	// Pause between two runs of an Allocation; 1s by default.
	Pause *metav1.Duration `json:"pause,omitempty"`
	// ResetCache empties the service's prefix cache between two runs, where it can; on by default.
	ResetCache *bool `json:"resetCache,omitempty"`
}

// SweepLimits end a sweep that spends too much; zero means no limit.
type SweepLimits struct {
	// NodeHours that its Allocations may have had.
	NodeHours float64 `json:"nodeHours,omitempty"`
	// WallTime since its first run was made.
	WallTime *metav1.Duration `json:"wallTime,omitempty"`
	// Trials is how many runs are made at most.
	Trials int32 `json:"trials,omitempty"`
}

// FailureAction is what follows when runs fail.
type FailureAction string

// Actions.
const (
	// FailureContinue goes on with the others.
	FailureContinue FailureAction = "continue"
	// FailureStop begins no further runs of the sweep.
	FailureStop FailureAction = "stop"
	// FailureStopPoint begins no further repeats of the point.
	FailureStopPoint FailureAction = "stopPoint"
)

// FailurePolicySpec says what follows when runs fail.
type FailurePolicySpec struct {
	// Action is `continue` (the default), `stop` or `stopPoint`.
	Action FailureAction `json:"action,omitempty"`
	// After is how many failed runs, of the sweep or of the point, it takes; 1 by default.
	After int32 `json:"after,omitempty"`
}

// SweepPhase says where a sweep is.
type SweepPhase string

// Phases of a sweep.
const (
	// SweepExpanding: its runs are being made.
	SweepExpanding SweepPhase = "Expanding"
	// SweepActive: runs are under way, or wait for their turn.
	SweepActive SweepPhase = "Active"
	// SweepSuspended: its user suspended it.
	SweepSuspended SweepPhase = "Suspended"
	// SweepStopped: a limit or the failure policy keeps further runs from being begun, until the spec changes.
	SweepStopped SweepPhase = "Stopped"
	// SweepCompleted: every run has ended.
	SweepCompleted SweepPhase = "Completed"
)

// BenchmarkSweepStatus is what benchd has seen and done.
type BenchmarkSweepStatus struct {
	// Phase says where the sweep is.
	Phase SweepPhase `json:"phase,omitempty"`
	// ObservedGeneration is the generation of the spec whose runs have been made.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Total is how many runs there are; of a search, so far.
	Total int32 `json:"total"`
	// Succeeded, Failed and Cancelled count the runs that have ended so. They change with the run, in one transaction.
	Succeeded int32 `json:"succeeded"`
	Failed    int32 `json:"failed"`
	Cancelled int32 `json:"cancelled,omitempty"`
	// Allocations that are under way.
	Allocations int32 `json:"allocations,omitempty"`
	// AllocationsMade counts them, for their names.
	AllocationsMade int32 `json:"allocationsMade,omitempty"`
	// NodeHours that ended Allocations have had.
	NodeHours float64 `json:"nodeHours,omitempty"`
	// QueueWait is how long the last Allocation waited in the queue.
	QueueWait *metav1.Duration `json:"queueWait,omitempty"`
	// FailedPoints counts the failed runs of each point, StoppedPoints are those that are not measured again (failurePolicy stopPoint).
	FailedPoints  map[string]int32 `json:"failedPoints,omitempty"`
	StoppedPoints []string         `json:"stoppedPoints,omitempty"`
	// Limits found by a search, one for each point.
	Limits []FoundLimit `json:"limits,omitempty"`
	// Released are the runs that retention let go: they are counted above, and not made again.
	Released *ReleasedRuns `json:"released,omitempty"`
	// Message says in a sentence what is going on.
	Message string `json:"message,omitempty"`
	// Folder holds the sweep's results: a table, plots, what they say. Reported is how many runs had ended when they were written.
	Folder   string `json:"folder,omitempty"`
	Reported int32  `json:"reported,omitempty"`
	// StartTime is when the first run was made, CompletionTime when the last one ended.
	StartTime      *metav1.Time `json:"startTime,omitempty"`
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
	// Conditions tell the story: stable reasons, what was seen, the next step.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Ended is how many runs have ended.
func (s *BenchmarkSweepStatus) Ended() int32 { return s.Succeeded + s.Failed + s.Cancelled }

// ReleasedRuns is what is remembered of runs that retention let go.
type ReleasedRuns struct {
	// Succeeded, Failed and Cancelled count them.
	Succeeded int32 `json:"succeeded,omitempty"`
	Failed    int32 `json:"failed,omitempty"`
	Cancelled int32 `json:"cancelled,omitempty"`
	// FailedPoints counts the failed ones of each point, for the failure policy stopPoint.
	FailedPoints map[string]int32 `json:"failedPoints,omitempty"`
	// Specs, without their templates, that the sweep had when runs of it went: only of a complete sweep do runs go, so all of their
	// trials have been made.
	Specs []BenchmarkSweepSpec `json:"specs,omitempty"`
}

// FoundLimit is what a search found at a point.
type FoundLimit struct {
	// Values of the point.
	Values Values `json:"values,omitempty"`
	// Passed is the highest value that met the objective, Failed the lowest that did not; nil where none did.
	Passed *float64 `json:"passed,omitempty"`
	Failed *float64 `json:"failed,omitempty"`
	// Run that Passed was measured by.
	Run string `json:"run,omitempty"`
	// Done: nothing more is tried. Why says so in a sentence.
	Done bool   `json:"done,omitempty"`
	Why  string `json:"why,omitempty"`
}

// ConditionStopped: True when a limit or the failure policy keeps further runs of a sweep from being begun.
const ConditionStopped = "Stopped"

const (
	// LabelSweep names the sweep that a run or an Allocation was made for.
	LabelSweep = "benchd.dev/sweep"
	// LabelTrial tells a run of a sweep from the others: a digest of its values and its repeat.
	LabelTrial = "benchd.dev/trial"
	// LabelPoint is equal for the repeats of a point, LabelRepeat counts them from 1.
	LabelPoint  = "benchd.dev/point"
	LabelRepeat = "benchd.dev/repeat"
	// LabelControl marks control runs.
	LabelControl = "benchd.dev/control"
	// LabelParameter begins the labels that hold a parameter's value, as far as a label can; the field's name follows.
	LabelParameter = "param.benchd.dev/"
	// AnnotationParameters holds the values of a sweep's parameters in a run, as JSON.
	AnnotationParameters = "benchd.dev/parameters"
	// AnnotationPosition is a run's place in the order of its sweep.
	AnnotationPosition = "benchd.dev/position"
	// AnnotationLeftOut marks a run that its sweep has no more: it goes if its turn has not come.
	AnnotationLeftOut = "benchd.dev/left-out"
	// AnnotationCancelReason says why benchd itself cancelled a run, as `Reason: message`.
	AnnotationCancelReason = "benchd.dev/cancel-reason"
)

// MaxSweepRuns bounds the runs of one sweep.
const MaxSweepRuns = 100_000
