package executor

import (
	"net/http"
	"regexp"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/workload"
)

// metrics of one load, under the service's own prefix. Histograms are classic and native in one, so that the classic
// histogram_quantile has an answer, and a Prometheus that knows native ones gets finer.
type metrics struct {
	registry *prometheus.Registry
	running  prometheus.Gauge
	rps      prometheus.Gauge
	inFlight prometheus.Gauge
	progress prometheus.Gauge
	cache    prometheus.Gauge
	cached   bool // cache is registered
	latency  prometheus.Histogram
	ttft     prometheus.Histogram
	tpot     prometheus.Histogram
	perReq   prometheus.Histogram
	requests prometheus.Counter
	errors   prometheus.Counter
	tokens   prometheus.Counter
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_]`)

func newMetrics(service, run, nodeName string) *metrics {
	service = notInNames.ReplaceAllString(service, "_")
	if service[0] >= '0' && service[0] <= '9' {
		service = "service_" + service // as Prometheus wants names
	}
	labels := prometheus.Labels{"run": run, "node": nodeName}
	m := &metrics{registry: prometheus.NewRegistry()}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: service + name, Help: help, ConstLabels: labels})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: service + name, Help: help, ConstLabels: labels})
	}
	histogram := func(name, help string, least, most float64, buckets int) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: service + name, Help: help, ConstLabels: labels, Buckets: prometheus.ExponentialBucketsRange(least, most, buckets),
			NativeHistogramBucketFactor: 1.05, NativeHistogramMaxBucketNumber: 400,
		})
	}
	m.running = gauge("_workload_running", "1 while the load is being made.")
	m.rps = gauge("_throughput_rps", "Completed requests per second over the last 10 s.")
	m.inFlight = gauge("_requests_in_flight", "Requests under way.")
	m.progress = gauge("_workload_progress_ratio", "Share of the load that is done.")
	m.cache = gauge("_cache_usage", "Share of the servers' KV cache in use, as the fullest of them says itself.")
	m.latency = histogram("_request_latency_seconds", "Time from sending a request to its last token.", 0.001, 600, 40)
	m.ttft = histogram("_time_to_first_token_seconds", "Time from sending a request to its first token.", 0.001, 600, 40)
	m.tpot = histogram("_time_per_output_token_seconds", "Mean time between a request's tokens after the first.", 0.0001, 10, 40)
	m.perReq = histogram("_tokens_per_request", "Output tokens of a request.", 1, 1<<17, 18)
	m.requests = counter("_requests_total", "Requests that ended.")
	m.errors = counter("_errors_total", "Requests that failed.")
	m.tokens = counter("_output_tokens_total", "Output tokens received.")
	m.registry.MustRegister(m.running, m.rps, m.inFlight, m.progress, m.latency, m.ttft, m.tpot, m.perReq, m.requests, m.errors, m.tokens)
	return m
}

func (m *metrics) observe(r *workload.Record) {
	m.requests.Inc()
	m.tokens.Add(float64(r.OutputTokens)) // of those too that failed on the way, as the report counts them
	if r.Class != "" {
		m.errors.Inc()
		return
	}
	m.perReq.Observe(float64(r.OutputTokens))
	m.latency.Observe(float64(r.Finish()-r.Sent) / 1e9)
	if !r.Streamed {
		return
	}
	m.ttft.Observe(float64(r.First-r.Sent) / 1e9)
	if r.OutputTokens > 1 {
		m.tpot.Observe(float64(r.Last-r.First) / 1e9 / float64(r.OutputTokens-1))
	}
}

// live brings the gauges up to date.
func (e *Executor) live() (*metrics, node.ExecutorStatus) {
	st := e.Status()
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.metrics
	if m == nil {
		return nil, st
	}
	p := e.load.Progress()
	m.rps.Set(p.RequestRate)
	m.inFlight.Set(float64(p.InFlight))
	m.progress.Set(float64(p.Percent) / 100)
	m.running.Set(0)
	if st.State == node.ExecutorRunning {
		m.running.Set(1)
	}
	if use, told := e.load.CacheUse(); told {
		m.cache.Set(use)
		if !m.cached {
			m.cached = true
			m.registry.MustRegister(m.cache)
		}
	}
	return m, st
}

// Live is what GET /metrics answers: rates and medians of the last ten seconds.
type Live struct {
	Status        node.ExecutorStatus `json:"status"`
	ThroughputRPS float64             `json:"throughputRPS"`
	TokenRate     float64             `json:"outputTokensPerSecond"`
	TTFTP50       float64             `json:"ttftP50Seconds"`
	LatencyP50    float64             `json:"latencyP50Seconds"`
	InFlight      int64               `json:"inFlight"`
	CacheUse      *float64            `json:"cacheUse,omitempty"`
}

func (e *Executor) metricsJSON(w http.ResponseWriter, _ *http.Request) {
	m, st := e.live()
	live := Live{Status: st}
	if m != nil {
		e.mu.Lock()
		p := e.load.Progress()
		if use, told := e.load.CacheUse(); told {
			live.CacheUse = &use
		}
		e.mu.Unlock()
		live.ThroughputRPS, live.TokenRate, live.TTFTP50, live.LatencyP50, live.InFlight = p.RequestRate, p.TokenRate, p.TTFTP50, p.E2EP50, p.InFlight
	}
	writeJSON(w, http.StatusOK, live)
}

// Gather gives the live metrics to whoever carries them elsewhere; none before there is a load.
func (e *Executor) Gather() ([]*dto.MetricFamily, error) {
	m, _ := e.live()
	if m == nil {
		return nil, nil
	}
	return m.registry.Gather()
}
