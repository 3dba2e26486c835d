package v1alpha1

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefaultNamespace is where an object without a namespace lives.
const DefaultNamespace = "default"

// Names of the clusters that exist without being declared.
const (
	ClusterNameDefault  = "default"
	ClusterNameEmbedded = "embedded"
)

// serviceOllama is the one service whose own request format is the default of its runs.
const serviceOllama = "ollama"

// SetDefaults fills what the user left open. It is idempotent, and an object that was stored has gone through it,
// so no reader needs a default of its own.
func SetDefaults(obj Object) {
	switch o := obj.(type) {
	case *BenchmarkRun:
		setRunDefaults(o)
	case *BenchmarkSweep:
		setSweepDefaults(o)
	case *BenchmarkSchedule:
		setScheduleDefaults(o)
	case *ServiceTemplate:
		setDefault(&o.Spec.API, APIChat)
	case *Cluster:
		setClusterDefaults(o)
	}
	if obj.GetNamespace() == "" && Namespaced(obj.GetObjectKind().GroupVersionKind().Kind) {
		obj.SetNamespace(DefaultNamespace)
	}
}

// Namespaced says whether objects of the kind live in a namespace.
func Namespaced(kind string) bool { return kind != KindCluster }

func setRunDefaults(run *BenchmarkRun) {
	s := &run.Spec
	setDefault(&s.Cluster, ClusterNameDefault)
	setPointer(&s.Slurm.Exclusive, true)
	setPointer(&s.BackoffLimit, 2)

	if len(s.Service.Endpoints) > 0 {
		setPointer(&s.Nodes.Servers.Count, 0) // they run already
	}
	setPointer(&s.Nodes.Servers.Count, 1)
	setPointer(&s.Nodes.Clients.Count, 1)
	setPointer(&s.Nodes.Monitors.Count, 0)

	setDefault(&s.Nodes.ExecutorPort, 6000)

	setDefault(&s.Service.NodesPerReplica, 1)
	setDefault(&s.Service.Replicas, max(1, *s.Nodes.Servers.Count/max(1, s.Service.NodesPerReplica), int32(len(s.Service.Endpoints))))
	setDuration(&s.Service.Health.Timeout, 10*time.Minute)
	setDuration(&s.Service.Health.Interval, 250*time.Millisecond)
	setDefault(&s.Container.Runtime, RuntimeNone)

	if s.Service.Name == serviceOllama {
		setDefault(&s.Workload.API, APIOllamaChat) // its own format, for it tells queue, prefill and decode times
	}
	SetWorkloadDefaults(&s.Workload)
	SetVerdictDefaults(&s.Verdict)

	setPointer(&s.Monitoring.Enabled, true)
	setDuration(&s.Monitoring.Interval, time.Second)
	setDefault(&s.Monitoring.Output, "benchmark_metrics.csv")
	if p := s.Monitoring.Pushgateway; p != nil {
		setDuration(&p.Interval, 15*time.Second)
		if p.Start != nil {
			setDefault(&p.Start.Port, 9091)
		}
	}

	setDefault(&s.Logging.Type, CollectorTailer)
	setPointer(&s.Logging.JSONL, true)
	setDuration(&s.Logging.FlushInterval, 5*time.Second)
	setDefault(&s.Logging.Outputs.Stdout, "stdout.log")
	setDefault(&s.Logging.Outputs.Stderr, "stderr.log")
	setDefault(&s.Logging.Outputs.Aggregated, "aggregated.jsonl")

	setDurationPointer(&s.Timeouts.Start, 5*time.Minute)
	setDurationPointer(&s.Timeouts.Launch, 2*time.Minute)
	setDurationPointer(&s.Timeouts.Execution, 2*time.Minute)
	setDurationPointer(&s.Timeouts.Teardown, 5*time.Minute)
	setDurationPointer(&s.Timeouts.Report, 10*time.Minute)

	if s.Slurm.TimeLimit == "" {
		s.Slurm.TimeLimit = SlurmTime(s.plannedTime())
	}
}

// SetVerdictDefaults fills in the limits of a verdict.
func SetVerdictDefaults(v *VerdictSpec) {
	setDefault(&v.InvalidErrorRate, 0.10)
	setDefault(&v.SuspectErrorRate, 0.01)
	setDefault(&v.RateDeviation, 0.05)
	setDuration(&v.Lag, 5*time.Millisecond)
	setDefault(&v.LagShare, 0.05)
	setDefault(&v.ClientCPU, 0.80)
	setDefault(&v.ShortOutputs, 0.01)
	setDefault(&v.CompletionsPerClient, 10)
	setDuration(&v.ClockUncertainty, 5*time.Millisecond)
	setDefault(&v.Drift, 0.10)
}

