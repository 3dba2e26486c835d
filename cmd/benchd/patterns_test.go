package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/report"
	"github.com/benchd/benchd/workload"
)

// A trace over two client nodes and two servers: every line is sent once, or told to have been dropped where the machine stood still
// for over a second, sessions stay whole, and the report made again
// from the records is the same to the byte.
func TestEmbeddedTraceOverTwoNodes(t *testing.T) {
	t.Parallel()
	trace := filepath.Join(t.TempDir(), "trace.jsonl")
	var lines strings.Builder
	for i := range 120 {
		fmt.Fprintf(&lines, `{"timestamp":%d,"input_length":%d,"output_length":4,"hash_ids":[1,%d],"session":"s%d"}`+"\n", 1000+i*20, 600+i, i, i%9)
	}
	if err := os.WriteFile(trace, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPlane(t).ready()
	p.create(newRun("trace", func(s *api.BenchmarkRunSpec) {
		s.Nodes.Servers.Count, s.Nodes.Clients.Count = count(2), count(2)
		s.Workload.Duration, s.Workload.Warmup = seconds(30), seconds(0)
		s.Workload.Load = api.LoadSpec{Pattern: api.PatternTrace, Trace: &api.TraceSpec{Path: trace}}
		s.Workload.Balance = api.BalancePinned
	}))
	run := p.until("trace", time.Minute, api.RunCompleted)
	records, err := workload.OpenRecords(filepath.Join(run.Status.Folder, "results"))
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	seen, owner, server, dropped := map[int64]int{}, map[int64]string{}, map[int64]string{}, 0
	err = workload.ReadRecords(records, workload.Visitor{
		Header:  func(workload.Header) error { return nil },
		Trailer: func(workload.Trailer) error { return nil },
		Record: func(r *workload.Record) error {
			seen[r.K]++
			session := r.K % 9
			if o := owner[session]; o != "" && o != r.Node {
				t.Errorf("session %d was sent by %s and %s", session, o, r.Node)
			}
			if s := server[session]; s != "" && s != r.Server {
				t.Errorf("session %d went to %s and %s", session, s, r.Server)
			}
			owner[session] = r.Node
			if r.Class == workload.ClassDropped {
				dropped++
				return nil
			}
			server[session] = r.Server
			if r.Class != "" || r.Intended != r.K*20_000_000 || r.PromptTokens != 600+int(r.K) {
				t.Errorf("record %+v", r)
			}
			return nil
		},
	})
	if err != nil || len(seen) != 120 || dropped > 60 {
		t.Errorf("%d of 120 lines have a record, %d dropped: %v", len(seen), dropped, err)
	}
	folder := filepath.Join(run.Status.Folder, report.Dir)
	first, err := report.ReadSummary(filepath.Join(folder, report.SummaryJSON))
	if err != nil || first.Bound != workload.BoundTrace || len(first.PerServer) != 2 || first.Tokens.PromptSource != "server" || first.MeasuredSeconds > 15 {
		t.Errorf("%v: %+v", err, first)
	}
	again := t.TempDir()
	if _, err := report.Remake(run.Status.Folder, again); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{report.SummaryJSON, report.SummaryCSV, report.ReportMD} {
		a, err1 := os.ReadFile(filepath.Join(folder, name))
		b, err2 := os.ReadFile(filepath.Join(again, name))
		if err1 != nil || err2 != nil || string(a) != string(b) {
			t.Errorf("%s made again differs: %v, %v", name, err1, err2)
		}
	}
	if u := run.Status.Attempts[0].ClockUncertainty; len(u) != 2 {
		t.Errorf("clocks were measured after the load on %d nodes", len(u))
	}
}

// What the user gave cannot be used: the run ends with the file and the line, and no request is sent.
func TestEmbeddedWorkloadNotUsable(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.create(newRun("lost", func(s *api.BenchmarkRunSpec) {
		s.Workload.Load = api.LoadSpec{Pattern: api.PatternTrace, Trace: &api.TraceSpec{Path: "/nowhere/trace.jsonl"}}
	}))
	run := p.until("lost", time.Minute, api.RunFailed)
	if o := run.Status.Outcome; o == nil || o.Reason != "WorkloadNotUsable" || o.Class != api.FailureUser || !strings.Contains(o.Message, "/nowhere/trace.jsonl") || len(run.Status.Attempts) != 1 {
		t.Errorf("outcome %+v after %d attempts", o, len(run.Status.Attempts))
	}
}

func TestEmbeddedErrorBudget(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.create(newRun("budget", func(s *api.BenchmarkRunSpec) {
		s.Service.Config = map[string]any{"ttft": "2ms", "itl": "1ms", "faults": map[string]any{"errorRate": 0.8}}
		s.Workload.Load = api.LoadSpec{Pattern: api.PatternPoisson, Rate: 100, ErrorBudget: 0.3}
		s.Workload.Duration = seconds(60)
		s.BackoffLimit = count(0)
	}))
	run := p.until("budget", time.Minute, api.RunFailed)
	if o := run.Status.Outcome; o == nil || o.Reason != "ErrorBudgetSpent" || run.Status.Summary == nil || run.Status.Summary.Verdict != report.Invalid || len(run.Status.Summary.VerdictReasons) == 0 {
		t.Errorf("outcome %+v, summary %+v", o, run.Status.Summary)
	}
}
