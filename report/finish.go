package report

import (
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/workload"
)

func total(blocks []float64) float64 {
	sum := 0.0
	for _, v := range blocks {
		sum += v
	}
	return sum
}

func (a *accumulator) finishRates(seconds float64) {
	s := &a.sum
	if seconds <= 0 {
		return
	}
	out := total(a.windowOut)
	s.RequestThroughput = total(a.completed) / seconds
	s.OutputTokenThroughput = out / seconds
	s.TotalTokenThroughput = (out + a.windowIn) / seconds
	s.AchievedRate = float64(a.sent) / seconds
	if rate := a.header.OfferedRate; rate > 0 {
		s.OfferedRate = &rate
	}
	n := s.Requests.Attempted
	if n == 0 {
		return
	}
	s.ErrorRate = float64(n-s.Requests.Succeeded) / float64(n)
	h := &a.header
	if h.TTFT == 0 && h.TPOT == 0 && h.E2E == 0 {
		return
	}
	s.Goodput = &Goodput{Rate: float64(a.good) / seconds, Fraction: float64(a.good) / float64(n)}
	attained := func(limit, met int64) *Attainment {
		if limit == 0 {
			return nil
		}
		return &Attainment{Limit: float64(limit) / second, Fraction: float64(met) / float64(n)}
	}
	s.SLO = &SLO{TTFT: attained(h.TTFT, a.met.ttft), TPOT: attained(h.TPOT, a.met.tpot), E2E: attained(h.E2E, a.met.e2e)}
}

func (a *accumulator) finishTokens() {
	t := &a.sum.Tokens
	delete(a.sources, "")
	for source := range a.sources {
		t.Source = source
	}
	if len(a.sources) > 1 {
		t.Source = "mixed"
	}
	t.PromptSource, t.LengthForced = a.header.PromptCount, a.header.Extensions
	if a.chunks > 0 {
		a.sum.Client.SharedReads = float64(a.shared) / float64(a.chunks)
	}
}

func (a *accumulator) finishDistributions(seconds float64) {
	s := &a.sum
	if a.blocks > 0 {
		a.drawn = newBootstrap(a.blocks, a.header.Seed)
	}
	a.samples = map[string]samples{
		"ttft": a.ttft, "itl": a.itl.samples(1e6), "icl": a.icl.samples(1e6), "tpot": a.tpot, "e2e": a.e2e, "normalizedLatency": a.norm,
		"scheduleLag": a.lag, "capWait": a.capWait, "ttftFromIntent": a.ttftI, "e2eFromIntent": a.e2eI, "ttfat": a.ttfat,
		"promptTokens": a.prompt, "outputTokens": a.output,
	}
	for _, d := range distributions(s) {
		*d.d = describe(a.samples[d.name])
		a.drawn.describe(d.d, a.samples[d.name])
	}
	s.Client.Connect = describe(a.connect)
	s.CI95 = map[string]*Interval{
		"requestThroughput": a.drawn.rate(a.completed, seconds), "outputTokenThroughput": a.drawn.rate(a.windowOut, seconds),
	}
}

func (a *accumulator) finishParts(seconds float64) {
	s := &a.sum
	s.PerNode, s.PerServer = map[string]NodeSummary{}, map[string]ServerSummary{}
	perSecond := func(v float64) float64 {
		if seconds <= 0 {
			return 0
		}
		return v / seconds
	}
	for _, name := range sortedKeys(a.nodes) {
		p := a.nodes[name]
		t, complete := a.trailers[name]
		ttft, e2e := describe(p.ttft), describe(p.e2e)
		uncertainty := max(float64(a.headers[name].ClockUncertainty)/second, a.in.ClockUncertainty[name])
		s.PerNode[name] = NodeSummary{
			Requests: p.requests, RequestThroughput: perSecond(p.completed), OutputTokenThroughput: perSecond(p.tokens), TTFTP50: ttft.P50, E2EP50: e2e.P50,
			CPUSeconds: t.CPUSeconds, PeakCPU: t.PeakCPU, PeakThread: t.PeakThread, ClockUncertainty: uncertainty, Complete: complete,
		}
		s.Client.CPUSeconds += t.CPUSeconds
	}
	for _, name := range sortedKeys(a.servers) {
		p := a.servers[name]
		ttft, e2e := describe(p.ttft), describe(p.e2e)
		s.PerServer[name] = ServerSummary{
			Requests: p.requests, RequestThroughput: perSecond(p.completed), OutputTokenThroughput: perSecond(p.tokens),
			TTFTP50: ttft.P50, TTFTP99: ttft.P99, E2EP50: e2e.P50,
		}
	}
}

