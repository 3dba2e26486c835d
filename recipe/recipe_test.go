package recipe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/services"
)

// read reads a recipe as the commands do.
func read(text string) ([]manifest.Document, error) {
	reader := manifest.Reader{Dialect: Dialect(), Admit: func(obj api.Object, _ []api.Object) field.ErrorList {
		run, ok := obj.(*api.BenchmarkRun)
		if !ok {
			return nil
		}
		services.SetDefaults(&run.Spec)
		return services.Validate(&run.Spec)
	}}
	return reader.Read("r.yaml", []byte(text))
}

// Each recipe of testdata becomes what stands beside it, with the warnings that stand there as comments.
func TestRecipes(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.recipe.yaml")
	if err != nil || len(paths) < 5 {
		t.Fatalf("only %d recipes (%v)", len(paths), err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			docs, err := read(string(text))
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, w := range docs[0].Warnings {
				got.WriteString("# " + w.Error() + "\n")
			}
			spec, err := yaml.Marshal(interesting(t, docs[0].Object))
			if err != nil {
				t.Fatal(err)
			}
			got.Write(spec)
			golden := strings.TrimSuffix(path, ".recipe.yaml") + ".golden.yaml"
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if diff := cmp.Diff(string(want), got.String()); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// interesting is an object without what defaults put there.
func interesting(t *testing.T, obj api.Object) any {
	t.Helper()
	var tree map[string]any
	data, err := yaml.Marshal(obj)
	if err == nil {
		err = yaml.Unmarshal(data, &tree)
	}
	if err != nil {
		t.Fatal(err)
	}
	delete(tree, "status")
	if spec, ok := tree["spec"].(map[string]any); ok {
		delete(spec, "verdict")
		delete(spec, "timeouts")
	}
	return tree
}

const head = "scenario: x\nworkload: {service: ollama, model: m, duration: 30s}\n"

func TestErrors(t *testing.T) {
	vllm := func(rest string) string {
		return "scenario: x\nworkload: {service: vllm, model: m, duration: 30s}\n" + rest
	}
	for name, tc := range map[string]struct {
		in   string
		want []string
	}{
		"no scenario":             {"workload: {service: ollama, duration: 30s}\n", []string{"r.yaml:1:1: scenario: is required: write scenario: my-experiment"}},
		"no workload":             {"scenario: x\n", []string{"workload.service: is required", "workload.duration: is required"}},
		"a name of nothing":       {strings.Replace(head, "x", "'…'", 1), []string{`r.yaml:1:11: scenario: "…" holds no letter or digit`}},
		"a duration in words":     {strings.Replace(head, "30s", "soon", 1), []string{`r.yaml:2:49: workload.duration: "soon" is not a time: use one such as 30s`}},
		"no duration":             {strings.Replace(head, "30s", "0", 1), []string{"r.yaml:2:49: workload.duration: 0: use a time such as 30s"}},
		"an unknown service":      {strings.Replace(head, "ollama", "olama", 1), []string{`r.yaml:2:21: workload.service: "olama" is not supported; did you mean "ollama"?`}},
		"a model of nothing":      {"scenario: x\nworkload: {service: ollama, duration: 30s}\n", []string{"service.model", "is required"}},
		"an unknown version":      {"version: 2\n" + head, []string{"r.yaml:1:10: version: 2 is not supported"}},
		"nodes that add up not":   {head + "orchestration: {total_nodes: 4, node_allocation: {servers: {nodes: 2}, clients: {nodes: 1}}}\n", []string{"r.yaml:3:30: orchestration.total_nodes: 4: but servers, clients and monitors have 3 nodes together: write 3"}},
		"a wrong type":            {head + "resources: {servers: {gpus: many}}\n", []string{`r.yaml:3:29: resources.servers.gpus: "many" is a string, wants an integer`}},
		"an odd path":             {head + "servers: {health_check: {endpoint: tags}}\n", []string{`r.yaml:3:36: servers.health_check.endpoint: "tags": use a path such as /health`}},
		"another's health":        {vllm("servers: {health_check: {endpoint: /api/tags}}\n"), []string{`r.yaml:3:36: servers.health_check.endpoint: "/api/tags" is what ollama answers, and vllm tells its health at /health`}},
		"too short a time limit":  {strings.Replace(head, "30s", "150s", 1) + "orchestration: {job_config: {time_limit: '00:02:00'}}\n", []string{"r.yaml:3:42: orchestration.job_config.time_limit", "shorter than warm-up and duration together (2m30s)"}},
		"a bind's mode":           {head + "artifacts: {service: {path: /x.sif}}\nbinds: ['/a:/b:rwx']\n", []string{`r.yaml:4:9: binds[0]: "/a:/b:rwx": mode "rwx" is not known: use rw or ro`}},
		"more GPUs than there":    {vllm("resources: {servers: {gpus: 2}}\nservers: {service_config: {tensor_parallel_size: 4}}\n"), []string{"r.yaml:4:50: servers.service_config.tensor_parallel_size: 4: tensorParallelSize (4)", "= 4 GPUs, but each server has 2"}},
		"a share of memory":       {vllm("servers: {gpu_memory_utilization: 1.5}\n"), []string{"r.yaml:3:35: servers.gpu_memory_utilization: 1.5: use 0.01 to 1"}},
		"a setting in two places": {vllm("servers: {max_model_len: 1, service_config: {max_model_len: 2}}\n"), []string{"r.yaml:3:61: servers.service_config.max_model_len: 2: but servers.max_model_len says 1: keep one of them"}},
		"odd numbers of nodes":    {vllm("orchestration: {node_allocation: {servers: {nodes: 3}}}\nresources: {servers: {gpus: 2}}\nservers: {distributed: {enabled: true, tensor_parallel_size: 4}}\n"), []string{"r.yaml:3:52: orchestration.node_allocation.servers.nodes: 3: but a server of", "spans 2 nodes: give a multiple of 2"}},
		"an axis of nothing":      {head + "", nil},
		"an empty axis":           {strings.Replace(head, "30s", "30s, prompt_len: []", 1), []string{"workload.prompt_len", "is an empty list"}},
		"GPUs beyond counting":    {vllm("resources: {servers: {gpus: 2}}\nservers: {distributed: {enabled: true, tensor_parallel_size: 2147483647}, ray: {num_gpus_per_node: 2147483647}}\n"), []string{"r.yaml:4:", "use 1 to 4096"}},
		"a batch in two places":   {"scenario: x\nworkload: {service: vllm, model: m, duration: 30s, batch: [4, 8]}\nservers: {max_num_seqs: 8}\n", []string{"r.yaml:2:52: workload.batch: but servers.max_num_seqs says 8: keep one of them"}},
		"an interval in two":      {head + "monitor_interval: 1\nmonitoring: {monitor_interval: 5}\n", []string{"r.yaml:4:32: monitoring.monitor_interval: 5: but monitor_interval says 1: keep one of them"}},
		"the same in two places":  {head + "monitor_interval: 5\nmonitoring: {monitor_interval: 5}\n", nil},
		"not distributed":         {vllm("servers: {service_config: {distributed: {enabled: false, backend: ray, tensor_parallel_size: 4, pipeline_parallel_size: 2}, ray: {num_gpus_per_node: 2}}}\nresources: {servers: {gpus: 2}}\n"), nil},
		"files in two places":     {head + "logging: {outputs: {stdout: a}}\noutputs: {stdout: b}\n", []string{`logging.outputs.stdout: "a": but outputs.stdout says "b": keep one of them`}},
	} {
		_, err := read(tc.in)
		if (err == nil) != (tc.want == nil) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, part := range tc.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q lacks %q", name, err, part)
			}
		}
	}
}

// The account of those who name none is the one of their environment.
func TestAccountOfTheEnvironment(t *testing.T) {
	t.Setenv(AccountVariable, "p7")
	for text, want := range map[string]string{head: "p7", "account: p8\n" + head: "p8"} {
		docs, err := read(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := docs[0].Object.(*api.BenchmarkRun).Spec.Slurm.Account; got != want {
			t.Errorf("account: got %q, want %q", got, want)
		}
	}
}

// FuzzRecipe: whatever a recipe holds, it is read or refused, and never half.
func FuzzRecipe(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.recipe.yaml")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(head + "servers: {distributed: {enabled: true}}\n")
	f.Fuzz(func(t *testing.T, text string) {
		docs, err := read(text)
		if err == nil && len(docs) == 0 {
			t.Error("neither objects nor an error")
		}
	})
}
