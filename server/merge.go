package server

import (
	"cmp"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/benchd/benchd/api/node"
)

// addLabels gives the metrics of a family the labels of the node that they came from. What a metric says of itself stays: one that
// names a run gets the name of that run, and not of the one that the node has turned to since.
func addLabels(family *dto.MetricFamily, t node.Target) {
	labels := labelsOf(t)
	for _, m := range family.GetMetric() {
		own := map[string]string{}
		for _, l := range m.GetLabel() {
			own[l.GetName()] = l.GetValue()
		}
		run, named := own["run"]
		for name, value := range labels {
			if name == "run_name" && named {
				value = t.Runs[run]
			}
			if _, has := own[name]; !has && value != "" {
				m.Label = append(m.Label, label(name, value))
			}
		}
		slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
	}
}

func label(name, value string) *dto.LabelPair {
	return &dto.LabelPair{Name: proto.String(name), Value: proto.String(value)}
}

// merger puts the families of many nodes together. Metrics of different nodes differ in their labels, so none comes twice.
type merger struct {
	byName    map[string]*dto.MetricFamily
	up        *dto.MetricFamily
	answered  float64
	leftOut   float64
	conflicts float64
}

func newMerger() *merger {
	return &merger{byName: map[string]*dto.MetricFamily{}, up: gauges("benchd_node_up", "1 where the node's agent told its metrics, else 0.")}
}

// add takes the families of one node over. Of one that two nodes give different types to, as benchd of two versions may, the first
// stays: a page with both would be refused as a whole.
func (m *merger) add(families []*dto.MetricFamily) {
	for _, f := range families {
		known := m.byName[f.GetName()]
		switch {
		case known == nil:
			m.byName[f.GetName()] = f
		case known.GetType() == f.GetType():
			known.Metric = append(known.Metric, f.Metric...)
		default:
			m.conflicts++
		}
	}
}

// count notes whether a node has answered.
func (m *merger) count(t node.Target, answered bool) {
	value := 0.0
	if answered {
		m.answered++
		value = 1
	} else {
		m.leftOut++
	}
	m.up.Metric = append(m.up.Metric, gauge(value))
	addLabels(&dto.MetricFamily{Metric: m.up.Metric[len(m.up.Metric)-1:]}, t)
}

// families returns all of them in the order of their names, and those that say how complete the rest is.
func (m *merger) families() []*dto.MetricFamily {
	nodes := gauges("benchd_scrape_nodes", "Live nodes, by whether their metrics are on this page: answered or left_out.")
	nodes.Metric = []*dto.Metric{gauge(m.answered, label("result", "answered")), gauge(m.leftOut, label("result", "left_out"))}
	conflicts := gauges("benchd_scrape_conflicts", "Families of single nodes that are left out, for another node gives their name another type.")
	conflicts.Metric = []*dto.Metric{gauge(m.conflicts)}
	all := []*dto.MetricFamily{nodes, conflicts}
	if len(m.up.Metric) > 0 {
		all = append(all, m.up)
	}
	for _, f := range m.byName {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return all
}

func gauges(name, help string) *dto.MetricFamily {
	return &dto.MetricFamily{Name: proto.String(name), Help: proto.String(help), Type: dto.MetricType_GAUGE.Enum()}
}

func gauge(value float64, labels ...*dto.LabelPair) *dto.Metric {
	return &dto.Metric{Label: labels, Gauge: &dto.Gauge{Value: proto.Float64(value)}}
}
