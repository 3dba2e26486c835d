package main

// The personality `sglang`: `sglang serve` and `python3 -m sglang.launch_server`, which take the same arguments.
//
// Sources, all of sgl-project/sglang: docs/advanced_features/server_arguments.md (commit 004813e1: the options with types and
// choices; those of speculative decoding, LoRA, MoE, disaggregation and of other vendors' hardware are left out and so
// refused here), check_server_args of python/sglang/srt/server_args.py (copies), docs on multi-node deployment, python/sglang/srt/entrypoints/http_server.py and utils.py (copies: health,
// API key).
//
// Not verified: the words of refusals about GPUs and nodes; that no variable of the environment holds the API key; that a
// node of another rank than 0 answers on its port (not played); the exit code after SIGTERM (taken as 0).

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

const sglangVersion = "0.5.9"

const sglangFlags = `
--model-path,--model                                 text
--tokenizer-path                                     text
--tokenizer-mode                                     auto|slow
--tokenizer-worker-num                               int
--skip-tokenizer-init                                flag
--load-format                                        auto|pt|safetensors|npcache|dummy|sharded_state|gguf|bitsandbytes|layered|flash_rl|remote|remote_instance|fastsafetensors|private|runai_streamer
--model-loader-extra-config                          text
--trust-remote-code                                  flag
--context-length                                     int
--is-embedding                                       flag
--enable-multimodal                                  flag
--revision                                           text
--model-impl                                         text
--config                                             text
--host                                               text
--port                                               int
--fastapi-root-path                                  text
--grpc-mode                                          flag
--skip-server-warmup                                 flag
--warmups                                            text
--nccl-port                                          int
--dtype                                              auto|half|float16|bfloat16|float|float32
--quantization                                       awq|fp8|gptq|marlin|gptq_marlin|awq_marlin|bitsandbytes|gguf|modelopt|modelopt_fp8|modelopt_fp4|petit_nvfp4|w8a8_int8|w8a8_fp8|moe_wna16|qoq|w4afp8|mxfp4|mxfp8|auto-round|compressed-tensors|modelslim|quark_int4fp8_moe
--quantization-param-path                            text
--kv-cache-dtype                                     auto|fp8_e5m2|fp8_e4m3|bf16|bfloat16|fp4_e2m1
--enable-fp32-lm-head                                flag
--mem-fraction-static                                float
--max-running-requests                               int
--max-queued-requests                                int
--max-total-tokens                                   int
--chunked-prefill-size                               int
--prefill-max-requests                               int
--enable-dynamic-chunking                            flag
--max-prefill-tokens                                 int
--schedule-policy                                    lpm|random|fcfs|dfs-weight|lof|priority|routing-key
--schedule-conservativeness                          float
--page-size                                          int
--radix-eviction-policy                              lru|lfu
--device                                             text
--tensor-parallel-size,--tp-size,--tp                int
--pipeline-parallel-size,--pp-size                   int
--stream-interval                                    int
--stream-output                                      flag
--random-seed                                        int
--watchdog-timeout                                   float
--dist-timeout                                       int
--download-dir                                       text
--base-gpu-id                                        int
--gpu-id-step                                        int
--log-level                                          text
--log-level-http                                     text
--log-requests                                       flag
--log-requests-level                                 0|1|2|3
--enable-metrics                                     flag
--enable-request-time-stats-logging                  flag
--decode-log-interval                                int
--api-key                                            text
--admin-api-key                                      text
--served-model-name                                  text
--chat-template                                      text
--completion-template                                text
--enable-cache-report                                flag
--reasoning-parser                                   text
--tool-call-parser                                   text
--sampling-defaults                                  openai|model
--data-parallel-size,--dp-size,--dp                  int
--load-balance-method                                text
--dist-init-addr,--nccl-init-addr                    text
--nnodes                                             int
--node-rank                                          int
--attention-backend                                  text
--prefill-attention-backend                          text
--decode-attention-backend                           text
--sampling-backend                                   text
--grammar-backend                                    text
--expert-parallel-size,--ep-size,--ep                int
--enable-dp-attention                                flag
--disable-radix-cache                                flag
--cuda-graph-max-bs                                  int
--disable-cuda-graph                                 flag
--disable-custom-all-reduce                          flag
--disable-overlap-schedule                           flag
--enable-mixed-chunk                                 flag
--enable-torch-compile                               flag
--torch-compile-max-bs                               int
--enable-p2p-check                                   flag
--enable-deterministic-inference                     flag
--json-model-override-args                           json
`

// runSGLang plays `sglang`.
func runSGLang(ctx context.Context, c *call) int {
	if len(c.args) > 0 && c.args[0] == "serve" {
		return c.sglangServe(ctx, "sglang serve", c.args[1:])
	}
	p := argparse{prog: "sglang", usage: "sglang [-h] {serve,generate,version} ..."}
	if len(c.args) == 0 {
		return c.refuseUsage(p.fail("the following arguments are required: subcommand"))
	}
	if c.args[0] == "version" {
		fmt.Fprintln(c.stdout, "sglang version: "+sglangVersion)
		return exitOK
	}
	return c.refuseUsage(p.fail("argument subcommand: %s", badPython(&option{choices: []string{"serve", "generate", "version"}}, c.args[0])))
}

