package controllers

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/report"
	"github.com/benchd/benchd/store"
)

// retentionBench is a store with a cluster, and its retention, in a time that is only thought.
type retentionBench struct {
	retentionTest
	dir   string
	store *store.Store
	r     *retention
	now   time.Time
	// writes is how many transactions still succeed before the process is killed; below zero there is no end to them.
	writes int
}

// retentionTest is a test, or one of rapid's.
type retentionTest interface {
	rapid.TB
	Cleanup(func())
	Context() context.Context
}

var (
	_ retentionTest = (*testing.T)(nil)
	_ retentionTest = (*rapid.T)(nil)
)

var errKilled = errors.New("killed")

func newRetentionBench(t retentionTest, policy api.RetentionSpec) *retentionBench {
	t.Helper()
	dir, err := os.MkdirTemp("", "retention")
	b := &retentionBench{retentionTest: t, dir: dir, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), writes: -1}
	b.must(err)
	st, err := store.Open(filepath.Join(dir, "benchd.db"), store.Options{Now: func() time.Time { return b.now }, Guard: b.guard, Live: api.Live})
	b.must(err)
	b.store = st
	t.Cleanup(func() { _ = errors.Join(st.Close(), os.RemoveAll(dir)) })
	c := &api.Cluster{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: api.ClusterSpec{Retention: &policy}}
	b.create(c, api.KindCluster)
	b.restart()
	return b
}

func (b *retentionBench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *retentionBench) guard() error {
	if b.writes == 0 {
		return errKilled
	}
	b.writes--
	return nil
}

// restart forgets everything that is in memory alone.
func (b *retentionBench) restart() {
	cfg := Config{Store: b.store, Home: b.dir, Log: slog.New(slog.DiscardHandler), Guard: b.guard}
	guard := func() error {
		if b.writes == 0 {
			return errKilled
		}
		return nil
	}
	b.r = &retention{store: b.store, clusters: newClusters(cfg, newMetrics(nil)), guard: guard, now: func() time.Time { return b.now }, log: cfg.Log, looks: map[string]*retentionLook{}}
}

// create makes an object with its status.
func (b *retentionBench) create(obj api.Object, kind string) {
	b.Helper()
	obj.GetObjectKind().SetGroupVersionKind(api.GroupVersion.WithKind(kind))
	if kind != api.KindCluster {
		obj.SetNamespace("default")
	}
	api.SetDefaults(obj)
	b.must(b.store.Create(b.Context(), obj))
}

// aRun makes a run with a file in its folder, and returns the file.
func (b *retentionBench) aRun(name, workdir string, change func(*api.BenchmarkRun)) (*api.BenchmarkRun, string) {
	b.Helper()
	run := &api.BenchmarkRun{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{api.FinalizerCluster}, Annotations: map[string]string{}}, Spec: validRun().Spec}
	ended := metav1.NewTime(b.now.Add(-48 * time.Hour))
	run.Spec.Cluster, run.Status.Phase, run.Status.CompletionTime = "default", api.RunCompleted, &ended
	if change != nil {
		change(run)
	}
	b.create(run, api.KindBenchmarkRun)
	folder := attemptFolder(filepath.Join(b.dir, workdir), run, 1)
	b.must(os.MkdirAll(folder, 0o700))
	file := filepath.Join(folder, "records")
	b.must(os.WriteFile(file, []byte("the records of "+name), 0o600))
	run.Status.Folder = folder
	if len(run.Status.Attempts) == 0 {
		run.Status.Attempts = []api.Attempt{{Number: 1}}
	}
	run.Status.Attempts[0].Folder = folder
	b.must(b.store.PutStatus(b.Context(), run))
	return run, file
}

func (b *retentionBench) status() *api.RetentionStatus {
	b.Helper()
	c, err := store.Get[*api.Cluster](b.Context(), b.store, "", "default")
	b.must(err)
	return c.Status.Retention
}

