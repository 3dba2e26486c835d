package dashboards_test

import (
	"encoding/json"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/benchd/benchd/config"
	"github.com/benchd/benchd/config/monitoring/dashboards"
)

// folder is where the dashboards are in the binary.
const folder = config.MonitoringFolder + "/grafana/dashboards"

// What is checked in, and in the binary, is what this package builds.
func TestFilesAreGenerated(t *testing.T) {
	t.Parallel()
	built := dashboards.Set()
	entries, err := fs.ReadDir(config.Monitoring, folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(built) {
		t.Errorf("%d files are checked in, %d dashboards are built", len(entries), len(built))
	}
	for name, d := range built {
		want, err := dashboards.Encode(d)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := fs.ReadFile(config.Monitoring, path.Join(folder, name))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not what is built: run `go generate ./config` (%v)", name, err)
		}
	}
}

// The files hold nothing that Grafana does not know, and what every panel needs.
func TestDashboardsAreWhole(t *testing.T) {
	t.Parallel()
	plugins.RegisterDefaultPlugins()
	uids := map[string]string{}
	for name, b := range dashboards.Set() {
		data, err := dashboards.Encode(b)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard.Dashboard
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := json.MarshalIndent(d, "", "  ")
		if diff := cmp.Diff(string(data), string(again)+"\n"); err != nil || diff != "" {
			t.Errorf("%s does not come through Grafana's types (%v):\n%s", name, err, diff)
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if other, taken := uids[*d.Uid]; taken {
			t.Errorf("%s has the uid of %s", name, other)
		}
		uids[*d.Uid] = name
		for _, p := range d.Panels {
			f := p.Panel.FieldConfig
			if f == nil || f.Defaults.Unit == nil || f.Defaults.Thresholds == nil || len(f.Defaults.Thresholds.Steps) == 0 {
				t.Errorf("%s: %s has no unit or no thresholds", name, *p.Panel.Title)
			}
		}
	}
}

// titles of a dashboard's panels, in order.
func titles(t *testing.T, d *dashboards.Builder) []string {
	t.Helper()
	data, err := dashboards.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct{ Panels []struct{ Title string } }
	if err := json.Unmarshal(data, &parsed); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range parsed.Panels {
		all = append(all, p.Title)
	}
	return all
}

func TestPanelsOfServices(t *testing.T) {
	t.Parallel()
	load := []string{
		"Workload Status", "Requests Total", "Total Throughput", "Throughput by Host", "Request Latency", "Success vs Failed Requests", "Error Rate Over Time",
		"CPU Usage", "CPU Usage by Role", "Memory Usage", "GPU Utilization", "GPU Memory", "GPU Power",
	}
	engine := append(load[:len(load):len(load)], "Tokens per Request", "Cache Usage", "Requests Running and Waiting", "Preemptions", "Prefix Cache Hit Rate")
	set := dashboards.Set()
	if diff := cmp.Diff(load, titles(t, set["ollama.json"])); diff != "" {
		t.Errorf("Ollama (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(engine, titles(t, set["vllm.json"])); diff != "" {
		t.Errorf("vLLM (-want +got):\n%s", diff)
	}
}

// Metrics are asked for by the names that clients give them.
func TestPrefixOfAService(t *testing.T) {
	t.Parallel()
	for service, want := range map[string]string{"vllm": "sum(vllm_throughput_rps{", "llama.cpp": "sum(llama_cpp_throughput_rps{", "7b": "sum(service_7b_throughput_rps{"} {
		data, err := dashboards.Encode(dashboards.Service(service, service, true))
		if err != nil {
			t.Fatal(err)
		}
		if text := string(data); !strings.Contains(text, want) || strings.Contains(text, "M_") || strings.Contains(text, "SEL}") {
			t.Errorf("%s: no %q", service, want)
		}
	}
}
