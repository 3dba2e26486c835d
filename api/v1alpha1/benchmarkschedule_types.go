package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// BenchmarkSchedule makes a run or a sweep at the times of a cron line: nightly regression tests. It does what Kubernetes' CronJob
// does, with the same words.
type BenchmarkSchedule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// Spec is what is wanted.
	Spec BenchmarkScheduleSpec `json:"spec"`
	// Status is what benchd has seen and done. Only benchd writes it.
	Status BenchmarkScheduleStatus `json:"status,omitzero"`
}

// BenchmarkScheduleSpec is what the user wants of a schedule.
type BenchmarkScheduleSpec struct {
	// Schedule is a cron line of five fields (minute, hour, day, month, weekday), or @hourly, @daily, @weekly, @monthly, @every 6h.
	Schedule string `json:"schedule"`
	// TimeZone of the line, such as Europe/Luxembourg; by default that of the control plane.
	TimeZone string `json:"timeZone,omitempty"`
	// Suspend set to true makes nothing; what was made goes on.
	Suspend bool `json:"suspend,omitempty"`
	// ConcurrencyPolicy says what happens when the one before has not ended: `Forbid` (the default) leaves this time out, `Allow`
	// makes another one beside it, `Replace` cancels it first.
	ConcurrencyPolicy ConcurrencyPolicy `json:"concurrencyPolicy,omitempty"`
	// StartingDeadline is how late one may be begun, after a time without a control plane; not set means at any time. Of several
	// times that were missed only the last one is made up for.
	StartingDeadline *metav1.Duration `json:"startingDeadline,omitempty"`
	// SuccessfulHistoryLimit and FailedHistoryLimit are how many that have ended are kept as objects; result folders stay.
	SuccessfulHistoryLimit *int32 `json:"successfulHistoryLimit,omitempty"`
	FailedHistoryLimit     *int32 `json:"failedHistoryLimit,omitempty"`
	// Template of what is made: a run or a sweep.
	Template ScheduleTemplate `json:"template"`
}

// ScheduleTemplate is what a schedule makes: exactly one of the two.
type ScheduleTemplate struct {
	// Labels of what is made.
	Labels map[string]string `json:"labels,omitempty"`
	// Run to make.
	Run *BenchmarkRunSpec `json:"run,omitempty"`
	// Sweep to make.
	Sweep *BenchmarkSweepSpec `json:"sweep,omitempty"`
}

// ConcurrencyPolicy says what happens when the one before has not ended.
type ConcurrencyPolicy string

// Policies.
const (
	ConcurrencyAllow   ConcurrencyPolicy = "Allow"
	ConcurrencyForbid  ConcurrencyPolicy = "Forbid"
	ConcurrencyReplace ConcurrencyPolicy = "Replace"
)

// BenchmarkScheduleStatus is what benchd has seen and done.
type BenchmarkScheduleStatus struct {
	// LastScheduleTime is the last time of the line that was dealt with, LastSuccessfulTime when the last success ended.
	LastScheduleTime   *metav1.Time `json:"lastScheduleTime,omitempty"`
	LastSuccessfulTime *metav1.Time `json:"lastSuccessfulTime,omitempty"`
	// Line is the schedule and the time zone that were seen last, LineSince when they came in the place of others. Earlier times of
	// a line are not made up for.
	Line      string       `json:"line,omitempty"`
	LineSince *metav1.Time `json:"lineSince,omitempty"`
	// NextScheduleTime is the next time of the line.
	NextScheduleTime *metav1.Time `json:"nextScheduleTime,omitempty"`
	// Active are those made that have not ended.
	Active []ObjectRef `json:"active,omitempty"`
	// Made and Missed count the times that something was made for, and those that were left out.
	Made   int64 `json:"made,omitempty"`
	Missed int64 `json:"missed,omitempty"`
	// Message says in a sentence what is going on.
	Message            string `json:"message,omitempty"`
	ObservedGeneration int64  `json:"observedGeneration,omitempty"`
	// Conditions: Ready, which says whether something is made at the next time.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

const (
	// LabelSchedule names the schedule that a run or a sweep was made by.
	LabelSchedule = "benchd.dev/schedule"
	// AnnotationScheduledAt is the time of the line that it was made for.
	AnnotationScheduledAt = "benchd.dev/scheduled-at"
	// AnnotationPin keeps a run from retention and history limits, whatever its value.
	AnnotationPin = "benchd.dev/pin"
)

func setScheduleDefaults(s *BenchmarkSchedule) {
	setDefault(&s.Spec.ConcurrencyPolicy, ConcurrencyForbid)
	setPointer(&s.Spec.SuccessfulHistoryLimit, 10)
	setPointer(&s.Spec.FailedHistoryLimit, 5)
}

// validateScheduleSpec checks the shape. The cron line and the template are checked by who can read them.
func validateScheduleSpec(s *BenchmarkScheduleSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Schedule == "" {
		errs = append(errs, field.Required(at.Child("schedule"), `give a cron line, such as "0 2 * * *" for two o'clock each night`))
	}
	if _, err := time.LoadLocation(s.TimeZone); err != nil {
		errs = append(errs, field.Invalid(at.Child("timeZone"), clip(s.TimeZone), "is not known here: use a name such as Europe/Luxembourg or UTC"))
	}
	errs = append(errs, oneOf(s.ConcurrencyPolicy, at.Child("concurrencyPolicy"), ConcurrencyAllow, ConcurrencyForbid, ConcurrencyReplace)...)
	if d := s.StartingDeadline; d != nil && d.Duration <= 0 {
		errs = append(errs, field.Invalid(at.Child("startingDeadline"), d.Duration.String(), "give a time such as 1h, or leave it out"))
	}
	errs = append(errs, validateRange(int64(*s.SuccessfulHistoryLimit), 0, 10_000, at.Child("successfulHistoryLimit"))...)
	errs = append(errs, validateRange(int64(*s.FailedHistoryLimit), 0, 10_000, at.Child("failedHistoryLimit"))...)
	if (s.Template.Run == nil) == (s.Template.Sweep == nil) {
		errs = append(errs, field.Invalid(at.Child("template"), field.OmitValueType{}, "give exactly one of run and sweep: the spec of a BenchmarkRun, or of a BenchmarkSweep"))
	}
	return errs
}
