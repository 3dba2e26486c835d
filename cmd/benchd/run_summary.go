package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"charm.land/lipgloss/v2"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/report"
)

// verdictStyles by what a report says of its numbers.
var verdictStyles = map[string]lipgloss.Style{report.Valid: goodStyle, report.Suspect: warnStyle, report.Invalid: badStyle}

// summaryLines say what a run came to: the verdict first, the numbers, where everything is, and what may be done next. Paths and
// commands are never broken, for they are to be copied. With is what commands need beside names, such as --home.
func summaryLines(s screen, run *api.BenchmarkRun, with string) []string {
	st := &run.Status
	lines := s.verdictLines(run)
	if st.Summary != nil {
		lines = append(lines, s.numberLines(st.Summary)...)
	}
	add := func(title, text string) { lines = append(lines, fmt.Sprintf("  %-11s %s", title, text)) }
	reported := false
	for _, f := range st.Reports {
		if filepath.Base(f.Path) == report.ReportMD {
			add("report", f.Path)
			reported = true
		}
	}
	if st.Folder != "" {
		add("files", st.Folder)
	}
	next := []string{"benchd report " + run.Name, "benchd compare " + run.Name + " OTHER"}
	if st.Phase != api.RunCompleted {
		next = []string{"benchd describe run " + run.Name, "benchd logs " + run.Name}
		if reported {
			next = append(next, "benchd report "+run.Name)
		}
	}
	for i, command := range next {
		add([]string{"next", ""}[min(i, 1)], command+with)
	}
	return lines
}

// verdictLines say how the run ended, and why not well.
func (s screen) verdictLines(run *api.BenchmarkRun) []string {
	st := &run.Status
	mark, style, word := markDone, goodStyle, strings.ToLower(string(st.Phase))
	if st.Phase != api.RunCompleted {
		mark, style = markFailed, badStyle
	}
	if sum := st.Summary; sum != nil && sum.Verdict != "" {
		if st.Phase == api.RunCompleted {
			style = verdictStyles[sum.Verdict]
			word = sum.Verdict
			if sum.Verdict != report.Valid {
				mark = markWarn
			}
		} else {
			word += ", numbers " + sum.Verdict
		}
	}
	items := []string{style.Bold(true).Render(mark + " " + word), headStyle.Render("run/" + clean(run.Name))}
	if st.CompletionTime != nil && !run.CreationTimestamp.IsZero() {
		items = append(items, dimStyle.Render("after "+clock(st.CompletionTime.Sub(run.CreationTimestamp.Time))))
	}
	if n := len(st.Attempts); n > 1 {
		items = append(items, fmt.Sprintf("%d attempts", n))
	}
	lines := s.flow(0, items...)
	if st.Phase != api.RunCompleted {
		message := st.Message
		if o := st.Outcome; o != nil && o.Message != "" {
			message = strings.TrimPrefix(o.Reason+": "+o.Message, ": ")
		}
		lines = append(lines, s.wrap(message, 2, 12)...)
	}
	for _, text := range doubts(st) {
		for i, line := range s.wrap(text, 4, 6) {
			if i == 0 {
				line = "  " + markWarn + line[3:]
			}
			lines = append(lines, warnStyle.Render(line))
		}
	}
	return lines
}

// doubts are what the logs told of, each with what to do next, and why the numbers are not valid.
func doubts(st *api.BenchmarkRunStatus) []string {
	var all []string
	if n := len(st.Attempts); n > 0 {
		for _, f := range st.Attempts[n-1].Findings {
			all = append(all, fmt.Sprintf("%s on %s: %s. Next: %s", f.Rule, f.Node, strings.TrimSuffix(f.Meaning, "."), f.NextStep))
		}
	}
	if st.Summary != nil {
		all = append(all, st.Summary.VerdictReasons...)
	}
	return all
}

// numberLines are the headline numbers.
func (s screen) numberLines(sum *api.Summary) []string {
	const title = 14
	var lines []string
	row := func(name string, items ...string) {
		for i, line := range s.flow(title, items...) {
			if i == 0 {
				line = "  " + pad(name, title-2) + line[title:]
			}
			lines = append(lines, line)
		}
	}
	failed := fmt.Sprintf("%d failed", sum.Failed)
	if sum.Failed > 0 {
		failed = badStyle.Render(failed)
	}
	row("requests", fmt.Sprint(sum.Requests), failed)
	row("throughput", report.Digits(sum.RequestThroughput, 4)+" req/s", report.Digits(sum.OutputTokenThroughput, 5)+" output tok/s")
	latency := func(name string, p50, p99 float64) {
		var items []string
		if p50 > 0 {
			items = append(items, "p50 "+millis(p50))
		}
		if p99 > 0 {
			items = append(items, "p99 "+millis(p99))
		}
		if len(items) > 0 {
			row(name, items...)
		}
	}
	latency("TTFT", sum.TTFTP50, sum.TTFTP99)
	latency("TPOT", sum.TPOTP50, 0)
	latency("E2E", sum.E2EP50, sum.E2EP99)
	if sum.GoodputShare != nil {
		row("SLO", fmt.Sprintf("%.4g %% of requests met it", 100**sum.GoodputShare))
	}
	if sum.Saturated {
		row("saturated", "more was offered than was taken")
	}
	return lines
}
