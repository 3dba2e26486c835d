package services

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// launches are services in the shapes that people run them in. What is started is pinned in testdata/launch.
var launches = map[string]func(*api.BenchmarkRunSpec){
	"dummy":  func(s *api.BenchmarkRunSpec) { s.Service.Config = map[string]any{"ttft": "20ms"} },
	"ollama": service("ollama", "llama2", nil),
	"ollama-settings": service("ollama", "llama3.2:1b", map[string]any{
		"numParallel": 4.0, "keepAlive": "24h", "models": "/project/models", "gpuLayers": 0.0, "contextLength": 8192.0, "maxQueue": 64.0,
		"flashAttention": true, "kvCacheType": "q8_0",
	}),
	"vllm": service("vllm", "org/model", map[string]any{"maxModelLen": 2048.0, "gpuMemoryUtilization": 0.7, "enablePrefixCaching": false, "trustRemoteCode": true}),
	"vllm-gpus": service("vllm", "org/model", nil, func(s *api.BenchmarkRunSpec) {
		s.Nodes.Servers.GPUs = 4
		s.Service.Args = []string{"--max-num-seqs", "64", "$(touch x)"}
	}),
	"vllm-ray": service("vllm", "org/model", map[string]any{
		"ray": map[string]any{"dashboardPort": 8266.0, "numCpusPerNode": 4.0, "numGpusPerNode": 2.0}, "tensorParallelSize": 4.0, "pipelineParallelSize": 1.0,
	}, span(2)),
	"vllm-own":    service("vllm", "org/model", map[string]any{"backend": "mp"}, span(2)),
	"sglang":      service("sglang", "org/model", map[string]any{"memFractionStatic": 0.8, "disableRadixCache": true}, span(2)),
	"llamacpp":    service("llama.cpp", "/models/m.gguf", map[string]any{"gpuLayers": 99.0, "numParallel": 8.0, "contextLength": 0.0}),
	"llamacpp-hf": service("llama.cpp", "org/model-GGUF:Q4_K_M", nil),
	"trtllm":      service("tensorrt-llm", "org/model", map[string]any{"backend": "pytorch", "maxModelLen": 4096.0, "gpuMemoryUtilization": 0.8}),
	"triton":      service("triton", "m", map[string]any{"modelRepository": "/models", "tokenizer": "org/model", "backend": "vllm"}),
	"tgi":         service("tgi", "org/model", map[string]any{"maxInputTokens": 1024.0, "maxModelLen": 2048.0}, func(s *api.BenchmarkRunSpec) { s.Nodes.Servers.GPUs = 2 }),
	"template": service("mine", "org/model", map[string]any{"depth": 3.0}, func(s *api.BenchmarkRunSpec) {
		s.Service.Template = &api.ServiceTemplateSpec{
			Command: []string{"my-server", "--bind=$(address):$(port)", "--model", "$(model)", "--depth", "$(config.depth)", "$$(literal)"},
			Env:     map[string]string{"MY_KEY": "$(apiKey)", "MY_LOGS": "$(logs)/$(replica)"}, Port: 7000, HealthPath: "/ok", API: api.APIChat,
		}
	}),
}

func service(name, model string, config map[string]any, change ...func(*api.BenchmarkRunSpec)) func(*api.BenchmarkRunSpec) {
	return func(s *api.BenchmarkRunSpec) {
		s.Service = api.ServiceSpec{Name: name, Model: model, Config: config}
		for _, c := range change {
			c(s)
		}
	}
}

func span(n int32) func(*api.BenchmarkRunSpec) {
	return func(s *api.BenchmarkRunSpec) {
		s.Service.NodesPerReplica = n
		s.Nodes.Servers = api.RoleSpec{Count: &n, GPUs: 2, CPUs: 8}
	}
}

