package logs

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// at is a raw line, so many seconds after noon.
func at(seconds float64, stream, text string) string {
	return fmt.Sprintf("%s %s %s\n", noon.Add(time.Duration(seconds*1e9)).Format(time.RFC3339Nano), stream, text)
}

// merge writes raw logs (by their path below the root) and merges them up to noon and 100 s.
func merge(t testing.TB, raw map[string]string) (api.LogSummary, Outputs) {
	t.Helper()
	root := t.TempDir()
	for path, content := range raw {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := Outputs{Stdout: filepath.Join(root, "stdout"), Stderr: filepath.Join(root, "stderr"), Aggregated: filepath.Join(root, "jsonl")}
	sum, err := Merge(root, until(noon.Add(100*time.Second)), out, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sum, out
}

func TestMerge(t *testing.T) {
	line := func(s int, rest string) string {
		return noon.Add(time.Duration(s) * time.Second).Format("[" + stamp + "] " + rest + "\n")
	}
	long := strings.Repeat("y", 3*maxLineBytes)
	for name, tc := range map[string]struct {
		raw            map[string]string
		stdout, stderr string
		nodes          []string
	}{
		"nothing": {nil, "", "", nil},
		"two nodes in the order of time": {
			map[string]string{"n2/client-load.log": at(2, "out", "b"), "n1/server-a.log": at(1, "out", "a") + at(3, "err", "c c")},
			line(1, "[n1] [server] a") + line(2, "[n2] [client] b") + line(3, "[n1] [server] c c"), line(3, "[n1] [server] c c"),
			[]string{"n1", "n2"},
		},
		"the same instant: by node": {
			map[string]string{"n2/client-x.log": at(1, "out", "b"), "n1/client-x.log": at(1, "out", "a")},
			line(1, "[n1] [client] a") + line(1, "[n2] [client] b"), "",
			[]string{"n1", "n2"},
		},
		"a last line that is being written": {
			map[string]string{"n1/server-a.log": at(1, "out", "a") + strings.TrimSuffix(at(2, "out", "b"), "\n")}, line(1, "[n1] [server] a"), "", []string{"n1"},
		},
		"binary noise between lines": {
			map[string]string{"n1/server-a.log": at(1, "out", "a") + "\x00\x00\xff noise\n\n" + at(2, "out", "b")},
			line(1, "[n1] [server] a") + line(2, "[n1] [server] b"), "",
			[]string{"n1"},
		},
		"an empty line and one of spaces": {
			map[string]string{"n1/server-a.log": at(1, "out", "") + at(2, "out", "  x ")}, line(1, "[n1] [server] ") + line(2, "[n1] [server]   x "), "", []string{"n1"},
		},
		"a clock set back keeps the file's order": {
			map[string]string{"n1/server-a.log": at(5, "out", "a") + at(3, "out", "b") + at(6, "out", "c"), "n2/server-b.log": at(4, "out", "z")},
			line(4, "[n2] [server] z") + line(5, "[n1] [server] a") + line(5, "[n1] [server] b") + line(6, "[n1] [server] c"), "",
			[]string{"n1", "n2"},
		},
		"lines after the end are left out": {
			map[string]string{"n1/server-a.log": at(100, "out", "a") + at(100.001, "out", "b") + at(200, "out", "c")}, line(100, "[n1] [server] a"), "", []string{"n1"},
		},
		"a clock that was ahead and was set back": {
			map[string]string{"n1/server-a.log": at(3600, "out", "a") + at(3601, "err", "b") + at(2, "out", "c") + at(100.001, "out", "d") + at(3, "out", "e")},
			line(2, "[n1] [server] c") + line(3, "[n1] [server] e"), "",
			[]string{"n1"},
		},
		"a very long line": {
			map[string]string{"n1/server-a.log": at(1, "out", long) + at(2, "out", "b")}, line(1, "[n1] [server] "+long) + line(2, "[n1] [server] b"), "", []string{"n1"},
		},
		"an empty file still has a node": {map[string]string{"n1/server-a.log": ""}, "", "", []string{"n1"}},
		"what is no log":                 {map[string]string{"n1/server-a.truth.jsonl": at(1, "out", "a"), "stray.log": at(1, "out", "a")}, "", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			sum, out := merge(t, tc.raw)
			if diff := cmp.Diff(tc.stdout, read(t, out.Stdout)); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.stderr, read(t, out.Stderr)); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
			if sum.Lines != int64(strings.Count(tc.stdout, "\n")) || sum.StderrLines != int64(strings.Count(tc.stderr, "\n")) || sum.Files != 3 {
				t.Errorf("summary: %+v", sum)
			}
			if diff := cmp.Diff(tc.nodes, slices.Sorted(maps.Keys(sum.Nodes))); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
			if n := strings.Count(read(t, out.Aggregated), "\n"); int64(n) != sum.Lines {
				t.Errorf("%d JSON lines of %d", n, sum.Lines)
			}
		})
	}
}

