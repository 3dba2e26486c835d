package workload

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// all is what a stream of records holds.
type all struct {
	Headers  []Header
	Records  []Record
	Trailers []Trailer
}

func readAll(r io.Reader) (all, error) {
	var a all
	err := ReadRecords(r, Visitor{
		Header:  func(h Header) error { a.Headers = append(a.Headers, h); return nil },
		Record:  func(r *Record) error { a.Records = append(a.Records, kept(r)); return nil },
		Trailer: func(t Trailer) error { a.Trailers = append(a.Trailers, t); return nil },
	})
	return a, err
}

// kept is a copy of a record that is only good until the next one.
func kept(r *Record) Record {
	c := *r
	c.Gaps, c.ChunkTokens = append(Numbers(nil), r.Gaps...), append(Numbers(nil), r.ChunkTokens...)
	return c
}

var samples = []Record{
	{K: 0, Server: "s", Node: "n1", Intended: 1, Sent: 2, First: 3, Last: 9, End: 10, Gaps: Numbers{1, 2}, Streamed: true, PromptTokens: 4, OutputTokens: 3, Source: "server", Target: 3},
	{K: 1, Node: "n1", Intended: 5, CapWait: 7, Class: ClassDropped},
	{K: 2, Server: "s", Node: "n1", Sent: 6, End: 8, Class: "http_status", Message: "HTTP 500: \"\n\u2028 {\"trailer\":1}", Status: 500},
}

