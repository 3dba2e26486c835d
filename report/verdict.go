package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/benchd/benchd/workload"
)

// judge says whether the numbers can be used, and every reason why not.
func (a *accumulator) judge(sampled *tracks) Verdict {
	var v judgement
	a.judgeRequests(&v)
	a.judgeClient(&v)
	a.judgeWindow(&v)
	a.judgeGPUs(&v, sampled)
	a.judgeSides(&v, a.sum.Resources)
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
	if s.OfferedRate != nil && a.header.MaxConcurrency == 0 && s.MeasuredSeconds > 0 {
		// Random arrivals scatter: that is the draw, and not the client. So what was sent is held against what was drawn; of a
		// load that ended early, against what came up to be sent.
		due := a.header.Drawn
		if s.Bound != "" {
			due = s.Requests.Attempted
		}
		if due == 0 { // records of before
			due = int64(*s.OfferedRate * s.MeasuredSeconds)
		}
		off := math.Abs(float64(a.sent - due))
		v.invalidIf(off > l.RateDeviation*float64(due)+1, "%d requests were sent where %d were to be sent", a.sent, due)
	}
	if lag, name := a.tailOfLag(); lag != nil {
		limit := l.Lag.Seconds()
		if p50 := s.TTFT.P50; p50 != nil {
			limit = max(limit, l.LagShare**p50)
		}
		v.suspectIf(*lag > limit, "the client lagged behind its schedule: %s %.1f ms, over %.1f ms", name, 1e3**lag, 1e3*limit)
	}
	for _, name := range sortedKeys(s.PerNode) {
		n := s.PerNode[name]
		v.suspectIf(n.PeakThread > l.ClientCPU, "a thread of the load engine on %s used %.0f %% of a CPU over 5 s, over %.4g %%: the client may have been the bottleneck", name, 100*n.PeakThread, 100*l.ClientCPU)
		v.suspectIf(n.PeakCPU > l.ClientCPU, "the client on %s used %.0f %% of its CPUs over 5 s, over %.4g %%", name, 100*n.PeakCPU, 100*l.ClientCPU)
		v.suspectIf(a.in.Clients > 1 && n.ClockUncertainty > l.ClockUncertainty.Seconds(), "the clock of %s is known only to %.1f ms", name, 1e3*n.ClockUncertainty)
	}
	v.suspectIf(a.in.ClientsOnServers, "clients shared nodes with servers")
}

// tailOfLag is the 99th percentile of the schedule lag; with too few requests to tell one, the second largest lag stands
// for it, so that one hiccup alone makes no verdict.
func (a *accumulator) tailOfLag() (*float64, string) {
	if p99 := a.sum.ScheduleLag.P99; p99 != nil {
		return p99, "p99"
	}
	seen := uint32(0)
	for i := len(a.lag) - 1; i >= 0; i-- { // sorted by now
		if seen += a.lag[i].n; seen >= 2 {
			return &a.lag[i].value, "more than once"
		}
	}
	return nil, ""
}

// judgeWindow looks whether the measured window was one state.
func (a *accumulator) judgeWindow(v *judgement) {
	st, limit := &a.sum.Steady, a.in.Limits.Drift
	why := ""
	switch {
	case a.sum.Saturated:
		why = ": the offered rate is more than the servers take"
	case a.shaped():
		why = ", as the load itself changes"
	}
	v.suspectIf(st.InFlight.moves(limit), "unsteady: requests in flight drifted by %.0f %% over the measured window%s", 100*drift(st.InFlight), why)
	v.suspectIf(st.TokenRate.moves(limit), "unsteady: the output drifted by %.0f %% over the measured window%s", 100*drift(st.TokenRate), why)
}

func drift(t *Trend) float64 {
	if t == nil {
		return 0
	}
	return t.Drift
}
