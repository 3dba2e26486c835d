package controllers

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// scheduleBench is a nightly schedule in a store, its reconciler, and a clock that is only thought.
type scheduleBench struct {
	*testing.T
	store *store.Store
	r     *scheduleReconciler
	now   time.Time
	// fail makes writes fail from now on: a control plane that is killed. left is how many writes come before that, if not 0.
	fail bool
	left int
}

func newScheduleBench(t *testing.T, change func(*api.BenchmarkScheduleSpec)) *scheduleBench {
	t.Helper()
	b := &scheduleBench{T: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	guard := func() error {
		if b.fail {
			return errors.New("killed")
		}
		if b.left > 0 {
			b.left--
			b.fail = b.left == 0
		}
		return nil
	}
	st, err := store.Open(filepath.Join(t.TempDir(), "benchd.db"), store.Options{Now: func() time.Time { return b.now }, Guard: guard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	b.store = st
	b.r = &scheduleReconciler{store: st, admit: func(api.Object) field.ErrorList { return nil }, now: func() time.Time { return b.now }}
	s := &api.BenchmarkSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "nightly"}}
	s.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkSchedule))
	run := validRun().Spec
	s.Spec = api.BenchmarkScheduleSpec{Schedule: "0 2 * * *", TimeZone: "UTC", Template: api.ScheduleTemplate{Run: &run, Labels: map[string]string{"team": "x"}}}
	if change != nil {
		change(&s.Spec)
	}
	api.SetDefaults(s)
	if err := st.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return b
}

// at reconciles at a time and returns the status and when to look again.
func (b *scheduleBench) at(day, hour int) (api.BenchmarkScheduleStatus, time.Duration) {
	b.Helper()
	b.now = time.Date(2026, 3, day, hour, 0, 0, 0, time.UTC)
	res, err := b.r.reconcile(b.Context(), types.NamespacedName{Namespace: "default", Name: "nightly"})
	if err != nil && !b.fail {
		b.Fatal(err)
	}
	s, err := store.Get[*api.BenchmarkSchedule](b.Context(), b.store, "default", "nightly")
	if err != nil {
		b.Fatal(err)
	}
	return s.Status, res.after
}

// readiness is the reason of the schedule's condition, with a minus when it is not ready.
func readiness(st *api.BenchmarkScheduleStatus) string {
	c := meta.FindStatusCondition(st.Conditions, api.ConditionReady)
	switch {
	case c == nil:
		return ""
	case c.Status == metav1.ConditionTrue:
		return c.Reason
	}
	return "-" + c.Reason
}

func TestScheduleReady(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, nil)
	var errs field.ErrorList
	b.r.admit = func(api.Object) field.ErrorList { return errs }
	for _, step := range []struct {
		do   func()
		hour int
		want string
	}{
		{func() {}, 1, "Scheduled"},
		{func() { errs = field.ErrorList{field.Required(field.NewPath("spec"), "a template that is gone")} }, 2, "-TemplateInvalid"},
		{func() {}, 3, "-TemplateInvalid"},
		{func() { b.change(func(s *api.BenchmarkScheduleSpec) { s.Suspend = true }) }, 4, "-Suspended"},
		{func() { errs = nil; b.change(func(s *api.BenchmarkScheduleSpec) { s.Suspend = false }) }, 5, "Scheduled"},
	} {
		step.do()
		if st, _ := b.at(2, step.hour); readiness(&st) != step.want {
			t.Errorf("at %d: %s, want %s", step.hour, readiness(&st), step.want)
		}
	}
}

func (b *scheduleBench) change(what func(*api.BenchmarkScheduleSpec)) {
	b.Helper()
	s, err := store.Get[*api.BenchmarkSchedule](b.Context(), b.store, "default", "nightly")
	if err != nil {
		b.Fatal(err)
	}
	what(&s.Spec)
	if err := b.store.Put(b.Context(), s); err != nil {
		b.Fatal(err)
	}
}

