package services

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/simulate"
)

func spec(change func(*api.BenchmarkRunSpec)) *api.BenchmarkRunSpec {
	run := &api.BenchmarkRun{Spec: api.BenchmarkRunSpec{Service: api.ServiceSpec{Name: "dummy"}}}
	api.SetDefaults(run)
	SetDefaults(&run.Spec)
	if change != nil {
		change(&run.Spec)
	}
	return &run.Spec
}

func TestValidate(t *testing.T) {
	config := func(key string, value any) func(*api.BenchmarkRunSpec) {
		return func(s *api.BenchmarkRunSpec) { s.Service.Config = map[string]any{key: value} }
	}
	for name, tc := range map[string]struct {
		change func(*api.BenchmarkRunSpec)
		want   []string // parts of each error
	}{
		"the defaults":           {nil, nil},
		"a good config":          {config("ttft", "20ms"), nil},
		"good faults":            {config("faults", map[string]any{"errorRate": 0.5, "stall": "1s", "stallRate": 0.1}), nil},
		"an unknown service":     {func(s *api.BenchmarkRunSpec) { s.Service.Name = "vlm" }, []string{`spec.service.name: Unsupported value: "vlm": supported values: "dummy"`}},
		"no model":               {func(s *api.BenchmarkRunSpec) { s.Service.Model = "" }, []string{"spec.service.model: Required"}},
		"several nodes each":     {func(s *api.BenchmarkRunSpec) { s.Service.NodesPerReplica = 2 }, []string{"spec.service.nodesPerReplica: Invalid value: 2"}},
		"an unknown setting":     {config("tftt", "20ms"), []string{`spec.service.config`, `tftt`}},
		"an unknown fault":       {config("faults", map[string]any{"errorrrate": 1}), []string{`errorrrate`}},
		"a number as a duration": {config("ttft", 20), []string{"spec.service.config"}},
		"no time":                {config("ttft", "fast"), []string{"config[ttft]", "use a time such as 50ms"}},
		"a rate over 1":          {config("faults", map[string]any{"errorRate": 1.5}), []string{"config[faults][errorRate]", "0 to 1"}},
		"an odd distribution":    {config("itlDist", "pareto"), []string{"config[itlDist]", "lognormal"}},
		"a value JSON lacks":     {config("ttft", func() {}), []string{"use a time"}},
		"GPUs shared unevenly": {
			func(s *api.BenchmarkRunSpec) { s.Service.Replicas = 3; s.Nodes.Servers.GPUs = 4 },
			[]string{"spec.service.replicas: Invalid value: 3: 3 replicas on each node cannot share its 4 GPUs evenly"},
		},
		"GPUs shared evenly": {func(s *api.BenchmarkRunSpec) { s.Service.Replicas = 2; s.Nodes.Servers.GPUs = 4 }, nil},
	} {
		errs := Validate(spec(tc.change))
		if (len(errs) > 0) != (len(tc.want) > 0) {
			t.Errorf("%s: %v", name, errs)
			continue
		}
		for _, part := range tc.want {
			if text := errs.ToAggregate().Error(); !strings.Contains(text, part) {
				t.Errorf("%s: %q lacks %q", name, text, part)
			}
		}
	}
}

