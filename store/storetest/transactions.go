package storetest

import (
	"bytes"
	"errors"
	"sync/atomic"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

var errBoom = errors.New("boom")

var eventTests = map[string]func(*suite){
	"the same event again is counted": func(s *suite) {
		run := NewRun("a", "x", nil)
		s.create(run)
		say := func(message string) {
			s.must(s.Update(s.Context(), func(tx *store.Tx) error { return tx.Event(run, api.EventNormal, "Bound", message) }))
		}
		say("one")
		say("two")
		say("one")
		counts := map[string]int32{}
		list, err := s.List(s.Context(), api.KindEvent, store.ListOptions{Namespace: "a"})
		s.must(err)
		for _, obj := range list.Items {
			ev, ok := obj.(*api.Event)
			if !ok {
				s.Fatalf("got a %T", obj)
			}
			counts[ev.Message] = ev.Count
			s.same("about", string(run.UID), ev.InvolvedObject.UID)
		}
		s.same("counts", map[string]int32{"one": 2, "two": 1}, counts)
		s.same("owned", 2, len(s.owned(run)))
	},
	"events go with the object that they are about": func(s *suite) {
		run, cluster := NewRun("a", "x", nil), NewCluster("c")
		s.create(run, cluster)
		for _, obj := range []api.Object{run, cluster} {
			s.must(s.Update(s.Context(), func(tx *store.Tx) error { return tx.Event(obj, api.EventWarning, "Odd", "look") }))
		}
		s.same("events", 2, len(s.names(api.KindEvent, store.ListOptions{})))
		s.delete(run)
		s.same("events", 1, len(s.names(api.KindEvent, store.ListOptions{Namespace: api.DefaultNamespace})))
		s.delete(cluster)
		s.same("events", 0, len(s.names(api.KindEvent, store.ListOptions{})))
	},
	"an event about nothing that exists is refused as a whole": func(s *suite) {
		if err := s.Update(s.Context(), func(tx *store.Tx) error {
			if err := tx.Create(NewRun("a", "x", nil)); err != nil {
				return err
			}
			return tx.Event(NewRun("a", "ghost", nil), api.EventNormal, "Odd", "look")
		}); err == nil {
			s.Error("it was stored")
		}
		s.same("runs", []string{}, s.names(api.KindBenchmarkRun, store.ListOptions{}))
	},
}

var transactionTests = map[string]func(*suite){
	"a transaction that fails leaves nothing behind": func(s *suite) {
		run := NewRun("a", "run", map[string]string{"k": "v"})
		s.create(run)
		child := NewAllocation("a", "child", run)
		s.create(child)
		stored, version := s.run("a", "run"), s.version()
		changes := s.watch(api.KindBenchmarkRun, version, store.ListOptions{})
		for what, write := range map[string]func(*store.Tx) error{
			"create": func(tx *store.Tx) error { return tx.Create(NewRun("a", "more", map[string]string{"k": "v"})) },
			"put":    func(tx *store.Tx) error { return tx.Put(NewRun("a", "run", map[string]string{"k": "w"})) },
			"delete": func(tx *store.Tx) error { _, err := tx.Delete(api.KindBenchmarkRun, "a", "run", ""); return err },
			"owner":  func(tx *store.Tx) error { return tx.Create(NewAllocation("a", "second", run)) },
			"event":  func(tx *store.Tx) error { return tx.Event(run, api.EventNormal, "Odd", "look") },
		} {
			err := s.Update(s.Context(), func(tx *store.Tx) error { return errors.Join(write(tx), errBoom) })
			if !errors.Is(err, errBoom) {
				s.Errorf("%s: %v", what, err)
			}
			s.same("run after "+what, stored, s.run("a", "run"))
			s.same("selected after "+what, []string{"a/run"}, s.names(api.KindBenchmarkRun, selecting("k=v")))
			s.same("owned after "+what, []string{"a/child"}, s.owned(run))
			s.same("version after "+what, version, s.version())
		}
		s.create(NewRun("a", "next", nil))
		s.follows(changes, "ADDED next")
	},
	"a transaction that panics leaves nothing behind, and the store goes on": func(s *suite) {
		func() {
			defer func() { s.same("panic", any("boom"), recover()) }()
			_ = s.Update(s.Context(), func(tx *store.Tx) error {
				s.must(tx.Create(NewRun("a", "x", nil)))
				panic("boom")
			})
		}()
		s.create(NewRun("a", "x", nil))
		s.same("version", "1", s.version())
	},
	"a transaction reads what it wrote, and nobody else does before its end": func(s *suite) {
		s.must(s.Update(s.Context(), func(tx *store.Tx) error {
			if err := tx.Create(NewRun("a", "x", nil)); err != nil {
				return err
			}
			s.gone(NewRun("a", "x", nil))
			_, err := tx.Get(api.KindBenchmarkRun, "a", "x")
			return err
		}))
		s.run("a", "x")
	},
	"the guard refuses writes, and only those": func(s *suite) {
		var refuse atomic.Bool
		guarded := s.newStore(s.T, store.Options{Guard: func() error {
			if refuse.Load() {
				return errBoom
			}
			return nil
		}})
		run := NewRun("a", "x", nil)
		s.must(guarded.Create(s.Context(), run))
		refuse.Store(true)
		called := false
		_, deleteErr := guarded.Delete(s.Context(), api.KindBenchmarkRun, "a", "x", "")
		for _, err := range []error{
			guarded.Create(s.Context(), NewRun("a", "y", nil)), guarded.Put(s.Context(), run), guarded.PutStatus(s.Context(), run), deleteErr,
			guarded.Update(s.Context(), func(*store.Tx) error { called = true; return nil }),
		} {
			if !errors.Is(err, errBoom) {
				s.Errorf("got %v", err)
			}
		}
		s.same("the write was begun", false, called)
		_, err := guarded.Get(s.Context(), api.KindBenchmarkRun, "a", "x")
		s.must(err)
		var backup bytes.Buffer
		_, err = guarded.Backup(&backup)
		s.must(err)
		refuse.Store(false)
		s.must(guarded.Create(s.Context(), NewRun("a", "y", nil)))
	},
}
