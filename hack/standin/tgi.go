package main

// The personality `text-generation-launcher`.
//
// Source: huggingface/text-generation-inference, launcher/src/main.rs (commit 009c4e0b, of the 2.x line: options, choices,
// variables, exclusions up to --api-key; the later ones --watermark-gamma to --usage-stats from memory of its help).
//
// Not verified: the answer to a wrong key (taken as 401 without a body), the words about more shards than GPUs, the exit
// code after SIGTERM (taken as 0).

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

const tgiVersion = "2.4.1"

const tgiFlags = `
--model-id                 text  env=MODEL_ID
--revision                 text  env=REVISION
--validation-workers       int   env=VALIDATION_WORKERS
--sharded                  truth env=SHARDED
--num-shard                int   env=NUM_SHARD
--quantize                 awq|eetq|exl2|gptq|marlin|bitsandbytes|bitsandbytes-nf4|bitsandbytes-fp4|fp8 env=QUANTIZE
--speculate                int   env=SPECULATE
--dtype                    float16|bfloat16 env=DTYPE
--kv-cache-dtype           fp8_e4m3fn|fp8_e5m2 env=KV_CACHE_DTYPE
--trust-remote-code        flag  env=TRUST_REMOTE_CODE
--max-concurrent-requests  int   env=MAX_CONCURRENT_REQUESTS
--max-best-of              int   env=MAX_BEST_OF
--max-stop-sequences       int   env=MAX_STOP_SEQUENCES
--max-top-n-tokens         int   env=MAX_TOP_N_TOKENS
--max-input-tokens         int   env=MAX_INPUT_TOKENS
--max-input-length         int   env=MAX_INPUT_LENGTH
--max-total-tokens         int   env=MAX_TOTAL_TOKENS
--waiting-served-ratio     float env=WAITING_SERVED_RATIO
--max-batch-prefill-tokens int   env=MAX_BATCH_PREFILL_TOKENS
--max-batch-total-tokens   int   env=MAX_BATCH_TOTAL_TOKENS
--max-waiting-tokens       int   env=MAX_WAITING_TOKENS
--max-batch-size           int   env=MAX_BATCH_SIZE
--cuda-graphs              text  env=CUDA_GRAPHS
--hostname                 text  env=HOSTNAME
-p,--port                  int   env=PORT
--shard-uds-path           text  env=SHARD_UDS_PATH
--master-addr              text  env=MASTER_ADDR
--master-port              int   env=MASTER_PORT
--huggingface-hub-cache    text  env=HUGGINGFACE_HUB_CACHE
--weights-cache-override   text  env=WEIGHTS_CACHE_OVERRIDE
--disable-custom-kernels   flag  env=DISABLE_CUSTOM_KERNELS
--cuda-memory-fraction     float env=CUDA_MEMORY_FRACTION
--rope-scaling             linear|dynamic env=ROPE_SCALING
--rope-factor              float env=ROPE_FACTOR
--json-output              flag  env=JSON_OUTPUT
--otlp-endpoint            text  env=OTLP_ENDPOINT
--otlp-service-name        text  env=OTLP_SERVICE_NAME
--cors-allow-origin        multi env=CORS_ALLOW_ORIGIN
--api-key                  text  env=API_KEY
--watermark-gamma          float env=WATERMARK_GAMMA
--watermark-delta          float env=WATERMARK_DELTA
--ngrok                    flag  env=NGROK
--tokenizer-config-path    text  env=TOKENIZER_CONFIG_PATH
--disable-grammar-support  flag  env=DISABLE_GRAMMAR_SUPPORT
-e,--env                   flag
--max-client-batch-size    int   env=MAX_CLIENT_BATCH_SIZE
--lora-adapters            text  env=LORA_ADAPTERS
--usage-stats              on|off|no-stack env=USAGE_STATS
`

