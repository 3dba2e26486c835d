package storetest

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

var deletionTests = map[string]func(*suite){
	"an object goes at once without finalizers, and else with the last of them": func(s *suite) {
		free, held := NewRun("a", "free", nil), NewRun("a", "held", nil)
		held.Finalizers = []string{"one/a", "two/b"}
		s.create(free, held)
		s.delete(free)
		s.gone(free)

		obj, err := s.Delete(s.Context(), api.KindBenchmarkRun, "a", "held", string(held.UID))
		s.must(err)
		s.same("deletion time", true, obj.GetDeletionTimestamp().Time.Equal(now))
		held = s.run("a", "held")
		s.same("deleted object", obj, held)
		held.Finalizers = held.Finalizers[1:]
		held.DeletionTimestamp = nil
		s.must(s.Put(s.Context(), held))
		s.same("it stays deleted", true, held.DeletionTimestamp != nil)
		held.Status.Message = "cleaning up"
		s.must(s.PutStatus(s.Context(), held))
		held.Finalizers = nil
		s.must(s.Put(s.Context(), held))
		s.gone(held)
		s.same("its version is that of the removal", s.version(), held.ResourceVersion)
	},
	"deleting twice while finalizers hold changes nothing": func(s *suite) {
		run := NewRun("a", "x", nil)
		run.Finalizers = []string{"one/a"}
		s.create(run)
		s.delete(run)
		want := s.version()
		s.delete(run)
		s.same("version", want, s.version())
	},
	"what an object owns goes with it, down to the grandchildren": func(s *suite) {
		run, other := NewRun("a", "run", nil), NewRun("a", "other", nil)
		s.create(run, other)
		child := NewAllocation("a", "child", run)
		s.create(child)
		grandchild, stranger := NewAllocation("a", "grandchild", child), NewAllocation("a", "stranger", other)
		s.create(grandchild, stranger)
		s.delete(run)
		s.same("left", []string{"a/stranger"}, s.names(api.KindAllocation, store.ListOptions{}))
	},
	"a finalizer of a child holds the child and what that owns": func(s *suite) {
		run := NewRun("a", "run", nil)
		s.create(run)
		child := NewAllocation("a", "child", run)
		child.Finalizers = []string{api.FinalizerCluster}
		s.create(child)
		grandchild := NewAllocation("a", "grandchild", child)
		s.create(grandchild)
		s.delete(run)
		s.gone(run)
		s.same("left", []string{"a/child", "a/grandchild"}, s.names(api.KindAllocation, store.ListOptions{}))
		obj, err := s.Get(s.Context(), api.KindAllocation, "a", "child")
		s.must(err)
		s.same("child is being deleted", true, obj.GetDeletionTimestamp() != nil)
		obj.SetFinalizers(nil)
		s.must(s.Put(s.Context(), obj))
		s.same("left", []string{}, s.names(api.KindAllocation, store.ListOptions{}))
	},
	"an owner whose finalizers hold it keeps what it owns": func(s *suite) {
		run := NewRun("a", "run", nil)
		run.Finalizers = []string{api.FinalizerCluster}
		s.create(run)
		child := NewAllocation("a", "child", run)
		s.create(child)
		s.delete(run)
		s.same("owned", []string{"a/child"}, s.owned(run))
		run = s.run("a", "run")
		run.Finalizers = nil
		s.must(s.Put(s.Context(), run))
		s.gone(child)
		s.same("owned", []string{}, s.owned(run))
	},
	"owners in a circle go together": func(s *suite) {
		a := NewAllocation("a", "one")
		s.create(a)
		b := NewAllocation("a", "two", a)
		s.create(b)
		Own(a, b, a)
		s.must(s.Put(s.Context(), a))
		s.delete(b)
		s.gone(a)
		s.gone(b)
	},
	"an owner that does not exist is refused": func(s *suite) {
		run, away := NewRun("a", "run", nil), NewRun("b", "run", nil)
		s.create(run, away)
		wrongUID, ghost := NewRun("a", "run", nil), NewRun("a", "ghost", nil)
		wrongUID.UID, ghost.UID = "other", "ghost"
		for what, owner := range map[string]api.Object{"wrong uid": wrongUID, "no such name": ghost, "other namespace": away} {
			if err := s.Create(s.Context(), NewAllocation("a", "child", owner)); !apierrors.IsConflict(err) {
				s.Errorf("create, %s: %v", what, err)
			}
		}
		child := NewAllocation("a", "child", run)
		s.create(child)
		Own(child, ghost)
		if err := s.Put(s.Context(), child); !apierrors.IsConflict(err) {
			s.Errorf("put: %v", err)
		}
		s.same("owned by the ghost", []string{}, s.owned(ghost))
	},
	"an object can leave its owner": func(s *suite) {
		run, heir := NewRun("a", "run", nil), NewRun("a", "heir", nil)
		s.create(run, heir)
		child := NewAllocation("a", "child", run)
		s.create(child)
		child.OwnerReferences = nil
		Own(child, heir)
		s.must(s.Put(s.Context(), child))
		s.delete(run)
		s.same("owned", []string{"a/child"}, s.owned(heir))
		s.delete(heir)
		s.gone(child)
	},
	"a cluster owns across namespaces": func(s *suite) {
		cluster := NewCluster("c")
		s.create(cluster)
		child := NewAllocation("a", "child", cluster)
		s.create(child)
		s.delete(cluster)
		s.gone(child)
	},
	"an object that got its owner in the same transaction goes with it": func(s *suite) {
		run := NewRun("a", "run", nil)
		child := NewAllocation("a", "child")
		s.must(s.Update(s.Context(), func(tx *store.Tx) error {
			if err := tx.Create(run); err != nil {
				return err
			}
			child.OwnerReferences = []metav1.OwnerReference{{Kind: api.KindBenchmarkRun, Name: "run", UID: run.UID}}
			if err := tx.Create(child); err != nil {
				return err
			}
			_, err := tx.Delete(api.KindBenchmarkRun, "a", "run", "")
			return err
		}))
		s.gone(run)
		s.gone(child)
	},
}

func (s *suite) owned(owner api.Object) []string {
	s.Helper()
	objs, err := s.Owned(s.Context(), string(owner.GetUID()))
	s.must(err)
	return namesOf(objs)
}
