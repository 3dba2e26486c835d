// Package dashboards builds the Grafana dashboards that are checked in beside it: one source for all of them, so that panels which
// show the same thing ask the same question.
//
// Names of metrics begin with the name of the service whose load it is; Service builds the dashboard of any. The JSON is that of
// Grafana's classic dashboards, which version 10 and later read from files.
package dashboards

import (
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Builder makes one dashboard.
type Builder = dashboard.DashboardBuilder

// Set is all of the dashboards that are checked in, by the names of their files.
func Set() map[string]*Builder {
	return map[string]*Builder{
		"ollama.json": Service("ollama", "Ollama Performance", false),
		"vllm.json":   Service("vllm", "vLLM Performance", true),
		"nodes.json":  Nodes(),
		"benchd.json": Benchd(),
	}
}

// Encode is a dashboard as Grafana reads it.
func Encode(b *Builder) ([]byte, error) {
	d, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("build the dashboard: %w", err)
	}
	number(&d)
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the dashboard: %w", err)
	}
	return append(data, '\n'), nil
}

// number gives the panels the ids that links to them go by.
func number(d *dashboard.Dashboard) {
	for i := range d.Panels {
		if p := d.Panels[i].Panel; p != nil {
			p.Id = cog.ToPtr(uint32(i + 1))
		}
	}
}

// source is the data source that the variable of that name chooses.
func source() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}

// newDashboard is what all of them have in common.
func newDashboard(uid, title, description string) *Builder {
	return dashboard.NewDashboardBuilder(title).Uid("benchd-"+uid).Description(description).Tags([]string{"benchd"}).
		Refresh("15s").Time("now-30m", "now").Timezone("browser").Tooltip(dashboard.DashboardCursorSyncCrosshair).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus"))
}

// several is a variable of which several values may be chosen, or all. All matches series without the label too, such as those that
// came by the Pushgateway.
func several(name, label, query string) *dashboard.QueryVariableBuilder {
	return variable(name, label, query).Multi(true).IncludeAll(true).AllValue(".*").Current(dashboard.VariableOption{
		Selected: cog.ToPtr(true), Text: dashboard.StringOrArrayOfString{String: cog.ToPtr("All")}, Value: dashboard.StringOrArrayOfString{String: cog.ToPtr("$__all")},
	})
}

func variable(name, label, query string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).Label(label).Query(dashboard.StringOrMap{String: cog.ToPtr(query)}).Datasource(source()).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc)
}

// chosen are the label matchers of what the variables allocation, run, node and service have chosen.
const chosen = `allocation=~"$allocation",run_name=~"$run",node=~"$node",service=~"$service"`
