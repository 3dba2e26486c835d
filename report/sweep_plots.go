package report

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/palette/moreland"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	plotWidth, plotHeight = 18 * vg.Centimeter, 11 * vg.Centimeter
	// maxLines are told apart by colour and mark.
	maxLines = 8
)

// plots are the sweep's figures as SVG, by file name: throughput and latency along each numeric axis, a heat map of each two of them,
// and the Pareto front.
func (r *SweepResult) plots() (map[string][]byte, error) {
	files := map[string][]byte{}
	for i := range r.Axes {
		axis := &r.Axes[i]
		if !axis.Numeric {
			continue
		}
		for name, f := range map[string]figure{"throughput": {"output tokens/s", "outputTokenThroughput", 1}, "latency": r.latency()} {
			if err := r.linePlot(files, name+"-over-"+axis.file()+".svg", axis, f); err != nil {
				return nil, err
			}
		}
		for j := i + 1; j < len(r.Axes); j++ {
			if other := &r.Axes[j]; other.Numeric && !slices.Contains(axis.With, other.Path) {
				if err := r.heatMap(files, axis, other); err != nil {
					return nil, err
				}
			}
		}
	}
	return files, r.paretoPlot(files)
}

// latency is the time to the first token, or to the last one where answers came in one piece.
func (r *SweepResult) latency() figure {
	for i := range r.Points {
		if _, has := r.Points[i].Metrics["ttftP50"]; has {
			return figure{"TTFT p50 in ms", "ttftP50", 1000}
		}
	}
	return figure{"E2E latency p50 in ms", "e2eP50", 1000}
}

// units of axes, as far as a path does not say them.
var units = map[string]string{
	"workload.load.rate": "requests/s", "workload.load.clientsPerNode": "concurrent clients per node", "workload.load.maxConcurrency": "requests in flight",
	loadBound: "requests", "workload.prompts.tokens": "tokens", "workload.output.tokens": "tokens",
	serverNodes: "nodes", clientNodes: "nodes", "nodes.servers.gpus": "GPUs per node", "service.replicas": "servers",
	"service.nodesPerReplica": "nodes per server", "service.config.maxModelLen": "tokens", "service.config.gpuMemoryUtilization": "share of the memory",
}

// label is what stands at the axis: path, unit, and what grows with it.
func (a *Axis) label() string {
	label := a.Path
	if unit, has := units[a.Path]; has {
		label += " in " + unit
	}
	if len(a.With) > 0 {
		label += ", with " + strings.Join(a.With, ", ")
	}
	return label
}

// file is the axis's name as part of a file's name: keys of maps, such as those of container.env, may hold anything.
func (a *Axis) file() string {
	return strings.TrimLeft(strings.Map(func(c rune) rune {
		if c == '.' || c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			return c
		}
		return '-'
	}, a.field), ".")
}

// figure says what is drawn: a metric, in another unit.
type figure struct {
	label, metric string
	scale         float64
}

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding, p.Legend.XOffs = vg.Millimeter, 2*vg.Millimeter
	p.Title.Padding = 2 * vg.Millimeter
	p.X.Tick.Marker, p.Y.Tick.Marker = readable{p.X.Tick.Marker}, readable{p.Y.Tick.Marker}
	p.Add(plotter.NewGrid())
	return p
}

// scaleAxis takes a logarithmic scale where values span so many times the least, and no value is beneath it.
func scaleAxis(a *plot.Axis, values []float64, times float64) {
	least, most := slices.Min(values), slices.Max(values)
	if least > 0 && most/least >= times {
		a.Scale, a.Tick.Marker = plot.LogScale{}, readable{plot.LogTicks{Prec: -1}}
		a.Min, a.Max = least/1.2, most*1.2
		return
	}
	if least == most {
		a.Min, a.Max = least-1, most+1
	}
}

// margin is how much room there is beyond the outermost values, as a share of their range.
const margin = 0.04

// widen a linear axis, so that marks at its ends are drawn whole.
func widen(a *plot.Axis) {
	room := margin * (a.Max - a.Min)
	a.Min, a.Max = a.Min-room, a.Max+room
}

// bars are points with the intervals of their means.
type bars struct {
	plotter.XYs
	plotter.YErrors
}

// curve is one line of a plot.
type curve struct {
	bars
	label string
}

