package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/report"
)

func newSweep(name string, change func(*api.BenchmarkSweepSpec)) *api.BenchmarkSweep {
	sweep := &api.BenchmarkSweep{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: api.BenchmarkSweepSpec{
			Template: api.RunTemplate{Labels: map[string]string{"team": "x"}, Spec: newRun("template").Spec},
			Sharing:  api.SharingSpec{Pause: &metav1.Duration{Duration: 100 * time.Millisecond}},
		},
	}
	sweep.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkSweep))
	change(&sweep.Spec)
	return sweep
}

func (p *plane) apply(obj api.Object) {
	p.t.Helper()
	if _, _, err := p.api.Apply(p.t.Context(), obj); err != nil {
		p.t.Fatal(err)
	}
}

func (p *plane) sweep(name string) *api.BenchmarkSweep {
	p.t.Helper()
	obj, err := p.api.Get(p.t.Context(), api.KindBenchmarkSweep, "default", name)
	if err != nil {
		p.t.Fatal(err)
	}
	return obj.(*api.BenchmarkSweep)
}

func (p *plane) untilSweep(name string, within time.Duration, want api.SweepPhase) *api.BenchmarkSweep {
	p.t.Helper()
	p.eventually(within, fmt.Sprintf("sweep %s is %s", name, want), func(ctx context.Context) (bool, string) {
		obj, err := p.api.Get(ctx, api.KindBenchmarkSweep, "default", name)
		if err != nil {
			return false, err.Error()
		}
		st := obj.(*api.BenchmarkSweep).Status
		return st.Phase == want, fmt.Sprintf("%+v", st)
	})
	return p.sweep(name)
}

func (p *plane) runsOf(sweep string) []*api.BenchmarkRun {
	p.t.Helper()
	list, err := p.api.List(p.t.Context(), api.KindBenchmarkRun, client.ListOptions{Namespace: "default", LabelSelector: api.LabelSweep + "=" + sweep})
	if err != nil {
		p.t.Fatal(err)
	}
	var runs []*api.BenchmarkRun
	for _, obj := range list.Items {
		runs = append(runs, obj.(*api.BenchmarkRun))
	}
	return runs
}

// Runs that need the same servers follow one another in one Allocation, through a kill of the control plane; the two groups are
// under way at once, and no third Allocation is ever made.
func TestSweepSharesAllocations(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.apply(newSweep("grid", func(s *api.BenchmarkSweepSpec) {
		s.Parallelism = 2
		s.Parameters = []api.ParameterSpec{
			{Path: "workload.load.clientsPerNode", Values: []any{1.0, 2.0, 3.0}},
			{Path: "service.config.ttft", Values: []any{"1ms", "2ms"}},
		}
	}))
	p.until("grid-clientspernode1-ttft1ms", time.Minute, api.RunExecuting, api.RunTearingDown, api.RunReporting, api.RunCompleted)
	p.kill()
	p.start()
	sweep := p.untilSweep("grid", 2*time.Minute, api.SweepCompleted)
	if st := sweep.Status; st.Succeeded != 6 || st.Failed != 0 || st.Total != 6 || st.AllocationsMade != 2 {
		t.Errorf("status: %+v", st)
	}
	used := map[string]int{}
	for _, run := range p.runsOf("grid") {
		if len(run.Status.Attempts) != 1 || run.Labels["team"] != "x" {
			t.Errorf("run %s took %d attempts, labels %v", run.Name, len(run.Status.Attempts), run.Labels)
		}
		used[run.Status.Attempts[0].Allocation]++
		sum, err := report.ReadSummary(filepath.Join(run.Status.Folder, report.Dir, report.SummaryJSON))
		if err != nil || sum.Sweep != "grid" || sum.Parameters["workload.load.clientsPerNode"] != float64(run.Spec.Workload.Load.ClientsPerNode) {
			t.Errorf("the report of %s does not say what it is a trial of: %v, %v", run.Name, sum.Parameters, err)
		}
	}
	if len(used) != 2 || used["grid-a1"] != 3 || used["grid-a2"] != 3 {
		t.Errorf("allocations used: %v", used)
	}
	wrong := newSweep("wrong", func(s *api.BenchmarkSweepSpec) {
		s.Parameters = []api.ParameterSpec{{Path: "workload.lod.clients", Values: []any{1.0}}}
	})
	if _, _, err := p.api.Apply(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), `spec.parameters[0].path`) || !strings.Contains(err.Error(), `has no field "lod"; did you mean "load"?`) {
		t.Errorf("a parameter that leads nowhere: %v", err)
	}
}

