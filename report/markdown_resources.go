package report

import (
	"fmt"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// writeFindings tells what the logs hold of known failures.
func writeFindings(p func(string, ...any), findings []api.LogFinding) {
	if len(findings) == 0 {
		return
	}
	p("What the logs tell:")
	p("")
	for _, f := range findings {
		p("- **%s** (%s, %s, first on %s): %s Next step: %s", f.Rule, f.Severity, plural(int(f.Count), "line"), strings.TrimSpace(f.Node+" "+f.Component), sentence(f.Meaning), sentence(f.NextStep))
		for _, line := range f.Lines {
			p("  - `%s`", strings.ReplaceAll(line, "`", "'"))
		}
	}
	p("")
}

// writeResources tells what nodes, GPUs and servers did meanwhile, as far as it was sampled.
func writeResources(p func(string, ...any), s *Summary) {
	r := s.Resources
	if r == nil {
		return
	}
	if e := r.Energy; e != nil {
		per := ""
		if e.PerOutputToken != nil {
			per = fmt.Sprintf(", %s J per output token", short(*e.PerOutputToken))
		}
		p("Energy of the GPUs: %s kJ in the measured window%s (by %s; %s s without samples).", short(e.Joules/1000), per, e.Source, Digits(e.GapSeconds, 4))
		p("")
	}
	for _, class := range []struct{ name, caption string }{{"gpu", "GPUs"}, {"node", "Nodes"}} {
		writeTable(p, r.table(class.name, class.caption).pruned())
	}
	if len(r.PerServer) > 0 {
		writeTable(p, ownTable(r).pruned())
	}
	writeTable(p, r.gaps().pruned())
}

// ownTable is what servers told of themselves.
func ownTable(r *Resources) *table {
	t := &table{Caption: "Servers, by their own account: mean and peak", Head: []string{"server", "running", "waiting", "KV cache", "prefix cache hits", "preemptions", "prompt tokens", "output tokens"}}
	for _, name := range sortedKeys(r.PerServer) {
		o := r.PerServer[name]
		t.add(append([]td{word(name)}, ownCells(&o)...)...)
	}
	return t
}

// writeTable writes a table as Markdown; nothing of none.
func writeTable(p func(string, ...any), t *table) {
	if t == nil {
		return
	}
	p("%s:", t.Caption)
	p("")
	p("| %s |", strings.Join(t.Head, " | "))
	p("|%s", strings.Repeat("---|", len(t.Head)))
	for _, row := range t.Rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = barred(c.Text)
			if c.Note != "" {
				cells[i] += " (" + c.Note + ")"
			}
		}
		p("| %s |", strings.Join(cells, " | "))
	}
	p("")
}
