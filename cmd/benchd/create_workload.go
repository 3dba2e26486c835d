package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/services"
)

var workloadQuestions = []question{
	{
		name: "model", step: stepWorkload, page: 1, title: "Model", help: "model to serve, in the service's own terms",
		path: "spec.service.model", recipe: "workload.model", standin: "model",
		preset: func(_ *siteDefaults, a answers) string {
			if s, err := services.Get(a.get("service")); err == nil {
				return s.Model
			}
			return ""
		},
	},
	{
		name: "model-repository", step: stepWorkload, page: 1, title: "Folder of Triton's models", help: "folder of Triton's models, as the server sees it",
		path: "spec.service.config.modelRepository", recipe: "servers.service_config.model_repository", standin: "/models",
		when: func(a answers) bool { return a.get("service") == "triton" },
	},
	{
		name: "set", step: stepWorkload, page: 1, title: "Settings of the service", help: "setting of the service, as KEY=VALUE",
		path: "spec.service.config", recipe: "servers.service_config", many: true, when: hasServers, put: putPairs("spec.service.config", true),
	},
	{
		name: "duration", step: stepWorkload, page: 2, title: "Measured time", help: "length of the measured window, such as 5m",
		path: "spec.workload.duration", recipe: "workload.duration", preset: fixed("5m"), standin: "1m",
	},
	{
		name: "warmup", step: stepWorkload, page: 2, title: "Warm-up before it", help: "load before the measured window, such as 30s",
		path: "spec.workload.warmup", recipe: "workload.warmup", preset: fixed("30s"),
	},
	{
		name: "pattern", step: stepWorkload, page: 2, title: "Load pattern", help: "shape of the load over time",
		path: "spec.workload.load.pattern", recipe: "workload.load_pattern", preset: fixed(string(api.PatternClosed)),
		choices: func(*siteDefaults, answers) []choice {
			return []choice{
				{string(api.PatternClosed), "clients that ask again when they were answered"},
				{string(api.PatternConstant), "a rate, at even intervals"},
				{string(api.PatternPoisson), "a mean rate, at random, as users come"},
				{string(api.PatternGamma), "a mean rate in clusters"},
				{string(api.PatternBurst), "a rate that is switched on and off"},
				{string(api.PatternSteps), "rates one after the other"},
				{string(api.PatternRamp), "a rate that grows or falls"},
				{string(api.PatternTrace), "the times of a file"},
			}
		},
	},
	{
		name: "clients-per-node", step: stepWorkload, page: 3, title: "Concurrent clients on each client node", help: "concurrent clients on each client node (closed)",
		path: "spec.workload.load.clientsPerNode", recipe: "workload.clients_per_node", number: true, when: pattern(api.PatternClosed), preset: fixed("8"),
	},
	{
		name: "rate", step: stepWorkload, page: 3, title: "Requests per second, over all client nodes", help: "requests per second over all client nodes",
		path: "spec.workload.load.rate", recipe: "workload.rate", number: true, preset: fixed("1"), standin: "1",
		when: pattern(api.PatternConstant, api.PatternPoisson, api.PatternGamma, api.PatternBurst),
	},
	{
		name: "burstiness", step: stepWorkload, page: 3, title: "Burstiness", help: "shape of gamma's intervals: 1 is poisson, less comes in clusters",
		path: "spec.workload.load.burstiness", number: true, preset: fixed("0.5"), when: pattern(api.PatternGamma),
	},
	{
		name: "burst", step: stepWorkload, page: 3, title: "Time on and off", help: "how long the rate is on and off, as ON/OFF, such as 10s/20s",
		path: "spec.workload.load.burst", preset: fixed("10s/20s"), standin: "10s/10s", when: pattern(api.PatternBurst), put: putBurst,
	},
	{
		name: "steps", step: stepWorkload, page: 3, title: "Steps", help: "step, as RATE/TIME, such as 5/1m", many: true,
		path: "spec.workload.load.steps", standin: "1/1m", when: pattern(api.PatternSteps), put: putSteps,
	},
	{
		name: "ramp", step: stepWorkload, page: 3, title: "First and last rate", help: "rates at the beginning and at the end, as FROM/TO, such as 1/20",
		path: "spec.workload.load.ramp", preset: fixed("1/20"), standin: "1/2", when: pattern(api.PatternRamp), put: putRamp,
	},
	{
		name: "trace", step: stepWorkload, page: 3, title: "Trace file", help: "file of a trace, the same on all client nodes",
		path: "spec.workload.load.trace.path", standin: "/trace", when: pattern(api.PatternTrace),
	},
	{
		name: "prompts", step: stepWorkload, page: 3, title: "Prompts", help: "where prompts come from",
		path: "spec.workload.prompts.source", recipe: "workload.dataset", preset: fixed(string(api.PromptSynthetic)),
		choices: func(*siteDefaults, answers) []choice {
			return []choice{
				{string(api.PromptSynthetic), "random words of an exact length"},
				{string(api.PromptHellaSwag), "the contexts of a HellaSwag file"},
				{string(api.PromptShareGPT), "the first questions of a ShareGPT file"},
				{string(api.PromptJSONL), "JSON lines with prompt or messages"},
			}
		},
		when: func(a answers) bool { return a.get("pattern") != string(api.PatternTrace) },
	},
	{
		name: "prompts-path", step: stepWorkload, page: 4, title: "File of the prompts", help: "file that prompts are read from, the same on all client nodes",
		path: "spec.workload.prompts.path", recipe: "workload.dataset_path", standin: "/prompts", when: fromFile,
	},
	{
		name: "prompt-tokens", step: stepWorkload, page: 4, title: "Tokens of a prompt", help: "tokens of a synthetic prompt",
		path: "spec.workload.prompts.tokens", recipe: "workload.prompt_len", number: true, preset: fixed("128"),
		when: func(a answers) bool { return !fromFile(a) && a.get("pattern") != string(api.PatternTrace) },
	},
	{
		name: "output-tokens", step: stepWorkload, page: 4, title: "Tokens of an answer", help: "tokens asked of each answer",
		path: "spec.workload.output.tokens", recipe: "workload.output_len", number: true, preset: fixed("128"),
		when: func(a answers) bool { return a.get("pattern") != string(api.PatternTrace) },
	},
	{
		name: "slo-ttft", step: stepWorkload, page: 5, title: "Limit of the time to the first token", help: "limit of the time to the first token, such as 500ms",
		path: "spec.workload.slo.ttft",
	},
	{
		name: "slo-tpot", step: stepWorkload, page: 5, title: "Limit of the time per further token", help: "limit of the mean time per further token, such as 50ms",
		path: "spec.workload.slo.tpot",
	},
	{
		name: "slo-e2e", step: stepWorkload, page: 5, title: "Limit of the time to the last token", help: "limit of the time to the last token, such as 10s",
		path: "spec.workload.slo.e2e",
	},
}

