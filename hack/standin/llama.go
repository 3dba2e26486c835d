package main

// The personality `llama-server`.
//
// Sources: ggml-org/llama.cpp, tools/server/README.md (commit 00dc8057: options, choices, variables; those of samplers beyond
// the usual, of CPU masks and of drafts are left out and so refused here), common/arg.cpp (copies: how a command line is read
// and refused), tools/server/server-http.cpp (copies: what needs a key, and what is answered while the model loads).
//
// Not verified: what is said of a port in use and of a model that is not there, and the build number. The README of that commit gives 9931 as the default port, where it was 8080 for years.

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

const (
	llamaVersion     = "b8000"
	llamaDefaultPort = 9931
)

const llamaFlags = `
-h,--help,--usage                        flag
--version                                flag
-t,--threads                             int   env=LLAMA_ARG_THREADS
-tb,--threads-batch                      int
-c,--ctx-size                            int   env=LLAMA_ARG_CTX_SIZE
-n,--predict,--n-predict                 int   env=LLAMA_ARG_N_PREDICT
-b,--batch-size                          int   env=LLAMA_ARG_BATCH
-ub,--ubatch-size                        int   env=LLAMA_ARG_UBATCH
--keep                                   int
--swa-full                               flag  env=LLAMA_ARG_SWA_FULL
-fa,--flash-attn                         on|off|auto env=LLAMA_ARG_FLASH_ATTN
--rope-scaling                           none|linear|yarn env=LLAMA_ARG_ROPE_SCALING_TYPE
--rope-scale                             float env=LLAMA_ARG_ROPE_SCALE
--rope-freq-base                         float env=LLAMA_ARG_ROPE_FREQ_BASE
-kvo,--kv-offload,-nkvo,--no-kv-offload  flag
-ctk,--cache-type-k                      f32|f16|bf16|q8_0|q4_0|q4_1|iq4_nl|q5_0|q5_1 env=LLAMA_ARG_CACHE_TYPE_K
-ctv,--cache-type-v                      f32|f16|bf16|q8_0|q4_0|q4_1|iq4_nl|q5_0|q5_1 env=LLAMA_ARG_CACHE_TYPE_V
--rpc                                    text  env=LLAMA_ARG_RPC
--mlock                                  flag
--no-mmap                                flag
--numa                                   distribute|isolate|numactl env=LLAMA_ARG_NUMA
-dev,--device                            text  env=LLAMA_ARG_DEVICE
-cmoe,--cpu-moe                          flag  env=LLAMA_ARG_CPU_MOE
-ncmoe,--n-cpu-moe                       int   env=LLAMA_ARG_N_CPU_MOE
-ngl,--gpu-layers,--n-gpu-layers         text  env=LLAMA_ARG_N_GPU_LAYERS
-sm,--split-mode                         none|layer|row|tensor env=LLAMA_ARG_SPLIT_MODE
-ts,--tensor-split                       text  env=LLAMA_ARG_TENSOR_SPLIT
-mg,--main-gpu                           int   env=LLAMA_ARG_MAIN_GPU
-fit,--fit                               on|off env=LLAMA_ARG_FIT
--check-tensors                          flag
--override-kv                            text
--lora                                   text
-m,--model                               text  env=LLAMA_ARG_MODEL
-mu,--model-url                          text  env=LLAMA_ARG_MODEL_URL
-hf,-hfr,--hf-repo                       text  env=LLAMA_ARG_HF_REPO
-hff,--hf-file                           text  env=LLAMA_ARG_HF_FILE
-hft,--hf-token                          text  env=HF_TOKEN
--log-disable                            flag
--log-file                               text  env=LLAMA_ARG_LOG_FILE
--log-colors                             on|off|auto env=LLAMA_ARG_LOG_COLORS
-v,--verbose,--log-verbose               flag
--offline                                flag  env=LLAMA_ARG_OFFLINE
-lv,--verbosity,--log-verbosity          int   env=LLAMA_ARG_LOG_VERBOSITY
--log-prefix,--no-log-prefix             flag
--log-timestamps,--no-log-timestamps     flag
-s,--seed                                int
--ignore-eos                             flag
--temp,--temperature                     float env=LLAMA_ARG_TEMPERATURE
--top-k                                  int   env=LLAMA_ARG_TOP_K
--top-p                                  float env=LLAMA_ARG_TOP_P
--min-p                                  float env=LLAMA_ARG_MIN_P
--warmup,--no-warmup                     flag
-np,--parallel                           int   env=LLAMA_ARG_N_PARALLEL
-cb,--cont-batching,-nocb,--no-cont-batching flag
-a,--alias                               text  env=LLAMA_ARG_ALIAS
--host                                   text  env=LLAMA_ARG_HOST
--port                                   int   env=LLAMA_ARG_PORT
--reuse-port                             flag  env=LLAMA_ARG_REUSE_PORT
--path                                   text  env=LLAMA_ARG_STATIC_PATH
--api-prefix                             text  env=LLAMA_ARG_API_PREFIX
--ui,--webui,--no-ui,--no-webui          flag
--embedding,--embeddings                 flag  env=LLAMA_ARG_EMBEDDINGS
--api-key                                text  env=LLAMA_API_KEY
--api-key-file                           text  env=LLAMA_ARG_API_KEY_FILE
--ssl-key-file                           text  env=LLAMA_ARG_SSL_KEY_FILE
--ssl-cert-file                          text  env=LLAMA_ARG_SSL_CERT_FILE
-to,--timeout                            int   env=LLAMA_ARG_TIMEOUT
--threads-http                           int   env=LLAMA_ARG_THREADS_HTTP
--cache-prompt,--no-cache-prompt         flag
--cache-reuse                            int   env=LLAMA_ARG_CACHE_REUSE
--metrics                                flag  env=LLAMA_ARG_ENDPOINT_METRICS
--props                                  flag  env=LLAMA_ARG_ENDPOINT_PROPS
--slots,--no-slots                       flag
--jinja,--no-jinja                       flag
--chat-template                          text  env=LLAMA_ARG_CHAT_TEMPLATE
--chat-template-file                     text  env=LLAMA_ARG_CHAT_TEMPLATE_FILE
--reasoning-format                       text  env=LLAMA_ARG_THINK
--reasoning-budget                       int   env=LLAMA_ARG_THINK_BUDGET
`

