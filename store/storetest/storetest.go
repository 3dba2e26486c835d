// Package storetest holds what every store of benchd has to do, as tests: Run them on a new way to make a store.
package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// Run tests the stores that newStore makes. Each is asked for empty, and is closed by newStore's own clean-up.
func Run(t *testing.T, newStore func(*testing.T, store.Options) *store.Store) {
	for _, tests := range []map[string]func(*suite){
		objectTests, listTests, deletionTests, watchTests, eventTests, transactionTests,
	} {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := &suite{T: t, newStore: newStore}
				s.Store = newStore(t, store.Options{Now: func() time.Time { return now }})
				test(s)
			})
		}
	}
}

// now is when everything happens.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type suite struct {
	*testing.T
	*store.Store
	newStore func(*testing.T, store.Options) *store.Store
}

// NewRun makes a run that is ready to be stored.
func NewRun(namespace, name string, labels map[string]string) *api.BenchmarkRun {
	run := &api.BenchmarkRun{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
	run.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkRun))
	run.Spec.Service.Name = "dummy"
	api.SetDefaults(run)
	return run
}

// NewAllocation makes an Allocation that the owners own.
func NewAllocation(namespace, name string, owners ...api.Object) *api.Allocation {
	a := &api.Allocation{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	a.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindAllocation))
	Own(a, owners...)
	return a
}

// Own adds owners to an object.
func Own(obj api.Object, owners ...api.Object) {
	refs := obj.GetOwnerReferences()
	for _, owner := range owners {
		refs = append(refs, metav1.OwnerReference{
			APIVersion: api.GroupVersion.String(), Kind: owner.GetObjectKind().GroupVersionKind().Kind,
			Name: owner.GetName(), UID: owner.GetUID(),
		})
	}
	obj.SetOwnerReferences(refs)
}

// NewCluster makes a Cluster.
func NewCluster(name string) *api.Cluster {
	c := &api.Cluster{ObjectMeta: metav1.ObjectMeta{Name: name}}
	c.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindCluster))
	return c
}

func (s *suite) create(objs ...api.Object) {
	s.Helper()
	for _, obj := range objs {
		if err := s.Create(s.Context(), obj); err != nil {
			s.Fatalf("create %s: %v", obj.GetName(), err)
		}
	}
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// same fails the test when a value is not what it should be.
func (s *suite) same(what string, want, got any) {
	s.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		s.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (s *suite) run(namespace, name string) *api.BenchmarkRun {
	s.Helper()
	obj, err := s.Get(s.Context(), api.KindBenchmarkRun, namespace, name)
	s.must(err)
	run, ok := obj.(*api.BenchmarkRun)
	if !ok {
		s.Fatalf("got a %T", obj)
	}
	return run
}

func (s *suite) gone(obj api.Object) {
	s.Helper()
	kind := obj.GetObjectKind().GroupVersionKind().Kind
	if _, err := s.Get(s.Context(), kind, obj.GetNamespace(), obj.GetName()); !apierrors.IsNotFound(err) {
		s.Errorf("%s %s is still there (%v)", kind, obj.GetName(), err)
	}
}

func (s *suite) delete(obj api.Object) {
	s.Helper()
	_, err := s.Delete(s.Context(), obj.GetObjectKind().GroupVersionKind().Kind, obj.GetNamespace(), obj.GetName(), "")
	s.must(err)
}

// version is the store's latest.
func (s *suite) version() string {
	s.Helper()
	list, err := s.List(s.Context(), api.KindBenchmarkRun, store.ListOptions{Limit: 1})
	s.must(err)
	return list.ResourceVersion
}

func (s *suite) names(kind string, opts store.ListOptions) []string {
	s.Helper()
	list, err := s.List(s.Context(), kind, opts)
	s.must(err)
	return namesOf(list.Items)
}

func namesOf(objs []api.Object) []string {
	var names []string
	for _, obj := range objs {
		names = append(names, obj.GetNamespace()+"/"+obj.GetName())
	}
	return names
}

// next waits for the next change of a watch. A minute without one is a failure; it is never waited out otherwise.
func (s *suite) next(changes <-chan store.Change) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	select {
	case c, ok := <-changes:
		if !ok {
			return "closed"
		}
		return fmt.Sprintf("%s %s", c.Type, c.Object.GetName())
	case <-ctx.Done():
		s.Fatal("no change came")
		return ""
	}
}
