package v1alpha1

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var parameterPath = regexp.MustCompile(`^[a-z][A-Za-z0-9]*(\.[A-Za-z][A-Za-z0-9_]*)*$`)

func setSweepDefaults(s *BenchmarkSweep) {
	setDefault(&s.Spec.Strategy, StrategyGrid)
	setDefault(&s.Spec.Repeats, 1)
	setDefault(&s.Spec.Order, OrderInterleaved)
	setDefault(&s.Spec.Parallelism, 1)
	setDefault(&s.Spec.Sharing.Isolation, IsolationShared)
	setDuration(&s.Spec.Sharing.MaxTime, 8*time.Hour)
	setPointer(&s.Spec.Sharing.Pause, metav1.Duration{Duration: time.Second})
	setPointer(&s.Spec.Sharing.ResetCache, true)
	setDefault(&s.Spec.FailurePolicy.Action, FailureContinue)
	setDefault(&s.Spec.FailurePolicy.After, 1)
	if l := s.Spec.Search; l != nil {
		setDefault(&l.Tolerance, 0.05)
		setDefault(&l.Goodput, 0.99)
		setDefault(&l.MaxTrials, 20)
	}
	for i := range s.Spec.Parameters {
		if r := s.Spec.Parameters[i].Range; r != nil {
			setDefault(&r.Scale, ScaleLinear)
		}
	}
}

// validateSweepSpec checks the sweep itself. Its runs are checked one by one by who expands it.
func validateSweepSpec(s *BenchmarkSweepSpec, at *field.Path) field.ErrorList {
	errs := validateRange(int64(s.Parallelism), 1, 1000, at.Child("parallelism"))
	errs = append(errs, validateRange(int64(s.Repeats), 1, 10_000, at.Child("repeats"))...)
	errs = append(errs, oneOf(s.Strategy, at.Child("strategy"), StrategyGrid, StrategyZip, StrategyList, StrategyRandom, StrategySearch)...)
	errs = append(errs, oneOf(s.Order, at.Child("order"), OrderDeclared, OrderInterleaved, OrderShuffled)...)
	errs = append(errs, oneOf(s.Sharing.Isolation, at.Child("sharing", "isolation"), IsolationShared, IsolationPerTrial)...)
	errs = append(errs, oneOf(s.FailurePolicy.Action, at.Child("failurePolicy", "action"), FailureContinue, FailureStop, FailureStopPoint)...)
	errs = append(errs, validateRange(int64(s.FailurePolicy.After), 1, MaxSweepRuns, at.Child("failurePolicy", "after"))...)
	errs = append(errs, validateRange(int64(s.Priority), -1000, 1000, at.Child("priority"))...)
	errs = append(errs, validateLabels(s.Template.Labels, at.Child("template", "labels"))...)
	errs = append(errs, validateSharing(&s.Sharing, at.Child("sharing"))...)
	errs = append(errs, validateSweepLimits(&s.Limits, at.Child("limits"))...)
	errs = append(errs, validateParameters(s, at)...)
	errs = append(errs, validateStrategy(s, at)...)
	if c := s.Control; c != nil {
		errs = append(errs, validateRange(int64(c.Every), 1, MaxSweepRuns, at.Child("control", "every"))...)
		errs = append(errs, validateValues(c.Values, at.Child("control", "values"))...)
		for _, path := range slices.Sorted(maps.Keys(c.Values)) {
			errs = append(errs, s.validateOverlap(path, at.Child("control", "values"))...)
		}
		if s.Strategy == StrategySearch {
			errs = append(errs, field.Forbidden(at.Child("control"), "a search has no control runs: leave it out"))
		}
	}
	return errs
}

func oneOf[T ~string](value T, at *field.Path, allowed ...T) field.ErrorList {
	if slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(at, T(clip(string(value))), allowed)}
}