// work reconciles until nothing is left to do, and lets runs go that are being deleted. It returns false when it was killed.
func (b *retentionBench) work() bool {
	b.Helper()
	runs := &runReconciler{store: b.store, log: slog.New(slog.DiscardHandler)}
	for range 100 {
		res, err := b.r.reconcile(b.Context(), types.NamespacedName{Name: "default"})
		if errors.Is(err, errKilled) {
			return false
		}
		b.must(err)
		list, err := b.store.List(b.Context(), api.KindBenchmarkRun, store.ListOptions{})
		b.must(err)
		for _, obj := range list.Items {
			_, err := runs.reconcile(b.Context(), types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()})
			if errors.Is(err, errKilled) {
				return false
			}
			if obj.GetDeletionTimestamp() != nil {
				b.must(err)
			}
		}
		if res.after != retentionPause {
			return true
		}
	}
	b.Fatal("it never comes to rest")
	return false
}

func (b *retentionBench) exists(path string) bool {
	b.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.Fatal(err)
	}
	return err == nil
}

func (b *retentionBench) stored(name string) *api.BenchmarkRun {
	b.Helper()
	run, err := store.Get[*api.BenchmarkRun](b.Context(), b.store, "default", name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	b.must(err)
	return run
}

func (b *retentionBench) archiveOf(run *api.BenchmarkRun) string {
	return filepath.Join(b.dir, "work", "default", "archive", fmt.Sprintf("%s-%.8s.tar.gz", run.Name, run.UID))
}

// packed says whether the run's records are in its archive, every byte.
func (b *retentionBench) packed(run *api.BenchmarkRun) bool {
	b.Helper()
	f, err := os.Open(b.archiveOf(run))
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	b.must(err)
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	b.must(err)
	for in := tar.NewReader(zipped); ; {
		head, err := in.Next()
		if errors.Is(err, io.EOF) {
			return false
		}
		b.must(err)
		if head.Name == fmt.Sprintf("%s-%.8s/attempt-1/records", run.Name, run.UID) {
			data, err := io.ReadAll(in)
			b.must(err)
			return string(data) == "the records of "+run.Name
		}
	}
}

var keepNone = api.RetentionSpec{Keep: new(int32)}

// drawn is a random set of sweeps and runs, some of them made by one schedule.
type drawn struct {
	*retentionBench
	t        *rapid.T
	schedule *api.BenchmarkSchedule
	sweeps   []*api.BenchmarkSweep
	runs     map[string]*api.BenchmarkRun
	// files are the runs' records; held says why a run must stay, by rules of the test's own.
	files, held map[string]string
	// sweepOf names the sweep of a run; sweepHeld says why a sweep's runs must stay.
	sweepOf, sweepHeld map[string]string
	// latest is what the schedule made last, and at which time of its line.
	latest, lastAt string
}

func (b *retentionBench) draw(t *rapid.T) *drawn {
	d := &drawn{
		retentionBench: b, t: t, runs: map[string]*api.BenchmarkRun{}, files: map[string]string{}, held: map[string]string{},
		sweepOf: map[string]string{}, sweepHeld: map[string]string{},
		schedule: &api.BenchmarkSchedule{ObjectMeta: metav1.ObjectMeta{Name: "nightly"}, Spec: api.BenchmarkScheduleSpec{Schedule: "@daily"}},
	}
	b.create(d.schedule, api.KindBenchmarkSchedule)
	for i := range rapid.IntRange(0, 3).Draw(t, "sweeps") {
		d.drawSweep(i)
	}
	for i := range rapid.IntRange(0, 10).Draw(t, "runs") {
		name := fmt.Sprint("run", i)
		workdir := rapid.SampledFrom([]string{"work", "elsewhere"}).Draw(t, "workdir")
		d.runs[name], d.files[name] = b.aRun(name, workdir, func(run *api.BenchmarkRun) { d.drawRun(run, i) })
	}
	for name := range d.runs {
		if why := d.sweepHeld[d.sweepOf[name]]; why != "" {
			d.held[name] = why
		}
		if d.latest != "" && (name == d.latest || d.sweepOf[name] == d.latest) {
			d.held[name] = "it is the latest of the schedule"
		}
	}
	return d
}

// byNightly makes the schedule an object's owner.
func (d *drawn) byNightly(obj metav1.Object, i int) {
	at := fmt.Sprintf("2026-02-%02dT02:00:00Z", rapid.IntRange(1, 3).Draw(d.t, "night")*3+i%3)
	obj.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(d.schedule, api.GroupVersion.WithKind(api.KindBenchmarkSchedule))})
	obj.SetAnnotations(map[string]string{api.AnnotationScheduledAt: at})
	if at > d.lastAt {
		d.latest, d.lastAt = obj.GetName(), at
	}
}

