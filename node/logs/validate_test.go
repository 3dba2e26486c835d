package logs

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// goodFolder is what a run of two nodes leaves: 60 lines, of which each third is of standard error.
func goodFolder(t *testing.T) Expect {
	t.Helper()
	s := newStage(t)
	for i := range 30 {
		s.write("n1/server-a.log", at(float64(2*i), []string{"out", "err", "out"}[i%3], fmt.Sprintf("INFO from the server %d", i)))
		s.write("n2/client-b.log", at(float64(2*i+1), "out", fmt.Sprintf("WARNING from the client %d", i)))
	}
	flag := filepath.Join(filepath.Dir(s.out.Stdout), "loggers_ready")
	if err := os.WriteFile(flag, []byte("now\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Merge(s.root, Window{To: farOff}, s.out, nil); err != nil {
		t.Fatal(err)
	}
	return Expect{Outputs: s.out, Flag: flag, Lines: 50, Nodes: 2, Components: []string{"server", "client"}}
}

func failing(checks []Check) []int {
	var numbers []int
	for i, c := range checks {
		if c.Problem != "" {
			numbers = append(numbers, i+1)
		}
	}
	return numbers
}

// Each check fails for a folder that is broken in its way, and says why.
func TestEveryCheckCanFail(t *testing.T) {
	t.Parallel()
	replace := func(path, old, by string) func(*testing.T, *Expect) {
		return func(t *testing.T, e *Expect) {
			t.Helper()
			file := map[string]string{"out": e.Outputs.Stdout, "err": e.Outputs.Stderr, "all": e.Outputs.Aggregated}[path]
			data := read(t, file)
			if !strings.Contains(data, old) {
				t.Fatalf("%s has no %q", file, old)
			}
			if err := os.WriteFile(file, []byte(strings.ReplaceAll(data, old, by)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	cut := func(path string, lines int) func(*testing.T, *Expect) {
		return func(t *testing.T, e *Expect) {
			t.Helper()
			file := map[string]string{"out": e.Outputs.Stdout, "err": e.Outputs.Stderr, "all": e.Outputs.Aggregated}[path]
			all := strings.SplitAfter(read(t, file), "\n")
			if err := os.WriteFile(file, []byte(strings.Join(all[:min(lines, len(all))], "")), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(path func(*Expect) string) func(*testing.T, *Expect) {
		return func(t *testing.T, e *Expect) {
			t.Helper()
			if err := os.Remove(path(e)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		breakIt func(*testing.T, *Expect)
		// check is the one that is meant, also those that must fail with it; told is a part of what it says.
		check int
		also  []int
		told  string
	}{
		"good":                          {nil, 0, nil, ""},
		"no stdout.log":                 {remove(func(e *Expect) string { return e.Outputs.Stdout }), 1, []int{5, 7, 9, 11, 13, 14, 15, 16}, "stdout.log is not there"},
		"no stderr.log":                 {remove(func(e *Expect) string { return e.Outputs.Stderr }), 2, []int{9, 11, 13}, "stderr.log is not there"},
		"no aggregated.jsonl":           {remove(func(e *Expect) string { return e.Outputs.Aggregated }), 3, []int{6, 8, 10, 12, 13, 14, 15, 16}, "aggregated.jsonl is not there"},
		"no flag":                       {remove(func(e *Expect) string { return e.Flag }), 4, nil, "the collector did not say"},
		"stdout.log empty":              {cut("out", 0), 5, []int{7, 9, 11, 14, 15, 16}, "it is empty"},
		"aggregated.jsonl empty":        {cut("all", 0), 6, []int{8, 10, 12, 14, 15, 16}, "it is empty"},
		"stdout.log short":              {cut("out", 50), 7, []int{16}, "only 50 lines"},
		"aggregated.jsonl short":        {cut("all", 50), 8, []int{16}, "only 50 lines"},
		"a line without its parts":      {replace("out", "[server] INFO from the server 29", "INFO"), 9, nil, `stdout.log: line 59: it does not begin with [time] [node] [component]`},
		"the same in stderr.log":        {replace("err", "[n1] ", "n1 "), 9, nil, "stderr.log: line 1: "},
		"no JSON":                       {replace("all", `server 29"}`, `server 29`), 10, nil, "line 59: "},
		"a field is missing":            {replace("all", `"message":"INFO from the server 29"`, `"text":""`), 10, nil, `line 59: it has no "message"`},
		"a time that is none":           {replace("out", "2026-01-02T12:00:58", "2026-13-02 12:00:58"), 11, nil, "line 59: timestamp"},
		"the same in stderr.log again":  {replace("err", "2026-01-02T12:00:02", "noon"), 11, nil, "stderr.log: line 1: timestamp"},
		"a JSON time that is none":      {replace("all", "2026-01-02T12:00:58", "yesterday"), 12, nil, `line 59: timestamp "yesterday`},
		"out of order":                  {replace("all", "2026-01-02T12:00:58", "2026-01-02T12:00:08"), 13, nil, "aggregated.jsonl: line 59: it is earlier"},
		"stderr.log out of order":       {replace("err", "2026-01-02T12:00:08", "2026-01-01T12:00:08"), 13, nil, "stderr.log: line 2: it is earlier"},
		"one node":                      {replace("all", `"node":"n2"`, `"node":"n1"`), 14, nil, "aggregated.jsonl has lines of n1 alone"},
		"no client":                     {replace("out", "[client]", "[monitor]"), 15, nil, "stdout.log has no line of a client"},
		"no server":                     {replace("all", `"component":"server"`, `"component":"client"`), 15, nil, "aggregated.jsonl has no line of a server"},
		"counts differ":                 {cut("all", 59), 16, nil, "60 lines and 59"},
		"stderr.log cut short":          {cut("err", 9), 16, nil, "stderr.log has 9 lines, and aggregated.jsonl 10 of standard error"},
		"stderr.log emptied":            {cut("err", 0), 16, nil, "stderr.log has 0 lines"},
		"more in stderr.log than there": {replace("err", "\n", "\n[2026-01-02T12:00:58.000000Z] [n1] [server] x\n[2026-01-02T12:00:58.000000Z] [n1] [server] x\n[2026-01-02T12:00:58.000000Z] [n1] [server] x\n[2026-01-02T12:00:58.000000Z] [n1] [server] x\n[2026-01-02T12:00:58.000000Z] [n1] [server] x\n[2026-01-02T12:00:58.000000Z] [n1] [server] x\n"), 16, []int{13}, "all should be among"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := goodFolder(t)
			want := tc.also
			if tc.breakIt != nil {
				tc.breakIt(t, &e)
				want = append(want, tc.check)
			}
			checks := Validate(e)
			if len(checks) != 16 {
				t.Fatalf("%d checks", len(checks))
			}
			wanted := map[int]bool{}
			for _, n := range want {
				wanted[n] = true
			}
			for i, c := range checks {
				if (c.Problem != "") != wanted[i+1] {
					t.Errorf("[%d] %s: %q", i+1, c.Name, c.Problem)
				}
			}
			if tc.check > 0 && !strings.Contains(checks[tc.check-1].Problem, tc.told) {
				t.Errorf("[%d] says %q, want %q", tc.check, checks[tc.check-1].Problem, tc.told)
			}
		})
	}
}

func TestValidateCompressed(t *testing.T) {
	t.Parallel()
	e := goodFolder(t)
	for _, path := range []string{e.Outputs.Stdout, e.Outputs.Stderr, e.Outputs.Aggregated} {
		data := read(t, path)
		f, err := os.Create(path + compressed)
		if err != nil {
			t.Fatal(err)
		}
		z := gzip.NewWriter(f)
		if _, err := z.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(z.Close(), f.Close(), os.Remove(path)); err != nil {
			t.Fatal(err)
		}
	}
	if failed := failing(Validate(e)); len(failed) > 0 {
		t.Errorf("failed: %v", failed)
	}
	if err := os.WriteFile(e.Outputs.Stdout+compressed, []byte("no gzip"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := Validate(e)[0]; !strings.Contains(c.Problem, "cannot be read") {
		t.Errorf("a damaged file: %+v", c)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	e := goodFolder(t)
	stats := NewStats()
	if err := ReadFinished(e.Outputs, func(l *Line) error { stats.Add(l); return nil }); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(stats)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"lines":60,"stderrLines":10,"nodes":{"n1":30,"n2":30},"components":{"client":30,"server":30},"levels":{"info":30,"warning":30},` +
		`"first":"2026-01-02T12:00:00.000000Z","last":"2026-01-02T12:00:59.000000Z","durationSeconds":59,"linesPerSecond":1.0169491525423728,` +
		`"longestSilenceSeconds":1,"longestSilenceFrom":"2026-01-02T12:00:00.000000Z"}`
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	stats.Add(&Line{At: noon.Add(90 * time.Second), Source: Source{Node: "n3"}})
	if stats.Silence != 31 || stats.Levels[unknownLevel] != 1 || stats.Duration != 90 {
		t.Errorf("%+v", stats)
	}
}

// Without the aggregated file, the other two tell as much but for who printed what where.
func TestReadFinishedFromText(t *testing.T) {
	t.Parallel()
	e := goodFolder(t)
	var with, without []string
	take := func(to *[]string) func(*Line) error {
		return func(l *Line) error {
			*to = append(*to, fmt.Sprint(l.Stream(), " ", l.Level, " ", l.String()))
			return nil
		}
	}
	if err := ReadFinished(e.Outputs, take(&with)); err != nil {
		t.Fatal(err)
	}
	e.Outputs.Aggregated = ""
	if err := ReadFinished(e.Outputs, take(&without)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(with, without); diff != "" || len(with) != 60 {
		t.Errorf("(-aggregated +text):\n%s", diff)
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	l := Line{At: noon, Source: Source{"n1", "server", "a"}, Level: LevelWarning, Stderr: true, Text: "x y"}
	for name, tc := range map[string]struct {
		filter Filter
		want   bool
	}{
		"all": {Filter{}, true}, "node": {Filter{Node: "n1"}, true}, "another node": {Filter{Node: "n2"}, false},
		"component": {Filter{Component: "server"}, true}, "another component": {Filter{Component: "client"}, false},
		"stream": {Filter{Stream: "err"}, true}, "another stream": {Filter{Stream: "out"}, false},
		"level": {Filter{Level: LevelInfo}, true}, "same level": {Filter{Level: LevelWarning}, true}, "worse level": {Filter{Level: LevelError}, false},
		"since": {Filter{Since: noon}, true}, "later": {Filter{Since: noon.Add(1)}, false},
	} {
		if got := tc.filter.Match(&l); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	var back map[string]string
	if err := json.Unmarshal(l.JSON(), &back); err != nil || back["level"] != "warning" || back["stream"] != "err" || back["timestamp"] != "2026-01-02T12:00:00.000000Z" {
		t.Errorf("%s: %v", l.JSON(), err)
	}
}

func TestParseSince(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("here", 3600)
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"5m": now.Add(-5 * time.Minute), "-5m": now.Add(-5 * time.Minute), "14:30": time.Date(2026, 1, 2, 14, 30, 0, 0, zone),
		"14:30:05": time.Date(2026, 1, 2, 14, 30, 5, 0, zone), "23:50": time.Date(2026, 1, 1, 23, 50, 0, 0, zone), "2026-01-01": time.Date(2026, 1, 1, 0, 0, 0, 0, zone),
		"2026-01-01 12:00:00": time.Date(2026, 1, 1, 12, 0, 0, 0, zone), "2026-01-01T12:00:00Z": time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC),
	} {
		if got, err := ParseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, want %v: %v", text, got, want, err)
		}
	}
	for _, text := range []string{"", "yesterday", "25:00", "5 minutes"} {
		if _, err := ParseSince(text, now); err == nil || !strings.Contains(err.Error(), "use a duration such as 5m") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzMergedLines: whatever a line is, reading it says what is wrong or gives it back.
func FuzzMergedLines(f *testing.F) {
	f.Add([]byte("[2026-01-02T12:00:00.000000Z] [n1] [server] x"))
	f.Add([]byte(`{"timestamp":"2026-01-02T12:00:00Z","node":"n","component":"c","message":"m"}`))
	f.Add([]byte("2026-01-02T12:00:00.5Z err text \xff"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if l, err := parseText(line); err == nil && l.At.IsZero() && !strings.Contains(string(line), "0001-01-01") {
			t.Errorf("%q has no time", line)
		}
		if l, err := parseEntry(line); err == nil {
			if back, err := parseEntry(l.JSON()); err != nil || back.Text != l.Text || back.Node != l.Node || back.Level != l.Level {
				t.Errorf("%q became %q: %v", line, l.JSON(), err)
			}
		}
		_, _, _, _ = parseRaw(line)
	})
}

// A run that was told to write no JSON has the other checks, and nothing to fail them.
func TestValidateWithoutJSON(t *testing.T) {
	t.Parallel()
	e := goodFolder(t)
	if err := os.Remove(e.Outputs.Aggregated); err != nil {
		t.Fatal(err)
	}
	e.Outputs.Aggregated = ""
	checks := Validate(e)
	if bad := failing(checks); len(bad) > 0 || len(checks) != 10 {
		t.Errorf("%d checks, %v fail: %+v", len(checks), bad, checks)
	}
	e.Nodes = 3
	if bad := failing(Validate(e)); len(bad) != 1 {
		t.Errorf("%v fail, want the one of nodes", bad)
	}
}

// What is counted is what is there: a file that was cut short in the middle of a line has no byte more.
func TestValidateCountsBytes(t *testing.T) {
	t.Parallel()
	e := goodFolder(t)
	if err := os.Truncate(e.Outputs.Aggregated, 100); err != nil {
		t.Fatal(err)
	}
	if note := Validate(e)[5].Note; note != "Bytes: 100" {
		t.Errorf("note %q", note)
	}
}

// Where servers and clients share a node, its agent is a server's, and where servers run elsewhere they leave no lines.
func TestValidateOfOneComponent(t *testing.T) {
	t.Parallel()
	e := goodFolder(t)
	for _, path := range []string{e.Outputs.Stdout, e.Outputs.Stderr, e.Outputs.Aggregated} {
		data := strings.NewReplacer("[client]", "[server]", `"component":"client"`, `"component":"server"`).Replace(read(t, path))
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e.Components = []string{"server"}
	if checks := Validate(e); len(failing(checks)) > 0 || checks[14].Name != "server logs are present" {
		t.Errorf("%v fail: %+v", failing(checks), checks[14])
	}
	e.Components = []string{"client"}
	if bad := failing(Validate(e)); len(bad) != 1 || bad[0] != 15 {
		t.Errorf("%v fail, want the one of components", bad)
	}
}