func validateSharing(s *SharingSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if d := s.MaxTime.Duration; d < 10*time.Minute || d > 365*24*time.Hour {
		errs = append(errs, field.Invalid(at.Child("maxTime"), d.String(), "an Allocation is given between 10m and 8760h"))
	}
	if d := s.Pause.Duration; d < 0 || d > time.Hour {
		errs = append(errs, field.Invalid(at.Child("pause"), d.String(), "a pause is between 0s and 1h"))
	}
	return errs
}

func validateSweepLimits(l *SweepLimits, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if l.NodeHours < 0 || math.IsNaN(l.NodeHours) || math.IsInf(l.NodeHours, 0) {
		errs = append(errs, field.Invalid(at.Child("nodeHours"), l.NodeHours, "give the hours of all nodes together, or leave it out"))
	}
	if w := l.WallTime; w != nil && w.Duration <= 0 {
		errs = append(errs, field.Invalid(at.Child("wallTime"), w.Duration.String(), "give a time such as 24h, or leave it out"))
	}
	return append(errs, validateRange(int64(l.Trials), 0, MaxSweepRuns, at.Child("trials"))...)
}

func validateParameters(s *BenchmarkSweepSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, p := range s.Parameters {
		to := at.Child("parameters").Index(i)
		switch {
		case !parameterPath.MatchString(p.Path):
			errs = append(errs, badPath(to.Child("path"), p.Path))
		case seen[p.Path]:
			errs = append(errs, field.Duplicate(to.Child("path"), p.Path))
		}
		seen[p.Path] = true
		errs = append(errs, s.validateOverlap(p.Path, to.Child("path"))...)
		if n := slices.Index(p.Values, nil); n >= 0 {
			errs = append(errs, noValue(to.Child("values").Index(n)))
		}
		switch r := p.Range; {
		case r == nil && len(p.Values) == 0:
			errs = append(errs, field.Required(to.Child("values"), "give at least one value"))
		case r != nil && len(p.Values) > 0:
			errs = append(errs, field.Forbidden(to.Child("range"), "values are given already: leave one of the two out"))
		case r != nil && s.Strategy != StrategyRandom:
			errs = append(errs, field.Forbidden(to.Child("range"), "only strategy random draws from a range: give values"))
		case r != nil:
			errs = append(errs, validateValueRange(r, to.Child("range"))...)
		}
	}
	return errs
}

// validateOverlap refuses a field that lies within one that a parameter sets: it would be chance which of the two is set last.
func (s *BenchmarkSweepSpec) validateOverlap(path string, at *field.Path) field.ErrorList {
	for _, p := range s.Parameters {
		if strings.HasPrefix(path, p.Path+".") {
			return field.ErrorList{field.Invalid(at, clip(path), fmt.Sprintf("lies within %s, which is varied too: vary one of the two", clip(p.Path)))}
		}
	}
	return nil
}

func badPath(at *field.Path, path string) *field.Error {
	return field.Invalid(at, clip(path), "use the dotted path of a field below a run's spec, such as workload.load.clientsPerNode")
}

// noValue refuses null: a field without a value has its default, which nobody would read off the result.
func noValue(at *field.Path) *field.Error {
	return field.Invalid(at, "null", "is no value: write the one that is to be measured")
}

func validateValueRange(r *RangeSpec, at *field.Path) field.ErrorList {
	errs := oneOf(r.Scale, at.Child("scale"), ScaleLinear, ScaleLog)
	switch {
	case math.IsNaN(r.Min) || math.IsNaN(r.Max) || math.IsInf(r.Max-r.Min, 0) || r.Min > r.Max:
		errs = append(errs, field.Invalid(at, fmt.Sprintf("%v to %v", r.Min, r.Max), "min has to be at most max"))
	case r.Integer && math.Ceil(r.Min) > math.Floor(r.Max):
		errs = append(errs, field.Invalid(at, fmt.Sprintf("%v to %v", r.Min, r.Max), "holds no whole number: widen it, or leave integer out"))
	case r.Scale == ScaleLog && r.Min <= 0:
		errs = append(errs, field.Invalid(at.Child("min"), r.Min, "a logarithmic scale begins above 0"))
	}
	return errs
}