// The lead works off the orders that it has while there is no control plane, and the sweep is complete once one is back.
func TestSweepGoesOnWithoutAControlPlane(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.apply(newSweep("night", func(s *api.BenchmarkSweepSpec) {
		s.Repeats = 4
	}))
	p.until("night-r1", time.Minute, api.RunExecuting)
	folder := p.allocation("night-a1").Status.Folder
	p.kill()
	exit := node.Folder(folder).Exit()
	p.eventually(time.Minute, "the job ends by itself", func(context.Context) (bool, string) { return node.Exists(exit), exit })
	p.start()
	sweep := p.untilSweep("night", time.Minute, api.SweepCompleted)
	if st := sweep.Status; st.Succeeded != 4 || st.AllocationsMade != 1 {
		t.Errorf("status: %+v", st)
	}
}

// A sweep that is suspended gives back what it does not measure on, loses nothing by it, and goes on where it was.
func TestSweepSuspendedAndResumed(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.apply(newSweep("pause", func(s *api.BenchmarkSweepSpec) {
		s.Repeats = 4
		s.Template.Spec.BackoffLimit = count(0) // an attempt that is lost would end the run
		s.Template.Spec.Service.Config["startup"] = "2s"
		s.Template.Spec.Workload.Duration = seconds(3) // not all of them are through before the sweep is suspended
	}))
	suspend := func(to bool) {
		if _, err := p.api.Patch(t.Context(), api.KindBenchmarkSweep, "default", "pause", map[string]any{"spec": map[string]any{"suspend": to}}); err != nil {
			t.Fatal(err)
		}
	}
	idle := func(what string) {
		p.eventually(time.Minute, what, func(ctx context.Context) (bool, string) {
			st := p.sweep("pause").Status
			return st.Phase == api.SweepSuspended && st.Allocations == 0 && len(p.processes()) == 1, fmt.Sprintf("%+v %v", st, p.processes())
		})
	}
	p.until("pause-r1", time.Minute, api.RunDeploying) // its servers are starting
	suspend(true)
	idle("nothing is left while it is suspended before its first run")
	suspend(false)
	p.until("pause-r1", time.Minute, api.RunExecuting, api.RunReporting, api.RunCompleted)
	suspend(true)
	idle("the run under way is measured to its end, then nothing is left")
	p.until("pause-r1", time.Minute, api.RunCompleted) // its report holds no Allocation
	if st := p.sweep("pause").Status; st.Succeeded < 1 || st.Succeeded > 3 || st.Failed > 0 {
		t.Errorf("suspended within: %+v", st)
	}
	suspend(false)
	if st := p.untilSweep("pause", 2*time.Minute, api.SweepCompleted).Status; st.Succeeded != 4 {
		t.Errorf("at the end: %+v", st)
	}
}

// A search carries its probes out one after the other in one Allocation, and finds what the server can do.
func TestSweepSearch(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.apply(newSweep("limit", func(s *api.BenchmarkSweepSpec) {
		s.Strategy = api.StrategySearch
		s.Search = &api.SearchSpec{Path: "workload.load.clientsPerNode", Min: 1, Max: 64, Tolerance: 0.3, Goodput: 0.9}
		w := &s.Template.Spec.Workload
		w.SLO.TTFT = &metav1.Duration{Duration: 60 * time.Millisecond}
		s.Template.Spec.Service.Config = map[string]any{"ttft": "10ms", "itl": "5ms", "concurrency": 8} // more than some eight queue
		s.Template.Spec.Verdict.CompletionsPerClient = 1
	}))
	sweep := p.untilSweep("limit", 3*time.Minute, api.SweepCompleted)
	st := sweep.Status
	if len(st.Limits) != 1 || st.Limits[0].Passed == nil || *st.Limits[0].Passed < 6 || *st.Limits[0].Passed > 24 || st.AllocationsMade != 1 {
		t.Errorf("found %+v by %d runs in %d Allocations", st.Limits, st.Total, st.AllocationsMade)
	}
	p.eventually(time.Minute, "its Allocation is given back", func(context.Context) (bool, string) {
		return len(p.processes()) == 1, fmt.Sprint(p.processes())
	})
}

