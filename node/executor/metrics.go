package executor

import (
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/workload"
)

// rateWindow is the time over which the live throughput is taken.
const rateWindow = 10 * time.Second

// metrics of one load, under the service's own prefix.
type metrics struct {
	registry *prometheus.Registry
	running  prometheus.Gauge
	rps      prometheus.Gauge
	latency  prometheus.Histogram
	requests prometheus.Counter
	errors   prometheus.Counter
	tokens   prometheus.Counter

	started    time.Time
	seconds    [rateSlots]rateSlot
	latencySum atomic.Uint64 // float64 bits, successes alone
	succeeded  atomic.Int64
}

// rateSlots are the seconds that the live rate remembers: the window and the one being filled.
const rateSlots = int(rateWindow/time.Second) + 1

type rateSlot struct{ second, count atomic.Int64 }

func newMetrics(service, run, nodeName string) *metrics {
	service = strings.ReplaceAll(service, "-", "_") // as Prometheus wants names
	labels := prometheus.Labels{"run": run, "node": nodeName}
	m := &metrics{registry: prometheus.NewRegistry(), started: time.Now()}
	m.running = prometheus.NewGauge(prometheus.GaugeOpts{Name: service + "_workload_running", Help: "1 while the load is being made.", ConstLabels: labels})
	m.rps = prometheus.NewGauge(prometheus.GaugeOpts{Name: service + "_throughput_rps", Help: "Completed requests per second over the last 10 s.", ConstLabels: labels})
	m.latency = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: service + "_request_latency_seconds", Help: "Time from sending a request to its last token.", ConstLabels: labels,
		Buckets: prometheus.ExponentialBucketsRange(0.001, 600, 40), NativeHistogramBucketFactor: 1.05,
	})
	m.requests = prometheus.NewCounter(prometheus.CounterOpts{Name: service + "_requests_total", Help: "Requests that ended.", ConstLabels: labels})
	m.errors = prometheus.NewCounter(prometheus.CounterOpts{Name: service + "_errors_total", Help: "Requests that failed.", ConstLabels: labels})
	m.tokens = prometheus.NewCounter(prometheus.CounterOpts{Name: service + "_output_tokens_total", Help: "Output tokens received.", ConstLabels: labels})
	m.registry.MustRegister(m.running, m.rps, m.latency, m.requests, m.errors, m.tokens)
	return m
}

func (m *metrics) observe(r *workload.Record) {
	m.requests.Inc()
	second := int64(time.Since(m.started) / time.Second)
	slot := &m.seconds[second%int64(rateSlots)]
	if old := slot.second.Load(); old != second && slot.second.CompareAndSwap(old, second) {
		slot.count.Store(0)
	}
	slot.count.Add(1)
	if r.Class != "" {
		m.errors.Inc()
		return
	}
	m.tokens.Add(float64(r.OutputTokens))
	end := r.End
	if r.Streamed {
		end = r.Last
	}
	latency := float64(end-r.Sent) / 1e9
	m.latency.Observe(latency)
	m.succeeded.Add(1)
	for {
		old := m.latencySum.Load()
		if m.latencySum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+latency)) {
			return
		}
	}
}

// rate is the throughput over the last full seconds.
func (m *metrics) rate() float64 {
	now := int64(time.Since(m.started) / time.Second)
	window := min(now, int64(rateWindow/time.Second))
	if window == 0 {
		return 0
	}
	sum := int64(0)
	for i := range m.seconds {
		if s := m.seconds[i].second.Load(); s >= now-window && s < now {
			sum += m.seconds[i].count.Load()
		}
	}
	return float64(sum) / float64(window)
}

func (e *Executor) live() (*metrics, node.ExecutorStatus) {
	st := e.Status()
	e.mu.Lock()
	defer e.mu.Unlock()
	if m := e.metrics; m != nil {
		m.rps.Set(m.rate())
		m.running.Set(0)
		if st.State == node.ExecutorRunning {
			m.running.Set(1)
		}
	}
	return e.metrics, st
}

func (e *Executor) prometheus(w http.ResponseWriter, r *http.Request) {
	m, _ := e.live()
	if m == nil {
		return // no load yet: an empty page is a valid exposition
	}
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

// Live is what GET /metrics answers.
type Live struct {
	Status        node.ExecutorStatus `json:"status"`
	ThroughputRPS float64             `json:"throughputRPS"`
	MeanLatency   float64             `json:"meanLatencySeconds"`
	InFlight      int64               `json:"inFlight"`
}

func (e *Executor) metricsJSON(w http.ResponseWriter, _ *http.Request) {
	m, st := e.live()
	live := Live{Status: st}
	if m != nil {
		live.ThroughputRPS = m.rate()
		if n := m.succeeded.Load(); n > 0 {
			live.MeanLatency = math.Float64frombits(m.latencySum.Load()) / float64(n)
		}
		e.mu.Lock()
		live.InFlight = e.load.InFlight()
		e.mu.Unlock()
	}
	writeJSON(w, http.StatusOK, live)
}
