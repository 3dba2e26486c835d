package report

import (
	"fmt"
	"math"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/workload"
)

// judge says whether the numbers can be used, and every reason why not.
func (a *accumulator) judge() Verdict {
	var v judgement
	a.judgeRequests(&v)
	a.judgeClient(&v)
	a.judgeWindow(&v)
	switch {
	case len(v.invalid) > 0:
		return Verdict{Invalid, append(v.invalid, v.suspect...)}
	case len(v.suspect) > 0:
		return Verdict{Suspect, v.suspect}
	}
	return Verdict{Valid, []string{}}
}

// judgement gathers reasons.
type judgement struct{ invalid, suspect []string }

func (v *judgement) invalidIf(is bool, format string, args ...any) {
	if is {
		v.invalid = append(v.invalid, fmt.Sprintf(format, args...))
	}
}

func (v *judgement) suspectIf(is bool, format string, args ...any) {
	if is {
		v.suspect = append(v.suspect, fmt.Sprintf(format, args...))
	}
}

// judgeRequests looks at what became of the requests.
func (a *accumulator) judgeRequests(v *judgement) {
	s, l := &a.sum, &a.in.Limits
	v.invalidIf(s.Requests.Succeeded == 0, "no request of the measured window succeeded")
	v.invalidIf(a.in.Interrupted, "the load was ended before its time; rates are taken over the whole planned window")
	v.invalidIf(s.Bound == workload.BoundErrorBudget, "the error budget was spent, which ended the load")
	complete := 0
	for _, n := range s.PerNode {
		if n.Complete {
			complete++
		}
	}
	v.invalidIf(complete < a.in.Clients, "the records of %d of %d client nodes are not complete", a.in.Clients-complete, a.in.Clients)
	if names := a.restarted(); len(names) > 0 {
		v.invalidIf(true, "the server %s restarted within the load", strings.Join(names, ", "))
	}
	v.invalidIf(s.ErrorRate > l.InvalidErrorRate, "%.1f %% of the requests failed, over %.4g %%", 100*s.ErrorRate, 100*l.InvalidErrorRate)
	v.suspectIf(s.ErrorRate > l.SuspectErrorRate && s.ErrorRate <= l.InvalidErrorRate, "%.1f %% of the requests failed, over %.4g %%", 100*s.ErrorRate, 100*l.SuspectErrorRate)
	if n := s.Requests.Succeeded; n > 0 {
		short := float64(s.Tokens.ShortOfTarget) / float64(n)
		v.suspectIf(short > l.ShortOutputs, "%.1f %% of the answers were shorter than asked for", 100*short)
	}
	if c := a.header.Concurrency; c > 0 {
		v.suspectIf(s.Requests.Succeeded < l.CompletionsPerClient*c, "%d completions for %d concurrent clients, under %d each", s.Requests.Succeeded, c, l.CompletionsPerClient)
	}
}

// judgeClient looks whether the client kept up: else the client was measured and not the server.
func (a *accumulator) judgeClient(v *judgement) {
	s, l := &a.sum, &a.in.Limits
	if s.OfferedRate != nil && a.header.MaxConcurrency == 0 && s.Bound == "" && s.MeasuredSeconds > 0 {
		// A window holds a whole number of arrivals, and random ones scatter by the root of their number: that is the draw, and
		// not the client.
		off := math.Abs(s.AchievedRate - *s.OfferedRate)
		slack := l.RateDeviation**s.OfferedRate + 1/s.MeasuredSeconds
		if a.header.Pattern != "" && a.header.Pattern != string(api.PatternConstant) && a.header.Pattern != string(api.PatternTrace) {
			slack += 4 * math.Sqrt(*s.OfferedRate/s.MeasuredSeconds)
		}
		v.invalidIf(off > slack, "sent %.4g requests/s where %.4g were to be sent", s.AchievedRate, *s.OfferedRate)
	}
	if p99, p50 := s.ScheduleLag.P99, s.TTFT.P50; p99 != nil {
		limit := l.Lag.Seconds()
		if p50 != nil {
			limit = max(limit, l.LagShare**p50)
		}
		v.suspectIf(*p99 > limit, "the client lagged behind its schedule: p99 %.1f ms, over %.1f ms", 1e3**p99, 1e3*limit)
	}
	for _, name := range sortedKeys(s.PerNode) {
		n := s.PerNode[name]
		v.suspectIf(n.PeakThread > l.ClientCPU, "a thread of the load engine on %s used %.0f %% of a CPU over 5 s, over %.4g %%: the client may have been the bottleneck", name, 100*n.PeakThread, 100*l.ClientCPU)
		v.suspectIf(n.PeakCPU > l.ClientCPU, "the client on %s used %.0f %% of its CPUs over 5 s, over %.4g %%", name, 100*n.PeakCPU, 100*l.ClientCPU)
		v.suspectIf(a.in.Clients > 1 && n.ClockUncertainty > l.ClockUncertainty.Seconds(), "the clock of %s is known only to %.1f ms", name, 1e3*n.ClockUncertainty)
	}
	v.suspectIf(a.in.ClientsOnServers, "clients shared nodes with servers")
}

// judgeWindow looks whether the measured window was one state.
func (a *accumulator) judgeWindow(v *judgement) {
	st, limit := &a.sum.Steady, a.in.Limits.Drift
	why := ""
	if a.sum.Saturated {
		why = ": the offered rate is more than the servers take"
	}
	v.suspectIf(st.InFlight.moves(limit), "unsteady: requests in flight drifted by %.0f %% over the measured window%s", 100*drift(st.InFlight), why)
	v.suspectIf(st.TokenRate.moves(limit), "unsteady: the output drifted by %.0f %% over the measured window", 100*drift(st.TokenRate))
}

func drift(t *Trend) float64 {
	if t == nil {
		return 0
	}
	return t.Drift
}