// SetWorkloadDefaults fills in what a workload leaves open.
func SetWorkloadDefaults(w *WorkloadSpec) {
	setDurationPointer(&w.Drain, 30*time.Second)
	setDefault(&w.Load.Pattern, PatternClosed)
	if w.Load.Pattern == PatternClosed {
		setDefault(&w.Load.ClientsPerNode, 1)
	}
	setDefault(&w.Balance, BalanceRoundRobin)
	switch l := &w.Load; l.Pattern {
	case PatternGamma:
		setDefault(&l.Burstiness, 1)
	case PatternBurst, PatternSteps, PatternRamp:
		setDefault(&l.Arrivals, ArrivalsPoisson)
		if l.Arrivals == ArrivalsGamma {
			setDefault(&l.Burstiness, 1)
		}
	case PatternTrace:
		if l.Trace != nil {
			setDefault(&l.Trace.Speed, 1)
		}
	}
	p, o := &w.Prompts, &w.Output
	setDefault(&p.Source, PromptSynthetic)
	setDefault(&p.Tokenizer, CounterAuto)
	setLengths(&p.Tokens, &p.Distribution, &p.Stddev, &p.Min, &p.Max)
	if p.Prefix != nil {
		setDefault(&p.Prefix.Groups, 1)
	}
	setLengths(&o.Tokens, &o.Distribution, &o.Stddev, &o.Min, &o.Max)
	setDefault(&w.API, APIChat)
	setDefault(&w.Extensions, ExtensionsAuto)
	setPointer(&w.Streaming, w.API != APIREST)
	setDurationPointer(&w.RequestTimeout, 10*time.Minute)
}

// setLengths fills in how long prompts or answers are. Bounds that are left open lie at half and one and a half times the
// tokens (uniform), or at 1 and four standard deviations above (normal).
func setLengths(tokens *int32, distribution *Distribution, stddev, least, most *int32) {
	setDefault(tokens, 128)
	setDefault(distribution, DistributionFixed)
	n := min(max(*tokens, 1), maxTokens)
	switch *distribution {
	case DistributionUniform:
		setDefault(least, max(1, n/2))
		setDefault(most, min(maxTokens, n+n/2))
	case DistributionNormal:
		setDefault(stddev, n/4)
		setDefault(least, 1)
		setDefault(most, min(maxTokens, n+4*min(max(*stddev, 0), maxTokens)))
	}
}

// plannedTime is what the phases that hold a job may take at most, and a margin of five minutes.
func (s *BenchmarkRunSpec) plannedTime() time.Duration {
	w := &s.Workload
	return s.Timeouts.Start.Duration + s.Service.Health.Timeout.Duration + w.Warmup.Duration + w.Duration.Duration +
		w.Drain.Duration + 5*time.Minute
}

// SlurmTime prints a duration, rounded up to minutes, in Slurm's form. What Slurm cannot be told, for a duration is out of
// its bounds, becomes the nearest that it can: the duration has its own error.
func SlurmTime(d time.Duration) string {
	const most = 365 * 24 * time.Hour
	minutes := int64((min(max(d, time.Minute), most) + time.Minute - 1) / time.Minute)
	if days := minutes / (24 * 60); days > 0 {
		return fmt.Sprintf("%d-%02d:%02d:00", days, minutes/60%24, minutes%60)
	}
	return fmt.Sprintf("%02d:%02d:00", minutes/60, minutes%60)
}

func setClusterDefaults(c *Cluster) {
	s := &c.Spec
	if s.Type == "" {
		s.Type = ClusterSlurm
		if c.Name == ClusterNameEmbedded {
			s.Type = ClusterEmbedded
		}
	}
	if s.Type == ClusterEmbedded {
		setDuration(&s.PollInterval, 200*time.Millisecond)
		setDuration(&s.VisibilityTimeout, 5*time.Second)
		setDefault(&s.EmbeddedNodes, 16)
	}
	setDuration(&s.PollInterval, 15*time.Second)
	setDuration(&s.VisibilityTimeout, time.Minute)
	setDefault(&s.MaxQueued, 100)
	setDefault(&s.NodeAccess, NodeAccessAuto)
	if r := s.Retention; r != nil {
		setDefault(&r.Action, RetentionArchive)
		setDuration(&r.Interval, time.Hour)
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func setPointer[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

func setDuration(field *metav1.Duration, value time.Duration) {
	if field.Duration == 0 {
		field.Duration = value
	}
}

func setDurationPointer(field **metav1.Duration, value time.Duration) {
	if *field == nil {
		*field = &metav1.Duration{Duration: value}
	}
}