// A schedule that is moved to an hour that is over today begins tomorrow: nothing was missed.
func TestScheduleThatIsMoved(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, func(s *api.BenchmarkScheduleSpec) { s.Schedule = "0 9 * * *" })
	b.at(2, 9)
	for _, move := range []func(*api.BenchmarkScheduleSpec){
		func(s *api.BenchmarkScheduleSpec) { s.Schedule = "0 11 * * *" },
		func(s *api.BenchmarkScheduleSpec) { s.Schedule, s.TimeZone = "0 13 * * *", "Europe/Luxembourg" }, // 12:00
	} {
		b.change(move)
		if st, _ := b.at(2, 15); st.Made != 1 || st.Missed != 0 {
			t.Errorf("moved to an hour that is over: %d made, %d missed", st.Made, st.Missed)
		}
	}
	b.end(api.RunCompleted)
	if st, _ := b.at(3, 12); st.Made != 2 {
		t.Errorf("the day after: %+v", st)
	}
}

func (b *scheduleBench) runs() []*api.BenchmarkRun {
	b.Helper()
	list, err := b.store.List(b.Context(), api.KindBenchmarkRun, store.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	var runs []*api.BenchmarkRun
	for _, obj := range list.Items {
		runs = append(runs, obj.(*api.BenchmarkRun))
	}
	return runs
}

// end ends all runs that have not.
func (b *scheduleBench) end(phase api.RunPhase) {
	b.Helper()
	for _, run := range b.runs() {
		if run.Status.Phase.Terminal() {
			continue
		}
		at := metav1.NewTime(b.now)
		run.Status.Phase, run.Status.CompletionTime = phase, &at
		if err := b.store.PutStatus(b.Context(), run); err != nil {
			b.Fatal(err)
		}
		run.Finalizers = nil
		if err := b.store.Put(b.Context(), run); err != nil {
			b.Fatal(err)
		}
	}
}

func TestScheduleMakesARunEachNight(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, nil)
	if st, after := b.at(1, 13); st.NextScheduleTime == nil || after != maxTimer || len(b.runs()) != 0 {
		t.Errorf("before the first night: %+v, again after %s", st, after)
	}
	st, _ := b.at(2, 2)
	runs := b.runs()
	if len(runs) != 1 || runs[0].Name != "nightly-20260302-0200" || runs[0].Labels["team"] != "x" || len(st.Active) != 1 || st.Made != 1 {
		t.Fatalf("the first night: %+v, %d runs", st, len(runs))
	}
	if st, _ := b.at(2, 3); st.Made != 1 || len(b.runs()) != 1 {
		t.Errorf("an hour later: %+v", st)
	}
	b.end(api.RunCompleted)
	if st, _ := b.at(3, 2); st.Made != 2 || len(st.Active) != 1 || st.LastSuccessfulTime == nil {
		t.Errorf("the second night: %+v", st)
	}
}

func TestScheduleThatWasAway(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, nil)
	if st, _ := b.at(5, 9); st.Made != 1 || st.Missed != 3 || len(b.runs()) != 1 {
		t.Errorf("four nights at once: %+v", st)
	}
	late := newScheduleBench(t, func(s *api.BenchmarkScheduleSpec) { s.StartingDeadline = &metav1.Duration{Duration: 6 * time.Hour} })
	if st, _ := late.at(5, 9); st.Made != 0 || st.Missed != 4 || !strings.Contains(st.Message, "startingDeadline") {
		t.Errorf("too late: %+v", st)
	}
	suspended := newScheduleBench(t, func(s *api.BenchmarkScheduleSpec) { s.Suspend = true })
	if st, _ := suspended.at(5, 9); st.Made != 0 || st.Missed != 0 || st.NextScheduleTime != nil {
		t.Errorf("suspended: %+v", st)
	}
}

// A schedule that is suspended looks at the clock all the same: what came meanwhile is not made up for when it goes on.
func TestScheduleThatGoesOn(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, func(s *api.BenchmarkScheduleSpec) { s.Suspend = true })
	after := time.Duration(0)
	for b.now.Before(time.Date(2026, 3, 5, 10, 0, 0, 0, time.UTC)) {
		if _, after = b.at(b.now.Day(), b.now.Hour()); after == 0 {
			break
		}
		b.now = b.now.Add(max(after, time.Hour))
	}
	s, err := store.Get[*api.BenchmarkSchedule](t.Context(), b.store, "default", "nightly")
	if err != nil {
		t.Fatal(err)
	}
	s.Spec.Suspend = false
	if err := b.store.Put(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if st, _ := b.at(5, 10); st.Made != 0 || st.Missed != 0 || after == 0 {
		t.Errorf("made %d, missed %d for times that came while it was suspended; looked at again after %s", st.Made, st.Missed, after)
	}
}