func (d *drawn) drawSweep(i int) {
	s := &api.BenchmarkSweep{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("sweep", i)}}
	if rapid.Bool().Draw(d.t, "scheduled sweep") {
		d.byNightly(s, i)
	}
	s.Status = api.BenchmarkSweepStatus{Phase: api.SweepCompleted, ObservedGeneration: 1, Succeeded: 2, Reported: 2, Folder: filepath.Join(d.dir, s.Name)}
	switch rapid.IntRange(0, 5).Draw(d.t, "state") {
	case 0:
		s.Status.Phase, d.sweepHeld[s.Name] = api.SweepActive, "its sweep is active"
	case 1:
		s.Status.Reported, d.sweepHeld[s.Name] = 1, "its sweep has no results yet"
	case 2:
		s.Status.ObservedGeneration, d.sweepHeld[s.Name] = 0, "its sweep was changed"
	case 3:
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, api.AnnotationPin, "")
		d.sweepHeld[s.Name] = "its sweep is pinned"
	}
	d.create(s, api.KindBenchmarkSweep)
	d.sweeps = append(d.sweeps, s)
}

func (d *drawn) drawRun(run *api.BenchmarkRun, i int) {
	switch owner := rapid.IntRange(0, 4).Draw(d.t, "owner"); {
	case owner == 4:
		d.byNightly(run, i)
	case owner < len(d.sweeps):
		d.sweepOf[run.Name] = d.sweeps[owner].Name
		run.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(d.sweeps[owner], api.GroupVersion.WithKind(api.KindBenchmarkSweep))}
	}
	if rapid.IntRange(0, 5).Draw(d.t, "phase") == 0 {
		run.Status.Phase, d.held[run.Name] = api.RunExecuting, "it is live"
	}
	if rapid.IntRange(0, 5).Draw(d.t, "pinned") == 0 {
		metav1.SetMetaDataAnnotation(&run.ObjectMeta, api.AnnotationPin, "")
		d.held[run.Name] = "it is pinned"
	}
	if rapid.IntRange(0, 3).Draw(d.t, "refers") == 0 {
		other := fmt.Sprint("run", rapid.IntRange(0, 9).Draw(d.t, "to"))
		metav1.SetMetaDataAnnotation(&run.ObjectMeta, api.AnnotationBaseline, other)
		if other != run.Name && d.held[other] == "" {
			d.held[other] = "it is the baseline of " + run.Name
		}
	}
	run.Finalizers = run.Finalizers[:rapid.IntRange(0, 1).Draw(d.t, "finalizers")]
}

// Whatever the set of runs and whenever the process is killed: what is pinned, referred to, live, of a sweep that goes on or the latest
// of a schedule is never touched, and of all else everything is in the archive before anything is gone.
func TestRetentionTouchesNothingThatIsNeeded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		policy := keepNone
		policy.Action = rapid.SampledFrom([]api.RetentionAction{api.RetentionArchive, api.RetentionDelete}).Draw(t, "action")
		b := newRetentionBench(t, policy)
		d := b.draw(t)
		runs, files, held := d.runs, d.files, d.held
		// What refers to a run may itself go at this look; the run goes at the next one. So one look is compared.
		for range rapid.IntRange(0, 3).Draw(t, "kills") {
			b.writes = rapid.IntRange(0, 6).Draw(t, "writes")
			b.work()
			for name, run := range runs {
				if !b.exists(files[name]) && policy.Action == api.RetentionArchive && !b.packed(run) {
					t.Fatalf("%s: the records are gone and in no archive", name)
				}
				d.checkSweepRemembers(run)
			}
			b.restart()
			if len(held) > 0 && b.gone(runs) {
				break // who refers to what may be another by now
			}
		}
		b.writes = -1
		refers := b.gone(runs)
		if !b.work() {
			t.Fatal("killed by nobody")
		}
		for name, run := range runs {
			stays, there := b.stored(name), b.exists(files[name])
			why := held[name]
			if strings.HasPrefix(why, "it is the baseline of") && refers {
				continue
			}
			if why != "" && (stays == nil || stays.DeletionTimestamp != nil || !there) {
				t.Fatalf("%s is gone, and %s", name, why)
			}
			if why != "" {
				continue
			}
			if stays != nil || there {
				t.Fatalf("%s stays (object %t, records %t), and nothing needs it: %+v", name, stays != nil, there, b.status())
			}
			if policy.Action == api.RetentionArchive && !b.packed(run) {
				t.Fatalf("%s went without an archive", name)
			}
			d.checkSweepRemembers(run)
		}
	})
}

