package services

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// sglangMasterPort is where the nodes of one server meet (--dist-init-addr).
const sglangMasterPort = 20000

// sglang serves one model from one node or several, by its own launch. It takes its key from the command line alone, which
// all users of a node can read, so it is given none.
var sglang = Service{
	Name:        "sglang",
	Summary:     "SGLang's OpenAI-compatible server; on several nodes by its own launch",
	Written:     "SGLang 0.5",
	Source:      "https://docs.sglang.ai/advanced_features/server_arguments.html",
	Port:        30000,
	HealthPath:  "/health",
	MetricsPath: "/metrics",
	ResetPath:   "/flush_cache",
	API:         api.APIChat,
	Image:       "docker://lmsysorg/sglang:latest",
	SpansNodes:  true,
	Settings: []Setting{
		{Name: "contextLength", Type: SettingInt, Flag: "--context-length", Least: 1, Meaning: "longest prompt and answer together, in tokens"},
		{Name: "memFractionStatic", Type: SettingFloat, Flag: "--mem-fraction-static", Least: 0.01, Most: 0.99, Meaning: "share of each GPU's memory for weights and KV cache"},
		{Name: "tensorParallelSize", Type: SettingInt, Flag: "--tp-size", Least: 1, Most: 4096, Meaning: "GPUs of all nodes of the server that share each layer; by default all"},
		{Name: "pipelineParallelSize", Type: SettingInt, Flag: "--pp-size", Least: 1, Most: 4096, Meaning: "stages that the layers are divided into"},
		{Name: "dataParallelSize", Type: SettingInt, Flag: "--dp-size", Least: 1, Most: 4096, Meaning: "copies of the model behind one port"},
		{Name: "dtype", Type: SettingWord, Flag: "--dtype", Choices: []string{"auto", "half", "float16", "bfloat16", "float", "float32"}, Meaning: "type of weights and activations"},
		{Name: "quantization", Type: SettingWord, Flag: "--quantization", Meaning: "how weights are quantised"},
		{Name: "kvCacheDtype", Type: SettingWord, Flag: "--kv-cache-dtype", Meaning: "type of the KV cache"},
		{Name: "maxRunningRequests", Type: SettingInt, Flag: "--max-running-requests", Least: 1, Meaning: "most requests in one batch"},
		{Name: "chunkedPrefillSize", Type: SettingInt, Flag: "--chunked-prefill-size", Least: -1, Meaning: "most prompt tokens in one step; -1 does not divide prompts"},
		{Name: "disableRadixCache", Type: SettingBool, Flag: "--disable-radix-cache", Meaning: "do not reuse the KV cache of prompts that begin alike"},
		{Name: "trustRemoteCode", Type: SettingBool, Flag: "--trust-remote-code", Meaning: "run code that comes with the model"},
		{Name: "servedModelName", Type: SettingWord, Flag: "--served-model-name", Meaning: "name under which the model is served"},
	},
	Defaults: func(spec *api.BenchmarkRunSpec) {
		defaultTensorParallel(spec, gpusPerServerNode(spec)*int(spec.Service.NodesPerReplica))
	},
	Validate: func(spec *api.BenchmarkRunSpec, at *field.Path) field.ErrorList {
		config := spec.Service.Config
		// Data parallelism of attention takes its share of the tensor-parallel GPUs, so it is no factor here.
		tp, pp := intSetting(config, "tensorParallelSize", 1), intSetting(config, "pipelineParallelSize", 1)
		errs := checkParallel(spec, at, tp*pp, fmt.Sprintf("tensorParallelSize (%d) × pipelineParallelSize (%d)", tp, pp))
		errs = append(errs, checkShares(&spec.Service, at, tp, pp)...)
		return append(errs, checkMeetingPort(&spec.Service, at, sglangMasterPort)...)
	},
	launch: func(l Launch) ([]Process, error) {
		args := []string{"python3", "-m", "sglang.launch_server", "--model-path", l.Spec.Model, "--host", l.Address, "--port", strconv.Itoa(int(l.Port)), "--enable-metrics"}
		args = append(args, l.options...)
		if len(l.Nodes) > 1 {
			args = append(args, "--nnodes", strconv.Itoa(len(l.Nodes)), "--node-rank", strconv.Itoa(l.Node),
				"--dist-init-addr", net.JoinHostPort(l.Nodes[0], strconv.Itoa(sglangMasterPort)))
		}
		return []Process{{Args: append(args, l.Spec.Args...)}}, nil
	},
	Prepare: func(ctx context.Context, s Server) (Prepared, error) {
		p, err := prepareOpenAI(ctx, s)
		for _, path := range []string{"/server_info", "/get_server_info"} { // newer, older
			var info struct {
				Version string `json:"version"`
			}
			if err == nil && p.Version == "" && s.getJSON(ctx, path, &info) == nil {
				p.Version = info.Version
			}
		}
		return p, err
	},
}

// defaultTensorParallel spreads a model over all GPUs of its server where the user says nothing of it.
func defaultTensorParallel(spec *api.BenchmarkRunSpec, gpus int) {
	svc := &spec.Service
	for _, name := range []string{"tensorParallelSize", "pipelineParallelSize", "dataParallelSize"} {
		if _, given := svc.Config[name]; given {
			return
		}
	}
	if gpus <= 1 || parallelByArgs(svc.Args) {
		return
	}
	if svc.Config == nil {
		svc.Config = map[string]any{}
	}
	svc.Config["tensorParallelSize"] = float64(gpus) // as JSON decodes it, so that what is stored and read again is equal
}
