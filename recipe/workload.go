package recipe

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// roles are the parts of node_allocation and resources.
func (c *conversion) roles() []struct {
	name string
	spec *api.RoleSpec
} {
	n := &c.run.Nodes
	return []struct {
		name string
		spec *api.RoleSpec
	}{{"servers", &n.Servers}, {"clients", &n.Clients}, {"monitors", &n.Monitors}}
}

// nodes reads how many nodes each role gets and what each needs.
func (c *conversion) nodes() {
	const allocation = "orchestration.node_allocation."
	if mode := c.text("orchestration.mode"); mode == "embedded" {
		if other := c.run.Cluster; other != "" && other != api.ClusterNameEmbedded {
			c.wrong("cluster", "but orchestration.mode is embedded, which is this machine: keep one of them")
		}
		c.run.Cluster = api.ClusterNameEmbedded
	}
	total := int32(0)
	for _, role := range c.roles() {
		at := "spec.nodes." + role.name
		count, given := c.integer(allocation + role.name + ".nodes")
		if given {
			role.spec.Count = &count
			c.from[at+".count"] = allocation + role.name + ".nodes"
		} else if role.name != "monitors" {
			count = 1
		}
		total += count
		if gpus, given := c.integer("resources." + role.name + ".gpus"); given {
			role.spec.GPUs = gpus
			c.from[at+".gpus"] = "resources." + role.name + ".gpus"
		}
		if cpus, given := c.integer("resources." + role.name + ".cpus_per_task"); given {
			role.spec.CPUs = cpus
			c.from[at+".cpus"] = "resources." + role.name + ".cpus_per_task"
		}
		if gb, given := c.integer("resources." + role.name + ".mem_gb"); given {
			memory := resource.MustParse(fmt.Sprintf("%dGi", gb)) // Slurm's G is GiB too
			role.spec.Memory = &memory
			c.from[at+".memory"] = "resources." + role.name + ".mem_gb"
		}
	}
	if all, given := c.integer("orchestration.total_nodes"); given && all != total {
		c.wrong("orchestration.total_nodes", "but servers, clients and monitors have %d nodes together: write %d, or correct node_allocation", total, total)
	}
	c.set("orchestration.job_config.time_limit", "spec.slurm.timeLimit", func(v any) { c.run.Slurm.TimeLimit = fmt.Sprint(v) })
	c.set("orchestration.job_config.exclusive", "spec.slurm.exclusive", func(v any) {
		exclusive, _ := v.(bool)
		c.run.Slurm.Exclusive = &exclusive
	})
}

// workload reads the load. A list is an axis of a sweep.
func (c *conversion) workload() {
	w := &c.run.Workload
	if component := c.text("workload.component"); component != "" && component != "inference" {
		c.warn("workload.component", "is not used: benchd measures inference")
	}
	c.axis("workload.model", "service.model", func(v any) { c.run.Service.Model = fmt.Sprint(v) })
	c.times("workload.duration", "workload.duration", &w.Duration)
	c.times("workload.warmup", "workload.warmup", &w.Warmup)
	c.axis("workload.load_pattern", "workload.load.pattern", func(v any) { w.Load.Pattern = api.Pattern(fmt.Sprint(v)) })
	c.axis("workload.rate", "workload.load.rate", func(v any) {
		n, _ := v.(json.Number)
		w.Load.Rate, _ = n.Float64()
	})
	if c.look("workload.rate") != nil && c.look("workload.load_pattern") == nil {
		w.Load.Pattern = api.PatternPoisson
	}
	c.clients()
	c.axis("workload.prompt_len", "workload.prompts.tokens", func(v any) { w.Prompts.Tokens = whole(v) })
	output := "workload.output_len"
	if c.look(output) == nil {
		output = "workload.max_tokens"
	}
	c.axis(output, "workload.output.tokens", func(v any) { w.Output.Tokens = whole(v) })
	c.axis("workload.streaming", "workload.streaming", func(v any) {
		streaming, _ := v.(bool)
		w.Streaming = &streaming
	})
	c.axis("workload.dataset", "workload.prompts.source", func(v any) { w.Prompts.Source = api.PromptSource(fmt.Sprint(v)) })
	c.set("workload.dataset_path", "spec.workload.prompts.path", func(v any) { w.Prompts.Path = fmt.Sprint(v) })
	c.axis("workload.api", "workload.api", func(v any) { w.API = api.API(fmt.Sprint(v)) })
	if n, given := c.look("workload.seed").(json.Number); given {
		seed, err := n.Int64()
		if err != nil {
			c.wrong("workload.seed", "is out of range")
		}
		w.Seed = &seed
		c.from["spec.workload.seed"] = "workload.seed"
	}
}