func validateValues(values Values, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for path, value := range values {
		if !parameterPath.MatchString(path) {
			errs = append(errs, badPath(at, path))
		}
		if value == nil {
			errs = append(errs, noValue(at.Key(clip(path))))
		}
		for other := range values {
			if strings.HasPrefix(path, other+".") {
				errs = append(errs, field.Invalid(at, clip(path), fmt.Sprintf("lies within %s, which has a value too: give one of the two", clip(other))))
			}
		}
	}
	return errs
}

// validateStrategy checks that the strategy has what it needs, and that it makes no more runs than a sweep may have.
func validateStrategy(s *BenchmarkSweepSpec, at *field.Path) field.ErrorList {
	errs := append(s.validateInclude(at), s.validateExclude(at)...)
	if s.Strategy != StrategySearch && s.Search != nil {
		errs = append(errs, field.Forbidden(at.Child("search"), "belongs to strategy search: set it, or leave search out"))
	}
	if s.Strategy != StrategyRandom && s.Samples != 0 {
		errs = append(errs, field.Forbidden(at.Child("samples"), "belongs to strategy random: set it, or leave samples out"))
	}
	switch s.Strategy {
	case StrategyList:
		if len(s.Include) == 0 {
			errs = append(errs, field.Required(at.Child("include"), "strategy list takes the points of include: give at least one"))
		}
		if len(s.Parameters) > 0 {
			errs = append(errs, field.Forbidden(at.Child("parameters"), "strategy list takes the points of include alone: leave it out"))
		}
	case StrategyZip:
		for i, p := range s.Parameters {
			if len(p.Values) != len(s.Parameters[0].Values) {
				errs = append(errs, field.Invalid(at.Child("parameters").Index(i).Child("values"), len(p.Values), fmt.Sprintf(
					"strategy zip takes the values side by side: %s has %d, %s has %d; make them as many", s.Parameters[0].Path, len(s.Parameters[0].Values), p.Path, len(p.Values))))
			}
		}
	case StrategyRandom:
		errs = append(errs, validateRange(int64(s.Samples), 1, MaxSweepRuns, at.Child("samples"))...)
	case StrategySearch:
		errs = append(errs, validateSearch(s, at)...)
	}
	if len(s.Parameters) == 0 && len(s.Include) == 0 && s.Repeats <= 1 && s.Strategy != StrategySearch && s.Strategy != StrategyList {
		errs = append(errs, field.Required(at.Child("parameters"), "name at least one field and its values, such as {path: workload.load.clientsPerNode, values: [1, 8, 32]}"))
	}
	if n := s.mostRuns(); n > MaxSweepRuns {
		errs = append(errs, field.Invalid(at.Child("parameters"), n, fmt.Sprintf("are more than %d runs: leave values out, or make several sweeps", MaxSweepRuns)))
	}
	return errs
}

func (s *BenchmarkSweepSpec) validateInclude(at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, v := range s.Include {
		if len(v) == 0 {
			errs = append(errs, field.Required(at.Child("include").Index(i), "name at least one field and its value, such as {workload.load.clientsPerNode: 64}"))
		}
		errs = append(errs, validateValues(v, at.Child("include").Index(i))...)
	}
	return errs
}

func (s *BenchmarkSweepSpec) validateExclude(at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, v := range s.Exclude {
		to := at.Child("exclude").Index(i)
		if len(v) == 0 {
			errs = append(errs, field.Required(to, "would leave out every point: name at least one field and its value"))
		}
		if s.Strategy == StrategyList {
			errs = append(errs, field.Forbidden(to, "strategy list has the points of include alone: leave out of them what is not wanted"))
			continue
		}
		for _, path := range slices.Sorted(maps.Keys(v)) {
			switch i := slices.IndexFunc(s.Parameters, func(p ParameterSpec) bool { return p.Path == path }); {
			case i < 0:
				errs = append(errs, field.Invalid(to, clip(path), "is the path of no parameter, so that nothing would be left out: write it as in parameters"))
			case !s.Parameters[i].mayBe(v[path]):
				errs = append(errs, field.Invalid(to.Key(clip(path)), clip(fmt.Sprint(v[path])), "is none of the parameter's values, so that nothing would be left out: write one of them"))
			}
		}
	}
	return errs
}

