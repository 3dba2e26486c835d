package report

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

const archivedBase = "run-01234567"

func archivable(t *testing.T) (folders []string, target string, run *api.BenchmarkRun) {
	t.Helper()
	dir := t.TempDir()
	for i, file := range []string{"attempt-1/results/a", "attempt-2/results/b"} {
		folder := filepath.Join(dir, string(rune('x'+i)), archivedBase)
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, file)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, file), []byte(strings.Repeat(file, 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		folders = append(folders, folder)
	}
	if err := os.Symlink("a", filepath.Join(folders[0], "attempt-1/results/link")); err != nil {
		t.Fatal(err)
	}
	return folders, filepath.Join(dir, "run.tar.gz"), &api.BenchmarkRun{ObjectMeta: metav1.ObjectMeta{Name: "run", UID: "0123456789"}}
}

func archivedSizes(t *testing.T, path string) map[string]int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sizes, err := contents(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return sizes
}

func TestArchive(t *testing.T) {
	t.Parallel()
	folders, target, run := archivable(t)
	// What a kill in the midst of packing leaves behind.
	tmp := filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".tmp")
	if err := os.WriteFile(tmp, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Archive(t.Context(), append(folders, filepath.Join(t.TempDir(), "gone", archivedBase)), target, run); err != nil {
		t.Fatal(err)
	}
	got := archivedSizes(t, target)
	for name, size := range map[string]int64{"attempt-1/results/a": 19000, "attempt-2/results/b": 19000, "attempt-1/results/link": 0} {
		if n, in := got[archivedBase+"/"+name]; !in || n != size {
			t.Errorf("%s: %d bytes (there: %t), want %d", name, n, in, size)
		}
	}
	if len(got) != 4 || got[archivedBase+"/"+ArchivedRun] == 0 {
		t.Errorf("in the archive: %v", got)
	}
	if _, err := os.Stat(tmp); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary file stays: %v", err)
	}
}

// What is cut off leaves neither an archive nor half of one.
func TestArchiveCutOff(t *testing.T) {
	t.Parallel()
	folders, target, run := archivable(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Archive(ctx, folders, target, run); !errors.Is(err, context.Canceled) {
		t.Errorf("cut off: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(target)); err != nil || len(left) != len(folders) {
		t.Errorf("left: %v (%v)", left, err)
	}
}

// One that is there is left as it is while it holds all that is left of the folders, and is never taken for whole when it does not.
func TestArchiveThatIsThere(t *testing.T) {
	t.Parallel()
	folders, target, run := archivable(t)
	if err := Archive(t.Context(), folders, target, run); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(folders[1]); err != nil { // a removal that was cut off
		t.Fatal(err)
	}
	if err := Archive(t.Context(), folders, target, run); err != nil {
		t.Errorf("half of the folders is gone: %v", err)
	}
	if after, err := os.ReadFile(target); err != nil || string(after) != string(before) {
		t.Errorf("the archive was written anew (%v)", err)
	}
	if err := os.WriteFile(filepath.Join(folders[0], "more"), []byte("more"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Archive(t.Context(), folders, target, run); err == nil || !strings.Contains(err.Error(), "lacks "+filepath.Join(folders[0], "more")) {
		t.Errorf("a file that it does not hold: %v", err)
	}
	for name, content := range map[string][]byte{"cut off": before[:len(before)/2], "flipped": append([]byte{}, before...)} {
		if name == "flipped" {
			content[len(content)/2] ^= 1
		}
		if err := os.WriteFile(target, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Archive(t.Context(), folders, target, run); err == nil {
			t.Errorf("an archive that is %s is taken for whole", name)
		}
	}
}
