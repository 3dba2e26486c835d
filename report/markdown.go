package report

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Story is what a report tells beside the numbers.
type Story struct {
	Spec    api.BenchmarkRunSpec `json:"spec"`
	Phases  []api.PhaseTime      `json:"phases,omitempty"`
	End     time.Time            `json:"end,omitzero"`
	JobID   string               `json:"jobID,omitempty"`
	Nodes   []api.NodeStatus     `json:"nodes,omitempty"`
	Outcome *api.Outcome         `json:"outcome,omitempty"`
	// Findings are the known failures that the logs tell of.
	Findings []api.LogFinding `json:"findings,omitempty"`
	// JobStart is when the job left the queue, AgentsUp when the last of its nodes had an agent; zero where that is not known.
	JobStart time.Time `json:"jobStart,omitzero"`
	AgentsUp time.Time `json:"agentsUp,omitzero"`
	Folder   string    `json:"folder"`
}

// Markdown writes the report for people, as text.
func Markdown(s *Summary, story Story) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Benchmark report: %s", s.Run)
	p("")
	if o := story.Outcome; o != nil && o.Result != api.ResultSucceeded {
		p("**%s** (%s): %s", o.Result, o.Reason, o.Message)
		p("")
	}
	p("Verdict: **%s**%s", s.Verdict.State, reasons(s.Verdict.Reasons))
	p("")
	writeFindings(p, story.Findings)
	writeSetup(p, s, story)
	writeHeadline(p, s)
	writeDistributions(p, s)
	writeParts(p, s)
	writeResources(p, s)
	writeErrors(p, s)
	writePhases(p, story)
	p("Files: `%s`", story.Folder)
	return b.String()
}

func reasons(r []string) string {
	if len(r) == 0 {
		return ""
	}
	return " — " + strings.Join(r, "; ")
}

func writeSetup(p func(string, ...any), s *Summary, story Story) {
	w := &story.Spec.Workload
	streaming := "streamed"
	if !*w.Streaming {
		streaming = "not streamed"
	}
	p("| | |")
	p("|---|---|")
	if s.Sweep != "" {
		p("| sweep | %s: %s |", s.Sweep, barred(orDash(valuesText(s.Parameters))))
	}
	p("| service | %s, model %s%s |", s.Service, barred(s.Model), replicas(story.Spec.Service.Replicas))
	p("| load | %s%s |", barred(describeLoad(&w.Load)), bounds(w))
	p("| requests | %s API, %s; prompts: %s, lengths by %s; answers of %s%s |", w.API, streaming, barred(describePrompts(&w.Prompts)),
		cmp.Or(s.Tokens.PromptSource, "–"), describeLengths(w.Output.Tokens, w.Output.Distribution, w.Output.Stddev, w.Output.Min, w.Output.Max), forced(s))
	p("| time | warm-up %s, measured %s s%s |", w.Warmup.Duration, Digits(s.MeasuredSeconds, 4), boundBy(s.Bound))
	if story.JobID != "" {
		p("| job | %s on %s |", story.JobID, nodeNames(story.Nodes))
	}
	p("| benchd | %s |", s.BenchdVers)
	p("")
}

