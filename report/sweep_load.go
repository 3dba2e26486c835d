package report

import (
	"fmt"
	"slices"
	"strings"
)

// fullCache is the share of the KV cache in use, on average, from which it counts as full.
const fullCache = 0.95

// alongLoad looks where more load stops paying, where errors set in, and where requests wait in the server.
func (r *SweepResult) alongLoad(axis *Axis, l along, loads []string) []Piece {
	var pieces []Piece
	value := func(i int) float64 { v, _ := r.Points[i].Values[axis.Path].(float64); return v }
	alone := !slices.ContainsFunc(axis.With, func(w string) bool {
		return !slices.Contains(loads, w) && w != loadBound && w != clientNodes
	}) // else more than the load changes
	if alone {
		pieces = r.stopsPaying(axis, l, value)
	}
	for _, i := range l.points {
		if e := r.Points[i].metric("errorRate"); e > 1-goodShare {
			pieces = append(pieces, Piece{Kind: "Errors", Text: fmt.Sprintf("errors set in at %s = %v%s: %s %% of the requests", axis.field, value(i), Where(l.others), Digits(100*e, 2)), Evidence: []string{r.evidence(i, "errorRate")}})
			break
		}
	}
	for _, i := range l.points {
		p := &r.Points[i]
		if ttft := p.metric("ttftP50"); p.Queue > 0 && p.Queue > ttft/2 {
			pieces = append(pieces, Piece{
				Kind: "ServerQueues", Text: fmt.Sprintf("from %s = %v on requests wait in the server's queue for more than half of their time to the first token%s: its KV cache or its largest batch is full; more replicas, shorter contexts or a larger share of GPU memory would help", axis.field, value(i), Where(l.others)),
				Evidence: []string{fmt.Sprintf("%s: queued for %s s on average, TTFT p50 %s s", strings.Join(p.Runs, ", "), Digits(p.Queue, 3), Digits(ttft, 3))},
			})
			break
		}
	}
	pieces = append(pieces, r.cacheFull(axis, l)...)
	for _, i := range l.points {
		if r.Points[i].Saturated {
			pieces = append(pieces, Piece{Kind: "Saturated", Text: fmt.Sprintf("%s = %v is more than the servers take%s: requests in flight grew to the end of the window", axis.field, value(i), Where(l.others)), Evidence: []string{r.evidence(i, "requestThroughput")}})
			break
		}
	}
	return pieces
}

// stopsPaying looks for the first load from which on more of it brings latency alone. Steps may be so small that none costs much by itself:
// those that bring nothing are taken together.
func (r *SweepResult) stopsPaying(axis *Axis, l along, value func(int) float64) []Piece {
	growth := func(a, b int, metric string) float64 {
		return r.Points[b].metric(metric)/r.Points[a].metric(metric) - 1
	}
	for n, a := range l.points {
		for _, b := range l.points[n+1:] {
			gain, latency := growth(a, b, "outputTokenThroughput"), growth(a, b, "e2eP50")
			if !(gain < flat*(value(b)/value(a)-1)) {
				break
			}
			if latency > dear {
				return []Piece{{
					Kind:     "StopsPaying",
					Text:     fmt.Sprintf("beyond %s = %v more load stops paying%s: %v brings %+.1f %% of throughput and %+.0f %% of latency", axis.field, value(a), Where(l.others), value(b), 100*gain, 100*latency),
					Evidence: []string{r.evidence(a, "outputTokenThroughput", "e2eP50"), r.evidence(b, "outputTokenThroughput", "e2eP50")},
				}}
			}
		}
	}
	return nil
}

// cacheFull looks where the servers' KV cache is full.
func (r *SweepResult) cacheFull(axis *Axis, l along) []Piece {
	for _, i := range l.points {
		p := &r.Points[i]
		use, put := p.metric("kvCacheUsage"), p.metric("preemptions")
		if !(use > fullCache || put > 0) {
			continue
		}
		why := fmt.Sprintf("%.0f %% of it in use on average", 100*use)
		if put > 0 {
			why += fmt.Sprintf(", %s requests put off", Digits(put, 4))
		}
		return []Piece{{
			Kind:     "KVCacheFull",
			Text:     fmt.Sprintf("from %s = %v on the KV cache is full%s: more GPU memory for it, shorter contexts, a smaller type of cache or more replicas would help", axis.field, p.Values[axis.Path], Where(l.others)),
			Evidence: []string{fmt.Sprintf("%s: %s", strings.Join(p.Runs, ", "), why)},
		}}
	}
	return nil
}
