package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// inf is the limit that nothing reaches.
var inf = math.Inf(1)

// A tally counts how limits were kept.
type tally struct{ ok, missed, unknown int }

// write writes a figure as a Markdown table: a row for each measure, a column for each client.
func (f *figure) write(w io.Writer, r results, t *tally) {
	fmt.Fprintf(w, "## %s. %s\n\n%s\n\n", f.id, f.title, f.setup)
	fmt.Fprintf(w, "| |%s limit | |\n|---|%s---|---|\n", f.eachColumn(func(name string) string { return " " + name }),
		f.eachColumn(func(string) string { return "---:" }))
	if reasons := f.eachColumn(r.whyNot); strings.Trim(reasons, "| ") != "" {
		fmt.Fprintf(w, "| not run, because |%s | |\n", reasons)
	}
	first := f.columns[0].name
	for _, m := range f.measures {
		cells := f.eachColumn(func(name string) string {
			v, ok := r.value(m, name, first)
			return " " + cell(m.format, v, ok, m.relative() && name != m.subject(first))
		})
		text, verdict := m.judge(r, first, t)
		fmt.Fprintf(w, "| %s |%s %s | %s |\n", m.label, cells, text, verdict)
	}
	fmt.Fprintln(w)
	f.writeFailures(w, r)
}

// eachColumn joins a cell for each column.
func (f *figure) eachColumn(text func(name string) string) string {
	var b strings.Builder
	for _, c := range f.columns {
		b.WriteString(text(c.name) + " |")
	}
	return b.String()
}

// cell is one value; a dash says that it was not measured.
func cell(format string, v float64, ok, blank bool) string {
	switch {
	case blank:
		return ""
	case !ok:
		return "—"
	default:
		return fmt.Sprintf(format, v)
	}
}

// whyNot is why a column has no values at all.
func (r *results) whyNot(name string) string {
	if err := r.errs[name]; err != nil && len(r.samples[name]) == 0 {
		return " " + strings.NewReplacer("|", "\\|", "\n", " ").Replace(err.Error())
	}
	return ""
}

// writeFailures says which columns failed in some rounds only.
func (f *figure) writeFailures(w io.Writer, r results) {
	var failed []string
	for _, c := range f.columns {
		if err := r.errs[c.name]; err != nil && len(r.samples[c.name]) > 0 {
			failed = append(failed, fmt.Sprintf("%s failed in at least one round, which is left out: %v.", c.name, err))
		}
	}
	for _, text := range failed {
		fmt.Fprintf(w, "%s\n\n", text)
	}
}

// judge says what the limit of a row is and whether it was kept.
func (m measure) judge(r results, first string, t *tally) (text, verdict string) {
	if m.limit == nil {
		return "", ""
	}
	v, ok := r.value(m, m.subject(first), first)
	switch {
	case !ok:
		t.unknown++
		return m.limit.text, "not measured"
	case v >= m.limit.min && v <= m.limit.max:
		t.ok++
		return m.limit.text, "ok"
	default:
		t.missed++
		return m.limit.text, "MISSED"
	}
}

// quantile interpolates linearly in sorted values.
func quantile[T ~int64 | ~float64](sorted []T, q float64) float64 {
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return float64(sorted[low]) + (at-float64(low))*float64(sorted[high]-sorted[low])
}

// quantileOf sorts and interpolates; nil when there is nothing.
func quantileOf[T ~int64 | ~float64](all []T, q float64) *float64 {
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	v := quantile(all, q)
	return &v
}
