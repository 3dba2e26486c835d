package services

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// tgi serves a model with Hugging Face's Text Generation Inference.
var tgi = Service{
	Name:        "tgi",
	Summary:     "Hugging Face's Text Generation Inference",
	Written:     "Text Generation Inference 3.3",
	Source:      "https://huggingface.co/docs/text-generation-inference/reference/launcher",
	Port:        3000,
	HealthPath:  "/health",
	MetricsPath: "/metrics",
	API:         api.APIChat,
	Image:       "docker://ghcr.io/huggingface/text-generation-inference:3.3.5",
	Settings: []Setting{
		{Name: "tensorParallelSize", Type: SettingInt, Flag: "--num-shard", Least: 1, Most: 64, Meaning: "GPUs that share each layer; by default all of the server's"},
		{Name: "maxInputTokens", Type: SettingInt, Flag: "--max-input-tokens", Least: 1, Meaning: "longest prompt, in tokens"},
		{Name: "maxModelLen", Type: SettingInt, Flag: "--max-total-tokens", Least: 1, Meaning: "longest prompt and answer together, in tokens"},
		{Name: "maxConcurrentRequests", Type: SettingInt, Flag: "--max-concurrent-requests", Least: 1, Meaning: "requests that are accepted at once; more are refused"},
		{Name: "maxBatchPrefillTokens", Type: SettingInt, Flag: "--max-batch-prefill-tokens", Least: 1, Meaning: "most prompt tokens in one step"},
		{Name: "gpuMemoryUtilization", Type: SettingFloat, Flag: "--cuda-memory-fraction", Least: 0.01, Most: 1, Meaning: "share of each GPU's memory that may be used"},
		{Name: "quantization", Type: SettingWord, Flag: "--quantize", Meaning: "how weights are quantised"},
		{Name: "dtype", Type: SettingWord, Flag: "--dtype", Choices: []string{"float16", "bfloat16"}, Meaning: "type of weights and activations"},
		{Name: "trustRemoteCode", Type: SettingBool, Flag: "--trust-remote-code", Meaning: "run code that comes with the model"},
	},
	Defaults: func(spec *api.BenchmarkRunSpec) {
		defaultTensorParallel(spec, gpusPerServerNode(spec))
	},
	Validate: func(spec *api.BenchmarkRunSpec, at *field.Path) field.ErrorList {
		shards := intSetting(spec.Service.Config, "tensorParallelSize", 1)
		return checkParallel(spec, at, shards, fmt.Sprintf("tensorParallelSize (%d)", shards))
	},
	launch: func(l Launch) ([]Process, error) {
		port := int(l.Port)
		above := func(distance int) string { // ports of two servers of a node are apart as theirs are
			return strconv.Itoa(1024 + (port-1024+distance)%(1<<16-1024))
		}
		args := []string{
			"text-generation-launcher", "--model-id", l.Spec.Model, "--hostname", l.Address, "--port", strconv.Itoa(port),
			// Shards talk over sockets and a port of their own, which two servers of a node must not share; nor that of the metrics,
			// which goes by a variable, for older versions do not know the option.
			"--shard-uds-path", filepath.Join(l.Scratch, "tgi"), "--master-port", above(20000),
		}
		args = append(args, l.options...)
		return []Process{{Args: append(args, l.Spec.Args...), Env: map[string]string{"API_KEY": l.APIKey, "PROMETHEUS_PORT": above(10000)}}}, nil
	},
	Prepare: func(ctx context.Context, s Server) (Prepared, error) {
		p, err := prepareOpenAI(ctx, s)
		var info struct {
			Version string `json:"version"`
		}
		if err == nil && s.getJSON(ctx, "/info", &info) == nil {
			p.Version = info.Version
		}
		return p, err
	},
}
