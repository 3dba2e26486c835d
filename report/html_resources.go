package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// putOverTime draws the load second by second.
func (d *Document) putOverTime(p *page) error {
	s := d.Summary.Series
	if s == nil {
		return nil
	}
	failures := trace{"failed", dense(s.Failures)}
	if !slices.ContainsFunc(s.Failures, func(v float64) bool { return v > 0 }) {
		failures.values = nil
	}
	var figures []drawing
	for _, f := range []struct {
		caption, unit string
		scale         float64
		lines         []trace
	}{
		{"Requests per second", "requests/s", 1, []trace{{"completed", dense(s.Completions)}, failures}},
		{"Output tokens per second", "tokens/s", 1, []trace{{"", dense(s.OutputTokens)}}},
		{"Requests in flight", "requests", 1, []trace{{"", dense(s.InFlight)}}},
		{"Time to first token, median by when it came", "ms", 1000, []trace{{"", s.TTFTP50}}},
		{"End-to-end latency, median by when the answer was complete", "ms", 1000, []trace{{"", s.E2EP50}}},
		{"Inter-token latency, mean of the gaps that ended", "ms", 1000, []trace{{"", s.ITLMean}}},
	} {
		drawn, err := overTime(s, f.caption, f.unit, f.scale, f.lines)
		if err != nil {
			return err
		}
		if drawn != nil {
			figures = append(figures, *drawn)
		}
	}
	p.put("time", "Over time", block{Text: fmt.Sprintf("Steps of %s. The measured window is shaded: warm-up lies before it, the drain behind.", span(s.StepSeconds))}, block{Figures: figures})
	return nil
}

// column of the samples, taken apart: what it is of (a GPU, a server, or the node itself) and what it tells.
type column struct{ device, metric string }

var (
	gpuColumn = regexp.MustCompile(`^(gpu\d+)_(.+)$`)
	// serverColumn knows what servers tell by the ends of their names, which begin with the server's.
	serverColumn = regexp.MustCompile(`^(.+)_((?:requests_(?:running|waiting)|kv_cache_usage_ratio|(?:num_)?preemptions_total|(?:prompt|generation|output)_tokens_total|prefix_cache_\w+_total))$`)
)

func columnOf(name string) column {
	if m := gpuColumn.FindStringSubmatch(name); m != nil {
		return column{m[1], m[2]}
	}
	if m := serverColumn.FindStringSubmatch(name); m != nil {
		return column{m[1], m[2]}
	}
	return column{"", name}
}

// class of what a column is of.
func (c column) class() string {
	switch {
	case c.device == "":
		return "node"
	case gpuColumn.MatchString(c.device + "_" + c.metric):
		return "gpu"
	}
	return "server"
}

// measure is the unit of a metric by its name, as Prometheus' conventions have it, and by what its values are multiplied.
func measure(metric string) (unit string, scale float64) {
	counter := strings.HasSuffix(metric, "_total")
	metric = strings.TrimSuffix(metric, "_total")
	const gib = 1 << 30
	switch {
	case strings.HasSuffix(metric, "_bytes") && counter:
		return "MiB/s", 1.0 / (1 << 20)
	case strings.HasSuffix(metric, "_joules") && counter:
		return "W", 1
	case strings.HasSuffix(metric, "_seconds") && counter:
		return "s/s", 1
	case counter:
		return "1/s", 1
	case strings.HasSuffix(metric, "_bytes"):
		return "GiB", 1.0 / gib
	case strings.HasSuffix(metric, "_ratio"):
		return "%", 100
	case strings.HasSuffix(metric, "_cpu_percent"): // a role's; the node's, cpu_percent, is of all CPUs together
		return "% of one CPU", 1
	}
	for suffix, unit := range map[string]string{"_percent": "%", "_watts": "W", "_celsius": "°C", "_megahertz": "MHz", "_mhz": "MHz", "_seconds": "s"} {
		if strings.HasSuffix(metric, suffix) {
			return unit, 1
		}
	}
	return "", 1
}

// drawnMetrics are those that are drawn over time, by class and name, in order. All are in the tables.
var drawnMetrics = []struct{ class, metric, caption string }{
	{"gpu", "utilization_percent", "GPU utilisation"},
	{"gpu", "memory_used_bytes", "GPU memory in use"},
	{"gpu", "power_watts", "GPU power"},
	{"gpu", "temperature_celsius", "GPU temperature"},
	{"server", "kv_cache_usage_ratio", "KV cache in use"},
	{"server", "requests_running", "Requests running in the server"},
	{"server", "requests_waiting", "Requests waiting in the server"},
	{"node", "cpu_percent", "CPU of the nodes"},
	{"node", "memory_used_bytes", "Memory of the nodes in use"},
	{"node", "network_received_bytes_total", "Network, received"},
	{"node", "network_sent_bytes_total", "Network, sent"},
}