// clients reads how many clients each node has, which a recipe can say in three places. The workload's word counts for more than
// the allocation's, and concurrency for more than clients_per_node; where they differ, a warning says so.
func (c *conversion) clients() {
	const allocated = "orchestration.node_allocation.clients.clients_per_node"
	target := "workload.load.clientsPerNode"
	if p := c.run.Workload.Load.Pattern; p != "" && p != api.PatternClosed {
		for _, path := range []string{allocated, "workload.clients_per_node", "workload.concurrency"} {
			if c.look(path) != nil {
				c.warn(path, "is not used: with load_pattern %s the rate decides how many requests are under way", p)
			}
		}
		return
	}
	var chosen string
	for _, path := range []string{allocated, "workload.clients_per_node", "workload.concurrency"} {
		value := c.look(path)
		if value == nil {
			continue
		}
		if chosen != "" && fmt.Sprint(value) != fmt.Sprint(c.look(chosen)) {
			c.warn(chosen, "is not used: %s says %v", path, value)
		}
		chosen = path
	}
	if chosen != "" {
		c.axis(chosen, target, func(v any) { c.run.Workload.Load.ClientsPerNode = whole(v) })
	}
}

// axis reads a field that may be a list: one value is set, several are an axis of the sweep, of which the first is set.
func (c *conversion) axis(path, target string, set func(any)) {
	value := c.look(path)
	if value == nil {
		return
	}
	c.from["spec."+target] = path
	c.axisOf(path, target, value, set)
}

// times reads a time, or a list of them: 2m, or a number of seconds.
func (c *conversion) times(path, target string, into *metav1.Duration) {
	value := c.look(path)
	c.from["spec."+target] = path
	list, isList := value.([]any)
	if !isList {
		*into, _ = c.asTime(path, value)
		return
	}
	texts := make([]any, len(list))
	for i, v := range list {
		d, ok := c.asTime(fmt.Sprintf("%s[%d]", path, i), v)
		if !ok {
			return // told
		}
		texts[i] = d.Duration.String()
		if i == 0 {
			*into = d
		}
	}
	c.axisOf(path, target, texts, func(any) {})
}

// axisOf sets a field to a value, or makes an axis of a list.
func (c *conversion) axisOf(path, target string, value any, set func(any)) {
	list, isList := value.([]any)
	switch {
	case !isList:
		set(value)
		return
	case len(list) == 0:
		c.wrong(path, "is an empty list: give at least one value")
		return
	}
	c.from[fmt.Sprintf("spec.parameters[%d].values", len(c.axes))] = path
	values := make([]any, len(list))
	for i, v := range list {
		if n, ok := v.(json.Number); ok {
			v, _ = n.Float64() // as JSON decodes it everywhere else
		}
		values[i] = v
	}
	c.axes = append(c.axes, api.ParameterSpec{Path: strings.TrimPrefix(target, "spec."), Values: values})
	set(list[0])
}

func whole(v any) int32 {
	n, _ := v.(json.Number)
	whole, _ := n.Int64()
	return int32(min(max(whole, -1<<31), 1<<31-1))
}