// Nobody computes the runs of a sweep that is wrong in its shape: there may be none, or more than can be counted.
func TestSweepThatIsWrongInItsShape(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*api.BenchmarkSweepSpec){
		"control every 0": func(s *api.BenchmarkSweepSpec) { s.Control = &api.ControlSpec{} },
		"samples below 0": func(s *api.BenchmarkSweepSpec) { s.Strategy, s.Samples = api.StrategyRandom, -1 },
		"nothing to draw": func(s *api.BenchmarkSweepSpec) {
			s.Strategy, s.Samples, s.Parameters[0].Values = api.StrategyRandom, 1, nil
		},
		"a label that is none": func(s *api.BenchmarkSweepSpec) { s.Template.Labels = map[string]string{"team": "a b"} },
		"a search of more runs than a sweep may have": func(s *api.BenchmarkSweepSpec) {
			s.Strategy, s.Search = api.StrategySearch, &api.SearchSpec{Path: "workload.load.rate", Min: 1, Max: 9, MaxTrials: 1000}
			s.Template.Spec.Workload.SLO.TTFT = &metav1.Duration{Duration: time.Second}
			for i := range 200 {
				s.Parameters[0].Values = append(s.Parameters[0].Values, float64(i+3))
			}
		},
		"an exclusion of no parameter": func(s *api.BenchmarkSweepSpec) { s.Exclude = []api.Values{{"workload.load.clientPerNode": 1.0}} },
		"an exclusion of every point": func(s *api.BenchmarkSweepSpec) {
			s.Exclude = []api.Values{{"workload.load.clientsPerNode": 1.0}, {"workload.load.clientsPerNode": 2.0}}
		},
		"an exclusion of a list's points": func(s *api.BenchmarkSweepSpec) {
			s.Strategy, s.Include, s.Exclude = api.StrategyList, []api.Values{{"workload.load.clientsPerNode": 1.0}}, []api.Values{{"workload.load.clientsPerNode": 1.0}}
			s.Parameters = nil
		},
		"a field within another": func(s *api.BenchmarkSweepSpec) {
			s.Parameters = append(s.Parameters, api.ParameterSpec{Path: "workload.load", Values: []any{map[string]any{"rate": 1.0}}})
		},
		"a field within another of a point": func(s *api.BenchmarkSweepSpec) {
			s.Include = []api.Values{{"workload.load": map[string]any{"rate": 1.0}, "workload.load.rate": 2.0}}
		},
		"a range without a whole number": func(s *api.BenchmarkSweepSpec) {
			s.Strategy, s.Samples = api.StrategyRandom, 3
			s.Parameters[0].Values, s.Parameters[0].Range = nil, &api.RangeSpec{Min: 1.2, Max: 1.8, Integer: true}
		},
		"Allocations shorter than a run": func(s *api.BenchmarkSweepSpec) {
			s.Sharing.MaxTime.Duration = 10 * time.Minute
			s.Parameters = []api.ParameterSpec{{Path: "workload.duration", Values: []any{"1s", "30m"}}}
		},
		"more runs than there may be, with those of the control": func(s *api.BenchmarkSweepSpec) {
			s.Repeats, s.Control = 10_000, &api.ControlSpec{Every: 1}
			s.Parameters[0].Values = []any{1.0, 2.0, 3.0, 4.0, 5.0, 6.0}
		},
		"more than integers": func(s *api.BenchmarkSweepSpec) {
			for i := range 62 {
				s.Parameters = append(s.Parameters, api.ParameterSpec{Path: fmt.Sprintf("service.config.p%d", i), Values: []any{1.0, 2.0}})
			}
		},
	} {
		sweep := newSweep("wrong", func(s *api.BenchmarkSweepSpec) {
			s.Parameters = []api.ParameterSpec{{Path: "workload.load.clientsPerNode", Values: []any{1.0, 2.0}}}
			change(s)
		})
		api.SetDefaults(sweep)
		schedule := &api.BenchmarkSchedule{Spec: api.BenchmarkScheduleSpec{Schedule: "@daily", Template: api.ScheduleTemplate{Sweep: &sweep.Spec}}}
		for _, obj := range []api.Object{sweep, schedule} {
			errs := append(api.Validate(sweep), admit(obj, func(string, string) *api.ServiceTemplate { return nil })...)
			if len(errs) == 0 {
				t.Errorf("%s: taken", name)
			}
		}
	}
}

