package controllers

import (
	"context"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/store"
)

// retentionPage is how many objects are read at once.
const retentionPage = 500

// Lister reads objects without having all of them in memory at once.
type Lister interface {
	// Each hands the objects of a kind to visit, those of all namespaces.
	Each(ctx context.Context, kind string, visit func(api.Object)) error
}

// storeLister lists a store.
type storeLister struct{ store *store.Store }

var _ Lister = storeLister{}

// Each reads a page at a time, each in a transaction of its own.
func (l storeLister) Each(ctx context.Context, kind string, visit func(api.Object)) error {
	opts := store.ListOptions{Limit: retentionPage}
	for {
		list, err := l.store.List(ctx, kind, opts)
		if err != nil {
			return err
		}
		for _, obj := range list.Items {
			visit(obj)
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			return nil
		}
	}
}

// FinishedRuns are the runs of a cluster that have ended, each with why it must stay, if it must.
func FinishedRuns(ctx context.Context, l Lister, cluster string) ([]plan.Finished, error) {
	s, err := surveyRuns(ctx, l, cluster)
	if err != nil {
		return nil, err
	}
	return s.finished, nil
}

// survey is what one look at all objects says of the finished runs of a cluster, and of what holds them.
type survey struct {
	finished []plan.Finished
	// uses counts the runs that were bound to an Allocation, by its namespace and name.
	uses map[string]int
	// needed says of sweeps why their runs must stay.
	needed map[types.UID]string
	// baselines says who refers to a run, by the run's namespace and name.
	baselines map[string]string
	// latest is what a schedule made last, by the schedule.
	latest map[types.UID]latestMade
}

// latestMade is what a schedule that is there made last, as far as it was seen.
type latestMade struct{ schedule, at, made string }

func surveyRuns(ctx context.Context, l Lister, cluster string) (*survey, error) {
	s := &survey{uses: map[string]int{}, needed: map[types.UID]string{}, baselines: map[string]string{}, latest: map[types.UID]latestMade{}}
	err := l.Each(ctx, api.KindBenchmarkSchedule, func(obj api.Object) {
		s.latest[obj.GetUID()] = latestMade{schedule: obj.GetName()}
		s.refer(obj)
	})
	if err != nil {
		return nil, err
	}
	err = l.Each(ctx, api.KindBenchmarkSweep, func(obj api.Object) {
		sweep, ok := obj.(*api.BenchmarkSweep)
		if !ok {
			return
		}
		if why := whyNeeded(sweep); why != "" {
			s.needed[sweep.UID] = why
		}
		s.refer(sweep)
		s.made(sweep)
	})
	if err != nil {
		return nil, err
	}
	owners := map[string]types.UID{} // sweeps of finished runs, by the run's uid
	err = l.Each(ctx, api.KindBenchmarkRun, func(obj api.Object) {
		run, ok := obj.(*api.BenchmarkRun)
		if !ok {
			return
		}
		s.refer(run)
		s.made(run)
		for _, name := range allocationsOf(run) {
			s.uses[name]++
		}
		if run.Spec.Cluster == cluster && run.Status.Phase.Terminal() && run.DeletionTimestamp == nil {
			s.finished = append(s.finished, finishedRun(run))
			if sweep := sweepOf(run); sweep != "" {
				owners[string(run.UID)] = sweep
			}
		}
	})
	s.judge(owners)
	return s, err
}

// refer notes the runs that an object is compared with.
func (s *survey) refer(obj api.Object) {
	for _, name := range baselinesOf(obj) {
		s.baselines[name] = display(obj)
	}
}

// baselinesOf are the runs that an object is compared with, by namespace and name. One that names itself refers to nothing.
func baselinesOf(obj api.Object) []string {
	text := obj.GetAnnotations()[api.AnnotationBaseline]
	if text == "" {
		return nil
	}
	var names []string
	for name := range strings.SplitSeq(text, ",") {
		name = strings.TrimPrefix(strings.TrimSpace(name), "run/")
		if name == "" || api.KindOf(obj) == api.KindBenchmarkRun && name == obj.GetName() {
			continue
		}
		names = append(names, obj.GetNamespace()+"/"+name)
	}
	return names
}

// made notes what a schedule has made, when it is the latest. What has no time was made by another hand.
func (s *survey) made(obj api.Object) {
	owner := metav1.GetControllerOfNoCopy(obj)
	if owner == nil || owner.Kind != api.KindBenchmarkSchedule {
		return
	}
	last, there := s.latest[owner.UID]
	if at := obj.GetAnnotations()[api.AnnotationScheduledAt]; there && at > last.at {
		last.at, last.made = at, string(obj.GetUID())
		s.latest[owner.UID] = last
	}
}

// whyNeeded says why a sweep's runs must stay: its results are not written yet, or more of them may come.
func whyNeeded(s *api.BenchmarkSweep) string {
	st := &s.Status
	if _, pinned := s.Annotations[api.AnnotationPin]; pinned {
		return "its sweep " + s.Name + " is pinned"
	}
	if st.Phase != api.SweepCompleted || st.ObservedGeneration != s.Generation {
		return "its sweep " + s.Name + " goes on"
	}
	if st.Reported != st.Ended() {
		return "the results of its sweep " + s.Name + " are not written yet"
	}
	return ""
}

// allocationsOf are the Allocations that a run was or is bound to, by namespace and name.
func allocationsOf(run *api.BenchmarkRun) []string {
	names := map[string]bool{}
	for _, a := range run.Status.Attempts {
		if a.Allocation != "" {
			names[run.Namespace+"/"+a.Allocation] = true
		}
	}
	if ref := run.Status.AllocationRef; ref != nil {
		names[run.Namespace+"/"+ref.Name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// release takes a run out that has gone.
func (s *survey) release(run *api.BenchmarkRun) {
	for _, name := range allocationsOf(run) {
		s.uses[name]--
	}
}

func finishedRun(run *api.BenchmarkRun) plan.Finished {
	f := plan.Finished{Namespace: run.Namespace, Name: run.Name, UID: string(run.UID), Ended: run.CreationTimestamp.Time}
	if at := run.Status.CompletionTime; at != nil {
		f.Ended = at.Time
	}
	for _, file := range run.Status.Reports {
		f.Bytes += file.Size
	}
	if _, pinned := run.Annotations[api.AnnotationPin]; pinned {
		f.Needed = "it is pinned"
	}
	return f
}

// judge says of each finished run why it must stay, now that all is known.
func (s *survey) judge(owners map[string]types.UID) {
	latest := map[string]string{} // schedules by the uid of what they made last
	for _, l := range s.latest {
		if l.made != "" {
			latest[l.made] = l.schedule
		}
	}
	for i := range s.finished {
		f := &s.finished[i]
		sweep := owners[f.UID]
		schedule := latest[f.UID]
		if schedule == "" {
			schedule = latest[string(sweep)]
		}
		by := s.baselines[f.Namespace+"/"+f.Name]
		switch {
		case f.Needed != "":
		case s.needed[sweep] != "":
			f.Needed = s.needed[sweep]
		case schedule != "":
			f.Needed = "it is the latest of schedule " + schedule
		case by != "":
			f.Needed = by + " is compared with it"
		}
	}
}
