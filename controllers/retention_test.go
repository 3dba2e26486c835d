package controllers

import (
	"os"
	"path/filepath"
	"testing"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// A run is archived from where its results are, also when the cluster's work folder is another one by now: its folder goes afterwards.
func TestArchiveOfARunFromAnEarlierWorkFolder(t *testing.T) {
	t.Parallel()
	earlier, now := t.TempDir(), t.TempDir()
	run := validRun()
	run.Namespace, run.Name, run.UID = "default", "old", "0123456789"
	folder := attemptFolder(earlier, run, 1)
	run.Status.Attempts = []api.Attempt{{Number: 1, Folder: folder}, {Number: 2}}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	records := make([]byte, 1<<20)
	for i := range records {
		records[i] = byte(i * i >> 7) // nothing that packs well
	}
	if err := os.WriteFile(filepath.Join(folder, "records.jsonl"), records, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := archiveRun(now, run); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(now, "default", "archive", "old-01234567.tar.gz"))
	if err != nil || info.Size() < 2000 {
		t.Errorf("the archive is without the records: %+v, %v", info, err)
	}
}