func TestLaunches(t *testing.T) {
	for name, change := range launches {
		t.Run(name, func(t *testing.T) {
			run := &api.BenchmarkRun{}
			run.Spec.Service.Name = "dummy"
			change(&run.Spec)
			api.SetDefaults(run)
			SetDefaults(&run.Spec)
			if errs := Validate(&run.Spec); len(errs) > 0 {
				t.Fatal(errs)
			}
			got := launched(t, &run.Spec)
			golden := filepath.Join("testdata", "launch", name+".golden")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if diff := cmp.Diff(string(want), got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// launched prints what each node of a server starts, one word a line.
func launched(t *testing.T, spec *api.BenchmarkRunSpec) string {
	t.Helper()
	s, err := Of(&spec.Service)
	if err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for i := range spec.Service.NodesPerReplica {
		addresses = append(addresses, fmt.Sprintf("10.0.0.%d", i+1))
	}
	var gpus []int
	for i := range gpusPerServerNode(spec) {
		gpus = append(gpus, i)
	}
	var b strings.Builder
	for node, address := range addresses {
		processes, err := s.Launch(Launch{
			Binary: "/w/benchd", Spec: spec.Service, Address: address, Port: spec.Service.Port, GPUs: gpus, CPUs: int(spec.Nodes.Servers.CPUs),
			APIKey: "key", Logs: "/w/logs", Scratch: "/tmp/s", Replica: "r-0", Nodes: addresses, Node: node,
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range processes {
			fmt.Fprintf(&b, "== node %d %s\n", node, p.Name)
			if p.Await != "" {
				fmt.Fprintf(&b, "awaits %s\n", p.Await)
			}
			if p.Gate != nil {
				fmt.Fprintf(&b, "gate %s (%s, %s)\n", strings.Join(p.Gate.Args, " "), p.Gate.Reason, p.Gate.Lost)
			}
			for _, name := range slices.Sorted(maps.Keys(p.Env)) {
				fmt.Fprintf(&b, "%s=%s\n", name, p.Env[name])
			}
			fmt.Fprintf(&b, "%s\n", strings.Join(p.Args, "\n  "))
			if p.Ready != "" {
				fmt.Fprintf(&b, "up once it says %q\n", p.Ready)
			}
			for _, word := range p.Args {
				if word == "key" || strings.HasSuffix(word, "=key") {
					t.Errorf("the key stands on the command line of %s", p.Args[0])
				}
			}
		}
	}
	return b.String()
}

func TestServicesRefuse(t *testing.T) {
	gpus := func(n int32) func(*api.BenchmarkRunSpec) {
		return func(s *api.BenchmarkRunSpec) { s.Nodes.Servers.GPUs = n }
	}
	for name, tc := range map[string]struct {
		change func(*api.BenchmarkRunSpec)
		want   string
	}{
		"a setting of another service":   {service("vllm", "m", map[string]any{"gpuLayers": 1.0}), `config[gpuLayers]: Unsupported value: "gpuLayers"`},
		"a share over one":               {service("vllm", "m", map[string]any{"gpuMemoryUtilization": 1.5}), "use 0.01 to 1"},
		"a word for a number":            {service("vllm", "m", map[string]any{"maxModelLen": "2k"}), "use a whole number"},
		"a fraction":                     {service("vllm", "m", map[string]any{"maxModelLen": 1.5}), "use a whole number"},
		"a word for a switch":            {service("vllm", "m", map[string]any{"enforceEager": "yes"}), "use true or false"},
		"a group that is none":           {service("vllm", "m", map[string]any{"ray": 1.0}, span(2)), "is a group of settings: port"},
		"more GPUs than there are":       {service("vllm", "m", map[string]any{"tensorParallelSize": 8.0}, gpus(4)), "= 8 GPUs, but each server has 4"},
		"nodes without work":             {service("vllm", "m", map[string]any{"tensorParallelSize": 1.0, "pipelineParallelSize": 1.0}, span(2)), "leaves nodes of the server without work"},
		"uneven shares, vllm's own":      {service("vllm", "m", map[string]any{"backend": "mp", "tensorParallelSize": 3.0}, span(2)), "= 3 GPUs cannot be shared evenly by the server's 2 nodes"},
		"uneven shares, sglang":          {service("sglang", "m", map[string]any{"tensorParallelSize": 1.0}, span(2)), "= 1 GPUs cannot be shared evenly by the server's 2 nodes"},
		"Ray on one node":                {service("vllm", "m", map[string]any{"ray": map[string]any{"port": 6380.0}}), "is for a server on several nodes"},
		"a port that is used twice":      {service("vllm", "m", map[string]any{"ray": map[string]any{"dashboardPort": 6379.0}}, span(2)), "used twice among Ray's ports"},
		"several nodes for one program":  {service("ollama", "m", nil, span(2)), "a server of ollama runs on one node"},
		"a keep-alive that is ignored":   {service("ollama", "m", map[string]any{"keepAlive": "long"}), "use a time such as 24h, or -1"},
		"another service's health":       {service("vllm", "m", nil, func(s *api.BenchmarkRunSpec) { s.Service.Health.Endpoint = "/api/tags" }), "is what ollama answers, and vllm tells its health at /health"},
		"Triton without models":          {service("triton", "m", nil), "config[modelRepository]: Required"},
		"no endpoints":                   {service("external", "m", nil, servers(0)), "endpoints: Required"},
		"endpoints of what is started":   {service("vllm", "m", nil, endpoints("http://a:1"), servers(1)), "use service external"},
		"nodes for what runs already":    {service("external", "m", nil, endpoints("http://a:1"), servers(1)), "an external service has no server nodes"},
		"a password in an endpoint":      {service("external", "m", nil, endpoints("http://u:p@a:1")), "use service.apiKey"},
		"an endpoint with a path":        {service("external", "m", nil, endpoints("http://a:1/v1")), "without a path"},
		"an endpoint of another kind":    {service("external", "m", nil, endpoints("ftp://a")), "use a base URL"},
		"an endpoint twice":              {service("external", "m", nil, endpoints("http://a:1", "http://a:1")), "Duplicate value"},
		"a key for what has its own":     {service("vllm", "m", nil, func(s *api.BenchmarkRunSpec) { s.Service.APIKey = &api.SecretSource{Env: "K"} }), "get a key of their own"},
		"a template of a built-in name":  {service("vllm", "m", nil, template("x")), "vllm is built in"},
		"a placeholder that is unknown":  {service("mine", "m", nil, template("$(modell)")), "$(modell) is not known"},
		"a key on the command line":      {service("mine", "m", nil, template("$(apiKey)")), "read by all users of a node"},
		"a setting that a template uses": {service("mine", "m", nil, template("$(config.depth)")), "config[depth]: Required"},
	} {
		run := &api.BenchmarkRun{}
		tc.change(&run.Spec)
		api.SetDefaults(run)
		SetDefaults(&run.Spec)
		errs := Validate(&run.Spec)
		if len(errs) == 0 || !strings.Contains(errs.ToAggregate().Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, errs, tc.want)
		}
	}
}

func servers(n int32) func(*api.BenchmarkRunSpec) {
	return func(s *api.BenchmarkRunSpec) { s.Nodes.Servers.Count = &n }
}

func endpoints(urls ...string) func(*api.BenchmarkRunSpec) {
	return func(s *api.BenchmarkRunSpec) { s.Service.Endpoints = urls }
}

func template(word string) func(*api.BenchmarkRunSpec) {
	return func(s *api.BenchmarkRunSpec) {
		s.Service.Template = &api.ServiceTemplateSpec{Command: []string{"x", word}, Port: 7000, HealthPath: "/"}
	}
}

func TestRayNodes(t *testing.T) {
	status := func(sections string) string {
		return "======== Autoscaler status: 2025-08-27 10:24:51.593334 ========\nNode status\n---------------\n" + sections + "\nResources\n--------\nTotal Usage:\n 0.0/16.0 CPU\n 0.0/2.0 GPU\n"
	}
	for name, tc := range map[string]struct {
		in   string
		want int
		err  bool
	}{
		"two active":           {status("Active:\n 1 node_49e8\n 1 node_4914\nPending:\n (no pending nodes)\nRecent failures:\n (no failures)\n"), 2, false},
		"one idle, one active": {status("Active:\n 1 node_49e8\nIdle:\n 1 node_4914\nPending:\n (no pending nodes)\n"), 2, false},
		"an older version":     {status("Healthy:\n 3 local\nPending:\n"), 3, false},
		"one is lost":          {status("Active:\n 1 node_49e8\nPending:\n 4 node_77\nRecent failures:\n 1 node_4914: NodeTerminated\n"), 1, false},
		"none":                 {status("Active:\n (no active nodes)\n"), 0, false},
		"no cluster":           {"Could not find any running Ray instance.", 0, true},
		"nothing":              {"", 0, true},
	} {
		got, err := rayNodes(tc.in)
		if got != tc.want || (err != nil) != tc.err {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	gate := (&rayCluster{launch: Launch{Nodes: []string{"10.0.0.1", "10.0.0.2"}}}).complete()
	if err := gate.Check(status("Active:\n 1 node_49e8\n")); err == nil || !strings.Contains(err.Error(), "at 10.0.0.1:6379 counts 1 of 2 nodes") {
		t.Errorf("a gate with a node missing: %v", err)
	}
}

// FuzzRayNodes: whatever ray prints, the count is none that it could not mean.
func FuzzRayNodes(f *testing.F) {
	f.Add("Active:\n 1 node_49e8\n 99999999999999999999 x\nIdle:\n -1 y\n")
	f.Fuzz(func(t *testing.T, text string) {
		if n, _ := rayNodes(text); n < 0 {
			t.Errorf("%d nodes", n)
		}
	})
}
