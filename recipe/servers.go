package recipe

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/services"
)

// distributedNames are what recipes call vLLM on several nodes.
var distributedNames = []string{"vllm_distributed", "vllm-distributed", "vllm distributed"}

// servers reads the service and its settings.
func (c *conversion) servers() {
	svc := &c.run.Service
	svc.Name = c.text("workload.service")
	c.from["spec.service.name"] = "workload.service"
	distributed := slices.Contains(distributedNames, strings.ToLower(svc.Name))
	if distributed {
		svc.Name = "vllm"
	} else if lower := strings.ToLower(svc.Name); services.Known(lower) {
		svc.Name = lower
	}
	const health = "servers.health_check."
	if enabled, given := c.look(health + "enabled").(bool); given && !enabled {
		c.warn(health+"enabled", "is not used: servers are always looked at, for nothing could be measured otherwise")
	}
	c.time(health+"timeout", "spec.service.health.timeout", &svc.Health.Timeout)
	c.time(health+"interval", "spec.service.health.interval", &svc.Health.Interval)
	c.set(health+"endpoint", "spec.service.health.endpoint", func(v any) { svc.Health.Endpoint = fmt.Sprint(v) })
	if port, given := c.integer("servers.port"); given {
		svc.Port = port
		c.from["spec.service.port"] = "servers.port"
	}
	if known, err := services.Get(svc.Name); err == nil {
		c.settings(known)
		c.batch(known)
	}
	c.span(distributed)
	c.from["spec.service.config"] = "servers"
	if c.peek("servers.service_config") != nil {
		c.from["spec.service.config"] = "servers.service_config"
	}
}

func (c *conversion) time(path, target string, to *metav1.Duration) {
	if d, given := c.duration(path); given {
		*to = d
		c.from[target] = path
	}
}

// settings reads service_config. What stands beside it, in servers itself, is read as if it stood in it, for recipes write
// both. Names are in snake_case; those that the service does not know are left for the warning.
func (c *conversion) settings(service *services.Service) {
	for _, place := range []string{"servers", "servers.service_config"} {
		c.group(place, "spec.service.config", service.Settings, c.config)
	}
	for _, place := range []string{"servers.distributed", "servers.service_config.distributed"} {
		for _, name := range []string{"tensor_parallel_size", "pipeline_parallel_size", "backend"} {
			c.setting(place+"."+name, "spec.service.config", name, service.Settings, c.config)
		}
		c.look(place + ".enabled")
	}
}

// config returns the service's config, which is made when something is first put there.
func (c *conversion) config() map[string]any {
	if c.run.Service.Config == nil {
		c.run.Service.Config = map[string]any{}
	}
	return c.run.Service.Config
}

// group reads the settings that a mapping holds.
func (c *conversion) group(place, target string, known []services.Setting, into func() map[string]any) {
	object, _ := c.peek(place).(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(object)) {
		c.setting(place+"."+name, target, name, known, into)
	}
}

// setting reads one setting. The same one in two places must have the same value.
func (c *conversion) setting(path, target, name string, known []services.Setting, into func() map[string]any) {
	i := slices.IndexFunc(known, func(s services.Setting) bool { return s.Name == camel(name) })
	if i < 0 || c.peek(path) == nil {
		return
	}
	key := known[i].Name
	at := target + "[" + key + "]"
	if known[i].Type == services.SettingGroup {
		group := func() map[string]any {
			settings, made := into()[key].(map[string]any)
			if !made {
				settings = map[string]any{}
				into()[key] = settings
			}
			return settings
		}
		c.group(path, at, known[i].Parts, group)
		return
	}
	value := c.look(path)
	if n, ok := value.(json.Number); ok {
		value, _ = n.Float64() // as JSON decodes it everywhere else
	}
	if before, twice := into()[key]; twice && fmt.Sprint(before) != fmt.Sprint(value) {
		c.wrong(path, "but %s says %v: keep one of them", c.from[at], before)
		return
	}
	into()[key] = value
	c.from[at] = path
}

// peek is look without noting that the field was read.
func (c *conversion) peek(path string) any {
	read := c.read[path]
	value := c.look(path)
	if !read {
		delete(c.read, path)
	}
	return value
}

