package main

// The personality `vllm`.
//
// Sources, all of vllm-project/vllm: vllm/entrypoints/cli/serve.py (commit 00a5fdd2), vllm/config/parallel.py (00193b82),
// vllm/v1/executor/ray_utils.py (0057add1), vllm/utils/argparse_utils.py (00da11e3), vllm/entrypoints/openai/cli_args.py
// (00522333), create_engine_config of vllm/engine/arg_utils.py (a copy of about 0.14),
// vllm/transformers_utils/config.py (a copy).
//
// Not verified: the exit code after SIGTERM (taken as 0), and the words about a port in use.

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const vllmVersion = "0.14.0"

const vllmUsage = "vllm serve [model_tag] [options]"

// runVLLM plays `vllm`.
func runVLLM(ctx context.Context, c *call) int {
	commands := []string{"chat", "complete", "serve", "bench", "collect-env", "run-batch"}
	switch {
	case len(c.args) == 0 || c.args[0] == "--help" || c.args[0] == "-h":
		fmt.Fprintln(c.stdout, "usage: vllm [-h] [-v] {"+strings.Join(commands, ",")+"} ...")
		return exitOK
	case c.args[0] == "--version" || c.args[0] == "-v":
		fmt.Fprintln(c.stdout, vllmVersion)
		return exitOK
	case c.args[0] == "serve":
		return c.vllmServe(ctx, c.args[1:], true)
	case slices.Contains(commands, c.args[0]):
		return c.errorf("standin: only vllm serve is played")
	}
	p := argparse{prog: "vllm", usage: "vllm [-h] [-v] {" + strings.Join(commands, ",") + "} ..."}
	bad := badPython(&option{choices: commands}, c.args[0])
	return c.refuseUsage(p.fail("argument subparser: %s", bad))
}

// A vllmServer is one that was asked for and found possible.
type vllmServer struct {
	*call
	p      *parsed
	prefix string // of its log lines

	model         string
	names         []string
	contextLength int
	host          string
	port          int
	keys          []string

	tp, pp, dp       int
	world            int // GPUs of one engine, over all nodes
	gpus             int // on this node
	backend          string
	nnodes, nodeRank int
	masterAddr       string
	masterPort       int
	headless         bool
}

// vllmServe plays `vllm serve`, and with positional unset `python3 -m vllm.entrypoints.openai.api_server`.
func (c *call) vllmServe(ctx context.Context, args []string, positional bool) int {
	parser := &argparse{prog: "vllm", usage: vllmUsage, options: options(vllmFlags), dashes: true, maxRest: 1}
	if !positional {
		parser.prog, parser.usage, parser.maxRest = "api_server.py", "api_server.py [options]", 0
	} else if len(args) > 0 && strings.HasPrefix(args[0], "-") && !anyOption(args, "--model", "--config") && anyOption(args, "--served-model-name", "--served_model_name") {
		return c.raise("ValueError", "`model` should be provided as the first positional argument when using `vllm serve`. i.e. `vllm serve <model> --<arg> <value>`.")
	}
	if anyOption(args, "--help", "-h") {
		fmt.Fprintln(c.stdout, "usage: "+parser.usage)
		return exitOK
	}
	p, refused := parser.parse(args)
	if refused != nil {
		return c.refuseUsage(refused)
	}
	if p.has("config") || p.on("grpc") || p.has("uds") {
		return c.errorf("standin: --config, --grpc and --uds are not played")
	}
	s := &vllmServer{call: c, p: p, prefix: fmt.Sprintf("(APIServer pid=%d) ", os.Getpid())}
	for _, step := range []func() int{s.settle, s.checkValues, s.checkModel, s.checkNodes, s.checkGPUs} {
		if code := step(); code != exitOK {
			return code
		}
	}
	return s.launch(ctx)
}

// anyOption says whether one of the names is among args, with or without a value in the same word.
func anyOption(args []string, names ...string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return slices.Contains(names, name)
	})
}

// settle takes the options over.
func (s *vllmServer) settle() int {
	p := s.p
	s.model = p.text("model", "Qwen/Qwen3-0.6B")
	if p.has("model") {
		s.log("WARNING", "With `vllm serve`, you should provide the model as a positional argument or in a config file instead of via the `--model` option. The `--model` option will be removed in a future version.")
	}
	if len(p.rest) > 0 {
		s.model = p.rest[0]
	}
	if s.names = p.list("served-model-name"); len(s.names) == 0 {
		s.names = []string{s.model}
	}
	s.host, s.port = p.text("host", "0.0.0.0"), p.number("port", 8000)
	s.keys = p.list("api-key")
	if key := s.env("VLLM_API_KEY"); len(s.keys) == 0 && key != "" {
		s.keys = []string{key}
	}
	s.tp, s.pp, s.dp = p.number("tensor-parallel-size", 1), p.number("pipeline-parallel-size", 1), p.number("data-parallel-size", 1)
	s.world = s.tp * s.pp * p.number("prefill-context-parallel-size", 1)
	s.backend = p.text("distributed-executor-backend", "")
	s.nnodes, s.nodeRank = p.number("nnodes", 1), p.number("node-rank", 0)
	s.masterAddr, s.masterPort = p.text("master-addr", "127.0.0.1"), p.number("master-port", 29501)
	s.headless = p.on("headless")
	s.gpus = s.gpuCount()
	return exitOK
}