// putResources shows what nodes, GPUs and servers did meanwhile.
func (d *Document) putResources(p *page) error {
	r := d.Summary.Resources
	if r == nil {
		return nil
	}
	figures, err := d.resourceFigures(r)
	if err != nil {
		return err
	}
	intro := fmt.Sprintf("As sampled every %s on each node; means and peaks are of the measured window.", span(r.IntervalSeconds))
	blocks := []block{{Text: intro}, {Cards: energyCards(r.Energy)}, {Figures: figures}}
	for _, class := range []struct{ name, caption string }{{"gpu", "GPUs"}, {"server", "Servers, by their own account"}, {"node", "Nodes"}} {
		if class.name == "server" && len(r.PerServer) > 0 {
			continue // they stand beside what clients saw of them
		}
		blocks = append(blocks, block{Table: r.table(class.name, class.caption)})
	}
	p.put("resources", "Resources", append(blocks, block{Table: r.gaps()})...)
	return nil
}

func (d *Document) resourceFigures(r *Resources) ([]drawing, error) {
	s := d.Summary.Series
	if s == nil {
		return nil, nil
	}
	var figures []drawing
	for _, m := range drawnMetrics {
		var lines []trace
		for i := range r.Series {
			if c := columnOf(r.Series[i].Name); c.metric == m.metric && c.class() == m.class {
				lines = append(lines, trace{strings.TrimSpace(r.Series[i].Node + " " + c.device), r.Series[i].Values})
			}
		}
		slices.SortStableFunc(lines, func(a, b trace) int { return cmp.Compare(a.label, b.label) })
		unit, scale := measure(m.metric)
		f, err := overTime(s, m.caption, cmp.Or(unit, "requests"), scale, lines)
		if err != nil {
			return nil, err
		}
		if f != nil {
			figures = append(figures, *f)
		}
	}
	return figures, nil
}

func energyCards(e *Energy) []card {
	if e == nil {
		return nil
	}
	from := map[string]string{"counter": "by the GPUs' own counters", "power": "by power, integrated over the samples"}[e.Source]
	note := sentence("all GPUs of the server nodes over the measured window, " + cmp.Or(from, e.Source))
	if e.GapSeconds > 0 {
		note += fmt.Sprintf(" For %s of it there is no sample; the energy of such gaps is not in the sum.", span(e.GapSeconds))
	}
	cards := []card{{"Energy", short(e.Joules / 1000), "kJ", "", note}}
	if e.PerOutputToken != nil {
		cards = append(cards, card{"Energy per output token", short(*e.PerOutputToken), "J", "", "the same by the output tokens that arrived in the window"})
	}
	return cards
}

// table has a row for each device of a class, and a column for each of its metrics.
func (r *Resources) table(class, caption string) *table {
	metrics := map[string]bool{}
	rows := map[[2]string]map[string]Usage{}
	var order [][2]string
	for _, node := range sortedKeys(r.PerNode) {
		for _, name := range sortedKeys(r.PerNode[node].Metrics) {
			c := columnOf(name)
			if c.class() != class {
				continue
			}
			device := [2]string{node, c.device}
			if rows[device] == nil {
				rows[device], order = map[string]Usage{}, append(order, device)
			}
			rows[device][c.metric], metrics[c.metric] = r.PerNode[node].Metrics[name], true
		}
	}
	t := &table{Caption: caption + ": mean and peak", Head: []string{"node", "device"}}
	names := sortedKeys(metrics)
	for _, m := range names {
		unit, _ := measure(m)
		t.Head = append(t.Head, strings.TrimSpace(spoken(m)+" "+bracketed(unit)))
	}
	slices.SortStableFunc(order, func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(len(a[1]), len(b[1])), cmp.Compare(a[1], b[1]))
	})
	for _, device := range order {
		row := []td{word(device[0]), word(device[1])}
		for _, m := range names {
			_, scale := measure(m)
			if u, has := rows[device][m]; has {
				row = append(row, usage(&u, scale, ""))
			} else {
				row = append(row, figureOf(""))
			}
		}
		t.add(row...)
	}
	return t
}

// spoken is a metric's name in words, without what its unit says already.
func spoken(metric string) string {
	metric = strings.TrimSuffix(metric, "_total")
	for _, suffix := range []string{"_percent", "_bytes", "_watts", "_ratio", "_celsius", "_joules", "_mhz", "_megahertz", "_seconds"} {
		metric = strings.TrimSuffix(metric, suffix)
	}
	return strings.ReplaceAll(metric, "_", " ")
}

func bracketed(unit string) string {
	if unit == "" {
		return ""
	}
	return "(" + unit + ")"
}

// gaps tells which nodes have no samples for a part of the window.
func (r *Resources) gaps() *table {
	t := &table{Caption: "Seconds of the measured window without samples", Head: []string{"node", "samples", "seconds without"}}
	for _, node := range sortedKeys(r.PerNode) {
		if n := r.PerNode[node]; n.GapSeconds > 0 {
			t.add(word(node), figureOf(count(int64(n.Samples))), figureOf(short(n.GapSeconds)))
		}
	}
	return t
}
