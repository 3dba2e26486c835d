package main

import (
	"fmt"
	"strings"

	"github.com/benchd/benchd/services"
)

// modelExamples are models as the services name them.
var modelExamples = map[string]string{
	"ollama": "llama3.2:3b", "llama.cpp": "/models/qwen2.5-7b-instruct-q4_k_m.gguf", "triton": "its folder's name in the repository",
}

// hints are said below questions whose title does not say enough.
var hints = map[string]string{
	"endpoint":         "base URLs, with commas between them: http://10.1.2.3:8000",
	"api-key-env":      "a variable of the control plane's environment; empty for none",
	"name":             "lower-case letters, digits and dashes",
	"qos":              "empty for the site's default",
	"nodes-per-server": "1: a server on each server node",
	"monitors":         "0: a client node watches the others",
	"server-gpus":      "0: GPUs are not asked for",
	"server-cpus":      "empty: all of a whole node",
	"server-memory":    "such as 64Gi; empty: all of a whole node",
	"client-memory":    "such as 16Gi",
	"duration":         "such as 90s, 5m or 1h30m",
	"warmup":           "0s for none",
	"burstiness":       "1 is poisson, less comes in clusters, more is evener",
	"burst":            "ON/OFF",
	"steps":            "RATE/TIME, with commas between them: 1/1m, 5/1m, 10/1m",
	"ramp":             "FROM/TO, in requests per second",
	"trace":            "JSON lines, the same path on all client nodes",
	"prompts-path":     "the same path on all client nodes",
	"slo-ttft":         "such as 500ms; empty for none",
	"slo-tpot":         "such as 50ms; empty for none",
	"slo-e2e":          "such as 10s; empty for none",
	"image":            "a path, or a reference: docker://…, which `benchd image pull` fetches",
	"bind":             "source:destination[:ro], with commas between them",
	"secret":           "names of variables of the control plane's environment, such as HF_TOKEN",
	"module":           "with commas between them, such as Apptainer",
}

// hint is what is said below a question.
func (w *wizard) hint(q *question) string {
	service := w.answers.get("service")
	switch q.name {
	case "model":
		if example := modelExamples[service]; example != "" {
			return "such as " + example
		}
		return "such as meta-llama/Llama-3.1-8B-Instruct"
	case "partition", "account":
		if len(w.site.Partitions) == 0 {
			return "empty for the site's default"
		}
	case "set":
		return settingsHint(service)
	case "server-gpus":
		if n := w.site.GPUsPerNode; n > 0 {
			return fmt.Sprintf("nodes with GPUs have %d here; 0: GPUs are not asked for", n)
		}
	}
	return hints[q.name]
}

// settingsHint names some of a service's settings.
func settingsHint(service string) string {
	s, err := services.Get(service)
	if err != nil {
		return "KEY=VALUE, with commas between them"
	}
	var names []string
	for _, setting := range s.Settings {
		if setting.Type != services.SettingGroup && len(names) < 4 {
			names = append(names, setting.Name)
		}
	}
	return "KEY=VALUE, with commas between them; keys are " + strings.Join(names, ", ") + " …"
}
