package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
	"github.com/benchd/benchd/store/storetest"
)

// modelObject is what the model, a plain map, keeps of a run.
type modelObject struct {
	Label, Model, Message, Owner string
	Held, Deleting               bool
	Generation                   int64
}

type machine struct {
	path  string
	s     *store.Store
	model map[string]*modelObject
}

var names = rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})

func (m *machine) get(t *rapid.T, name string) *api.BenchmarkRun {
	obj, err := m.s.Get(t.Context(), api.KindBenchmarkRun, "ns", name)
	if err != nil {
		t.Fatalf("get %s: %v", name, err)
	}
	return obj.(*api.BenchmarkRun)
}

func (m *machine) Create(t *rapid.T) {
	name, owner := names.Draw(t, "name"), rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e"}).Draw(t, "owner")
	o := &modelObject{Label: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "label"), Held: rapid.Bool().Draw(t, "held"), Generation: 1}
	run := storetest.NewRun("ns", name, map[string]string{"l": o.Label})
	if o.Held {
		run.Finalizers = []string{"hold/it"}
	}
	if m.model[owner] != nil && owner != name {
		storetest.Own(run, m.get(t, owner))
		o.Owner = owner
	}
	err := m.s.Create(t.Context(), run)
	if m.model[name] != nil {
		if !apierrors.IsAlreadyExists(err) {
			t.Fatalf("created twice: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	m.model[name] = o
}

// change writes one thing, with a version that is right, none, or wrong.
func (m *machine) change(t *rapid.T, write func(*api.BenchmarkRun) error, want func(*modelObject)) {
	name := names.Draw(t, "name")
	if m.model[name] == nil {
		if err := write(storetest.NewRun("ns", name, nil)); !apierrors.IsNotFound(err) {
			t.Fatalf("wrote what is not there: %v", err)
		}
		return
	}
	run := m.get(t, name)
	switch rapid.IntRange(0, 3).Draw(t, "version") {
	case 0:
		run.ResourceVersion = "123456789"
		if err := write(run); !apierrors.IsConflict(err) {
			t.Fatalf("wrote over a conflict: %v", err)
		}
		return
	case 1:
		run.ResourceVersion = ""
	}
	if err := write(run); err != nil {
		t.Fatal(err)
	}
	want(m.model[name])
}

func (m *machine) Put(t *rapid.T) {
	label, model := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "label"), rapid.SampledFrom([]string{"m", "n"}).Draw(t, "model")
	m.change(t, func(run *api.BenchmarkRun) error {
		run.Labels, run.Spec.Service.Model = map[string]string{"l": label}, model
		return m.s.Put(t.Context(), run)
	}, func(o *modelObject) {
		if o.Model != model {
			o.Generation++
		}
		o.Label, o.Model = label, model
	})
}

func (m *machine) PutStatus(t *rapid.T) {
	message := rapid.SampledFrom([]string{"", "p", "q"}).Draw(t, "message")
	m.change(t, func(run *api.BenchmarkRun) error {
		run.Status.Message = message
		return m.s.PutStatus(t.Context(), run)
	}, func(o *modelObject) { o.Message = message })
}

func (m *machine) Release(t *rapid.T) {
	name := names.Draw(t, "name")
	if m.model[name] == nil {
		return
	}
	run := m.get(t, name)
	run.Finalizers = nil
	if err := m.s.Put(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if m.model[name].Held = false; m.model[name].Deleting {
		m.delete(name)
	}
}

func (m *machine) Delete(t *rapid.T) {
	name := names.Draw(t, "name")
	_, err := m.s.Delete(t.Context(), api.KindBenchmarkRun, "ns", name, "")
	if m.model[name] == nil != apierrors.IsNotFound(err) || m.model[name] != nil && err != nil {
		t.Fatalf("delete %s: %v", name, err)
	}
	m.delete(name)
}

func (m *machine) delete(name string) {
	o := m.model[name]
	if o == nil {
		return
	}
	if o.Held {
		if !o.Deleting {
			o.Deleting = true
			o.Generation++
		}
		return
	}
	delete(m.model, name)
	for other, child := range m.model {
		if child.Owner == name {
			child.Owner = "gone"
			m.delete(other)
		}
	}
}

func (m *machine) Reopen(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "whether") > 0 {
		return
	}
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if m.s, err = store.Open(m.path, store.Options{}); err != nil {
		t.Fatal(err)
	}
}

// Check compares all of the store with the model.
func (m *machine) Check(t *rapid.T) {
	list, err := m.s.List(t.Context(), api.KindBenchmarkRun, store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, uids := map[string]*modelObject{}, map[string]string{}
	for _, obj := range list.Items {
		uids[string(obj.GetUID())] = obj.GetName()
	}
	byLabel := map[string][]string{}
	for _, obj := range list.Items {
		run := m.get(t, obj.GetName())
		o := &modelObject{
			Label: run.Labels["l"], Model: run.Spec.Service.Model, Message: run.Status.Message,
			Held: len(run.Finalizers) > 0, Deleting: run.DeletionTimestamp != nil, Generation: run.Generation,
		}
		for _, ref := range run.OwnerReferences {
			if o.Owner = "gone"; uids[string(ref.UID)] != "" {
				o.Owner = ref.Name
			}
		}
		got[run.Name] = o
		byLabel[o.Label] = append(byLabel[o.Label], run.Name)
	}
	if diff := cmp.Diff(m.model, got); diff != "" {
		t.Fatalf("store and model differ (-model +store):\n%s", diff)
	}
	for label, want := range byLabel {
		list, err := m.s.List(t.Context(), api.KindBenchmarkRun, store.ListOptions{Selector: labels.SelectorFromSet(labels.Set{"l": label})})
		var found []string
		for _, obj := range list.Items {
			found = append(found, obj.GetName())
		}
		if err != nil || !slices.Equal(want, found) {
			t.Fatalf("label %s selects %v, want %v (%v)", label, found, want, err)
		}
	}
	for uid, name := range uids {
		owned, err := m.s.Owned(t.Context(), uid)
		var want, found []string
		for child, o := range m.model {
			if o.Owner == name {
				want = append(want, child)
			}
		}
		for _, obj := range owned {
			found = append(found, obj.GetName())
		}
		if slices.Sort(want); err != nil || !slices.Equal(want, slices.Sorted(slices.Values(found))) {
			t.Fatalf("%s owns %v, want %v (%v)", name, found, want, err)
		}
	}
}

func TestTheStoreIsAMap(t *testing.T) {
	t.Parallel()
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		m := &machine{path: filepath.Join(dir, fmt.Sprint(n, ".db")), model: map[string]*modelObject{}}
		var err error
		if m.s, err = store.Open(m.path, store.Options{}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := m.s.Close(); err != nil {
				t.Error(err)
			}
			_ = os.Remove(m.path) // room for the next
		}()
		t.Repeat(rapid.StateMachineActions(m))
	})
}
