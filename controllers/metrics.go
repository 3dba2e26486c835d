package controllers

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of benchd itself.
type metrics struct {
	reconciles *prometheus.HistogramVec
	failures   *prometheus.CounterVec
	looks      *prometheus.CounterVec
	commands   *prometheus.CounterVec
	calls      *prometheus.HistogramVec
	callErrors *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		reconciles: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "benchd_reconcile_seconds", Help: "Time of one reconcile.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}, []string{"controller"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "benchd_reconcile_errors_total", Help: "Reconciles that failed and are repeated.",
		}, []string{"controller"}),
		looks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "benchd_cluster_looks_total", Help: "Looks at a cluster's queue.",
		}, []string{"cluster", "result"}),
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "benchd_cluster_commands_total", Help: "Submissions, releases, cancellations and look-ups.",
		}, []string{"cluster", "command"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "benchd_cluster_call_seconds", Help: "Time of one call of a cluster's command: submit, release, cancel, list, lookup, details or info.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 15),
		}, []string{"cluster", "call"}),
		callErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "benchd_cluster_call_errors_total", Help: "Calls of a cluster's commands that failed, by why: outage, busy, rejected, not_found, missing or other.",
		}, []string{"cluster", "call", "reason"}),
	}
	if r != nil {
		r.MustRegister(m.reconciles, m.failures, m.looks, m.commands, m.calls, m.callErrors)
	}
	return m
}

func (m *metrics) observe(controller string, took time.Duration, err error) {
	m.reconciles.WithLabelValues(controller).Observe(took.Seconds())
	if err != nil {
		m.failures.WithLabelValues(controller).Inc()
	}
}
