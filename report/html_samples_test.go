package report

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/workload"
)

// bigLoad is what two client nodes recorded of a load on four servers: 20 s of warm-up, 60 s measured.
func bigLoad() []client {
	var nodes []client
	for n := range 2 {
		c := client{header: header(fmt.Sprintf("mel21%02d", 30+n)), trailer: workload.Trailer{CPUSeconds: 31.2, PeakCPU: 0.21, PeakThread: 0.44, Ended: 83_000 * ms1, SendEnded: 80_000 * ms1, Servers: map[string]workload.ServerView{}}}
		c.header.Ranks, c.header.Rank, c.header.Warmup, c.header.Duration = 2, n, 20_000*ms1, 60_000*ms1
		c.header.TTFT, c.header.TPOT, c.header.OfferedRate, c.header.Pattern = 200*ms1, 50*ms1, 40, "poisson"
		for i := range int64(1600) {
			at := i*50 + int64(n)*25
			ttft := 60 + (i*i*7919)%90 + 3*(i%11)*(i%11)
			gaps := make([]uint32, 40)
			length := int64(0)
			for g := range gaps {
				gaps[g] = uint32(14 + (i*31+int64(g)*17)%9)
				length += int64(gaps[g])
			}
			r := streamed(at, at+i%2, at+ttft, at+ttft+length, at+ttft+length+1, 512, 41, gaps...)
			r.Server = fmt.Sprintf("vllm-%d", i%4)
			switch {
			case i%97 == 5:
				r = failed(at, at, at+300, "http_status")
				r.Status, r.Message = 503, "the engine is out of memory <retry later>"
			case i%211 == 7:
				r = failed(at, at, at+900, "stream_cut")
				r.Message = "the stream ended without [DONE]"
			}
			c.records = append(c.records, r)
		}
		for s := range 4 {
			c.trailer.Servers[fmt.Sprintf("vllm-%d", s)] = workload.ServerView{
				Source: "vllm", Queue: workload.ServerTime{Sum: 8.1, Count: 600}, Prefill: workload.ServerTime{Sum: 41, Count: 600}, Decode: workload.ServerTime{Sum: 431, Count: 600},
				TTFT: workload.ServerTime{Sum: 62, Count: 600}, E2E: workload.ServerTime{Sum: 500, Count: 600},
			}
		}
		nodes = append(nodes, c)
	}
	return nodes
}

// bigResources are made-up samples of two server nodes with four GPUs each, and of the clients.
func bigResources(s *Series) *Resources {
	r := &Resources{IntervalSeconds: 1, PerNode: map[string]NodeResources{}, PerServer: map[string]ServerResources{}}
	per := 0.912
	r.Energy = &Energy{Joules: 93_400, PerOutputToken: &per, Source: "power", GapSeconds: 2}
	wave := func(node, name string, middle, swing float64) {
		values := make([]*float64, len(s.InFlight))
		for i := range values {
			if name == "cpu_percent" && i >= 30 && i < 34 {
				continue // a gap
			}
			v := middle + swing*math.Sin(float64(i)/7+float64(len(node)+len(name)))
			values[i] = &v
		}
		r.Series = append(r.Series, ResourceSeries{Node: node, Name: name, Values: values})
		n := r.PerNode[node]
		if n.Metrics == nil {
			n = NodeResources{Samples: 58, GapSeconds: 2, Metrics: map[string]Usage{}}
		}
		n.Metrics[name] = Usage{Mean: middle, Peak: middle + swing}
		r.PerNode[node] = n
	}
	number := func(v float64) *float64 { return &v }
	for n := range 2 {
		name := fmt.Sprintf("mel20%02d", 11+n)
		for g := range 4 {
			gpu := fmt.Sprintf("gpu%d_", g)
			wave(name, gpu+"utilization_percent", 81+float64(3*g), 12)
			wave(name, gpu+"memory_used_bytes", 36e9, 1e9)
			wave(name, gpu+"power_watts", 310+float64(9*g), 55)
			wave(name, gpu+"temperature_celsius", 61, 5)
		}
		for v := range 2 {
			server := fmt.Sprintf("vllm-%d", 2*n+v)
			wave(name, server+"_requests_running", 9, 4)
			wave(name, server+"_requests_waiting", 1, 1)
			wave(name, server+"_kv_cache_usage_ratio", 0.45, 0.2)
			r.PerServer[server] = ServerResources{
				Running: &Usage{9, 13}, Waiting: &Usage{1, 2}, KVCacheUsage: &Usage{0.45, 0.65}, Preemptions: number(3), PrefixCacheHitRate: number(0.31),
				PromptTokens: number(301_000), OutputTokens: number(24_100),
			}
		}
		for _, name := range []string{name, fmt.Sprintf("mel21%02d", 30+n)} {
			wave(name, "cpu_percent", 23, 8)
			wave(name, "load1", 11, 3)
			wave(name, "memory_used_bytes", 60e9, 2e9)
			wave(name, "network_received_bytes_total", 3e6, 1e6)
		}
	}
	return r
}