func TestLaunchOfADummy(t *testing.T) {
	launch := Launch{
		Binary: "/w/bin/benchd", Address: "::1", Port: 5001, APIKey: "secret", Logs: "/w/logs", Replica: "server-1",
		Spec: api.ServiceSpec{Model: "m; rm -rf /", Args: []string{"--x", "$(id)"}, Config: map[string]any{"ttft": "20ms", "faults": map[string]any{"cutRate": 0.25}}},
	}
	got, err := dummy.Launch(launch)
	want := []Process{{
		Args: []string{
			"/w/bin/benchd", "simulate", "--listen", "[::1]:5001", "--model", "m; rm -rf /", "--log", "/w/logs/server-1.truth.jsonl",
			"--config", `{"faults":{"cutRate":0.25},"ttft":"20ms"}`, "--x", "$(id)",
		},
		Env: map[string]string{SimulateKeyVariable: "secret"},
	}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	launch.Spec.Config, launch.Spec.Args = nil, nil
	if got, err := dummy.Launch(launch); err != nil || len(got[0].Args) != 8 {
		t.Errorf("without a config: %v, %v", got, err)
	}
}

func TestDummyConfigReachesTheSimulation(t *testing.T) {
	got, err := ParseDummyConfig(map[string]any{
		"ttft": "20ms", "itl": "2ms", "ttftDist": "lognormal", "itlDist": "constant", "spread": 0.2, "seed": 7, "concurrency": 3, "queueLimit": 4,
		"startup": "1s", "outputTokens": 5, "chunkTokens": 2,
		"faults": map[string]any{
			"errorRate": 0.01, "errorStatus": 503, "stallRate": 0.02, "stall": "3s", "cutRate": 0.03, "streamErrorRate": 0.04, "emptyRate": 0.05,
			"earlyStopRate": 0.06, "crashAfter": 7, "hangAfter": 8, "unhealthyAfter": 9, "neverHealthy": true,
		},
	})
	want := simulate.Config{
		TTFT: 20 * time.Millisecond, ITL: 2 * time.Millisecond, TTFTDist: "lognormal", ITLDist: "constant", Spread: 0.2, Seed: 7, Concurrency: 3,
		QueueLimit: 4, Startup: time.Second, OutputTokens: 5, ChunkTokens: 2,
		Faults: simulate.Faults{
			ErrorRate: 0.01, ErrorStatus: 503, StallRate: 0.02, Stall: 3 * time.Second, CutRate: 0.03, StreamErrorRate: 0.04, EmptyRate: 0.05,
			EarlyStopRate: 0.06, CrashAfter: 7, HangAfter: 8, UnhealthyAfter: 9, NeverHealthy: true,
		},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestRegistry(t *testing.T) {
	if _, err := Get("vlm"); err == nil || !strings.Contains(err.Error(), `"vlm" is not known: use one of dummy, external, llama.cpp, ollama, sglang, tensorrt-llm, tgi, triton, vllm, or declare a ServiceTemplate`) {
		t.Errorf("%v", err)
	}
	for _, name := range Names() {
		s, err := Get(name)
		if err != nil || s.Name != name || s.Summary == "" || s.Written == "" || s.Prepare == nil || !s.External && (s.Port == 0 || s.HealthPath == "" || s.launch == nil || s.API == "") {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	got := spec(nil).Service
	if got.Port != 5000 || got.Model != "dummy" || got.Health.Endpoint != "/health" {
		t.Errorf("defaults: %+v", got)
	}
	unknown := api.BenchmarkRunSpec{Service: api.ServiceSpec{Name: "vlm"}}
	if SetDefaults(&unknown); unknown.Service.Port != 0 {
		t.Errorf("an unknown service got defaults: %+v", unknown.Service)
	}
}

func TestPrepareOfADummy(t *testing.T) {
	for name, tc := range map[string]struct {
		code    int
		body    string
		version string
		err     string
	}{
		"a version":     {200, `{"version":"1.2"}`, "1.2", ""},
		"not ready":     {503, `{}`, "", "HTTP 503"},
		"not JSON":      {200, `<html>`, "", "invalid character"},
		"a huge answer": {200, `{"version":"` + strings.Repeat("x", 5<<20), "", "unexpected EOF"},
	} {
		var key string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			key = r.Header.Get("Authorization") + r.URL.Path
			w.WriteHeader(tc.code)
			_, _ = w.Write([]byte(tc.body))
		}))
		got, err := dummy.Prepare(t.Context(), Server{URL: s.URL, APIKey: "k"})
		s.Close()
		if got.Version != tc.version || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) || key != "Bearer k/version" {
			t.Errorf("%s: %+v, %v; asked with %q", name, got, err, key)
		}
	}
}

// Whatever its port, a server of TGI is given others that exist, and two of a node are given none twice.
func TestPortsOfTGI(t *testing.T) {
	for _, port := range []int32{1024, 3000, 45535, 45536, 65000, 65535} {
		seen := map[string]bool{}
		for p := port; p < port+2 && p < 1<<16; p++ {
			processes, err := tgi.Launch(Launch{Spec: api.ServiceSpec{Model: "m"}, Address: "10.0.0.1", Port: p, Scratch: "/tmp/s"})
			if err != nil {
				t.Fatal(err)
			}
			args := processes[0].Args
			master := args[slices.Index(args, "--master-port")+1]
			for _, given := range []string{strconv.Itoa(int(p)), master, processes[0].Env["PROMETHEUS_PORT"]} {
				if n, err := strconv.Atoi(given); err != nil || n < 1024 || n > 65535 || seen[given] {
					t.Errorf("port %d: %q is no port, or given twice", p, given)
				}
				seen[given] = true
			}
		}
	}
}

// The ports that the nodes of a server use among themselves are not the server's.
func TestPortsOfServersOnSeveralNodes(t *testing.T) {
	mp := map[string]any{"backend": "mp"}
	port := func(n int32) func(*api.BenchmarkRunSpec) { return func(s *api.BenchmarkRunSpec) { s.Service.Port = n } }
	for name, tc := range map[string]struct {
		change func(*api.BenchmarkRunSpec)
		want   string
	}{
		"vllm, where nodes meet":   {service("vllm", "m", mp, span(2), port(29501)), "spec.service.port: Invalid value: 29501: is where the nodes of the server meet"},
		"sglang, where nodes meet": {service("sglang", "m", nil, span(2), port(20000)), "spec.service.port: Invalid value: 20000"},
		"sglang on one node":       {service("sglang", "m", nil, port(20000)), ""},
		"Ray's dashboard":          {service("vllm", "m", nil, span(2), port(8265)), "is used twice among Ray's ports"},
		"without Ray":              {service("vllm", "m", mp, span(2), port(8265)), ""},
		"Ray's settings unused": {
			service("vllm", "m", map[string]any{"backend": "mp", "ray": map[string]any{"port": 7000.0}}, span(2)), "spec.service.config[ray]: Forbidden: is for backend ray",
		},
	} {
		run := &api.BenchmarkRun{}
		tc.change(&run.Spec)
		api.SetDefaults(run)
		SetDefaults(&run.Spec)
		if errs := Validate(&run.Spec); (len(errs) > 0) != (tc.want != "") || tc.want != "" && !strings.Contains(errs.ToAggregate().Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, errs, tc.want)
		}
	}
}