// parseLlama reads a command line as common/arg.cpp does: no values behind "=", no short forms, underscores for dashes in
// long names, and variables of the environment that the command line overrules.
func (c *call) parseLlama(all []*option, args []string) (*parsed, *usageError) {
	p := &parsed{}
	bad := func(where, name, detail string) *usageError {
		return &usageError{fmt.Sprintf("error while handling %s %q: %s\n\nusage:\n%s\n\nto show complete usage, run with -h", where, name, detail, name), exitFailed}
	}
	for _, o := range all {
		value, set := c.lookup(o.env)
		if o.env == "" || !set {
			continue
		}
		if detail := badLlama(o, value); detail != "" && o.takesValue() {
			return nil, bad("environment variable", o.env, detail)
		}
		if o.takesValue() || isTrue(value) {
			p.set(o, value)
		}
	}
	for i := 0; i < len(args); i++ {
		name := args[i]
		if strings.HasPrefix(name, "--") {
			name = strings.ReplaceAll(name, "_", "-")
		}
		o := exact(all, name)
		switch {
		case o == nil:
			return nil, &usageError{"error: invalid argument: " + name, exitFailed}
		case !o.takesValue():
			p.set(o, strconv.FormatBool(!strings.HasPrefix(name, "--no-")))
			continue
		case i+1 == len(args):
			return nil, bad("argument", name, "expected value for argument")
		}
		if p.has(o.key()) && o.env != "" && c.env(o.env) != "" {
			c.errorf("warn: %s environment variable is set, but will be overwritten by command line argument %s", o.env, name)
		}
		i++
		if detail := badLlama(o, args[i]); detail != "" {
			return nil, bad("argument", name, detail)
		}
		p.set(o, args[i])
	}
	return p, nil
}

func badLlama(o *option, v string) string {
	switch {
	case o.kind == kindInt && !isInt(v):
		return "stoi"
	case o.kind == kindFloat && !isFloat(v):
		return "stof"
	case o.choices != nil && !slices.Contains(o.choices, v):
		return "invalid value"
	case o.key() == "gpu-layers" && v != "auto" && v != "all" && !isInt(v):
		return "stoi"
	}
	return ""
}

