package v1alpha1

import (
	"fmt"
	"regexp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// BenchmarkSweep stamps out runs from a template: one for each combination of its parameters' values.
type BenchmarkSweep struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// Spec is what is wanted.
	Spec BenchmarkSweepSpec `json:"spec"`
	// Status is what benchd has seen and done. Only benchd writes it.
	Status BenchmarkSweepStatus `json:"status,omitzero"`
}

// BenchmarkSweepSpec is what the user wants of a sweep.
type BenchmarkSweepSpec struct {
	// Template of the runs.
	Template RunTemplate `json:"template"`
	// Parameters are varied; the runs are all combinations of their values, the last parameter varying fastest.
	Parameters []ParameterSpec `json:"parameters"`
	// Parallelism is how many of its runs may be under way at once.
	Parallelism int32 `json:"parallelism,omitempty"`
	// Suspend set to true begins no further runs; those under way go on.
	Suspend bool `json:"suspend,omitempty"`
}

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
	Values []any `json:"values"`
}

// SweepPhase says where a sweep is.
type SweepPhase string

// Phases of a sweep.
const (
	SweepActive    SweepPhase = "Active"
	SweepSuspended SweepPhase = "Suspended"
	SweepCompleted SweepPhase = "Completed"
)

// BenchmarkSweepStatus is what benchd has seen and done.
type BenchmarkSweepStatus struct {
	// Phase is Active, Suspended, or Completed once every run has ended.
	Phase SweepPhase `json:"phase,omitempty"`
	// ObservedGeneration is the generation of the spec that the status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Total is how many runs there are to be, Active how many are under way, Succeeded and Failed how many have ended so.
	Total     int32 `json:"total"`
	Active    int32 `json:"active"`
	Succeeded int32 `json:"succeeded"`
	Failed    int32 `json:"failed"`
	// Message says in a sentence what is going on.
	Message string `json:"message,omitempty"`
	// CompletionTime is when the last run ended.
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
}

const (
	// LabelSweep names the sweep that a run was made for.
	LabelSweep = "benchd.dev/sweep"
	// AnnotationParameters holds the values of a sweep's parameters in a run, as JSON.
	AnnotationParameters = "benchd.dev/parameters"
)

// MaxSweepRuns bounds the runs of one sweep.
const MaxSweepRuns = 100_000

var parameterPath = regexp.MustCompile(`^[a-z][A-Za-z0-9]*(\.[A-Za-z][A-Za-z0-9_]*)*$`)

func setSweepDefaults(s *BenchmarkSweep) { setDefault(&s.Spec.Parallelism, 1) }

// validateSweepSpec checks the sweep itself. Its runs are checked one by one by who expands it.
func validateSweepSpec(s *BenchmarkSweepSpec, at *field.Path) field.ErrorList {
	errs := validateRange(int64(s.Parallelism), 1, 1000, at.Child("parallelism"))
	if len(s.Parameters) == 0 {
		errs = append(errs, field.Required(at.Child("parameters"), "name at least one field and its values, such as {path: workload.load.clientsPerNode, values: [1, 8, 32]}"))
	}
	total := 1
	seen := map[string]bool{}
	for i, p := range s.Parameters {
		to := at.Child("parameters").Index(i)
		switch {
		case !parameterPath.MatchString(p.Path):
			errs = append(errs, field.Invalid(to.Child("path"), clip(p.Path), "use the dotted path of a field below a run's spec, such as workload.load.clientsPerNode"))
		case seen[p.Path]:
			errs = append(errs, field.Duplicate(to.Child("path"), p.Path))
		}
		seen[p.Path] = true
		if len(p.Values) == 0 {
			errs = append(errs, field.Required(to.Child("values"), "give at least one value"))
		}
		if total *= max(1, len(p.Values)); total > MaxSweepRuns {
			errs = append(errs, field.Invalid(at.Child("parameters"), total, fmt.Sprintf("the combinations are more than %d runs: leave values out, or make several sweeps", MaxSweepRuns)))
			break
		}
	}
	return errs
}
