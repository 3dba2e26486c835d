package report

import (
	"fmt"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func replicas(n int32) string {
	if n == 0 {
		return ""
	}
	return ", " + plural(int(n), "replica")
}

func describeLoad(l *api.LoadSpec) string {
	switch l.Pattern {
	case api.PatternClosed:
		think := ""
		if l.ThinkTime.Duration > 0 {
			think = fmt.Sprintf(", thinking %s", l.ThinkTime.Duration)
		}
		return fmt.Sprintf("closed loop, %s per node%s", plural(int(l.ClientsPerNode), "client"), think)
	case api.PatternGamma:
		return fmt.Sprintf("gamma arrivals, %g requests/s, burstiness %g", l.Rate, l.Burstiness)
	case api.PatternBurst:
		return fmt.Sprintf("bursts of %g requests/s for %s, then %g for %s (%s arrivals)", l.Rate, l.Burst.On.Duration, l.Burst.OffRate, l.Burst.Off.Duration, l.Arrivals)
	case api.PatternSteps:
		parts := make([]string, len(l.Steps))
		for i, step := range l.Steps {
			parts[i] = fmt.Sprintf("%g for %s", step.Rate, step.Duration.Duration)
		}
		return fmt.Sprintf("steps of requests/s: %s (%s arrivals)", strings.Join(parts, ", "), l.Arrivals)
	case api.PatternRamp:
		return fmt.Sprintf("ramp from %g to %g requests/s (%s arrivals)", l.Ramp.From, l.Ramp.To, l.Arrivals)
	case api.PatternTrace:
		return fmt.Sprintf("trace %s at %g times its speed", l.Trace.Path, l.Trace.Speed)
	}
	return fmt.Sprintf("%s arrivals, %g requests/s", l.Pattern, l.Rate)
}

func bounds(w *api.WorkloadSpec) string {
	out := ""
	if n := w.Load.MaxConcurrency; n > 0 {
		out += fmt.Sprintf(", at most %d in flight", n)
	}
	if n := w.Load.Requests; n > 0 {
		out += fmt.Sprintf(", %d measured requests", n)
	}
	if w.Balance != api.BalanceRoundRobin {
		out += fmt.Sprintf(", balanced %s", w.Balance)
	}
	return out
}

func boundBy(bound string) string {
	return map[string]string{
		"requests": ", ended by the number of requests", "trace": ", ended with the trace", "errorBudget": ", ended by the error budget",
		"stopped": ", stopped before its time",
	}[bound]
}

func describePrompts(p *api.PromptSpec) string {
	if p.Source != api.PromptSynthetic {
		return fmt.Sprintf("%s %s", p.Source, p.Path)
	}
	out := "synthetic, " + describeLengths(p.Tokens, p.Distribution, p.Stddev, p.Min, p.Max)
	if p.Prefix != nil {
		out += fmt.Sprintf(", %.0f %% of it shared in %d groups", 100*p.Prefix.Share, p.Prefix.Groups)
	}
	return out
}

func describeLengths(tokens int32, d api.Distribution, stddev, least, most int32) string {
	switch d {
	case api.DistributionUniform:
		return fmt.Sprintf("%d to %d tokens", least, most)
	case api.DistributionNormal:
		return fmt.Sprintf("%d ± %d tokens (%d to %d)", tokens, stddev, least, most)
	}
	return fmt.Sprintf("%d tokens", tokens)
}

func forced(s *Summary) string {
	if s.Tokens.LengthForced {
		return ", to which the server was held"
	}
	return ""
}