// invalid fails as pydantic does.
func (s *vllmServer) invalid(config, format string, args ...any) int {
	return s.raise("pydantic_core._pydantic_core.ValidationError", "1 validation error for %s\n%s", config, fmt.Sprintf(format, args...))
}

// checkValues refuses numbers out of their range.
func (s *vllmServer) checkValues() int {
	p := s.p
	if n := p.number("api-server-count", 0); s.headless && n > 0 {
		return s.raise("ValueError", "--api-server-count=%d cannot be used with --headless (no API servers are started in headless mode).", n)
	}
	for _, at := range []struct{ key, config string }{
		{"tensor-parallel-size", "ParallelConfig"},
		{"pipeline-parallel-size", "ParallelConfig"},
		{"data-parallel-size", "ParallelConfig"},
		{"nnodes", "ParallelConfig"},
		{"max-num-seqs", "SchedulerConfig"},
		{"max-num-batched-tokens", "SchedulerConfig"},
	} {
		if n := p.number(at.key, 1); n < 1 {
			return s.invalid(at.config, "%s\n  Input should be greater than or equal to 1 [type=greater_than_equal, input_value=%d, input_type=int]", strings.ReplaceAll(at.key, "-", "_"), n)
		}
	}
	if u := p.float("gpu-memory-utilization", 0.9); u <= 0 {
		return s.invalid("CacheConfig", "gpu_memory_utilization\n  Input should be greater than 0 [type=greater_than, input_value=%v, input_type=float]", u)
	} else if u > 1 {
		return s.invalid("CacheConfig", "gpu_memory_utilization\n  Input should be less than or equal to 1 [type=less_than_equal, input_value=%v, input_type=float]", u)
	}
	if s.port < 0 || s.port > 65535 {
		return s.raise("OverflowError", "bind(): port must be 0-65535.")
	}
	if p.on("enable-auto-tool-choice") && !p.has("tool-call-parser") {
		return s.raise("TypeError", "Error: --enable-auto-tool-choice requires --tool-call-parser")
	}
	if n := p.number("max-model-len", 1); n < 1 && n != -1 {
		return s.invalid("ModelConfig", "max_model_len\n  Input should be greater than or equal to -1 [type=greater_than_equal, input_value=%d, input_type=int]", n)
	}
	return exitOK
}

// checkModel looks for the model as far as that goes without a hub, and settles the context length.
func (s *vllmServer) checkModel() int {
	s.contextLength = s.knobs.contextLength
	local := filepath.IsAbs(s.model) || strings.HasPrefix(s.model, ".")
	if _, err := os.Stat(s.model); err == nil {
		local = true
	}
	switch {
	case local:
		data, err := os.ReadFile(filepath.Join(s.model, "config.json"))
		if err != nil {
			return s.invalid("ModelConfig", "  Value error, Invalid repository ID or local directory specified: '%s'.\nPlease verify the following requirements:\n1. Provide a valid Hugging Face repository ID.\n2. Specify a local directory that contains a recognized configuration file.\n   - For Hugging Face models: ensure the presence of a 'config.json'.", s.model)
		}
		var config struct {
			Length int `json:"max_position_embeddings"`
		}
		if json.Unmarshal(data, &config) == nil && config.Length > 0 {
			s.contextLength = config.Length
		}
	case strings.Count(s.model, "/") > 1:
		return s.raise("huggingface_hub.errors.HFValidationError", "Repo id must be in the form 'repo_name' or 'namespace/repo_name': '%s'. Use `repo_type` argument if needed.", s.model)
	case isTrue(s.env("HF_HUB_OFFLINE")) && !s.cached():
		return s.raise("huggingface_hub.errors.LocalEntryNotFoundError", "Cannot find an appropriate cached snapshot folder for the specified revision on the local disk and outgoing traffic has been disabled.")
	}
	want := s.p.number("max-model-len", -1)
	if want > s.contextLength && !isTrue(s.env("VLLM_ALLOW_LONG_MAX_MODEL_LEN")) {
		return s.invalid("ModelConfig", "  Value error, User-specified max_model_len (%d) is greater than the derived max_model_len (max_position_embeddings=%d or model_max_length=None in model's config.json).", want, s.contextLength)
	}
	if want > 0 {
		s.contextLength = want
	}
	return exitOK
}

// cached says whether the model is in the hub's folder on this machine.
func (s *vllmServer) cached() bool {
	hub := s.p.text("download-dir", s.env("HF_HUB_CACHE"))
	if hub == "" && s.env("HF_HOME") != "" {
		hub = filepath.Join(s.env("HF_HOME"), "hub")
	}
	if hub == "" {
		hub = filepath.Join(s.env("HOME"), ".cache", "huggingface", "hub")
	}
	_, err := os.Stat(filepath.Join(hub, "models--"+strings.ReplaceAll(s.model, "/", "--")))
	return err == nil
}

