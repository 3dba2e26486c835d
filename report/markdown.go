package report

import (
	"fmt"
	"strings"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Story is what a report tells beside the numbers.
type Story struct {
	Spec    api.BenchmarkRunSpec
	Phases  []api.PhaseTime
	End     time.Time
	JobID   string
	Nodes   []api.NodeStatus
	Outcome *api.Outcome
	Folder  string
}

// Markdown writes the report for people. Without a summary it tells what happened and where the logs are.
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
	writeSetup(p, s, story)
	writeHeadline(p, s)
	writeDistributions(p, s)
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
	load := fmt.Sprintf("closed loop, %d clients per node", w.Load.ClientsPerNode)
	if w.Load.Pattern == api.PatternConstant {
		load = fmt.Sprintf("constant %g requests/s", w.Load.Rate)
	}
	p("| | |")
	p("|---|---|")
	p("| service | %s, model %s, %d replicas |", s.Service, s.Model, story.Spec.Service.Replicas)
	p("| load | %s; prompts of %d and answers of %d tokens; streaming %v |", load, w.Prompts.Tokens, w.Output.Tokens, *w.Streaming)
	p("| time | warm-up %s, measured %s |", w.Warmup.Duration, w.Duration.Duration)
	p("| job | %s on %s |", story.JobID, nodeNames(story.Nodes))
	p("| benchd | %s |", s.BenchdVers)
	p("")
}

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
	p("| request throughput | %.2f /s | %s |", s.RequestThroughput, s.Definitions["requestThroughput"])
	p("| output throughput | %.1f tokens/s | %s |", s.OutputTokenThroughput, s.Definitions["outputTokenThroughput"])
	p("| total throughput | %.1f tokens/s | %s |", s.TotalTokenThroughput, s.Definitions["totalTokenThroughput"])
	if s.OfferedRate != nil {
		p("| offered / achieved rate | %.2f / %.2f /s | %s |", *s.OfferedRate, s.AchievedRate, s.Definitions["achievedRate"])
	}
	if s.Goodput != nil {
		p("| goodput | %.2f /s, %.1f %% | %s |", s.Goodput.Rate, 100*s.Goodput.Fraction, s.Definitions["goodput"])
	}
	p("| concurrency | mean %.1f, peak %d | %s |", s.Concurrency.Mean, s.Concurrency.Peak, s.Definitions["concurrency"])
	p("| error rate | %.2f %% | %s |", 100*s.ErrorRate, s.Definitions["errorRate"])
	p("| tokens | %d prompt, %d output | counted by: %s; %d answers short of target |", s.Tokens.Prompt, s.Tokens.Output, s.Tokens.Source, s.Tokens.ShortOfTarget)
	p("")
}

func writeDistributions(p func(string, ...any), s *Summary) {
	p("Latencies in milliseconds; `–` stands for a percentile with too few samples.")
	p("")
	p("| | count | mean | p50 | p90 | p95 | p99 | p99.9 | max |")
	p("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, d := range distributions(s) {
		if d.d.Count == 0 {
			continue
		}
		p("| %s | %d | %s | %s | %s | %s | %s | %s | %s |", d.name, d.d.Count, ms(d.d.Mean), ms(d.d.P50), ms(d.d.P90), ms(d.d.P95), ms(d.d.P99), ms(d.d.P999), ms(d.d.Max))
	}
	p("")
	for _, d := range distributions(s) {
		if d.d.Count > 0 {
			p("- **%s**: %s", d.name, s.Definitions[d.name])
		}
	}
	p("")
}

func ms(v *float64) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f", 1e3**v)
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
		end := story.End
		if i+1 < len(story.Phases) {
			end = story.Phases[i+1].Since.Time
		}
		p("| %s | %.2f |", phase.Phase, end.Sub(phase.Since.Time).Seconds())
	}
	p("")
}