// serverView takes the timers of each request where there are, else the sums of the servers' metrics.
func (a *accumulator) serverView() *ServerView {
	if len(a.own.decode) > 0 {
		return &ServerView{
			Source: "ollama", Queue: describe(a.own.queue), Load: describe(a.own.load), Prefill: describe(a.own.prefill), Decode: describe(a.own.decode),
		}
	}
	var view *ServerView
	sums := map[*Distribution]*workload.ServerTime{}
	for _, node := range sortedKeys(a.trailers) {
		servers := a.trailers[node].Servers
		for _, name := range sortedKeys(servers) {
			told := servers[name]
			if view == nil {
				view = &ServerView{Source: told.Source}
			}
			for to, t := range map[*Distribution]workload.ServerTime{
				&view.Queue: told.Queue, &view.Prefill: told.Prefill, &view.Decode: told.Decode, &view.TTFT: told.TTFT, &view.E2E: told.E2E,
			} {
				if sums[to] == nil {
					sums[to] = &workload.ServerTime{}
				}
				sums[to].Sum += t.Sum
				sums[to].Count += t.Count
			}
		}
	}
	for to, t := range sums {
		if to.Count = int64(t.Count); t.Count > 0 {
			mean := t.Sum / t.Count
			to.Mean = &mean
		}
	}
	return view
}

// restarted names the servers that began anew within the load.
func (a *accumulator) restarted() []string {
	var names []string
	for _, node := range sortedKeys(a.trailers) {
		servers := a.trailers[node].Servers
		for _, name := range sortedKeys(servers) {
			if servers[name].Restarted {
				names = append(names, name)
			}
		}
	}
	return names
}

// finishSteady looks at the whole seconds of the measured window.
func (a *accumulator) finishSteady() {
	s := &a.sum
	s.Steady.State = UnknownState
	if a.in.Interrupted {
		return // what came after the end tells no trend
	}
	n := int(a.to/int64(second)) + 1
	a.waiting.sort()
	output := a.series.tokens
	if !a.header.Streaming {
		output = a.series.completions
	}
	s.Steady.InFlight = trend(within(a.flight.means(int64(second), n), a.from, a.to), 1)
	s.Steady.TokenRate = trend(within(output, a.from, a.to), 1)
	if s.Steady.InFlight == nil {
		return
	}
	limit := a.in.Limits.Drift
	s.Steady.State = SteadyState
	if s.Steady.InFlight.moves(limit) || s.Steady.TokenRate.moves(limit) {
		s.Steady.State = UnsteadyState
	}
	// Under a cap the queue before it grows and what is in flight cannot.
	waiting := trend(within(a.waiting.means(int64(second), n), a.from, a.to), 1)
	growing := func(t *Trend) bool { return t.moves(limit) && t.Slope > 0 }
	s.Saturated = a.header.Concurrency == 0 && !a.shaped() && (growing(s.Steady.InFlight) || growing(waiting))
}

// shaped says whether the load's rate changes by itself, so that what is in flight follows it and tells nothing of the
// servers.
func (a *accumulator) shaped() bool {
	switch api.Pattern(a.header.Pattern) {
	case api.PatternBurst, api.PatternSteps, api.PatternRamp, api.PatternTrace:
		return true
	}
	return false
}