func writeRecords(t *testing.T, path, node string, records []Record) {
	t.Helper()
	w, err := CreateRecords(path, Header{Format: Format, Node: node, Warmup: 1, Duration: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		if err := w.Add(&records[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(Trailer{Node: node, Ended: 20}); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsRoundTrip(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "records-0.jsonl")
	writeRecords(t, path, "n1", samples)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(bytes.NewReader(data))
	want := all{[]Header{{Format: Format, Node: "n1", Warmup: 1, Duration: 2}}, samples, []Trailer{{Node: "n1", Ended: 20}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	var done Done
	seal, err := os.ReadFile(DonePath(path))
	if err := errors.Join(err, json.Unmarshal(seal, &done)); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if want := (Done{3, int64(len(data)), hex.EncodeToString(sum[:])}); done != want {
		t.Errorf("seal %+v, want %+v", done, want)
	}
	if _, err := CreateRecords(path, Header{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second writer: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// A kill may cut the last line anywhere; all lines before it stay readable, packed or not.
func TestFilesCutAnywhereInTheLastLine(t *testing.T) {
	dir := t.TempDir()
	writeRecords(t, filepath.Join(dir, "whole"), "n1", samples)
	data, err := os.ReadFile(filepath.Join(dir, "whole"))
	if err != nil {
		t.Fatal(err)
	}
	body := data[:bytes.LastIndexByte(data[:len(data)-1], '\n')+1] // without the trailer
	last := bytes.LastIndexByte(body[:len(body)-1], '\n') + 1
	for cut := last; cut < len(body); cut++ {
		results := t.TempDir()
		first, second := filepath.Join(results, "records-0.jsonl"), filepath.Join(results, "records-1.jsonl")
		if err := os.WriteFile(first, body[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		writeRecords(t, second, "n2", nil)
		check := func(how string) {
			t.Helper()
			r, err := OpenRecords(results)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := readAll(r)
			if diff := cmp.Diff(samples[:2], got.Records); err != nil || diff != "" || len(got.Headers) != 2 || len(got.Trailers) != 1 {
				t.Fatalf("%s, cut at byte %d: %v, %d headers (-want +got):\n%s", how, cut, err, len(got.Headers), diff)
			}
		}
		check("in parts")
		if cut%8 != 0 { // each pack syncs a file
			continue
		}
		if err := Pack([]string{first, second, filepath.Join(results, "records-2.jsonl")}, filepath.Join(results, PackedName)); err != nil {
			t.Fatal(err)
		}
		check("packed")
		if left, _ := filepath.Glob(filepath.Join(results, "*.jsonl*")); len(left) != 1 {
			t.Errorf("left: %v", left)
		}
	}
}

// A pack that was killed while it removed the parts is repeated: what was packed must stay.
func TestPackCanBeRepeated(t *testing.T) {
	dir := t.TempDir()
	a, b, out := filepath.Join(dir, "records-0.jsonl"), filepath.Join(dir, "records-1.jsonl"), filepath.Join(dir, PackedName)
	writeRecords(t, a, "n1", samples)
	writeRecords(t, b, "n2", samples)
	left, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	pack := func() {
		t.Helper()
		if err := Pack([]string{a, b}, out); err != nil {
			t.Fatal(err)
		}
		r, err := OpenRecords(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got, err := readAll(r); err != nil || len(got.Records) != 6 || len(got.Trailers) != 2 {
			t.Errorf("%d records, %d trailers, %v", len(got.Records), len(got.Trailers), err)
		}
	}
	pack()
	pack()
	if err := os.WriteFile(b, left, 0o600); err != nil {
		t.Fatal(err)
	}
	pack()
	if _, err := os.Stat(b); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the part is still there: %v", err)
	}
}

func TestPackOfNothing(t *testing.T) {
	dir := t.TempDir()
	if err := Pack([]string{filepath.Join(dir, "records-0.jsonl")}, filepath.Join(dir, PackedName)); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
	if _, err := OpenRecords(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no records: %v", err)
	}
	if err := Pack(nil, filepath.Join(dir, "gone", PackedName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, PackedName), []byte("no gzip"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRecords(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a packed file that is none: %v", err)
	}
}

func TestUnpackedRecordsCanBeLeftUnread(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[b]*") // a name that a glob would take apart
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	writeRecords(t, filepath.Join(dir, "records-0.jsonl"), "n1", samples)
	r, err := OpenRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil { // goleak finds a reader that stays
		t.Error(err)
	}
}

func TestReadRecordsErrors(t *testing.T) {
	errBoom := errors.New("boom")
	for name, tc := range map[string]struct{ in, want string }{
		"another format":   {`{"format":"benchd-records-3"}` + "\n", `"benchd-records-3"`},
		"noise":            {"{\"k\":1}\n\x00\x00\n", "line 2"},
		"a wrong type":     {`{"k":"x"}` + "\n", "line 1"},
		"a broken trailer": {`{"trailer":1}` + "\n", "line 1"},
	} {
		if _, err := readAll(strings.NewReader(tc.in)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := ReadRecords(strings.NewReader("{\"k\":1}\n"), Visitor{Record: func(*Record) error { return errBoom }})
	if !errors.Is(err, errBoom) {
		t.Errorf("the visitor's error: %v", err)
	}
}

func FuzzReadRecords(f *testing.F) {
	f.Add([]byte("{\"format\":\"benchd-records-1\",\"node\":\"n\"}\n{\"k\":1,\"node\":\"n\",\"g\":[1,2]}\n{\"trailer\":\"n\"}\n"))
	f.Add([]byte("{\"k\":1}\n{\"k\":"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readAll(bytes.NewReader(data))
		lines := bytes.Count(data, []byte("\n"))
		if n := len(got.Headers) + len(got.Records) + len(got.Trailers); err == nil && n != lines || n > lines {
			t.Errorf("%d values of %d lines: %v", n, lines, err)
		}
		// What follows the last line end never matters.
		whole := data[:bytes.LastIndexByte(data, '\n')+1]
		again, err2 := readAll(bytes.NewReader(whole))
		if diff := cmp.Diff(got, again); diff != "" || (err == nil) != (err2 == nil) {
			t.Errorf("with and without the cut line: %v, %v\n%s", err, err2, diff)
		}
	})
}

// Lines are what encoding/json would write, so that any reader of JSON understands them.
func TestRecordsAreJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Int64Range(0, 1<<40)
		small := rapid.Uint32Range(0, 1<<31)
		want := Record{
			K: number.Draw(t, "k"), Server: rapid.String().Draw(t, "server"), Node: rapid.String().Draw(t, "node"), Intended: number.Draw(t, "i"),
			CapWait: number.Draw(t, "w"), Sent: number.Draw(t, "s"), Connected: number.Draw(t, "c"), First: number.Draw(t, "t1"),
			FirstAnswer: number.Draw(t, "ta"), Last: number.Draw(t, "tn"), End: number.Draw(t, "e"), Streamed: rapid.Bool().Draw(t, "st"),
			Gaps: append(Numbers(nil), rapid.SliceOf(small).Draw(t, "g")...), ChunkTokens: append(Numbers(nil), rapid.SliceOf(small).Draw(t, "kt")...),
			PromptTokens: int(small.Draw(t, "p")), OutputTokens: int(small.Draw(t, "n")), Source: rapid.String().Draw(t, "src"),
			Target: int(small.Draw(t, "t")), Cached: int(small.Draw(t, "pc")), SharedReads: int(small.Draw(t, "sr")), Redials: int(small.Draw(t, "rd")),
			Retries: int32(small.Draw(t, "rt")), ServerQueue: number.Draw(t, "sq"), ServerLoad: number.Draw(t, "sl"),
			ServerPrefill: number.Draw(t, "sp"), ServerDecode: number.Draw(t, "sd"), Class: rapid.String().Draw(t, "err"),
			Message: rapid.String().Draw(t, "msg"), Status: int(small.Draw(t, "http")),
		}
		line := want.append(nil)
		plain, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got, other Record
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if err := json.Unmarshal(plain, &other); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(other, got); diff != "" {
			t.Fatalf("(-encoding/json +ours):\n%s", diff)
		}
		if bytes.Count(line, []byte("\n")) != 1 {
			t.Fatalf("more than one line: %q", line)
		}
	})
}

// Adding a record costs the load no allocation once the buffers have grown.
func TestAddingARecordAllocatesNothing(t *testing.T) {
	w, err := CreateRecords(filepath.Join(t.TempDir(), "r"), Header{Format: Format})
	if err != nil {
		t.Fatal(err)
	}
	r := samples[0]
	r.Gaps = make(Numbers, 128)
	var line []byte
	if n := testing.AllocsPerRun(100, func() { line = r.append(line[:0]) }); n > 0 {
		t.Errorf("%g allocations a record", n)
	}
	if err := w.Close(Trailer{}); err != nil {
		t.Fatal(err)
	}
}

// What was added is in the file although the writer was never closed, as after a kill.
func TestRecordsAreThereWithoutAnEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records-0.jsonl")
	w, err := CreateRecords(path, Header{Format: Format, Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	for k := range int64(1000) {
		if err := w.Add(&Record{K: k, Node: "n1"}); err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; n < 1000; { // the writer's goroutine is at most one write behind
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		n = len(got.Records)
	}
	if err := w.Close(Trailer{}); err != nil {
		t.Fatal(err)
	}
}

// A server that repeats the key which it refuses does not bring it into the records.
func TestRecordsHideTheKey(t *testing.T) {
	for text, want := range map[string]string{"invalid key sk-12345": "invalid key ***", "HTTP 500": "HTTP 500", "": ""} {
		if got := withoutKey(text, "sk-12345"); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := withoutKey("as it is", ""); got != "as it is" {
		t.Errorf("without a key: %q", got)
	}
}
