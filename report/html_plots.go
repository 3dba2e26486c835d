package report

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Sizes of the drawings in a run's report: two stand side by side on a desktop, one fills a phone, and their letters can be read on both.
const (
	figureWidth, figureHeight = 360 * vg.Length(1), 200 * vg.Length(1)
	axisFont, tickFont        = 10 * vg.Length(1), 9 * vg.Length(1)
	// sideRoom is for letters that are wider at the reader's than those that a drawing was laid out with.
	sideRoom = 11 * vg.Length(1)
	// shownLines of a drawing can be told apart; of more, their mean, least and most are drawn.
	shownLines = 8
)

// drawing is a figure with its caption and the keys of its lines.
type drawing struct {
	Number  int
	Caption string
	SVG     template.HTML
	Keys    []key
	// Large drawings do not shrink to a phone's width: their letters could not be read.
	Large bool
}

// key says which line is which.
type key struct{ Label, Colour, Dash string }

// inline makes of an SVG file what stands in HTML: without the XML declaration and the fixed size, and with a name for those who cannot see it.
// The file is of our own making; its writer escapes the texts in it.
func inline(svg []byte, name string) template.HTML {
	_, rest, _ := bytes.Cut(svg, []byte("<svg "))
	at := bytes.Index(rest, []byte("viewBox="))
	box, body, _ := bytes.Cut(rest[max(0, at):], []byte("\n"))
	_, body, _ = bytes.Cut(body, []byte(">\n"))                                                                              // the name spaces, which HTML knows by itself
	return template.HTML(fmt.Sprintf("<svg %s role=\"img\" aria-label=%q>\n%s", box, template.HTMLEscapeString(name), body)) //nolint:gosec // drawn here
}

// trace is one series of a drawing; nil where there is no value.
type trace struct {
	label  string
	values []*float64
}

// dense are values without gaps.
func dense(values []float64) []*float64 {
	out := make([]*float64, len(values))
	for i := range values {
		out[i] = &values[i]
	}
	return out
}

// colours that can be told apart on white paper, the most readable ones first; dashes tell them apart where there are none.
func lineStyle(i int) draw.LineStyle {
	dark := plotutil.DarkColors
	return draw.LineStyle{Color: dark[(i+2)%len(dark)], Width: vg.Points(1.3), Dashes: plotutil.Dashes(i)}
}

func keyOf(label string, s draw.LineStyle) key {
	r, g, b, _ := s.Color.RGBA()
	var dash []string
	for _, d := range s.Dashes {
		dash = append(dash, fmt.Sprintf("%g", d.Points()))
	}
	return key{Label: label, Colour: fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8), Dash: strings.Join(dash, " ")}
}

// window marks the measured window behind the lines.
type window struct{ from, to float64 }

// Plot draws it over the whole height; it takes no part in the axes' ranges.
func (w window) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	from, to := max(x(w.from), c.Min.X), min(x(w.to), c.Max.X)
	if from >= to {
		return
	}
	c.FillPolygon(color.RGBA{R: 0xe3, G: 0xee, B: 0xfb, A: 0xff}, []vg.Point{{X: from, Y: c.Min.Y}, {X: to, Y: c.Min.Y}, {X: to, Y: c.Max.Y}, {X: from, Y: c.Max.Y}})
}

func smallPlot(x, y string) *plot.Plot {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = x, y
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font.Size, axis.Tick.Label.Font.Size = axisFont, tickFont
		axis.Label.TextStyle.Font.Variant, axis.Tick.Label.Font.Variant = "Sans", "Sans"
		axis.Tick.Marker = readable{axis.Tick.Marker}
		axis.Tick.LineStyle.Width, axis.LineStyle.Width = vg.Points(0.5), vg.Points(0.5)
	}
	return p
}

// readable are gonum's ticks, with numbers as the rest of the report writes them.
type readable struct{ plot.Ticker }

func (r readable) Ticks(least, most float64) []plot.Tick {
	ticks := r.Ticker.Ticks(least, most)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = short(ticks[i].Value)
		}
	}
	return ticks
}

func lightGrid() *plotter.Grid {
	g := plotter.NewGrid()
	g.Horizontal.Color, g.Vertical.Color = color.Gray{0xd8}, color.Gray{0xe8}
	g.Horizontal.Width, g.Vertical.Width = vg.Points(0.4), vg.Points(0.4)
	return g
}

// overTime draws lines over the steps of a series; nil when there is nothing to draw.
func overTime(s *Series, caption, unit string, scale float64, lines []trace) (*drawing, error) {
	lines = slices.DeleteFunc(slices.Clone(lines), func(l trace) bool {
		return !slices.ContainsFunc(l.values, func(v *float64) bool { return v != nil })
	})
	if len(lines) == 0 {
		return nil, nil
	}
	if n := len(lines); n > shownLines {
		lines, caption = envelope(lines), fmt.Sprintf("%s, of %d together", caption, n)
	}
	p := smallPlot("seconds since the load began", unit)
	p.Add(window{s.From, s.To}, lightGrid())
	out := &drawing{Caption: caption + "."}
	most, least, end := 0.0, 0.0, max(s.To, s.StepSeconds*float64(len(s.InFlight)))
	for i, l := range lines {
		style := lineStyle(i)
		for _, part := range segments(l.values, s.StepSeconds, scale) {
			drawing, err := plotter.NewLine(part)
			if err != nil {
				return nil, fmt.Errorf("draw %q: %w", caption, err)
			}
			drawing.LineStyle = style
			p.Add(drawing)
			for _, at := range part {
				most, least, end = max(most, at.Y), min(least, at.Y), max(end, at.X)
			}
		}
		if len(lines) > 1 {
			out.Keys = append(out.Keys, keyOf(l.label, style))
		}
	}
	if most == least {
		most = least + 1
	}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, end, least, most+0.06*(most-least)
	svg, err := drawn(p, figureWidth, figureHeight, sideRoom)
	if err != nil {
		return nil, fmt.Errorf("draw %q: %w", caption, err)
	}
	out.SVG = inline(svg, caption)
	return out, nil
}

// segments are the stretches between gaps; a value that stands alone is drawn as long as its step.
func segments(values []*float64, step, scale float64) []plotter.XYs {
	var out []plotter.XYs
	var now plotter.XYs
	end := func() {
		if len(now) == 1 {
			now = plotter.XYs{{X: now[0].X - step/2, Y: now[0].Y}, {X: now[0].X + step/2, Y: now[0].Y}}
		}
		if len(now) > 0 {
			out = append(out, now)
		}
		now = nil
	}
	for i, v := range values {
		if v == nil || math.IsNaN(*v) || math.IsInf(*v, 0) {
			end()
			continue
		}
		now = append(now, plotter.XY{X: (float64(i) + 0.5) * step, Y: *v * scale})
	}
	end()
	return out
}

// envelope is the mean, the least and the most of many lines, step by step.
func envelope(lines []trace) []trace {
	steps := 0
	for _, l := range lines {
		steps = max(steps, len(l.values))
	}
	out := []trace{{"mean", make([]*float64, steps)}, {"least", make([]*float64, steps)}, {"most", make([]*float64, steps)}}
	for i := range steps {
		var at []float64
		for _, l := range lines {
			if i < len(l.values) && l.values[i] != nil {
				at = append(at, *l.values[i])
			}
		}
		if len(at) == 0 {
			continue
		}
		mean, least, most := total(at)/float64(len(at)), slices.Min(at), slices.Max(at)
		out[0].values[i], out[1].values[i], out[2].values[i] = &mean, &least, &most
	}
	return out
}
