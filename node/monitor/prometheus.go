package monitor

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
)

// Describe tells nothing ahead: what there is differs from node to node (prometheus.Collector).
func (s *Sampler) Describe(chan<- *prometheus.Desc) {}

// Collect gives the last sample (prometheus.Collector): benchd_FAMILY_NAME with the node, and the family's subject under its name.
func (s *Sampler) Collect(out chan<- prometheus.Metric) {
	s.mu.Lock()
	values := s.values
	s.mu.Unlock()
	for i, v := range values {
		if math.IsNaN(v) {
			continue
		}
		m := s.metrics[i]
		labels, told := []string{columnNode}, []string{s.Node}
		if m.Subject != "" {
			labels, told = append(labels, m.Family), append(told, m.Subject)
		}
		kind := prometheus.GaugeValue
		if m.Counter() {
			kind = prometheus.CounterValue
		}
		desc := prometheus.NewDesc("benchd_"+m.Family+"_"+m.Name, m.Help, labels, nil)
		out <- prometheus.MustNewConstMetric(desc, kind, v, told...)
	}
}
