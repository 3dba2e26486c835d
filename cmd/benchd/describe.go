package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
)

func newDescribeCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "describe KIND NAME",
		Short: "Tell the story of one object: what was wanted, what happened, what is being waited for",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, names, err := objectArgs(args)
			if err != nil {
				return err
			}
			c, err := connectRunning(cmd.Context(), o.home)
			if err != nil {
				return err
			}
			defer c.Close()
			if len(names) == 0 {
				return exitError{exitInvalid, fmt.Errorf("name the %s to describe", word(kind))}
			}
			for _, name := range names {
				obj, err := c.Get(cmd.Context(), kind, o.namespace, name)
				if err != nil {
					return err
				}
				if err := describe(cmd.Context(), cmd.OutOrStdout(), c, obj); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func describe(ctx context.Context, out io.Writer, c *client.Client, obj api.Object) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("Name:\t%s", obj.GetName())
	if obj.GetNamespace() != "" {
		p("Namespace:\t%s", obj.GetNamespace())
	}
	p("Kind:\t%s", obj.GetObjectKind().GroupVersionKind().Kind)
	for _, key := range sortedKeys(obj.GetLabels()) {
		p("Label:\t%s=%s", key, obj.GetLabels()[key])
	}
	if _, pinned := obj.GetAnnotations()[api.AnnotationPin]; pinned {
		p("Pinned:\tkept, whatever retention and history limits say")
	}
	p("Created:\t%s (%s ago)", obj.GetCreationTimestamp().Format(time.DateTime), age(obj.GetCreationTimestamp()))
	if at := obj.GetDeletionTimestamp(); at != nil {
		p("Deleted:\t%s; waiting until nothing of it is left on the cluster", at.Format(time.DateTime))
	}
	switch o := obj.(type) {
	case *api.BenchmarkRun:
		describeRun(p, o)
	case *api.BenchmarkSweep:
		if err := describeSweep(ctx, p, c, o); err != nil {
			return err
		}
	case *api.BenchmarkSchedule:
		describeSpec(p, o.Spec)
		st := &o.Status
		p("Message:\t%s", orNone(st.Message))
		p("Made:\t%d, %d times left out", st.Made, st.Missed)
		for _, ref := range st.Active {
			p("Active:\t%s/%s", word(ref.Kind), ref.Name)
		}
		if st.NextScheduleTime != nil {
			p("Next:\t%s", st.NextScheduleTime.Format(time.DateTime))
		}
		describeConditions(p, st.Conditions)
	case *api.Allocation:
		describeAllocation(p, o)
	case *api.Cluster:
		describeSpec(p, o.Spec)
		p("Slurm:\t%s, accounting %v", orNone(o.Status.Version), o.Status.Accounting)
		for _, s := range o.Status.Suspects {
			out := "still used"
			if s.Until != nil && time.Now().Before(s.Until.Time) {
				out = "left out of new jobs until " + s.Until.Format(time.DateTime)
			}
			p("Suspect node:\t%s: %d failures in 24 h, %s; last: %s", s.Node, len(s.Failures), out, s.Reason)
		}
		if r := o.Status.Retention; r != nil {
			p("Retention:\t%s: %s", r.Time.Format(time.DateTime), r.Message)
		}
		describeConditions(p, o.Status.Conditions)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return printEvents(ctx, out, c, obj, "Events:")
}

func describeRun(p func(string, ...any), run *api.BenchmarkRun) {
	st := &run.Status
	p("Phase:\t%s", st.Phase)
	p("Message:\t%s", st.Message)
	if o := st.Outcome; o != nil {
		p("Outcome:\t%s", strings.TrimSpace(fmt.Sprintf("%s %s %s", o.Result, o.Reason, o.Message)))
	}
	if pr := st.Progress; pr != nil && !st.Phase.Terminal() {
		p("Progress:\t%s, %d %%, %d sent, %d succeeded, %d failed", pr.Stage, pr.Percent, pr.Sent, pr.Succeeded, pr.Failed)
	}
	describeSpec(p, run.Spec)
	for _, a := range st.Attempts {
		p("Attempt %d:\tallocation %s, job %s, folder %s", a.Number, orNone(a.Allocation), orNone(a.JobID), orNone(a.Folder))
		for i, phase := range a.Phases {
			took := ""
			if i+1 < len(a.Phases) {
				took = a.Phases[i+1].Since.Sub(phase.Since.Time).Round(10 * time.Millisecond).String()
			}
			p("  %s\t%s  %s", phase.Phase, phase.Since.Format(time.TimeOnly), took)
		}
		if l := a.Logs; l != nil {
			p("  logs\t%s", logLine(l, a.Allocation))
		}
		for _, f := range a.Findings {
			p("  %s\t%s", f.Severity, findingLine(f))
			p("\tnext: %s", f.NextStep)
			for _, line := range f.Lines[:min(1, len(f.Lines))] {
				p("\t> %s", line)
			}
		}
		if a.ReadyToFirstRequest > 0 {
			p("  ready to first request\t%.2f s", a.ReadyToFirstRequest)
		}
		if a.Outcome != nil {
			p("  Outcome\t%s", strings.TrimSpace(fmt.Sprintf("%s %s %s", a.Outcome.Result, a.Outcome.Reason, a.Outcome.Message)))
		}
	}
	if s := st.Summary; s != nil {
		p("Verdict:\t%s", s.Verdict)
		for _, reason := range s.VerdictReasons {
			p("\t- %s", reason)
		}
		p("Requests:\t%d, %d failed", s.Requests, s.Failed)
		p("Throughput:\t%.2f requests/s, %.1f output tokens/s", s.RequestThroughput, s.OutputTokenThroughput)
		p("TTFT:\tp50 %s, p99 %s", milli(s.TTFTP50), milli(s.TTFTP99))
		p("E2E:\tp50 %s, p99 %s", milli(s.E2EP50), milli(s.E2EP99))
	}
	for _, f := range st.Reports {
		p("File:\t%s  %d bytes", f.Path, f.Size)
	}
	describeConditions(p, st.Conditions)
}

func describeAllocation(p func(string, ...any), a *api.Allocation) {
	st := &a.Status
	p("Phase:\t%s", st.Phase)
	p("Message:\t%s", st.Message)
	p("Job:\t%s (name %s)", orNone(st.JobID), st.JobName)
	if j := st.Job; j != nil {
		p("Job state:\t%s %s %s", j.State, j.Reason, j.Explanation)
		p("Job nodes:\t%s", orNone(j.Nodes))
	}
	p("Folder:\t%s", orNone(st.Folder))
	for _, n := range st.Nodes {
		p("Node %d:\t%s %s (%s) %s", n.Rank, n.Name, n.Address, strings.Join(n.Roles, ", "), n.Executor)
	}
	for _, s := range st.Servers {
		p("Server:\t%s on %s at %s, version %s", s.Name, s.Node, s.URL, orNone(s.Version))
	}
	if st.Pushgateway != "" {
		p("Pushgateway:\t%s", st.Pushgateway)
	}
	if f := st.Failure; f != nil {
		p("Failure:\t%s %s: %s", f.Class, f.Reason, f.Message)
	}
	for _, f := range st.Findings {
		p("Found:\t%s %s", f.Severity, findingLine(f))
		p("\tnext: %s", f.NextStep)
	}
	describeConditions(p, st.Conditions)
}

func describeSpec(p func(string, ...any), spec any) {
	data, err := yaml.Marshal(spec)
	if err != nil {
		p("Spec:\t%v", err)
		return
	}
	p("Spec:")
	for line := range strings.Lines(string(data)) {
		p("  %s", strings.TrimRight(line, "\n"))
	}
}

func describeConditions(p func(string, ...any), conditions []metav1.Condition) {
	if len(conditions) == 0 {
		return
	}
	p("Conditions:")
	for _, c := range conditions {
		p("  %s\t%s  %s  %s", c.Type, c.Status, c.Reason, c.Message)
	}
}

// findingLine says what a rule found in the logs, and where.
func findingLine(f api.LogFinding) string {
	where := strings.TrimPrefix(f.Node+" "+f.Component, " ")
	return fmt.Sprintf("%s (%s, %s, %s): %s", f.Rule, where, f.At.Format(time.TimeOnly), counted(int(f.Count), "line"), f.Meaning)
}

// logLine says what a log collector brought together.
func logLine(l *api.LogSummary, allocation string) string {
	line := fmt.Sprintf("%s of %s, %d of standard error", counted(int(l.Lines), "line"), counted(len(l.Nodes), "node"), l.StderrLines)
	for _, level := range []string{"warning", "error"} {
		if n := l.Levels[level]; n > 0 {
			line += ", " + counted(int(n), level)
		}
	}
	if n := l.Levels["fatal"]; n > 0 {
		line += fmt.Sprintf(", %d fatal", n)
	}
	if l.Forwarded > 0 || l.Dropped > 0 {
		line += fmt.Sprintf("; %d sent to the log service, %d dropped", l.Forwarded, l.Dropped)
	}
	if l.Dropped > 0 {
		line += ": the lead's warnings in `benchd logs allocation/" + allocation + "` say why"
	}
	return line
}

func orNone(s string) string {
	if s == "" {
		return "<none>"
	}
	return s
}

func milli(seconds float64) string {
	if seconds == 0 {
		return "<none>"
	}
	return fmt.Sprintf("%.1f ms", 1e3*seconds)
}

func age(t metav1.Time) string { return duration.HumanDuration(time.Since(t.Time)) }

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
