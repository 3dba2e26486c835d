package report

import (
	"fmt"
	"slices"
	"strings"
)

// putHeadline shows the numbers that are asked for first, each with its interval and its definition.
func (d *Document) putHeadline(p *page) {
	s := d.Summary
	cards := []card{
		{"Request throughput", short(s.RequestThroughput), "requests/s", spread(s.CI95["requestThroughput"], 1), s.Definitions["requestThroughput"]},
		{"Output throughput", short(s.OutputTokenThroughput), "tokens/s", spread(s.CI95["outputTokenThroughput"], 1), s.Definitions["outputTokenThroughput"]},
		{"Total throughput", short(s.TotalTokenThroughput), "tokens/s", "", s.Definitions["totalTokenThroughput"]},
	}
	for _, l := range []struct {
		label, name string
		of          *Distribution
	}{{"Time to first token", "ttft", &s.TTFT}, {"Inter-token latency", "itl", &s.ITL}, {"Time per output token", "tpot", &s.TPOT}, {"End-to-end latency", "e2e", &s.E2E}} {
		cards = append(cards, latencyCards(l.label, s.Definitions[l.name], l.of)...)
	}
	if g := s.Goodput; g != nil {
		cards = append(cards, card{"Goodput", short(g.Rate), "requests/s, " + share(g.Fraction), "", s.Definitions["goodput"]})
	}
	if s.SLO != nil {
		for _, l := range []struct {
			name string
			of   *Attainment
		}{{"TTFT", s.SLO.TTFT}, {"TPOT", s.SLO.TPOT}, {"E2E", s.SLO.E2E}} {
			if l.of != nil {
				cards = append(cards, card{fmt.Sprintf("%s within %s ms", l.name, short(1000*l.of.Limit)), share(l.of.Fraction), "of attempted", "", "share of all attempted requests that met the limit"})
			}
		}
	}
	if s.OfferedRate != nil {
		cards = append(cards, card{"Offered and achieved rate", short(*s.OfferedRate) + " / " + short(s.AchievedRate), "requests/s", "", "offered: as asked for; achieved: " + s.Definitions["achievedRate"]})
	}
	r := &s.Requests
	cards = append(cards,
		card{"Requests", count(r.Succeeded), "of " + count(r.Attempted) + " succeeded", "", fmt.Sprintf("failed %s, cancelled %s, dropped %s", count(r.Failed), count(r.Cancelled), count(r.Dropped))},
		card{"Error rate", share(s.ErrorRate), "", "", s.Definitions["errorRate"]},
		card{"Concurrency", short(s.Concurrency.Mean), "mean, peak " + count(s.Concurrency.Peak), "", s.Definitions["concurrency"]},
		card{"Tokens", count(s.Tokens.Output), "output, " + count(s.Tokens.Prompt) + " prompt", "", tokensNote(&s.Tokens)},
		card{"State of the window", s.Steady.State, "", "", steadiness(s)},
	)
	if e := energyOf(s); e != nil && e.PerOutputToken != nil {
		cards = append(cards, card{"Energy", short(*e.PerOutputToken), "J per output token", "", "all GPUs of the server nodes over the measured window, by output tokens that arrived in it"})
	}
	for i := range cards {
		if cards[i].Range != "" {
			cards[i].Range = "95 %: " + cards[i].Range
		}
	}
	p.put("headline", "Headline numbers", block{Cards: cards})
}

func energyOf(s *Summary) *Energy {
	if s.Resources == nil {
		return nil
	}
	return s.Resources.Energy
}

func tokensNote(t *Tokens) string {
	var notes []string
	if t.Source != "" {
		notes = append(notes, "counted by: "+t.Source)
	}
	if t.Cached > 0 {
		notes = append(notes, count(t.Cached)+" prompt tokens were in the server's prefix cache")
	}
	if t.ShortOfTarget > 0 {
		notes = append(notes, count(t.ShortOfTarget)+" answers were shorter than asked for")
	}
	return strings.Join(notes, "; ")
}

