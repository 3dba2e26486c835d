package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/workload"
)

func story() Story {
	yes := true
	at := time.Unix(1_700_000_000, 0)
	spec := api.BenchmarkRunSpec{Service: api.ServiceSpec{Replicas: 2}}
	spec.Workload = api.WorkloadSpec{Streaming: &yes, Balance: api.BalanceRoundRobin, Load: api.LoadSpec{Pattern: api.PatternConstant, Rate: 7}}
	return Story{
		Spec: spec, JobID: "12", Folder: "/w/attempt-1", Nodes: []api.NodeStatus{{Name: "n1", Roles: []string{"server", "client"}}},
		Phases: []api.PhaseTime{{Phase: api.RunPending, Since: metav1.NewMicroTime(at)}, {Phase: api.RunExecuting, Since: metav1.NewMicroTime(at.Add(2 * time.Second))}},
		End:    at.Add(5 * time.Second),
	}
}

// outputs are the files of a report's folder that are made from numbers.
func outputs(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{SummaryJSON, SummaryCSV, ReportMD} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(data)
	}
	return files
}

// attemptOf makes an attempt's folder with records as streams.
func attemptOf(t testing.TB, nodes ...client) (folder string, parts []string) {
	t.Helper()
	folder = t.TempDir()
	results := filepath.Join(folder, "results")
	if err := os.Mkdir(results, 0o700); err != nil {
		t.Fatal(err)
	}
	storeIn(t, results, nodes...)
	for i := range nodes {
		parts = append(parts, filepath.Join(results, fmt.Sprintf("records-%04d.jsonl", i)))
	}
	return folder, parts
}

// manyNodes is a load on a dozen nodes, with shares of tokens that no float holds exactly, several servers and intervals:
// whatever depends on an order shows.
func manyNodes() []client {
	random := rand.New(rand.NewPCG(1, 2))
	var nodes []client
	for i := range 12 {
		c := client{header: header(fmt.Sprintf("n%d", i)), trailer: workload.Trailer{CPUSeconds: 0.1, Servers: map[string]workload.ServerView{}}}
		c.header.TTFT, c.header.E2E, c.header.OfferedRate = 30*ms1, 80*ms1, 72
		for range 60 {
			at := 1000 + random.Int64N(10_000)
			first := at + 10 + random.Int64N(40)
			r := streamed(at, at, first, first+20, first+21, 7, 5, 7, 13) // 5 tokens in 3 chunks
			r.Server = fmt.Sprintf("s%d", random.IntN(3))
			if random.IntN(3) == 0 {
				r.ChunkTokens = workload.Numbers{2, 1, 2}
			}
			if random.IntN(40) == 0 {
				r = failed(at, at, at+5, "connect")
			}
			c.records = append(c.records, r)
		}
		c.trailer.Servers[fmt.Sprintf("s%d", i)] = workload.ServerView{Source: "vllm", Queue: workload.ServerTime{Sum: random.Float64(), Count: 3}}
		nodes = append(nodes, c)
	}
	return nodes
}

// A report is the same to the byte whenever it is made, by whom, and from whichever form of the records.
func TestReportsAreTheSameEachTime(t *testing.T) {
	t.Parallel()
	for name, nodes := range map[string][]client{"two nodes": {byHand(), func() client { c := byHand(); c.header.Node = "n2"; return c }()}, "a dozen nodes": manyNodes()} {
		t.Run(name, func(t *testing.T) {
			folder, parts := attemptOf(t, nodes...)
			in := Input{
				Run: "r", UID: "u", Service: "vllm", Model: "m", Version: "v1", Attempt: 2, Clients: len(nodes), Limits: defaults(),
				ClockUncertainty: map[string]float64{"n1": 0.1 / 3, "n2": 1e-4},
			}
			st := story()
			// A time as time.Now gives it: finer than the µs that source.json keeps, and on the edge between two figures.
			st.End = st.Phases[1].Since.Add(5*time.Millisecond + 400*time.Nanosecond)
			st.Phases[1].Since.Time = st.Phases[1].Since.Add(900 * time.Nanosecond)
			st.Phases[0].Since.Time = st.Phases[0].Since.Add(-5 * time.Millisecond)
			st.Outcome = &api.Outcome{Result: api.ResultFailed, Reason: "ServerDied", Message: "it \"died\" <&>"}
			made, err := Make(folder, in, st)
			if err != nil {
				t.Fatal(err)
			}
			want := outputs(t, filepath.Join(folder, Dir))
			back, err := ReadSummary(filepath.Join(folder, Dir, SummaryJSON))
			if diff := cmp.Diff(made, back); err != nil || diff != "" {
				t.Fatalf("read back: %v (-want +got):\n%s", err, diff)
			}
			again := func(how string) {
				t.Helper()
				out := filepath.Join(t.TempDir(), "deep", "er")
				remade, err := Remake(folder, out)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, outputs(t, out)); diff != "" {
					t.Errorf("%s (-first +again):\n%s", how, diff)
				}
				if diff := cmp.Diff(made, remade); diff != "" {
					t.Errorf("%s, the summary itself (-first +again):\n%s", how, diff)
				}
			}
			for range 3 {
				again("from stream files")
			}
			if err := workload.Pack(parts, filepath.Join(folder, "results", workload.PackedName)); err != nil {
				t.Fatal(err)
			}
			again("from the packed file")
			if _, err := Make(folder, in, st); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, outputs(t, filepath.Join(folder, Dir))); diff != "" {
				t.Errorf("made twice (-first +again):\n%s", diff)
			}
		})
	}
}