// mayBe says whether the parameter may have the value: JSON knows one kind of number.
func (p *ParameterSpec) mayBe(value any) bool {
	want, err := json.Marshal(value)
	return err != nil || p.Range != nil || slices.ContainsFunc(p.Values, func(v any) bool {
		got, err := json.Marshal(v)
		return err != nil || string(got) == string(want)
	})
}

// mostRuns is how many runs the sweep has at most, before anything is excluded; a count beyond MaxSweepRuns is not exact.
func (s *BenchmarkSweepSpec) mostRuns() int {
	total := 1
	switch s.Strategy {
	case StrategyList:
		total = 0
	case StrategyZip:
		for _, p := range s.Parameters {
			total = len(p.Values)
		}
	case StrategyRandom:
		total = int(s.Samples)
	default:
		for _, p := range s.Parameters {
			if total *= max(1, len(p.Values)); total > MaxSweepRuns {
				break
			}
		}
	}
	total += len(s.Include)
	if s.Strategy == StrategySearch && s.Search != nil {
		total *= int(max(1, min(s.Search.MaxTrials, MaxSweepRuns)))
	}
	total *= int(max(1, min(s.Repeats, MaxSweepRuns)))
	if c := s.Control; c != nil && c.Every > 0 {
		total += (total + int(c.Every) - 1) / int(c.Every)
	}
	return total
}

func validateSearch(s *BenchmarkSweepSpec, at *field.Path) field.ErrorList {
	to := at.Child("search")
	l := s.Search
	if l == nil {
		return field.ErrorList{field.Required(to, "say what is looked for, such as {path: workload.load.rate, min: 1, max: 200}")}
	}
	var errs field.ErrorList
	if !parameterPath.MatchString(l.Path) {
		errs = append(errs, badPath(to.Child("path"), l.Path))
	}
	errs = append(errs, s.validateOverlap(l.Path, to.Child("path"))...)
	for i, p := range s.Parameters {
		if strings.HasPrefix(p.Path, l.Path+".") {
			errs = append(errs, field.Invalid(at.Child("parameters").Index(i).Child("path"), clip(p.Path), "lies within search.path: vary one of the two"))
		}
		if p.Path == l.Path {
			errs = append(errs, field.Duplicate(at.Child("parameters").Index(i).Child("path"), p.Path))
		}
	}
	if !(l.Min > 0) || !(l.Max >= l.Min) || math.IsInf(l.Max, 0) {
		errs = append(errs, field.Invalid(to, fmt.Sprintf("%v to %v", l.Min, l.Max), "min has to be above 0, max at least min"))
	}
	if !(l.Tolerance > 0 && l.Tolerance < 1) {
		errs = append(errs, field.Invalid(to.Child("tolerance"), l.Tolerance, "is a share of the limit, such as 0.05"))
	}
	if !(l.Goodput > 0 && l.Goodput <= 1) {
		errs = append(errs, field.Invalid(to.Child("goodput"), l.Goodput, "is a share of the requests, such as 0.99"))
	}
	errs = append(errs, validateRange(int64(l.MaxTrials), 2, 1000, to.Child("maxTrials"))...)
	if s.Template.Spec.Workload.SLO == (SLOSpec{}) {
		errs = append(errs, field.Required(at.Child("template", "spec", "workload", "slo"), "a search needs to know what a request has to meet, such as {ttft: 500ms, tpot: 50ms}"))
	}
	if s.Repeats > 1 || len(s.Include) > 0 {
		errs = append(errs, field.Forbidden(to, "a search takes neither repeats nor include: leave them out"))
	}
	return errs
}