// What is wrong with a value is told where it stands: the same field may be set by a parameter, a point that is included, the control run and
// a search.
func TestErrorsOfASweepHaveTheirPlace(t *testing.T) {
	t.Parallel()
	const clients = "workload.load.clientsPerNode"
	for want, change := range map[string]func(*api.BenchmarkSweepSpec){
		"spec.parameters[0].values":        func(s *api.BenchmarkSweepSpec) { s.Parameters[0].Values = []any{1.0, -2.0} },
		"spec.include[1]":                  func(s *api.BenchmarkSweepSpec) { s.Include = []api.Values{{clients: 7.0}, {clients: -2.0}} },
		"spec.parameters[0].values[1]":     func(s *api.BenchmarkSweepSpec) { s.Parameters[0].Values = []any{1.0, nil} },
		"spec.include[0][" + clients + "]": func(s *api.BenchmarkSweepSpec) { s.Include = []api.Values{{clients: nil}} },
		"spec.exclude[0][" + clients + "]": func(s *api.BenchmarkSweepSpec) { s.Exclude = []api.Values{{clients: 3.0}} },
		"spec.control.values": func(s *api.BenchmarkSweepSpec) {
			s.Control = &api.ControlSpec{Every: 1, Values: api.Values{clients: -2.0}}
		},
		"spec.parameters[0].path": func(s *api.BenchmarkSweepSpec) { s.Parameters[0].Path = "service.config.itll" },
		"spec.parameters[0].range": func(s *api.BenchmarkSweepSpec) {
			s.Strategy, s.Samples = api.StrategyRandom, 9
			s.Parameters[0] = api.ParameterSpec{Path: clients, Range: &api.RangeSpec{Min: 1, Max: 5}}
		},
		"spec.include[0]": func(s *api.BenchmarkSweepSpec) { s.Include = []api.Values{{"service.config.itll": "1ms"}} },
		"spec.search.path": func(s *api.BenchmarkSweepSpec) {
			s.Strategy, s.Search = api.StrategySearch, &api.SearchSpec{Path: "workload.load.rate", Min: 1, Max: 9}
			s.Template.Spec.Workload.SLO.TTFT = &metav1.Duration{Duration: time.Second}
		},
	} {
		sweep := newSweep("wrong", func(s *api.BenchmarkSweepSpec) {
			s.Parameters = []api.ParameterSpec{{Path: clients, Values: []any{1.0, 2.0}}}
			change(s)
		})
		api.SetDefaults(sweep)
		errs := append(api.Validate(sweep), admit(sweep, func(string, string) *api.ServiceTemplate { return nil })...)
		if len(errs) == 0 || errs[0].Field != want {
			t.Errorf("%v, want it told at %s", errs.ToAggregate(), want)
		}
	}
}

