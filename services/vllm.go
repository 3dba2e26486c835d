package services

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Backends of a vLLM server that spans nodes.
const (
	backendRay = "ray"
	backendMP  = "mp"
)

// vllmMasterPort is where the ranks of vLLM's own multi-node launch meet (--master-port).
const vllmMasterPort = 29501

// vllm serves one model from one node, or from several: over Ray, or by its own launch.
var vllm = Service{
	Name:        "vllm",
	Summary:     "vLLM's OpenAI-compatible server; on several nodes over Ray or by its own launch",
	Written:     "vLLM 0.14 (its multi-node launch without Ray: 0.12 and later), Ray 2.52",
	Source:      "https://docs.vllm.ai/en/stable/cli/serve.html",
	Port:        8000,
	HealthPath:  "/health",
	MetricsPath: "/metrics",
	ResetPath:   "/reset_prefix_cache", // answered where VLLM_SERVER_DEV_MODE=1 is in container.env
	API:         api.APIChat,
	Image:       "docker://vllm/vllm-openai:latest",
	SpansNodes:  true,
	Settings: []Setting{
		{Name: "maxModelLen", Type: SettingInt, Flag: "--max-model-len", Least: 1, Meaning: "longest prompt and answer together, in tokens"},
		{Name: "gpuMemoryUtilization", Type: SettingFloat, Flag: "--gpu-memory-utilization", Least: 0.01, Most: 1, Meaning: "share of each GPU's memory that vLLM may use"},
		{Name: "tensorParallelSize", Type: SettingInt, Flag: "--tensor-parallel-size", Least: 1, Most: 4096, Meaning: "GPUs that share each layer; by default all that the server has on a node"},
		{Name: "pipelineParallelSize", Type: SettingInt, Flag: "--pipeline-parallel-size", Least: 1, Most: 4096, Meaning: "stages that the layers are divided into; by default one on each of the server's nodes"},
		{Name: "dataParallelSize", Type: SettingInt, Flag: "--data-parallel-size", Least: 1, Most: 4096, Meaning: "copies of the model behind one port"},
		{Name: "dtype", Type: SettingWord, Flag: "--dtype", Choices: []string{"auto", "half", "float16", "bfloat16", "float", "float32"}, Meaning: "type of weights and activations"},
		{Name: "quantization", Type: SettingWord, Flag: "--quantization", Meaning: "how weights are quantised"},
		{Name: "kvCacheDtype", Type: SettingWord, Flag: "--kv-cache-dtype", Meaning: "type of the KV cache"},
		{Name: "maxNumSeqs", Type: SettingInt, Flag: "--max-num-seqs", Least: 1, Meaning: "most requests in one batch"},
		{Name: "maxNumBatchedTokens", Type: SettingInt, Flag: "--max-num-batched-tokens", Least: 1, Meaning: "most tokens in one step"},
		{Name: "enablePrefixCaching", Type: SettingBool, Flag: "--[no-]enable-prefix-caching", Meaning: "reuse the KV cache of prompts that begin alike"},
		{Name: "enforceEager", Type: SettingBool, Flag: "--enforce-eager", Meaning: "no CUDA graphs: starts sooner, runs slower"},
		{Name: "trustRemoteCode", Type: SettingBool, Flag: "--trust-remote-code", Meaning: "run code that comes with the model"},
		{Name: "servedModelName", Type: SettingWord, Flag: "--served-model-name", Meaning: "name under which the model is served"},
		{Name: "downloadDir", Type: SettingWord, Flag: "--download-dir", Meaning: "folder for weights"},
		{Name: "seed", Type: SettingInt, Flag: "--seed", Meaning: "seed of the server's own sampling"},
		{Name: "backend", Type: SettingWord, Choices: []string{backendRay, backendMP}, Meaning: "how a server on several nodes is launched: ray (default), or mp, vLLM's own"},
		{Name: "ray", Type: SettingGroup, Parts: raySettings, Meaning: "the Ray cluster of a server on several nodes"},
	},
	Defaults: vllmDefaults,
	Validate: vllmValidate,
	launch:   vllmLaunch,
	Prepare:  prepareOpenAI,
}

// vllmDefaults uses what the server was given: without a word of the user all of its GPUs, where vLLM itself would use one.
func vllmDefaults(spec *api.BenchmarkRunSpec) {
	svc := &spec.Service
	gpus, nodes := gpusPerServerNode(spec), int(svc.NodesPerReplica)
	if gpus == 0 && nodes == 1 {
		return
	}
	set := func(name string, value int) {
		if _, given := svc.Config[name]; !given && value > 1 {
			if svc.Config == nil {
				svc.Config = map[string]any{}
			}
			svc.Config[name] = float64(value) // as JSON decodes it, so that what is stored and read again is equal
		}
	}
	_, tp := svc.Config["tensorParallelSize"]
	_, pp := svc.Config["pipelineParallelSize"]
	if !tp && !pp && svc.Config["dataParallelSize"] == nil && !parallelByArgs(svc.Args) {
		set("tensorParallelSize", gpus)
		set("pipelineParallelSize", nodes)
	}
}

