package store

import (
	"errors"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func TestStats(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	before := s.Stats()
	c := &api.Cluster{ObjectMeta: metav1.ObjectMeta{Name: "c"}}
	c.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindCluster))
	if err := s.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	for _, failed := range []error{boom, nil} { // rolled back, and without anything to write
		if err := s.Update(t.Context(), func(*Tx) error { return failed }); !errors.Is(err, failed) {
			t.Fatal(err)
		}
	}
	if _, err := s.Get(t.Context(), api.KindCluster, "", "c"); err != nil {
		t.Fatal(err)
	}
	after := s.Stats()
	if after.Commits != before.Commits+1 || after.Reads <= before.Reads || after.Writing <= before.Writing || after.Size <= 0 || after.Free > after.Size {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if len(before.Objects) != 0 || after.Objects[api.KindCluster] != 1 {
		t.Errorf("objects before %v, after %v", before.Objects, after.Objects)
	}
	if err := s.Update(t.Context(), func(tx *Tx) error {
		_, err := tx.Delete(api.KindCluster, "", "c", "")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if gone := s.Stats(); gone.Objects[api.KindCluster] != 0 {
		t.Errorf("after its deletion: %v", gone.Objects)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if closed := s.Stats(); closed.Size != 0 {
		t.Errorf("a store that is closed has %+v", closed)
	}
}