// barred is foreign text that does not end the cell of a Markdown table that it stands in.
func barred(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

func nodeNames(nodes []api.NodeStatus) string {
	parts := make([]string, 0, len(nodes))
	for _, n := range nodes {
		parts = append(parts, fmt.Sprintf("%s (%s)", n.Name, strings.Join(n.Roles, ", ")))
	}
	return strings.Join(parts, ", ")
}

func writeHeadline(p func(string, ...any), s *Summary) {
	p("| number | value | meaning |")
	p("|---|---:|---|")
	p("| requests | %d attempted, %d succeeded | failed %d, cancelled %d, dropped %d |", s.Requests.Attempted, s.Requests.Succeeded, s.Requests.Failed, s.Requests.Cancelled, s.Requests.Dropped)
	p("| request throughput | %.2f /s%s | %s |", s.RequestThroughput, between(s.CI95["requestThroughput"], 1, "%.2f"), s.Definitions["requestThroughput"])
	p("| output throughput | %.1f tokens/s%s | %s |", s.OutputTokenThroughput, between(s.CI95["outputTokenThroughput"], 1, "%.1f"), s.Definitions["outputTokenThroughput"])
	p("| total throughput | %.1f tokens/s | %s |", s.TotalTokenThroughput, s.Definitions["totalTokenThroughput"])
	if s.OfferedRate != nil {
		p("| offered / achieved rate | %.2f / %.2f /s | %s |", *s.OfferedRate, s.AchievedRate, s.Definitions["achievedRate"])
	}
	if s.Goodput != nil {
		p("| goodput | %.2f /s, %.1f %% | %s |", s.Goodput.Rate, 100*s.Goodput.Fraction, s.Definitions["goodput"])
	}
	if s.SLO != nil {
		p("| SLO attainment | %s | fraction of all attempted requests that met each limit |", attainment(s.SLO))
	}
	p("| concurrency | mean %.1f, peak %d | %s |", s.Concurrency.Mean, s.Concurrency.Peak, s.Definitions["concurrency"])
	p("| error rate | %.2f %% | %s |", 100*s.ErrorRate, s.Definitions["errorRate"])
	by := ""
	if s.Tokens.Source != "" {
		by = "counted by: " + s.Tokens.Source + "; "
	}
	p("| tokens | %d prompt (%d cached), %d output | %s%d answers short of target |", s.Tokens.Prompt, s.Tokens.Cached, s.Tokens.Output, by, s.Tokens.ShortOfTarget)
	p("| state | %s | %s |", s.Steady.State, steadiness(s))
	p("")
}

// between prints an interval behind its number.
func between(ci *Interval, scale float64, format string) string {
	if ci == nil {
		return ""
	}
	return fmt.Sprintf(" ("+format+"–"+format+")", scale*ci[0], scale*ci[1])
}

func attainment(s *SLO) string {
	var parts []string
	for _, l := range []struct {
		name string
		of   *Attainment
	}{{"ttft", s.TTFT}, {"tpot", s.TPOT}, {"e2e", s.E2E}} {
		if l.of != nil {
			parts = append(parts, fmt.Sprintf("%s ≤ %s ms: %.1f %%", l.name, Digits(1e3*l.of.Limit, 4), 100*l.of.Fraction))
		}
	}
	return strings.Join(parts, ", ")
}

func steadiness(s *Summary) string {
	if s.Saturated {
		return s.Definitions["saturated"]
	}
	if s.Steady.State == UnknownState {
		return "a window of fewer than ten seconds, or one that was ended before its time, tells no trend"
	}
	return fmt.Sprintf("over the window, requests in flight drifted by %.1f %%, output by %.1f %%", 100*drift(s.Steady.InFlight), 100*drift(s.Steady.TokenRate))
}

func writeDistributions(p func(string, ...any), s *Summary) {
	p("Latencies in milliseconds, with 95 %% intervals; `–` stands for a percentile with too few samples.")
	p("")
	p("| | count | mean | p50 | p90 | p95 | p99 | p99.9 | max |")
	p("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, d := range distributions(s) {
		if d.d.Count == 0 {
			continue
		}
		ci := d.d.CI95
		if ci == nil {
			ci = &Intervals{}
		}
		number := ms
		if !isTime(d.name) {
			number = plain
		}
		p("| %s | %d | %s | %s | %s | %s | %s | %s | %s |", d.name, d.d.Count, number(d.d.Mean, ci.Mean), number(d.d.P50, ci.P50),
			number(d.d.P90, ci.P90), number(d.d.P95, ci.P95), number(d.d.P99, ci.P99), number(d.d.P999, ci.P999), number(d.d.Max, nil))
	}
	p("")
	for _, d := range distributions(s) {
		if d.d.Count > 0 {
			p("- **%s**: %s", d.name, s.Definitions[d.name])
		}
	}
	p("")
}

// isTime says whether a distribution is of seconds, and not of tokens.
func isTime(name string) bool { return name != "promptTokens" && name != "outputTokens" }

func plain(v *float64, _ *Interval) string {
	if v == nil {
		return "–"
	}
	return Digits(*v, 4)
}

func ms(v *float64, ci *Interval) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f", 1e3**v) + between(ci, 1e3, "%.2f")
}

// writeParts shows what each node and each server had of the load, and what servers say themselves.
func writeParts(p func(string, ...any), s *Summary) {
	if len(s.PerServer) > 1 {
		p("| server | requests | req/s | tokens/s | ttft p50 | e2e p50 |")
		p("|---|---:|---:|---:|---:|---:|")
		for _, name := range sortedKeys(s.PerServer) {
			n := s.PerServer[name]
			p("| %s | %d | %.2f | %.1f | %s | %s |", name, n.Requests.Attempted, n.RequestThroughput, n.OutputTokenThroughput, ms(n.TTFTP50, nil), ms(n.E2EP50, nil))
		}
		p("")
	}
	p("| client node | requests | req/s | tokens/s | ttft p50 | e2e p50 | CPU s | busiest thread |")
	p("|---|---:|---:|---:|---:|---:|---:|---:|")
	for _, name := range sortedKeys(s.PerNode) {
		n := s.PerNode[name]
		p("| %s | %d | %.2f | %.1f | %s | %s | %.2f | %.0f %% |", name, n.Requests.Attempted, n.RequestThroughput, n.OutputTokenThroughput, ms(n.TTFTP50, nil), ms(n.E2EP50, nil), n.CPUSeconds, 100*n.PeakThread)
	}
	p("")
	if v := s.ServerView; v != nil {
		p("Where the time went, in milliseconds, as the servers tell it (%s), beside the client's view:", v.Source)
		p("")
		p("| | mean | p50 | p99 | requests |")
		p("|---|---:|---:|---:|---:|")
		for _, d := range []named{{"queue", &v.Queue}, {"load", &v.Load}, {"prefill", &v.Prefill}, {"decode", &v.Decode}, {"ttft (server)", &v.TTFT}, {"ttft (client)", &s.TTFT}, {"e2e (server)", &v.E2E}, {"e2e (client)", &s.E2E}} {
			if d.d.Count > 0 {
				p("| %s | %s | %s | %s | %d |", d.name, ms(d.d.Mean, nil), ms(d.d.P50, nil), ms(d.d.P99, nil), d.d.Count)
			}
		}
		p("")
	}
}

func writeErrors(p func(string, ...any), s *Summary) {
	if len(s.Errors) == 0 {
		return
	}
	p("| error | requests |")
	p("|---|---:|")
	for _, class := range sortedKeys(s.Errors) {
		p("| %s | %d |", class, s.Errors[class])
	}
	p("")
}

func writePhases(p func(string, ...any), story Story) {
	if len(story.Phases) == 0 {
		return
	}
	p("| phase | seconds |")
	p("|---|---:|")
	for i, phase := range story.Phases {
		if phase.Phase == api.RunReporting {
			continue // it goes on while this is written
		}
		end := story.End
		if i+1 < len(story.Phases) {
			end = story.Phases[i+1].Since.Time
		}
		p("| %s | %.2f |", phase.Phase, end.Sub(phase.Since.Time).Seconds())
	}
	p("")
}
