package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/controllers"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/services"
	"github.com/benchd/benchd/store"
)

// lookup finds a ServiceTemplate; nil when there is none.
type lookup func(namespace, name string) *api.ServiceTemplate

// admit is what is asked of an object beyond its shape: the rules that know services.
func admit(obj api.Object, find lookup) field.ErrorList {
	switch o := obj.(type) {
	case *api.BenchmarkRun:
		return admitRun(o.Namespace, &o.Spec, find)
	case *api.BenchmarkSweep:
		return admitSweep(o, find)
	case *api.BenchmarkSchedule:
		return admitSchedule(o, find)
	case *api.ServiceTemplate:
		errs := services.ValidateTemplate(&o.Spec, field.NewPath("spec"))
		if services.Known(o.Name) {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), o.Name, "is the name of a service that is built in: choose another one"))
		}
		return errs
	}
	return nil
}

// admitRun takes over the service's template, if it has one, fills in what depends on the service and checks it.
func admitRun(namespace string, s *api.BenchmarkRunSpec, find lookup) field.ErrorList {
	if s.Service.Template == nil && !services.Known(s.Service.Name) {
		if t := find(namespace, s.Service.Name); t != nil {
			s.Service.Template = &t.Spec
		}
	}
	if t := s.Service.Template; t != nil && t.API != "" && s.Workload.API == api.APIChat {
		s.Workload.API = t.API
	}
	services.SetDefaults(s)
	return append(services.Validate(s), controllers.ValidateNodelists(s)...)
}

// admitSchedule checks the cron line, and what the schedule makes as if it were applied.
func admitSchedule(s *api.BenchmarkSchedule, find lookup) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec", "template")
	zone := s.Spec.TimeZone
	if _, err := time.LoadLocation(zone); err != nil {
		zone = "" // told at its own field; the line is looked at all the same
	}
	if err := plan.CheckSchedule(s.Spec.Schedule, zone); err != nil && s.Spec.Schedule != "" {
		errs = append(errs, field.Invalid(field.NewPath("spec", "schedule"), s.Spec.Schedule, err.Error()))
	}
	var made api.Object
	switch t := &s.Spec.Template; {
	case t.Run != nil:
		made, at = &api.BenchmarkRun{Spec: *t.Run}, at.Child("run")
	case t.Sweep != nil:
		made, at = &api.BenchmarkSweep{Spec: *t.Sweep}, at.Child("sweep")
	default:
		return errs // told by its shape
	}
	made.GetObjectKind().SetGroupVersionKind(api.GroupVersion.WithKind(api.KindOf(made)))
	made.SetNamespace(s.Namespace)
	made.SetName("made")
	made.SetLabels(s.Spec.Template.Labels)
	api.SetDefaults(made)
	for _, e := range append(api.Validate(made), admit(made, find)...) {
		switch label, ok := strings.CutPrefix(e.Field, "metadata.labels"); {
		case ok:
			e.Field = "spec.template.labels" + label
		case strings.HasPrefix(e.Field, "metadata"):
			continue // told of the schedule itself
		default:
			e.Field = at.String() + strings.TrimPrefix(e.Field, "spec")
		}
		errs = append(errs, e)
	}
	return errs
}

