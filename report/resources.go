package report

import (
	"slices"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Resources is what nodes, GPUs and servers did while the load was made, as their samples tell (metrics/benchmark_metrics.csv).
// Means and peaks are of the measured window.
type Resources struct {
	// IntervalSeconds is the time between two samples, as it was asked for.
	IntervalSeconds float64 `json:"intervalSeconds"`
	// PerNode holds each node's samples.
	PerNode map[string]NodeResources `json:"perNode"`
	// PerServer is what servers told of themselves; empty where they tell nothing.
	PerServer map[string]ServerResources `json:"perServer"`
	// Energy of the GPUs; null where no GPU tells its power.
	Energy *Energy `json:"energy"`
	// Series over the whole load, on the steps of Summary.Series: one for each node and column.
	Series []ResourceSeries `json:"series"`

	serverNodes []string // whose GPUs serve
}

// headline puts what servers and GPUs told into a run's headline numbers.
func (r *Resources) headline(h *api.Summary) {
	if r == nil {
		return
	}
	for _, name := range sortedKeys(r.PerServer) {
		s := r.PerServer[name]
		if s.KVCacheUsage != nil && (h.KVCacheUsage == nil || *h.KVCacheUsage < s.KVCacheUsage.Mean) {
			h.KVCacheUsage = &s.KVCacheUsage.Mean
		}
		if s.Preemptions != nil {
			sum := *s.Preemptions
			if h.Preemptions != nil {
				sum += *h.Preemptions
			}
			h.Preemptions = &sum
		}
	}
	sum, n := 0.0, 0.0
	for _, name := range sortedKeys(r.PerNode) {
		if !slices.Contains(r.serverNodes, name) {
			continue
		}
		for _, column := range sortedKeys(r.PerNode[name].Metrics) {
			if strings.HasPrefix(column, "gpu") && strings.HasSuffix(column, "_utilization_percent") {
				sum, n = sum+r.PerNode[name].Metrics[column].Mean, n+1
			}
		}
	}
	if n > 0 {
		mean := sum / n
		h.GPUUtilization = &mean
	}
	if r.Energy != nil {
		h.JoulesPerOutputToken = r.Energy.PerOutputToken
	}
}

// NodeResources are the samples of one node.
type NodeResources struct {
	// Samples that were taken in the measured window, and the seconds of it that none stands for.
	Samples    int     `json:"samples"`
	GapSeconds float64 `json:"gapSeconds"`
	// Metrics by their columns' names, such as cpu_percent or gpu0_power_watts. Of a counter (…_total) the mean is its growth per
	// second, the peak the largest between two samples.
	Metrics map[string]Usage `json:"metrics"`
}

// Usage of something in the measured window.
type Usage struct {
	Mean float64 `json:"mean"`
	Peak float64 `json:"peak"`
}

// ServerResources are what one server told of itself in the measured window; null for what it does not tell.
type ServerResources struct {
	Running      *Usage `json:"requestsRunning"`
	Waiting      *Usage `json:"requestsWaiting"`
	KVCacheUsage *Usage `json:"kvCacheUsage"`
	// Preemptions in the window; PrefixCacheHitRate is hits of all queries, in tokens or blocks as the server counts them.
	Preemptions        *float64 `json:"preemptions"`
	PrefixCacheHitRate *float64 `json:"prefixCacheHitRate"`
	// PromptTokens and OutputTokens that the server counted in the window.
	PromptTokens *float64 `json:"promptTokens"`
	OutputTokens *float64 `json:"outputTokens"`

	samples   int  // of requests running
	allTokens bool // no second is missing in OutputTokens
}

// Energy of all GPUs of the server nodes in the measured window.
type Energy struct {
	// Joules, and per output token that arrived in the window; the latter is null where none did.
	Joules         float64  `json:"joules"`
	PerOutputToken *float64 `json:"joulesPerOutputToken"`
	// Source is counter (of the GPUs) or power (integrated over samples).
	Source string `json:"source"`
	// GapSeconds of the window that no sample stands for, the largest of all GPUs; the joules of gaps are not in the sum.
	GapSeconds float64 `json:"gapSeconds"`
}

// ResourceSeries is one column of one node over time.
type ResourceSeries struct {
	Node string `json:"node"`
	// Name of the column; of a counter (…_total) the values are growth per second.
	Name string `json:"name"`
	// Values for each step, null in gaps.
	Values []*float64 `json:"values"`
}
