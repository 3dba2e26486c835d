package report

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"mvdan.cc/sh/v3/syntax"
	"sigs.k8s.io/yaml"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/services"
)

// putSetup tells what was run and on what.
func (d *Document) putSetup(p *page) {
	t := &table{Head: []string{"", ""}}
	add := func(name string, parts ...string) {
		if text := strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", "); text != "" {
			t.add(word(name), word(text))
		}
	}
	spec, r := &d.Story.Spec, d.record()
	if d.Input.Sweep != "" {
		add("sweep", d.Input.Sweep, valuesText(d.Input.Parameters))
	}
	add("service", d.Input.Service, several(spec.Service.Replicas, "replicas"), several(spec.Service.NodesPerReplica, "nodes each"))
	add("model", d.Input.Model)
	add("version", versions(r.Servers)...)
	if i := r.Image; i != nil {
		add("image", i.Image, i.Digest, bytesOf(i.Size), i.Note)
	}
	d.addLoad(add)
	d.addTimes(add)
	if d.Story.JobID != "" {
		add("job", d.Story.JobID, named1("cluster", spec.Cluster), named1("partition", spec.Slurm.Partition), named1("account", spec.Slurm.Account), named1("qos", spec.Slurm.QOS), named1("time limit", spec.Slurm.TimeLimit), named1("Slurm", r.SlurmVersion))
	}
	add("seed", seedOf(r))
	add("benchd", d.Input.Version)
	p.put("setup", "What was run, and on what", block{Table: t}, block{Table: d.hardware()}, block{Table: d.commands()})
}

// named1 is a value behind its name; nothing without one.
func named1(name, value string) string {
	if value == "" {
		return ""
	}
	return name + " " + value
}

func several(n int32, things string) string {
	if n < 2 {
		return ""
	}
	return fmt.Sprintf("%d %s", n, things)
}

func seedOf(r *api.RunRecord) string {
	if r.Seed == 0 {
		return ""
	}
	return fmt.Sprintf("%d, from which everything random was drawn", r.Seed)
}

func versions(servers []api.ServerStatus) []string {
	var all []string
	for _, s := range servers {
		if s.Version != "" && !slices.Contains(all, s.Version) {
			all = append(all, s.Version)
		}
	}
	return all
}

func (d *Document) addLoad(add func(string, ...string)) {
	w := &d.Story.Spec.Workload
	add("load", describeLoad(&w.Load)+bounds(w))
	lengths := ""
	if d.Summary != nil && d.Summary.Tokens.PromptSource != "" {
		lengths = "lengths by " + d.Summary.Tokens.PromptSource
	}
	add("prompts", describePrompts(&w.Prompts), lengths)
	answers := describeLengths(w.Output.Tokens, w.Output.Distribution, w.Output.Stddev, w.Output.Min, w.Output.Max)
	if d.Summary != nil {
		answers += forced(d.Summary)
	}
	how := "in one piece"
	if *w.Streaming {
		how = "streamed"
	}
	add("answers", answers, how, named1("API", string(w.API)))
	var slo []string
	for _, l := range []struct {
		name  string
		limit *metav1.Duration
	}{{"TTFT", w.SLO.TTFT}, {"TPOT", w.SLO.TPOT}, {"E2E", w.SLO.E2E}} {
		if l.limit != nil {
			slo = append(slo, fmt.Sprintf("%s ≤ %s", l.name, l.limit.Duration))
		}
	}
	add("SLO", slo...)
}

func (d *Document) addTimes(add func(string, ...string)) {
	w := &d.Story.Spec.Workload
	window := "measured " + span(w.Duration.Duration.Seconds())
	if d.Summary != nil {
		window = "measured " + span(d.Summary.MeasuredSeconds) + boundBy(d.Summary.Bound)
	}
	warmup, drain := "no warm-up", ""
	if w.Warmup.Duration > 0 {
		warmup = "warm-up " + span(w.Warmup.Duration.Seconds())
	}
	if w.Drain != nil {
		drain = "drain of at most " + span(w.Drain.Duration.Seconds())
	}
	add("time", warmup, window, drain)
	begun := ""
	if n := len(d.Story.Phases); n > 0 {
		begun = "begun " + moment(d.Story.Phases[0].Since.Time)
	}
	ended := moment(d.Story.End)
	if ended != "" {
		ended = "ended " + ended
	}
	add("when", begun, ended)
}

// machine is what nodes have in common.
type machine struct {
	roles, cpu, memory, gpus, system string
}

func machineOf(n *api.NodeRecord) machine {
	m := machine{roles: strings.Join(n.Roles, ", "), memory: bytesOf(n.Memory), system: strings.Trim(n.OS+", "+n.Kernel, ", ")}
	if n.CPUs > 0 {
		m.cpu = strings.TrimSpace(fmt.Sprintf("%d × %s", n.CPUs, cmp.Or(n.CPUModel, "CPU")))
	}
	kinds, number := []string{}, map[string]int{}
	for _, g := range n.GPUs {
		kind := g.Name
		if g.MemoryMiB > 0 {
			kind += ", " + bytesOf(g.MemoryMiB<<20)
		}
		if g.Driver != "" {
			kind += ", driver " + g.Driver
		}
		if number[kind]++; number[kind] == 1 {
			kinds = append(kinds, kind)
		}
	}
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d × %s", number[kind], kind)
	}
	m.gpus = strings.Join(kinds, "; ")
	return m
}

