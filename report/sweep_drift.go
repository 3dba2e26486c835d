package report

import (
	"fmt"
	"slices"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// ControlDrift says how the control run moved from first to last.
type ControlDrift struct {
	Runs []string `json:"runs"`
	// Throughput and TTFT of the last one less the first one, as a share of the first. Nil where one of them had too few requests to tell.
	Throughput float64  `json:"throughput"`
	TTFT       *float64 `json:"ttft"`
}

// driftOf compares the first control run with the last one that has numbers. Those of other values, from before the sweep was changed,
// are not compared with one another: of several kinds the one with the most runs tells, of equals the latest.
func driftOf(trials []Trial) *ControlDrift {
	kinds := map[string][]*Trial{}
	for i := range trials {
		if t := &trials[i]; t.Control && t.Summary != nil && t.Phase == api.RunCompleted {
			kind := text(map[string]any(t.Values))
			kinds[kind] = append(kinds[kind], t)
		}
	}
	var controls []*Trial
	for _, kind := range sortedKeys(kinds) {
		same := kinds[kind]
		slices.SortStableFunc(same, func(a, b *Trial) int { return a.Ended.Compare(b.Ended) })
		if len(same) > len(controls) || len(same) == len(controls) && same[len(same)-1].Ended.After(controls[len(controls)-1].Ended) {
			controls = same
		}
	}
	if len(controls) < 2 {
		return nil
	}
	d := &ControlDrift{}
	for _, t := range controls {
		d.Runs = append(d.Runs, t.Run)
	}
	first, last := controls[0].Summary, controls[len(controls)-1].Summary
	share := func(a, b float64) float64 {
		if a == 0 {
			return 0
		}
		return (b - a) / a
	}
	d.Throughput = share(first.OutputTokenThroughput, last.OutputTokenThroughput)
	if first.TTFTP50 > 0 && last.TTFTP50 > 0 {
		ttft := share(first.TTFTP50, last.TTFTP50)
		d.TTFT = &ttft
	}
	return d
}

// ttft says how TTFT moved, as far as that can be told.
func (d *ControlDrift) ttft() string {
	if d.TTFT == nil {
		return "cannot be told: too few requests"
	}
	return fmt.Sprintf("%+.1f %%", 100**d.TTFT)
}
