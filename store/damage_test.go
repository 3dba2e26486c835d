package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
	"github.com/benchd/benchd/store/storetest"
)

// sound makes the bytes of a store whose trees are deep enough to have branches, overflowing and inline pages.
func sound(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sound.db")
	s, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 { // freed pages in between
		err = errors.Join(err, s.Update(t.Context(), func(tx *store.Tx) (err error) {
			for i := range 16 {
				run := storetest.NewRun("a", fmt.Sprintf("run-%d-%d", round, i), map[string]string{"n": "1"})
				run.Annotations = map[string]string{"padding": strings.Repeat("x", i*250)}
				err = errors.Join(err, tx.Create(run), tx.Event(run, api.EventNormal, "Made", "it"))
			}
			return err
		}))
		_, deleteErr := s.Delete(t.Context(), api.KindBenchmarkRun, "a", fmt.Sprintf("run-%d-10", round), "")
		err = errors.Join(err, deleteErr)
	}
	var copied bytes.Buffer
	_, backupErr := s.Backup(&copied)
	if err := errors.Join(err, backupErr, s.Close()); err != nil {
		t.Fatal(err)
	}
	return copied.Bytes()
}

// tryDamaged opens a file of these bytes. It either opens and can be read and written, or says what it is and stays as
// it was.
func tryDamaged(t *testing.T, data []byte) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "benchd.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(path, store.Options{})
	if err == nil {
		for _, kind := range api.Kinds() {
			_, _ = s.List(t.Context(), kind, store.ListOptions{}) // must not panic; one object's JSON may be of a wrong type
		}
		if err := errors.Join(s.Create(t.Context(), storetest.NewRun("z", "new", nil)), s.Close()); err != nil {
			t.Errorf("it opens, but: %v", err)
		}
		return nil
	}
	after, readErr := os.ReadFile(path)
	if readErr != nil || !bytes.Equal(data, after) {
		t.Errorf("the file was changed (%v) by an open that failed: %v", readErr, err)
	}
	if !errors.Is(err, store.ErrDamaged) && !errors.Is(err, store.ErrForeign) && !errors.Is(err, store.ErrNewer) {
		t.Errorf("the error is of no known kind: %v", err)
	}
	if !strings.Contains(err.Error(), path) {
		t.Errorf("the error names no file: %v", err)
	}
	return err
}

func TestATruncatedStoreIsLeftAlone(t *testing.T) {
	whole := sound(t)
	if err := tryDamaged(t, whole); err != nil {
		t.Fatalf("the sound store: %v", err)
	}
	for _, n := range []int{1, 15, 16, 100, 1023, 4095, 4096, 4097, 8191, 8192, 8193, 12288, 16384, 20000, len(whole) / 4, len(whole) / 2, len(whole) - 4096, len(whole) - 1} {
		t.Run(fmt.Sprint(n, " bytes"), func(t *testing.T) {
			if err := tryDamaged(t, whole[:n]); err == nil {
				t.Error("it opened")
			}
		})
	}
}

func TestAStoreWithLostPagesIsLeftAlone(t *testing.T) {
	whole := sound(t)
	refused := 0
	for page := range len(whole) / 4096 {
		data := bytes.Clone(whole)
		copy(data[page*4096:], bytes.Repeat([]byte{byte(page%2) * 0xFF}, 4096))
		if tryDamaged(t, data) != nil {
			refused++
		}
	}
	if refused < 20 {
		t.Errorf("only %d of the damaged stores were found out", refused)
	}
	if err := tryDamaged(t, make([]byte, len(whole))); !errors.Is(err, store.ErrForeign) {
		t.Errorf("zeroes: %v", err)
	}
}

func TestAStoreWithFlippedBytesNeverPanics(t *testing.T) {
	whole := sound(t)
	for _, seed := range []uint64{1, 2, 3, 4, 5, 6} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0))
			for range 10 {
				data := bytes.Clone(whole)
				// Most flips go where the structure is: heads of pages and their elements.
				for range 1 + random.IntN(3) {
					at := random.IntN(len(data)/4096)*4096 + random.IntN(4096)
					if random.IntN(4) > 0 {
						at = at/4096*4096 + random.IntN(80)
					}
					data[at] ^= 1 << random.IntN(8)
				}
				_ = tryDamaged(t, data)
			}
		})
	}
}

func TestAStoreThatRefersInACircleIsLeftAlone(t *testing.T) {
	whole := sound(t)
	circles := 0
	for page := 2; page < len(whole)/4096; page++ {
		head := whole[page*4096:]
		if binary.NativeEndian.Uint16(head[8:]) != 1 || binary.NativeEndian.Uint64(head) != uint64(page) {
			continue // not a branch
		}
		data := bytes.Clone(whole)
		binary.NativeEndian.PutUint64(data[page*4096+16+8:], uint64(page))
		if tryDamaged(t, data) != nil {
			circles++
		}
	}
	if circles == 0 {
		t.Error("there was no branch, or none was found out")
	}
}

func TestOtherFilesAreLeftAlone(t *testing.T) {
	foreign := func(change func(*bolt.Tx) error) []byte {
		path := filepath.Join(t.TempDir(), "foreign.db")
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(change), db.Close()); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	put := func(bucket, key string, value []byte) []byte {
		return foreign(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(bucket))
			if err != nil {
				return err
			}
			return b.Put([]byte(key), value)
		})
	}
	for name, test := range map[string]struct {
		data []byte
		want error
	}{
		"a bbolt file of another program": {put("things", "a", []byte("b")), store.ErrForeign},
		"another program's meta":          {put("meta", "a", []byte("b")), store.ErrForeign},
		"a newer benchd's":                {put("meta", "format", binary.BigEndian.AppendUint64(nil, 2)), store.ErrNewer},
		"a format that is no number":      {put("meta", "format", []byte("1")), store.ErrDamaged},
		"a text":                          {[]byte("dear reader,\n"), store.ErrForeign},
		"a long text":                     {bytes.Repeat([]byte("dear reader,\n"), 5000), store.ErrForeign},
		"an empty file":                   {nil, nil},
		"a bbolt file without anything":   {foreign(func(*bolt.Tx) error { return nil }), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tryDamaged(t, test.data); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	t.Run("a folder", func(t *testing.T) {
		if _, err := store.Open(t.TempDir(), store.Options{}); !errors.Is(err, store.ErrForeign) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a folder that is not there", func(t *testing.T) {
		if _, err := store.Open(filepath.Join(t.TempDir(), "no", "benchd.db"), store.Options{}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
}
