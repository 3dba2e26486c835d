package report

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
)

// Names of a sweep's files in its folder.
const (
	SweepMD     = "sweep.md"
	SweepCSV    = "sweep.csv"
	SweepJSON   = "sweep.json"
	TrialsCSV   = "trials.csv"
	TrialsJSON  = "trials.json"
	sweepFormat = 0o600
)

// WriteSweep writes a sweep's files into a folder, each whole or not at all: text, tables and plots. It returns their names. The
// same result gives the same bytes.
func WriteSweep(folder string, r *SweepResult) ([]string, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the sweep's folder: %w", err)
	}
	files, err := r.Files()
	if err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(files) {
		if err := node.WriteSealedBytes(filepath.Join(folder, name), files[name], sweepFormat); err != nil {
			return nil, fmt.Errorf("write the sweep's results: %w", err)
		}
	}
	return sortedKeys(files), removeOldPlots(folder, files)
}

// removeOldPlots takes away the figures of axes that are no more, after a sweep was changed: they would contradict the table.
func removeOldPlots(folder string, files map[string][]byte) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("look for old plots of the sweep: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		plot := strings.HasPrefix(name, "throughput-over-") || strings.HasPrefix(name, "latency-over-") || strings.HasPrefix(name, "heatmap-") || name == "pareto.svg"
		if files[name] != nil || !plot || filepath.Ext(name) != ".svg" || !entry.Type().IsRegular() {
			continue
		}
		if err := os.Remove(filepath.Join(folder, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove an old plot of the sweep: %w", err)
		}
	}
	return nil
}

// Files are the contents of a sweep's files, by name.
func (r *SweepResult) Files() (map[string][]byte, error) {
	files := map[string][]byte{SweepMD: []byte(r.Markdown())}
	var err error
	encode := func(name string, v any) {
		data, e := json.MarshalIndent(v, "", "  ")
		err = errors.Join(err, e)
		files[name] = append(data, '\n')
	}
	encode(SweepJSON, r)
	encode(TrialsJSON, r.long())
	table := func(name string, rows [][]string) {
		var buf bytes.Buffer
		w := csv.NewWriter(&buf)
		err = errors.Join(err, w.WriteAll(rows))
		files[name] = buf.Bytes()
	}
	table(SweepCSV, r.pointRows())
	table(TrialsCSV, r.trialRows())
	plots, e := r.plots()
	if err = errors.Join(err, e); err != nil {
		return nil, fmt.Errorf("write the results of sweep %s: %w", r.Sweep, err)
	}
	for name, data := range plots {
		files[name] = data
	}
	return files, nil
}

// longTrial is a trial with every axis and metric as a field of its own.
type longTrial map[string]any

func (r *SweepResult) long() []longTrial {
	out := []longTrial{}
	for i := range r.Trials {
		t := &r.Trials[i]
		row := longTrial{"run": t.Run, "uid": t.UID, "point": t.Point, "repeat": t.Repeat, "control": t.Control, "phase": t.Phase, "reason": t.Reason, "verdict": nil}
		for path, v := range t.Values {
			row[path] = v
		}
		for _, m := range sweepMetrics {
			row[m.Name] = nil
			if t.Summary != nil {
				if v := m.value(t); !math.IsNaN(v) && !math.IsInf(v, 0) {
					row[m.Name] = v
				}
			}
		}
		if t.Summary != nil {
			row["verdict"] = t.Summary.Verdict
		}
		out = append(out, row)
	}
	return out
}

