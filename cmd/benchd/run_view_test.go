package main

import (
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

var viewStart = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// seenAt is a run in a phase: each phase before took two seconds.
func seenAt(phase api.RunPhase, change func(*api.BenchmarkRun)) runSight {
	run := &api.BenchmarkRun{ObjectMeta: metav1.ObjectMeta{Name: "first", Namespace: "default", UID: "u1", CreationTimestamp: metav1.NewTime(viewStart)}}
	run.Status.Phase = phase
	attempt := api.Attempt{Number: 1}
	at := viewStart
	for _, p := range runPhases {
		attempt.Phases = append(attempt.Phases, api.PhaseTime{Phase: p, Since: metav1.NewMicroTime(at)})
		if p == phase {
			break
		}
		at = at.Add(2 * time.Second)
	}
	run.Status.Attempts = []api.Attempt{attempt}
	if change != nil {
		change(run)
	}
	return runSight{at: at.Add(time.Second), run: run}
}

func executing(run *api.BenchmarkRun) {
	run.Status.Progress = &api.Progress{
		Stage: "measure", Percent: 50, Sent: 321, Succeeded: 313, Failed: 2, InFlight: 6, RequestRate: 21.87, TokenRate: 1394.2, TTFTP50: 0.0512, E2EP50: 0.366, Remaining: 75,
	}
}

func TestRunView(t *testing.T) {
	t.Parallel()
	start := metav1.NewTime(viewStart.Add(3 * time.Hour))
	queued := seenAt(api.RunDeploying, func(run *api.BenchmarkRun) {
		run.Status.Message = "job 17 is queued: it waits for nodes that other jobs hold"
	})
	queued.allocation = &api.Allocation{Status: api.AllocationStatus{Phase: api.AllocationQueued, Job: &api.JobStatus{EstimatedStart: &start}}}
	warned := seenAt(api.RunExecuting, executing)
	warned.warnings = []*api.Event{{Type: api.EventWarning, Reason: "Unreachable", Message: "the cluster does not answer", Count: 3}}
	failed := seenAt(api.RunTearingDown, func(run *api.BenchmarkRun) {
		run.Status.Attempts[0].Outcome = &api.Outcome{Result: api.ResultFailed, Reason: "ServerUnhealthy"}
	})
	for name, c := range map[string]struct {
		screen screen
		seen   runSight
		want   string
	}{
		"while it queues, Slurm's reason and guess": {screen{width: 60, height: 30}, queued, `run/first  5.0s
✓ Pending         2.0s
✓ Initializing    2.0s
▸ Deploying       1.0s
    job 17 is queued: it waits for nodes that other jobs
    hold
    Slurm expects it to start at ` + start.Local().Format("Jan 2 15:04") + `, in 2h59m
· Monitoring
· Launching
· Executing
· TearingDown
· Reporting`},
		"while it executes, and what is amiss": {screen{width: 60, height: 30}, warned, `run/first  11s
✓ Pending         2.0s
✓ Initializing    2.0s
✓ Deploying       2.0s
✓ Monitoring      2.0s
✓ Launching       2.0s
▸ Executing       1.0s
· TearingDown
· Reporting

  measured ███████████████░░░░░░░░░░░░░░░░  50 %  1m15s left
  321 sent  313 succeeded  2 failed  6 in flight
  21.87 req/s  1394 tok/s  TTFT 51.2 ms  E2E 366 ms
  tok/s    ████
  TTFT     ████

! Unreachable: the cluster does not answer (3 times)`},
		"where there is little room and no Unicode": {screen{width: 30, height: 16, ascii: true}, warned, `run/first  11s
+ 5 phases over 10s
> Executing       1.0s
  measured ######.......  50 %
  321 sent  313 succeeded
  2 failed  6 in flight
  21.87 req/s  1394 tok/s
  TTFT 51.2 ms  E2E 366 ms
  1m15s left
  tok/s    ####
  TTFT     ####
! Unreachable: the cluster
  does not answer (3 times)`},
		"the phase that failed is marked": {screen{width: 60, height: 30}, failed, `run/first  13s
✓ Pending         2.0s
✓ Initializing    2.0s
✓ Deploying       2.0s
✓ Monitoring      2.0s
✓ Launching       2.0s
✗ Executing       2.0s
▸ TearingDown     1.0s
· Reporting`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := runView{screen: c.screen}
			for i := range 4 {
				seen := c.seen
				seen.at = seen.at.Add(time.Duration(i-3) * time.Second)
				v.take(seen)
			}
			v.now = c.seen.at
			picture := ansi.Strip(v.picture(v.lines()))
			if diff := cmp.Diff(c.want, picture); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A control plane that has gone is told, for the run goes on.
func TestRunViewTellsOfSilence(t *testing.T) {
	t.Parallel()
	v := runView{}
	v.take(seenAt(api.RunExecuting, executing))
	v.now = v.last.at.Add(20 * time.Second)
	if picture := v.picture(v.lines()); !strings.Contains(picture, "no answer from the control plane for 20s") {
		t.Errorf("got\n%s", picture)
	}
}

// A new attempt begins its phases anew.
func TestRunViewOfASecondAttempt(t *testing.T) {
	t.Parallel()
	v := runView{}
	v.take(seenAt(api.RunExecuting, func(run *api.BenchmarkRun) {
		run.Status.Phase = api.RunPending
		run.Status.Attempts = append(run.Status.Attempts, api.Attempt{Number: 2, Phases: []api.PhaseTime{{Phase: api.RunPending, Since: metav1.NewMicroTime(viewStart)}}})
	}))
	v.now = viewStart.Add(time.Second)
	picture := ansi.Strip(v.picture(v.lines()))
	if !strings.Contains(picture, "attempt 2") || !strings.Contains(picture, "▸ Pending") || !strings.Contains(picture, "· Executing") {
		t.Errorf("got\n%s", picture)
	}
}

// drawnSight is a run as it might be, with foreign texts.
func drawnSight(t *rapid.T) runSight {
	text := foreignText()
	phases := append([]api.RunPhase{"", api.RunCompleted, api.RunFailed}, runPhases...)
	seen := seenAt(rapid.SampledFrom(phases).Draw(t, "phase"), func(run *api.BenchmarkRun) {
		run.Name, run.Status.Message = text.Draw(t, "name"), text.Draw(t, "message")
		if rapid.Bool().Draw(t, "progress") {
			run.Status.Progress = &api.Progress{
				Stage: text.Draw(t, "stage"), Percent: rapid.Int32Range(-5, 200).Draw(t, "percent"), Sent: rapid.Int64().Draw(t, "sent"),
				Failed: rapid.Int64().Draw(t, "failed"), TokenRate: rapid.Float64().Draw(t, "rate"), TTFTP50: rapid.Float64().Draw(t, "ttft"), Remaining: rapid.Float64Range(0, 1e9).Draw(t, "left"),
			}
		}
		if rapid.Bool().Draw(t, "outcome") {
			run.Status.Attempts[0].Outcome = &api.Outcome{Result: api.ResultFailed, Message: text.Draw(t, "outcome message")}
			run.Status.Summary = &api.Summary{Verdict: "Suspect", VerdictReasons: []string{text.Draw(t, "reason")}}
		}
	})
	for range rapid.IntRange(0, 9).Draw(t, "warnings") {
		seen.warnings = append(seen.warnings, &api.Event{Reason: "Reason", Message: text.Draw(t, "warning"), Count: 2})
	}
	if rapid.Bool().Draw(t, "allocation") {
		seen.allocation = &api.Allocation{Status: api.AllocationStatus{
			Nodes: []api.NodeStatus{{Name: text.Draw(t, "node"), Roles: []string{"server"}}}, Servers: []api.ServerStatus{{Name: text.Draw(t, "server"), URL: text.Draw(t, "url")}},
		}}
		seen.loads = map[int32]nodeLoad{0: {cpu: rapid.Float64().Draw(t, "cpu"), gpus: rapid.IntRange(0, 8).Draw(t, "gpus"), watt: 1e4}}
	}
	return seen
}

// The view is no wider and no higher than its window, and clears it at the end.
func TestRunViewFitsItsWindow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		width, height := rapid.IntRange(20, 250).Draw(t, "width"), rapid.IntRange(4, 60).Draw(t, "height")
		p := &runProgram{view: runView{screen: screen{ascii: rapid.Bool().Draw(t, "ascii")}}}
		p.Update(tea.WindowSizeMsg{Width: width, Height: height})
		for i := range rapid.IntRange(0, 4).Draw(t, "looks") {
			seen := drawnSight(t)
			seen.at = seen.at.Add(time.Duration(i) * time.Second)
			p.Update(seen)
		}
		assertFits(t, screen{width: width, height: height, ascii: p.view.ascii}, p.View().Content)
		if _, quits := p.Update(gone{}); quits == nil || p.View().Content != "" {
			t.Errorf("the view stays at the end: %q", p.View().Content)
		}
	})
}

func TestSummary(t *testing.T) {
	t.Parallel()
	share := 0.985
	ended := metav1.NewTime(viewStart.Add(42 * time.Second))
	good := seenAt(api.RunCompleted, func(run *api.BenchmarkRun) {
		st := &run.Status
		st.CompletionTime, st.Folder = &ended, "/home/first/attempt-1"
		st.Reports = []api.ReportFile{{Path: "/home/first/attempt-1/report/report.md"}}
		st.Summary = &api.Summary{Requests: 656, Failed: 1, RequestThroughput: 21.87, OutputTokenThroughput: 1394.2, TTFTP50: 0.0512, TTFTP99: 0.055, E2EP50: 0.366, GoodputShare: &share, Verdict: "Suspect", VerdictReasons: []string{"1 of 656 requests failed"}}
	}).run
	bad := seenAt(api.RunFailed, func(run *api.BenchmarkRun) {
		run.Status.Outcome = &api.Outcome{Result: api.ResultFailed, Reason: "ServerUnhealthy", Message: "server dummy-0 died"}
		run.Status.Attempts[0].Findings = []api.LogFinding{{Rule: "CUDAOutOfMemory", Node: "n1", Meaning: "the GPU's memory is full.", NextStep: "use a smaller model"}}
	}).run
	for name, c := range map[string]struct {
		width int
		run   *api.BenchmarkRun
		with  string
		want  string
	}{
		"numbers that are suspect": {80, good, " --home /h", `! Suspect  run/first  after 42s
  ! 1 of 656 requests failed
  requests    656  1 failed
  throughput  21.87 req/s  1394.2 output tok/s
  TTFT        p50 51.2 ms  p99 55 ms
  E2E         p50 366 ms
  SLO         98.5 % of requests met it
  report      /home/first/attempt-1/report/report.md
  files       /home/first/attempt-1
  next        benchd report first --home /h
              benchd compare first OTHER --home /h
`},
		"a failure": {40, bad, "", `✗ failed  run/first
  ServerUnhealthy: server dummy-0 died
  ! CUDAOutOfMemory on n1: the GPU's
    memory is full. Next: use a smaller
    model
  next        benchd describe run first
              benchd logs first
`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ansi.Strip(strings.Join(summaryLines(screen{width: c.width}, c.run, c.with), "\n")) + "\n"
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