// admitSweep checks the runs that a sweep will make.
func admitSweep(s *api.BenchmarkSweep, find lookup) field.ErrorList {
	if slices.ContainsFunc(api.Validate(s), func(e *field.Error) bool { return strings.HasPrefix(e.Field, "spec") }) {
		return nil // told by its shape: there is no saying which runs it would make
	}
	if len(s.Spec.Exclude) > 0 && len(plan.Points(&s.Spec)) == 0 {
		return field.ErrorList{field.Invalid(field.NewPath("spec", "exclude"), field.OmitValueType{}, "leaves out every point: nothing would be measured")}
	}
	var all field.ErrorList
	seen := map[string]bool{}
	for _, p := range plan.Sample(&s.Spec) {
		run, err := plan.Run(s, p)
		if err != nil {
			return append(all, badPoint(s, p, err))
		}
		api.SetDefaults(run)
		errs := append(slices.DeleteFunc(api.Validate(run), func(e *field.Error) bool { return strings.HasPrefix(e.Field, "metadata") }), admitRun(s.Namespace, &run.Spec, find)...)
		for path, value := range p.Values {
			if !plan.Kept(&run.Spec, path, value) {
				errs = append(errs, field.Invalid(field.NewPath("spec."+path), value, "is taken for a field that is not given, and the default used: leave it out"))
			}
		}
		for i, e := range errs {
			errs[i] = inSweep(s, p, e)
		}
		if need, most := run.Spec.Workload.Warmup.Duration+run.Spec.Workload.Duration.Duration, s.Spec.Sharing.MaxTime.Duration; s.Spec.Template.Spec.Slurm.TimeLimit == "" && need > most {
			errs = append(errs, field.Invalid(field.NewPath("spec", "sharing", "maxTime"), most.String(), fmt.Sprintf("is shorter than warm-up and duration of a run together (%s): raise it", need)))
		}
		for _, e := range errs {
			if key := e.Error(); !seen[key] {
				seen[key] = true
				all = append(all, e)
			}
		}
		if len(all) > 20 {
			break
		}
	}
	return all
}

// badPoint says which of a point's values cannot be set: its path leads nowhere, or the field holds something else.
func badPoint(s *api.BenchmarkSweep, point plan.Trial, err error) *field.Error {
	for _, path := range slices.Sorted(maps.Keys(point.Values)) {
		value := point.Values[path]
		_, alone := plan.Run(s, plan.Trial{Values: api.Values{path: value}})
		if alone == nil {
			continue
		}
		at, last, detail := field.NewPath("spec"), "path", ""
		var wrong *json.UnmarshalTypeError
		if _, nowhere := manifest.Explain("run.spec." + path); nowhere != nil {
			detail = nowhere.Error()
		} else if last, detail = "values", fmt.Sprintf("%s = %v: %v", path, value, errors.Unwrap(alone)); errors.As(alone, &wrong) {
			detail = fmt.Sprintf("%s = %v: the field holds no %s: `benchd explain run.spec.%s` says what it does", path, value, wrong.Value, path)
		}
		if s.Spec.Search != nil && s.Spec.Search.Path == path {
			return field.Invalid(at.Child("search", "path"), path, detail)
		}
		for i, p := range s.Spec.Parameters {
			if p.Path == path {
				if last == "values" {
					last = valuesOf(&p)
				}
				return field.Invalid(at.Child("parameters").Index(i).Child(last), field.OmitValueType{}, detail)
			}
		}
		return field.Invalid(placeOf(s, path, value), field.OmitValueType{}, fmt.Sprintf("%s = %v: %s", path, value, strings.TrimPrefix(detail, fmt.Sprintf("%s = %v: ", path, value))))
	}
	return field.Invalid(field.NewPath("spec", "parameters"), field.OmitValueType{}, err.Error())
}

// placeOf says where a value stands that is of no parameter.
func placeOf(s *api.BenchmarkSweep, path string, value any) *field.Path {
	at := field.NewPath("spec")
	if l := s.Spec.Search; l != nil && l.Path == path {
		return at.Child("search", "path")
	}
	for i, v := range s.Spec.Include {
		if own, has := v[path]; has && reflect.DeepEqual(own, value) {
			return at.Child("include").Index(i)
		}
	}
	if c := s.Spec.Control; c != nil {
		if _, has := c.Values[path]; has {
			return at.Child("control", "values")
		}
	}
	return at
}