// parallelOptions are how the services' programs call their parallelism, underscores being dashes.
var parallelOptions = []string{
	"--tensor-parallel-size", "--tp-size", "--tp", "-tp", "--pipeline-parallel-size", "--pp-size", "--pp", "-pp",
	"--data-parallel-size", "--dp-size", "--dp", "-dp", "--num-shard",
}

// parallelByArgs says whether the arguments tell of parallelism, which then is the user's to count.
func parallelByArgs(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return slices.Contains(parallelOptions, strings.ReplaceAll(name, "_", "-"))
	})
}

func vllmValidate(spec *api.BenchmarkRunSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	svc := &spec.Service
	config := at.Child("config")
	nodes := int(svc.NodesPerReplica)
	tp, pp := intSetting(svc.Config, "tensorParallelSize", 1), intSetting(svc.Config, "pipelineParallelSize", 1)
	dp := intSetting(svc.Config, "dataParallelSize", 1)
	errs = append(errs, checkParallel(spec, at, tp*pp*dp, fmt.Sprintf("tensorParallelSize (%d) × pipelineParallelSize (%d)", tp, pp)+times("dataParallelSize", dp))...)
	if nodes == 1 {
		for _, name := range []string{"backend", "ray"} {
			if _, given := svc.Config[name]; given {
				errs = append(errs, field.Forbidden(config.Key(name), "is for a server on several nodes: set service.nodesPerReplica"))
			}
		}
		return errs
	}
	if tp*pp < nodes && !parallelByArgs(svc.Args) {
		errs = append(errs, field.Invalid(at.Child("nodesPerReplica"), nodes, fmt.Sprintf(
			"tensorParallelSize (%d) × pipelineParallelSize (%d) = %d leaves nodes of the server without work: raise one of them, or use fewer nodes", tp, pp, tp*pp)))
	}
	if wordSetting(svc.Config, "backend", backendRay) != backendRay {
		if _, given := svc.Config["ray"]; given {
			errs = append(errs, field.Forbidden(config.Key("ray"), "is for backend ray: drop it, or the backend"))
		}
		errs = append(errs, checkShares(svc, at, tp, pp)...)
		return append(errs, checkMeetingPort(svc, at, vllmMasterPort)...)
	}
	ports := rayPorts(groupSetting(svc.Config, "ray"))
	for i, port := range ports {
		if i > 0 && port == ports[i-1] || port == int(svc.Port) {
			errs = append(errs, field.Invalid(config.Key("ray"), port, "is used twice among Ray's ports and service.port: give each its own"))
		}
	}
	return errs
}

// checkMeetingPort keeps a server's port apart from the one where its nodes meet.
func checkMeetingPort(svc *api.ServiceSpec, at *field.Path, meeting int32) field.ErrorList {
	if svc.NodesPerReplica > 1 && svc.Port == meeting {
		return field.ErrorList{field.Invalid(at.Child("port"), svc.Port, "is where the nodes of the server meet: choose another")}
	}
	return nil
}

// checkShares sees that each node of a server has as many GPUs to use, where each starts a share of its own.
func checkShares(svc *api.ServiceSpec, at *field.Path, tp, pp int) field.ErrorList {
	if nodes := int(svc.NodesPerReplica); (tp*pp)%nodes != 0 && !parallelByArgs(svc.Args) {
		return field.ErrorList{field.Invalid(at.Child("config").Key("tensorParallelSize"), tp, fmt.Sprintf(
			"tensorParallelSize (%d) × pipelineParallelSize (%d) = %d GPUs cannot be shared evenly by the server's %d nodes: make it a multiple of them", tp, pp, tp*pp, nodes))}
	}
	return nil
}

func times(name string, n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf(" × %s (%d)", name, n)
}

// checkParallel compares the GPUs that a server's settings ask for with those that it has.
func checkParallel(spec *api.BenchmarkRunSpec, at *field.Path, wanted int, product string) field.ErrorList {
	svc := &spec.Service
	perNode := gpusPerServerNode(spec)
	if perNode == 0 {
		return nil // not counted: a build for CPUs, or GPUs that Slurm does not know
	}
	if has := perNode * int(svc.NodesPerReplica); wanted > has {
		return field.ErrorList{field.Invalid(at.Child("config").Key("tensorParallelSize"), intSetting(svc.Config, "tensorParallelSize", 1), fmt.Sprintf(
			"%s = %d GPUs, but each server has %d (%d on each of its %d nodes): lower it, or raise nodes.servers.gpus or service.nodesPerReplica",
			product, wanted, has, perNode, svc.NodesPerReplica))}
	}
	return nil
}

