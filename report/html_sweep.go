package report

import (
	"cmp"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// HTML is the sweep's results as one file that stands for itself. The files are those of the result (Files), for its plots. The same
// result gives the same bytes.
func (r *SweepResult) HTML(sweep *api.BenchmarkSweep, files map[string][]byte) ([]byte, error) {
	p := &page{
		Title: r.Sweep, Kind: "Results of a sweep", Verdict: r.state(), Lead: r.lead(),
		Foot: "Made by benchd from the runs of the sweep. Each run has a report of its own.",
	}
	r.putLimits(p)
	r.putBest(p)
	r.putGuidance(p)
	r.putPlots(p, files)
	r.putPoints(p)
	r.putPareto(p)
	r.putScaling(p)
	r.putUnmeasured(p)
	r.putAgain(p, sweep)
	r.putTerms(p)
	return p.render()
}

// state says how far the sweep has come.
func (r *SweepResult) state() *judged {
	v := &judged{State: plural(r.Measured, "run") + " measured", Class: "good", Meaning: fmt.Sprintf("of %d", r.Total)}
	for _, l := range []struct {
		n    int
		what string
	}{{r.partly(), "measured in part"}, {r.Failed, "failed"}, {r.Cancelled, "cancelled"}, {r.Open, "not ended"}} {
		if l.n > 0 {
			v.Meaning += fmt.Sprintf(", %d %s", l.n, l.what)
			v.Class = "doubtful"
		}
	}
	if r.Measured == 0 {
		v.Class = "bad"
	}
	reasons := map[string]int{}
	for i := range r.Points {
		for _, why := range r.Points[i].Reasons {
			reasons[why]++
		}
	}
	const shown = 8
	for _, why := range sortedKeys(reasons) {
		if len(v.Reasons) == shown {
			v.Reasons = append(v.Reasons, fmt.Sprintf("and %d more; each run's report has its own", len(reasons)-shown))
			break
		}
		v.Reasons = append(v.Reasons, fmt.Sprintf("%s: %s", plural(reasons[why], "point"), why))
	}
	return v
}

func (r *SweepResult) lead() string {
	var axes []string
	for i := range r.Axes {
		values := make([]string, len(r.Axes[i].Values))
		for n, v := range r.Axes[i].Values {
			values[n] = text(v)
		}
		axes = append(axes, fmt.Sprintf("%s (%s)", r.Axes[i].Path, some(values, maxTicks)))
	}
	over := ""
	if len(axes) > 0 {
		over = "Measured over " + strings.Join(axes, " and ")
	}
	best := ""
	if len(r.Best) > 0 {
		b := r.Best[0]
		best = fmt.Sprintf("The highest %s among good points is %s, at %s", b.Metric, statShort(b.Value), orDash(valuesText(r.Points[b.Point].Values)))
	}
	return sentence(over, best)
}

func (r *SweepResult) putLimits(p *page) {
	t := &table{Head: []string{"at", "highest that passed", "lowest that failed", "run", ""}}
	for _, l := range r.Limits {
		why := l.Why
		if !l.Done {
			why = "still looking"
		}
		t.add(word(orDash(valuesText(l.Values))), figureOf(found(l.Passed)), figureOf(found(l.Failed)), word(l.Run), word(why))
	}
	p.put("limits", "Limits found", block{Table: t})
}

func (r *SweepResult) putBest(p *page) {
	t := &table{Head: []string{"highest", "at", "value"}}
	for _, b := range r.Best {
		t.add(word(b.Metric), word(orDash(valuesText(r.Points[b.Point].Values))), td{Text: short(b.Value.Mean), Note: spread(b.Value.CI95, 1), Kind: "number"})
	}
	if len(r.Best) == 0 && r.Measured > 0 {
		p.put("best", "Best points", block{List: []string{"No point is good: " + r.Objective + "."}})
		return
	}
	p.put("best", "Best points", block{Text: "Of the points that are good: " + r.Objective + "."}, block{Table: t})
}

func (r *SweepResult) putGuidance(p *page) {
	var list []logged
	for _, g := range r.Guidance {
		list = append(list, logged{Meaning: sentence(g.Text), Lines: g.Evidence})
	}
	p.put("follows", "What follows", block{Findings: list})
}

// plotTitles say what a plot shows, by the beginning of its file's name.
var plotTitles = []struct{ prefix, title string }{
	{"throughput-over-", "Throughput over %s"}, {"latency-over-", "Latency over %s"}, {"heatmap-", "Throughput over two parameters: %s"}, {"pareto", "What one user gets, and what the machine gives%s"},
}

func (r *SweepResult) putPlots(p *page, files map[string][]byte) {
	var figures []drawing
	for _, kind := range plotTitles {
		for _, name := range sortedKeys(files) {
			rest, is := strings.CutPrefix(name, kind.prefix)
			if rest, svg := strings.CutSuffix(rest, ".svg"); is && svg {
				caption := fmt.Sprintf(kind.title, rest)
				figures = append(figures, drawing{Caption: caption + ".", SVG: inline(files[name], caption), Large: true})
			}
		}
	}
	p.put("plots", "Plots", block{Figures: figures})
}

func (r *SweepResult) putPoints(p *page) {
	t := &table{}
	for i := range r.Axes {
		t.Head = append(t.Head, r.Axes[i].field)
	}
	if len(t.Head) == 0 {
		t.Head = []string{"point"}
	}
	t.Head = append(t.Head, "runs measured", "verdict")
	for _, m := range sweepMetrics {
		t.Head = append(t.Head, strings.TrimSpace(m.Name+" "+bracketed(strings.ReplaceAll(m.Unit, "/GPU", "/"+r.PerWhat))))
	}
	for i := range r.Points {
		pt := &r.Points[i]
		var row []td
		for _, a := range r.Axes {
			v, has := pt.Values[a.Path]
			if !has {
				row = append(row, figureOf("–"))
				continue
			}
			row = append(row, figureOf(text(v)))
		}
		if len(row) == 0 {
			row = append(row, word(cmp.Or(pt.Point, "the only one")))
		}
		row = append(row, figureOf(count(int64(pt.Measured))), word(pt.Verdict))
		for _, m := range sweepMetrics {
			row = append(row, statCell(pt.Metrics, m.Name))
		}
		t.add(row...)
	}
	p.put("points", "Points", block{Text: "Means over repeats, with intervals of 95 % beneath."}, block{Table: t})
}

// statShort is a mean with its interval, in a sentence.
func statShort(s Stat) string {
	if s.CI95 == nil {
		return short(s.Mean)
	}
	return short(s.Mean) + " (95\u00a0%: " + spread(s.CI95, 1) + ")"
}

func statCell(metrics map[string]Stat, name string) td {
	s, has := metrics[name]
	if !has {
		return figureOf("")
	}
	return td{Text: short(s.Mean), Note: spread(s.CI95, 1), Kind: "number"}
}

func (r *SweepResult) putPareto(p *page) {
	if len(r.Pareto) < 2 {
		return
	}
	t := &table{Head: []string{"at", "tokensPerUser", "tokensPerGPU"}}
	for _, i := range r.Pareto {
		m := r.Points[i].Metrics
		t.add(word(orDash(valuesText(r.Points[i].Values))), statCell(m, "tokensPerUser"), statCell(m, "tokensPerGPU"))
	}
	p.put("pareto", "Pareto front", block{Text: fmt.Sprintf("No other point has more tokens per %s and more tokens per user at once.", r.PerWhat)}, block{Table: t})
}

func (r *SweepResult) putScaling(p *page) {
	t := &table{Head: []string{"of", "kind", "at", "count", "output tokens/s", "speed-up", "efficiency"}}
	for i := range r.Scaling {
		s := &r.Scaling[i]
		for _, step := range s.Steps {
			t.add(word(s.name()), word(s.Kind), word(s.at()), figureOf(text(step.Count)), figureOf(short(step.Throughput)), figureOf(short(step.Speedup)), figureOf(share(step.Efficiency)))
		}
	}
	p.put("scaling", "Scaling", block{Table: t})
	if d := r.Drift; d != nil {
		p.put("drift", "Drift", block{List: []string{fmt.Sprintf("Control runs: throughput moved by %+.1f %% from first to last (%s), TTFT p50: %s.", 100*d.Throughput, plural(len(d.Runs), "run"), d.ttft())}})
	}
}

// putUnmeasured says why runs ended without numbers.
func (r *SweepResult) putUnmeasured(p *page) {
	t := &table{Head: []string{"why", "runs", "names"}}
	runs := map[string][]string{}
	for i := range r.Trials {
		if trial := &r.Trials[i]; trial.Phase.Terminal() && trial.Summary == nil {
			why := cmp.Or(trial.Reason, string(trial.Phase))
			runs[why] = append(runs[why], trial.Run)
		}
	}
	for _, why := range sortedKeys(runs) {
		t.add(word(why), figureOf(count(int64(len(runs[why])))), word(some(runs[why], 8)))
	}
	p.put("unmeasured", "Runs without numbers", block{Table: t})
}

func (r *SweepResult) putAgain(p *page, sweep *api.BenchmarkSweep) {
	again := &api.BenchmarkSweep{TypeMeta: sweep.TypeMeta, Spec: sweep.Spec}
	again.APIVersion, again.Kind = api.GroupVersion.String(), api.KindBenchmarkSweep
	again.Name, again.Namespace, again.Labels = againName(sweep.Name), sweep.Namespace, sweep.Labels
	maskSpec(&again.Spec.Template.Spec)
	data, err := yaml.Marshal(again)
	if err != nil {
		data = []byte("# the spec cannot be shown: " + err.Error() + "\n")
	}
	name := quoted(again.Name)
	commands := fmt.Sprintf("benchd apply -f repeat.yaml   # the text below\nbenchd wait sweep/%s\nbenchd report sweep/%s --format html --open\n", name, name)
	p.put("repeat", "How to repeat it", block{Text: "Save the second text as repeat.yaml."}, block{Code: commands}, block{Code: string(data)})
}

func (r *SweepResult) putTerms(p *page) {
	p.put("definitions", "Definitions", block{List: []string{
		"Means are over repeats; intervals are of 95 %, by Student's t, and say how well the mean is known if repeats are independent. Those of a point that was measured once are the run's own, by block bootstrap, which leave out how repeats would differ.",
		"Times are in seconds; a dash stands for a percentile with too few samples.",
		fmt.Sprintf("tokensPerGPU is output tokens per second and %s of the servers, tokensPerUser is 1 / tpotP50.", r.PerWhat),
	}})
}