// runLlama plays `llama-server`.
func runLlama(ctx context.Context, c *call) int {
	p, refused := c.parseLlama(options(llamaFlags), c.args)
	if refused != nil {
		return c.refuseUsage(refused)
	}
	switch {
	case p.on("version"):
		fmt.Fprintln(c.stderr, "version: "+strings.TrimPrefix(llamaVersion, "b")+" (standin)")
		return exitOK
	case p.on("help"):
		fmt.Fprintln(c.stdout, "----- common params -----")
		return exitOK
	case p.has("hf-repo") && p.on("offline") || p.has("model-url") && p.on("offline"):
		return c.errorf("error: failed to download model in offline mode")
	case !p.has("model") && !p.has("hf-repo") && !p.has("model-url"):
		return c.errorf("standin: llama-server without a model is a router, which is not played")
	}
	keys, err := llamaKeys(p)
	if err != nil {
		return c.errorf("error while handling argument \"--api-key-file\": %v", err)
	}
	host, port := p.text("host", "127.0.0.1"), p.number("port", llamaDefaultPort)
	l, err := listen(host, port)
	if err != nil {
		c.errorf("srv         start: couldn't bind HTTP server socket, hostname: %s, port: %d", host, port)
		return c.errorf("srv  llama_server: exiting due to HTTP server error")
	}
	if file := p.text("model", ""); file != "" {
		if _, err := os.Stat(file); err != nil && !p.has("hf-repo") && !p.has("model-url") {
			_ = l.Close()
			c.errorf("gguf_init_from_file: failed to open GGUF file '%s'", file)
			c.errorf("srv    load_model: failed to load model, '%s'", file)
			return c.errorf("srv  llama_server: exiting due to model loading error")
		}
	}
	var ready atomic.Bool
	handler, err := c.llamaHandler(p, keys, &ready)
	if err != nil {
		return c.errorf("standin: %v", err)
	}
	return c.serve(ctx, l, handler, func() {
		go func() {
			if c.loadModel(ctx) {
				ready.Store(true)
				fmt.Fprintf(c.stderr, "main: server is listening on http://%s:%d - starting the main loop\n", host, port)
			}
		}()
	})
}

// llamaKeys reads the keys of the command line and of the file.
func llamaKeys(p *parsed) ([]string, error) {
	var keys []string
	for key := range strings.SplitSeq(p.text("api-key", ""), ",") {
		if key != "" {
			keys = append(keys, key)
		}
	}
	file := p.text("api-key-file", "")
	if file == "" {
		return keys, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("error: failed to open file '%s'", file)
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			keys = append(keys, line)
		}
	}
	return keys, nil
}

// llamaHandler is the HTTP API, which is there before the model: it says 503 until then, but for the list of models. The key
// is looked at first.
func (c *call) llamaHandler(p *parsed, keys []string, ready *atomic.Bool) (http.Handler, error) {
	names := strings.Split(p.text("alias", p.text("model", p.text("hf-repo", p.text("model-url", "")))), ",")
	length := p.number("ctx-size", 0)
	if length == 0 {
		length = c.knobs.contextLength
	}
	engine, err := c.engine(names, length, max(0, p.number("parallel", 4)))
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	health := func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, gin{"status": "ok"}) }
	for _, path := range []string{"/health", "/v1/health"} {
		mux.HandleFunc("GET "+path, health)
	}
	for _, path := range []string{"/v1/models", "/v1/completions", "/v1/chat/completions"} {
		mux.Handle(path, engine.Handler())
	}
	mux.HandleFunc("POST /tokenize", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Content string `json:"content"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			llamaError(w, http.StatusBadRequest, "invalid_request_error", err.Error())
			return
		}
		ids := []int{}
		for i := range strings.Fields(in.Content) {
			ids = append(ids, i)
		}
		writeJSON(w, http.StatusOK, gin{"tokens": ids})
	})
	mux.HandleFunc("GET /props", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, gin{"model_path": p.text("model", ""), "model_alias": names[0], "build_info": llamaVersion + "-standin", "total_slots": p.number("parallel", 4)})
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		if !p.on("metrics") {
			llamaError(w, http.StatusNotImplemented, "not_supported_error", "This server does not support metrics endpoint. Start it with `--metrics`")
			return
		}
		fmt.Fprintln(w, "# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 0")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		llamaError(w, http.StatusNotFound, "not_found_error", "File Not Found")
	})
	open := []string{"/health", "/v1/health", "/models", "/v1/models", "/api/tags", "/"}
	early := []string{"/models", "/v1/models", "/api/tags"}
	state := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ready.Load() && !slices.Contains(early, r.URL.Path) {
			llamaError(w, http.StatusServiceUnavailable, "unavailable_error", "Loading model")
			return
		}
		mux.ServeHTTP(w, r)
	})
	return bearer(state, keys, func(path string) bool { return slices.Contains(open, path) }, func(w http.ResponseWriter, _ *http.Request) {
		llamaError(w, http.StatusUnauthorized, "authentication_error", "Invalid API Key")
	}), nil
}

func llamaError(w http.ResponseWriter, status int, kind, message string) {
	writeJSON(w, status, gin{"error": gin{"code": status, "message": message, "type": kind}})
}