// curves are the lines of a metric along an axis, one for each combination of the other axes; and how many there are in all, of which
// no more are drawn than can be told apart.
func (r *SweepResult) curves(axis *Axis, f figure) ([]curve, int) {
	var all []curve
	for _, l := range lines(axis, axis.With, r.Axes, r.Points) {
		c := curve{label: valuesText(l.others)}
		for _, i := range l.points {
			s, has := r.Points[i].Metrics[f.metric]
			x, _ := r.Points[i].Values[axis.Path].(float64)
			if !has {
				continue
			}
			e := struct{ Low, High float64 }{}
			if s.CI95 != nil {
				e.Low, e.High = max(0, s.Mean-max(0, s.CI95[0]))*f.scale, max(0, s.CI95[1]-s.Mean)*f.scale
			}
			c.XYs = append(c.XYs, plotter.XY{X: x, Y: s.Mean * f.scale})
			c.YErrors = append(c.YErrors, e)
		}
		if len(c.XYs) > 1 {
			all = append(all, c)
		}
	}
	return all[:min(len(all), maxLines)], len(all)
}

func (r *SweepResult) linePlot(files map[string][]byte, name string, axis *Axis, f figure) error {
	all, of := r.curves(axis, f)
	if of == 0 {
		return nil
	}
	title := r.Sweep
	if of > len(all) {
		title = fmt.Sprintf("%s\n(the first %d of %d lines)", r.Sweep, len(all), of)
	}
	p := newPlot(title, axis.label(), f.label)
	var xs, ys []float64
	for _, c := range all {
		for _, at := range c.XYs {
			xs, ys = append(xs, at.X), append(ys, at.Y)
		}
	}
	scaleAxis(&p.X, xs, 10) // loads are mostly doubled from point to point
	scaleAxis(&p.Y, ys, 100)
	if len(axis.Values) <= maxTicks {
		p.X.Tick.Marker = ticksAt(axis)
	}
	_, logarithmic := p.Y.Scale.(plot.LogScale)
	floor := p.Y.Min // an interval that reaches further down cannot be drawn on a logarithmic scale
	for i, c := range all {
		for n := range c.YErrors {
			if logarithmic {
				c.YErrors[n].Low = min(c.YErrors[n].Low, c.XYs[n].Y-floor, 0.999*c.XYs[n].Y)
			}
		}
		lines, marks, err := plotter.NewLinePoints(c.XYs)
		if err != nil {
			return fmt.Errorf("draw %s: %w", name, err)
		}
		lines.Color, marks.Color, marks.Shape = plotutil.Color(i), plotutil.Color(i), plotutil.Shape(i)
		errs, err := plotter.NewYErrorBars(c.bars)
		if err != nil {
			return fmt.Errorf("draw %s: %w", name, err)
		}
		errs.Color = plotutil.Color(i)
		p.Add(lines, marks, errs)
		if c.label != "" {
			p.Legend.Add(c.label, lines, marks)
		}
	}
	if !logarithmic {
		p.Y.Min = min(0, p.Y.Min)
		p.Y.Max += margin * (p.Y.Max - p.Y.Min)
	}
	if _, is := p.X.Scale.(plot.LogScale); !is {
		widen(&p.X)
	}
	return save(files, name, p)
}

// maxTicks of an axis are each one of its values.
const maxTicks = 12

func ticksAt(a *Axis) plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for _, v := range a.Values {
		x, _ := v.(float64)
		ticks = append(ticks, plot.Tick{Value: x, Label: text(v)})
	}
	return ticks
}

// grid is a heat map's values, by the indices of two axes.
type grid struct {
	columns, rows int
	z             [][]float64
}

func (g *grid) Dims() (int, int)   { return g.columns, g.rows }
func (g *grid) Z(c, r int) float64 { return g.z[r][c] }
func (g *grid) X(c int) float64    { return float64(c) }
func (g *grid) Y(r int) float64    { return float64(r) }

// maxCells along an axis of a heat map: numbers in more cannot be read, and points drawn at random have a value of their own each.
const maxCells = 32

