package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/services"
)

// answers are what the user said, by the names of the questions. Only questions with many answers have several.
type answers map[string][]string

// get is the answer to a question that has one; empty when there is none.
func (a answers) get(name string) string {
	if len(a[name]) == 0 {
		return ""
	}
	return a[name][0]
}

// A question is one thing that makes a run: a flag of `benchd create`, and something that its dialogue asks. It is declared once,
// so that both write the same file.
type question struct {
	// name of the flag.
	name string
	// step and page of the dialogue; page 0 is not asked there, but a flag alone.
	step string
	page int
	// title is what is asked, help what there is to say of it and of the flag.
	title, help string
	// path is the field that the answer is written into, in a run; recipe the one in a recipe. Faults of path are told beside
	// the question.
	path, recipe string
	// many answers are a list: the flag may be repeated, the dialogue takes commas.
	many bool
	// number says that the field is one.
	number bool
	// when says whether there is anything to ask, by the answers of earlier pages; nil means always.
	when func(answers) bool
	// choices are what can be chosen from, where it is known; none, and text is asked for.
	choices func(*siteDefaults, answers) []choice
	// preset is proposed, and taken where nobody is asked.
	preset func(*siteDefaults, answers) string
	// standin is taken for an answer that is needed and yet to come, so that the others can be checked.
	standin string
	// put writes the answer where path alone does not do.
	put func(d *document, values []string) error
}

// choice is one of several answers.
type choice struct{ value, label string }

// Steps of the dialogue, in order.
const (
	stepService   = "Service"
	stepScenario  = "Scenario"
	stepNodes     = "Nodes"
	stepResources = "Resources"
	stepWorkload  = "Workload"
	stepContainer = "Container"
	stepPreview   = "Preview"
)

var createSteps = []string{stepService, stepScenario, stepNodes, stepResources, stepWorkload, stepContainer, stepPreview}

// createQuestions are all questions, in the order in which they are asked.
var createQuestions = slices.Concat(serviceQuestions, scenarioQuestions, nodeQuestions, workloadQuestions, containerQuestions, flagQuestions)

var serviceQuestions = []question{
	{
		name: "service", step: stepService, page: 1, title: "Which inference service?", help: "inference service, or a ServiceTemplate's name",
		path: "spec.service.name", recipe: "workload.service", choices: serviceChoices,
		preset: func(*siteDefaults, answers) string { return "dummy" },
	},
	{
		name: "endpoint", step: stepService, page: 2, title: "Where do the servers run?", help: "base URL of a server that runs already, such as http://10.1.2.3:8000",
		path: "spec.service.endpoints", many: true, when: isExternal, standin: "http://server:8000",
	},
	{
		name: "api-key-env", step: stepService, page: 2, title: "Variable that holds their API key", help: "name of the control plane's variable with the API key of servers that run already",
		path: "spec.service.apiKey.env", when: isExternal,
	},
}

var scenarioQuestions = []question{
	{
		name: "name", step: stepScenario, page: 1, title: "Name of the scenario", help: "name of the run: lower-case letters, digits and dashes",
		path: "metadata.name", recipe: "scenario", preset: presetName, standin: "x",
	},
	{
		name: "cluster", step: stepScenario, page: 1, title: "Where is it to run?", help: "Cluster object: default is the Slurm of this machine, embedded this machine itself",
		path: "spec.cluster", recipe: "cluster",
		choices: func(*siteDefaults, answers) []choice {
			return []choice{{api.ClusterNameDefault, "Slurm, as its commands on this machine reach it"}, {api.ClusterNameEmbedded, "this machine itself, without Slurm"}}
		},
		preset: func(s *siteDefaults, _ answers) string {
			if s.Slurm {
				return api.ClusterNameDefault
			}
			return api.ClusterNameEmbedded
		},
	},
	{
		name: "partition", step: stepScenario, page: 2, title: "Slurm partition", help: "partition to submit to",
		path: "spec.slurm.partition", recipe: "partition", when: onSlurm, choices: partitionChoices, preset: presetPartition,
	},
	{
		name: "account", step: stepScenario, page: 2, title: "Account to charge", help: "account, or project, to charge",
		path: "spec.slurm.account", recipe: "account", when: onSlurm,
		choices: func(s *siteDefaults, _ answers) []choice { return plainChoices(s.Accounts) },
		preset:  func(s *siteDefaults, _ answers) string { return first(s.Accounts) },
	},
	{
		name: "qos", step: stepScenario, page: 2, title: "QOS", help: "quality of service to ask for",
		path: "spec.slurm.qos", recipe: "qos", when: onSlurm,
		choices: func(s *siteDefaults, _ answers) []choice { return plainChoices(s.QOS) },
		preset:  func(s *siteDefaults, _ answers) string { return first(s.QOS) },
	},
}

