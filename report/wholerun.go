package report

import (
	"maps"
	"slices"

	"github.com/benchd/benchd/workload"
)

// wholeRun accumulates the conventional numbers: every success from the first request to the last answer, warm-up included. All other
// requests have failed.
type wholeRun struct {
	completed, failed int64
	input, output     int64
	first, last       int64
	any               bool
	ttft, tpot, e2e   samples
	itl               pooled
}

func (w *wholeRun) add(r *workload.Record) {
	if r.Class != "" {
		w.failed++
		return
	}
	if !w.any || r.Sent < w.first {
		w.first = r.Sent
	}
	w.any = true
	w.last = max(w.last, r.Finish())
	w.completed++
	w.input += int64(r.PromptTokens)
	w.output += int64(r.OutputTokens)
	w.e2e.add(float64(r.Finish()-r.Sent)/1e6, 0)
	if !r.Streamed {
		return
	}
	w.ttft.add(float64(r.First-r.Sent)/1e6, 0)
	if r.OutputTokens > 1 {
		w.tpot.add(float64(r.Last-r.First)/1e6/float64(r.OutputTokens-1), 0)
	}
	for _, gap := range r.Gaps {
		w.itl.add(float64(gap), 0, 1)
	}
}

// summary uses the key names of vllm bench serve's result file.
func (w *wholeRun) summary() map[string]float64 {
	out := map[string]float64{
		"completed": float64(w.completed), "failed": float64(w.failed), "total_input_tokens": float64(w.input), "total_output_tokens": float64(w.output),
	}
	if seconds := float64(w.last-w.first) / second; seconds > 0 {
		out["duration"] = seconds
		out["request_throughput"] = float64(w.completed) / seconds
		out["output_throughput"] = float64(w.output) / seconds
		out["total_token_throughput"] = float64(w.input+w.output) / seconds
	}
	for name, samples := range map[string]samples{"ttft": w.ttft, "tpot": w.tpot, "itl": w.itl.samples(1e3), "e2el": w.e2e} {
		d := describe(samples)
		for key, v := range map[string]*float64{"mean": d.Mean, "std": d.Std, "median": d.P50, "p99": d.P99} {
			if v != nil {
				out[key+"_"+name+"_ms"] = *v
			}
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
