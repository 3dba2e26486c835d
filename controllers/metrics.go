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
	}
	if r != nil {
		r.MustRegister(m.reconciles, m.failures, m.looks, m.commands)
	}
	return m
}

func (m *metrics) observe(controller string, took time.Duration, err error) {
	m.reconciles.WithLabelValues(controller).Observe(took.Seconds())
	if err != nil {
		m.failures.WithLabelValues(controller).Inc()
	}
}
