package main

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// recipeFile writes the answers as a recipe. A recipe has no words for some of them; what is written is read again and has to
// become the very run that the answers make.
func (b *builder) recipeFile(a answers) ([]byte, error) {
	_, run, err := b.object(a)
	if err != nil {
		return nil, err
	}
	d, err := recipeDocument(a, run)
	if err != nil {
		return nil, exitError{exitInvalid, err}
	}
	text, err := d.text(fmt.Sprintf("# Written by `benchd create --recipe`, to be run as run/%s.\n"+
		"# `benchd convert -f FILE` prints the run that it becomes.", run.Name), nil)
	if err != nil {
		return nil, err
	}
	docs, err := b.reader.Read("", text)
	if err != nil {
		return nil, exitError{exitInvalid, fmt.Errorf("a recipe cannot say this: %w", err)}
	}
	read, ok := docs[0].Object.(*api.BenchmarkRun)
	if !ok {
		return nil, errors.New("the recipe that was made is a sweep")
	}
	if len(docs[0].Warnings) > 0 {
		return nil, exitError{exitInvalid, fmt.Errorf("a recipe cannot say this: %w", docs[0].Warnings)}
	}
	if part := differing(&run.Spec, &read.Spec); part != "" {
		return nil, exitError{exitInvalid, fmt.Errorf("a recipe cannot say all of spec.%s: leave --recipe out, and a run file is written", part)}
	}
	return text, nil
}

// recipeDocument writes each answer at the recipe's place for it.
func recipeDocument(a answers, run *api.BenchmarkRun) (*document, error) {
	d := newDocument()
	for _, path := range []string{"scenario", "cluster", "partition", "account", "qos", "modules", "orchestration.mode", "orchestration.total_nodes", "resources", "workload", "servers", "artifacts"} {
		d.reserve(path)
	}
	var wordless []string
	for i := range createQuestions {
		q := &createQuestions[i]
		values := a[q.name]
		if len(values) == 0 || values[0] == "" || !q.applies(a) || q.name == "nodes-per-server" {
			continue
		}
		if q.recipe == "" {
			wordless = append(wordless, "--"+q.name)
			continue
		}
		if err := q.writeRecipe(d, values); err != nil {
			return nil, &answerError{q, err}
		}
	}
	if len(wordless) > 0 {
		return nil, fmt.Errorf("a recipe has no word for %s: leave them out, or --recipe, and a run file is written", strings.Join(wordless, ", "))
	}
	n := &run.Spec.Nodes
	d.set("orchestration.mode", textNode(map[bool]string{true: "embedded", false: "slurm"}[run.Spec.Cluster == api.ClusterNameEmbedded]))
	d.set("orchestration.total_nodes", numberNode(fmt.Sprint(*n.Servers.Count+*n.Clients.Count+*n.Monitors.Count)))
	distribute(d, &run.Spec)
	return d, nil
}

func (q *question) writeRecipe(d *document, values []string) error {
	switch {
	case q.name == "cluster" && (values[0] == api.ClusterNameDefault || values[0] == api.ClusterNameEmbedded):
		return nil // orchestration.mode says it
	case q.name == "runtime" && values[0] == string(api.RuntimeNone):
		return nil
	case q.name == "set" || q.name == "env":
		var pairs []string
		for _, v := range values {
			key, value, _ := strings.Cut(v, "=")
			if q.name == "set" {
				key = snake(key)
			}
			pairs = append(pairs, key+"="+value)
		}
		return putPairs(q.recipe, q.name == "set")(d, pairs)
	case strings.HasSuffix(q.recipe, "mem_gb"):
		amount, err := resource.ParseQuantity(gibibytes(values[0]))
		if err != nil || amount.Value()%(1<<30) != 0 {
			return fmt.Errorf("a recipe counts whole GiB, which %s is not", values[0])
		}
		d.set(q.recipe, numberNode(fmt.Sprint(amount.Value()>>30)))
	case q.many:
		d.set(q.recipe, listNode(values))
	case q.number:
		d.set(q.recipe, numberNode(values[0]))
	default:
		d.set(q.recipe, textNode(values[0]))
	}
	return nil
}

// distribute writes how one server spans nodes, which a recipe says by its parallelism.
func distribute(d *document, s *api.BenchmarkRunSpec) {
	if s.Service.NodesPerReplica < 2 {
		return
	}
	const at = "servers.service_config.distributed."
	d.set(at+"enabled", typedNode("true"))
	for _, name := range []string{"tensorParallelSize", "pipelineParallelSize"} {
		if size, given := s.Service.Config[name]; given {
			d.set(at+snake(name), numberNode(fmt.Sprint(size)))
		}
	}
}

// snake is a name of camelCase in snake_case, as recipes write it.
func snake(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// differing names the part of a spec in which two runs differ; empty when they are the same.
func differing(want, got *api.BenchmarkRunSpec) string {
	w, g := reflect.ValueOf(want).Elem(), reflect.ValueOf(got).Elem()
	for i := range w.NumField() {
		if !reflect.DeepEqual(w.Field(i).Interface(), g.Field(i).Interface()) {
			name, _, _ := strings.Cut(w.Type().Field(i).Tag.Get("json"), ",")
			return name
		}
	}
	return ""
}