// inSweep tells an error of a run as one of its sweep: at the values of the parameter that set the field, or in the template.
func inSweep(s *api.BenchmarkSweep, point plan.Trial, e *field.Error) *field.Error {
	told := *e
	dotted := strings.TrimPrefix(strings.ReplaceAll(strings.ReplaceAll(e.Field, "[", "."), "]", ""), "spec.")
	for i, p := range s.Spec.Parameters {
		value := point.Values[p.Path]
		if path := "spec." + p.Path; (e.Field == path || strings.HasPrefix(e.Field, path+".") || strings.HasPrefix(e.Field, path+"[") || dotted == p.Path) &&
			(p.Range != nil || hasValue(p.Values, value)) {
			last := valuesOf(&p)
			if e.Type == field.ErrorTypeNotSupported && strings.HasSuffix(e.Field, fmt.Sprintf("[%v]", e.BadValue)) {
				last = "path" // a setting that is not known, whatever its value
			}
			told.Field = fmt.Sprintf("spec.parameters[%d].%s", i, last)
			told.Detail = fmt.Sprintf("%s = %v: %s", p.Path, value, e.Detail)
			return &told
		}
	}
	if value, swept := point.Values[dotted]; swept {
		told.Field, told.Detail = placeOf(s, dotted, value).String(), fmt.Sprintf("%s = %v: %s", dotted, value, e.Detail)
		return &told
	}
	told.Field = "spec.template." + e.Field
	return &told
}

// valuesOf is the field that a parameter's values come from.
func valuesOf(p *api.ParameterSpec) string {
	if p.Range != nil {
		return "range"
	}
	return "values"
}

func hasValue(values []any, value any) bool {
	return slices.ContainsFunc(values, func(v any) bool { return reflect.DeepEqual(v, value) })
}

// admitFiles is the admission of files.
func (o *options) admitFiles(cmd *cobra.Command) manifest.Admission {
	return func(obj api.Object, all []api.Object) field.ErrorList {
		return admit(obj, o.templates(cmd.Context(), all))
	}
}

// templates looks for a ServiceTemplate in the files that are read together, then in the control plane, if one is up.
func (o *options) templates(ctx context.Context, all []api.Object) lookup {
	return func(namespace, name string) *api.ServiceTemplate {
		for _, other := range all {
			if t, ok := other.(*api.ServiceTemplate); ok && t.Name == name && t.Namespace == namespace {
				return t
			}
		}
		return o.storedTemplate(ctx, namespace, name)
	}
}

// storedTemplate asks the control plane, without starting one.
func (o *options) storedTemplate(ctx context.Context, namespace, name string) *api.ServiceTemplate {
	if namespace == api.DefaultNamespace {
		namespace = o.namespace
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := connectRunning(ctx, o.home)
	if err != nil {
		return nil
	}
	defer c.Close()
	obj, err := c.Get(ctx, api.KindServiceTemplate, namespace, name)
	if err != nil {
		return nil // the error that names the service says enough
	}
	t, _ := obj.(*api.ServiceTemplate)
	return t
}

// keepTemplate leaves a run that has begun with the template that it was applied with.
func keepTemplate(obj, old api.Object) {
	before, ok := old.(*api.BenchmarkRun)
	if !ok || before.Status.AllocationRef == nil || before.Spec.Service.Template == nil {
		return
	}
	if run, ok := obj.(*api.BenchmarkRun); ok && run.Spec.Service.Template == nil && run.Spec.Service.Name == before.Spec.Service.Name {
		run.Spec.Service.Template = before.Spec.Service.Template
	}
}

// admitStored is the admission of the control plane: templates are looked for in its store.
func admitStored(st *store.Store) func(obj, old api.Object) field.ErrorList {
	return func(obj, old api.Object) field.ErrorList {
		keepTemplate(obj, old)
		return admit(obj, func(namespace, name string) *api.ServiceTemplate {
			t, err := store.Get[*api.ServiceTemplate](context.Background(), st, namespace, name)
			if err != nil {
				return nil
			}
			return t
		})
	}
}
