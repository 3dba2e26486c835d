package services

import (
	"context"
	"strconv"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// llamacpp serves a GGUF file with llama.cpp's server.
var llamacpp = Service{
	Name:        "llama.cpp",
	Summary:     "llama.cpp's llama-server: one GGUF file, on CPUs or GPUs",
	Written:     "llama.cpp b6500 and later",
	Source:      "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
	Port:        8080,
	HealthPath:  "/health",
	MetricsPath: "/metrics",
	API:         api.APIChat,
	Image:       "docker://ghcr.io/ggml-org/llama.cpp:server-cuda",
	Settings: []Setting{
		{Name: "contextLength", Type: SettingInt, Flag: "--ctx-size", Least: 0, Meaning: "tokens of context that all parallel requests share; 0 takes the model's"},
		{Name: "numParallel", Type: SettingInt, Flag: "--parallel", Least: 1, Meaning: "requests served at once"},
		{Name: "gpuLayers", Type: SettingInt, Flag: "--n-gpu-layers", Least: 0, Meaning: "layers on the GPU"},
		{Name: "threads", Type: SettingInt, Flag: "--threads", Least: 1, Meaning: "CPU threads of generation"},
		{Name: "batchSize", Type: SettingInt, Flag: "--batch-size", Least: 1, Meaning: "most tokens in one logical batch"},
		{Name: "ubatchSize", Type: SettingInt, Flag: "--ubatch-size", Least: 1, Meaning: "most tokens in one physical batch"},
		{Name: "cacheTypeK", Type: SettingWord, Flag: "--cache-type-k", Meaning: "type of the KV cache's keys"},
		{Name: "cacheTypeV", Type: SettingWord, Flag: "--cache-type-v", Meaning: "type of the KV cache's values"},
		{Name: "servedModelName", Type: SettingWord, Flag: "--alias", Meaning: "name under which the model is served"},
	},
	launch: func(l Launch) ([]Process, error) {
		source := "--model"
		if !strings.HasSuffix(l.Spec.Model, ".gguf") {
			source = "--hf-repo" // user/model[:quantisation], fetched by the server itself
		}
		args := []string{"llama-server", source, l.Spec.Model, "--host", l.Address, "--port", strconv.Itoa(int(l.Port)), "--metrics"}
		args = append(args, l.options...)
		return []Process{{Args: append(args, l.Spec.Args...), Env: map[string]string{"LLAMA_API_KEY": l.APIKey}}}, nil
	},
	Prepare: func(ctx context.Context, s Server) (Prepared, error) {
		p, err := prepareOpenAI(ctx, s)
		var props struct {
			BuildInfo string `json:"build_info"`
		}
		if err == nil && s.getJSON(ctx, "/props", &props) == nil {
			p.Version = props.BuildInfo
		}
		return p, err
	},
}