// latencyCards are median and tail of a latency.
func latencyCards(label, meaning string, of *Distribution) []card {
	ci := of.CI95
	if ci == nil {
		ci = &Intervals{}
	}
	var cards []card
	if of.P50 != nil {
		cards = append(cards, card{label + ", p50", maybe(of.P50, 1000), "ms", spread(ci.P50, 1000), meaning})
	}
	if of.P99 != nil {
		cards = append(cards, card{label + ", p99", maybe(of.P99, 1000), "ms", spread(ci.P99, 1000), meaning})
	}
	return cards
}

// putLatency is the table of all distributions.
func (d *Document) putLatency(p *page) {
	times := &table{Caption: "Latencies in milliseconds", Head: []string{"", "count", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"}}
	tokens := &table{Caption: "Lengths in tokens", Head: times.Head}
	for _, n := range distributions(d.Summary) {
		switch {
		case n.d.Count == 0 || of0(n):
		case isTime(n.name):
			times.Rows = append(times.Rows, distributionRow(n, 1000))
		default:
			tokens.Rows = append(tokens.Rows, distributionRow(n, 1))
		}
	}
	p.put("latency", "Latency", block{Text: "Small: intervals of 95 %. A dash stands for a percentile with too few samples."}, block{Table: times}, block{Table: tokens})
}

// of0 says whether nothing but zeros was seen of something that is often not there: waiting for a cap where there is none.
func of0(n named) bool { return n.name == "capWait" && n.d.Max != nil && *n.d.Max == 0 }

func distributionRow(n named, scale float64) []td {
	row := []td{word(n.name), figureOf(count(n.d.Count))}
	for _, st := range n.d.statistics() {
		if slices.Contains([]string{"std", "min", "max"}, st.name) {
			continue
		}
		row = append(row, td{Text: maybe(st.value, scale), Note: spread(st.ci, scale), Kind: "number"})
	}
	return append(row, figureOf(maybe(n.d.Max, scale)))
}

// putParts shows what each client node and each server had of the load, and what servers say themselves.
func (d *Document) putParts(p *page) {
	s := d.Summary
	nodes := &table{Caption: "Client nodes; latencies in milliseconds", Head: []string{"node", "requests", "not succeeded", "requests/s", "output tokens/s", "TTFT p50", "E2E p50", "CPU s", "busiest thread", "peak of CPUs", "clock ±", "records"}}
	for _, name := range sortedKeys(s.PerNode) {
		n := s.PerNode[name]
		records := "complete"
		if !n.Complete {
			records = "not complete: the node was lost"
		}
		nodes.add(word(name), figureOf(count(n.Requests.Attempted)), figureOf(nonzero(n.Requests.Attempted-n.Requests.Succeeded)), figureOf(short(n.RequestThroughput)),
			figureOf(short(n.OutputTokenThroughput)), figureOf(maybe(n.TTFTP50, 1000)), figureOf(maybe(n.E2EP50, 1000)), figureOf(short(n.CPUSeconds)),
			figureOf(share(n.PeakThread)), figureOf(share(n.PeakCPU)), figureOf(short(1000*n.ClockUncertainty)), word(records))
	}
	p.put("clients", "Per client node", block{Text: clientNote(&s.Client)}, block{Table: nodes})
	p.put("servers", "Per server", block{Text: "Latencies in milliseconds. Running, waiting and what stands right of them is the server's own account in the measured window: mean, with its peak beneath."}, block{Table: serverTable(s)})
	p.put("server-view", "The servers' account beside the clients'", block{Text: serverViewNote(s)}, block{Table: viewTable(s)})
}

func clientNote(c *Client) string {
	text := "What making the load took."
	if c.SharedReads > 0 {
		text += fmt.Sprintf(" %s of the reads held more than one chunk: many of them say that the client, or a proxy, was behind.", share(c.SharedReads))
	}
	if c.Redials > 0 || c.Retries > 0 {
		text += fmt.Sprintf(" %s connections were closed by the server while they were kept, %s requests were sent again.", count(c.Redials), count(c.Retries))
	}
	if c.Connect.P50 != nil {
		text += fmt.Sprintf(" %s connections were made within the load, half of them within %s ms.", count(c.Connect.Count), maybe(c.Connect.P50, 1000))
	}
	return text
}

func serverTable(s *Summary) *table {
	t := &table{Head: []string{
		"server", "requests", "not succeeded", "requests/s", "output tokens/s", "TTFT p50", "TTFT p99", "E2E p50",
		"running", "waiting", "KV cache", "prefix cache hits", "preemptions", "prompt tokens, its count", "output tokens, its count",
	}}
	names := map[string]bool{}
	for name := range s.PerServer {
		names[name] = true
	}
	own := map[string]ServerResources{}
	if s.Resources != nil {
		own = s.Resources.PerServer
	}
	for name := range own {
		names[name] = true
	}
	for _, name := range sortedKeys(names) {
		row := []td{word(name), {}, {}, {}, {}, {}, {}, {}}
		if n, has := s.PerServer[name]; has {
			row = []td{
				word(name), figureOf(count(n.Requests.Attempted)), figureOf(nonzero(n.Requests.Attempted - n.Requests.Succeeded)), figureOf(short(n.RequestThroughput)),
				figureOf(short(n.OutputTokenThroughput)), figureOf(maybe(n.TTFTP50, 1000)), figureOf(maybe(n.TTFTP99, 1000)), figureOf(maybe(n.E2EP50, 1000)),
			}
		}
		o := own[name]
		t.add(append(row, ownCells(&o)...)...)
	}
	return t
}

// ownCells are what a server told of itself.
func ownCells(o *ServerResources) []td {
	return []td{
		usage(o.Running, 1, ""), usage(o.Waiting, 1, ""), usage(o.KVCacheUsage, 100, "\u00a0%"), figureOf(percent(o.PrefixCacheHitRate)),
		figureOf(maybe(o.Preemptions, 1)), figureOf(maybe(o.PromptTokens, 1)), figureOf(maybe(o.OutputTokens, 1)),
	}
}

func percent(v *float64) string {
	if v == nil {
		return ""
	}
	return share(*v)
}

// usage is a mean with the peak beneath it.
func usage(u *Usage, scale float64, unit string) td {
	if u == nil {
		return figureOf("")
	}
	return td{Text: short(u.Mean*scale) + unit, Note: "peak " + short(u.Peak*scale) + unit, Kind: "number"}
}

func serverViewNote(s *Summary) string {
	if s.ServerView == nil {
		return ""
	}
	return fmt.Sprintf("Where the time went as the servers tell it (%s), in milliseconds, beside what clients saw. What clients see more is network, proxies and their own work.", s.ServerView.Source)
}

func viewTable(s *Summary) *table {
	v := s.ServerView
	if v == nil {
		return nil
	}
	t := &table{Head: []string{"", "requests", "mean", "p50", "p99"}}
	for _, n := range []named{
		{"waiting in the queue", &v.Queue},
		{"loading the model", &v.Load},
		{"prefill", &v.Prefill},
		{"decode", &v.Decode},
		{"TTFT, server", &v.TTFT},
		{"TTFT, client", &s.TTFT},
		{"E2E, server", &v.E2E},
		{"E2E, client", &s.E2E},
	} {
		if n.d.Count > 0 {
			t.add(word(n.name), figureOf(count(n.d.Count)), figureOf(maybe(n.d.Mean, 1000)), figureOf(maybe(n.d.P50, 1000)), figureOf(maybe(n.d.P99, 1000)))
		}
	}
	return t
}
