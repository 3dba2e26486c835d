package monitor

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/procfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rows reads the CSV file as it is now.
func rows(t *testing.T, path string) [][]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	all, err := csv.NewReader(strings.NewReader(string(data))).ReadAll()
	if err != nil {
		t.Fatalf("%v in %q", err, data)
	}
	return all
}

func TestSamplesAreReadableWhileTheyAreWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n1.csv")
	s := Sampler{Node: `odd,"node`, Path: path, Interval: 5 * time.Millisecond}
	run := func(n int) [][]string {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		var seen [][]string
		for deadline := time.Now().Add(20 * time.Second); len(seen) < n && time.Now().Before(deadline); {
			seen = rows(t, path) // fails on a row that is half there
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return rows(t, path)
	}
	first := run(4)
	all := run(len(first) + 3) // a second life appends, without another header
	if len(all) < len(first)+3 || cmp.Diff(Columns, all[0]) != "" {
		t.Fatalf("%d rows, then %d; header %v", len(first), len(all), all[0])
	}
	last := time.Time{}
	for _, row := range all[1:] {
		at, err := time.Parse(time.RFC3339Nano, row[0])
		cpu, err2 := strconv.ParseFloat(row[2], 64)
		used, err3 := strconv.ParseUint(row[4], 10, 64)
		total, err4 := strconv.ParseUint(row[5], 10, 64)
		if err != nil || err2 != nil || err3 != nil || err4 != nil || at.Before(last) || row[1] != s.Node || cpu < 0 || cpu > 100 || used == 0 || used > total {
			t.Errorf("row %q", row)
		}
		last = at
	}
	s.Path = filepath.Join(path, "below a file")
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), s.Node) {
		t.Errorf("no place to write: %v", err)
	}
}

func TestBusy(t *testing.T) {
	idle := procfs.CPUStat{Idle: 10, Iowait: 2, User: 5}
	for name, tc := range map[string]struct {
		after procfs.CPUStat
		want  float64
	}{
		"nothing passed":          {idle, 0},
		"all idle":                {procfs.CPUStat{Idle: 12, Iowait: 4, User: 5}, 0},
		"a quarter, of all kinds": {procfs.CPUStat{Idle: 28, Iowait: 2, User: 6, Nice: 1, System: 1, IRQ: 1, SoftIRQ: 1, Steal: 1}, 25},
		"all busy":                {procfs.CPUStat{Idle: 10, Iowait: 2, User: 9}, 100},
		"counters that went back": {procfs.CPUStat{}, 0},
	} {
		if got := busy(idle, tc.after); got != tc.want {
			t.Errorf("%s: %g %%, want %g", name, got, tc.want)
		}
	}
}

func TestSlice(t *testing.T) {
	dir := t.TempDir()
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	row := func(node string, s float64) string {
		return fmt.Sprintf("%s,%s,1.00,0.50,10,20\n", noon.Add(time.Duration(s*1e9)).Format(time.RFC3339Nano), node)
	}
	head := strings.Join(Columns, ",") + "\n"
	files := map[string]string{
		"n1.csv":   head + row("n1", 9.9) + row("n1", 10) + row("n1", 15) + row("n1", 20) + row("n1", 20.1),
		"n2.csv":   head + row("n2", 12) + strings.TrimSuffix(row("n2", 13), "0,10,20\n"), // the last row is being written
		"n3.csv":   head + strings.Repeat("\x00", 1<<17) + "\n" + row("n3", 14),           // what a crash of the machine leaves
		"n4.csv":   "",
		"late.csv": row("late", 11), // its header was lost
	}
	var paths []string
	for _, name := range []string{"n1.csv", "gone.csv", "n2.csv", "n3.csv", "n4.csv", "late.csv"} {
		paths = append(paths, filepath.Join(dir, name))
		if content, ok := files[name]; ok {
			if err := os.WriteFile(paths[len(paths)-1], []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	out := filepath.Join(dir, "out.csv")
	for range 2 { // it can be repeated
		if err := Slice(paths, noon.Add(10*time.Second), noon.Add(20*time.Second), out); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(out)
	want := head + row("n1", 10) + row("n1", 15) + row("n1", 20) + row("n2", 12) + row("n3", 14) + row("late", 11)
	if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if err := Slice(paths, noon, noon, filepath.Join(dir, "gone", "out.csv")); err == nil {
		t.Error("no folder and no error")
	}
	if err := Slice(paths, noon, noon.Add(time.Hour), "/dev/full"); err == nil {
		t.Error("a full disk and no error")
	}
}
