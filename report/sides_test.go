package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/benchd/benchd/workload"
)

// besides makes a report of streamed answers of 200 tokens, each of which takes 20 s, beside what one server tells of itself at each second.
// Clients begin together, as closed loops do, and the window is from 5 s to 55 s.
func besides(t *testing.T, change func(k int, r *workload.Record), columns string, tells func(s int) string) Verdict {
	t.Helper()
	attempt := t.TempDir()
	for _, dir := range []string{"results", "metrics"} {
		if err := os.Mkdir(filepath.Join(attempt, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c := client{header: header("c1")}
	c.header.Concurrency, c.header.Warmup, c.header.Duration = 8, 5000*ms1, 50_000*ms1
	for k := range 24 {
		at := int64(k/8) * 20_000 * ms1
		gaps := make([]uint32, 199)
		for i := range gaps {
			gaps[i] = 100_000
		}
		r := workload.Record{
			K: int64(k), Server: "s-0", Intended: at, Sent: at, First: at + 50*ms1, Last: at + 19_950*ms1, End: at + 19_960*ms1,
			Streamed: true, Gaps: gaps, OutputTokens: 200, Target: 200, PromptTokens: 5, Source: workload.CountedByServer,
		}
		if change != nil {
			change(k, &r)
		}
		c.records = append(c.records, r)
	}
	storeIn(t, filepath.Join(attempt, "results"), c)
	text := "timestamp,node," + columns + "\n"
	for s := range 64 {
		text += fmt.Sprintf("%s,n1,%s\n", loadStart.Add(time.Duration(s)*time.Second).Format(time.RFC3339Nano), tells(s))
	}
	if err := os.WriteFile(filepath.Join(attempt, "metrics", "samples.csv"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Compute(filepath.Join(attempt, "results"), Input{Clients: 1, Samples: "samples.csv", SampleSeconds: 1, Start: loadStart, ServerNodes: []string{"n1"}, Limits: defaults()})
	if err != nil {
		t.Fatal(err)
	}
	return s.Verdict
}

// What servers and clients tell may differ in normal use, for servers count tokens at different moments, and requests otherwise than clients.
func TestSidesThatAgree(t *testing.T) {
	const tokens, requests = "s-0_generation_tokens_total", "s-0_requests_running,s-0_requests_waiting"
	asTheyGo := func(s int) int { return 80 * s }
	for name, tc := range map[string]struct {
		change  func(k int, r *workload.Record)
		columns string
		tells   func(s int) string
		blamed  bool
	}{
		"counted as they go":             {nil, tokens, func(s int) string { return fmt.Sprint(asTheyGo(s)) }, false},
		"counted when an answer is done": {nil, tokens, func(s int) string { return fmt.Sprint(s / 20 * 1600) }, false},
		"and told late":                  {nil, tokens, func(s int) string { return fmt.Sprint((s - 2) / 20 * 1600) }, false},
		"of others too":                  {nil, tokens, func(s int) string { return fmt.Sprint(2 * asTheyGo(s)) }, true},
		"counted wrongly":                {nil, tokens, func(s int) string { return fmt.Sprint(asTheyGo(s) / 2) }, true},
		"not told for a while": {nil, tokens, func(s int) string {
			if s > 20 && s < 40 {
				return ""
			}
			return fmt.Sprint(asTheyGo(s))
		}, false},
		"sent again": {func(k int, r *workload.Record) { r.Retries = 1 }, tokens, func(s int) string { return fmt.Sprint(2 * asTheyGo(s)) }, false},
		"single tokens, through before they are counted as running": {nil, requests, func(int) string { return "0,0" }, false},
		"requests of others":        {nil, requests, func(int) string { return "8,20" }, true},
		"a gauge that stands still": {nil, tokens + "," + requests, func(s int) string { return fmt.Sprint(asTheyGo(s), ",16,8") }, false},
		"requests that were told once": {nil, requests, func(s int) string {
			if s == 30 {
				return "8,20"
			}
			return ","
		}, false},
		"requests that failed go on there": {func(k int, r *workload.Record) {
			if k == 12 {
				r.Class, r.OutputTokens = "timeout", 0
			}
		}, requests, func(int) string { return "8,20" }, false},
	} {
		got := strings.Join(besides(t, tc.change, tc.columns, tc.tells).Reasons, "; ")
		if blamed := strings.Contains(got, "the servers"); blamed != tc.blamed {
			t.Errorf("%s: %q", name, got)
		}
	}
}
