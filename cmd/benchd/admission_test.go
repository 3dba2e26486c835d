package main

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// What is wrong with a schedule, and with what it would make, is told when it is applied and at the field that has it: nobody is there at
// night.
func TestAdmissionOfSchedules(t *testing.T) {
	t.Parallel()
	run := newRun("x").Spec
	good := api.BenchmarkScheduleSpec{Schedule: "0 2 * * *", TimeZone: "Europe/Luxembourg", Template: api.ScheduleTemplate{Run: &run}}
	sweep := api.BenchmarkSweepSpec{Template: api.RunTemplate{Spec: run}, Parameters: []api.ParameterSpec{{Path: "workload.load.clientsPerNode", Values: []any{1, 2}}}}
	for name, tc := range map[string]struct {
		change func(*api.BenchmarkScheduleSpec)
		want   string
	}{
		"good":              {func(*api.BenchmarkScheduleSpec) {}, ""},
		"a sweep":           {func(s *api.BenchmarkScheduleSpec) { s.Template.Run, s.Template.Sweep = nil, &sweep }, ""},
		"labels":            {func(s *api.BenchmarkScheduleSpec) { s.Template.Labels = map[string]string{"team": "a b"} }, "spec.template.labels[team]"},
		"a label's key":     {func(s *api.BenchmarkScheduleSpec) { s.Template.Labels = map[string]string{"a b": "c"} }, "spec.template.labels"},
		"line":              {func(s *api.BenchmarkScheduleSpec) { s.Schedule = "0 2 * *" }, "spec.schedule"},
		"a zone in it":      {func(s *api.BenchmarkScheduleSpec) { s.Schedule = "CRON_TZ=UTC" }, "spec.schedule"},
		"no line":           {func(s *api.BenchmarkScheduleSpec) { s.Schedule = "" }, "spec.schedule"},
		"zone":              {func(s *api.BenchmarkScheduleSpec) { s.TimeZone = "Mars/Olympus" }, "spec.timeZone"},
		"both":              {func(s *api.BenchmarkScheduleSpec) { s.Template.Sweep = &sweep }, "spec.template"},
		"neither":           {func(s *api.BenchmarkScheduleSpec) { s.Template.Run = nil }, "spec.template"},
		"the run's service": {func(s *api.BenchmarkScheduleSpec) { bad := run; bad.Service.Name = "vlm"; s.Template.Run = &bad }, "spec.template.run.service.name"},
		"the sweep's value": {func(s *api.BenchmarkScheduleSpec) {
			bad := sweep
			bad.Parameters = []api.ParameterSpec{{Path: "workload.load.clientsPerNode", Values: []any{1, -2}}}
			s.Template.Run, s.Template.Sweep = nil, &bad
		}, "spec.template.sweep.parameters[0].values"},
	} {
		s := &api.BenchmarkSchedule{ObjectMeta: metav1.ObjectMeta{Name: "nightly", Namespace: "default"}, Spec: good}
		s.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkSchedule))
		tc.change(&s.Spec)
		api.SetDefaults(s)
		errs := append(api.Validate(s), admit(s, func(string, string) *api.ServiceTemplate { return nil })...)
		switch {
		case tc.want == "" && len(errs) > 0:
			t.Errorf("%s: %v", name, errs.ToAggregate())
		case tc.want != "" && (len(errs) == 0 || errs[0].Field != tc.want || errs[len(errs)-1].Field != tc.want):
			t.Errorf("%s: %v, want it told at %s", name, errs.ToAggregate(), tc.want)
		}
	}
}
