package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain plays whoever the test binary is called as: `ray start` starts its daemons from its own file.
func TestMain(m *testing.M) {
	if _, ok := find(filepath.Base(os.Args[0])); ok {
		os.Exit(play(os.Args))
	}
	os.Exit(m.Run())
}

// patience bounds every wait for something that is certain to come.
const patience = 20 * time.Second

// A watched is output that a test can wait for.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	if w.more != nil {
		close(w.more)
		w.more = nil
	}
	return len(b), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// await waits until the output has part in it, or ended is closed.
func (w *watched) await(t *testing.T, part string, ended <-chan struct{}) bool {
	t.Helper()
	deadline := time.After(patience)
	for {
		w.mu.Lock()
		found := strings.Contains(w.text.String(), part)
		if w.more == nil {
			w.more = make(chan struct{})
		}
		more := w.more
		w.mu.Unlock()
		if found {
			return true
		}
		select {
		case <-more:
		case <-ended:
			return strings.Contains(w.String(), part)
		case <-deadline:
			t.Fatalf("%q did not come; there was:\n%s", part, w.String())
		}
	}
}

// An acted is a personality that runs in this process.
type acted struct {
	out   *watched
	ended chan struct{}
	code  int
	stop  context.CancelFunc
}

// act starts a command line with an environment of its own.
func act(t *testing.T, env map[string]string, line ...string) *acted {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	a := &acted{out: &watched{}, ended: make(chan struct{}), stop: stop}
	lookup := func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}
	k, err := readKnobs(lookup)
	if err != nil {
		t.Fatal(err)
	}
	if env["STANDIN_LOAD"] == "" {
		k.load = 0
	}
	c := &call{name: line[0], args: line[1:], lookup: lookup, knobs: k, stdout: a.out, stderr: a.out}
	go func() {
		defer close(a.ended)
		a.code = c.dispatch(ctx)
	}()
	t.Cleanup(func() { a.end(t) })
	return a
}

// end stops the program and returns its exit code.
func (a *acted) end(t *testing.T) int {
	t.Helper()
	a.stop()
	return a.wait(t)
}

// wait waits until the program ends by itself.
func (a *acted) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-a.ended:
		return a.code
	case <-time.After(patience):
		t.Fatalf("it goes on; it said:\n%s", a.out)
		return -1
	}
}

// ready waits for a line of the log.
func (a *acted) ready(t *testing.T, line string) {
	t.Helper()
	if !a.out.await(t, line, a.ended) {
		t.Fatalf("it ended with %d before it said %q:\n%s", a.code, line, a.out)
	}
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("a TCP port at %v", l.Addr())
	}
	return at.Port
}

