package main

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// glimpse is what can be told of a file without understanding it.
type glimpse struct {
	// ours says that it is meant for benchd, or so broken that it cannot be told.
	ours                       bool
	kind, name, service, model string
}

// glance looks at the first document of a file. It tells files that are not benchd's from broken ones, and says what a broken
// one is about.
func glance(file string) glimpse {
	f, err := os.Open(file)
	if err != nil {
		return glimpse{ours: true}
	}
	defer f.Close()
	const most = 4 << 20 // what a reader of manifests takes
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return glimpse{ours: true}
	}
	if strings.HasSuffix(strings.ToLower(file), ".json") && !bytes.Contains(data, []byte(api.GroupVersion.Group)) {
		return glimpse{} // package.json and its like
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil || len(document.Content) == 0 {
		return glimpse{ours: err != nil && looksOurs(data)}
	}
	root := document.Content[0]
	version, kind := scalar(root, "apiVersion"), scalar(root, "kind")
	if isRecipe := version == "" && kind == "" && keyed(root, "scenario", "workload", "orchestration", "artifacts"); isRecipe {
		return glimpse{true, "recipe", scalar(root, "scenario"), scalar(root, "workload", "service"), scalar(root, "workload", "model")}
	}
	g := glimpse{name: scalar(root, "metadata", "name"), service: scalar(root, "spec", "service", "name"), model: scalar(root, "spec", "service", "model")}
	g.ours = strings.HasPrefix(version, api.GroupVersion.Group+"/") || aliases[kind] != nil
	if kind != "" {
		g.kind = strings.ToLower(kind)
	}
	if words := aliases[kind]; words != nil {
		g.kind = words[0]
	}
	return g
}

// looksOurs looks for words of benchd in a text that is no YAML.
func looksOurs(data []byte) bool {
	for _, word := range []string{api.GroupVersion.Group + "/", "scenario:", "orchestration:", "workload:"} {
		if bytes.Contains(data, []byte(word)) {
			return true
		}
	}
	return slices.ContainsFunc(api.Kinds(), func(kind string) bool { return bytes.Contains(data, []byte("kind: "+kind)) })
}

// keyed says whether a mapping has one of the keys.
func keyed(n *yaml.Node, keys ...string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { return childOf(n, key) != nil })
}

// childOf is the value of a key; nil when there is none.
func childOf(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// scalar is the text at a path of keys; empty when there is none.
func scalar(n *yaml.Node, path ...string) string {
	for _, key := range path {
		n = childOf(n, key)
	}
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}