func (r *SweepResult) trialRows() [][]string {
	head := []string{"run", "uid", "point", "repeat", "control", "phase", "reason", "verdict"}
	head = append(head, r.allPaths()...)
	for _, m := range sweepMetrics {
		head = append(head, m.Name)
	}
	rows := [][]string{head}
	for _, t := range r.long() {
		row := make([]string, len(head))
		for i, name := range head {
			if v := t[name]; v != nil {
				row[i] = cell(v)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// allPaths are all fields that any trial sets, those that vary first.
func (r *SweepResult) allPaths() []string {
	var paths []string
	known := map[string]bool{}
	for _, a := range r.Axes {
		paths, known[a.Path] = append(paths, a.Path), true
	}
	rest := map[string]bool{}
	for i := range r.Trials {
		for path := range r.Trials[i].Values {
			if !known[path] {
				rest[path] = true
			}
		}
	}
	return append(paths, sortedKeys(rest)...)
}

func cell(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	case api.RunPhase:
		return string(x)
	}
	return text(v)
}

func (r *SweepResult) pointRows() [][]string {
	paths := r.allPaths()
	head := append([]string{}, paths...)
	head = append(head, "point", "measured", "failed", "cancelled", "open", "verdict")
	for _, m := range sweepMetrics {
		head = append(head, m.Name, m.Name+".low", m.Name+".high")
	}
	rows := [][]string{head}
	for i := range r.Points {
		p := &r.Points[i]
		var row []string
		for _, path := range paths {
			v, has := p.Values[path]
			if !has {
				row = append(row, "")
				continue
			}
			row = append(row, cell(v))
		}
		row = append(row, p.Point, strconv.Itoa(p.Measured), strconv.Itoa(p.Failed), strconv.Itoa(p.Cancelled), strconv.Itoa(p.Open), p.Verdict)
		for _, m := range sweepMetrics {
			s, has := p.Metrics[m.Name]
			switch {
			case !has:
				row = append(row, "", "", "")
			case s.CI95 == nil:
				row = append(row, cell(s.Mean), "", "")
			default:
				row = append(row, cell(s.Mean), cell(s.CI95[0]), cell(s.CI95[1]))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// Markdown is the sweep as a text to read: what was found, the table over the axes, what follows from it.
func (r *SweepResult) Markdown() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Sweep %s\n", r.Sweep)
	cancelled := ""
	if r.Cancelled > 0 {
		cancelled = fmt.Sprintf(", %d cancelled", r.Cancelled)
	}
	partly := ""
	if n := r.partly(); n > 0 {
		partly = fmt.Sprintf(" (%d of them not to the end)", n)
	}
	p("%s: %d measured%s, %d failed%s, %d not ended.\n", plural(r.Total, "trial"), r.Measured, partly, r.Failed, cancelled, r.Open)
	r.writeReasons(p)
	if r.Measured == 0 {
		p("Nothing has been measured yet.")
		return b.String()
	}
	r.writeBest(p)
	r.writeTable(p)
	r.writeFindings(p)
	p("Means are over repeats; intervals are of 95 %%, by Student's t, and say how well the mean is known if repeats are independent. Those in brackets are of a point that was measured once: the run's own, by block bootstrap, which leave out how repeats would differ. Times are in seconds; – stands for a percentile with too few samples. tokensPerGPU is output tokens per second and %s of the servers, tokensPerUser is 1 / tpotP50.", r.PerWhat)
	return b.String()
}

// partly counts the runs that have failed or were cancelled, and have numbers of what was measured until then.
func (r *SweepResult) partly() int {
	n := 0
	for i := range r.Trials {
		if t := &r.Trials[i]; t.incomplete() && t.Summary != nil {
			n++
		}
	}
	return n
}

func (t *Trial) incomplete() bool { return t.Phase.Terminal() && t.Phase != api.RunCompleted }

// writeReasons says why runs ended before they were done, and which of them have numbers nevertheless.
func (r *SweepResult) writeReasons(p func(string, ...any)) {
	const shown = 3
	runs := map[string][]string{}
	for i := range r.Trials {
		if t := &r.Trials[i]; t.incomplete() {
			why := cmp.Or(t.Reason, string(t.Phase))
			if t.Summary != nil {
				why += ", measured until then"
			}
			runs[why] = append(runs[why], t.Run)
		}
	}
	for _, why := range sortedKeys(runs) {
		names, more := runs[why], ""
		if n := len(names) - shown; n > 0 {
			names, more = names[:shown], fmt.Sprintf(" and %d more", n)
		}
		p("- %s: %s%s", why, strings.Join(names, ", "), more)
	}
	if len(runs) > 0 {
		p("")
	}
}

func (r *SweepResult) writeBest(p func(string, ...any)) {
	if len(r.Limits) > 0 {
		p("## Limits found\n")
		p("| at | highest that passed | lowest that failed | run | |")
		p("|---|---|---|---|---|")
		for _, l := range r.Limits {
			why := l.Why
			if !l.Done {
				why = "still looking"
			}
			p("| %s | %s | %s | %s | %s |", orDash(valuesText(l.Values)), found(l.Passed), found(l.Failed), orDash(l.Run), why)
		}
		p("")
	}
	p("## Best points\n")
	if len(r.Best) == 0 {
		p("No point is good: %s.\n", r.Objective)
		return
	}
	p("Of the points that are good (%s):\n", r.Objective)
	p("| highest | at | value |")
	p("|---|---|---|")
	for _, best := range r.Best {
		p("| %s | %s | %s |", best.Metric, orDash(valuesText(r.Points[best.Point].Values)), statText(best.Value))
	}
	p("")
}

// tableMetrics stand in the text; the files have all.
var tableMetrics = []string{"requestThroughput", "outputTokenThroughput", "tokensPerGPU", "ttftP50", "ttftP99", "tpotP50", "e2eP50", "errorRate", "goodputShare"}

func (r *SweepResult) writeTable(p func(string, ...any)) {
	p("## Points\n")
	head, rule := "|", "|"
	for _, a := range r.Axes {
		head += " " + a.field + " |"
		rule += "---|"
	}
	head += " n | verdict |"
	rule += "---|---|"
	var shown []string
	for _, m := range tableMetrics {
		for i := range r.Points {
			if _, has := r.Points[i].Metrics[m]; has {
				shown = append(shown, m)
				head += " " + m + " |"
				rule += "---|"
				break
			}
		}
	}
	p("%s\n%s", head, rule)
	for i := range r.Points {
		pt := &r.Points[i]
		row := "|"
		for _, a := range r.Axes {
			v, has := pt.Values[a.Path]
			if !has {
				row += " – |"
				continue
			}
			row += " " + strings.ReplaceAll(text(v), "|", "\\|") + " |"
		}
		row += fmt.Sprintf(" %d | %s |", pt.Measured, orDash(pt.Verdict))
		for _, m := range shown {
			s, has := pt.Metrics[m]
			if !has {
				row += " – |"
				continue
			}
			row += " " + statText(s) + " |"
		}
		p("%s", row)
	}
	p("")
}

func (r *SweepResult) writeFindings(p func(string, ...any)) {
	if len(r.Pareto) > 1 {
		p("## Pareto front\n")
		p("No other point has more tokens per %s and more tokens per user at once:\n", r.PerWhat)
		p("| at | tokensPerUser | tokensPerGPU |")
		p("|---|---|---|")
		for _, i := range r.Pareto {
			p("| %s | %s | %s |", orDash(valuesText(r.Points[i].Values)), statText(r.Points[i].Metrics["tokensPerUser"]), statText(r.Points[i].Metrics["tokensPerGPU"]))
		}
		p("")
	}
	if len(r.Scaling) > 0 {
		p("## Scaling\n")
		p("| of | kind | at | count | output tokens/s | speed-up | efficiency |")
		p("|---|---|---|---|---|---|---|")
		for _, s := range r.Scaling {
			for _, step := range s.Steps {
				p("| %s | %s | %s | %v | %s | %.2f | %.0f %% |", s.name(), s.Kind, orDash(s.at()), step.Count, Digits(step.Throughput, 4), step.Speedup, 100*step.Efficiency)
			}
		}
		p("")
	}
	if len(r.Guidance) > 0 {
		p("## What follows\n")
		for _, piece := range r.Guidance {
			p("- %s.", strings.TrimSuffix(piece.Text, "."))
			for _, e := range piece.Evidence {
				p("  - %s", e)
			}
		}
		p("")
	}
	if r.Drift != nil {
		p("Control runs: throughput moved by %+.1f %% from first to last (%d runs), TTFT p50: %s.\n", 100*r.Drift.Throughput, len(r.Drift.Runs), r.Drift.ttft())
	}
}

func statText(s Stat) string {
	if s.CI95 == nil {
		return Digits(s.Mean, 4)
	}
	if s.Own { // not symmetrical
		return fmt.Sprintf("%s [%s, %s]", Digits(s.Mean, 4), Digits(s.CI95[0], 4), Digits(s.CI95[1], 4))
	}
	half := (s.CI95[1] - s.CI95[0]) / 2
	if half < 1e-6*math.Abs(s.Mean) {
		half = 0 // what is left of rounding
	}
	return Digits(s.Mean, 4) + " ± " + Digits(half, 2)
}

func found(v *float64) string {
	if v == nil {
		return "–"
	}
	return strconv.FormatFloat(*v, 'g', -1, 64)
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