// hardware lists the nodes; alike ones stand together.
func (d *Document) hardware() *table {
	nodes := d.record().Nodes
	if len(nodes) == 0 {
		for _, n := range d.Story.Nodes {
			nodes = append(nodes, api.NodeRecord{Rank: n.Rank, Name: n.Name, Roles: n.Roles})
		}
	}
	var order []machine
	names := map[machine][]string{}
	for i := range nodes {
		m := machineOf(&nodes[i])
		if names[m] == nil {
			order = append(order, m)
		}
		names[m] = append(names[m], nodes[i].Name)
	}
	t := &table{Caption: "Nodes", Head: []string{"nodes", "number", "roles", "GPUs of each", "CPUs of each", "memory of each", "system"}}
	for _, m := range order {
		t.add(word(some(names[m], 8)), figureOf(count(int64(len(names[m])))), word(m.roles), word(m.gpus), word(m.cpu), word(m.memory), word(m.system))
	}
	return t
}

// maxCommands are shown; those of many replicas differ in little but port and node.
const maxCommands = 4

func (d *Document) commands() *table {
	servers := d.record().Servers
	t := &table{Caption: "Servers and their command lines", Head: []string{"server", "node", "address", "command line", "variables"}}
	if n := len(servers) - maxCommands; n > 0 {
		t.Caption += fmt.Sprintf(" (the first %d of %d; all are in %s)", maxCommands, len(servers), LockYAML)
		servers = servers[:maxCommands]
	}
	for i := range servers {
		s := &servers[i]
		var env []string
		for _, name := range sortedKeys(s.Env) {
			env = append(env, name+"="+masked(name, s.Env[name]))
		}
		line := code(quoted(s.Command...))
		if line.Text == "" {
			line = word("")
		}
		t.add(word(s.Name), word(s.Node), word(s.URL), line, code(strings.Join(env, " ")))
	}
	return t
}

func masked(name, value string) string {
	if services.SecretVariable(name) {
		return "***"
	}
	return value
}

// quoted is a command line that a POSIX shell takes apart as it was.
func quoted(args ...string) string {
	out := make([]string, len(args))
	for i, a := range args {
		q, err := syntax.Quote(a, syntax.LangPOSIX)
		if err != nil { // no shell can be given it
			q = strconv.Quote(a)
		}
		out[i] = q
	}
	return strings.Join(out, " ")
}

// putRepeat tells how to do it again: the spec and the commands.
func (d *Document) putRepeat(p *page) {
	folder := quoted(d.Story.Folder)
	again := fmt.Sprintf("\n# the same report from the same records\nbenchd report %s --again once-more --format html --output once-more.html\n", folder)
	if !d.measured() {
		again = ""
	}
	if d.local() {
		data, err := yaml.Marshal(map[string]any{"workload": d.Story.Spec.Workload})
		if err != nil {
			data = nil
		}
		p.put("repeat", "How to repeat it", block{Text: "A load by `benchd load`; its flags say what stands here:"}, block{Code: string(data)}, block{Code: strings.TrimPrefix(again, "\n")})
		return
	}
	run := d.repeatable()
	data, err := yaml.Marshal(run)
	if err != nil {
		data = []byte("# the spec cannot be shown: " + err.Error() + "\n")
	}
	name := quoted(run.Name)
	commands := fmt.Sprintf("benchd apply -f repeat.yaml   # the text below\nbenchd wait run/%s\nbenchd report %s --format html --open\n%s", name, name, again)
	text := "Save the second text as repeat.yaml."
	if d.Lock != nil {
		text += fmt.Sprintf(" %s in the folder holds the same and what it was carried out with. The seed is set: the prompts are the same.", LockYAML)
	}
	if bytes.Contains(data, []byte("'***'")) {
		text += " Where it holds *** stood what may be a secret: fill it in."
	}
	p.put("repeat", "How to repeat it", block{Text: text}, block{Code: commands}, block{Code: string(data)})
}

// repeatable is a run that does the same again, under a name of its own.
func (d *Document) repeatable() *api.BenchmarkRun {
	run := &api.BenchmarkRun{TypeMeta: metav1.TypeMeta{APIVersion: api.GroupVersion.String(), Kind: api.KindBenchmarkRun}, Spec: d.Story.Spec}
	if d.Lock != nil {
		run.Spec, run.Namespace, run.Labels = d.Lock.Spec, d.Lock.Namespace, d.Lock.Labels
	}
	run.Name, run.Spec.Cancel = againName(d.Input.Run), false
	maskSpec(&run.Spec)
	return run
}

// againName is a name for a repetition, no longer than names may be.
func againName(name string) string {
	const suffix, most = "-again", 63
	return strings.TrimRight(name[:min(len(name), most-len(suffix))], "-.") + suffix
}

// maskSpec masks variables that look like secrets, for a report is sent around. What the spec shares with others stays as it is.
func maskSpec(spec *api.BenchmarkRunSpec) {
	spec.Container.Env = maskedAll(spec.Container.Env)
	if spec.Service.Template != nil {
		t := *spec.Service.Template
		t.Env = maskedAll(t.Env)
		spec.Service.Template = &t
	}
}

func maskedAll(env map[string]string) map[string]string {
	out := maps.Clone(env)
	for name, value := range out {
		out[name] = masked(name, value)
	}
	return out
}
