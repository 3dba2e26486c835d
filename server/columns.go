package server

import (
	"fmt"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

var runColumns = []column{
	nameColumn,
	{name: "Phase", description: "Where the run is, and why it did not succeed", cell: cell(runPhase)},
	ageColumn,
	{name: "Service", description: "Inference service under test", cell: cell(func(r *api.BenchmarkRun) any { return r.Spec.Service.Name })},
	{name: "Model", description: "Model served", cell: cell(func(r *api.BenchmarkRun) any { return r.Spec.Service.Model })},
	{name: "Nodes", description: "Nodes of all roles together", cell: cell(func(r *api.BenchmarkRun) any { return nodesTotal(&r.Spec.Nodes) })},
	{name: "Req/s", description: "Requests answered per second; while it runs, over the last ten seconds", cell: live(
		func(s *api.Summary) string { return significant(s.RequestThroughput) }, func(p *api.Progress) float64 { return p.RequestRate }, significant)},
	{name: "Out-tok/s", description: "Output tokens per second; while it runs, over the last ten seconds", cell: live(
		func(s *api.Summary) string { return significant(s.OutputTokenThroughput) }, func(p *api.Progress) float64 { return p.TokenRate }, significant)},
	{name: "TTFT p50", description: "Median time to the first token; while it runs, over the last ten seconds", cell: live(
		func(s *api.Summary) string { return seconds(s.TTFTP50) }, func(p *api.Progress) float64 { return p.TTFTP50 }, seconds)},
	{name: "TTFT p99", description: "99th percentile of the time to the first token", cell: summary(func(s *api.Summary) string { return seconds(s.TTFTP99) })},
	{name: "Errors", description: "Share of requests that failed", cell: summary(func(s *api.Summary) string { return significant(s.ErrorRate*100) + "%" })},
	{name: "Verdict", description: "What the report concludes", cell: summary(func(s *api.Summary) string { return s.Verdict })},
	{name: "Job", description: "Slurm job of the last attempt", wide: true, cell: cell(runJob)},
	{name: "Message", description: "What is going on or being waited for", wide: true, cell: cell(runMessage)},
}

var sweepColumns = []column{
	nameColumn,
	{name: "Phase", description: "Where the sweep is", cell: cell(func(s *api.BenchmarkSweep) any { return withDeletion(s, orPending(string(s.Status.Phase))) })},
	ageColumn,
	{name: "Runs", description: "How many runs there are; of a search, so far", cell: cell(func(s *api.BenchmarkSweep) any { return int64(s.Status.Total) })},
	{name: "Ended", description: "How many have ended", cell: cell(func(s *api.BenchmarkSweep) any { return int64(s.Status.Ended()) })},
	{name: "Succeeded", description: "How many have completed", cell: cell(func(s *api.BenchmarkSweep) any { return int64(s.Status.Succeeded) })},
	{name: "Failed", description: "How many have failed", cell: cell(func(s *api.BenchmarkSweep) any { return int64(s.Status.Failed) })},
	{name: "Node-h", description: "Node-hours of Allocations that have ended", cell: cell(func(s *api.BenchmarkSweep) any { return significant(s.Status.NodeHours) })},
	{name: "Cancelled", description: "How many were cancelled", wide: true, cell: cell(func(s *api.BenchmarkSweep) any { return int64(s.Status.Cancelled) })},
	{name: "Message", description: "What is going on", wide: true, cell: cell(func(s *api.BenchmarkSweep) any { return s.Status.Message })},
}

var scheduleColumns = []column{
	nameColumn,
	{name: "Schedule", description: "Cron line", cell: cell(func(s *api.BenchmarkSchedule) any { return s.Spec.Schedule })},
	{name: "Suspend", description: "Whether it makes nothing", cell: cell(func(s *api.BenchmarkSchedule) any { return s.Spec.Suspend })},
	{name: "Active", description: "How many of those it made have not ended", cell: cell(func(s *api.BenchmarkSchedule) any { return int64(len(s.Status.Active)) })},
	{name: "Last", description: "Time since the last time of the line", cell: scheduleTime(func(s *api.BenchmarkSchedule) *metav1.Time { return s.Status.LastScheduleTime })},
	{name: "Next", description: "When the next one is due", cell: cell(func(s *api.BenchmarkSchedule) any {
		if s.Status.NextScheduleTime == nil {
			return none
		}
		return s.Status.NextScheduleTime.Format(time.DateTime)
	})},
	ageColumn,
	{name: "Message", description: "What is going on", wide: true, cell: cell(func(s *api.BenchmarkSchedule) any { return s.Status.Message })},
}

// scheduleTime shows how long ago something was.
func scheduleTime(of func(*api.BenchmarkSchedule) *metav1.Time) func(api.Object, time.Time) any {
	return func(obj api.Object, now time.Time) any {
		s, ok := obj.(*api.BenchmarkSchedule)
		if !ok || of(s) == nil {
			return none
		}
		return age(*of(s), now)
	}
}

var templateColumns = []column{
	nameColumn,
	{name: "Port", description: "Port of the first server of a node", cell: cell(func(t *api.ServiceTemplate) any { return int64(t.Spec.Port) })},
	{name: "Health", description: "Path that answers 200 once a server is ready", cell: cell(func(t *api.ServiceTemplate) any { return t.Spec.HealthPath })},
	{name: "API", description: "Request format of a run that names none", cell: cell(func(t *api.ServiceTemplate) any { return string(t.Spec.API) })},
	{name: "Summary", description: "What the service is", cell: cell(func(t *api.ServiceTemplate) any { return t.Spec.Summary })},
	ageColumn,
}

var allocationColumns = []column{
	nameColumn,
	{name: "Phase", description: "Where the allocation is", cell: cell(func(a *api.Allocation) any {
		return withDeletion(a, orPending(string(a.Status.Phase)))
	})},
	ageColumn,
	{name: "Job", description: "Slurm job", cell: cell(func(a *api.Allocation) any { return a.Status.JobID })},
	{name: "State", description: "What Slurm calls the job's state", cell: cell(func(a *api.Allocation) any {
		if a.Status.Job == nil {
			return ""
		}
		return a.Status.Job.State
	})},
	{name: "Nodes", description: "Nodes of all roles together", cell: cell(func(a *api.Allocation) any { return nodesTotal(&a.Spec.Nodes) })},
	{name: "Reason", description: "Why it failed, or why the job waits", cell: cell(allocationReason)},
}

var clusterColumns = []column{
	nameColumn,
	{name: "Type", description: "How the cluster is reached", cell: cell(func(c *api.Cluster) any { return string(c.Spec.Type) })},
	{name: "Version", description: "Version of Slurm", cell: cell(func(c *api.Cluster) any { return c.Status.Version })},
	{name: "Reachable", description: "Whether the cluster answers", cell: cell(func(c *api.Cluster) any {
		if reachable := apimeta.FindStatusCondition(c.Status.Conditions, "Reachable"); reachable != nil {
			return string(reachable.Status)
		}
		return "Unknown"
	})},
	ageColumn,
}

var eventColumns = []column{
	{name: "Last Seen", description: "Time since it was last seen", cell: func(o api.Object, now time.Time) any {
		if ev, ok := o.(*api.Event); ok {
			return age(ev.LastTimestamp, now)
		}
		return none
	}},
	{name: "Type", description: "Normal or Warning", cell: cell(func(e *api.Event) any { return e.Type })},
	{name: "Reason", description: "What happened, in a word", cell: cell(func(e *api.Event) any { return e.Reason })},
	{name: "Object", description: "What it happened to", cell: cell(func(e *api.Event) any {
		return strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name
	})},
	{name: "Message", description: "What happened, in a sentence", cell: cell(func(e *api.Event) any { return e.Message })},
	{name: "Count", description: "How often it was seen", wide: true, cell: cell(func(e *api.Event) any { return int64(e.Count) })},
	{name: "Name", description: "Name of the event", wide: true, cell: nameColumn.cell},
}

// summary adapts a function of a run's headline numbers to a column's. Before there are any the cell is empty.
func summary(show func(*api.Summary) string) func(api.Object, time.Time) any {
	return cell(func(run *api.BenchmarkRun) any {
		if run.Status.Summary == nil {
			return ""
		}
		return show(run.Status.Summary)
	})
}

// live is summary with a value for a run whose load is being made.
func live(show func(*api.Summary) string, now func(*api.Progress) float64, format func(float64) string) func(api.Object, time.Time) any {
	return cell(func(run *api.BenchmarkRun) any {
		switch st := &run.Status; {
		case st.Summary != nil:
			return show(st.Summary)
		case st.Phase == api.RunExecuting && st.Progress != nil && now(st.Progress) > 0:
			return format(now(st.Progress))
		}
		return ""
	})
}

func runPhase(run *api.BenchmarkRun) any {
	st := &run.Status
	phase := orPending(string(st.Phase))
	switch {
	case st.Phase == api.RunExecuting && st.Progress != nil:
		phase = fmt.Sprintf("%s %d%%", phase, st.Progress.Percent)
		if left := st.Progress.Remaining; left > 0 {
			phase += fmt.Sprintf(" (%s left)", time.Duration(left*float64(time.Second)).Round(time.Second))
		}
	case st.Outcome != nil && st.Outcome.Result != api.ResultSucceeded && st.Outcome.Reason != "" && st.Outcome.Reason != phase:
		phase = fmt.Sprintf("%s (%s)", phase, st.Outcome.Reason)
	}
	return withDeletion(run, phase)
}

func orPending(phase string) string {
	if phase == "" {
		return string(api.RunPending)
	}
	return phase
}

func runMessage(run *api.BenchmarkRun) any {
	if run.Status.Message == "" && run.Status.Outcome != nil {
		return run.Status.Outcome.Message
	}
	return run.Status.Message
}

func runJob(run *api.BenchmarkRun) any {
	if n := len(run.Status.Attempts); n > 0 {
		return run.Status.Attempts[n-1].JobID
	}
	return ""
}

func allocationReason(a *api.Allocation) any {
	switch {
	case a.Status.Failure != nil:
		return a.Status.Failure.Reason
	case a.Status.Job != nil && a.Status.Job.Reason != "None":
		return a.Status.Job.Reason
	}
	return ""
}