func vllmLaunch(l Launch) ([]Process, error) {
	if len(l.Nodes) > 1 && wordSetting(l.Spec.Config, "backend", backendRay) == backendRay {
		cluster := &rayCluster{launch: l, settings: groupSetting(l.Spec.Config, "ray")}
		processes := []Process{cluster.node()}
		if l.head() {
			server := vllmServe(l, "--distributed-executor-backend", backendRay)
			server.Gate = cluster.complete()
			for name, value := range cluster.env() {
				server.Env[name] = value
			}
			server.Env["RAY_ADDRESS"] = cluster.address() // else vLLM would start a cluster of its own
			processes = append(processes, server)
		}
		return processes, nil
	}
	if len(l.Nodes) > 1 {
		args := []string{
			"--distributed-executor-backend", backendMP, "--nnodes", strconv.Itoa(len(l.Nodes)), "--node-rank", strconv.Itoa(l.Node),
			"--master-addr", l.Nodes[0], "--master-port", strconv.Itoa(vllmMasterPort),
		}
		if !l.head() {
			args = append(args, "--headless")
		}
		server := vllmServe(l, args...)
		server.Env["VLLM_HOST_IP"] = l.Address
		return []Process{server}, nil
	}
	return []Process{vllmServe(l)}, nil
}

// vllmServe is the server's process. Its key goes by the environment.
func vllmServe(l Launch, more ...string) Process {
	args := []string{"vllm", "serve", l.Spec.Model, "--host", l.Address, "--port", strconv.Itoa(int(l.Port))}
	args = append(args, l.options...)
	args = append(args, more...)
	return Process{Args: append(args, l.Spec.Args...), Env: map[string]string{"VLLM_API_KEY": l.APIKey}}
}

// prepareOpenAI finds out under which name a server offers the model, has it answer a real request of one token (a server
// may say that it is healthy and fail the first request), and asks its version where it tells one.
func prepareOpenAI(ctx context.Context, s Server) (Prepared, error) {
	var p Prepared
	model, err := s.servedModel(ctx)
	if err != nil {
		return p, err
	}
	if model != s.Spec.Model {
		p.Model = model
	}
	if err := s.askOneToken(ctx, model); err != nil {
		return p, err
	}
	p.Version = s.version(ctx)
	return p, nil
}

// servedModel picks the run's model among those that the server offers. When it offers a single one, that is meant.
func (s *Server) servedModel(ctx context.Context) (string, error) {
	var answer struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := s.getJSON(ctx, "/v1/models", &answer); err != nil {
		return "", fmt.Errorf("ask which models are served: %w", err)
	}
	var offered []string
	for _, m := range answer.Data {
		if m.ID == s.Spec.Model || m.ID == wordSetting(s.Spec.Config, "servedModelName", "") {
			return m.ID, nil
		}
		offered = append(offered, m.ID)
	}
	if len(offered) == 1 {
		return offered[0], nil
	}
	return "", &UserError{reasonModel, fmt.Errorf("the server does not offer model %q, but %s: correct service.model", s.Spec.Model, strings.Join(offered, ", "))}
}

// askOneToken has one token made. Models without a chat template know completions alone, some servers chat alone.
func (s *Server) askOneToken(ctx context.Context, model string) error {
	s.Progress("asking for a first token")
	question := map[string]any{"model": model, "max_tokens": 1, "prompt": "Hello"}
	err := s.postJSON(ctx, "/v1/completions", question, &struct{}{})
	if refused, ok := err.(*answerError); ok && refused.code >= 400 && refused.code < 500 { //nolint:errorlint // never wrapped
		delete(question, "prompt")
		question["messages"] = []map[string]string{{"role": "user", "content": "Hello"}}
		if chatErr := s.postJSON(ctx, "/v1/chat/completions", question, &struct{}{}); chatErr == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("have a first token made: %w", err)
	}
	return nil
}

// version asks /version, which not every server has.
func (s *Server) version(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	var answer struct {
		Version string `json:"version"`
	}
	if s.getJSON(ctx, "/version", &answer) != nil {
		return ""
	}
	return answer.Version
}

// hostPort joins the address and port that a server listens on.
func (l *Launch) hostPort() string { return net.JoinHostPort(l.Address, strconv.Itoa(int(l.Port))) }