// ask sends a request and returns the status and the body.
func ask(t *testing.T, method, url, key, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// expect asks, and looks for a part of the answer.
func expect(t *testing.T, method, url, key, body string, status int, part string) {
	t.Helper()
	got, text := ask(t, method, url, key, body)
	if got != status || !strings.Contains(text, part) {
		t.Errorf("%s %s %s: got %d %s, want %d with %q", method, url, body, got, text, status, part)
	}
}

// modelFolder is a model with a config.json.
func modelFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"max_position_embeddings": 4096}`), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

var gpus4 = map[string]string{"CUDA_VISIBLE_DEVICES": "0,1,2,3"}

// with adds to an environment.
func with(env map[string]string, pairs ...string) map[string]string {
	out := map[string]string{}
	for k, v := range env {
		out[k] = v
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// A refusal is a command line that the real program does not take.
type refusal struct {
	env  map[string]string
	line string
	code int
	says string
}

// vllmRefusals is what vLLM does not take; model is a model folder.
func vllmRefusals(model string) map[string]refusal {
	return map[string]refusal{
		"vllm: unknown option":           {gpus4, "vllm serve m --tensor-paralel 2", 2, "vllm: error: unrecognized arguments: --tensor-paralel 2"},
		"vllm: unknown command":          {gpus4, "vllm start m", 2, "invalid choice: 'start' (choose from 'chat'"},
		"vllm: two models":               {gpus4, "vllm serve m n", 2, "unrecognized arguments: n"},
		"vllm: not a number":             {gpus4, "vllm serve m --port x", 2, "argument --port: invalid int value: 'x'"},
		"vllm: no value":                 {gpus4, "vllm serve m --port", 2, "argument --port: expected one argument"},
		"vllm: unknown dtype":            {gpus4, "vllm serve m --dtype int3", 2, "argument --dtype: invalid choice: 'int3' (choose from 'auto'"},
		"vllm: ambiguous":                {gpus4, "vllm serve m --max-num 2", 2, "ambiguous option: --max-num could match --max-num-batched-tokens, --max-num-seqs"},
		"vllm: a boolean with a value":   {gpus4, "vllm serve m --enforce-eager=true", 2, "ignored explicit argument 'true'"},
		"vllm: more memory than all":     {gpus4, "vllm serve m --gpu-memory-utilization 1.5", 1, "Input should be less than or equal to 1"},
		"vllm: no memory":                {gpus4, "vllm serve m --gpu-memory-utilization 0", 1, "Input should be greater than 0"},
		"vllm: more GPUs than there are": {gpus4, "vllm serve m -tp 8", 1, "World size (8) is larger than the number of available GPUs (4) in this node."},
		"vllm: the same with mp":         {gpus4, "vllm serve m -tp 8 --distributed-executor-backend mp", 1, "Engine core initialization failed"},
		"vllm: no GPU":                   {nil, "vllm serve m", 1, "Failed to infer device type"},
		"vllm: nnodes with ray":          {gpus4, "vllm serve m -tp 8 --nnodes 2 --distributed-executor-backend ray", 1, "nnodes > 1 can only be set when"},
		"vllm: world and nnodes":         {gpus4, "vllm serve m -tp 3 --nnodes 2", 1, "world_size=3 must be divisible by nnodes=2."},
		"vllm: rank beyond nnodes":       {gpus4, "vllm serve m -tp 4 --nnodes 2 --node-rank 2", 1, "node_rank=2 must be less than nnodes=2."},
		"vllm: headless API servers":     {gpus4, "vllm serve m --headless --api-server-count 2", 1, "cannot be used with --headless"},
		"vllm: name without a model":     {gpus4, "vllm serve --served-model-name x", 1, "`model` should be provided as the first positional argument"},
		"vllm: backend":                  {gpus4, "vllm serve m --distributed-executor-backend mpi", 1, "Input should be 'ray', 'mp', 'uni'"},
		"vllm: a folder that is none":    {gpus4, "vllm serve /nowhere/at/all", 1, "Invalid repository ID or local directory"},
		"vllm: longer than the model":    {gpus4, "vllm serve " + model + " --max-model-len 8192", 1, "User-specified max_model_len (8192) is greater than"},
		"vllm: not cached and offline":   {with(gpus4, "HF_HUB_OFFLINE", "1", "HF_HOME", model), "vllm serve org/m", 1, "Cannot find an appropriate cached snapshot folder"},
		"vllm: no place in Ray":          {with(gpus4, "STANDIN_PG_TIMEOUT", "1ms", "RAY_TMPDIR", model), "vllm serve m -tp 8 --distributed-executor-backend ray", 1, "Cannot provide a placement group requiring 8.0 GPUs"},
		"vllm: a head that is not there": {with(gpus4, "STANDIN_DIST_TIMEOUT", "30ms"), "vllm serve m -tp 8 --nnodes 2 --node-rank 1 --headless --master-addr 127.0.0.1 --master-port 1", 1, "The client socket has timed out"},
		"api_server: no positional":      {gpus4, "python3 -m vllm.entrypoints.openai.api_server m", 2, "unrecognized arguments: m"},
	}
}

// rayRefusals is what Ray does not take; folder has no cluster and no token.
func rayRefusals(folder string) map[string]refusal {
	return map[string]refusal{
		"ray: unknown option":           {nil, "ray start --heads", 2, "Error: No such option: --heads"},
		"ray: unknown command":          {nil, "ray begin", 2, "Error: No such command 'begin'."},
		"ray: neither head nor address": {nil, "ray start", 1, "`--address` is a required flag unless starting a head node"},
		"ray: a worker with a port":     {nil, "ray start --address 127.0.0.1:1 --port 5", 1, "`--port` should only be specified when starting head node"},
		"ray: dashboard without value":  {nil, "ray start --head --include-dashboard --block", 2, "'--block' is not a valid boolean."},
		"ray: port":                     {nil, "ray start --head --port x", 2, "Invalid value for '--port': 'x' is not a valid integer."},
		"ray: block with a value":       {nil, "ray start --head --block=true", 2, "Option '--block' does not take a value."},
		"ray: argument":                 {nil, "ray start --head now", 2, "Got unexpected extra argument (now)"},
		"ray: resources":                {nil, "ray start --head --resources x", 1, "Failed to parse resources JSON"},
		"ray: address":                  {nil, "ray start --address here", 1, "Malformed address"},
		"ray: no token":                 {map[string]string{"RAY_AUTH_MODE": "token", "HOME": folder}, "ray start --address 127.0.0.1:1", 1, "no authentication token was found"},
		"ray: token file":               {map[string]string{"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/nowhere"}, "ray start --head", 1, "file cannot be opened or is empty"},
		"ray: no cluster":               {map[string]string{"RAY_TMPDIR": folder}, "ray status", 1, "Could not find any running Ray instance"},
		"ray: head not there":           {map[string]string{"STANDIN_RAY_CONNECT": "30ms"}, "ray status --address 127.0.0.1:1", 1, "Timed out while waiting for GCS to become available"},
	}
}

// otherRefusals is what the others do not take; port is free.
func otherRefusals(port string) map[string]refusal {
	return map[string]refusal{
		"ollama: argument":         {nil, "ollama serve model", 1, "Error: accepts 0 arg(s), received 1"},
		"ollama: option":           {nil, "ollama serve --port 1", 1, "Error: unknown flag: --port"},
		"ollama: command":          {nil, "ollama begin", 1, `Error: unknown command "begin" for "ollama"`},
		"sglang: no model":         {gpus4, "python3 -m sglang.launch_server --tp 2", 2, "the following arguments are required: --model-path"},
		"sglang: underscores":      {gpus4, "sglang serve --model-path m --tp_size 2", 2, "unrecognized arguments: --tp_size 2"},
		"sglang: nodes":            {gpus4, "sglang serve --model-path m --tp 8 --nnodes 2", 1, "dist_init_addr"},
		"sglang: data and nodes":   {gpus4, "sglang serve --model-path m --tp 2 --dp 2 --nnodes 2 --dist-init-addr 127.0.0.1:1", 1, "multi-node data parallel is not supported unless dp attention!"},
		"sglang: too many GPUs":    {gpus4, "sglang serve --model-path m --tp 8", 1, "invalid device ordinal"},
		"sglang: memory":           {gpus4, "sglang serve --model-path m --mem-fraction-static 1.2", 1, "mem_fraction_static"},
		"python: module":           {nil, "python3 -m nothing", 1, "No module named nothing"},
		"llama: option":            {nil, "llama-server --modell x", 1, "error: invalid argument: --modell"},
		"llama: value":             {nil, "llama-server -m x --port eighty", 1, `error while handling argument "--port": stoi`},
		"llama: equals":            {nil, "llama-server --model=x", 1, "error: invalid argument: --model=x"},
		"llama: flash attention":   {nil, "llama-server -fa -m x", 1, `error while handling argument "-fa"`},
		"llama: environment":       {map[string]string{"LLAMA_ARG_CTX_SIZE": "x"}, "llama-server -m x", 1, `environment variable "LLAMA_ARG_CTX_SIZE"`},
		"llama: model":             {nil, "llama-server -m /nowhere.gguf --port " + port, 1, "failed to load model"},
		"trtllm: dashes":           {gpus4, "trtllm-serve m --tp-size 2", 2, "No such option: --tp-size"},
		"trtllm: no model":         {gpus4, "trtllm-serve --port 1", 2, "Missing argument 'MODEL'."},
		"trtllm: backend":          {gpus4, "trtllm-serve m --backend onnx", 2, "'onnx' is not one of 'pytorch'"},
		"trtllm: no GPU":           {nil, "trtllm-serve m", 1, "No GPU devices found on the node"},
		"triton: no repository":    {nil, "python3 main.py", 2, "required: --model-repository"},
		"triton: empty repository": {nil, "python3 openai_frontend/main.py --model-repository /nowhere", 1, "failed to load all models"},
		"tgi: option":              {gpus4, "text-generation-launcher --model m", 2, "error: unexpected argument '--model' found"},
		"tgi: twice":               {gpus4, "text-generation-launcher --port 1 --port 2", 2, "cannot be used multiple times"},
		"tgi: dtype":               {gpus4, "text-generation-launcher --dtype int8", 2, "[possible values: float16, bfloat16]"},
		"tgi: both":                {gpus4, "text-generation-launcher --dtype float16 --quantize awq", 1, "cannot be set together"},
		"tgi: environment":         {with(gpus4, "PORT", "x"), "text-generation-launcher", 2, "invalid value 'x' for '--port <PORT>'"},
		"tgi: shards":              {gpus4, "text-generation-launcher --num-shard 8", 1, "NotEnoughCUDADevices"},
		"standin: name":            {nil, "standin vlm", 2, `nothing here is called "vlm"`},
	}
}

func TestRefusedCommandLines(t *testing.T) {
	t.Parallel()
	all := vllmRefusals(modelFolder(t))
	maps.Copy(all, rayRefusals(t.TempDir()))
	maps.Copy(all, otherRefusals(strconv.Itoa(freePort(t))))
	for name, r := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := act(t, r.env, strings.Fields(r.line)...)
			if code := a.wait(t); code != r.code || !strings.Contains(a.out.String(), r.says) {
				t.Errorf("%s: exit %d, want %d with %q; it said:\n%s", r.line, code, r.code, r.says, a.out)
			}
		})
	}
}

func TestAcceptedCommandLines(t *testing.T) {
	t.Parallel()
	const uvicorn = "Uvicorn running"
	model := modelFolder(t)
	repository := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.MkdirAll(filepath.Join(repository, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(repository, name, "config.pbtxt"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(model, "m.gguf")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		env         map[string]string
		line, ready string
	}{
		"vllm":                {gpus4, "vllm serve org/m --host 127.0.0.1 --port PORT -tp 2 -pp=2 --max_model_len 16k --served-model-name x y --no-enable-prefix-caching --gpu-mem 0.5 --kv-cache-dtype fp8", uvicorn},
		"vllm, --model":       {gpus4, "vllm serve --model org/m --host 127.0.0.1 --port PORT --seed -1", uvicorn},
		"vllm, local":         {gpus4, "vllm serve " + model + " --host 127.0.0.1 --port PORT --max-model-len auto", uvicorn},
		"vllm, JSON":          {gpus4, "vllm serve m --host 127.0.0.1 --port PORT --compilation-config.mode 3 --hf-overrides {}", uvicorn},
		"vllm, Ray by itself": {with(gpus4, "RAY_TMPDIR", model), "vllm serve m -tp 4 --distributed-executor-backend ray --host 127.0.0.1 --port PORT", uvicorn},
		"vllm, api_server":    {gpus4, "python3 -m vllm.entrypoints.openai.api_server --model m --host 127.0.0.1 --port PORT", uvicorn},
		"sglang":              {gpus4, "sglang serve --model-path m --port PORT --tp 4 --mem-fraction-static 0.8 --enable-metrics", "fired up"},
		"sglang, python":      {gpus4, "python3 -m sglang.launch_server --model m --port PORT", "fired up"},
		"llama":               {with(nil, "LLAMA_ARG_N_PARALLEL", "2"), "llama-server -m " + file + " --ctx_size 2048 -ngl all -fa on --metrics --port PORT", "starting the main loop"},
		"trtllm":              {gpus4, "trtllm-serve serve org/m --port PORT --tp_size 4 --kv_cache_free_gpu_memory_fraction 0.8", uvicorn},
		"triton":              {nil, "python3 openai_frontend/main.py --model-repository " + repository + " --tokenizer t --openai-port PORT --host 127.0.0.1", uvicorn},
		"tgi":                 {with(gpus4, "HOSTNAME", "127.0.0.1", "NUM_SHARD", "2"), "text-generation-launcher --model-id m -p PORT --max-input-tokens=100", "Connected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := strconv.Itoa(freePort(t))
			a := act(t, x.env, strings.Fields(strings.ReplaceAll(x.line, "PORT", port))...)
			a.ready(t, x.ready)
			status, text := ask(t, "GET", "http://127.0.0.1:"+port+"/v1/models", "", "")
			var models struct{ Data []struct{ ID string } }
			if err := json.Unmarshal([]byte(text), &models); status != http.StatusOK || err != nil || len(models.Data) == 0 {
				t.Errorf("/v1/models: %d %s", status, text)
			}
			if code := a.end(t); code != 0 {
				t.Errorf("exit %d after it was stopped", code)
			}
		})
	}
}

func TestVisibleGPUs(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]int{"": 0, "0": 1, "0,1": 2, "3,2,1": 3, "0,-1,1": 1, "0,0": 0, "GPU-8f2c,MIG-1": 2, "none": 0, "7,8": 1} {
		c := &call{knobs: knobs{gpus: 8}, lookup: func(string) (string, bool) { return list, true }}
		if got := c.gpuCount(); got != want {
			t.Errorf("CUDA_VISIBLE_DEVICES=%q: %d GPUs, want %d", list, got, want)
		}
	}
}

func TestInstall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 { // the second finds links
		if code := act(t, nil, "standin", "install", dir).wait(t); code != 0 {
			t.Fatalf("exit %d", code)
		}
	}
	for _, name := range []string{"vllm", "ray", "ollama", "python3", "llama-server", "text-generation-launcher"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}
