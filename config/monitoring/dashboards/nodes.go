package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// Nodes builds the dashboard of the nodes of live jobs, whatever runs there.
func Nodes() *Builder {
	const sampled = "benchd_node_cpu_percent"
	d := newDashboard("nodes", "Nodes", "CPU, memory, disk, network and GPUs of the nodes of live jobs, sampled by benchd's agents.").
		WithVariable(several("service", "Service", "label_values("+sampled+", service)")).
		WithVariable(several("allocation", "Allocation", `label_values(`+sampled+`{service=~"$service"}, allocation)`)).
		WithVariable(several("run", "Run", `label_values(`+sampled+`{service=~"$service",allocation=~"$allocation"}, run_name)`)).
		WithVariable(several("node", "Node", `label_values(`+sampled+`{service=~"$service",allocation=~"$allocation"}, node)`))
	d.WithPanel(figure("Nodes", "Nodes whose metrics come in.", units.Short, false, node("", "count(benchd_node_cpu_percent{SEL})")))
	d.WithPanel(figure("GPUs", "GPUs whose metrics come in.", units.Short, false, node("", "count(benchd_gpu_utilization_percent{SEL})")))
	d.WithPanel(figure("GPU Power, Total", "What all GPUs draw together.", units.Watt, false, node("", "sum(benchd_gpu_power_watts{SEL})")))
	d.WithPanel(figure("Samples Missed", "Time without samples, over all nodes: their figures are not to be trusted then.", units.Seconds, true,
		node("", "sum(increase(benchd_node_sample_gap_seconds_total{SEL}[$__range]))")).Thresholds(limits("green", limit{1, "orange"}, limit{10, "red"})))
	d.WithPanel(cpuPanel())
	d.WithPanel(roleCPUPanel())
	d.WithPanel(graph("Load", "Processes that run or wait to, mean of a minute.", units.Short, node("{{node}}", "benchd_node_load1{SEL}")))
	d.WithPanel(memoryPanel())
	d.WithPanel(graph("Memory Usage by Role", "Memory of the processes of each role.", units.BytesIEC, node("{{node}} {{role}}", "benchd_role_memory_bytes{SEL}")))
	d.WithPanel(graph("Disk", "Bytes per second to and from local disks.", units.BytesPerSecondIEC,
		node("{{node}} read", "rate(benchd_node_disk_read_bytes_total{SEL}[$__rate_interval])"),
		node("{{node}} written", "rate(benchd_node_disk_written_bytes_total{SEL}[$__rate_interval])")))
	d.WithPanel(graph("Network", "Bytes per second over all interfaces.", units.BytesPerSecondIEC,
		node("{{node}} received", "rate(benchd_node_network_received_bytes_total{SEL}[$__rate_interval])"),
		node("{{node}} sent", "rate(benchd_node_network_sent_bytes_total{SEL}[$__rate_interval])")))
	d.WithPanel(gpuPanel())
	d.WithPanel(gpuMemoryPanel())
	d.WithPanel(gpuPowerPanel())
	d.WithPanel(graph("GPU Energy", "Energy used in the time that is shown.", units.Joule, node(gpuLegend, "increase(benchd_gpu_energy_joules_total{SEL}[$__range])")))
	d.WithPanel(limited(graph("GPU Temperature", "", units.Celsius, node(gpuLegend, "benchd_gpu_temperature_celsius{SEL}")), limits("green", limit{80, "orange"}, limit{90, "red"})))
	d.WithPanel(graph("GPU Clock", "Clock of the streaming multiprocessors: it falls where a GPU is throttled.", "rotmhz", node(gpuLegend, "benchd_gpu_sm_clock_mhz{SEL}")))
	d.WithPanel(limited(graph("GPU Throttled", "1 while a GPU is kept below its clock, by power or heat.", units.Short, node(gpuLegend, "benchd_gpu_throttled{SEL}")).Max(1), limits("green", limit{1, "red"})))
	d.WithPanel(graph("GPU Errors", "Memory errors and errors that the driver reports (XID), in the time that is shown.", units.Short,
		node(gpuLegend+" ECC", "increase(benchd_gpu_ecc_errors_total{SEL}[$__range])"), node(gpuLegend+" XID", "increase(benchd_gpu_xid_errors_total{SEL}[$__range])")))
	return d
}

const gpuLegend = "{{node}} GPU {{gpu}}"

// node is a query of what agents sample.
func node(legend, expr string) query { return query{legend, of("", expr)} }

func cpuPanel() *timeseries.PanelBuilder {
	return limited(graph("CPU Usage", "Share of all of a node's cores in use.", units.Percent, node("{{node}}", "benchd_node_cpu_percent{SEL}")).Max(100), full())
}

func roleCPUPanel() *timeseries.PanelBuilder {
	return graph("CPU Usage by Role", "CPU of the processes of each role, 100 % for each core. Clients near their cores' limit measure themselves.", units.Percent,
		node("{{node}} {{role}}", "benchd_role_cpu_percent{SEL}"))
}

func memoryPanel() *timeseries.PanelBuilder {
	return limited(graph("Memory Usage", "Share of a node's memory in use.", units.Percent,
		node("{{node}}", "100 * benchd_node_memory_used_bytes{SEL} / benchd_node_memory_total_bytes{SEL}")).Max(100), full())
}

func gpuPanel() *timeseries.PanelBuilder {
	return graph("GPU Utilization", "Share of the time in which a GPU did something.", units.Percent, node(gpuLegend, "benchd_gpu_utilization_percent{SEL}")).Max(100)
}

func gpuMemoryPanel() *timeseries.PanelBuilder {
	return limited(graph("GPU Memory", "Share of a GPU's memory in use. Engines take most of it at their start, for their cache.", units.Percent,
		node(gpuLegend, "100 * benchd_gpu_memory_used_bytes{SEL} / benchd_gpu_memory_total_bytes{SEL}")).Max(100), full())
}

func gpuPowerPanel() *timeseries.PanelBuilder {
	return graph("GPU Power", "", units.Watt, node(gpuLegend, "benchd_gpu_power_watts{SEL}"))
}
