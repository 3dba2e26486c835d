package simulate

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the ones of vLLM that a benchmark looks at, under vLLM's names and labels.
type metrics struct {
	registry *prometheus.Registry

	promptTokens     prometheus.Counter
	generationTokens prometheus.Counter
	success          *prometheus.CounterVec
	ttft             prometheus.Histogram
	itl              prometheus.Histogram
	e2e              prometheus.Histogram
	queueTime        prometheus.Histogram
	prefillTime      prometheus.Histogram
	decodeTime       prometheus.Histogram
}

// Bucket bounds in seconds, spaced as vLLM's are.
var (
	ttftBuckets    = []float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560}
	itlBuckets     = []float64{.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}
	requestBuckets = []float64{.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
)

// newMetrics registers the metrics of one server; each has a registry of its own, so that a test may run several.
func newMetrics(model string, q *queue) *metrics {
	labels := prometheus.Labels{"model_name": model, "engine": "0"}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, ConstLabels: labels, Buckets: buckets})
	}
	gauge := func(name, help string, value func() int) prometheus.Collector {
		opts := prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}
		return prometheus.NewGaugeFunc(opts, func() float64 { return float64(value()) })
	}
	m := &metrics{
		registry:         prometheus.NewRegistry(),
		promptTokens:     counter("vllm:prompt_tokens_total", "Number of prefill tokens processed."),
		generationTokens: counter("vllm:generation_tokens_total", "Number of generation tokens processed."),
		success: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vllm:request_success_total", Help: "Count of successfully processed requests.", ConstLabels: labels,
		}, []string{"finished_reason"}),
		ttft:      histogram("vllm:time_to_first_token_seconds", "Time from arrival to the first token.", ttftBuckets),
		itl:       histogram("vllm:inter_token_latency_seconds", "Time between two outputs of a request.", itlBuckets),
		e2e:       histogram("vllm:e2e_request_latency_seconds", "Time from arrival to the end of the answer.", requestBuckets),
		queueTime: histogram("vllm:request_queue_time_seconds", "Time spent waiting to be served.", requestBuckets),

		prefillTime: histogram("vllm:request_prefill_time_seconds", "Time from being served to the first token.", requestBuckets),
		decodeTime:  histogram("vllm:request_decode_time_seconds", "Time from the first token to the last.", requestBuckets),
	}
	for _, reason := range []string{finishLength, finishStop, "abort", "error"} {
		m.success.WithLabelValues(reason) // shown at 0, as vLLM does
	}
	m.registry.MustRegister(
		gauge("vllm:num_requests_running", "Number of requests being served.", func() int { n, _ := q.counts(); return n }),
		gauge("vllm:num_requests_waiting", "Number of requests waiting to be served.", func() int { _, n := q.counts(); return n }),
		counter("vllm:num_preemptions_total", "Number of preemptions: none, as no cache gets full."),
		m.promptTokens, m.generationTokens, m.success, m.ttft, m.itl, m.e2e, m.queueTime, m.prefillTime, m.decodeTime,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vllm:kv_cache_usage_perc", Help: "Share of the cache in use: of the places that there are.", ConstLabels: labels}, q.usage),
	)
	return m
}

// handler answers a scrape.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// dequeued counts a request whose prompt is processed now.
func (m *metrics) dequeued(r *Record) {
	m.promptTokens.Add(float64(r.PromptTokens))
	m.queueTime.Observe(r.Queue.Seconds())
}

func (m *metrics) firstToken(after time.Duration) { m.ttft.Observe(after.Seconds()) }
func (m *metrics) nextToken(after time.Duration)  { m.itl.Observe(after.Seconds()) }
func (m *metrics) generated(tokens int)           { m.generationTokens.Add(float64(tokens)) }

// ended counts a request that was served; one that was refused never reached the engine.
func (m *metrics) ended(r *Record) {
	reason := r.FinishReason
	switch {
	case r.Outcome == OutcomeRefused:
		return
	case r.Outcome != OutcomeAnswered:
		reason = "abort"
	case reason == "":
		reason = "error"
	default:
		m.e2e.Observe((r.End - r.Arrival).Seconds())
		if r.OutputTokens > 0 {
			m.prefillTime.Observe((r.FirstToken - r.Dequeued).Seconds())
			m.decodeTime.Observe((r.LastToken - r.FirstToken).Seconds())
		}
	}
	m.success.WithLabelValues(reason).Inc()
}