// The shortest time that a plan tells is one that the planned Allocations can be done in: one of them is in one place.
func TestPlanAtBest(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change      func(*api.BenchmarkSweepSpec)
		allocations int
		want        time.Duration
	}{
		"one group that is not worth dealing out": {func(*api.BenchmarkSweepSpec) {}, 1, 2 * 6 * time.Minute},
		"two groups that differ": {func(s *api.BenchmarkSweepSpec) {
			s.Strategy, s.Parameters, s.Repeats = api.StrategyList, nil, 1
			s.Include = []api.Values{{"workload.duration": "30m", "service.config.concurrency": 1.0}, {"service.config.concurrency": 2.0}}
		}, 2, 30 * time.Minute},
		"one after the other": {func(s *api.BenchmarkSweepSpec) { s.Parallelism, s.Sharing.Isolation = 1, api.IsolationPerTrial }, 12, 12 * time.Minute},
		"side by side":        {func(s *api.BenchmarkSweepSpec) { s.Sharing.Isolation = api.IsolationPerTrial }, 12, 3 * time.Minute},
	} {
		sweep := newSweep("p", func(s *api.BenchmarkSweepSpec) {
			s.Parallelism, s.Repeats = 4, 6
			s.Template.Spec.Workload.Warmup, s.Template.Spec.Workload.Duration.Duration = metav1.Duration{}, time.Minute
			s.Parameters = []api.ParameterSpec{{Path: "workload.load.clientsPerNode", Values: []any{1.0, 2.0}}}
			tc.change(s)
		})
		api.SetDefaults(sweep)
		var runs []*api.BenchmarkRun
		for _, trial := range plan.Trials(&sweep.Spec) {
			run, err := plan.Run(sweep, trial)
			if err != nil {
				t.Fatal(err)
			}
			api.SetDefaults(run)
			runs = append(runs, run)
		}
		var look outlook
		look.schedule(&sweep.Spec, runs, int(sweep.Spec.Parallelism))
		if got := time.Duration(look.Best.WallTime * float64(time.Hour)).Round(time.Second); got != tc.want || len(look.Allocations) != tc.allocations {
			t.Errorf("%s: %s at best in %d Allocations, want %s in %d", name, got, len(look.Allocations), tc.want, tc.allocations)
		}
	}
}

// A sweep that its own limits would stop is told so before anything is spent.
func TestPlanAgainstTheSweepsOwnLimits(t *testing.T) {
	t.Parallel()
	look := outlook{Best: spending{WallTime: 1, NodeHours: 2}, Worst: spending{WallTime: 3, NodeHours: 6}}
	hours := func(h int) *metav1.Duration { return &metav1.Duration{Duration: time.Duration(h) * time.Hour} }
	for want, limits := range map[string]api.SweepLimits{
		"":                           {NodeHours: 6, WallTime: hours(3)},
		"limits.nodeHours: at best":  {NodeHours: 1.5},
		"limits.nodeHours: at worst": {NodeHours: 5, WallTime: hours(4)},
		"limits.wallTime: at worst":  {WallTime: hours(2)},
	} {
		var got []string
		for _, f := range look.ownLimits(&limits) {
			how := "at worst"
			if strings.Contains(f.Seen, "at best") {
				how = "at best"
			}
			got = append(got, f.Check+": "+how)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%+v: %v, want %s", limits, got, want)
		}
	}
}

// Of a sweep whose runs retention let go nobody says that it has measured nothing.
func TestReportSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	sweep := newSweep("grid", func(*api.BenchmarkSweepSpec) {})
	sweep.Status.Folder = "/results/grid"
	if got := whatIsMissing(sweep, &report.SweepResult{Total: 1, Measured: 1}); got != "" {
		t.Errorf("nothing is missing: %q", got)
	}
	if got := whatIsMissing(sweep, &report.SweepResult{Total: 3, Open: 3}); !strings.Contains(got, "measured nothing yet: 3 runs") {
		t.Errorf("at the start: %q", got)
	}
	sweep.Status.Released = &api.ReleasedRuns{Succeeded: 3, Failed: 1}
	if got := whatIsMissing(sweep, &report.SweepResult{}); !strings.HasPrefix(got, "4 runs") || !strings.Contains(got, "/results/grid") {
		t.Errorf("after retention: %q", got)
	}
}
