package dashboards

import (
	"regexp"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/units"
)

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_]`)

// prefix of a service's metrics, as the clients of benchd name them.
func prefix(service string) string {
	p := notInNames.ReplaceAllString(service, "_")
	if p[0] >= '0' && p[0] <= '9' {
		p = "service_" + p
	}
	return p
}

// Service builds the dashboard of one service's load. With engine, it has the panels of what inference engines tell of themselves.
func Service(service, title string, engine bool) *Builder {
	m := prefix(service)
	running := m + "_workload_running"
	d := newDashboard(m, title, "The load that benchd makes on "+service+", and the nodes that it is made by and on.").
		// One service at a time; without the label, as by the Pushgateway, nothing is to be chosen, and that matches too.
		WithVariable(variable("service", "Service", "label_values("+running+", service)")).
		WithVariable(several("allocation", "Allocation", `label_values(`+running+`{service=~"$service"}, allocation)`)).
		WithVariable(several("run", "Run", `label_values(`+running+`{service=~"$service",allocation=~"$allocation"}, run_name)`)).
		WithVariable(several("node", "Node", `label_values({__name__=~"`+running+`|benchd_node_cpu_percent",service=~"$service",allocation=~"$allocation"}, node)`))
	loadPanels(d, m)
	resourcePanels(d)
	if engine {
		enginePanels(d, m)
	}
	return d
}

// of fills a query in: M is the metrics' prefix, SEL the matchers of what is chosen.
func of(m, expr string) string {
	return strings.NewReplacer("M_", m+"_", "SEL", chosen).Replace(expr)
}

func loadPanels(d *Builder, m string) {
	q := func(legend, expr string) query { return query{legend, of(m, expr)} }
	quantile := func(p, metric string) string {
		return "1000 * histogram_quantile(" + p + ", sum by (le) (rate(" + metric + "_bucket{SEL}[$__rate_interval])))"
	}
	d.WithPanel(yesNo("Workload Status", "Whether a load is being made: 0 idle, 1 running.", "Idle", "Running", q("", "max(M_workload_running{SEL})")))
	d.WithPanel(figure("Requests Total", "Requests that have ended, failed ones included.", units.Short, true, q("", "sum(max_over_time(M_requests_total{SEL}[$__range]))")))
	d.WithPanel(figure("Total Throughput", "Requests completed per second over all client nodes, mean of 10 s.", units.RequestsPerSecond, false, q("", "sum(M_throughput_rps{SEL})")).Span(half))
	d.WithPanel(graph("Throughput by Host", "Requests completed per second by each client node.", units.RequestsPerSecond, q("{{node}}", "sum by (node) (M_throughput_rps{SEL})")))
	d.WithPanel(graph("Request Latency", "Time from sending a request to its last token, by the clients' clocks.", units.Milliseconds,
		q("p50", quantile("0.50", "M_request_latency_seconds")), q("p95", quantile("0.95", "M_request_latency_seconds")), q("p99", quantile("0.99", "M_request_latency_seconds"))))
	d.WithPanel(bars("Success vs Failed Requests", "Requests that ended, by how.", units.Short, map[string]string{"Succeeded": "green", "Failed": "red"},
		q("Succeeded", "sum(max_over_time(M_requests_total{SEL}[$__range])) - sum(max_over_time(M_errors_total{SEL}[$__range]))"),
		q("Failed", "sum(max_over_time(M_errors_total{SEL}[$__range]))")))
	d.WithPanel(limited(graph("Error Rate Over Time", "Share of the requests that failed. A report calls a trial suspect from 1 %, invalid from 10 %.", units.Percent,
		q("errors", "100 * (sum(rate(M_errors_total{SEL}[$__rate_interval])) / sum(rate(M_requests_total{SEL}[$__rate_interval])))")).Max(100),
		limits("green", limit{1, "orange"}, limit{10, "red"})))
}

// resourcePanels show what the nodes of the load and of the servers do meanwhile.
func resourcePanels(d *Builder) {
	d.WithPanel(cpuPanel())
	d.WithPanel(roleCPUPanel())
	d.WithPanel(memoryPanel())
	d.WithPanel(gpuPanel())
	d.WithPanel(gpuMemoryPanel())
	d.WithPanel(gpuPowerPanel())
}

// enginePanels show what an inference engine tells of itself.
func enginePanels(d *Builder, m string) {
	q := func(legend, expr string) query { return query{legend, of(m, expr)} }
	d.WithPanel(graph("Tokens per Request", "Output tokens of a request that succeeded.", units.Short,
		q("mean", "sum(rate(M_tokens_per_request_sum{SEL}[$__rate_interval])) / sum(rate(M_tokens_per_request_count{SEL}[$__rate_interval]))"),
		q("p95", "histogram_quantile(0.95, sum by (le) (rate(M_tokens_per_request_bucket{SEL}[$__rate_interval])))")))
	d.WithPanel(limited(graph("Cache Usage", "Share of the KV cache in use: the fullest server by the clients' look, and each server by its node's.", units.Percent,
		q("fullest server", "100 * max(M_cache_usage{SEL})"), q("{{node}} {{server}}", "100 * benchd_server_kv_cache_usage_ratio{SEL}")).Max(100), full()))
	d.WithPanel(graph("Requests Running and Waiting", "Requests in the servers' batches, and in their queues.", units.Short,
		q("running {{node}} {{server}}", "benchd_server_requests_running{SEL}"), q("waiting {{node}} {{server}}", "benchd_server_requests_waiting{SEL}")))
	d.WithPanel(graph("Preemptions", "Requests per second that lost their place in the cache and are computed again.", units.OpsPerSecond,
		q("{{node}} {{server}}", "rate(benchd_server_preemptions_total{SEL}[$__rate_interval])")))
	d.WithPanel(graph("Prefix Cache Hit Rate", "Share of the prompt tokens looked up that were in the prefix cache. Between trials that are to be compared it should be alike.", units.Percent,
		q("{{node}} {{server}}", "100 * rate(benchd_server_prefix_cache_hits_total{SEL}[$__rate_interval]) / rate(benchd_server_prefix_cache_queries_total{SEL}[$__rate_interval])")).Max(100))
}