var nodeQuestions = []question{
	{
		name: "servers", step: stepNodes, page: 1, title: "Server nodes", help: "nodes that run the service",
		path: "spec.nodes.servers.count", recipe: "orchestration.node_allocation.servers.nodes", number: true, when: hasServers, preset: fixed("1"),
	},
	{
		name: "nodes-per-server", step: stepNodes, page: 1, title: "Nodes that one server spans", help: "nodes that one server spans (vllm, sglang)",
		path: "spec.service.nodesPerReplica", number: true, when: spansNodes, preset: fixed("1"), put: putNodesPerServer,
	},
	{
		name: "clients", step: stepNodes, page: 1, title: "Client nodes", help: "nodes that make the load",
		path: "spec.nodes.clients.count", recipe: "orchestration.node_allocation.clients.nodes", number: true, preset: fixed("1"),
	},
	{
		name: "monitors", step: stepNodes, page: 1, title: "Monitor nodes", help: "nodes that hold what watches the others; with 0 a client node does",
		path: "spec.nodes.monitors.count", recipe: "orchestration.node_allocation.monitors.nodes", number: true, preset: fixed("0"),
	},
	{
		name: "backend", step: stepNodes, page: 2, title: "How are the nodes of a server joined?", help: "how vLLM's nodes are joined: ray, or mp, its own launch",
		path: "spec.service.config.backend", recipe: "servers.service_config.distributed.backend", when: isDistributedVLLM, preset: fixed("ray"),
		choices: func(*siteDefaults, answers) []choice {
			return []choice{{"ray", "a Ray cluster of their own"}, {"mp", "vLLM's own launch (0.12 and later)"}}
		},
	},
	{
		name: "server-gpus", step: stepResources, page: 1, title: "GPUs of each server node", help: "GPUs of each server node",
		path: "spec.nodes.servers.gpus", recipe: "resources.servers.gpus", number: true, when: and(onSlurm, hasServers), preset: presetGPUs,
	},
	{
		name: "server-cpus", step: stepResources, page: 1, title: "CPUs of each server node", help: "CPUs of each server node; all of a whole node when not given",
		path: "spec.nodes.servers.cpus", recipe: "resources.servers.cpus_per_task", number: true, when: and(onSlurm, hasServers),
	},
	{
		name: "server-memory", step: stepResources, page: 1, title: "Memory of each server node", help: "memory of each server node, such as 64Gi; all of a whole node when not given",
		path: "spec.nodes.servers.memory", recipe: "resources.servers.mem_gb", put: putMemory("spec.nodes.servers.memory"), when: and(onSlurm, hasServers),
	},
	{
		name: "client-cpus", step: stepResources, page: 1, title: "CPUs of each client node", help: "CPUs of each client node",
		path: "spec.nodes.clients.cpus", recipe: "resources.clients.cpus_per_task", number: true, when: onSlurm,
	},
	{
		name: "client-memory", step: stepResources, page: 1, title: "Memory of each client node", help: "memory of each client node, such as 16Gi",
		path: "spec.nodes.clients.memory", recipe: "resources.clients.mem_gb", put: putMemory("spec.nodes.clients.memory"), when: onSlurm,
	},
}

var containerQuestions = []question{
	{
		name: "runtime", step: stepContainer, page: 1, title: "What runs the service's program?", help: "container runtime, or none for a program on PATH",
		path: "spec.container.runtime", recipe: "artifacts.runtime", when: isInstalled, choices: runtimeChoices, preset: presetRuntime,
	},
	{
		name: "image", step: stepContainer, page: 2, title: "Image", help: "path of an image, or a reference such as docker://vllm/vllm-openai:latest",
		path: "spec.container.image", recipe: "artifacts.service.path", when: inContainer,
		preset: func(_ *siteDefaults, a answers) string {
			if s, err := services.Get(a.get("service")); err == nil {
				return s.Image
			}
			return ""
		},
	},
	{
		name: "bind", step: stepContainer, page: 2, title: "Bind mounts", help: "mount, as source:destination[:ro|rw]",
		path: "spec.container.binds", recipe: "binds", many: true, when: inContainer,
	},
	{
		name: "secret", step: stepContainer, page: 2, title: "Secrets", help: "variable whose value is kept elsewhere: NAME, of the control plane's environment, or NAME=/path/of/a/file",
		path: "spec.container.secrets", many: true, when: isInstalled, put: putSecrets,
	},
	{
		name: "module", step: stepContainer, page: 2, title: "Modules to load", help: "module to load on the nodes, such as Apptainer",
		path: "spec.slurm.modules", recipe: "modules", many: true, when: onSlurm,
	},
}

// flagQuestions are seldom asked for: flags alone.
var flagQuestions = []question{
	{name: "time-limit", help: "Slurm's time limit, such as 02:00:00; by default what the run needs", path: "spec.slurm.timeLimit", recipe: "orchestration.job_config.time_limit", when: onSlurm},
	{name: "label", help: "label of the run, as KEY=VALUE", path: "metadata.labels", many: true, put: putPairs("metadata.labels", false)},
	{name: "env", help: "variable of the service's environment, as KEY=VALUE", path: "spec.container.env", recipe: "environment", many: true, put: putPairs("spec.container.env", false)},
}

