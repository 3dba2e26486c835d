package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// kept is how many changes a watch can be behind.
const kept = 10_000

func (s *suite) watch(kind, version string, opts store.ListOptions) <-chan store.Change {
	s.Helper()
	n, err := strconv.ParseUint(version, 10, 64)
	s.must(err)
	changes, err := s.Watch(s.Context(), kind, n, opts)
	s.must(err)
	return changes
}

// follows fails the test unless the watch tells exactly this next.
func (s *suite) follows(changes <-chan store.Change, want ...string) {
	s.Helper()
	for _, w := range want {
		if got := s.next(changes); got != w {
			s.Fatalf("the watch says %q, want %q", got, w)
		}
	}
}

// flood makes more changes than are kept, in one transaction.
func (s *suite) flood() {
	s.Helper()
	s.must(s.Update(s.Context(), func(tx *store.Tx) error {
		for i := range kept + 1 {
			if err := tx.Create(NewCluster(fmt.Sprint("c-", i))); err != nil {
				return err
			}
		}
		return nil
	}))
}

var watchTests = map[string]func(*suite){
	"a watch tells what happened after its version, of its kind and namespace": func(s *suite) {
		run := NewRun("a", "x", nil)
		s.create(NewRun("a", "before", nil))
		from := s.version()
		s.create(run, NewRun("b", "elsewhere", nil), NewAllocation("a", "other-kind"))
		run.Labels = map[string]string{"a": "b"}
		s.must(s.Put(s.Context(), run))
		run.Status.Message = "m"
		s.must(s.PutStatus(s.Context(), run))
		changes := s.watch(api.KindBenchmarkRun, from, store.ListOptions{Namespace: "a"})
		s.follows(changes, "ADDED x", "MODIFIED x", "MODIFIED x")
		s.delete(run)
		s.create(run)
		s.follows(changes, "DELETED x", "ADDED x")
	},
	"a change carries the object as it was then": func(s *suite) {
		run := NewRun("a", "x", map[string]string{"n": "0"})
		from := s.version()
		s.create(run)
		run.Labels["n"] = "1" // the caller's map, not the store's
		s.must(s.Put(s.Context(), run))
		for i, c := range []store.Change{<-s.watch(api.KindBenchmarkRun, from, store.ListOptions{}), <-s.watch(api.KindBenchmarkRun, "1", store.ListOptions{})} {
			s.same("label", strconv.Itoa(i), c.Object.GetLabels()["n"])
			s.same("version", strconv.Itoa(i+1), c.Object.GetResourceVersion())
		}
		s.follows(s.watch(api.KindBenchmarkRun, from, selecting("n=0")), "ADDED x", "DELETED x")
	},
	"labels that change move an object in and out of a selected watch": func(s *suite) {
		changes := s.watch(api.KindBenchmarkRun, s.version(), selecting("team=x"))
		run := NewRun("a", "run", nil)
		run.Finalizers = []string{"hold/it"}
		s.create(run)
		for _, team := range []string{"y", "x", "x", "", "x"} {
			run.Labels = map[string]string{"team": team, "version": run.ResourceVersion}
			s.must(s.Put(s.Context(), run))
		}
		s.follows(changes, "ADDED run", "MODIFIED run", "DELETED run", "ADDED run")
		s.delete(run)
		s.follows(changes, "MODIFIED run")
		run = s.run("a", "run")
		run.Labels, run.Finalizers = nil, nil // it leaves the selector as it goes
		s.must(s.Put(s.Context(), run))
		s.create(NewRun("a", "sentinel", map[string]string{"team": "x"}))
		s.follows(changes, "DELETED run", "ADDED sentinel")
	},
	"one transaction is told change by change": func(s *suite) {
		changes := s.watch(api.KindBenchmarkRun, s.version(), store.ListOptions{})
		old := NewRun("a", "old", nil)
		s.create(old)
		s.must(s.Update(s.Context(), func(tx *store.Tx) error {
			run := NewRun("a", "new", nil)
			_, err := tx.Delete(api.KindBenchmarkRun, "a", "old", "")
			err = errors.Join(err, tx.Create(NewRun("a", "old", nil)), tx.Create(run))
			run.Status.Message = "m"
			return errors.Join(err, tx.PutStatus(run))
		}))
		s.follows(changes, "ADDED old", "DELETED old", "ADDED old", "ADDED new", "MODIFIED new")
	},
	"no change is lost, doubled or out of order under eight writers": func(s *suite) {
		const writers, writes = 8, 12
		ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
		defer cancel()
		done := make(chan struct{})
		var writing, watching sync.WaitGroup
		for w := range writers {
			writing.Go(func() { s.churn(fmt.Sprint("w-", w), writes) })
		}
		for range 4 {
			watching.Go(func() { s.mirror(ctx, done, store.ListOptions{}) })
			watching.Go(func() { s.mirror(ctx, done, selecting("even=yes")) })
		}
		writing.Wait()
		close(done)
		s.create(NewRun("z", "end", map[string]string{"even": "yes"})) // the last change that all of them see
		watching.Wait()
	},
	"a version that is too old, or not reached, is expired": func(s *suite) {
		s.create(NewRun("a", "x", nil))
		from := s.version()
		s.flood()
		for _, version := range []uint64{0, 1, kept + 3, 1 << 63} {
			if _, err := s.Watch(s.Context(), api.KindBenchmarkRun, version, store.ListOptions{}); !apierrors.IsResourceExpired(err) {
				s.Errorf("watch from %d: %v", version, err)
			}
		}
		s.same("watch from before the flood", "1", from)
		s.follows(s.watch(api.KindCluster, "2", store.ListOptions{}), "ADDED c-1")
	},
	"a watcher that is too slow is sent away": func(s *suite) {
		changes := s.watch(api.KindBenchmarkRun, s.version(), store.ListOptions{})
		s.create(NewRun("a", "first", nil), NewRun("a", "second", nil))
		s.flood()
		s.create(NewRun("a", "late", nil))
		for got, last := s.next(changes), ""; got != "closed"; got = s.next(changes) {
			if got == last || got == "ADDED late" {
				s.Fatalf("told %q after a gap", got)
			}
			last = got
		}
	},
	"closing the store ends watches, and later ones": func(s *suite) {
		idle := s.watch(api.KindBenchmarkRun, s.version(), store.ListOptions{})
		s.must(s.Close())
		s.follows(idle, "closed")
		s.follows(s.watch(api.KindBenchmarkRun, "0", store.ListOptions{}), "closed")
		s.must(s.Close())
		if err := s.Create(s.Context(), NewRun("a", "x", nil)); err == nil {
			s.Error("a closed store took an object")
		}
	},
	"a watch ends with its context, read or not": func(s *suite) {
		ctx, cancel := context.WithCancel(s.Context())
		unread, err := s.Watch(ctx, api.KindBenchmarkRun, 0, store.ListOptions{})
		s.must(err)
		s.create(NewRun("a", "x", nil), NewRun("a", "y", nil))
		cancel()
		for range unread {
		}
	},
}