// checkNodes refuses what does not fit together for several nodes.
func (s *vllmServer) checkNodes() int {
	if b := s.backend; b != "" && !slices.Contains([]string{"ray", "mp", "uni", "external_launcher"}, b) && !strings.Contains(b, ".") {
		return s.invalid("ParallelConfig", "distributed_executor_backend\n  Input should be 'ray', 'mp', 'uni' or 'external_launcher' [type=literal_error, input_value='%s', input_type=str]", b)
	}
	if s.nnodes == 1 {
		return exitOK
	}
	total := s.dp * s.world
	switch {
	case s.p.text("data-parallel-backend", "mp") != "mp":
		return s.raise("AssertionError", "nnodes > 1 is only supported with data_parallel_backend=mp")
	case total%s.nnodes != 0:
		return s.raise("AssertionError", "world_size=%d must be divisible by nnodes=%d.", total, s.nnodes)
	case s.nodeRank >= s.nnodes:
		return s.raise("AssertionError", "node_rank=%d must be less than nnodes=%d.", s.nodeRank, s.nnodes)
	case s.backend == "ray":
		return s.invalid("ParallelConfig", "  Value error, nnodes > 1 can only be set when distributed executor backend is mp, uni or external_launcher.")
	}
	return exitOK
}

// checkGPUs refuses what this node has not enough GPUs for. Ray's nodes are asked later.
func (s *vllmServer) checkGPUs() int {
	local := s.world * s.dp / s.nnodes
	switch {
	case s.gpus == 0 && s.backend != "ray":
		return s.raise("RuntimeError", "Failed to infer device type, please set the environment variable `VLLM_LOGGING_LEVEL=DEBUG` to turn on verbose logging to help debug the issue.")
	case s.backend == "" && s.nnodes == 1 && s.world > s.gpus:
		return s.invalid("ParallelConfig", "  Value error, World size (%d) is larger than the number of available GPUs (%d) in this node. If this is intentional and you are using:\n- ray, set '--distributed-executor-backend ray'.\n- multiprocessing, set '--nnodes' appropriately.", s.world, s.gpus)
	case s.backend != "ray" && local > s.gpus:
		s.errorf("(Worker) torch.AcceleratorError: CUDA error: invalid device ordinal")
		return s.raise("RuntimeError", "Engine core initialization failed. See root cause above. Failed core proc(s): {}")
	}
	return exitOK
}

// log prints a line as vLLM's logger does.
func (s *vllmServer) log(level, format string, args ...any) {
	fmt.Fprintf(s.stderr, "%s%s %s [standin] %s\n", s.prefix, level, time.Now().Format("01-02 15:04:05"), fmt.Sprintf(format, args...))
}

// launch starts what the command line asks for.
func (s *vllmServer) launch(ctx context.Context) int {
	if s.headless {
		return s.runHeadless(ctx)
	}
	s.log("INFO", "vLLM API server version %s", vllmVersion)
	socket, err := bind(s.host, s.port)
	if err != nil {
		return s.bindFailed(err, s.host, s.port)
	}
	s.log("INFO", "Initializing a V1 LLM engine (v%s) with config: model='%s', max_seq_len=%d, tensor_parallel_size=%d, pipeline_parallel_size=%d", vllmVersion, s.model, s.contextLength, s.tp, s.pp)
	peers, code := s.gather(ctx)
	if peers == nil {
		return code
	}
	defer peers.close()
	if !s.loadModel(ctx) {
		return exitOK
	}
	handler, err := s.handler(peers)
	if err != nil {
		return s.errorf("standin: %v", err)
	}
	l, err := socket.listen()
	if err != nil {
		return s.bindFailed(err, s.host, s.port)
	}
	return s.serve(ctx, l, handler, func() {
		s.log("INFO", "Starting vLLM API server 0 on http://%s:%s", s.host, strconv.Itoa(s.port))
		s.uvicorn(s.prefix, s.host, s.port)
	})
}

// handler is the HTTP API. /health reads a flag of this process alone: it says 200 when a worker elsewhere is dead, while
// requests then wait for an answer that never comes (issues 11996 and 16259 of vLLM).
func (s *vllmServer) handler(peers *peers) (http.Handler, error) {
	engine, err := s.engine(s.names, s.contextLength, s.p.number("max-num-seqs", 256))
	if err != nil {
		return nil, err
	}
	tokens := peers.hangWhenLost(engine.Handler())
	mux := http.NewServeMux()
	for _, path := range []string{"/v1/completions", "/v1/chat/completions"} {
		mux.Handle(path, tokens)
	}
	for _, path := range []string{"/v1/models", "/metrics", "/tokenize", "/reset_prefix_cache"} {
		mux.Handle(path, engine.Handler())
	}
	mux.HandleFunc("/health", okay)
	mux.HandleFunc("/ping", okay)
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"version": vllmVersion})
	})
	mux.HandleFunc("/", notFound)
	guarded := []string{"/v1", "/v2", "/inference"}
	open := func(path string) bool {
		return !slices.ContainsFunc(guarded, func(p string) bool { return strings.HasPrefix(path, p) })
	}
	return bearer(mux, s.keys, open, unauthorized), nil
}