// checkSweepRemembers sees that what a run that has gone came to is among what its sweep remembers.
func (d *drawn) checkSweepRemembers(run *api.BenchmarkRun) {
	sweep := d.sweepOf[run.Name]
	if stays := d.stored(run.Name); sweep == "" || stays != nil && stays.DeletionTimestamp == nil {
		return
	}
	trials, err := report.Released(filepath.Join(d.dir, sweep), func(string) bool { return false })
	if err != nil || !slices.ContainsFunc(trials, func(t report.Trial) bool { return t.UID == string(run.UID) && t.Phase == run.Status.Phase }) {
		d.t.Fatalf("%s went, and its sweep does not remember what it came to: %+v, %v", run.Name, trials, err)
	}
}

// gone says whether any of the runs is.
func (b *retentionBench) gone(runs map[string]*api.BenchmarkRun) bool {
	for name := range runs {
		if run := b.stored(name); run == nil || run.DeletionTimestamp != nil {
			return true
		}
	}
	return false
}

// One that cannot go keeps no other from going, and is told.
func TestRetentionGoesOnPastAFailure(t *testing.T) {
	t.Parallel()
	b := newRetentionBench(t, keepNone)
	stuck, file := b.aRun("a-stuck", "work", nil)
	foreign, kept := b.aRun("b-foreign", "work", nil)
	lost, _ := b.aRun("c-lost", "unmounted", nil)
	_, fine := b.aRun("d-fine", "work", nil)
	b.must(os.MkdirAll(b.archiveOf(stuck), 0o700)) // a folder stands in the archive's place
	foreign.Status.Attempts[0].Folder = filepath.Dir(filepath.Dir(kept))
	b.must(b.store.PutStatus(b.Context(), foreign))
	b.must(os.RemoveAll(filepath.Join(b.dir, "unmounted")))
	b.work()
	if b.stored("d-fine") != nil || b.exists(fine) {
		t.Error("what could go did not")
	}
	for _, run := range []*api.BenchmarkRun{stuck, foreign, lost} {
		if b.stored(run.Name) == nil {
			t.Errorf("%s is gone, and its records are in no archive", run.Name)
		}
	}
	st := b.status()
	if !b.exists(file) || !b.exists(kept) || st == nil || st.Gone != 1 || st.Failed != 3 || !strings.Contains(st.Message, "is the file system mounted?") || !strings.Contains(st.Message, "no folder of its own") {
		t.Errorf("status %+v", st)
	}
}

// What was found is worked off in batches, without looking at all runs again; what is referred to meanwhile stays, and so does what
// is pinned.
func TestRetentionInBatches(t *testing.T) {
	t.Parallel()
	b := newRetentionBench(t, keepNone)
	for i := range expireBatch + 3 {
		b.aRun(fmt.Sprintf("run%02d", i), "work", nil)
	}
	key := types.NamespacedName{Name: "default"}
	if res, err := b.r.reconcile(t.Context(), key); err != nil || res.after != retentionPause {
		t.Fatalf("after the first batch: again after %s (%v)", res.after, err)
	}
	b.aRun("late", "work", nil) // after the look
	pinned := b.stored("run01")
	metav1.SetMetaDataAnnotation(&pinned.ObjectMeta, api.AnnotationPin, "yes")
	b.must(b.store.Put(t.Context(), pinned))
	b.r.notice(&api.BenchmarkRun{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "late", Annotations: map[string]string{api.AnnotationBaseline: "run02"}}})
	b.work()
	for name, stays := range map[string]bool{"run00": false, "run22": false, "run01": true, "run02": true, "late": true} {
		if (b.stored(name) != nil) != stays {
			t.Errorf("%s stays: %t, want %t", name, !stays, stays)
		}
	}
	b.now = b.now.Add(59 * time.Minute)
	if res, err := b.r.reconcile(t.Context(), key); err != nil || res.after != time.Minute || b.stored("late") == nil {
		t.Errorf("within the interval: again after %s (%v)", res.after, err)
	}
	b.restart()
	if res, err := b.r.reconcile(t.Context(), key); err != nil || res.after != time.Minute {
		t.Errorf("another process within the interval: again after %s (%v)", res.after, err)
	}
	b.now = b.now.Add(time.Minute)
	b.work()
	if b.stored("late") != nil || b.stored("run02") != nil || b.stored("run01") == nil {
		t.Error("after the interval: the late one and what it referred to go, the pinned one stays")
	}
}