// heatMap draws throughput over two axes; where further ones vary, the best of them.
func (r *SweepResult) heatMap(files map[string][]byte, x, y *Axis) error {
	if len(x.Values) > maxCells || len(y.Values) > maxCells {
		return nil
	}
	g := &grid{columns: len(x.Values), rows: len(y.Values)}
	for range y.Values {
		row := make([]float64, len(x.Values))
		for i := range row {
			row[i] = math.NaN()
		}
		g.z = append(g.z, row)
	}
	least, most := math.Inf(1), math.Inf(-1)
	column, row := x.places(), y.places()
	for i := range r.Points {
		v := r.Points[i].metric("outputTokenThroughput")
		c, w := column(&r.Points[i]), row(&r.Points[i])
		if c < 0 || w < 0 || math.IsNaN(v) {
			continue
		}
		if old := g.z[w][c]; math.IsNaN(old) || v > old {
			g.z[w][c] = v
		}
		least, most = min(least, v), max(most, v)
	}
	if !(most > least) {
		return nil // one value, or none: nothing to see
	}
	title := fmt.Sprintf("%s: output tokens/s, %s to %s", r.Sweep, Digits(least, 4), Digits(most, 4))
	if len(r.Axes) > 2 {
		title += "\n(the best over the other parameters)"
	}
	p := newPlot(title, x.label(), y.label())
	colours := moreland.SmoothBlueRed()
	colours.SetMin(least)
	colours.SetMax(most)
	heat := plotter.NewHeatMap(g, colours.Palette(64))
	p.Add(heat)
	p.X.Tick.Marker, p.Y.Tick.Marker = namesOf(x), namesOf(y)
	labels := plotter.XYLabels{}
	for row := range g.z {
		for c, v := range g.z[row] {
			if !math.IsNaN(v) {
				labels.XYs = append(labels.XYs, plotter.XY{X: float64(c), Y: float64(row)})
				labels.Labels = append(labels.Labels, Digits(v, 4))
			}
		}
	}
	numbers, err := plotter.NewLabels(labels)
	if err != nil {
		return fmt.Errorf("draw a heat map: %w", err)
	}
	for i := range numbers.TextStyle {
		numbers.TextStyle[i].XAlign, numbers.TextStyle[i].YAlign = draw.XCenter, draw.YCenter
	}
	p.Add(numbers)
	return save(files, "heatmap-"+x.file()+"-"+y.file()+".svg", p)
}

func namesOf(a *Axis) plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for i, v := range a.Values {
		ticks = append(ticks, plot.Tick{Value: float64(i), Label: text(v)})
	}
	return ticks
}

func (r *SweepResult) paretoPlot(files map[string][]byte) error {
	var all, front plotter.XYs
	for i := range r.Points {
		x, y := r.Points[i].metric("tokensPerUser"), r.Points[i].metric("tokensPerGPU")
		if !math.IsNaN(x) && !math.IsNaN(y) {
			all = append(all, plotter.XY{X: x, Y: y})
		}
	}
	if len(all) < 2 {
		return nil
	}
	for _, i := range r.Pareto {
		front = append(front, plotter.XY{X: r.Points[i].metric("tokensPerUser"), Y: r.Points[i].metric("tokensPerGPU")})
	}
	p := newPlot(r.Sweep+": what one user gets, and what the machine gives", "output tokens/s per user (1 / TPOT p50)", "output tokens/s per "+r.PerWhat)
	dots, err := plotter.NewScatter(all)
	if err != nil {
		return fmt.Errorf("draw the Pareto front: %w", err)
	}
	p.Add(dots)
	if len(front) > 1 {
		curve, marks, err := plotter.NewLinePoints(front)
		if err != nil {
			return fmt.Errorf("draw the Pareto front: %w", err)
		}
		curve.Color, marks.Color = plotutil.Color(0), plotutil.Color(0)
		p.Add(curve, marks)
		p.Legend.Add("Pareto front", curve, marks)
	}
	p.Legend.Left, p.Legend.XOffs = false, 0 // a front falls from left to right
	widen(&p.X)
	widen(&p.Y)
	return save(files, "pareto.svg", p)
}

func save(files map[string][]byte, name string, p *plot.Plot) error {
	data, err := drawn(p, plotWidth, plotHeight, 0)
	if err != nil {
		return fmt.Errorf("draw %s: %w", name, err)
	}
	files[name] = data
	return nil
}

// drawn is a plot as SVG, with so much room at its sides.
func drawn(p *plot.Plot, width, height, room vg.Length) ([]byte, error) {
	canvas := vgsvg.New(width, height)
	p.Draw(draw.Crop(draw.New(canvas), room/3, -room, 0, -room/3))
	var buf bytes.Buffer
	if _, err := canvas.WriteTo(&buf); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
