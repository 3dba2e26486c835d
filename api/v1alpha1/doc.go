// Package v1alpha1 holds the kinds of the group benchd.dev: what a user declares and what benchd reports back.
//
// It is the ground floor: plain data with defaults (SetDefaults*) and shape validation (Validate*). Rules that
// need to know a service or a site live higher up. The JSON Schemas in package schemas are generated from these
// types, comments included, so a comment here is also what `benchd explain` prints.
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: "benchd.dev", Version: "v1alpha1"}

// Names of the kinds, as they stand in a manifest's `kind`.
const (
	KindBenchmarkRun      = "BenchmarkRun"
	KindBenchmarkSweep    = "BenchmarkSweep"
	KindBenchmarkSchedule = "BenchmarkSchedule"
	KindServiceTemplate   = "ServiceTemplate"
	KindAllocation        = "Allocation"
	KindCluster           = "Cluster"
	KindEvent             = "Event"
)

// Label and annotation keys that benchd sets or reads.
const (
	// LabelRun names the run that an Allocation was made for.
	LabelRun = "benchd.dev/run"
	// FinalizerCluster keeps an object until nothing of it is left on the cluster.
	FinalizerCluster = "benchd.dev/cluster"
	// AnnotationPurge asks that a deleted run's result folders go too.
	AnnotationPurge = "benchd.dev/purge"
)

// Object is what every kind here is: Kubernetes metadata plus a kind.
type Object interface {
	metav1.Object
	GetObjectKind() schema.ObjectKind
}

var (
	_ Object = (*BenchmarkRun)(nil)
	_ Object = (*BenchmarkSweep)(nil)
	_ Object = (*BenchmarkSchedule)(nil)
	_ Object = (*ServiceTemplate)(nil)
	_ Object = (*Allocation)(nil)
	_ Object = (*Cluster)(nil)
	_ Object = (*Event)(nil)
)

// New returns an empty object of the kind with its type set, or nil for a kind that this version does not know.
func New(kind string) Object {
	var obj Object
	switch kind {
	case KindBenchmarkRun:
		obj = &BenchmarkRun{}
	case KindBenchmarkSweep:
		obj = &BenchmarkSweep{}
	case KindBenchmarkSchedule:
		obj = &BenchmarkSchedule{}
	case KindServiceTemplate:
		obj = &ServiceTemplate{}
	case KindAllocation:
		obj = &Allocation{}
	case KindCluster:
		obj = &Cluster{}
	case KindEvent:
		obj = &Event{}
	default:
		return nil
	}
	obj.GetObjectKind().SetGroupVersionKind(GroupVersion.WithKind(kind))
	return obj
}

// KindOf returns the kind of an object's Go type, whatever its TypeMeta says. Of a nil pointer too.
func KindOf(obj Object) string {
	switch obj.(type) {
	case *BenchmarkRun:
		return KindBenchmarkRun
	case *BenchmarkSweep:
		return KindBenchmarkSweep
	case *BenchmarkSchedule:
		return KindBenchmarkSchedule
	case *ServiceTemplate:
		return KindServiceTemplate
	case *Allocation:
		return KindAllocation
	case *Cluster:
		return KindCluster
	case *Event:
		return KindEvent
	}
	return ""
}

// Event says that something worth telling happened to an object. Repetitions raise Count instead of adding events.
type Event struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// InvolvedObject is the object that the event is about.
	InvolvedObject ObjectRef `json:"involvedObject"`
	// Type is Normal or Warning.
	Type string `json:"type"`
	// Reason is a CamelCase word for machines.
	Reason string `json:"reason"`
	// Message is a sentence for people.
	Message string `json:"message"`
	// Count says how often it was seen.
	Count int32 `json:"count"`
	// FirstTimestamp and LastTimestamp bound the repetitions.
	FirstTimestamp metav1.Time `json:"firstTimestamp"`
	LastTimestamp  metav1.Time `json:"lastTimestamp"`
	// Source names the part of benchd that saw it.
	Source EventSource `json:"source,omitempty"`
}

// EventSource names the part of benchd that reports an Event.
type EventSource struct {
	Component string `json:"component,omitempty"`
}

// Types of an Event.
const (
	EventNormal  = "Normal"
	EventWarning = "Warning"
)

// ObjectRef points at one object.
type ObjectRef struct {
	Kind            string `json:"kind"`
	Namespace       string `json:"namespace,omitempty"`
	Name            string `json:"name"`
	UID             string `json:"uid,omitempty"`
	APIVersion      string `json:"apiVersion,omitempty"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
}

// resources maps a kind to the plural that its URL carries.
var resources = map[string]string{
	KindBenchmarkRun:      "benchmarkruns",
	KindBenchmarkSweep:    "benchmarksweeps",
	KindBenchmarkSchedule: "benchmarkschedules",
	KindServiceTemplate:   "servicetemplates",
	KindAllocation:        "allocations",
	KindCluster:           "clusters",
	KindEvent:             "events",
}

// Kinds lists every kind, the ones that users write first.
func Kinds() []string {
	return []string{KindBenchmarkRun, KindBenchmarkSweep, KindBenchmarkSchedule, KindServiceTemplate, KindAllocation, KindCluster, KindEvent}
}

// Resource returns the kind's plural as it stands in URLs and errors.
func Resource(kind string) schema.GroupResource {
	return schema.GroupResource{Group: GroupVersion.Group, Resource: resources[kind]}
}

// Live says whether something may still be done about an object as it is. Others need not be looked at after a restart.
func Live(obj Object) bool {
	deleted := obj.GetDeletionTimestamp() != nil
	switch o := obj.(type) {
	case *BenchmarkRun:
		return deleted || !o.Status.Phase.Terminal()
	case *BenchmarkSweep:
		return deleted || o.Status.Phase != SweepCompleted || o.Status.ObservedGeneration != o.Generation || o.Status.Reported != o.Status.Ended()
	case *Allocation:
		return deleted || !o.Status.Phase.Terminal()
	case *BenchmarkSchedule, *Cluster:
		return true
	}
	return false
}