// Parallelism that stands among the arguments is the user's word as one in the settings is.
func TestParallelismAmongTheArguments(t *testing.T) {
	args := func(words ...string) func(*api.BenchmarkRunSpec) {
		return func(s *api.BenchmarkRunSpec) { s.Service.Args, s.Nodes.Servers.GPUs = words, 4 }
	}
	for name, change := range map[string]func(*api.BenchmarkRunSpec){
		"vllm on nodes": service("vllm", "m", nil, span(2), args("--tensor-parallel-size=8")),
		"sglang":        service("sglang", "m", nil, args("--pp-size", "4")),
		"tensorrt-llm":  service("tensorrt-llm", "m", nil, args("--pp_size", "2", "--tp_size", "2")),
		"tgi":           service("tgi", "m", nil, args("--num-shard", "2")),
	} {
		run := &api.BenchmarkRun{}
		change(&run.Spec)
		api.SetDefaults(run)
		SetDefaults(&run.Spec)
		if errs := Validate(&run.Spec); len(errs) > 0 || len(run.Spec.Service.Config) > 0 {
			t.Errorf("%s: %v, settings %v", name, errs, run.Spec.Service.Config)
		}
	}
}

// Servers that share the clients' nodes are dealt out to them one by one, each with all of its node's GPUs.
func TestServersOnTheClientsNodes(t *testing.T) {
	run := &api.BenchmarkRun{}
	service("vllm", "m", nil, servers(0))(&run.Spec)
	run.Spec.Service.Replicas = 2
	run.Spec.Nodes.Clients.Count, run.Spec.Nodes.Servers.GPUs = ptr(int32(2)), 3
	api.SetDefaults(run)
	SetDefaults(&run.Spec)
	if errs := Validate(&run.Spec); len(errs) > 0 || run.Spec.Service.Config["tensorParallelSize"] != 3.0 {
		t.Errorf("%v, settings %v", errs, run.Spec.Service.Config)
	}
}

func ptr[T any](v T) *T { return &v }
