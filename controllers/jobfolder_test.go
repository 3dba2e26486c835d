package controllers

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Allocations that are prepared side by side install benchd once: whoever returns finds it whole, and no temporary file is
// left for a kill to leave behind.
func TestInstallIsOneWritersWork(t *testing.T) {
	source := filepath.Join(t.TempDir(), "benchd")
	want := bytes.Repeat([]byte("benchd"), 1<<20)
	if err := os.WriteFile(source, want, 0o700); err != nil {
		t.Fatal(err)
	}
	b, err := newBinary(source)
	if err != nil {
		t.Fatal(err)
	}
	defer b.file.Close()
	workdir := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			path, err := b.install(workdir)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("installed: %d bytes (%v), want %d of the source's", len(got), err, len(want))
			}
		})
	}
	all.Wait()
	entries, err := os.ReadDir(filepath.Join(workdir, "bin"))
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v (%v), want the executable alone", entries, err)
	}
}