// Folders of a sweep's Allocations go once no run refers to them, some time after their end.
func TestRetentionOfAllocations(t *testing.T) {
	t.Parallel()
	b := newRetentionBench(t, keepNone)
	sweep := &api.BenchmarkSweep{ObjectMeta: metav1.ObjectMeta{Name: "grid"}}
	sweep.Status = api.BenchmarkSweepStatus{Phase: api.SweepCompleted, ObservedGeneration: 1}
	b.create(sweep, api.KindBenchmarkSweep)
	folders := map[string]string{}
	for _, name := range []string{"used", "bound", "free", "fresh", "live"} {
		a := &api.Allocation{ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(sweep, api.GroupVersion.WithKind(api.KindBenchmarkSweep))}}, Spec: api.AllocationSpec{Cluster: "default"}}
		b.create(a, api.KindAllocation)
		folders[name] = string(allocationFolder(filepath.Join(b.dir, "work"), a))
		b.must(os.MkdirAll(filepath.Join(folders[name], "orders"), 0o700))
		since := metav1.NewTime(b.now.Add(-2 * time.Hour))
		if name == "fresh" {
			since = metav1.NewTime(b.now)
		}
		a.Status = api.AllocationStatus{Phase: api.AllocationReleased, PhaseSince: &since, Folder: folders[name]}
		if name == "live" {
			a.Status.Phase = api.AllocationReady
		}
		b.must(b.store.PutStatus(t.Context(), a))
	}
	b.aRun("pinned", "work", func(run *api.BenchmarkRun) {
		run.Annotations[api.AnnotationPin] = ""
		run.Status.Attempts = []api.Attempt{{Number: 1, Allocation: "used"}}
	})
	b.aRun("going", "work", func(run *api.BenchmarkRun) {
		run.Status.Phase, run.Status.AllocationRef = api.RunPending, &api.AllocationRef{Name: "bound"}
	})
	b.aRun("old", "work", func(run *api.BenchmarkRun) { run.Status.Attempts = []api.Attempt{{Number: 1, Allocation: "free"}} })
	b.work()
	for name, folder := range folders {
		_, err := store.Get[*api.Allocation](t.Context(), b.store, "default", name)
		if gone := name == "free"; b.exists(folder) == gone || apierrors.IsNotFound(err) != gone {
			t.Errorf("allocation %s: folder %t, object %v", name, b.exists(folder), err)
		}
	}
}

// The whole of it, over hours of fake time: a schedule makes a run each hour and replaces the one before; retention lets go what has
// ended 90 minutes ago.
func TestScheduleAndRetentionInTheManager(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.cluster1("busy", func(s *api.ClusterSpec) {
			s.Retention = &api.RetentionSpec{After: &metav1.Duration{Duration: 90 * time.Minute}, Action: api.RetentionDelete, Interval: metav1.Duration{Duration: 5 * time.Minute}}
		})
		run := validRun().Spec
		run.Cluster = "busy"
		s := &api.BenchmarkSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hourly"}}
		s.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkSchedule))
		s.Spec = api.BenchmarkScheduleSpec{Schedule: "@hourly", TimeZone: "UTC", ConcurrencyPolicy: api.ConcurrencyReplace, Template: api.ScheduleTemplate{Run: &run}}
		api.SetDefaults(s)
		if err := w.store.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		w.wait(5*time.Hour + 20*time.Minute) // from midnight, and some seconds
		list, err := w.store.List(t.Context(), api.KindBenchmarkRun, store.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, obj := range list.Items {
			left = append(left, strings.TrimPrefix(obj.GetName(), "hourly-20000101-"))
		}
		if got := strings.Join(left, " "); got != "0300 0400 0500" {
			t.Errorf("left: %s, want 0300 0400 0500", got)
		}
	})
}
