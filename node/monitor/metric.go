package monitor

import (
	"math"
	"strconv"
	"strings"
)

// Metric is one column of the CSV, and one sample of a family in Prometheus' text format.
type Metric struct {
	// Family is what is measured: node, gpu, role, server, or a word of your own. With Name it makes Prometheus' name,
	// benchd_FAMILY_NAME.
	Family string
	// Subject tells those of a family apart: the GPU's index, the role's or the server's name. Empty where there is but one.
	Subject string
	// Name with its unit, as Prometheus names things: memory_used_bytes. A counter's ends in _total.
	Name string
	// Help says in a sentence what it is.
	Help string
}

// Column is the metric's name in the CSV: cpu_percent, gpu0_power_watts, server_memory_bytes, vllm-0_requests_running.
func (m Metric) Column() string {
	switch {
	case m.Subject == "":
		return m.Name
	case m.Family == FamilyGPU:
		return FamilyGPU + m.Subject + "_" + m.Name
	}
	return m.Subject + "_" + m.Name
}

// Counter says that the value only grows, until what it counts begins anew.
func (m Metric) Counter() bool { return Counter(m.Name) }

// Counter says that a column holds a counter.
func Counter(column string) bool { return strings.HasSuffix(column, "_total") }

// Families that are built in.
const (
	FamilyNode   = "node"
	FamilyGPU    = "gpu"
	FamilyRole   = "role"
	FamilyServer = "server"
)

// The first two columns of every CSV; time is RFC 3339 with nanoseconds, in UTC.
const (
	columnTime = "timestamp"
	columnNode = "node"
)

// header is the CSV's first line.
func header(metrics []Metric) []string {
	names := []string{columnTime, columnNode}
	for _, m := range metrics {
		names = append(names, m.Column())
	}
	return names
}

// number writes a value; what is not known is empty. Three decimals are more than any sensor has.
func number(v float64) string {
	switch {
	case math.IsNaN(v), math.IsInf(v, 0):
		return ""
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}