// churn makes one writer's changes to an object of its own.
func (s *suite) churn(name string, writes int) {
	for i := range writes {
		run := NewRun("a", name, map[string]string{"even": map[bool]string{true: "yes", false: "no"}[i%2 == 0], "n": strconv.Itoa(i)})
		var err error
		if _, getErr := s.Get(s.Context(), api.KindBenchmarkRun, "a", name); getErr != nil {
			err = s.Create(s.Context(), run)
		} else if i%5 == 4 {
			_, err = s.Delete(s.Context(), api.KindBenchmarkRun, "a", name, "")
		} else {
			err = s.Put(s.Context(), run)
		}
		if err != nil {
			s.Errorf("write %s: %v", name, err)
		}
	}
}

// mirror lists and watches as long as there are writers, again and again, and keeps what a list shows now by the
// changes alone. Whatever it is told has to fit what it holds.
func (s *suite) mirror(ctx context.Context, done <-chan struct{}, opts store.ListOptions) {
	for rounds := 0; ; rounds++ {
		last := false
		select {
		case <-done:
			last = true
		default:
		}
		list, err := s.List(ctx, api.KindBenchmarkRun, opts)
		if err != nil {
			s.Errorf("list: %v", err)
			return
		}
		version, err := strconv.ParseUint(list.ResourceVersion, 10, 64)
		if err != nil {
			s.Errorf("version: %v", err)
			return
		}
		held := map[string]string{}
		for _, obj := range list.Items {
			held[obj.GetName()] = obj.GetResourceVersion()
		}
		if !s.mirrorWatch(ctx, version, held, opts, last) || last {
			return
		}
	}
}

func (s *suite) mirrorWatch(ctx context.Context, version uint64, held map[string]string, opts store.ListOptions, last bool) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := s.Watch(ctx, api.KindBenchmarkRun, version, opts)
	if err != nil {
		s.Errorf("watch from the version %d of a list: %v", version, err)
		return false
	}
	for told := 0; last || told < 10; told++ {
		if _, end := held["end"]; end {
			break
		}
		var c store.Change
		var ok bool
		select {
		case c, ok = <-changes:
		case <-ctx.Done():
		}
		if !ok {
			s.Errorf("the watch ended early: %v", ctx.Err())
			return false
		}
		name := c.Object.GetName()
		now, err := strconv.ParseUint(c.Object.GetResourceVersion(), 10, 64)
		_, known := held[name]
		if err != nil || now <= version || known == (c.Type == store.Added) {
			s.Errorf("%s %s (version %d, held: %t) after version %d", c.Type, name, now, known, version)
			return false
		}
		version = now
		if held[name] = c.Object.GetResourceVersion(); c.Type == store.Deleted {
			delete(held, name)
		}
	}
	if _, end := held["end"]; !end {
		return true
	}
	list, err := s.List(ctx, api.KindBenchmarkRun, opts)
	if err != nil {
		s.Errorf("list: %v", err)
		return false
	}
	want := map[string]string{}
	for _, obj := range list.Items {
		want[obj.GetName()] = obj.GetResourceVersion()
	}
	if diff := cmp.Diff(want, held); diff != "" {
		s.Errorf("what the watch told is not what there is (-want +got):\n%s", diff)
	}
	return false
}
