package report

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// putDistributions draws how the latencies are distributed. It needs the samples, which the records alone hold.
func (d *Document) putDistributions(p *page) error {
	if d.raw == nil {
		p.put("distributions", "Distributions", block{List: []string{"They are drawn from the records: " + d.why + "."}})
		return nil
	}
	var figures []drawing
	sum := &d.raw.sum
	for _, l := range []struct {
		name, caption, of string
		d                 *Distribution
	}{
		{"ttft", "Time to first token", "requests", &sum.TTFT},
		{"itl", "Inter-token latency", "gaps", &sum.ITL},
		{"tpot", "Time per output token", "requests", &sum.TPOT},
		{"e2e", "End-to-end latency", "requests", &sum.E2E},
	} {
		f, err := cumulative(l.caption, l.of, d.raw.samples[l.name], l.d)
		if err != nil {
			return err
		}
		if f != nil {
			figures = append(figures, *f)
		}
	}
	p.put("distributions", "Distributions", block{Text: "The curve says what share lay at or under a value; the steeper, the more alike."}, block{Figures: figures})
	return nil
}

// drawnQuantiles are even, and closer in the tail.
var drawnQuantiles = func() []float64 {
	var out []float64
	for i := range 198 {
		out = append(out, float64(i)/200)
	}
	return append(out, 0.99, 0.9925, 0.995, 0.9975, 0.999, 1)
}()

// ranked gives the drawn quantiles of sorted samples, each a value that was seen, in milliseconds.
func ranked(s samples, n int64) plotter.XYs {
	out := make(plotter.XYs, 0, len(drawnQuantiles))
	seen, i := int64(0), 0
	for _, q := range drawnQuantiles {
		rank := max(1, int64(math.Ceil(q*float64(n))))
		for ; seen < rank; i++ {
			seen += int64(s[i].n)
		}
		out = append(out, plotter.XY{X: 1000 * s[i-1].value, Y: q})
	}
	return out
}

// fewest samples that a distribution is drawn of.
const fewest = 20

// cumulative draws what share of the samples lies at or under a value, in milliseconds; nil with too few. The samples must be sorted.
func cumulative(caption, of string, s samples, d *Distribution) (*drawing, error) {
	n := d.Count
	if n < fewest {
		return nil, nil
	}
	points := ranked(s, n)
	least, most := points[0].X, points[len(points)-1].X
	bulk := points[slices.Index(drawnQuantiles, 0.99)].X
	note, logarithmic := "", least > 0 && most/least >= 30
	if !logarithmic && bulk > 0 && most > 3*bulk {
		note = fmt.Sprintf("; the axis ends before the largest, %s ms", short(most))
		points = slices.DeleteFunc(points, func(at plotter.XY) bool { return at.X > 2*bulk })
		most = 2 * bulk
	}
	curve, err := plotter.NewLine(points)
	if err != nil {
		return nil, fmt.Errorf("draw %q: %w", caption, err)
	}
	curve.LineStyle = lineStyle(0)
	p := smallPlot("milliseconds", "share of "+of)
	p.Add(lightGrid(), curve)
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = least, most, 0, 1.04
	if logarithmic {
		scaleAxis(&p.X, []float64{least, most}, 1)
	} else if room := margin * (most - least); room > 0 {
		p.X.Min, p.X.Max = max(0, least-room), most+room
	} else {
		p.X.Min, p.X.Max = least-1, most+1
	}
	if err := markPercentiles(p, d); err != nil {
		return nil, fmt.Errorf("draw %q: %w", caption, err)
	}
	svg, err := drawn(p, figureWidth, figureHeight, sideRoom)
	if err != nil {
		return nil, fmt.Errorf("draw %q: %w", caption, err)
	}
	return &drawing{Caption: fmt.Sprintf("%s of %s %s%s.", caption, count(n), of, note), SVG: inline(svg, caption)}, nil
}

// markPercentiles puts dots where the percentiles are that there are samples enough for.
func markPercentiles(p *plot.Plot, d *Distribution) error {
	for _, m := range []struct {
		q     float64
		name  string
		value *float64
	}{{0.5, "p50", d.P50}, {0.9, "p90", d.P90}, {0.99, "p99", d.P99}} {
		if m.value == nil {
			continue
		}
		at := plotter.XYs{{X: 1000 * *m.value, Y: m.q}}
		dot, err := plotter.NewScatter(at)
		if err != nil {
			return err
		}
		dot.GlyphStyle = draw.GlyphStyle{Color: lineStyle(0).Color, Radius: vg.Points(2.5), Shape: draw.CircleGlyph{}}
		label, err := plotter.NewLabels(plotter.XYLabels{XYs: at, Labels: []string{m.name + " " + short(at[0].X)}})
		if err != nil {
			return err
		}
		style := &label.TextStyle[0]
		style.Font.Size, style.Font.Variant = tickFont, "Sans"
		style.XAlign, style.YAlign, label.Offset.X, label.Offset.Y = draw.XLeft, draw.YTop, vg.Points(5), vg.Points(-1)
		if p.X.Norm(at[0].X) > 0.7 {
			style.XAlign, style.YAlign, label.Offset.X, label.Offset.Y = draw.XRight, draw.YCenter, vg.Points(-12), vg.Points(2)
		}
		p.Add(dot, label)
	}
	return nil
}
