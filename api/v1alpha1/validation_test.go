package v1alpha1

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// validRun is a run with defaults that has nothing wrong.
func validRun() *BenchmarkRun {
	run, ok := New(KindBenchmarkRun).(*BenchmarkRun)
	if !ok {
		panic("no run")
	}
	run.Name = "run"
	run.Spec.Service.Name = "dummy"
	run.Spec.Workload.Duration.Duration = time.Minute
	SetDefaults(run)
	return run
}

func validCluster(name string) *Cluster {
	c, ok := New(KindCluster).(*Cluster)
	if !ok {
		panic("no cluster")
	}
	c.Name = name
	SetDefaults(c)
	return c
}

// paths are the fields that have errors, sorted.
func paths(obj Object) []string {
	found := []string{}
	for _, err := range Validate(obj) {
		found = append(found, err.Field)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func ptr[T any](v T) *T { return &v }

func duration(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }

func TestDefaultsAreIdempotentAndValid(t *testing.T) {
	sparse := map[string]func(*BenchmarkRun){
		"nothing more":    func(*BenchmarkRun) {},
		"a constant load": func(r *BenchmarkRun) { r.Spec.Workload.Load = LoadSpec{Pattern: PatternConstant, Rate: 3} },
		"many nodes":      func(r *BenchmarkRun) { r.Spec.Nodes.Servers.Count = ptr(int32(4)); r.Spec.Service.NodesPerReplica = 2 },
		"shared nodes":    func(r *BenchmarkRun) { r.Spec.Nodes.Clients.Count = ptr(int32(0)) },
		"what is off": func(r *BenchmarkRun) {
			r.Spec.Slurm.Exclusive = ptr(false)
			r.Spec.Monitoring.Enabled = ptr(false)
			r.Spec.Workload.Streaming = ptr(false)
		},
		"no retry":         func(r *BenchmarkRun) { r.Spec.BackoffLimit = ptr(int32(0)); r.Spec.Workload.Drain = ptr(duration(0)) },
		"a week":           func(r *BenchmarkRun) { r.Spec.Workload.Duration = duration(7 * 24 * time.Hour) },
		"a namespace":      func(r *BenchmarkRun) { r.Namespace = "team" },
		"its own time":     func(r *BenchmarkRun) { r.Spec.Slurm.TimeLimit = "1-0" },
		"an output length": func(r *BenchmarkRun) { r.Spec.Workload.Output.Tokens = 1 },
	}
	for name, change := range sparse {
		t.Run(name, func(t *testing.T) {
			run, ok := New(KindBenchmarkRun).(*BenchmarkRun)
			if !ok {
				t.Fatal("no run")
			}
			run.Name, run.Spec.Service.Name, run.Spec.Workload.Duration = "run", "dummy", duration(time.Minute)
			change(run)
			idempotent(t, run)
		})
	}
	idempotent(t, validCluster("default"))
	idempotent(t, validCluster(ClusterNameEmbedded))
}

func idempotent(t *testing.T, obj Object) {
	t.Helper()
	SetDefaults(obj)
	if diff := cmp.Diff([]string{}, paths(obj)); diff != "" {
		t.Errorf("with defaults it is not valid (-want +got):\n%s", diff)
	}
	first, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	stored := New(obj.GetObjectKind().GroupVersionKind().Kind)
	if err := json.Unmarshal(first, stored); err != nil {
		t.Fatal(err)
	}
	SetDefaults(stored)
	second, err := json.Marshal(stored)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(first), string(second)); diff != "" {
		t.Errorf("defaults of defaults (-once +twice):\n%s", diff)
	}
}

// TestValidateRun has one thing wrong in each case, and wants exactly the named fields to have errors.
func TestValidateRun(t *testing.T) {
	type run = *BenchmarkRun
	long := strings.Repeat("x", 5000)
	for path, cases := range map[string]map[string]func(run){
		"": {
			"the longest name": func(r run) { r.Name = strings.Repeat("a", 63) },
			"free text":        func(r run) { r.Spec.Service.Model = `méta "7b" $(x); rm` },
			"options of sbatch": func(r run) {
				r.Spec.Slurm.ExtraArgs = []string{"--constraint=a100&ib", "--reservation=x", "--nice", "--mem-per-cpu=1G", "--wait-all-nodes=1", "--gpus-per-task=1"}
			},
			"partitions":            func(r run) { r.Spec.Slurm.Partition = "gpu,cpu" },
			"host lists":            func(r run) { r.Spec.Slurm.Nodelist, r.Spec.Slurm.Exclude = "mel[2001-2004,2010]", "n1,n2" },
			"modules":               func(r run) { r.Spec.Slurm.Modules = []string{"env/release/2024.1", "Apptainer/1.3.1-GCC++"} },
			"a path":                func(r run) { r.Spec.Service.Health.Endpoint = "/v1/models" },
			"a limit of time alone": func(r run) { r.Spec.Slurm.TimeLimit = "1" },
		},
		"metadata.name": {
			"missing": func(r run) { r.Name = "" }, "long": func(r run) { r.Name = strings.Repeat("a", 64) }, "upper case": func(r run) { r.Name = "Run" },
			"a dot": func(r run) { r.Name = "a.b" }, "a slash": func(r run) { r.Name = "../x" }, "a dash first": func(r run) { r.Name = "-a" }, "a line break": func(r run) { r.Name = "a\n" },
		},
		"metadata.namespace":           {"a slash": func(r run) { r.Namespace = "a/b" }, "upper case": func(r run) { r.Namespace = "A" }, "long": func(r run) { r.Namespace = strings.Repeat("a", 64) }},
		"metadata.labels":              {"a key": func(r run) { r.Labels = map[string]string{"a b": ""} }, "no key": func(r run) { r.Labels = map[string]string{"": ""} }},
		"metadata.labels[a]":           {"a value": func(r run) { r.Labels = map[string]string{"a": "b c"} }},
		"metadata.annotations":         {"size": func(r run) { r.Annotations = map[string]string{"a": strings.Repeat("x", 256<<10)} }},
		"spec.cluster":                 {"a path": func(r run) { r.Spec.Cluster = "../x" }, "empty": func(r run) { r.Spec.Cluster = "" }},
		"spec.backoffLimit":            {"negative": func(r run) { r.Spec.BackoffLimit = ptr(int32(-1)) }, "many": func(r run) { r.Spec.BackoffLimit = ptr(int32(101)) }},
		"spec.slurm.partition":         {"a space": func(r run) { r.Spec.Slurm.Partition = "a b" }, "an option": func(r run) { r.Spec.Slurm.Partition = "--wrap" }},
		"spec.slurm.account":           {"an option": func(r run) { r.Spec.Slurm.Account = "-A" }, "two": func(r run) { r.Spec.Slurm.Account = "a,b" }},
		"spec.slurm.qos":               {"a quote": func(r run) { r.Spec.Slurm.QOS = "a'" }},
		"spec.slurm.nodelist":          {"a path": func(r run) { r.Spec.Slurm.Nodelist = "/etc/hosts" }},
		"spec.slurm.exclude":           {"a space": func(r run) { r.Spec.Slurm.Exclude = "n1 n2" }},
		"spec.slurm.modules[1]":        {"a command": func(r run) { r.Spec.Slurm.Modules = []string{"ok", "a;b"} }, "empty": func(r run) { r.Spec.Slurm.Modules = []string{"ok", ""} }, "an option": func(r run) { r.Spec.Slurm.Modules = []string{"ok", "--force"} }},
		"spec.slurm.timeLimit":         {"words": func(r run) { r.Spec.Slurm.TimeLimit = "soon" }, "none": func(r run) { r.Spec.Slurm.TimeLimit = "0" }, "shorter than the load": func(r run) { r.Spec.Workload.Warmup, r.Spec.Slurm.TimeLimit = duration(time.Minute), "1" }},
		"spec.nodes.servers.count":     {"negative": func(r run) { r.Spec.Nodes.Servers.Count = ptr(int32(-1)) }, "many": func(r run) { r.Spec.Nodes.Servers.Count = ptr(int32(4097)) }},
		"spec.nodes.clients.gpus":      {"negative": func(r run) { r.Spec.Nodes.Clients.GPUs = -1 }, "many": func(r run) { r.Spec.Nodes.Clients.GPUs = 65 }},
		"spec.nodes.monitors.cpus":     {"negative": func(r run) { r.Spec.Nodes.Monitors.CPUs = -1 }},
		"spec.nodes.servers.memory":    {"none": func(r run) { r.Spec.Nodes.Servers.Memory = ptr(resource.MustParse("0")) }, "negative": func(r run) { r.Spec.Nodes.Servers.Memory = ptr(resource.MustParse("-1Gi")) }},
		"spec.nodes":                   {"none": func(r run) { r.Spec.Nodes.Servers.Count, r.Spec.Nodes.Clients.Count = ptr(int32(0)), ptr(int32(0)) }, "all": func(r run) { r.Spec.Nodes.Servers.Count, r.Spec.Nodes.Clients.Count = ptr(int32(4096)), ptr(int32(1)) }},
		"spec.service.name":            {"missing": func(r run) { r.Spec.Service.Name = "" }, "a path": func(r run) { r.Spec.Service.Name = "../x" }, "a command": func(r run) { r.Spec.Service.Name = "$(x)" }},
		"spec.service.model":           {"long": func(r run) { r.Spec.Service.Model = long }},
		"spec.service.port":            {"privileged": func(r run) { r.Spec.Service.Port = 80 }, "negative": func(r run) { r.Spec.Service.Port = -1 }, "high": func(r run) { r.Spec.Service.Port = 65001 }},
		"spec.service.replicas":        {"none": func(r run) { r.Spec.Service.Replicas = 0 }, "many": func(r run) { r.Spec.Service.Replicas = 4097 }},
		"spec.service.nodesPerReplica": {"none": func(r run) { r.Spec.Service.NodesPerReplica = 0 }, "more than there are": func(r run) { r.Spec.Service.NodesPerReplica = 2 }},
		"spec.service.args[0]":         {"a NUL": func(r run) { r.Spec.Service.Args = []string{"a\x00b"} }},
		"spec.service.config":          {"a key": func(r run) { r.Spec.Service.Config = map[string]any{"a\n": 1} }},
		"spec.service.config[a][0]":    {"deep": func(r run) { r.Spec.Service.Config = map[string]any{"a": []any{"\x1b[2J"}} }},
		"spec.service.health.timeout":  {"short": func(r run) { r.Spec.Service.Health.Timeout = duration(time.Millisecond) }, "long": func(r run) { r.Spec.Service.Health.Timeout = duration(25 * time.Hour) }},
		"spec.service.health.interval": {"negative": func(r run) { r.Spec.Service.Health.Interval = duration(-1) }},
		"spec.service.health.endpoint": {"a URL": func(r run) { r.Spec.Service.Health.Endpoint = "http://x/" }, "a query": func(r run) { r.Spec.Service.Health.Endpoint = "/a?b" }, "a quote": func(r run) { r.Spec.Service.Health.Endpoint = `/a"b` }},
		"spec.container.runtime":       {"another": func(r run) { r.Spec.Container.Runtime = "docker" }},
		"spec.container.env":           {"a name": func(r run) { r.Spec.Container.Env = map[string]string{"A B": ""} }, "no name": func(r run) { r.Spec.Container.Env = map[string]string{"": ""} }, "a command": func(r run) { r.Spec.Container.Env = map[string]string{"A=1;B": ""} }},
		"spec.container.env[A]":        {"a line break": func(r run) { r.Spec.Container.Env = map[string]string{"A": "b\nc"} }},
		"spec.container":               {"an image for none": func(r run) { r.Spec.Container.Image = "x.sif" }, "binds for none": func(r run) { r.Spec.Container.Binds = []string{"/a:/b"} }},
		"spec.workload.duration":       {"none": func(r run) { r.Spec.Workload.Duration = duration(0) }, "negative": func(r run) { r.Spec.Workload.Duration = duration(-time.Hour) }, "long": func(r run) { r.Spec.Workload.Duration, r.Spec.Slurm.TimeLimit = duration(8*24*time.Hour), "9-0" }},
		"spec.workload.warmup":         {"negative": func(r run) { r.Spec.Workload.Warmup = duration(-1) }},
		"spec.workload.drain":          {"negative": func(r run) { r.Spec.Workload.Drain = ptr(duration(-1)) }},
		"spec.workload.requestTimeout": {"short": func(r run) { r.Spec.Workload.RequestTimeout = ptr(duration(time.Millisecond)) }},
		"spec.workload.balance":        {"another": func(r run) { r.Spec.Workload.Balance = "random" }},
		"spec.workload.api":            {"another": func(r run) { r.Spec.Workload.API = "grpc" }},
		"spec.workload.prompts.source": {"another": func(r run) { r.Spec.Workload.Prompts.Source, r.Spec.Workload.Prompts.Path = "oracle", "/x" }},
		"spec.workload.prompts.tokens": {"negative": func(r run) { r.Spec.Workload.Prompts.Tokens = -1 }, "many": func(r run) { r.Spec.Workload.Prompts.Tokens = 1<<20 + 1 }},
		"spec.workload.output.tokens":  {"none": func(r run) { r.Spec.Workload.Output.Tokens = 0 }},
		"spec.workload.slo.tpot":       {"none": func(r run) { r.Spec.Workload.SLO.TPOT = ptr(duration(0)) }},
		"spec.workload.slo.e2e":        {"long": func(r run) { r.Spec.Workload.SLO.E2E = ptr(duration(25 * time.Hour)) }},
		"spec.workload.slo.ttft": {"without streaming": func(r run) {
			r.Spec.Workload.SLO.TTFT, r.Spec.Workload.Streaming = ptr(duration(time.Second)), ptr(false)
		}},
		"spec.workload.load.pattern":        {"another": func(r run) { r.Spec.Workload.Load.Pattern = "chaos" }},
		"spec.workload.load.clientsPerNode": {"none": func(r run) { r.Spec.Workload.Load.ClientsPerNode = 0 }, "many": func(r run) { r.Spec.Workload.Load.ClientsPerNode = 100_001 }},
		"spec.workload.load.thinkTime":      {"negative": func(r run) { r.Spec.Workload.Load.ThinkTime = duration(-1) }},
		"spec.workload.load.rate":           {"of a closed loop": func(r run) { r.Spec.Workload.Load.Rate = 1 }, "none": constant(0), "negative": constant(-1), "not a number": constant(math.NaN()), "endless": constant(math.Inf(1)), "high": constant(2e6)},
		"spec.workload.load.maxConcurrency": {"of a closed loop": func(r run) { r.Spec.Workload.Load.MaxConcurrency = 1 }, "negative": func(r run) { r.Spec.Workload.Load = LoadSpec{Pattern: PatternConstant, Rate: 1, MaxConcurrency: -1} }},
		"spec.monitoring.pushgateway.start.port": {"of the executor": func(r run) {
			r.Spec.Monitoring.Pushgateway = &PushgatewaySpec{Interval: duration(time.Second), Start: &StartPushgatewaySpec{Port: r.Spec.Nodes.ExecutorPort}}
		}},
		"spec.monitoring.pushgateway.authorizationFile": {"of one that is started": func(r run) {
			r.Spec.Monitoring.Pushgateway = &PushgatewaySpec{Interval: duration(time.Second), AuthorizationFile: "/k", Start: &StartPushgatewaySpec{Port: 9091}}
		}, "the secret itself": func(r run) {
			r.Spec.Monitoring.Pushgateway = &PushgatewaySpec{Interval: duration(time.Second), AuthorizationFile: "Basic YTpi", URL: "http://a"}
		}},
		"spec.logging.forward.authorizationFile": {"the secret itself": func(r run) {
			r.Spec.Logging.Type = CollectorForward
			r.Spec.Logging.Forward = &ForwardSpec{URL: "http://a", Format: ForwardLoki, AuthorizationFile: "Bearer abc"}
		}},
		"spec.logging.forward.url": {"a password": func(r run) {
			r.Spec.Logging.Type = CollectorForward
			r.Spec.Logging.Forward = &ForwardSpec{URL: "http://a:b@c", Format: ForwardLoki}
		}},
		"spec.monitoring.interval":        {"short": func(r run) { r.Spec.Monitoring.Interval = duration(time.Millisecond) }},
		"spec.monitoring.output":          {"a path": func(r run) { r.Spec.Monitoring.Output = "../x.csv" }, "hidden": func(r run) { r.Spec.Monitoring.Output = ".x" }, "dots": func(r run) { r.Spec.Monitoring.Output = ".." }, "root": func(r run) { r.Spec.Monitoring.Output = "/" }, "long": func(r run) { r.Spec.Monitoring.Output = strings.Repeat("x", 201) }},
		"spec.logging.type":               {"another": func(r run) { r.Spec.Logging.Type = "syslog" }},
		"spec.logging.flushInterval":      {"none": func(r run) { r.Spec.Logging.FlushInterval = duration(0) }},
		"spec.logging.outputs.stdout":     {"a folder": func(r run) { r.Spec.Logging.Outputs.Stdout = "a/b" }, "the flag": func(r run) { r.Spec.Logging.Outputs.Stdout = "loggers_ready" }},
		"spec.logging.outputs.stderr":     {"twice": func(r run) { r.Spec.Logging.Outputs.Stderr = r.Spec.Logging.Outputs.Stdout }, "compressed already": func(r run) { r.Spec.Logging.Outputs.Stderr = r.Spec.Logging.Outputs.Stdout + ".gz" }},
		"spec.logging.outputs.aggregated": {"twice": func(r run) { r.Spec.Logging.Outputs.Aggregated = r.Spec.Logging.Outputs.Stdout }},
		"spec.timeouts.queue":             {"negative": func(r run) { r.Spec.Timeouts.Queue = ptr(duration(-1)) }},
		"spec.timeouts.start":             {"negative": func(r run) { r.Spec.Timeouts.Start = ptr(duration(-time.Hour)) }},
		"spec.timeouts.launch":            {"none": func(r run) { r.Spec.Timeouts.Launch = ptr(duration(0)) }},
		"spec.timeouts.execution":         {"none": func(r run) { r.Spec.Timeouts.Execution = ptr(duration(0)) }},
		"spec.timeouts.teardown":          {"none": func(r run) { r.Spec.Timeouts.Teardown = ptr(duration(0)) }},
		"spec.timeouts.report":            {"long": func(r run) { r.Spec.Timeouts.Report = ptr(duration(366 * 24 * time.Hour)) }},
		"spec.slurm.extraArgs[0]":         extraArgs(),
	} {
		for name, change := range cases {
			t.Run(path+" "+name, func(t *testing.T) {
				run := validRun()
				change(run)
				want := []string{path}
				if path == "" {
					want = []string{}
				}
				if diff := cmp.Diff(want, paths(run)); diff != "" {
					t.Errorf("fields with errors (-want +got):\n%s\n%v", diff, Validate(run))
				}
			})
		}
	}
}

func constant(rate float64) func(*BenchmarkRun) {
	return func(r *BenchmarkRun) { r.Spec.Workload.Load = LoadSpec{Pattern: PatternConstant, Rate: rate} }
}

// extraArgs are options that are not for the user: those of benchd, in full and as sbatch lets them be shortened, and
// what is no long option.
func extraArgs() map[string]func(*BenchmarkRun) {
	cases := map[string]func(*BenchmarkRun){}
	args := []string{"-p", "gpu", "", "--", "--UPPER", "--a b", "--=x", "--constraint a100", "--wra=reboot", "--exp=ALL", "--job=x", "--tim=1", "--part=x", "--no-req", "--gpus=4", "--hol", "--outp=/x"}
	for name, where := range ownArgs {
		if where != "-" {
			args = append(args, "--"+name, "--"+name+"=x")
		}
	}
	for _, arg := range args {
		cases[fmt.Sprintf("%q", arg)] = func(r *BenchmarkRun) { r.Spec.Slurm.ExtraArgs = []string{arg} }
	}
	return cases
}

func TestADurationThatIsWrongIsTheOnlyError(t *testing.T) {
	for _, d := range []time.Duration{-1, -time.Hour, -1 << 62, 1<<63 - 1, 400 * 24 * time.Hour} {
		run, ok := New(KindBenchmarkRun).(*BenchmarkRun)
		if !ok {
			t.Fatal("no run")
		}
		run.Name, run.Spec.Service.Name, run.Spec.Workload.Duration = "run", "dummy", duration(time.Minute)
		run.Spec.Service.Health.Timeout = duration(d)
		SetDefaults(run) // computes slurm.timeLimit
		if diff := cmp.Diff([]string{"spec.service.health.timeout"}, paths(run)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", d, diff)
		}
	}
}

func TestValidateCluster(t *testing.T) {
	for path, changes := range map[string][]func(*Cluster){
		"metadata.name":          {func(c *Cluster) { c.Name = "a/b" }},
		"spec.type":              {func(c *Cluster) { c.Spec.Type = "pbs" }},
		"spec.nodeAccess":        {func(c *Cluster) { c.Spec.NodeAccess = "ssh" }},
		"spec.workdir":           {func(c *Cluster) { c.Spec.Workdir = "work" }, func(c *Cluster) { c.Spec.Workdir = "/a\nb" }},
		"spec.binDir":            {func(c *Cluster) { c.Spec.BinDir = "./bin" }},
		"spec.conf":              {func(c *Cluster) { c.Spec.Conf = "slurm.conf" }},
		"spec.network":           {func(c *Cluster) { c.Spec.Network = "ib0; x" }},
		"spec.pollInterval":      {func(c *Cluster) { c.Spec.PollInterval = duration(time.Millisecond) }},
		"spec.visibilityTimeout": {func(c *Cluster) { c.Spec.VisibilityTimeout = duration(2 * time.Hour) }},
		"spec.maxQueued":         {func(c *Cluster) { c.Spec.MaxQueued = -1 }, func(c *Cluster) { c.Spec.MaxQueued = 10_001 }},
		"spec.embeddedNodes":     {func(c *Cluster) { c.Spec.Type, c.Spec.EmbeddedNodes = ClusterEmbedded, 251 }},
	} {
		for i, change := range changes {
			c := validCluster("c")
			change(c)
			if diff := cmp.Diff([]string{path}, paths(c)); diff != "" {
				t.Errorf("%s %d (-want +got):\n%s", path, i, diff)
			}
		}
	}
	for _, network := range []string{"ib0", "10.1.0.0/16", "fd00::/8", "eth0.12"} {
		c := validCluster("c")
		if c.Spec.Network = network; len(paths(c)) > 0 {
			t.Errorf("network %s: %v", network, Validate(c))
		}
	}
}
