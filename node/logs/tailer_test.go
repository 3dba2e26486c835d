package logs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// stage is a folder of raw logs that grow, and the outputs of a collector.
type stage struct {
	t    testing.TB
	root string
	out  Outputs
	log  bytes.Buffer
}

func newStage(t testing.TB) *stage {
	t.Helper()
	dir := t.TempDir()
	return &stage{t: t, root: filepath.Join(dir, "raw"), out: Outputs{
		Stdout: filepath.Join(dir, "stdout.log"), Stderr: filepath.Join(dir, "stderr.log"), Aggregated: filepath.Join(dir, "aggregated.jsonl"),
	}}
}

func (s *stage) settings() Settings {
	return Settings{
		Root: s.root, Outputs: s.out, Window: Window{From: noon.Add(-time.Hour)}, FlushInterval: time.Hour,
		Log: slog.New(slog.NewTextHandler(&s.log, nil)),
	}
}

// write appends to a raw log.
func (s *stage) write(path, text string) {
	s.t.Helper()
	path = filepath.Join(s.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// texts are the messages of the live stdout, in order.
func (s *stage) texts() []string {
	s.t.Helper()
	data, err := os.ReadFile(s.out.Stdout)
	if err != nil {
		s.t.Fatal(err)
	}
	var texts []string
	for line := range strings.Lines(string(data)) {
		l, err := parseText([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil {
			s.t.Fatal(err)
		}
		texts = append(texts, l.Text)
	}
	return texts
}

func (s *stage) want(texts ...string) {
	s.t.Helper()
	if diff := cmp.Diff(texts, s.texts()); diff != "" {
		s.t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// A tailer that is looked at by hand: its files grow with each look, whatever happens to the raw logs.
func TestTailerFollows(t *testing.T) {
	s := newStage(t)
	s.write("n1/server-a.log", at(1, "out", "one")+at(3, "err", "three"))
	tail := newTailer(s.settings())
	if err := tail.Deploy([]Source{{"n1", "server", "a"}, {"n2", "client", "b"}}); err != nil {
		t.Fatal(err)
	}
	look := func(until float64) { tail.look(noon.Add(time.Duration(until * 1e9))) }
	look(2)
	s.want("one")
	if tail.Ready() {
		t.Error("ready, and n2's log is not there yet")
	}

	// A source comes late, with a line that belongs before one that waits.
	s.write("n2/client-b.log", at(2, "out", "two"))
	look(3)
	s.want("one", "two", "three")
	if !tail.Ready() {
		t.Error("all logs are followed, and the tailer is not ready")
	}

	// A line that is being written is left until it is whole.
	half := at(4, "out", "four, in two pieces")
	s.write("n1/server-a.log", half[:40])
	look(10)
	s.want("one", "two", "three")
	s.write("n1/server-a.log", half[40:]+"\x00\xff noise without a time\n"+at(5, "out", "five"))
	look(10)
	s.want("one", "two", "three", "four, in two pieces", "five")

	// Rotation by renaming: what the old file has got since is not lost, and its last line may have no end.
	path := filepath.Join(s.root, "n1", "server-a.log")
	s.write("n1/server-a.log", at(6, "out", "six")+strings.TrimSuffix(at(7, "out", "seven, cut off"), "\n"))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	look(10)
	s.write("n1/server-a.log", at(8, "out", "eight"))
	look(10)
	s.want("one", "two", "three", "four, in two pieces", "five", "six", "seven, cut off", "eight")

	// Rotation by copying: the file is cut short.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	s.write("n1/server-a.log", at(9, "out", "9"))
	look(10)
	if got := s.texts(); got[len(got)-1] != "9" || len(got) != 9 {
		t.Errorf("after a cut: %q", got)
	}

	// A log that is taken away ends nothing.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look(10)
	s.write("n2/client-b.log", at(9.5, "out", "still there"))
	look(10)
	if got := s.texts(); got[len(got)-1] != "still there" {
		t.Errorf("after a log went: %q", got)
	}
	if _, err := tail.Stop(noon.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if s.log.Len() > 0 {
		t.Errorf("warnings: %s", &s.log)
	}
}

func TestTailerCutsALineWithoutEnd(t *testing.T) {
	s := newStage(t)
	endless := strings.TrimSuffix(at(1, "out", strings.Repeat("x", 3*longestLine)), "\n")
	s.write("n1/server-a.log", endless)
	tail := newTailer(s.settings())
	if err := tail.Deploy(nil); err != nil {
		t.Fatal(err)
	}
	tail.look(farOff)
	s.write("n1/server-a.log", strings.Repeat("y", longestLine)+"\n"+at(2, "out", "after"))
	tail.look(farOff)
	got := s.texts()
	if len(got) != 2 || got[1] != "after" || len(got[0]) < longestLine/2 || len(got[0]) > longestLine+readBytes {
		t.Errorf("%d lines, the first of %d bytes", len(got), len(got[0]))
	}
	if _, err := tail.Stop(farOff); err != nil {
		t.Fatal(err)
	}
}

// Whatever is written when, and in however many looks it is read, the live files hold every line once, each source in its order; the
// final ones have all in the order of time.
func TestTailerLosesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStage(t)
		tail := newTailer(s.settings())
		if err := tail.Deploy(nil); err != nil {
			rt.Fatal(err)
		}
		sources := rapid.IntRange(1, 4).Draw(rt, "sources")
		now, written, rest := 0.0, 0, make([]string, sources)
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			i := rapid.IntRange(0, sources-1).Draw(rt, "source")
			path := fmt.Sprintf("n%d/server-%d.log", i%2, i)
			switch rapid.SampledFrom([]string{"write", "write", "half", "look", "rotate"}).Draw(rt, "step") {
			case "write":
				now += float64(rapid.IntRange(0, 3).Draw(rt, "gap"))
				s.write(path, rest[i]+at(now, "out", fmt.Sprint("line ", written)))
				rest[i] = ""
				written++
			case "half":
				if rest[i] == "" {
					line := at(now, "err", fmt.Sprint("line ", written))
					cut := rapid.IntRange(1, len(line)-1).Draw(rt, "cut")
					s.write(path, line[:cut])
					rest[i] = line[cut:]
					written++
				}
			case "look":
				tail.look(noon.Add(time.Duration((now - 2) * 1e9)))
			case "rotate":
				// One that comes before the file of the last one was reached takes it away for good.
				if rest[i] == "" {
					tail.look(farOff)
					_ = os.Rename(filepath.Join(s.root, path), filepath.Join(s.root, path)+fmt.Sprintf(".%d", written))
				}
			}
		}
		for i, tailOfLine := range rest {
			s.write(fmt.Sprintf("n%d/server-%d.log", i%2, i), tailOfLine)
		}
		tail.look(farOff)
		seen := map[string]int{}
		for _, text := range s.texts() {
			seen[text]++
		}
		for i := range written {
			if n := seen[fmt.Sprint("line ", i)]; n != 1 {
				rt.Fatalf("line %d is there %d times of %d lines", i, n, written)
			}
		}
		if _, err := tail.Stop(farOff); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestCollectorThroughItsLife(t *testing.T) {
	for name, tc := range map[string]struct {
		compress, jsonl bool
	}{"plain": {false, true}, "compressed": {true, true}, "without JSON": {false, false}, "compressed without JSON": {true, false}} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.out.Compress = tc.compress
			if !tc.jsonl {
				s.out.Aggregated = ""
			}
			settings := s.settings()
			settings.FlushInterval = time.Millisecond
			found, err := NewFinder(nil)
			if err != nil {
				t.Fatal(err)
			}
			settings.Finder = found
			s.write("n1/server-a.log", at(1, "err", "ERROR CUDA out of memory. Tried to allocate"))
			c, err := NewCollector(api.CollectorTailer, settings)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Deploy([]Source{{"n1", "server", "a"}}); err != nil {
				t.Fatal(err)
			}
			if c.Ready() {
				t.Error("ready before the start")
			}
			c.Start()
			await(t, "ready", c.Ready)
			s.write("n2/client-agent.log", at(0.5, "out", "level=INFO msg=begins")) // earlier, and seen later
			await(t, "a line of n2", func() bool {
				return slices.ContainsFunc(s.texts(), func(t string) bool { return strings.Contains(t, "begins") })
			})
			sum, err := c.Stop(noon.Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			err = ReadFinished(s.out, func(l *Line) error {
				lines = append(lines, fmt.Sprintf("%s %s %s %s", l.Node, l.Component, l.Stream(), l.Level))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"n2 client out info", "n1 server err error"}, lines); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
			files := int32(2)
			if tc.jsonl {
				files = 3
			}
			if sum.Files != files || sum.Lines != 2 || sum.StderrLines != 1 || sum.Levels["error"] != 1 || sum.Levels["info"] != 1 || sum.Nodes["n2"] != 1 ||
				sum.Components["server"] != 1 || sum.Bytes == 0 || sum.Duration.Duration != 500*time.Millisecond {
				t.Errorf("summary %+v", sum)
			}
			left, err := filepath.Glob(filepath.Join(filepath.Dir(s.out.Stdout), "*"))
			if err != nil || len(left) != int(files)+1 { // and the raw logs
				t.Errorf("files left: %q, %v", left, err)
			}
			for _, path := range left {
				if tc.compress != strings.HasSuffix(path, ".gz") && path != s.root {
					t.Errorf("%s is left", path)
				}
			}
			if f := found.Findings(); len(f) != 1 || f[0].Rule != "CUDAOutOfMemory" || f[0].Node != "n1" {
				t.Errorf("findings %+v", f)
			}
		})
	}
}

// await waits until something that goes on in the background has come to be.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(20 * time.Second); !is(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func TestCollectorTypes(t *testing.T) {
	if _, err := NewCollector("fluent", Settings{}); err == nil || err.Error() != `log collector "fluent" is not known: use one of forward, tailer` {
		t.Errorf("an unknown type: %v", err)
	}
	if _, err := NewCollector(api.CollectorForward, Settings{}); err == nil || !strings.Contains(err.Error(), "set logging.forward") {
		t.Errorf("nowhere to forward to: %v", err)
	}
	if _, err := NewCollector(api.CollectorForward, Settings{Forward: &api.ForwardSpec{Format: "syslog"}}); err == nil || !strings.Contains(err.Error(), `format "syslog" is not known`) {
		t.Errorf("an unknown format: %v", err)
	}
	for kind := range collectors {
		c, err := NewCollector(kind, Settings{Outputs: Outputs{Stdout: "/nowhere/x"}, Forward: &api.ForwardSpec{Format: api.ForwardLoki, URL: "http://x"}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Stop(noon); err != nil {
			t.Errorf("%s that was never deployed: %v", kind, err)
		}
		if err := c.Deploy(nil); err == nil {
			t.Errorf("%s: no folder for the files and no error", kind)
		}
	}
}

// A live file that cannot be written is told once, and the end makes it good.
func TestTailerOnAFullDisk(t *testing.T) {
	s := newStage(t)
	s.write("n1/server-a.log", at(1, "out", "one"))
	if err := os.Symlink("/dev/full", s.out.Stdout); err != nil {
		t.Fatal(err)
	}
	tail := newTailer(s.settings())
	if err := tail.Deploy(nil); err != nil {
		t.Fatal(err)
	}
	tail.look(farOff)
	s.write("n1/server-a.log", at(2, "out", "two"))
	tail.look(farOff)
	if n := strings.Count(s.log.String(), "no space left on device"); n != 1 {
		t.Errorf("%d warnings: %s", n, &s.log)
	}
	if sum, err := tail.Stop(farOff); err != nil || sum.Lines != 2 {
		t.Errorf("%+v, %v", sum, err)
	}
	s.want("one", "two")
}

func TestAppendQuoted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOf(rapid.Byte()).Draw(t, "text")
		quoted := appendQuoted(nil, text)
		var back string
		if err := json.Unmarshal(quoted, &back); err != nil {
			t.Fatalf("%q: %v", quoted, err)
		}
		want, err := json.Marshal(string(text))
		if err != nil {
			t.Fatal(err)
		}
		var same string
		if err := json.Unmarshal(want, &same); err != nil || same != back {
			t.Fatalf("%q became %q, want %q", text, back, same)
		}
		if bytes.ContainsAny(quoted, "\n\u2028") {
			t.Fatalf("%q is more than a line", quoted)
		}
	})
}

func TestClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c clock
		for range 5 {
			at := time.Unix(rapid.Int64Range(-1e10, 1e10).Draw(t, "second"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos"))
			if got, want := string(c.append(nil, at.UnixNano(), 6)), at.UTC().Format(stamp); got != want && at.Year() > 1700 && at.Year() < 2200 {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
	})
}