// A template that is wrong in its shape is told, before anybody computes with it.
func TestScheduleWithAWrongTemplate(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, func(s *api.BenchmarkScheduleSpec) { s.Template.Run.Workload.Duration.Duration = -time.Second })
	b.r.admit = func(api.Object) field.ErrorList { t.Error("a run that is wrong in its shape is admitted"); return nil }
	if st, _ := b.at(2, 2); st.Made != 0 || !strings.Contains(st.Message, "workload.duration") {
		t.Errorf("made %d: %s", st.Made, st.Message)
	}
}

func TestScheduleConcurrency(t *testing.T) {
	t.Parallel()
	for policy, want := range map[api.ConcurrencyPolicy][3]int{api.ConcurrencyForbid: {1, 1, 0}, api.ConcurrencyAllow: {2, 0, 0}, api.ConcurrencyReplace: {2, 0, 1}} {
		b := newScheduleBench(t, func(s *api.BenchmarkScheduleSpec) { s.ConcurrencyPolicy = policy })
		b.at(2, 2)
		st, _ := b.at(3, 2)
		cancelled := 0
		for _, run := range b.runs() {
			if run.Spec.Cancel && strings.HasPrefix(run.Annotations[api.AnnotationCancelReason], "Replaced: ") {
				cancelled++
			}
		}
		if got := [3]int{int(st.Made), int(st.Missed), cancelled}; got != want {
			t.Errorf("%s: made, missed, cancelled are %v, want %v", policy, got, want)
		}
	}
}

// A control plane that is killed makes nothing twice: what is made and that it was made are one transaction.
func TestScheduleKilled(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, nil)
	b.fail = true
	b.at(2, 2)
	if len(b.runs()) != 0 {
		t.Fatal("a run without its status")
	}
	b.fail = false
	if st, _ := b.at(2, 2); st.Made != 1 || len(b.runs()) != 1 {
		t.Errorf("once it is back: %+v, %d runs", st, len(b.runs()))
	}
}

// Killed after the one before was cancelled and before the next one is made: that is made once the control plane is back.
func TestScheduleKilledWhileReplacing(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, func(s *api.BenchmarkScheduleSpec) { s.ConcurrencyPolicy = api.ConcurrencyReplace })
	b.at(2, 2)
	b.left = 1
	b.at(3, 2)
	if runs := b.runs(); len(runs) != 1 || !runs[0].Spec.Cancel {
		t.Fatalf("when killed: %d runs, the first cancelled: %t", len(runs), runs[0].Spec.Cancel)
	}
	b.fail = false
	for range 2 {
		if st, _ := b.at(3, 2); st.Made != 2 || st.Missed != 0 || len(b.runs()) != 2 {
			t.Errorf("once it is back: %+v, %d runs", st, len(b.runs()))
		}
	}
}

func TestScheduleHistory(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, func(s *api.BenchmarkScheduleSpec) {
		two, one := int32(2), int32(1)
		s.SuccessfulHistoryLimit, s.FailedHistoryLimit = &two, &one
	})
	for day := 2; day < 12; day++ {
		b.at(day, 2)
		phase := api.RunCompleted
		if day%2 == 1 {
			phase = api.RunFailed
		}
		if day == 2 {
			run := b.runs()[0]
			metav1.SetMetaDataAnnotation(&run.ObjectMeta, api.AnnotationPin, "")
			if err := b.store.Put(t.Context(), run); err != nil {
				t.Fatal(err)
			}
		}
		b.end(phase)
	}
	b.at(11, 12)
	var kept []string
	for _, run := range b.runs() {
		kept = append(kept, strings.TrimPrefix(run.Name, "nightly-202603"))
	}
	if got := strings.Join(kept, " "); got != "02-0200 08-0200 10-0200 11-0200" {
		t.Errorf("kept %s, want the pinned one, the last two that completed and the last that failed", got)
	}
}

