package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
)

// standIns is a folder of executables that play the inference servers and refuse what the real ones would.
var standIns = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "benchd-standins")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "standin")
	for _, args := range [][]string{{"go", "build", "-o", binary, "../../hack/standin"}, {binary, "install", filepath.Join(dir, "bin")}} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", errors.Join(err, errors.New(string(out)))
		}
	}
	return filepath.Join(dir, "bin"), filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chmod(path, 0o755) // another user runs them on Slurm
	})
})

// served makes a run of a real service, played by stand-ins. It is never repeated.
func served(t testing.TB, service, model string, change ...func(*api.BenchmarkRunSpec)) func(*api.BenchmarkRunSpec) {
	t.Helper()
	dir, err := standIns()
	if err != nil {
		t.Fatal(err)
	}
	return func(s *api.BenchmarkRunSpec) {
		s.Service.Name, s.Service.Model, s.Service.Config = service, model, map[string]any{}
		s.Service.Port = 0
		s.Service.Health.Timeout = seconds(30)
		s.Nodes.Servers.GPUs = 1
		s.Container.Path = []string{dir}
		s.Container.Env = map[string]string{}
		s.BackoffLimit = count(0)
		for _, c := range change {
			c(s)
		}
	}
}

// gpus makes devices where the cluster has none to give: the embedded one.
func gpus(s *api.BenchmarkRunSpec) { s.Container.Env["STANDIN_GPUS"] = "4" }

// slowPull makes a pull long enough to be seen on a busy machine too.
func slowPull(s *api.BenchmarkRunSpec) { s.Container.Env["STANDIN_PULL"] = "10s" }

func nodes(servers, perReplica int32) func(*api.BenchmarkRunSpec) {
	return func(s *api.BenchmarkRunSpec) {
		s.Nodes.Servers.Count, s.Service.NodesPerReplica = count(servers), perReplica
		s.Service.Replicas = servers / perReplica
		s.Nodes.Servers.GPUs = 2
	}
}

func config(name string, value any) func(*api.BenchmarkRunSpec) {
	return func(s *api.BenchmarkRunSpec) { s.Service.Config[name] = value }
}