// runTGI plays `text-generation-launcher`.
func runTGI(ctx context.Context, c *call) int {
	k := clap{prog: "text-generation-launcher", options: options(tgiFlags), lookup: c.lookup}
	if anyOption(c.args, "--version", "-V") {
		fmt.Fprintln(c.stdout, "text-generation-launcher "+tgiVersion)
		return exitOK
	}
	p, refused := k.parse(c.args)
	if refused != nil {
		return c.refuseUsage(refused)
	}
	gpus := c.gpuCount()
	input, total := p.number("max-input-tokens", p.number("max-input-length", 4095)), p.number("max-total-tokens", 4096)
	switch shards := p.number("num-shard", max(1, gpus)); {
	case p.number("port", 3000) > 65535:
		return c.refuseUsage(k.fail("invalid value '%s' for '--port <PORT>': %s is not in 0..=65535", p.text("port", ""), p.text("port", "")))
	case p.has("quantize") && p.has("dtype"):
		return c.errorf("Error: ArgumentValidation(\"dtype and quantize cannot be set together\")")
	case p.has("max-input-tokens") && p.has("max-input-length"):
		return c.errorf("Error: ArgumentValidation(\"Both `max_input_tokens` (%d) and `max_input_length` (%d) are set. Please define only `max_input_tokens` as `max_input_length is deprecated for naming consistency.\")", input, p.number("max-input-length", 0))
	case input >= total:
		return c.errorf("Error: ArgumentValidation(\"`max_input_tokens must be < `max_total_tokens`\")")
	case p.has("sharded") && !p.on("sharded") && shards > 1 && p.has("num-shard"):
		return c.errorf("Error: ArgumentValidation(\"`num_shard` > 1 with `sharded` = false\")")
	case p.on("sharded") && shards <= 1:
		return c.errorf("Error: NotEnoughCUDADevices(\"`sharded` is true but only found %d CUDA devices\")", gpus)
	case shards > max(1, gpus):
		return c.errorf("Error: NotEnoughCUDADevices(\"`num_shard` is %d but only found %d CUDA devices\")", shards, gpus)
	case gpus == 0:
		return c.errorf("Error: ShardCannotStart")
	}
	return c.tgiServe(ctx, p, input, total)
}

// tgiServe loads and answers. The router listens when its shards are up; it takes requests for whatever model.
func (c *call) tgiServe(ctx context.Context, p *parsed, input, total int) int {
	model := p.text("model-id", "bigscience/bloom-560m")
	fmt.Fprintf(c.stdout, "INFO text_generation_launcher: Args { model_id: %q, port: %d, max_input_tokens: Some(%d) }\n", model, p.number("port", 3000), input)
	if !c.loadModel(ctx) {
		return exitOK
	}
	engine, err := c.engine([]string{model, "tgi"}, total, p.number("max-concurrent-requests", 128))
	if err != nil {
		return c.errorf("standin: %v", err)
	}
	mux := http.NewServeMux()
	for _, path := range []string{"/v1/models", "/v1/completions", "/v1/chat/completions"} {
		mux.Handle(path, engine.Handler())
	}
	mux.HandleFunc("GET /health", okay)
	mux.HandleFunc("GET /ping", okay)
	mux.HandleFunc("GET /info", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, gin{"model_id": model, "version": tgiVersion, "max_input_tokens": input, "max_total_tokens": total, "max_concurrent_requests": p.number("max-concurrent-requests", 128)})
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "# TYPE tgi_queue_size gauge\ntgi_queue_size 0")
	})
	var keys []string
	if p.has("api-key") {
		keys = p.list("api-key")
	}
	guarded := bearer(mux, keys, func(path string) bool {
		return path == "/health" || path == "/ping" || path == "/info" || strings.HasPrefix(path, "/metrics")
	}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	l, err := listen(p.text("hostname", "0.0.0.0"), p.number("port", 3000))
	if err != nil {
		return c.errorf("Error: WebserverFailed (%v)", err)
	}
	return c.serve(ctx, l, guarded, func() { fmt.Fprintln(c.stdout, "INFO text_generation_router::server: Connected") })
}
