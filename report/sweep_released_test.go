package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// What was kept is there, each trial once, wherever a kill cut off what was being written: that trial's run has not gone, and it is kept again.
func TestReleasedTrialsSurviveAKill(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		folder, err := os.MkdirTemp(parent, "sweep")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, releasedFile)
		var want []Trial
		for i := range rapid.IntRange(0, 5).Draw(t, "trials") {
			share := float64(i) / 7
			trial := Trial{
				Run: fmt.Sprint("grid-", i), UID: fmt.Sprint("uid-", i), Point: "p", Values: api.Values{"workload.load.clientsPerNode": float64(i)}, Phase: api.RunCompleted,
				Summary: &api.Summary{OutputTokenThroughput: float64(i) / 3, GoodputShare: &share}, Own: &Own{Intervals: map[string]Interval{"ttftP50": {1, 2}}},
			}
			for range rapid.IntRange(0, 2).Draw(t, "kills") {
				before, _ := os.ReadFile(path)
				if err := KeepReleased(folder, trial); err != nil {
					t.Fatal(err)
				}
				after, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(path, int64(rapid.IntRange(len(before), len(after)).Draw(t, "written"))); err != nil {
					t.Fatal(err)
				}
			}
			if err := KeepReleased(folder, trial); err != nil {
				t.Fatal(err)
			}
			trial.Released = true
			want = append(want, trial)
		}
		got, err := Released(folder, func(uid string) bool { return uid == "uid-1" })
		if err != nil {
			t.Fatal(err)
		}
		if len(want) > 1 {
			want = append(want[:1:1], want[2:]...) // its run is there
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// Where the folder's file system is not there, nothing is written in its place.
func TestKeepReleasedWhereNothingIsMounted(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "project", "default", "sweeps", "grid")
	if err := KeepReleased(folder, Trial{UID: "u"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("kept in %s, whose parent is not there: %v", folder, err)
	}
}

// A search that begins anew after its runs were let go has runs of their names.
func TestReleasedTrialOfTheNameOfAnother(t *testing.T) {
	t.Parallel()
	a, b := Trial{Run: "s-rate1", UID: "a", Released: true}, Trial{Run: "s-rate1", UID: "b"}
	one, other := Sweep(&api.BenchmarkSweep{}, []Trial{a, b}), Sweep(&api.BenchmarkSweep{}, []Trial{b, a})
	if one.Trials[0].UID != other.Trials[0].UID {
		t.Errorf("the order of %s depends on that of what is read", a.Run)
	}
}