// modelFolder is one that the test's user can write to.
func modelFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "benchd-models")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tritonRepository is a model repository as Triton wants it.
func tritonRepository(t testing.TB) string {
	t.Helper()
	dir := modelFolder(t)
	model := filepath.Join(dir, "llama", "1")
	if err := os.MkdirAll(model, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		filepath.Join(model, "model.json"):                 `{"model": "org/model"}`,
		filepath.Join(filepath.Dir(model), "config.pbtxt"): "backend: \"vllm\"\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// serviceCases are runs of every service, in the shapes that people run them in.
func serviceCases(t testing.TB) map[string]func(*api.BenchmarkRunSpec) {
	gguf := filepath.Join(modelFolder(t), "m.gguf")
	if err := os.WriteFile(gguf, []byte("GGUF"), 0o644); err != nil {
		t.Fatal(err)
	}
	return map[string]func(*api.BenchmarkRunSpec){
		"ollama-two": served(t, "ollama", "llama2", nodes(2, 1), slowPull, config("models", modelFolder(t)), config("gpuLayers", 8), config("numParallel", 4), config("keepAlive", "1h")),
		"vllm-one":   served(t, "vllm", "org/model", config("maxModelLen", 2048), config("gpuMemoryUtilization", 0.7), config("servedModelName", "short")),
		"vllm-ray":   served(t, "vllm", "org/model", nodes(2, 2), config("ray", map[string]any{"numCpusPerNode": 4})),
		"vllm-own":   served(t, "vllm", "org/model", nodes(2, 2), config("backend", "mp")),
		"sglang-two": served(t, "sglang", "org/model", nodes(2, 2), config("memFractionStatic", 0.8)),
		"llamacpp":   served(t, "llama.cpp", gguf, config("gpuLayers", 8)),
		"trtllm":     served(t, "tensorrt-llm", "org/model", config("backend", "pytorch")),
		"triton":     served(t, "triton", "llama", config("modelRepository", tritonRepository(t)), config("tokenizer", "org/model")),
		"tgi":        served(t, "tgi", "org/model", config("maxModelLen", 2048), config("maxInputTokens", 1024)),
	}
}

func checkServed(t *testing.T, run *api.BenchmarkRun, a *api.Allocation) {
	t.Helper()
	if n := len(run.Status.Attempts[0].Phases); n != 8 {
		t.Errorf("%s: %d phases, want 8: %v", run.Name, n, run.Status.Attempts[0].Phases)
	}
	if s := run.Status.Summary; s == nil || s.Requests == 0 || s.Failed > 0 {
		t.Errorf("%s: summary %+v", run.Name, s)
	}
	for _, s := range a.Status.Servers {
		if s.Version == "" && run.Spec.Service.Name != "triton" || len(s.Command) == 0 {
			t.Errorf("%s: server %+v tells no version or command", run.Name, s)
		}
	}
}

func TestEmbeddedServices(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	cases := serviceCases(t)
	cases["groups"] = served(t, "vllm", "org/model", nodes(4, 2)) // two servers of two nodes each
	for name, change := range cases {
		p.create(newRun(name, change, gpus))
	}
	for name := range cases {
		run := p.until(name, 2*time.Minute, api.RunCompleted)
		checkServed(t, run, p.allocation(name+"-1"))
	}
	if servers := p.allocation("groups-1").Status.Servers; len(servers) != 2 || servers[0].Node != "node001" && servers[0].Node == servers[1].Node {
		t.Errorf("groups of nodes: servers %+v", servers)
	}
	events, err := p.api.List(t.Context(), api.KindEvent, client.ListOptions{Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	pulls := 0
	for _, obj := range events.Items {
		if e, ok := obj.(*api.Event); ok && e.Reason == "Preparing" && strings.Contains(e.Message, "pulling llama2") {
			pulls++
		}
	}
	if pulls == 0 || pulls > 6 {
		t.Errorf("%d events tell of the pull, want one for each of its stages", pulls)
	}
	if m := p.allocation("vllm-one-1").Status.Servers[0].Model; m != "short" {
		t.Errorf("served model: got %q, want short", m)
	}
}

// Every service goes through all phases on a real Slurm, its servers on nodes of their own.
func TestSlurmServices(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil).ready()
	cases := serviceCases(t)
	for name, change := range cases {
		p.create(slurmRun(name, change))
	}
	for name := range cases {
		run := p.until(name, 5*time.Minute, api.RunCompleted)
		a := p.allocation(name + "-1")
		checkServed(t, run, a)
		seen := map[string]bool{}
		for _, n := range a.Status.Nodes {
			seen[n.Name] = true
		}
		if len(seen) != len(a.Status.Nodes) {
			t.Errorf("%s: nodes %+v are not apart", name, a.Status.Nodes)
		}
	}
}

// What a service cannot do is told as what it is, at once, and is the user's.
func TestServiceFailures(t *testing.T) {
	t.Parallel()
	models := modelFolder(t)
	for name, tc := range map[string]struct {
		change func(*api.BenchmarkRunSpec)
		class  api.FailureClass
		reason string
		told   []string
	}{
		"offline": {
			served(t, "ollama", "llama2", config("models", models), func(s *api.BenchmarkRunSpec) { s.Container.Env["STANDIN_REGISTRY"] = "offline" }),
			api.FailureUser, "ModelNotAvailable",
			[]string{"pull model llama2", "no such host", "OLLAMA_MODELS=FOLDER ollama pull llama2"},
		},
		"nosuchmodel": {
			served(t, "ollama", "lama2", config("models", models), func(s *api.BenchmarkRunSpec) { s.Container.Env["STANDIN_REGISTRY"] = "llama2" }),
			api.FailureUser, "ModelNotAvailable",
			[]string{"pull model lama2", "file does not exist", "correct service.model"},
		},
		"nopull": {
			served(t, "ollama", "llama2", config("models", models), config("pull", false)),
			api.FailureUser, "ModelNotAvailable",
			[]string{"llama2 is not there and service.config.pull is false"},
		},
		"noprogram": {
			served(t, "vllm", "m", func(s *api.BenchmarkRunSpec) { s.Container.Path = []string{"/nowhere"} }),
			api.FailureUser, "ServiceProgramMissing",
			[]string{"vllm is not to be found on node node001", "slurm.modules"},
		},
		"noruntime": {
			served(t, "vllm", "m", func(s *api.BenchmarkRunSpec) {
				s.Container = api.ContainerSpec{Runtime: api.RuntimeSingularity, Image: "/etc/hostname"}
			}),
			api.FailureUser, "ContainerRuntimeMissing",
			[]string{"spec.container.runtime", "singularity is not on PATH", "slurm.modules"},
		},
		"unknownoption": {
			served(t, "vllm", "m", gpus, func(s *api.BenchmarkRunSpec) { s.Service.Args = []string{"--max-model-length", "7"} }),
			api.FailureUser, "UnknownOption",
			[]string{"vllm ended by itself: exit status 2", "correct service.args", "unrecognized arguments: --max-model-length"},
		},
		"crash": {
			served(t, "vllm", "m", gpus, func(s *api.BenchmarkRunSpec) {
				s.Container.Env["STANDIN_CRASH_AFTER"] = "1s"
				s.Workload.Duration = seconds(20)
			}),
			api.FailureUser, "CUDAOutOfMemory",
			[]string{"vllm ended by itself", "lower config.maxModelLen", "CUDA out of memory"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlane(t).ready()
			p.create(newRun(name, tc.change))
			run := p.failed(name, tc.class, tc.reason)
			for _, part := range tc.told {
				if !strings.Contains(run.Status.Outcome.Message, part) {
					t.Errorf("%q lacks %q", run.Status.Outcome.Message, part)
				}
			}
			checkFindings(t, run, tc.reason)
		})
	}
}

// checkFindings sees that what the logs tell is found, whether the server failed before a load or under it.
func checkFindings(t *testing.T, run *api.BenchmarkRun, reason string) {
	t.Helper()
	found := run.Status.Attempts[0].Findings
	if known := reason == "UnknownOption" || reason == "CUDAOutOfMemory"; known && (len(found) == 0 || found[0].Rule != reason || found[0].Node != "node001") {
		t.Errorf("findings: %+v", found)
	}
}

// A Ray worker that never joins, and one that dies while /health still says 200, fail the run, and are named.
func TestRayWorkersAreMissed(t *testing.T) {
	t.Parallel()
	t.Run("never joins", func(t *testing.T) {
		t.Parallel()
		p := newPlane(t).ready()
		// The worker looks for its head where nothing listens: the head's port is cut off by another one's firewall, as it were.
		dir := brokenRay(t)
		p.create(newRun("apart", served(t, "vllm", "m", gpus, nodes(2, 2), func(s *api.BenchmarkRunSpec) {
			s.Service.Health.Timeout = seconds(5)
			s.Container.Path = append([]string{dir}, s.Container.Path...)
		})))
		run := p.failed("apart", api.FailureService, "RayWorkersMissing")
		if m := run.Status.Outcome.Message; !strings.Contains(m, "Ray runtime started") || !strings.Contains(m, "node002 (node 2 of the server)") {
			t.Errorf("the message tells neither count nor node: %s", m)
		}
	})
	t.Run("dies later", func(t *testing.T) {
		t.Parallel()
		p := newPlane(t).ready()
		p.create(newRun("widow", served(t, "vllm", "m", gpus, nodes(2, 2), func(s *api.BenchmarkRunSpec) { s.Workload.Duration = seconds(60) })))
		p.until("widow", time.Minute, api.RunExecuting)
		checkWidow(t, p)
	})
}

// The same on a real Slurm, where the nodes have names.
func TestSlurmRayWorkerDies(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil).ready()
	p.create(slurmRun("widow", served(t, "vllm", "m", nodes(2, 2), func(s *api.BenchmarkRunSpec) { s.Workload.Duration = seconds(60) })))
	p.until("widow", 2*time.Minute, api.RunExecuting)
	checkWidow(t, p)
}

// checkWidow kills the worker of run widow's server, and sees that its node is named.
func checkWidow(t *testing.T, p *plane) {
	t.Helper()
	node := p.allocation("widow-1").Status.Nodes[1].Name
	killRaylet(t, p)
	run := p.failed("widow", api.FailureService, "ServerExited")
	if m := run.Status.Outcome.Message; !strings.Contains(m, "vllm-0 on "+node+" (node 2 of the server)") || !strings.Contains(m, "ray ended by itself") {
		t.Errorf("the message does not name the node that was lost: %s", m)
	}
}

// brokenRay is a folder with a ray whose workers never join anything, and whose head is as it should be.
func brokenRay(t *testing.T) string {
	t.Helper()
	real, err := standIns()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := "#!/bin/bash\ncase \"$*\" in *--address=*--block*) exec sleep 600 ;; esac\nexec " + filepath.Join(real, "ray") + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "ray"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// killRaylet kills the worker's raylet: of all processes named so below this home's agents, the one that is no head's.
func killRaylet(t *testing.T, p *plane) {
	t.Helper()
	worker := p.allocation("widow-1").Status.Nodes[1].Address
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(entry)
		if line := string(data); err == nil && strings.Contains(line, "raylet") && strings.Contains(line, worker) {
			pid := 0
			for _, digit := range filepath.Base(filepath.Dir(entry)) {
				pid = 10*pid + int(digit-'0')
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no raylet of %s runs", worker)
}
