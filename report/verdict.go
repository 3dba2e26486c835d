package report

import "fmt"

// Limits of the verdict.
const (
	invalidErrorRate   = 0.10
	suspectErrorRate   = 0.01
	invalidRateOff     = 0.05
	suspectShort       = 0.01
	suspectUncertainty = 0.005
	closedPerClient    = 10
)

// judge says whether the numbers can be used, and every reason why not.
func (a *accumulator) judge() Verdict {
	s := &a.sum
	var invalid, suspect []string
	add := func(to *[]string, is bool, format string, args ...any) {
		if is {
			*to = append(*to, fmt.Sprintf(format, args...))
		}
	}
	add(&invalid, s.Requests.Succeeded == 0, "no request of the measured window succeeded")
	add(&invalid, a.in.Interrupted, "the load was ended before its time; rates are taken over the whole planned window")
	complete := 0
	for _, n := range s.PerNode {
		if n.Complete {
			complete++
		}
	}
	add(&invalid, complete < a.in.Clients, "the records of %d of %d client nodes are not complete", a.in.Clients-complete, a.in.Clients)
	add(&invalid, s.ErrorRate > invalidErrorRate, "%.1f %% of the requests failed, over %.0f %%", 100*s.ErrorRate, 100*invalidErrorRate)
	add(&suspect, s.ErrorRate > suspectErrorRate && s.ErrorRate <= invalidErrorRate, "%.1f %% of the requests failed, over %.0f %%", 100*s.ErrorRate, 100*suspectErrorRate)
	if s.OfferedRate != nil && !a.in.Capped {
		// A window holds a whole number of arrivals; one more or less is no deviation.
		off := s.AchievedRate - *s.OfferedRate
		slack := invalidRateOff**s.OfferedRate + 1/s.MeasuredSeconds
		add(&invalid, off > slack || -off > slack, "sent %.4g requests/s where %.4g were to be sent", s.AchievedRate, *s.OfferedRate)
	}
	if p99, p50 := s.ScheduleLag.P99, s.TTFT.P50; p99 != nil {
		limit := 0.005
		if p50 != nil {
			limit = max(limit, 0.05**p50)
		}
		add(&suspect, *p99 > limit, "the client lagged behind its schedule: p99 %.1f ms, over %.1f ms", 1e3**p99, 1e3*limit)
	}
	if n := s.Requests.Succeeded; n > 0 {
		short := float64(s.Tokens.ShortOfTarget) / float64(n)
		add(&suspect, short > suspectShort, "%.1f %% of the answers were shorter than asked for", 100*short)
	}
	if c := a.header.Concurrency; c > 0 {
		add(&suspect, s.Requests.Succeeded < closedPerClient*c, "%d completions for %d concurrent clients, under %d each", s.Requests.Succeeded, c, closedPerClient)
	}
	add(&suspect, a.in.ClientsOnServers, "clients shared nodes with servers")
	for _, name := range sortedKeys(s.PerNode) {
		u := s.PerNode[name].ClockUncertainty
		add(&suspect, a.in.Clients > 1 && u > suspectUncertainty, "the clock of %s is known only to %.1f ms", name, 1e3*u)
	}
	switch {
	case len(invalid) > 0:
		return Verdict{Invalid, append(invalid, suspect...)}
	case len(suspect) > 0:
		return Verdict{Suspect, suspect}
	}
	return Verdict{Valid, []string{}}
}
