package monitor

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
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

// fixed is a source of two values.
type fixed struct {
	read   func(v []float64)
	closed *bool
}

func (f fixed) Metrics() []Metric {
	return []Metric{{FamilyNode, "", "a_total", "A."}, {FamilyGPU, "1", "b", "B."}}
}
func (f fixed) Read(_ context.Context, v []float64) { f.read(v) }
func (f fixed) Close() error {
	if f.closed != nil {
		*f.closed = true
	}
	return nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestSamplesAreReadableWhileTheyAreWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n1.csv")
	const name = `odd,"node`
	run := func(n int) [][]string {
		machine, err := NewMachine("", "")
		if err != nil {
			t.Fatal(err)
		}
		roles, err := NewRoles("client")
		if err != nil {
			t.Fatal(err)
		}
		s := NewSampler(name, path, 100*time.Millisecond, quiet(), machine, roles)
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
	want := header(append(machineMetrics, []Metric{
		{FamilyRole, "client", "cpu_percent", ""},
		{FamilyRole, "client", "memory_bytes", ""},
		{FamilyRole, "client", "processes", ""},
		{FamilyRole, "server", "cpu_percent", ""},
		{FamilyRole, "server", "memory_bytes", ""},
		{FamilyRole, "server", "processes", ""},
		gapMetric,
	}...))
	if len(all) < len(first)+3 || cmp.Diff(want, all[0]) != "" {
		t.Fatalf("%d rows, then %d; header %v", len(first), len(all), all[0])
	}
	last, known := time.Time{}, 0
	err := Read(path, func(columns []string, s Sample) error {
		v := map[string]float64{}
		for i, name := range columns {
			v[name] = s.Values[i]
		}
		for name, value := range v {
			if math.IsNaN(value) {
				delete(v, name) // not read in time, on a busy machine; the processes' CPU at first
			}
		}
		known += len(v)
		if s.At.Before(last) || s.Node != name || v["cpu_percent"] < 0 || v["cpu_percent"] > 100 || v["memory_used_bytes"] < 0 ||
			v["memory_used_bytes"] > v["memory_total_bytes"] || v["client_processes"] == 1 && v["client_memory_bytes"] < 1<<20 || v["client_cpu_percent"] < 0 {
			t.Errorf("row %v", v)
		}
		last = s.At
		return nil
	})
	if err != nil || last.IsZero() || known < 3*len(machineMetrics) {
		t.Errorf("%v; %d values", err, known)
	}
	s := NewSampler(name, filepath.Join(path, "below a file"), time.Second, quiet())
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("no place to write: %v", err)
	}
	if err := os.WriteFile(path, []byte("timestamp,\"broken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = NewSampler(name, path, time.Second, quiet())
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("a file of somebody else's: %v", err)
	}
}

// A source that hangs costs its own values alone, is not asked again before it has answered, and is heard again afterwards. The ticks that
// nobody was woken for are told as a gap.
func TestSamplerWithAHangingSource(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		reads, closed := 0, false
		hanging := fixed{func(v []float64) {
			if reads++; reads == 2 {
				time.Sleep(2500 * time.Millisecond)
			}
			v[0] = float64(reads)
		}, &closed}
		well := fixed{func(v []float64) { v[1] = 0.5 }, nil}
		s := NewSampler("n", filepath.Join(dir, "x.csv"), time.Second, quiet(), hanging, well)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(6500 * time.Millisecond)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !closed {
			t.Error("the source was not closed")
		}
	})
	var got []string
	start := time.Time{}
	for _, row := range rows(t, filepath.Join(dir, "x.csv"))[1:] {
		at, err := time.Parse(time.RFC3339Nano, row[0])
		if err != nil || at.Nanosecond() != 0 {
			t.Errorf("a sample at %s: not at a whole tick (%v)", row[0], err)
		}
		if start.IsZero() {
			start = at
		}
		got = append(got, fmt.Sprintf("%.0f: %s", at.Sub(start).Seconds(), strings.Join(row[2:], " ")))
	}
	want := []string{"0: 1   0.500 0", "1:    0.500 0", "2:    0.500 0", "3: 2   0.500 0", "4: 3   0.500 0", "5: 4   0.500 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A sampler that is woken too late leaves ticks out and says so.
func TestSamplerTellsOfGaps(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := NewSampler("n", filepath.Join(dir, "x.csv"), time.Second, quiet())
		ticks := 0
		s.wait = func(ctx context.Context, until time.Time) error {
			if ticks++; ticks == 3 { // the machine sleeps
				until = until.Add(4200 * time.Millisecond)
			}
			return sleepUntil(ctx, until)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 9500*time.Millisecond)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	var gaps []string
	for _, row := range rows(t, filepath.Join(dir, "x.csv"))[1:] {
		gaps = append(gaps, row[2])
	}
	if diff := cmp.Diff([]string{"0", "0", "4", "4", "4"}, gaps); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSamplerInPrometheusFormat(t *testing.T) {
	s := NewSampler("n1", "", time.Second, quiet(), fixed{func([]float64) {}, nil})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s)
	if families, err := registry.Gather(); err != nil || len(families) != 0 {
		t.Errorf("before the first sample: %v, %v", families, err)
	}
	s.values = []float64{3, 0.25, 0}
	want := `# HELP benchd_gpu_b B.
# TYPE benchd_gpu_b gauge
benchd_gpu_b{gpu="1",node="n1"} 0.25
# HELP benchd_node_a_total A.
# TYPE benchd_node_a_total counter
benchd_node_a_total{node="n1"} 3
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "benchd_gpu_b", "benchd_node_a_total"); err != nil {
		t.Error(err)
	}
	s.values = []float64{nan, 0.25, 0}
	if n, err := testutil.GatherAndCount(registry, "benchd_node_a_total"); err != nil || n != 0 {
		t.Errorf("a value that is not known is shown (%v)", err)
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
	row := func(node string, s float64, values string) string {
		return fmt.Sprintf("%s,%s,%s\n", noon.Add(time.Duration(s*1e9)).Format(time.RFC3339Nano), node, values)
	}
	const head, gpus, all = "timestamp,node,a,b\n", "timestamp,node,b,gpu0_c\n", "timestamp,node,a,b,gpu0_c\n"
	text := strings.Builder{}
	text.WriteString(gpus)
	for s := range 20_000 { // some MB, so that the beginning is looked for
		text.WriteString(row("n5", float64(s)/1000, fmt.Sprintf("%d,%060d", s, s)))
	}
	long := text.String()
	files := map[string]string{
		"n1.csv":   head + row("n1", 9.9, "1,2") + row("n1", 10, "1,2") + row("n1", 15, "3,") + row("n1", 20, "1,2") + row("n1", 20.1, "1,2"),
		"n2.csv":   gpus + row("n2", 12, "1,2") + strings.TrimSuffix(row("n2", 13, "1,2"), "2\n"), // the last row is being written
		"n3.csv":   head + strings.Repeat("\x00", 1<<17) + "\n" + row("n3", 14, "1,2"),            // what a crash of the machine leaves
		"n4.csv":   "",
		"late.csv": row("late", 11, "1,2"), // its header was lost: nobody knows what it says
		"n5.csv":   long,
		"n6.csv":   head + row("n6", 11, "1") + row("\"od\"\"d,6\"", 12, "5,6"), // a row of another shape; a name that needs quotes
	}
	var paths []File
	for _, name := range []string{"n1.csv", "gone.csv", "n2.csv", "n3.csv", "n4.csv", "late.csv", "n6.csv"} {
		paths = append(paths, File{Path: filepath.Join(dir, name)})
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "out.csv")
	for range 2 { // it can be repeated
		if err := Slice(paths, noon.Add(10*time.Second), noon.Add(20*time.Second), out); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(out)
	want := all + row("n1", 10, "1,2,") + row("n1", 15, "3,,") + row("n1", 20, "1,2,") + row("n2", 12, ",1,2") + row("n3", 14, "1,2,") + row("\"od\"\"d,6\"", 12, "5,6,")
	if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, window := range [][2]float64{{0, 0.002}, {9.999, 10.001}, {19.998, 30}, {-5, -1}, {25, 30}} {
		at := func(s float64) time.Time { return noon.Add(time.Duration(s * 1e9)) }
		if err := Slice([]File{{Path: filepath.Join(dir, "n5.csv")}}, at(window[0]), at(window[1]), out); err != nil {
			t.Fatal(err)
		}
		want := strings.Builder{}
		want.WriteString(gpus)
		for line := range strings.Lines(strings.TrimPrefix(long, gpus)) {
			stamp, _, _ := strings.Cut(line, ",")
			if when, err := time.Parse(time.RFC3339Nano, stamp); err == nil && !when.Before(at(window[0])) && !when.After(at(window[1])) {
				want.WriteString(line)
			}
		}
		if got, err := os.ReadFile(out); err != nil || string(got) != want.String() {
			t.Errorf("%v: %d bytes, want %d (%v)", window, len(got), want.Len(), err)
		}
	}
	// A node whose clock is ahead tells what was later, as one that is behind what was earlier.
	for _, ahead := range []time.Duration{5 * time.Second, -5 * time.Second} {
		if err := Slice([]File{{paths[0].Path, ahead}}, noon.Add(10*time.Second-ahead), noon.Add(15*time.Second-ahead), out); err != nil {
			t.Fatal(err)
		}
		want := head + row("n1", 10-ahead.Seconds(), "1,2") + row("n1", 15-ahead.Seconds(), "3,")
		if got, err := os.ReadFile(out); err != nil || string(got) != want {
			t.Errorf("%s ahead: %q, want %q (%v)", ahead, got, want, err)
		}
	}
	// A clock that was ahead and was set back hides nothing of what came after that.
	set := filepath.Join(dir, "set.csv")
	if err := os.WriteFile(set, []byte(head+row("n1", 3600, "1,2")+row("n1", 12, "3,4")+row("n1", 21, "5,6")+row("n1", 13, "7,8")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Slice([]File{{Path: set}}, noon.Add(10*time.Second), noon.Add(20*time.Second), out); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != head+row("n1", 12, "3,4")+row("n1", 13, "7,8") {
		t.Errorf("a clock that was set back: %q (%v)", got, err)
	}
	if err := Slice(paths, noon, noon, filepath.Join(dir, "gone", "out.csv")); err == nil {
		t.Error("no folder and no error")
	}
	if err := Slice(paths, noon, noon.Add(time.Hour), "/dev/full"); err == nil {
		t.Error("a full disk and no error")
	}
	if err := Read(filepath.Join(dir, "gone.csv"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no samples: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("timestamp,node,a\n2026-01-02T12:00:00Z,n1,5\n")
	f.Add("timestamp,node,a\n2026-01-02T12:00:00Z,\"n,1\",\n2026-01-02T12:00:00Z,n1,1e999\n\x00")
	f.Fuzz(func(t *testing.T, content string) {
		path := filepath.Join(t.TempDir(), "x.csv")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := Read(path, func(columns []string, s Sample) error {
			if len(columns) != len(s.Values) || s.At.IsZero() && !strings.Contains(content, "0001-01-01") {
				t.Errorf("%d columns, %d values at %s", len(columns), len(s.Values), s.At)
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if err := Slice([]File{{Path: path}}, time.Time{}, time.Now(), path+".out"); err != nil {
			t.Error(err)
		}
	})
}
