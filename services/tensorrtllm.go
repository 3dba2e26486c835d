package services

import (
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// tensorrtllm serves a model or an engine with TensorRT-LLM's server. It knows no key. Its launch on several nodes is by MPI,
// which benchd does not do.
var tensorrtllm = Service{
	Name:       "tensorrt-llm",
	Summary:    "TensorRT-LLM's OpenAI-compatible server, trtllm-serve",
	Written:    "TensorRT-LLM 1.0",
	Source:     "https://nvidia.github.io/TensorRT-LLM/commands/trtllm-serve/trtllm-serve.html",
	Port:       8000,
	HealthPath: "/health",
	API:        api.APIChat,
	Image:      "docker://nvcr.io/nvidia/tensorrt-llm/release:1.0.0",
	Settings: []Setting{
		{Name: "backend", Type: SettingWord, Flag: "--backend", Choices: []string{"pytorch", "tensorrt", "_autodeploy"}, Meaning: "what runs the model"},
		{Name: "tensorParallelSize", Type: SettingInt, Flag: "--tp_size", Least: 1, Most: 4096, Meaning: "GPUs that share each layer; by default all of the server's"},
		{Name: "pipelineParallelSize", Type: SettingInt, Flag: "--pp_size", Least: 1, Most: 4096, Meaning: "stages that the layers are divided into"},
		{Name: "expertParallelSize", Type: SettingInt, Flag: "--ep_size", Least: 1, Most: 4096, Meaning: "GPUs that experts are spread over"},
		{Name: "maxModelLen", Type: SettingInt, Flag: "--max_seq_len", Least: 1, Meaning: "longest prompt and answer together, in tokens"},
		{Name: "maxBatchSize", Type: SettingInt, Flag: "--max_batch_size", Least: 1, Meaning: "most requests in one batch"},
		{Name: "maxNumTokens", Type: SettingInt, Flag: "--max_num_tokens", Least: 1, Meaning: "most tokens in one step"},
		{Name: "gpuMemoryUtilization", Type: SettingFloat, Flag: "--kv_cache_free_gpu_memory_fraction", Least: 0.01, Most: 1, Meaning: "share of the GPU memory left after the weights that the KV cache may use"},
		{Name: "trustRemoteCode", Type: SettingBool, Flag: "--trust_remote_code", Meaning: "run code that comes with the model"},
	},
	Defaults: func(spec *api.BenchmarkRunSpec) {
		defaultTensorParallel(spec, gpusPerServerNode(spec))
	},
	Validate: func(spec *api.BenchmarkRunSpec, at *field.Path) field.ErrorList {
		tp, pp := intSetting(spec.Service.Config, "tensorParallelSize", 1), intSetting(spec.Service.Config, "pipelineParallelSize", 1)
		return checkParallel(spec, at, tp*pp, fmt.Sprintf("tensorParallelSize (%d) × pipelineParallelSize (%d)", tp, pp))
	},
	launch: func(l Launch) ([]Process, error) {
		args := []string{"trtllm-serve", "serve", l.Spec.Model, "--host", l.Address, "--port", strconv.Itoa(int(l.Port))}
		args = append(args, l.options...)
		return []Process{{Args: append(args, l.Spec.Args...)}}, nil
	},
	Prepare: prepareOpenAI,
}
