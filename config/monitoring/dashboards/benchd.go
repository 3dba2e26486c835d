package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// Benchd builds the dashboard of the control plane itself.
func Benchd() *Builder {
	d := newDashboard("control-plane", "benchd", "What benchd's control plane does: runs, queues, calls of Slurm, the store, and the nodes that it asks.")
	d.WithPanel(figure("Runs Under Way", "Runs that have not ended.", units.Short, false, query{"", "sum(benchd_runs)"}))
	d.WithPanel(figure("Runs Failed", "Runs that have failed in the time that is shown.", units.Short, true, query{"", `sum(increase(benchd_runs_ended_total{phase="Failed"}[$__range]))`}).
		Thresholds(limits("green", limit{0.5, "red"})))
	d.WithPanel(figure("Jobs Under Way", "Allocations that have not ended: each is one Slurm job.", units.Short, false, query{"", "sum(benchd_allocations)"}))
	d.WithPanel(figure("Nodes That Do Not Answer", "Share of the questions to nodes that were not answered.", units.PercentUnit, false,
		query{"", `sum(rate(benchd_node_scrapes_total{result="left_out"}[$__rate_interval])) / sum(rate(benchd_node_scrapes_total[$__rate_interval]))`}).
		Thresholds(limits("green", limit{0.01, "orange"}, limit{0.2, "red"})))
	d.WithPanel(graph("Runs by Phase", "Runs that have not ended.", units.Short, query{"{{phase}}", "sum by (phase) (benchd_runs)"}))
	d.WithPanel(graph("Allocations by Phase", "Allocations that have not ended.", units.Short, query{"{{phase}}", "sum by (phase) (benchd_allocations)"}))
	d.WithPanel(graph("Runs Ended", "Runs that have ended, per minute.", units.Short, query{"{{phase}}", "60 * sum by (phase) (rate(benchd_runs_ended_total[$__rate_interval]))"}))
	d.WithPanel(graph("Allocations Ended", "Allocations that have ended, per minute.", units.Short, query{"{{phase}}", "60 * sum by (phase) (rate(benchd_allocations_ended_total[$__rate_interval]))"}))
	d.WithPanel(graph("Queue Depth", "Objects that wait to be reconciled.", units.Short, query{"{{controller}}", "benchd_queue_depth"}))
	d.WithPanel(graph("Reconcile Time", "The slowest twentieth of the reconciles takes longer.", units.Seconds,
		query{"{{controller}} p95", "histogram_quantile(0.95, sum by (le, controller) (rate(benchd_reconcile_seconds_bucket[$__rate_interval])))"}))
	d.WithPanel(graph("Reconciles", "Reconciles per second.", units.OpsPerSecond, query{"{{controller}}", "sum by (controller) (rate(benchd_reconcile_seconds_count[$__rate_interval]))"}))
	d.WithPanel(graph("Reconcile Errors", "Reconciles per second that failed and are repeated.", units.OpsPerSecond, query{"{{controller}}", "sum by (controller) (rate(benchd_reconcile_errors_total[$__rate_interval]))"}))
	d.WithPanel(graph("Slurm Calls", "Calls per minute: submit is sbatch, list is squeue, lookup is sacct or scontrol.", units.Short,
		query{"{{cluster}} {{call}}", "60 * sum by (cluster, call) (rate(benchd_cluster_call_seconds_count[$__rate_interval]))"}))
	d.WithPanel(graph("Slurm Call Time", "Mean time of a call.", units.Seconds,
		query{"{{cluster}} {{call}}", "sum by (cluster, call) (rate(benchd_cluster_call_seconds_sum[$__rate_interval])) / sum by (cluster, call) (rate(benchd_cluster_call_seconds_count[$__rate_interval]))"}))
	d.WithPanel(graph("Slurm Call Errors", "Calls per minute that failed, by why. Outages are waited out.", units.Short,
		query{"{{cluster}} {{call}} {{reason}}", "60 * sum by (cluster, call, reason) (rate(benchd_cluster_call_errors_total[$__rate_interval])) or on() vector(0)"}))
	d.WithPanel(graph("Scrapes of Nodes", "Nodes asked for their metrics per second, by what came of it.", units.OpsPerSecond,
		query{"{{result}}", "sum by (result) (rate(benchd_node_scrapes_total[$__rate_interval]))"}))
	d.WithPanel(graph("Store Size", "", units.BytesIEC, query{"file", "benchd_store_size_bytes"}, query{"unused in it", "benchd_store_free_bytes"}))
	d.WithPanel(graph("Store Transactions", "Per second.", units.OpsPerSecond, query{"commits", "rate(benchd_store_commits_total[$__rate_interval])"}, query{"reads", "rate(benchd_store_reads_total[$__rate_interval])"}))
	d.WithPanel(graph("Store Commit Time", "Mean time that a commit takes to write and sync: slow disks and network file systems show here.", units.Seconds,
		query{"commit", "rate(benchd_store_write_seconds_total[$__rate_interval]) / rate(benchd_store_commits_total[$__rate_interval])"}))
	d.WithPanel(graph("Objects in the Store", "", units.Short, query{"{{kind}}", "benchd_store_objects"}))
	d.WithPanel(graph("Memory", "Resident memory of the control plane.", units.BytesIEC, query{"benchd", `process_resident_memory_bytes{job="benchd"}`}))
	d.WithPanel(graph("CPU", "Cores in use by the control plane.", units.Short, query{"benchd", `rate(process_cpu_seconds_total{job="benchd"}[$__rate_interval])`}))
	return d
}
