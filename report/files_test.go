package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func story() Story {
	yes := true
	at := time.Unix(1_700_000_000, 0)
	spec := api.BenchmarkRunSpec{Service: api.ServiceSpec{Replicas: 2}}
	spec.Workload = api.WorkloadSpec{Streaming: &yes, Load: api.LoadSpec{Pattern: api.PatternConstant, Rate: 7}}
	return Story{
		Spec: spec, JobID: "12", Folder: "/w/attempt-1", Nodes: []api.NodeStatus{{Name: "n1", Roles: []string{"server", "client"}}},
		Phases: []api.PhaseTime{{Phase: api.RunPending, Since: metav1.NewMicroTime(at)}, {Phase: api.RunExecuting, Since: metav1.NewMicroTime(at.Add(2 * time.Second))}},
		End:    at.Add(5 * time.Second),
	}
}

func TestReportsAreTheSameEachTime(t *testing.T) {
	a, b := sample(), sample()
	b.header.Node = "n2"
	records := store(t, a, b)
	var first map[string][]byte
	for range 5 {
		s, err := Compute(records, Input{Run: "r", Clients: 2})
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "report")
		if err := Write(dir, s, story()); err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{}
		for _, name := range []string{SummaryJSON, SummaryCSV, ReportMD} {
			if files[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			if first != nil && !bytes.Equal(first[name], files[name]) {
				t.Errorf("%s differs:\n%s\n%s", name, first[name], files[name])
			}
		}
		first = files
		back, err := ReadSummary(filepath.Join(dir, SummaryJSON))
		if diff := cmp.Diff(s, back); err != nil || diff != "" {
			t.Fatalf("read back: %v (-want +got):\n%s", err, diff)
		}
	}
}

func TestSummaryCSV(t *testing.T) {
	s := compute(t, Input{}, sample())
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
	} {
		if got[name] != want {
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
	s := compute(t, Input{Run: "my-run", Capped: true}, sample())
	text := Markdown(s, st)
	for _, part := range []string{
		"# Benchmark report: my-run", "**Failed** (ServerDied): it died", "Verdict: **Invalid** — 42.9 % of the requests failed", "constant 7 requests/s",
		"12 on n1 (server, client)", "7 attempted, 4 succeeded", "0.70 / 0.60 /s", "0.30 /s, 42.9 %", "| http_status | 1 |", "| Pending | 2.00 |",
		"| Executing | 3.00 |", "/w/attempt-1", "| ttft | 4 | 135.00 | – |", definitions["ttft"],
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the report lacks %q:\n%s", part, text)
		}
	}
}

func TestHeadline(t *testing.T) {
	got := compute(t, Input{}, sample()).Headline()
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
