package report

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/benchd/benchd/workload"
)

// steady makes n good requests, spread over the window, on one node.
func steady(n int, change func(*workload.Header, []workload.Record)) client {
	c := client{header: header("n1")}
	for i := range int64(n) {
		at := 1000 + i*10_000/int64(n)
		c.records = append(c.records, streamed(at, at, at+20, at+40, at+40, 1, 3, 10, 10))
	}
	if change != nil {
		change(&c.header, c.records)
	}
	return c
}

func fail(n int) func(*workload.Header, []workload.Record) {
	return func(_ *workload.Header, r []workload.Record) {
		for i := range n {
			r[i] = failed(r[i].Intended/ms1, r[i].Sent/ms1, r[i].End/ms1, "connect")
		}
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	lag := func(ms int64) func(*workload.Header, []workload.Record) {
		return func(_ *workload.Header, r []workload.Record) {
			for i := range r {
				r[i].Intended -= ms * ms1
			}
			for i := range r { // stay within the window
				r[i].Intended = max(r[i].Intended, 1000*ms1)
			}
		}
	}
	one := func(c client) []client { return []client{c} }
	two := func(uncertainty int64) []client {
		a, b := steady(100, nil), steady(100, nil)
		b.header.Node, b.header.ClockUncertainty = "n2", uncertainty
		return []client{a, b}
	}
	bound := func(by string) []client {
		c := steady(100, nil)
		c.trailer.Bound, c.trailer.SendEnded = by, 11_000*ms1
		return []client{c}
	}
	restarted := two(0)
	restarted[0].trailer.Servers = map[string]workload.ServerView{"s0": {Source: "vllm"}}
	restarted[1].trailer.Servers = map[string]workload.ServerView{"s1": {Source: "vllm", Restarted: true}, "s3": {Source: "vllm", Restarted: true}}
	busy := func(process, thread float64) []client {
		nodes := two(0)
		nodes[1].trailer.PeakCPU, nodes[1].trailer.PeakThread = process, thread
		return nodes
	}
	// rate makes n requests where 10 s of so many a second were to be sent.
	rate := func(n int, offered float64, pattern string) []client {
		return one(steady(n, func(h *workload.Header, _ []workload.Record) { h.OfferedRate, h.Pattern = offered, pattern }))
	}
	drawn := func(n int, of int64) []client {
		return one(steady(n, func(h *workload.Header, _ []workload.Record) { h.OfferedRate, h.Pattern, h.Drawn = 10, "poisson", of }))
	}
	late := func(n int) func(*workload.Header, []workload.Record) {
		return func(_ *workload.Header, r []workload.Record) {
			for i := range n {
				r[50+i].Intended -= 20 * ms1
			}
		}
	}
	uncounted := func(_ *workload.Header, r []workload.Record) {
		for i := range r {
			r[i].Source, r[i].OutputTokens = "", 0
		}
	}
	dropped := func(n int) func(*workload.Header, []workload.Record) {
		return func(_ *workload.Header, r []workload.Record) {
			for i := range n {
				r[i] = workload.Record{Intended: r[i].Intended, Class: workload.ClassDropped}
			}
		}
	}
	loose := defaults()
	loose.InvalidErrorRate, loose.SuspectErrorRate, loose.ClientCPU, loose.RateDeviation = 0.9, 0.8, 0.99, 0.5
	loose.Lag.Duration, loose.ShortOutputs, loose.CompletionsPerClient, loose.ClockUncertainty.Duration = time.Second, 0.5, 1, time.Second
	incomplete := two(0)
	incomplete[1].incomplete = true
	for name, tc := range map[string]struct {
		in     Input
		nodes  []client
		state  string
		reason string
	}{
		"all is well":                    {Input{}, one(steady(1000, nil)), Valid, ""},
		"nothing succeeded":              {Input{}, one(steady(3, fail(3))), Invalid, "no request of the measured window succeeded"},
		"no request at all":              {Input{}, one(steady(0, nil)), Invalid, "no request"},
		"a node's records have no end":   {Input{}, incomplete, Invalid, "1 of 2 client nodes"},
		"a node's records are missing":   {Input{Clients: 2}, one(steady(100, nil)), Invalid, "1 of 2 client nodes"},
		"errors over 10 %":               {Input{}, one(steady(100, fail(11))), Invalid, "11.0 %"},
		"errors of exactly 10 %":         {Input{}, one(steady(100, fail(10))), Suspect, "10.0 %"},
		"errors over 1 %":                {Input{}, one(steady(100, fail(2))), Suspect, "2.0 %"},
		"errors of exactly 1 %":          {Input{}, one(steady(100, fail(1))), Valid, ""},
		"sent 6 % less than offered":     {Input{}, one(steady(94, func(h *workload.Header, _ []workload.Record) { h.OfferedRate = 10.1 })), Invalid, "94 requests were sent where 101"},
		"sent 6 % more than offered":     {Input{}, one(steady(107, func(h *workload.Header, _ []workload.Record) { h.OfferedRate = 10 })), Invalid, "107 requests were sent where 100"},
		"sent 4 % less than offered":     {Input{}, one(steady(96, func(h *workload.Header, _ []workload.Record) { h.OfferedRate = 10 })), Valid, ""},
		"sent less, for there was a cap": {Input{}, one(steady(50, func(h *workload.Header, _ []workload.Record) { h.OfferedRate, h.MaxConcurrency = 10, 4 })), Valid, ""},
		"lag over 5 ms":                  {Input{}, one(steady(1100, lag(6))), Suspect, "lagged behind"},
		"lag of 4 ms":                    {Input{}, one(steady(1100, lag(4))), Valid, ""},
		"waiting for the cap is no lag": {Input{}, one(steady(1100, func(_ *workload.Header, r []workload.Record) {
			for i := 20; i < len(r); i++ {
				r[i].Intended -= 50 * ms1
				r[i].CapWait = 50 * ms1
			}
		})), Valid, ""},
		"over 1 % short of target":     {Input{}, one(steady(100, func(_ *workload.Header, r []workload.Record) { r[0].Target, r[1].Target = 9, 9 })), Suspect, "2.0 % of the answers"},
		"few rounds of a closed loop":  {Input{}, one(steady(99, func(h *workload.Header, _ []workload.Record) { h.Concurrency = 10 })), Suspect, "99 completions for 10"},
		"ten rounds of a closed loop":  {Input{}, one(steady(100, func(h *workload.Header, _ []workload.Record) { h.Concurrency = 10 })), Valid, ""},
		"clients on server nodes":      {Input{ClientsOnServers: true}, one(steady(100, nil)), Suspect, "shared nodes with servers"},
		"clocks apart, two nodes":      {Input{}, two(6 * ms1), Suspect, "clock of n2"},
		"clocks good enough":           {Input{}, two(5 * ms1), Valid, ""},
		"one node needs no clock":      {Input{}, two(6 * ms1)[1:], Valid, ""},
		"clocks came apart later":      {Input{ClockUncertainty: map[string]float64{"n1": 0.0051, "n2": 0.001}}, two(ms1), Suspect, "clock of n1 is known only to 5.1 ms"},
		"clocks were worse before":     {Input{ClockUncertainty: map[string]float64{"n1": 0.001, "n2": 0.001}}, two(6 * ms1), Suspect, "clock of n2 is known only to 6.0 ms"},
		"clocks good before and after": {Input{ClockUncertainty: map[string]float64{"n1": 0.005, "n2": 0.004}}, two(ms1), Valid, ""},

		"interrupted":               {Input{Interrupted: true}, one(steady(100, nil)), Invalid, "ended before its time"},
		"the error budget is spent": {Input{}, bound("errorBudget"), Invalid, "error budget"},
		"enough requests":           {Input{}, bound("requests"), Valid, ""},
		"the trace's end":           {Input{}, bound("trace"), Valid, ""},
		"servers restarted":         {Input{}, restarted, Invalid, "the server s1, s3 restarted"},

		"a busy thread":         {Input{}, busy(0.1, 0.81), Suspect, "a thread of the load engine on n2 used 81 %"},
		"a busy client":         {Input{}, busy(0.85, 0.1), Suspect, "the client on n2 used 85 % of its CPUs"},
		"a client at its limit": {Input{}, busy(0.80, 0.80), Valid, ""},

		// Random arrivals scatter: what was sent is held against what was drawn.
		"random arrivals, as drawn":      {Input{}, drawn(55, 55), Valid, ""},
		"random arrivals, fewer":         {Input{}, drawn(55, 59), Invalid, "55 requests were sent where 59"},
		"random arrivals, more":          {Input{}, drawn(147, 120), Invalid, "147 requests were sent where 120"},
		"one less than drawn":            {Input{}, drawn(19, 20), Valid, ""},
		"even arrivals":                  {Input{}, rate(55, 10, "constant"), Invalid, "55 requests were sent"},
		"under 1,000, lag twice":         {Input{}, one(steady(200, late(2))), Suspect, "lagged behind"},
		"under 1,000, lag once":          {Input{}, one(steady(200, late(1))), Valid, ""},
		"answers that nobody counted":    {Input{}, one(steady(100, uncounted)), Valid, ""},
		"an arrival at the window's end": {Input{}, rate(2, 0.1, "constant"), Valid, ""},

		"dropped over 10 %":      {Input{}, one(steady(100, dropped(11))), Invalid, "11.0 % of the requests failed"},
		"dropped over 1 %":       {Input{}, one(steady(100, dropped(2))), Suspect, "2.0 % of the requests failed"},
		"dropped of exactly 1 %": {Input{}, one(steady(100, dropped(1))), Valid, ""},

		"a run's own limits, errors":      {Input{Limits: loose}, one(steady(100, fail(79))), Valid, ""},
		"a run's own limits, CPU":         {Input{Limits: loose}, busy(0.98, 0.98), Valid, ""},
		"a run's own limits, rate":        {Input{Limits: loose}, rate(55, 10, "constant"), Valid, ""},
		"a run's own limits, lag":         {Input{Limits: loose}, one(steady(1100, lag(500))), Valid, ""},
		"a run's own limits, clocks":      {Input{Limits: loose}, two(900 * ms1), Valid, ""},
		"a run's own limits, closed loop": {Input{Limits: loose}, one(steady(99, func(h *workload.Header, _ []workload.Record) { h.Concurrency = 10 })), Valid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := summarize(t, tc.in, tc.nodes...).Verdict
			if v.State != tc.state || (tc.reason == "") != (len(v.Reasons) == 0) {
				t.Errorf("%s %q, want %s", v.State, v.Reasons, tc.state)
			}
			if !slices.ContainsFunc(append(v.Reasons, ""), func(r string) bool { return strings.Contains(r, tc.reason) }) {
				t.Errorf("reasons %q lack %q", v.Reasons, tc.reason)
			}
			if v.Reasons == nil {
				t.Error("no reasons are an empty list, never null")
			}
		})
	}
}

func TestAnInvalidRunKeepsItsLesserReasons(t *testing.T) {
	v := summarize(t, Input{ClientsOnServers: true}, steady(100, fail(50))).Verdict
	if v.State != Invalid || len(v.Reasons) != 2 || !strings.Contains(v.Reasons[0], "50.0 %") {
		t.Errorf("%+v", v)
	}
}