// gibibytes is an amount of memory; a number alone is meant in GiB, for nobody means bytes.
func gibibytes(value string) string {
	if _, err := strconv.ParseUint(value, 10, 32); err == nil {
		return value + "Gi"
	}
	return value
}

func putMemory(path string) func(*document, []string) error {
	return func(d *document, values []string) error {
		d.set(path, textNode(gibibytes(values[0])))
		return nil
	}
}

func fixed(value string) func(*siteDefaults, answers) string {
	return func(*siteDefaults, answers) string { return value }
}

func and(conditions ...func(answers) bool) func(answers) bool {
	return func(a answers) bool {
		return !slices.ContainsFunc(conditions, func(holds func(answers) bool) bool { return !holds(a) })
	}
}

func isExternal(a answers) bool { return a.get("service") == "external" }
func hasServers(a answers) bool { return !isExternal(a) }
func onSlurm(a answers) bool    { return a.get("cluster") != api.ClusterNameEmbedded }

// isInstalled says whether the service is a program that has to come from somewhere.
func isInstalled(a answers) bool { return !isExternal(a) && a.get("service") != "dummy" }

func inContainer(a answers) bool {
	runtime := a.get("runtime")
	return isInstalled(a) && runtime != "" && runtime != string(api.RuntimeNone)
}

func spansNodes(a answers) bool {
	s, err := services.Get(a.get("service"))
	return err == nil && s.SpansNodes
}

func isDistributedVLLM(a answers) bool {
	n := a.get("nodes-per-server")
	return a.get("service") == "vllm" && n != "" && n != "1"
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// plainChoices are values that speak for themselves; one alone is no choice.
func plainChoices(values []string) []choice {
	if len(values) < 2 {
		return nil
	}
	var all []choice
	for _, v := range values {
		all = append(all, choice{v, ""})
	}
	return all
}

func serviceChoices(s *siteDefaults, _ answers) []choice {
	var all []choice
	for _, name := range services.Names() {
		known, err := services.Get(name)
		if err != nil {
			continue
		}
		label, _, _ := strings.Cut(known.Summary, ":")
		label, _, _ = strings.Cut(label, ";")
		label, _, _ = strings.Cut(label, ", ")
		if s.Programs[name] {
			label += " (on PATH here)"
		}
		all = append(all, choice{name, label})
	}
	return all
}

func partitionChoices(s *siteDefaults, _ answers) []choice {
	var all []choice
	for i, p := range s.Partitions {
		label := fmt.Sprintf("%d nodes of %d CPUs", p.Nodes, p.CPUs)
		if p.GPUs > 0 {
			label += fmt.Sprintf(", %d GPUs", p.GPUs)
		}
		if p.MemoryMB > 0 {
			label += fmt.Sprintf(", %d GB", p.MemoryMB/1000)
		}
		label += ", at most " + p.TimeLimit
		if i == 0 {
			label += " (default)"
		}
		all = append(all, choice{p.Name, label})
	}
	return all
}

func runtimeChoices(s *siteDefaults, _ answers) []choice {
	var all []choice
	for _, r := range api.Runtimes() {
		label := "a container"
		switch {
		case r == api.RuntimeNone:
			label = "the program itself, found on the nodes' PATH"
		case r == api.RuntimePyxis:
			label = "a container started by Slurm's plug-in"
		case slices.Contains(s.Runtimes, string(r)):
			label += " (on PATH here)"
		}
		all = append(all, choice{string(r), label})
	}
	return all
}

// presetName is the service's name, in letters that a name may have.
func presetName(_ *siteDefaults, a answers) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(a.get("service"))), "-")
}

// presetPartition is the first partition with GPUs for a service that wants them, the site's default otherwise.
func presetPartition(s *siteDefaults, a answers) string {
	if isInstalled(a) {
		for _, p := range s.Partitions {
			if p.GPUs > 0 {
				return p.Name
			}
		}
	}
	if len(s.Partitions) > 0 {
		return s.Partitions[0].Name
	}
	return ""
}

// presetGPUs are all GPUs of a node, for a node is given whole.
func presetGPUs(s *siteDefaults, a answers) string {
	if !isInstalled(a) {
		return "0"
	}
	n := s.GPUsPerNode
	if p, known := s.partition(a.get("partition")); known {
		n = p.GPUs
	}
	return fmt.Sprint(n)
}

// presetRuntime is none where the program is on PATH, else the first runtime that is.
func presetRuntime(s *siteDefaults, a answers) string {
	_, image := a["image"]
	switch {
	case len(s.Runtimes) > 0 && (image || !s.Programs[a.get("service")]):
		return s.Runtimes[0]
	case image:
		return string(api.RuntimeApptainer)
	}
	return string(api.RuntimeNone)
}