func TestMergedJSONLines(t *testing.T) {
	_, out := merge(t, map[string]string{"n1/monitor-s.log": at(1.5, "out", "quote \" back \\ \u2028 <é> \xff end")})
	var got map[string]string
	if err := json.Unmarshal([]byte(read(t, out.Aggregated)), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"timestamp": "2026-01-02T12:00:01.500000Z", "node": "n1", "component": "monitor", "stream": "out", "message": "quote \" back \\ \u2028 <é> � end"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMergeWithoutJSONAndWithoutAPlace(t *testing.T) {
	dir := t.TempDir()
	out := Outputs{Stdout: filepath.Join(dir, "o"), Stderr: filepath.Join(dir, "e")}
	if _, err := Merge(filepath.Join(dir, "gone"), until(noon), out, nil); err != nil {
		t.Errorf("no logs at all: %v", err)
	}
	out.Stderr = filepath.Join(dir, "gone", "e")
	if _, err := Merge(dir, until(noon), out, nil); err == nil {
		t.Error("no place for stderr and no error")
	}
	full := Outputs{Stdout: filepath.Join(dir, "full"), Stderr: filepath.Join(dir, "e")}
	if err := os.WriteFile(full.Stdout, []byte("what was there\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", filepath.Join(dir, ".full.tmp")); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root", "n1")
	if err := os.MkdirAll(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "server-a.log"), []byte(at(1, "out", "a")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Merge(filepath.Dir(root), until(noon.Add(time.Hour)), full, nil); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	if got := read(t, full.Stdout); got != "what was there\n" {
		t.Errorf("what there was is gone: %q", got)
	}
}

// Whatever was logged where, nothing is lost, times never go back, and the order within a file stays.
func TestMergeKeepsEveryLine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		raw := map[string]string{}
		total := 0
		for f := range rapid.IntRange(1, 5).Draw(rt, "files") {
			var b strings.Builder
			for i, s := range rapid.SliceOfN(rapid.IntRange(0, 99), 0, 20).Draw(rt, "seconds") {
				b.WriteString(at(float64(s), rapid.SampledFrom([]string{"out", "err"}).Draw(rt, "stream"), fmt.Sprint(f, " ", i)))
				total++
			}
			raw[fmt.Sprintf("n%d/server-%d.log", f%3, f)] = b.String()
		}
		sum, out := merge(t, raw)
		next, last, lines := map[int]int{}, "", 0
		for line := range strings.Lines(read(t, out.Stdout)) {
			var f, i int
			if _, err := fmt.Sscanf(line[strings.Index(line, "] [server] ")+len("] [server] "):], "%d %d", &f, &i); err != nil {
				rt.Fatal(err)
			}
			if next[f] != i || line[:len(stamp)] < last {
				rt.Fatalf("out of order: %q after %s", line, last)
			}
			next[f], last = i+1, line[:len(stamp)]
			lines++
		}
		if lines != total || sum.Lines != int64(total) {
			rt.Fatalf("%d lines of %d; summary %+v", lines, total, sum)
		}
	})
}

// A folder's name may have letters that mean something in patterns.
func TestSourcesInAFolderOfAnyName(t *testing.T) {
	root := filepath.Join(t.TempDir(), "runs [2026] *?\\")
	if err := os.MkdirAll(filepath.Join(root, "n1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "n1", "server-a-b.log"), []byte(at(1, "out", "a")), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := Sources(root)
	if diff := cmp.Diff([]Source{{"n1", "server", "a-b"}}, found); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if found, err := Sources(filepath.Join(root, "gone")); err != nil || len(found) > 0 {
		t.Errorf("of a folder that is not there: %v, %v", found, err)
	}
}

// A node whose clock is ahead or behind loses no line at the ends of the window, and its lines come where they belong.
func TestMergeOfClocksThatDiffer(t *testing.T) {
	root := t.TempDir()
	second := func(s float64) time.Time { return noon.Add(time.Duration(s * 1e9)) }
	var early, late, want strings.Builder
	pad := strings.Repeat("x", 3000) // so that the window's beginning is looked for
	for s := range 300 {
		early.WriteString(at(float64(s)+420, "out", pad))
		late.WriteString(at(float64(s)+0.5-420, "out", pad))
		if s <= 5 || s >= 200 && s <= 250 {
			want.WriteString(second(float64(s)).Format("["+stamp+"] ") + "[n1] [server] " + pad + "\n")
		}
		if s+1 <= 5 || s >= 200 && s < 250 {
			want.WriteString(second(float64(s)+0.5).Format("["+stamp+"] ") + "[n2] [server] " + pad + "\n")
		}
	}
	for name, content := range map[string]string{"n1": early.String(), "n2": late.String()} {
		if err := errors.Join(os.Mkdir(filepath.Join(root, name), 0o700), os.WriteFile(filepath.Join(root, name, "server-a.log"), []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	out := Outputs{Stdout: filepath.Join(root, "stdout"), Stderr: filepath.Join(root, "stderr")}
	w := Window{Startup: second(5), From: second(200), To: second(250), Ahead: map[string]time.Duration{"n1": 7 * time.Minute, "n2": -7 * time.Minute}}
	if _, err := Merge(root, w, out, nil); err != nil {
		t.Fatal(err)
	}
	if got := read(t, out.Stdout); got != want.String() {
		t.Errorf("%d lines, want %d", strings.Count(got, "\n"), strings.Count(want.String(), "\n"))
	}
}

func until(t time.Time) Window { return Window{To: t} }

// A run of a job that others went before is shown the start-up and its own time, whatever lies between.
func TestMergeWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		root, err := os.MkdirTemp("", "logs")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(root)
		var raw strings.Builder
		var times []int
		now := 0
		for range rapid.IntRange(0, 400).Draw(t, "lines") {
			now += rapid.IntRange(0, 3).Draw(t, "gap")
			times = append(times, now)
			raw.WriteString(at(float64(now), "out", fmt.Sprintf("%d %s", now, strings.Repeat("x", rapid.IntRange(0, 2000).Draw(t, "length")))))
		}
		startup := rapid.IntRange(0, 200).Draw(t, "startup")
		from := startup + rapid.IntRange(0, 400).Draw(t, "from")
		to := from + rapid.IntRange(0, 400).Draw(t, "to")
		if err := os.MkdirAll(filepath.Join(root, "n1"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "n1", "server-a.log"), []byte(raw.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		second := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
		out := Outputs{Stdout: filepath.Join(root, "stdout"), Stderr: filepath.Join(root, "stderr")}
		sum, err := Merge(root, Window{Startup: second(startup), From: second(from), To: second(to)}, out, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := int64(0)
		for _, s := range times {
			if s <= startup || s >= from && s <= to {
				want++
			}
		}
		if sum.Lines != want {
			t.Fatalf("%d lines, want %d: start-up until %d, then %d to %d", sum.Lines, want, startup, from, to)
		}
	})
}
