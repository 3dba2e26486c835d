package manifest

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExplain(t *testing.T) {
	tests := map[string]string{
		"run.spec.workload.load.pattern": "KIND:     BenchmarkRun\nVERSION:  benchd.dev/v1alpha1\nFIELD:    spec.workload.load.pattern <string>\n\n" +
			"Pattern of the load: `closed`, `constant`, `poisson`, `gamma`, `burst`, `steps`,\n`ramp` or `trace`.\n\nDefault: closed\nOne of: closed, constant, poisson, gamma, burst, steps, ramp, trace\n",
		"benchmarkruns.spec.workload.duration": "KIND:     BenchmarkRun\nVERSION:  benchd.dev/v1alpha1\nFIELD:    spec.workload.duration <duration, required>\n\n" +
			"Duration of the measured window.\n\nExamples: 30s, 5m, 1h30m\n",
		"runs.spec.nodes.servers": "KIND:     BenchmarkRun\nVERSION:  benchd.dev/v1alpha1\nFIELD:    spec.nodes.servers <object>\n\n" +
			"Servers run the inference service.\n\nFIELDS:\n" +
			"  count     <integer>   Count of nodes. A role with count 0 shares the nodes of another role. (default 1)\n" +
			"  cpus      <integer>   CPUs per node.\n  gpus      <integer>   GPUs per node.\n" +
			"  memory    <quantity>  Memory per node, such as 64Gi. Not set means all of an exclusive node, the site's default of a shared one.\n" +
			"  nodelist  <string>    Nodelist names the role's nodes, as a Slurm host list; then every role that has nodes of its own must name them.\n",
		"allocation.spec.slurm.modules": "KIND:     Allocation\nVERSION:  benchd.dev/v1alpha1\nFIELD:    spec.slurm.modules <[]string>\n\n" +
			"Modules are loaded with `module load` before anything starts.\n",
		"run.spec.container.env": "KIND:     BenchmarkRun\nVERSION:  benchd.dev/v1alpha1\nFIELD:    spec.container.env <map of string>\n\n" +
			"Env is added to the environment of the service. It is stored and shown: secrets\nbelong into `secrets`.\n",
		"rnu":                         `"rnu" is not a kind; did you mean "run"?`,
		"gadget":                      `"gadget" is not a kind: use BenchmarkRun, BenchmarkSweep, BenchmarkSchedule, ServiceTemplate, Allocation or Cluster`,
		"run.spec.workload.durration": `BenchmarkRun.spec.workload has no field "durration"; did you mean "duration"?`,
		"cluster.spec.type.x":         `Cluster.spec.type has no fields, so there is no "x" in it`,
		"run.foo":                     `BenchmarkRun has no field "foo": use apiVersion, kind, metadata, spec or status`,
	}
	for path, want := range tests {
		t.Run(path, func(t *testing.T) {
			got, err := Explain(path)
			if err != nil {
				got = fmt.Sprint(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Explain(%q) (-want +got):\n%s", path, diff)
			}
		})
	}
}
