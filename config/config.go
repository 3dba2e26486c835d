// Package config holds the samples: files that users copy and change. They are part of the binary, so that `benchd init` writes
// those that fit this version.
package config

import "embed"

// Samples are the files of the folder samples.
//
//go:embed samples/*.yaml samples/README.md
var Samples embed.FS

// Deploy are the files that keep a control plane up, of the folder deploy.
//
//go:embed deploy
var Deploy embed.FS

// Monitoring are the files that run Prometheus and Grafana on a laptop, of the folder monitoring. The dashboards among them are
// generated.
//
//go:generate go run ./monitoring/generate
//go:embed monitoring/README.md monitoring/compose.yaml monitoring/prometheus.yml monitoring/grafana
var Monitoring embed.FS

// MonitoringFolder is where they are in Monitoring.
const MonitoringFolder = "monitoring"

// DeployFolder is where they are in Deploy.
const DeployFolder = "deploy"

// Folder is where they are in Samples.
const Folder = "samples"