// sglangServe checks the command line and serves.
func (c *call) sglangServe(ctx context.Context, prog string, args []string) int {
	parser := &argparse{prog: prog, usage: prog + " [-h] --model-path MODEL_PATH [options]", options: options(sglangFlags), required: []string{"model-path"}}
	p, refused := parser.parse(args)
	if refused != nil {
		return c.refuseUsage(refused)
	}
	if p.has("config") || p.on("grpc-mode") {
		return c.errorf("standin: --config and --grpc-mode are not played")
	}
	tp, pp, dp := p.number("tensor-parallel-size", 1), p.number("pipeline-parallel-size", 1), p.number("data-parallel-size", 1)
	nnodes, rank := p.number("nnodes", 1), p.number("node-rank", 0)
	gpus, needed := c.gpuCount(), tp*pp/max(1, nnodes)
	if !p.on("enable-dp-attention") {
		needed *= dp
	}
	switch f := p.float("mem-fraction-static", 0.8); {
	case f <= 0 || f >= 1:
		return c.raise("AssertionError", "mem_fraction_static must be in (0, 1), got %v", f)
	case tp < 1 || pp < 1 || dp < 1 || nnodes < 1:
		return c.raise("AssertionError", "sizes must be positive")
	case (tp*pp)%nnodes != 0:
		return c.raise("AssertionError", "tp_size must be divisible by number of nodes")
	case dp > 1 && nnodes != 1 && !p.on("enable-dp-attention"):
		return c.raise("AssertionError", "multi-node data parallel is not supported unless dp attention!")
	case rank < 0 || rank >= nnodes:
		return c.raise("AssertionError", "node_rank must be less than nnodes")
	case nnodes > 1 && !p.has("dist-init-addr"):
		return c.raise("AssertionError", "dist_init_addr must be specified for multi-node")
	case gpus == 0:
		return c.raise("RuntimeError", "No accelerator (CUDA, XPU, HPU, NPU) is available.")
	case needed+p.number("base-gpu-id", 0) > gpus:
		return c.raise("torch.AcceleratorError", "CUDA error: invalid device ordinal")
	}
	return c.sglangLaunch(ctx, p, nnodes, rank)
}

// sglangLaunch gathers the nodes and serves on the first.
func (c *call) sglangLaunch(ctx context.Context, p *parsed, nnodes, rank int) int {
	s := &vllmServer{call: c, nnodes: nnodes, nodeRank: rank, world: p.number("tensor-parallel-size", 1), model: p.text("model-path", "")}
	all := newPeers()
	if nnodes > 1 {
		host, port, err := net.SplitHostPort(p.text("dist-init-addr", ""))
		number, ok := readSize(port)
		if err != nil || !ok {
			return c.raise("ValueError", "not enough values to unpack (expected 2, got 1)")
		}
		s.masterAddr, s.masterPort = host, number
		var code int
		if rank == 0 {
			all, code = s.gatherFollowers(ctx)
		} else {
			all, code = s.join(ctx)
		}
		if all == nil {
			return code
		}
	}
	defer all.close()
	if !c.loadModel(ctx) {
		return exitOK
	}
	if rank > 0 {
		select {
		case <-all.lost:
			return c.errorf("Rank 0 scheduler died. Exit code: -9")
		case <-ctx.Done():
			return exitOK
		}
	}
	host, port := p.text("host", "127.0.0.1"), p.number("port", 30000)
	handler, err := c.sglangHandler(p, all)
	if err != nil {
		return c.errorf("standin: %v", err)
	}
	l, err := listen(host, port)
	if err != nil {
		return c.errorf("ERROR:    [Errno 98] error while attempting to bind on address ('%s', %d): %v", host, port, err)
	}
	return c.serve(ctx, l, handler, func() {
		c.uvicorn("", host, port)
		fmt.Fprintf(c.stderr, "[%s] The server is fired up and ready to roll!\n", time.Now().Format(time.DateTime))
	})
}

// sglangHandler is the HTTP API. /health makes a token, so it fails where tokens do.
func (c *call) sglangHandler(p *parsed, all *peers) (http.Handler, error) {
	model := p.text("model-path", "")
	name := p.text("served-model-name", model)
	engine, err := c.engine([]string{name}, p.number("context-length", c.knobs.contextLength), p.number("max-running-requests", 0))
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	tokens := all.hangWhenLost(engine.Handler())
	for _, path := range []string{"/v1/completions", "/v1/chat/completions"} {
		mux.Handle(path, tokens)
	}
	for _, path := range []string{"/v1/models", "/tokenize"} {
		mux.Handle(path, engine.Handler())
	}
	if p.on("enable-metrics") {
		mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "# TYPE sglang:num_running_reqs gauge\nsglang:num_running_reqs{model_name=%q} 0\n", name)
		})
	}
	healthy := all.hangWhenLost(http.HandlerFunc(okay))
	mux.Handle("GET /health", healthy)
	mux.Handle("GET /health_generate", healthy)
	for _, path := range []string{"/server_info", "/get_server_info"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, gin{"model_path": model, "served_model_name": name, "version": sglangVersion})
		})
	}
	for _, path := range []string{"/model_info", "/get_model_info"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, gin{"model_path": model, "tokenizer_path": model, "is_generation": true})
		})
	}
	mux.HandleFunc("/", notFound)
	var keys []string
	if p.has("api-key") {
		keys = p.list("api-key")
	}
	open := func(path string) bool {
		return strings.HasPrefix(path, "/health") || strings.HasPrefix(path, "/metrics")
	}
	return bearer(mux, keys, open, unauthorized), nil
}
