package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/barchart"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/gauge"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// Widths and heights of panels in Grafana's grid, which is 24 wide.
const (
	quarter, third, half = 6, 8, 12
	low, high            = 5, 8
)

// query is one question, and how the legend names its answers.
type query struct{ legend, expr string }

// targets are queries as Grafana has them. Instant ones give the value at the end of the time that is shown.
func targets(instant bool, queries []query) []cog.Builder[variants.Dataquery] {
	var all []cog.Builder[variants.Dataquery]
	for i, q := range queries {
		t := prometheus.NewDataqueryBuilder().Expr(q.expr).LegendFormat(q.legend).RefId(string(rune('A' + i))).Datasource(source()).
			EditorMode(prometheus.QueryEditorModeCode).Format(prometheus.PromQueryFormatTimeSeries)
		if instant {
			t.Instant()
		} else {
			t.Range()
		}
		all = append(all, t)
	}
	return all
}

// limit is where a value is coloured otherwise.
type limit struct {
	from  float64
	color string
}

// limits colours values: base below the first limit.
func limits(base string, all ...limit) *dashboard.ThresholdsConfigBuilder {
	steps := []dashboard.Threshold{{Color: base}}
	for _, l := range all {
		steps = append(steps, dashboard.Threshold{Value: cog.ToPtr(l.from), Color: l.color})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}

// full warns of what is nearly full.
func full() *dashboard.ThresholdsConfigBuilder {
	return limits("green", limit{80, "orange"}, limit{95, "red"})
}

// graph draws values over time, with their means and last values in a table.
func graph(title, description, unit string, queries ...query) *timeseries.PanelBuilder {
	return timeseries.NewPanelBuilder().Title(title).Description(description).Unit(unit).Min(0).Datasource(source()).Targets(targets(false, queries)).
		Span(half).Height(high).LineWidth(1).FillOpacity(10).ShowPoints(common.VisibilityModeNever).Thresholds(limits("green")).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdPaletteClassic)).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeTable).Placement(common.LegendPlacementBottom).ShowLegend(true).
			Calcs([]string{"mean", "lastNotNull"})).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
}

// limited draws the limits into a graph.
func limited(p *timeseries.PanelBuilder, at *dashboard.ThresholdsConfigBuilder) *timeseries.PanelBuilder {
	return p.Thresholds(at).ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
}

// last takes the last value of a series.
func last() *common.ReduceDataOptionsBuilder {
	return common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}).Fields("").Values(false)
}

// figure shows one value in large figures. Instant ones have no line behind them.
func figure(title, description, unit string, instant bool, q query) *stat.PanelBuilder {
	mode := common.BigValueGraphModeArea
	if instant {
		mode = common.BigValueGraphModeNone
	}
	return stat.NewPanelBuilder().Title(title).Description(description).Unit(unit).Datasource(source()).Targets(targets(instant, []query{q})).
		Span(quarter).Height(low).GraphMode(mode).ColorMode(common.BigValueColorModeValue).ReduceOptions(last()).Orientation(common.VizOrientationAuto).
		Thresholds(limits("green")).NoValue("0")
}

// yesNo is a dial between 0 and 1.
func yesNo(title, description, no, yes string, q query) *gauge.PanelBuilder {
	words := dashboard.ValueMapping{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: map[string]dashboard.ValueMappingResult{
		"0": {Text: cog.ToPtr(no), Color: cog.ToPtr("blue"), Index: cog.ToPtr(int32(0))},
		"1": {Text: cog.ToPtr(yes), Color: cog.ToPtr("green"), Index: cog.ToPtr(int32(1))},
	}}}
	return gauge.NewPanelBuilder().Title(title).Description(description).Unit("none").Datasource(source()).Targets(targets(true, []query{q})).
		Span(quarter).Height(low).Min(0).Max(1).Mappings([]dashboard.ValueMapping{words}).Thresholds(limits("blue", limit{1, "green"})).
		ReduceOptions(last()).Orientation(common.VizOrientationAuto).NoValue(no)
}

// bars compares values side by side. Their queries are instant, and joined to the one row that the chart draws.
func bars(title, description, unit string, colors map[string]string, queries ...query) *barchart.PanelBuilder {
	p := barchart.NewPanelBuilder().Title(title).Description(description).Unit(unit).Min(0).Datasource(source()).Targets(targets(true, queries)).
		Span(half).Height(high).ShowValue(common.VisibilityModeAlways).Stacking(common.StackingModeNone).Orientation(common.VizOrientationAuto).Thresholds(limits("green")).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderNone)).
		WithTransformation(dashboard.DataTransformerConfig{Id: "joinByField", Options: map[string]any{"byField": "Time", "mode": "outer"}})
	for _, q := range queries {
		p.OverrideByName(q.legend, []dashboard.DynamicConfigValue{{Id: "color", Value: map[string]any{"mode": "fixed", "fixedColor": colors[q.legend]}}})
	}
	return p
}