func (b *scheduleBench) sweeps() []*api.BenchmarkSweep {
	b.Helper()
	list, err := b.store.List(b.Context(), api.KindBenchmarkSweep, store.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	var sweeps []*api.BenchmarkSweep
	for _, obj := range list.Items {
		sweeps = append(sweeps, obj.(*api.BenchmarkSweep))
	}
	return sweeps
}

func nightlySweep(policy api.ConcurrencyPolicy) func(*api.BenchmarkScheduleSpec) {
	return func(s *api.BenchmarkScheduleSpec) {
		sweep := &api.BenchmarkSweepSpec{Repeats: 2}
		sweep.Template.Spec = *s.Template.Run
		s.Template.Run, s.Template.Sweep, s.ConcurrencyPolicy = nil, sweep, policy
	}
}

// runOf makes a run of a sweep; all have the same label, whose it is its owner says.
func (b *scheduleBench) runOf(sweep *api.BenchmarkSweep, name string) {
	b.Helper()
	run := &api.BenchmarkRun{Spec: validRun().Spec, ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, Labels: map[string]string{api.LabelSweep: "nightly-20260302-0200"}, Annotations: map[string]string{},
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(sweep, api.GroupVersion.WithKind(api.KindBenchmarkSweep))},
	}}
	run.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkRun))
	if err := b.store.Create(b.Context(), run); err != nil {
		b.Fatal(err)
	}
}

// A sweep that its limits have stopped holds up no later one, for it may stay so for ever.
func TestScheduleGoesOnPastAStoppedSweep(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, nightlySweep(api.ConcurrencyForbid))
	b.at(2, 2)
	sweep := b.sweeps()[0]
	sweep.Status.Phase, sweep.Status.Allocations = api.SweepStopped, 1
	if err := b.store.PutStatus(t.Context(), sweep); err != nil {
		t.Fatal(err)
	}
	if st, _ := b.at(3, 2); st.Made != 1 || st.Missed != 1 {
		t.Errorf("while it has a job: %+v", st)
	}
	sweep.Status.Allocations = 0
	if err := b.store.PutStatus(t.Context(), sweep); err != nil {
		t.Fatal(err)
	}
	if st, _ := b.at(4, 2); st.Made != 2 || len(st.Active) != 1 || st.LastSuccessfulTime != nil {
		t.Errorf("once it has none: %+v", st)
	}
}

// A sweep that is replaced begins nothing more, and is not waited for once nothing of it is on the cluster.
func TestScheduleReplacesASweep(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, nightlySweep(api.ConcurrencyReplace))
	b.at(2, 2)
	b.runOf(b.sweeps()[0], "under-way")
	another := &api.BenchmarkSweep{Spec: b.sweeps()[0].Spec, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "weekly"}}
	another.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkSweep))
	if err := b.store.Create(t.Context(), another); err != nil {
		t.Fatal(err)
	}
	b.runOf(another, "with-its-label")
	b.at(3, 2)
	old := b.sweeps()[0]
	if b.runs()[1].Spec.Cancel {
		t.Error("a run was cancelled that has the sweep's label and is not the sweep's")
	}
	if run := b.runs()[0]; !run.Spec.Cancel || !old.Spec.Suspend || b.sweeps()[1].Spec.Suspend {
		t.Errorf("cancelled: %t, suspended: %t, the next one suspended: %t", run.Spec.Cancel, old.Spec.Suspend, b.sweeps()[1].Spec.Suspend)
	}
	old.Status.Phase = api.SweepSuspended
	if err := b.store.PutStatus(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if st, _ := b.at(3, 3); len(st.Active) != 1 || st.Active[0].Name != "nightly-20260303-0200" {
		t.Errorf("active: %+v", st.Active)
	}
}