// camel is a name of snake_case in camelCase.
func camel(name string) string {
	parts := strings.Split(name, "_")
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}

// batchSettings are, by service, the setting that bounds the requests that a server works on at once.
var batchSettings = map[string]string{
	"vllm": "maxNumSeqs", "sglang": "maxRunningRequests", "ollama": "numParallel", "llama.cpp": "numParallel", "tensorrt-llm": "maxBatchSize",
	"tgi": "maxConcurrentRequests", "dummy": "concurrency",
}

// batch reads workload.batch: how many requests a server works on at once. Requests themselves are never batched by a client.
func (c *conversion) batch(service *services.Service) {
	if c.peek("workload.batch") == nil {
		return
	}
	name, known := batchSettings[service.Name]
	if !known {
		return // named in a warning
	}
	if before, twice := c.config()[name]; twice {
		n, isNumber := c.peek("workload.batch").(json.Number)
		if value, err := n.Float64(); !isNumber || err != nil || fmt.Sprint(before) != fmt.Sprint(value) {
			c.wrong("workload.batch", "but %s says %v: keep one of them", c.from["spec.service.config["+name+"]"], before)
		}
	}
	c.axis("workload.batch", "service.config."+name, func(v any) {
		n, _ := v.(json.Number)
		c.config()[name], _ = n.Float64()
	})
	c.from["spec.service.config["+name+"]"] = "workload.batch"
}

// span finds out over how many nodes one server goes: as many as its tensor and pipeline parallelism needs GPUs. All server nodes
// where GPUs are not counted.
func (c *conversion) span(named bool) {
	svc := &c.run.Service
	enabledAt, off := "", false
	for _, place := range []string{"servers.distributed", "servers.service_config.distributed"} {
		on, given := c.peek(place + ".enabled").(bool)
		if on {
			enabledAt = place + ".enabled"
		}
		off = off || given && !on
	}
	if enabledAt == "" && !named {
		if off {
			c.dropDistributed()
		}
		return
	}
	if enabledAt == "" {
		enabledAt = "workload.service"
	}
	nodes := int64(1)
	if c.run.Nodes.Servers.Count != nil {
		nodes = max(1, int64(*c.run.Nodes.Servers.Count))
	}
	number := func(group map[string]any, name string, otherwise int32) int64 {
		if n, ok := group[name].(float64); ok && n >= 1 {
			return int64(min(n, math.MaxInt32)) // products of two are counted
		}
		return int64(otherwise)
	}
	ray, _ := svc.Config["ray"].(map[string]any)
	gpus := number(ray, "numGpusPerNode", c.run.Nodes.Servers.GPUs)
	wanted := number(svc.Config, "tensorParallelSize", 1) * number(svc.Config, "pipelineParallelSize", 1)
	span := nodes
	if gpus > 0 && wanted > 1 {
		span = (wanted + gpus - 1) / gpus
	}
	c.from["spec.service.nodesPerReplica"] = enabledAt
	if nodes%span != 0 {
		c.wrong("orchestration.node_allocation.servers.nodes", "but a server of tensor_parallel_size × pipeline_parallel_size = %d GPUs, %d on each node, spans %d nodes: give a multiple of %d", wanted, gpus, span, span)
		return
	}
	svc.NodesPerReplica, svc.Replicas = int32(span), int32(nodes/span)
	if span == 1 {
		delete(svc.Config, "ray") // one node needs no cluster
		delete(svc.Config, "backend")
		c.warn(enabledAt, "is not used: with %d GPUs on each node a server of %d GPUs needs one node", gpus, wanted)
	}
}

// dropDistributed leaves out what a recipe says of several nodes and has switched off.
func (c *conversion) dropDistributed() {
	const why = "is not used: distributed.enabled is false"
	for _, name := range []string{"tensorParallelSize", "pipelineParallelSize", "backend"} {
		if at := c.from["spec.service.config["+name+"]"]; strings.Contains(at, ".distributed.") {
			delete(c.run.Service.Config, name)
			c.warn(at, why)
		}
	}
	delete(c.run.Service.Config, "ray")
	for _, path := range []string{"servers.ray", "servers.service_config.ray"} {
		if c.look(path) != nil {
			c.warn(path, why)
		}
	}
}

