package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
	"github.com/benchd/benchd/store/storetest"
)

func TestABackupOfALiveStoreIsConsistent(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "benchd.db"), store.Options{})
	// Each transaction moves the same number into two objects; a backup has to show them equal.
	a, b := storetest.NewRun("a", "a", nil), storetest.NewRun("a", "b", nil)
	if err := errors.Join(s.Create(t.Context(), a), s.Create(t.Context(), b)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if err := s.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
				a.Status.Message = fmt.Sprint(i, strings.Repeat("x", i%9*1000))
				b.Status.Message = a.Status.Message
				return errors.Join(tx.PutStatus(a), tx.PutStatus(b))
			}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range 5 {
		path := filepath.Join(dir, fmt.Sprint("backup-", i, ".db"))
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		n, err := s.Backup(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() != n {
			t.Errorf("a backup of %d bytes: %v %v", n, info, err)
		}
		copied := open(t, path, store.Options{})
		list, err := copied.List(t.Context(), api.KindBenchmarkRun, store.ListOptions{})
		if err != nil || len(list.Items) != 2 || copied.HomeID() != s.HomeID() {
			t.Fatalf("the backup holds %d runs (%v)", len(list.Items), err)
		}
		first, ok1 := list.Items[0].(*api.BenchmarkRun)
		second, ok2 := list.Items[1].(*api.BenchmarkRun)
		if !ok1 || !ok2 || first.Status.Message != second.Status.Message {
			t.Errorf("the backup shows half a transaction")
		}
	}
	stop()
	writing.Wait()
}

func TestABackupThatNobodyReadsHoldsUpNoWriter(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "benchd.db"), store.Options{})
	r, w := io.Pipe()
	backup := make(chan error, 1)
	go func() {
		_, err := s.Backup(w)
		backup <- err
	}()
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil { // it has begun
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		written <- s.Update(t.Context(), func(tx *store.Tx) (err error) {
			for i := range 100 { // far more than the file had room for
				run := storetest.NewRun("a", fmt.Sprint("run-", i), nil)
				run.Annotations = map[string]string{"padding": strings.Repeat("x", 10_000)}
				err = errors.Join(err, tx.Create(run))
			}
			return err
		})
	}()
	select {
	case err := <-written:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the write waits for the backup")
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-backup; err == nil {
		t.Errorf("a backup to nobody went well")
	}
}

func TestAStoreOpenedAgainIsTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "benchd.db")
	first, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	run := storetest.NewRun("a", "run", map[string]string{"k": "v"})
	ctx := t.Context()
	if err := first.Create(ctx, run); err != nil {
		t.Fatal(err)
	}
	err = errors.Join(first.Create(ctx, storetest.NewAllocation("a", "child", run)), first.Create(ctx, storetest.NewRun("a", "z", nil)))
	_, deleteErr := first.Delete(ctx, api.KindBenchmarkRun, "a", "z", "") // the last version is of no object
	before, listErr := first.List(ctx, api.KindBenchmarkRun, store.ListOptions{})
	if err := errors.Join(err, deleteErr, listErr, first.Close()); err != nil {
		t.Fatal(err)
	}

	second := open(t, path, store.Options{})
	after, err := second.List(ctx, api.KindBenchmarkRun, store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the list changed (-before +after):\n%s", diff)
	}
	if first.HomeID() != second.HomeID() {
		t.Error("the home's id changed")
	}
	if _, err := second.Watch(ctx, api.KindBenchmarkRun, 3, store.ListOptions{}); err == nil {
		t.Error("a watch from before the start was not refused")
	}
	changes, err := second.Watch(ctx, api.KindAllocation, 4, store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Delete(ctx, api.KindBenchmarkRun, "a", "run", ""); err != nil {
		t.Fatal(err)
	}
	if c := <-changes; c.Type != store.Deleted || c.Object.GetName() != "child" || c.Object.GetResourceVersion() != "6" {
		t.Errorf("the owned object: %s %s at %s", c.Type, c.Object.GetName(), c.Object.GetResourceVersion())
	}
}
