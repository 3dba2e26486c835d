package logs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// captured splits a raw log into "stream text", checking each line's time.
func captured(t *testing.T, path string) []string {
	t.Helper()
	var out []string
	last := time.Time{}
	for line := range strings.Lines(read(t, path)) {
		stamp, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil || at.Before(last) || at.Location() != time.UTC {
			t.Errorf("time of %q: %v", line, err)
		}
		out, last = append(out, rest), at
	}
	return out
}

func TestCaptureOfAProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), Source{Component: "server", Container: "vllm-0"}.File())
	c, err := NewCapture(path)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `printf 'one\r\ntwo\n'; printf 'oh\n' >&2; printf '\0\033[31mred\377\n'; printf 'no end'`)
	for stream, to := range map[string]*func(*os.File){
		"out": ptr(func(f *os.File) { cmd.Stdout = f }), "err": ptr(func(f *os.File) { cmd.Stderr = f }),
	} {
		pipe, err := c.Pipe(stream)
		if err != nil {
			t.Fatal(err)
		}
		defer pipe.Close()
		(*to)(pipe)
	}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []any{cmd.Stdout, cmd.Stderr} {
		if file, ok := f.(*os.File); ok {
			_ = file.Close()
		}
	}
	if err := c.Close(); err != nil { // waits for what the process has written
		t.Fatal(err)
	}
	got := captured(t, path)
	slices.Sort(got)
	if diff := cmp.Diff([]string{"err oh", "out [31mred�", "out no end", "out one", "out two"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if filepath.Base(path) != "server-vllm-0.log" || len(c.Last()) != 5 {
		t.Errorf("%s, last %q", path, c.Last())
	}
}

func ptr[T any](v T) *T { return &v }

func TestCaptureUnderConcurrentWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	c, err := NewCapture(path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	want := map[string]bool{}
	for w := range 8 {
		pipe, err := c.Pipe([]string{"out", "err"}[w%2])
		if err != nil {
			t.Fatal(err)
		}
		for i := range 200 {
			want[fmt.Sprintf("%s writer %d line %d", []string{"out", "err"}[w%2], w, i)] = true
		}
		wg.Go(func() {
			defer pipe.Close()
			for i := range 200 {
				_, _ = fmt.Fprintf(pipe, "writer %d line %d\n", w, i)
			}
		})
	}
	wg.Wait()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	lines := captured(t, path)
	for _, line := range lines {
		if !want[line] {
			t.Fatalf("line %q was torn or came twice", line)
		}
		delete(want, line)
	}
	if len(want) != 0 {
		t.Errorf("%d lines were lost", len(want))
	}
	last := c.Last()
	if len(last) != keptLines || !strings.HasSuffix(lines[len(lines)-1], last[keptLines-1]) {
		t.Errorf("last lines %q", last)
	}
}

func TestCaptureOfVeryLongLines(t *testing.T) {
	for name, n := range map[string]int{"over the bound": 3*maxLineBytes + 5, "exactly the bound": maxLineBytes, "one less": maxLineBytes - 1} {
		path := filepath.Join(t.TempDir(), "x.log")
		c, err := NewCapture(path)
		if err != nil {
			t.Fatal(err)
		}
		pipe, err := c.Pipe("out")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(pipe, "%s\nafter\n", strings.Repeat("x", n))
		_ = pipe.Close()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		lines := captured(t, path)
		total := 0
		for _, line := range lines[:len(lines)-1] {
			text := strings.TrimPrefix(line, "out ")
			if len(text) > maxLineBytes || text == "" {
				t.Errorf("%s: a line of %d bytes", name, len(text))
			}
			total += len(text)
		}
		if total != n || lines[len(lines)-1] != "out after" {
			t.Errorf("%s: %d bytes in %d lines", name, total, len(lines))
		}
		for _, text := range c.Last() {
			if len(text) > 2*keptBytes {
				t.Errorf("%s: evidence of %d bytes", name, len(text))
			}
		}
	}
}

// Where a line is split, neither a character nor a secret is: half of it would be noise, or be read.
func TestCaptureSplitsNoCharacterAndNoSecret(t *testing.T) {
	const secret = "hf_secret_token"
	for before := range len(secret) + 2 {
		path := filepath.Join(t.TempDir(), "x.log")
		c, err := NewCapture(path, "hf_other", secret)
		if err != nil {
			t.Fatal(err)
		}
		pipe, err := c.Pipe("out")
		if err != nil {
			t.Fatal(err)
		}
		begin := strings.Repeat("x", maxLineBytes-before)
		_, _ = fmt.Fprintf(pipe, "%s%s█\n%s█é", begin, secret, begin)
		_ = pipe.Close()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		all := strings.ReplaceAll(strings.Join(captured(t, path), ""), "out ", "")
		if want := begin + "***█" + begin + "█é"; all != want {
			t.Errorf("%d bytes before the bound: %q", before, strings.ReplaceAll(all, "x", ""))
		}
	}
}

func TestCaptureIsAppendedTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	for _, text := range []string{"first life", "second life"} {
		c, err := NewCapture(path)
		if err != nil {
			t.Fatal(err)
		}
		c.Line("out", []byte(text))
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"out first life", "out second life"}, captured(t, path)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := NewCapture(filepath.Join(path, "below a file")); err == nil {
		t.Error("a log below a file")
	}
}

// A log on a full disk never stops its process.
func TestCaptureOnAFullDisk(t *testing.T) {
	c, err := NewCapture("/dev/full")
	if err != nil {
		t.Fatal(err)
	}
	c.Line("out", []byte("evidence"))
	if diff := cmp.Diff([]string{"evidence"}, c.Last()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_ = c.Close()
}

// What is secret is not written, whoever prints it, and who waits for a line is told.
func TestCaptureMasksSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raw.log")
	c, err := NewCapture(path, "hf_plan", "hf_planted", "", "short")
	if err != nil {
		t.Fatal(err)
	}
	up := c.Await("runtime started")
	c.Line("out", []byte("HF_TOKEN=hf_planted, short"))
	select {
	case <-up:
		t.Error("told before the line came")
	default:
	}
	c.Line("err", []byte("Ray runtime started."))
	<-up
	if diff := cmp.Diff([]string{"HF_TOKEN=***, short", "Ray runtime started."}, c.Last()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || strings.Contains(string(data), "hf_planted") {
		t.Errorf("the log holds the secret (%v):\n%s", err, data)
	}
}

func FuzzClean(f *testing.F) {
	f.Add([]byte("tab\tand \x1b[0m \xff\x00é"))
	f.Fuzz(func(t *testing.T, line []byte) {
		got := string(appendClean(nil, line))
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' && r != '\t' }) {
			t.Errorf("%q became %q", line, got)
		}
	})
}

// What a process wrote before it ended is there once the capture has settled; a stream that somebody holds open is not waited for.
func TestSettle(t *testing.T) {
	c, err := NewCapture(filepath.Join(t.TempDir(), "server-x.log"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Pipe("err")
	if err != nil {
		t.Fatal(err)
	}
	held, err := c.Pipe("out")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(w, "the last words"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c.Settle(50 * time.Millisecond)
	if last := c.Last(); len(last) != 1 || last[0] != "the last words" {
		t.Errorf("last lines: %q", last)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	c.Settle(time.Minute)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