// container reads images and mounts. Without an image the service's program is found on PATH.
func (c *conversion) container() {
	k := &c.run.Container
	dir, image := c.text("artifacts.containers_dir"), c.text("artifacts.service.path")
	if c.look("artifacts.python.path") != nil {
		c.warn("artifacts.python.path", "is not used: benchd itself is the executor on client nodes")
	}
	runtime := c.text("artifacts.runtime")
	if image != "" {
		if !path.IsAbs(image) && !strings.Contains(image, "://") && dir != "" {
			image = path.Join(dir, image)
		}
		k.Image, k.Runtime = image, api.RuntimeApptainer
		c.from["spec.container.image"] = "artifacts.service.path"
		c.from["spec.container"] = "artifacts"
	}
	if runtime != "" {
		k.Runtime = api.Runtime(runtime)
		c.from["spec.container.runtime"] = "artifacts.runtime"
	}
	if dir != "" && image == "" {
		c.warn("artifacts.containers_dir", "is not used: no artifacts.service.path names an image in it")
	}
	binds, _ := c.look("binds").([]any)
	if len(binds) > 0 && k.Image == "" {
		c.warn("binds", "is not used: without artifacts.service.path the service runs in no container")
		return
	}
	for i, bind := range binds {
		k.Binds = append(k.Binds, fmt.Sprint(bind))
		c.from[fmt.Sprintf("spec.container.binds[%d]", i)] = fmt.Sprintf("binds[%d]", i)
	}
}

// logging reads the collector's settings. The names of its files stand inside or beside it.
func (c *conversion) logging() {
	l := &c.run.Logging
	c.set("logging.type", "spec.logging.type", func(v any) { l.Type = api.Collector(fmt.Sprint(v)) })
	c.set("logging.create_jsonl", "spec.logging.jsonl", func(v any) {
		on, _ := v.(bool)
		l.JSONL = &on
	})
	c.time("logging.flush_interval", "spec.logging.flushInterval", &l.FlushInterval)
	for _, place := range []string{"outputs", "logging.outputs"} {
		for name, to := range map[string]*string{"stdout": &l.Outputs.Stdout, "stderr": &l.Outputs.Stderr, "aggregated": &l.Outputs.Aggregated} {
			c.set(place+"."+name, "spec.logging.outputs."+name, func(v any) {
				if *to != "" && *to != fmt.Sprint(v) {
					c.wrong(place+"."+name, "but outputs.%s says %q: keep one of them", name, *to)
				}
				*to = fmt.Sprint(v)
			})
		}
	}
}

// monitoring reads the sampler's settings, which stand at the top or in a part of their own.
func (c *conversion) monitoring() {
	m := &c.run.Monitoring
	c.set("monitoring.enabled", "spec.monitoring.enabled", func(v any) {
		on, _ := v.(bool)
		m.Enabled = &on
	})
	for _, name := range []string{"monitor_interval", "output_file", "pushgateway_url", "prometheus_push_interval"} {
		top, inner := c.peek(name), c.peek("monitoring."+name)
		if top != nil && inner != nil && fmt.Sprint(top) != fmt.Sprint(inner) {
			c.wrong("monitoring."+name, "but %s says %v: keep one of them", name, top)
		}
	}
	for _, place := range []string{"", "monitoring."} {
		c.time(place+"monitor_interval", "spec.monitoring.interval", &m.Interval)
		c.set(place+"output_file", "spec.monitoring.output", func(v any) { m.Output = fmt.Sprint(v) })
		c.set(place+"pushgateway_url", "spec.monitoring.pushgateway.url", func(v any) {
			if m.Pushgateway == nil {
				m.Pushgateway = &api.PushgatewaySpec{}
			}
			m.Pushgateway.URL = fmt.Sprint(v)
		})
	}
	for _, place := range []string{"", "monitoring."} {
		interval := place + "prometheus_push_interval"
		switch {
		case c.peek(interval) == nil:
		case m.Pushgateway == nil:
			c.look(interval)
			c.warn(interval, "is not used: no pushgateway_url says where to push to")
		default:
			c.time(interval, "spec.monitoring.pushgateway.interval", &m.Pushgateway.Interval)
		}
	}
}