// A sweep with a pinned run stays with it; limits that are lowered hold at once.
func TestScheduleHistoryOfSweeps(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, nightlySweep(api.ConcurrencyAllow))
	for day := 2; day < 6; day++ {
		b.at(day, 2)
	}
	for i, sweep := range b.sweeps() {
		b.runOf(sweep, "of-"+sweep.Name)
		sweep.Status.Phase = api.SweepCompleted
		if err := b.store.PutStatus(t.Context(), sweep); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			run := b.runs()[1]
			metav1.SetMetaDataAnnotation(&run.ObjectMeta, api.AnnotationPin, "")
			if err := b.store.Put(t.Context(), run); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.at(5, 3)
	if n := len(b.sweeps()); n != 4 {
		t.Fatalf("%d sweeps, want 4", n)
	}
	s, err := store.Get[*api.BenchmarkSchedule](t.Context(), b.store, "default", "nightly")
	if err != nil {
		t.Fatal(err)
	}
	*s.Spec.SuccessfulHistoryLimit = 1
	if err := b.store.Put(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	b.at(5, 4)
	var kept []string
	for _, sweep := range b.sweeps() {
		kept = append(kept, strings.TrimPrefix(sweep.Name, "nightly-202603"))
	}
	if got := strings.Join(kept, " "); got != "03-0200 05-0200" {
		t.Errorf("kept %s, want the one with a pinned run and the last", got)
	}
}

// Another's object of the name is not taken for the schedule's own, and its own is never made twice.
func TestScheduleNameThatIsThere(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, nil)
	other := validRun()
	other.Namespace, other.Name = "default", "nightly-20260302-0200"
	if err := b.store.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if st, _ := b.at(2, 2); st.Made != 0 || st.Missed != 1 || len(st.Active) != 0 || !strings.Contains(st.Message, "run nightly-20260302-0200 is there already") {
		t.Errorf("another's: %+v", st)
	}
	b.at(3, 2)
	s, err := store.Get[*api.BenchmarkSchedule](t.Context(), b.store, "default", "nightly")
	if err != nil {
		t.Fatal(err)
	}
	s.Status = api.BenchmarkScheduleStatus{LastScheduleTime: &metav1.Time{Time: b.now.Add(-time.Hour)}} // of a backup that was put back
	if err := b.store.PutStatus(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if st, _ := b.at(3, 3); st.Made != 0 || len(st.Active) != 1 || len(b.runs()) != 2 {
		t.Errorf("its own: %+v, %d runs", st, len(b.runs()))
	}
}

// Six hours without a control plane: of six times the last is made up for, and the others are counted and told.
func TestScheduleAwayForSixHours(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, func(s *api.BenchmarkScheduleSpec) { s.Schedule = "0 * * * *" })
	b.at(1, 13)
	b.end(api.RunCompleted)
	if st, _ := b.at(1, 19); st.Made != 2 || st.Missed != 5 || st.LastScheduleTime.Hour() != b.now.Local().Hour() {
		t.Errorf("after six hours: %+v", st)
	}
	list, err := b.store.List(t.Context(), api.KindEvent, store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	told := false
	for _, obj := range list.Items {
		told = told || strings.HasPrefix(obj.(*api.Event).Message, "5 times had passed before")
	}
	if !told {
		t.Error("no event tells of the five")
	}
}

// At two each night in Luxembourg, over both changes of the clock: the names are in UTC, so that no two are alike.
func TestScheduleOverChangesOfTheClock(t *testing.T) {
	t.Parallel()
	b := newScheduleBench(t, func(s *api.BenchmarkScheduleSpec) {
		s.TimeZone, s.ConcurrencyPolicy = "Europe/Luxembourg", api.ConcurrencyAllow
	})
	for day := 28; day <= 30; day++ { // summer time begins on the 29th: two o'clock does not come
		b.at(day, 6)
	}
	for day := 238; day <= 240; day++ { // and ends on 25 October: two o'clock comes twice
		b.at(day, 0)
		b.at(day, 1)
	}
	var names []string
	for _, run := range b.runs() {
		names = append(names, strings.TrimPrefix(run.Name, "nightly-2026"))
	}
	want := "0328-0100 0330-0000 1024-0000 1025-0000 1025-0100 1026-0100"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("made %s, want %s", got, want)
	}
}

// A sweep that was cancelled to make room for the next one is no success, though none of its runs has failed.
func TestHowASchedulesSweepEnded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		succeeded, failed, cancelled int32
		replaced, want               bool
	}{
		"all well":            {succeeded: 3, want: true},
		"one failed":          {succeeded: 2, failed: 1},
		"one cancelled":       {succeeded: 2, cancelled: 1, want: true},
		"all cancelled":       {cancelled: 3},
		"replaced on its way": {succeeded: 2, cancelled: 1, replaced: true},
	} {
		s := &api.BenchmarkSweep{}
		s.Status.Phase, s.Status.Succeeded, s.Status.Failed, s.Status.Cancelled = api.SweepCompleted, tc.succeeded, tc.failed, tc.cancelled
		if tc.replaced {
			metav1.SetMetaDataAnnotation(&s.ObjectMeta, api.AnnotationCancelReason, "Replaced: by the next one")
		}
		if ended, succeeded, _ := endOf(s); !ended || succeeded != tc.want {
			t.Errorf("%s: ended %t, succeeded %t", name, ended, succeeded)
		}
	}
}
