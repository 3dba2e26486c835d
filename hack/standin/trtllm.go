package main

// The personality `trtllm-serve`.
//
// Source: NVIDIA/TensorRT-LLM, tensorrt_llm/commands/serve.py (commit 00209af1: options, order of the start, refusals).
//
// Not verified: the name that /v1/models tells (taken as the last part of the path), what /health says beyond 200, and how
// more ranks than GPUs are refused without MPI.

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

const trtllmVersion = "1.2.0rc6"

const trtllmFlags = `
--tokenizer                                                   text
--custom_tokenizer                                            text
--host                                                        text
--port                                                        int
--backend                                                     pytorch|tensorrt|_autodeploy|trt
--custom_module_dirs                                          multi
--log_level                                                   internal_error|error|warning|info|verbose|debug|trace
--max_beam_width                                              int
--max_batch_size                                              int
--max_num_tokens                                              int
--max_seq_len                                                 int
--tensor_parallel_size,--tp_size                              int
--pipeline_parallel_size,--pp_size                            int
--context_parallel_size,--cp_size                             int
--moe_expert_parallel_size,--ep_size                          int
--moe_cluster_parallel_size,--cluster_size                    int
--gpus_per_node                                               int
--free_gpu_memory_fraction,--kv_cache_free_gpu_memory_fraction float
--num_postprocess_workers                                     int
--trust_remote_code                                           flag
--revision                                                    text
--config,--extra_llm_api_options                              text
--reasoning_parser                                            text
--tool_parser                                                 text
--metadata_server_config_file                                 text
--server_role                                                 text
--fail_fast_on_attention_window_too_large                     flag
--otlp_traces_endpoint                                        text
--disagg_cluster_uri                                          text
--enable_chunked_prefill                                      flag
--media_io_kwargs                                             text
--chat_template                                               text
`

// runTRTLLM plays `trtllm-serve`, whose command `serve` may be left out.
func runTRTLLM(ctx context.Context, c *call) int {
	args := c.args
	if len(args) > 0 && args[0] == "serve" {
		args = args[1:]
	}
	k := click{prog: "trtllm-serve serve", usage: "[OPTIONS] MODEL", options: options(trtllmFlags), positional: []string{"MODEL"}}
	p, refused := k.parse(args)
	if refused != nil {
		return c.refuseUsage(refused)
	}
	host, port := p.text("host", "localhost"), p.number("port", 8000)
	gpus := p.number("gpus_per_node", c.gpuCount())
	world := p.number("tensor_parallel_size", 1) * p.number("pipeline_parallel_size", 1) * p.number("context_parallel_size", 1)
	extra := p.text("config", "")
	switch _, err := os.Stat(extra); {
	case gpus == 0:
		return c.raise("ValueError", "No GPU devices found on the node")
	case extra != "" && err != nil:
		return c.raise("FileNotFoundError", "[Errno 2] No such file or directory: '%s'", extra)
	case port <= 0 && !p.has("disagg_cluster_uri"):
		return c.raise("AssertionError", "Port must be specified if disagg cluster config is not provided")
	case (p.has("metadata_server_config_file") || p.has("disagg_cluster_uri")) && !p.has("server_role"):
		return c.raise("AssertionError", "server_role is required when metadata_server_cfg or disagg_cluster_config is provided")
	}
	socket, err := bind(host, port)
	if err != nil {
		return c.raise("RuntimeError", "Failed to bind socket to %s:%d: %v", host, port, err)
	}
	if f := p.float("free_gpu_memory_fraction", 0.9); f < 0 || f > 1 {
		return c.raise("pydantic_core._pydantic_core.ValidationError", "1 validation error for KvCacheConfig\nfree_gpu_memory_fraction\n  Value error, kv_cache_config.free_gpu_memory_fraction must be a float between 0 and 1")
	}
	if world > c.gpuCount() && c.env("OMPI_COMM_WORLD_SIZE") == "" && c.env("SLURM_NTASKS") == "" {
		return c.raise("RuntimeError", "world_size (%d) is larger than the number of GPUs (%d)", world, c.gpuCount())
	}
	if !c.loadModel(ctx) {
		return exitOK
	}
	return c.trtllmServe(ctx, socket, filepath.Base(strings.TrimSuffix(p.rest[0], "/")), p, host, port)
}

// trtllmServe answers; there is no API key.
func (c *call) trtllmServe(ctx context.Context, socket *socket, name string, p *parsed, host string, port int) int {
	engine, err := c.engine([]string{name, p.rest[0]}, p.number("max_seq_len", c.knobs.contextLength), p.number("max_batch_size", 0))
	if err != nil {
		return c.errorf("standin: %v", err)
	}
	mux := http.NewServeMux()
	for _, path := range []string{"/v1/models", "/v1/completions", "/v1/chat/completions"} {
		mux.Handle(path, engine.Handler())
	}
	mux.HandleFunc("GET /health", okay)
	mux.HandleFunc("GET /health_generate", okay)
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"version": trtllmVersion})
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, []any{}) })
	mux.HandleFunc("/", notFound)
	l, err := socket.listen()
	if err != nil {
		return c.raise("RuntimeError", "Failed to bind socket to %s:%d: %v", host, port, err)
	}
	return c.serve(ctx, l, mux, func() { c.uvicorn("", host, port) })
}