// Records as the load writes them, sealed and all, and not as these tests write them.
func TestRecordsOfTheRealWriter(t *testing.T) {
	c := byHand()
	path := filepath.Join(t.TempDir(), "records-0000.jsonl")
	w, err := workload.CreateRecords(path, c.header)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range c.records {
		r.Node = "n1"
		if err := w.Add(&r); err != nil {
			t.Fatal(err)
		}
	}
	c.trailer.Node = "n1"
	if err := w.Close(c.trailer); err != nil {
		t.Fatal(err)
	}
	s, err := Compute(filepath.Dir(path), Input{Clients: 1, Limits: defaults()})
	if diff := cmp.Diff(summarize(t, Input{}, byHand()), s); err != nil || diff != "" {
		t.Errorf("%v (-as tests write +as the load writes):\n%s", err, diff)
	}
}

func TestMakeWithoutWhatItNeeds(t *testing.T) {
	folder := t.TempDir()
	if _, err := Make(folder, Input{}, story()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no records: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(folder, "*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	folder, _ = attemptOf(t, byHand())
	for _, own := range []string{folder, filepath.Join(folder, Dir)} {
		if _, err := Remake(folder, own); err == nil || !strings.Contains(err.Error(), "name another folder") {
			t.Errorf("made again in %s: %v", own, err)
		}
	}
	if _, err := Remake(folder, t.TempDir()); err == nil || !strings.Contains(err.Error(), SourceJSON) {
		t.Errorf("no first report: %v", err)
	}
	if _, err := Make(folder, Input{}, story()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(folder, "results")); err != nil {
		t.Fatal(err)
	}
	if _, err := Remake(folder, t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("records that are gone: %v", err)
	}
}

// A kill cuts the last line anywhere: the node's records count, and it is told that they are not complete.
func TestATruncatedLastLine(t *testing.T) {
	t.Parallel()
	cut, whole := byHand(), byHand()
	whole.header.Node = "n2"
	data := cut.stream(t)
	trailer := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
	last := bytes.LastIndexByte(data[:trailer-1], '\n') + 1
	without := byHand()
	without.records, without.incomplete = without.records[:len(without.records)-1], true
	without.trailer = workload.Trailer{}
	withAll := byHand()
	withAll.incomplete = true
	for name, tc := range map[string]struct {
		length int
		want   client
	}{
		"within the trailer":      {trailer + 5, withAll},
		"before the trailer":      {trailer, withAll},
		"the trailer's line end":  {len(data) - 1, withAll},
		"within a record":         {last + 20, without},
		"a record's line end":     {trailer - 1, without},
		"a record's first letter": {last + 1, without},
	} {
		t.Run(name, func(t *testing.T) {
			folder, parts := attemptOf(t, cut, whole)
			if err := os.WriteFile(parts[0], data[:tc.length], 0o600); err != nil {
				t.Fatal(err)
			}
			want := summarize(t, Input{}, tc.want, whole)
			if want.PerNode["n1"].Complete || !strings.Contains(strings.Join(want.Verdict.Reasons, " "), "1 of 2 client nodes") {
				t.Errorf("complete: %+v", want.Verdict)
			}
			check := func(how string) {
				t.Helper()
				s, err := Compute(filepath.Join(folder, "results"), Input{Clients: 2, Limits: defaults()})
				if diff := cmp.Diff(want, s); err != nil || diff != "" {
					t.Errorf("%s: %v (-want +got):\n%s", how, err, diff)
				}
			}
			check("in parts")
			if err := workload.Pack(parts, filepath.Join(folder, "results", workload.PackedName)); err != nil {
				t.Fatal(err)
			}
			check("packed")
		})
	}
}

// formatOne is a file of the format before, as an older benchd wrote it.
const formatOne = `{"format":"benchd-records-1","run":"r","attempt":1,"node":"n1","rank":0,"ranks":1,"seed":7,"warmup":1000000000,"duration":10000000000,"offeredRate":0.2,"streaming":true,"clockUncertainty":0,"sloTTFT":200000000}
{"k":0,"server":"s","node":"n1","i":2000000000,"s":2010000000,"c":2011000000,"t1":2110000000,"tn":2210000000,"e":2220000000,"g":[50000,50000],"st":true,"p":10,"n":3,"src":"server","t":3}
{"k":1,"server":"s","node":"n1","i":4000000000,"w":5000000,"s":4005000000,"e":4105000000,"t":3,"err":"http_status","msg":"HTTP 500: \"no\"","http":500}
{"k":2,"server":"","node":"n1","i":9000000000,"s":0,"e":0,"err":"dropped"}
{"trailer":"n1","sendEnded":9000000000,"ended":9100000000,"cpuSeconds":0.25}
`

func TestRecordsOfTheFormatBefore(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "records-0.jsonl"), []byte(formatOne), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Compute(dir, Input{Clients: 1, Limits: defaults()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Requests{Attempted: 3, Succeeded: 1, Failed: 1, Dropped: 1}, s.Requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for name, tc := range map[string]struct{ got, want float64 }{
		"ttft": {number(s.TTFT.Mean), 0.1}, "itl": {number(s.ITL.Mean), 0.05}, "tokens": {s.OutputTokenThroughput, 0.3}, "cpu": {s.PerNode["n1"].CPUSeconds, 0.25},
		"goodput": {s.Goodput.Fraction, 1.0 / 3}, "seconds": {s.MeasuredSeconds, 10}, "connect": {number(s.Client.Connect.Mean), 0.001},
		"cap wait": {number(s.CapWait.Max), 0.005},
	} {
		if !near(tc.got, tc.want) {
			t.Errorf("%s is %v, want %v", name, tc.got, tc.want)
		}
	}
	other := strings.Replace(formatOne, "benchd-records-1", "benchd-records-3", 1)
	if err := os.WriteFile(filepath.Join(dir, "records-0.jsonl"), []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Compute(dir, Input{}); err == nil || !strings.Contains(err.Error(), "benchd-records-3") {
		t.Errorf("a format to come: %v", err)
	}
}

func TestSummaryCSV(t *testing.T) {
	s := summarize(t, Input{}, byHand())
	two := 2.0
	s.Resources = &Resources{Energy: &Energy{Joules: 500, PerOutputToken: &two}}
	data, err := toCSV(s)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil || cmp.Diff([]string{"metric", "statistic", "value"}, rows[0]) != "" {
		t.Fatalf("%v, %v", rows, err)
	}
	got := map[string]float64{}
	for _, row := range rows[1:] {
		v, err := strconv.ParseFloat(row[2], 64)
		if _, twice := got[row[0]+" "+row[1]]; err != nil || twice {
			t.Errorf("row %v: %v", row, err)
		}
		got[row[0]+" "+row[1]] = v
	}
	for name, want := range map[string]float64{
		"requests attempted": 7, "requests dropped": 1, "errorRate ": s.ErrorRate, "goodput fraction": s.Goodput.Fraction, "ttft count": 4,
		"ttft max": 0.3, "concurrency peak": 1, "measuredSeconds ": 10,
		"offeredRate ": *s.OfferedRate, "tokens output": float64(s.Tokens.Output), "errors http_status": 1, "slo ttft": s.SLO.TTFT.Fraction,
		"energy joules": 500, "energy joulesPerOutputToken": 2, "wholeRun completed": s.WholeRun["completed"],
	} {
		if v, there := got[name]; !there || v != want {
			t.Errorf("%q is %v, want %v", name, got[name], want)
		}
	}
	if _, there := got["ttft p50"]; there {
		t.Error("a percentile of four samples")
	}
}

func TestMarkdown(t *testing.T) {
	st := story()
	st.Outcome = &api.Outcome{Result: api.ResultFailed, Reason: "ServerDied", Message: "it died"}
	s := summarize(t, Input{Run: "my-run", Model: "a|b"}, byHand())
	text := Markdown(s, st)
	for _, part := range []string{
		"# Benchmark report: my-run", "**Failed** (ServerDied): it died", `model a\|b`, "Verdict: **Invalid** — 42.9 % of the requests failed", "constant arrivals, 7 requests/s",
		"12 on n1 (server, client)", "7 attempted, 4 succeeded", "0.70 / 0.60 /s", "0.30 /s, 42.9 %", "| http_status | 1 |", "| Pending | 2.00 |",
		"| Executing | 3.00 |", "/w/attempt-1", "| ttft | 4 | 135.00 | – |", definitions["ttft"],
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the report lacks %q:\n%s", part, text)
		}
	}
}

func TestHeadline(t *testing.T) {
	got := summarize(t, Input{}, byHand()).Headline()
	if got.Requests != 7 || got.Failed != 3 || got.Verdict != Invalid || got.TTFTP50 != 0 || got.RequestThroughput != 0.4 {
		t.Errorf("%+v", got)
	}
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"logs/stdout.log": "hello", "report/summary.json": "{}", "report/.summary.json.tmp": "half"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	want := []api.ReportFile{
		{Path: filepath.Join(dir, "logs/stdout.log"), Size: 5, SHA256: sum("hello")},
		{Path: filepath.Join(dir, "report/summary.json"), Size: 2, SHA256: sum("{}")},
	}
	got, err := List(dir)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := List(filepath.Join(dir, "gone")); !os.IsNotExist(err) && err == nil {
		t.Errorf("a folder that is not there: %v", err)
	}
}
