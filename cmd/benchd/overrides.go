package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/manifest"
)

// overrides are what `benchd run` can set in place of its files: the settings of the report toolkit's orchestrator, by its names.
type overrides struct {
	recipes                  []string
	serverNodes, clientNodes []string
	serverPort, clientPort   int32
	timeout                  string
	monitoring               bool
	pushgatewayNode          string
	monitorInterval          string
	monitorOutput            string
}

func (s *overrides) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&s.recipes, "recipe", nil, "a recipe; the same as -f")
	f.StringSliceVar(&s.serverNodes, "server-nodes", nil, "names of the server nodes")
	f.StringSliceVar(&s.clientNodes, "client-nodes", nil, "names of the client nodes")
	f.Int32Var(&s.serverPort, "server-port", 0, "port of the servers")
	f.Int32Var(&s.clientPort, "client-port", 0, "port of the executors")
	f.StringVar(&s.timeout, "timeout", "", "how long servers may take to become healthy: seconds, or a time such as 10m")
	f.BoolVar(&s.monitoring, "enable-monitoring", true, "sample the nodes")
	f.StringVar(&s.pushgatewayNode, "pushgateway-node", "", "node whose Pushgateway (port 9091) gets live metrics")
	f.StringVar(&s.monitorInterval, "monitor-interval", "", "time between two samples: seconds, or a time such as 500ms")
	f.StringVar(&s.monitorOutput, "monitor-output", "", "name of the CSV file of the samples")
}

// apply changes the runs that were read, and has them checked again.
func (s *overrides) apply(cmd *cobra.Command, o *options, docs []manifest.Document) error {
	changed := func(name string) bool { return cmd.Flags().Changed(name) }
	any := false
	for _, name := range []string{
		"server-nodes", "client-nodes", "server-port", "client-port", "timeout", "enable-monitoring", "pushgateway-node", "monitor-interval", "monitor-output",
	} {
		any = any || changed(name)
	}
	if !any {
		return nil
	}
	var all []api.Object
	for _, doc := range docs {
		all = append(all, doc.Object)
	}
	for _, doc := range docs {
		spec := specOf(doc.Object)
		if spec == nil {
			continue
		}
		if err := s.change(changed, spec); err != nil {
			return exitError{exitInvalid, err}
		}
		api.SetDefaults(doc.Object)
		errs := append(api.Validate(doc.Object), o.admitFiles(cmd)(doc.Object, all)...)
		if len(errs) > 0 {
			return exitError{exitInvalid, fmt.Errorf("%s with the flags given: %w", display(doc.Object), errs.ToAggregate())}
		}
	}
	return nil
}

// specOf is the spec of a run, or that of a sweep's runs; nil for others.
func specOf(obj api.Object) *api.BenchmarkRunSpec {
	switch o := obj.(type) {
	case *api.BenchmarkRun:
		return &o.Spec
	case *api.BenchmarkSweep:
		return &o.Spec.Template.Spec
	}
	return nil
}

func (s *overrides) change(changed func(string) bool, spec *api.BenchmarkRunSpec) error {
	name := func(role *api.RoleSpec, nodes []string) {
		count := int32(len(nodes))
		role.Nodelist, role.Count = strings.Join(nodes, ","), &count
	}
	if changed("server-nodes") {
		before, span := *spec.Nodes.Servers.Count, max(1, spec.Service.NodesPerReplica)
		name(&spec.Nodes.Servers, s.serverNodes)
		if now := *spec.Nodes.Servers.Count; now != before { // as many servers on each node, or group of nodes, as there were
			spec.Service.Replicas = max(1, spec.Service.Replicas/max(1, before/span)) * max(1, now/span)
		}
	}
	if changed("client-nodes") {
		name(&spec.Nodes.Clients, s.clientNodes)
	}
	if changed("server-port") {
		spec.Service.Port = s.serverPort
	}
	if changed("client-port") {
		spec.Nodes.ExecutorPort = s.clientPort
	}
	if changed("timeout") {
		d, err := secondsOrTime("timeout", s.timeout)
		if err != nil {
			return err
		}
		if hasComputedLimit(spec) {
			spec.Slurm.TimeLimit = "" // to be computed anew
		}
		spec.Service.Health.Timeout = d
	}
	m := &spec.Monitoring
	if changed("enable-monitoring") {
		m.Enabled = &s.monitoring
	}
	if changed("pushgateway-node") {
		if m.Pushgateway == nil {
			m.Pushgateway = &api.PushgatewaySpec{}
		}
		m.Pushgateway.URL = fmt.Sprintf("http://%s:9091", s.pushgatewayNode)
	}
	if changed("monitor-interval") {
		d, err := secondsOrTime("monitor-interval", s.monitorInterval)
		if err != nil {
			return err
		}
		m.Interval = d
	}
	if changed("monitor-output") {
		m.Output = s.monitorOutput
	}
	return nil
}

// hasComputedLimit says whether the job's time limit is the one that follows from the other settings.
func hasComputedLimit(spec *api.BenchmarkRunSpec) bool {
	bare := &api.BenchmarkRun{Spec: *spec} // all else has its defaults: nothing of it changes
	bare.Spec.Slurm.TimeLimit = ""
	api.SetDefaults(bare)
	return bare.Spec.Slurm.TimeLimit == spec.Slurm.TimeLimit
}

// secondsOrTime reads a flag that is a number of seconds or a time with a unit.
func secondsOrTime(flag, text string) (metav1.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil {
		return metav1.Duration{}, fmt.Errorf("--%s %q is not a time: use a number of seconds, or one such as 10m", flag, text)
	}
	return metav1.Duration{Duration: d}, nil
}