// bigStory is a run with everything that a report can tell of.
func bigStory(folder string) (Input, Story, *api.BenchmarkRun) {
	yes, seed := true, int64(42)
	begun := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	at := func(seconds float64) metav1.MicroTime {
		return metav1.NewMicroTime(begun.Add(time.Duration(seconds * float64(time.Second))))
	}
	limit := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	run := &api.BenchmarkRun{}
	run.Name, run.Namespace = "llama2-on-vllm", "default"
	run.Spec.Cluster, run.Spec.Slurm = "default", api.SlurmSpec{Partition: "gpu", Account: "p200981", TimeLimit: "02:00:00"}
	run.Spec.Service = api.ServiceSpec{Name: "vllm", Model: "meta-llama/Llama-2-7b-hf", Replicas: 4, Config: map[string]any{"maxModelLen": 2048}}
	run.Spec.Container = api.ContainerSpec{Runtime: "apptainer", Image: "/project/vllm.sif", Env: map[string]string{"HF_TOKEN": "hf_secret", "HF_HOME": "/scratch"}}
	w := &run.Spec.Workload
	*w = api.WorkloadSpec{Streaming: &yes, Balance: api.BalanceRoundRobin, API: api.APIChat, Seed: &seed}
	w.Load = api.LoadSpec{Pattern: api.PatternPoisson, Rate: 40}
	w.Warmup.Duration, w.Duration.Duration, w.Drain = 20*time.Second, time.Minute, limit(30*time.Second)
	w.Prompts, w.Output = api.PromptSpec{Source: api.PromptSynthetic, Tokens: 512}, api.OutputSpec{Tokens: 41}
	w.SLO = api.SLOSpec{TTFT: limit(200 * time.Millisecond), TPOT: limit(50 * time.Millisecond)}
	record := &api.RunRecord{Benchd: "v1.2.0", Attempt: 2, Seed: seed, Cluster: "default", SlurmVersion: "23.11.4", Image: &api.ImageRecord{Image: "/project/vllm.sif", Digest: "sha256:0f3a", Size: 9 << 30}}
	story := Story{Spec: run.Spec, JobID: "3141592", Folder: folder, End: at(428).Time, JobStart: at(212).Time, AgentsUp: at(216.5).Time}
	for i, name := range []string{"mel2011", "mel2012", "mel2130", "mel2131"} {
		n := api.NodeRecord{Rank: int32(i), Name: name, Roles: []string{"client"}, CPUs: 64, CPUModel: "AMD EPYC 7452", Memory: 512 << 30, Kernel: "4.18.0", OS: "Rocky Linux 8.9"}
		if i < 2 {
			n.Roles, n.GPUs = []string{"server"}, slices.Repeat([]api.GPURecord{{Name: "NVIDIA A100-SXM4-40GB", Driver: "550.54", MemoryMiB: 40960}}, 4)
		}
		record.Nodes = append(record.Nodes, n)
	}
	for s := range 4 {
		record.Servers = append(record.Servers, api.ServerStatus{
			Name: fmt.Sprintf("vllm-%d", s), Node: record.Nodes[s/2].Name, URL: fmt.Sprintf("http://10.3.0.1%d:800%d", s/2, s%2), Version: "0.9.1",
			Command: []string{"vllm", "serve", "meta-llama/Llama-2-7b-hf", "--port", fmt.Sprintf("800%d", s%2), "--max-model-len", "2048", "--served-model-name", "a model"},
			Env:     map[string]string{"CUDA_VISIBLE_DEVICES": "0,1", "HF_TOKEN": "hf_secret"},
		})
	}
	for i, phase := range []api.RunPhase{api.RunPending, api.RunInitializing, api.RunDeploying, api.RunMonitoring, api.RunLaunching, api.RunExecuting, api.RunTearingDown, api.RunReporting} {
		story.Phases = append(story.Phases, api.PhaseTime{Phase: phase, Since: at([]float64{0, 0.2, 0.4, 331, 331.4, 333, 417, 426}[i])})
	}
	story.Findings = []api.LogFinding{
		{Rule: "SlowTokenizer", Severity: "warning", Meaning: "The server uses a slow tokenizer.", NextStep: "Install the fast one, or expect a longer TTFT.", Node: "mel2011", Component: "server", At: at(230), Count: 1, Lines: []string{"WARNING 03-14 using a slow tokenizer"}},
		{Rule: "CUDAOutOfMemory", Severity: "error", Meaning: "A GPU had no memory left.", NextStep: "Lower service.config.gpuMemoryUtilization or maxModelLen.", Node: "mel2012", Component: "server", At: at(371), Count: 17, Lines: []string{"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "  File \"engine.py\", line 12, in step"}},
	}
	run.Status.Record = record
	in := Input{Run: run.Name, UID: "u", Service: "vllm", Model: run.Spec.Service.Model, Version: "v1.2.0", Attempt: 2, Clients: 2, Limits: defaults()}
	return in, story, run
}

// bigAttempt is the folder of that run.
func bigAttempt(t testing.TB, change func(*Input, *Story, *api.BenchmarkRun)) string {
	t.Helper()
	folder, _ := attemptOf(t, bigLoad()...)
	in, story, run := bigStory(folder)
	if change != nil {
		change(&in, &story, run)
	}
	s, err := Make(folder, in, story)
	if err != nil {
		t.Fatal(err)
	}
	s.Resources = bigResources(s.Series)
	if err := write(filepath.Join(folder, Dir), s, story); err != nil {
		t.Fatal(err)
	}
	data, err := yaml.Marshal(run)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, LockYAML), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// htmlOf is the page of an attempt's folder.
func htmlOf(t testing.TB, folder string) []byte {
	t.Helper()
	d, err := Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	data, err := d.HTML()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What is drawn has the names that samplers give: a figure of a name that nobody gives is never seen.
func TestDrawnMetricsAreCharted(t *testing.T) {
	for _, m := range drawnMetrics {
		if !slices.Contains(charted, m.metric) && !slices.ContainsFunc(charted, func(name string) bool { return strings.HasSuffix(m.metric, "_"+name) }) {
			t.Errorf("%s is not among the columns whose course is kept", m.metric)
		}
	}
}
