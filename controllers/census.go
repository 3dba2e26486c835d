package controllers

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// census counts runs and Allocations by their phases, from the same changes that wake the reconcilers, so that a look at the metrics
// reads no object. It is a prometheus.Collector.
type census struct {
	mu     sync.Mutex
	phases map[string]map[types.NamespacedName]string // of those that have not ended, by kind
	ended  map[string]map[string]int                  // those that were seen to end, by kind and phase
}

var (
	descRuns             = prometheus.NewDesc("benchd_runs", "Runs that have not ended, by phase.", []string{"phase"}, nil)
	descRunsEnded        = prometheus.NewDesc("benchd_runs_ended_total", "Runs that have ended since the control plane's start, by phase.", []string{"phase"}, nil)
	descAllocations      = prometheus.NewDesc("benchd_allocations", "Allocations that have not ended, by phase.", []string{"phase"}, nil)
	descAllocationsEnded = prometheus.NewDesc("benchd_allocations_ended_total", "Allocations that have ended since the control plane's start, by phase.", []string{"phase"}, nil)
)

// The phases that are always shown, so that a zero can be told from a gap.
var (
	livePhases = map[string][]string{
		api.KindBenchmarkRun: {
			string(api.RunPending), string(api.RunInitializing), string(api.RunDeploying), string(api.RunMonitoring), string(api.RunLaunching),
			string(api.RunExecuting), string(api.RunTearingDown), string(api.RunReporting),
		},
		api.KindAllocation: {
			string(api.AllocationPending), string(api.AllocationSubmitted), string(api.AllocationQueued), string(api.AllocationStarting),
			string(api.AllocationPreparing), string(api.AllocationReady), string(api.AllocationReleasing),
		},
	}
	endPhases = map[string][]string{
		api.KindBenchmarkRun: {string(api.RunCompleted), string(api.RunFailed), string(api.RunCancelled)},
		api.KindAllocation:   {string(api.AllocationReleased), string(api.AllocationFailed), string(api.AllocationLost)},
	}
)

func newCensus() *census {
	c := &census{phases: map[string]map[types.NamespacedName]string{}, ended: map[string]map[string]int{}}
	for kind := range livePhases {
		c.phases[kind], c.ended[kind] = map[types.NamespacedName]string{}, map[string]int{}
	}
	return c
}

// forget drops what is known of a kind, until it has been listed anew. What has ended stays counted.
func (c *census) forget(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.phases[kind])
}

// notice takes an object's state over.
func (c *census) notice(obj api.Object, gone bool) {
	var kind, phase string
	var over bool
	switch o := obj.(type) {
	case *api.BenchmarkRun:
		kind, phase, over = api.KindBenchmarkRun, string(o.Status.Phase), o.Status.Phase.Terminal()
	case *api.Allocation:
		kind, phase, over = api.KindAllocation, string(o.Status.Phase), o.Status.Phase.Terminal()
	default:
		return
	}
	if phase == "" {
		phase = livePhases[kind][0] // nobody has looked at it yet
	}
	name := types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.phases[kind][name]
	if !gone && !over {
		c.phases[kind][name] = phase
		return
	}
	delete(c.phases[kind], name)
	if known && over {
		c.ended[kind][phase]++
	}
}

// Describe names the metrics.
func (c *census) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRuns, descRunsEnded, descAllocations, descAllocationsEnded} {
		ch <- d
	}
}

// Collect counts.
func (c *census) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for kind, descs := range map[string][2]*prometheus.Desc{
		api.KindBenchmarkRun: {descRuns, descRunsEnded}, api.KindAllocation: {descAllocations, descAllocationsEnded},
	} {
		counts := map[string]int{}
		for _, phase := range c.phases[kind] {
			counts[phase]++
		}
		for _, phase := range livePhases[kind] {
			ch <- prometheus.MustNewConstMetric(descs[0], prometheus.GaugeValue, float64(counts[phase]), phase)
		}
		for _, phase := range endPhases[kind] {
			ch <- prometheus.MustNewConstMetric(descs[1], prometheus.CounterValue, float64(c.ended[kind][phase]), phase)
		}
	}
}

// collector shows what the queues and the store hold at the moment.
type collector struct {
	controllers []*controller
	store       *store.Store
}

var (
	descQueue    = prometheus.NewDesc("benchd_queue_depth", "Objects that wait to be reconciled.", []string{"controller"}, nil)
	descObjects  = prometheus.NewDesc("benchd_store_objects", "Objects in the store.", []string{"kind"}, nil)
	descSize     = prometheus.NewDesc("benchd_store_size_bytes", "Size of the store's file.", nil, nil)
	descFree     = prometheus.NewDesc("benchd_store_free_bytes", "Part of the store's file that holds nothing and is used again.", nil, nil)
	descCommits  = prometheus.NewDesc("benchd_store_commits_total", "Write transactions that became durable.", nil, nil)
	descReads    = prometheus.NewDesc("benchd_store_reads_total", "Read transactions.", nil, nil)
	descWriteSec = prometheus.NewDesc("benchd_store_write_seconds_total", "Time that commits took to write and sync the store's file.", nil, nil)
)

// Describe names the metrics.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descQueue, descObjects, descSize, descFree, descCommits, descReads, descWriteSec} {
		ch <- d
	}
}

// Collect looks.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, one := range c.controllers {
		ch <- prometheus.MustNewConstMetric(descQueue, prometheus.GaugeValue, float64(one.queue.Len()), one.name)
	}
	st := c.store.Stats()
	for kind, n := range st.Objects {
		ch <- prometheus.MustNewConstMetric(descObjects, prometheus.GaugeValue, float64(n), kind)
	}
	ch <- prometheus.MustNewConstMetric(descSize, prometheus.GaugeValue, float64(st.Size))
	ch <- prometheus.MustNewConstMetric(descFree, prometheus.GaugeValue, float64(st.Free))
	ch <- prometheus.MustNewConstMetric(descCommits, prometheus.CounterValue, float64(st.Commits))
	ch <- prometheus.MustNewConstMetric(descReads, prometheus.CounterValue, float64(st.Reads))
	ch <- prometheus.MustNewConstMetric(descWriteSec, prometheus.CounterValue, st.Writing.Seconds())
}
