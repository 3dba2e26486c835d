package main

import (
	"slices"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// What follows from a setting follows it when a flag changes it; what the user wrote stays.
func TestOverridesKeepWhatWasMeant(t *testing.T) {
	nodes := []string{"a", "b", "c", "d"}
	for name, tc := range map[string]struct {
		flags    []string
		change   func(*api.BenchmarkRunSpec)
		limit    string
		replicas int32
	}{
		"a computed limit grows":   {[]string{"timeout"}, nil, "01:12:00", 1},
		"a limit that was written": {[]string{"timeout"}, func(s *api.BenchmarkRunSpec) { s.Slurm.TimeLimit = "02:00:00" }, "02:00:00", 1},
		"one server each":          {[]string{"server-nodes"}, func(s *api.BenchmarkRunSpec) { s.Nodes.Servers.Count, s.Service.Replicas = count(2), 2 }, "", 4},
		"two servers on each node": {[]string{"server-nodes"}, func(s *api.BenchmarkRunSpec) { s.Nodes.Servers.Count, s.Service.Replicas = count(2), 4 }, "", 8},
		"servers of two nodes": {[]string{"server-nodes"}, func(s *api.BenchmarkRunSpec) {
			s.Nodes.Servers.Count, s.Service.Replicas, s.Service.NodesPerReplica = count(2), 1, 2
		}, "", 2},
		"uneven, on as many nodes": {[]string{"server-nodes"}, func(s *api.BenchmarkRunSpec) { s.Nodes.Servers.Count, s.Service.Replicas = count(4), 5 }, "", 5},
	} {
		run := newRun("x", func(s *api.BenchmarkRunSpec) { s.Workload.Duration.Duration = time.Minute })
		if tc.change != nil {
			tc.change(&run.Spec)
		}
		api.SetDefaults(run)
		o := &overrides{serverNodes: nodes, timeout: "3600"}
		if err := o.change(func(flag string) bool { return slices.Contains(tc.flags, flag) }, &run.Spec); err != nil {
			t.Fatal(err)
		}
		api.SetDefaults(run)
		if got := run.Spec.Slurm.TimeLimit; tc.limit != "" && got != tc.limit {
			t.Errorf("%s: limit %s, want %s", name, got, tc.limit)
		}
		if got := run.Spec.Service.Replicas; got != tc.replicas {
			t.Errorf("%s: %d replicas, want %d", name, got, tc.replicas)
		}
	}
}