// pattern says whether the load has one of the patterns.
func pattern(patterns ...api.Pattern) func(answers) bool {
	return func(a answers) bool {
		return slices.Contains(patterns, cmp.Or(api.Pattern(a.get("pattern")), api.PatternClosed))
	}
}

func fromFile(a answers) bool {
	source := a.get("prompts")
	return source != "" && source != string(api.PromptSynthetic) && a.get("pattern") != string(api.PatternTrace)
}

// putNodesPerServer leaves the number of servers open, which follows from the nodes.
func putNodesPerServer(d *document, values []string) error {
	d.set("spec.service.nodesPerReplica", numberNode(values[0]))
	return nil
}

func putSecrets(d *document, values []string) error {
	for _, v := range values {
		name, file, isFile := strings.Cut(v, "=")
		if isFile {
			d.set("spec.container.secrets."+dotless(name)+".file", textNode(file))
			continue
		}
		d.set("spec.container.secrets."+dotless(name)+".env", textNode(name))
	}
	return nil
}

// putPairs writes KEY=VALUE answers below a path; typed reads numbers, true and false as what they are.
func putPairs(path string, typed bool) func(*document, []string) error {
	return func(d *document, values []string) error {
		for _, v := range values {
			key, value, ok := strings.Cut(v, "=")
			if key = strings.TrimSpace(key); !ok || key == "" {
				return fmt.Errorf("%q is no KEY=VALUE", v)
			}
			node := textNode(strings.TrimSpace(value))
			if typed {
				node = typedNode(strings.TrimSpace(value))
			}
			d.set(path+"."+dotless(key), node)
		}
		return nil
	}
}

// dotless keeps a dot of a key from being taken for a step of a path.
func dotless(key string) string { return strings.ReplaceAll(key, ".", keyDot) }

func putBurst(d *document, values []string) error {
	on, off, ok := strings.Cut(values[0], "/")
	if !ok {
		return fmt.Errorf("%q is no ON/OFF: write two times, such as 10s/20s", values[0])
	}
	d.set("spec.workload.load.burst.on", textNode(strings.TrimSpace(on)))
	d.set("spec.workload.load.burst.off", textNode(strings.TrimSpace(off)))
	return nil
}

func putSteps(d *document, values []string) error {
	var steps []any
	for _, v := range values {
		rate, time, ok := strings.Cut(v, "/")
		n, err := strconv.ParseFloat(strings.TrimSpace(rate), 64)
		if !ok || err != nil {
			return fmt.Errorf("%q is no RATE/TIME: write a rate and a time, such as 5/1m", v)
		}
		steps = append(steps, map[string]any{"rate": n, "duration": strings.TrimSpace(time)})
	}
	return d.setValue("spec.workload.load.steps", steps)
}

func putRamp(d *document, values []string) error {
	from, to, ok := strings.Cut(values[0], "/")
	if !ok {
		return fmt.Errorf("%q is no FROM/TO: write two rates, such as 1/20", values[0])
	}
	d.set("spec.workload.load.ramp.from", numberNode(strings.TrimSpace(from)))
	d.set("spec.workload.load.ramp.to", numberNode(strings.TrimSpace(to)))
	return nil
}
