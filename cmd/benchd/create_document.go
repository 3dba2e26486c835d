package main

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// keyDot stands for a dot inside a key of a path.
const keyDot = "\x00"

// document is a file in the making: YAML in the order in which people read it.
type document struct{ root *yaml.Node }

func newDocument() *document {
	return &document{root: &yaml.Node{Kind: yaml.MappingNode}}
}

// newRunDocument is a run about which nothing is said yet.
func newRunDocument() *document {
	d := newDocument()
	d.set("apiVersion", textNode(api.GroupVersion.String()))
	d.set("kind", textNode(api.KindBenchmarkRun))
	// Parts stand in this order, whatever is asked first.
	for _, path := range []string{"metadata.name", "spec.cluster", "spec.slurm", "spec.nodes.servers", "spec.nodes.clients", "spec.nodes.monitors", "spec.service.name", "spec.service.model", "spec.container", "spec.workload"} {
		d.reserve(path)
	}
	return d
}

// sexagesimal is a text that older readers of YAML take for a number: 01:00:00.
var sexagesimal = regexp.MustCompile(`^[-0-9:.]+$`)

func textNode(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if sexagesimal.MatchString(text) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// numberNode is a number; what is none stays a text, which the rules of the field refuse in their own words.
func numberNode(text string) *yaml.Node {
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: text}
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: text}
	}
	return textNode(text)
}

// typedNode is a number, true, false or a text.
func typedNode(text string) *yaml.Node {
	if text == "true" || text == "false" {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: text}
	}
	return numberNode(text)
}

func listNode(values []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, v := range values {
		n.Content = append(n.Content, textNode(v))
	}
	if len(values) == 1 {
		n.Style = yaml.FlowStyle
	}
	return n
}

// set puts a value at a path, making what lies between.
func (d *document) set(path string, value *yaml.Node) {
	keys := strings.Split(path, ".")
	at := d.root
	for _, key := range keys[:len(keys)-1] {
		at = d.child(at, key)
	}
	*d.child(at, keys[len(keys)-1]) = *value
}

// reserve gives a path its place in the order.
func (d *document) reserve(path string) {
	at := d.root
	for _, key := range strings.Split(path, ".") {
		at = d.child(at, key)
	}
}

// child is the value of a key, which is made an empty mapping where there is none.
func (d *document) child(at *yaml.Node, key string) *yaml.Node {
	key = strings.ReplaceAll(key, keyDot, ".")
	if found := childOf(at, key); found != nil {
		return found
	}
	value := &yaml.Node{Kind: yaml.MappingNode}
	at.Content = append(at.Content, textNode(key), value)
	return value
}

// setValue puts lists and mappings at a path.
func (d *document) setValue(path string, value any) error {
	var n yaml.Node
	if err := n.Encode(value); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	d.set(path, &n)
	return nil
}

// prune leaves out what nothing was put into.
func prune(n *yaml.Node) bool {
	if n.Kind != yaml.MappingNode {
		return true
	}
	var kept []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if prune(n.Content[i+1]) {
			kept = append(kept, n.Content[i], n.Content[i+1])
		}
	}
	n.Content = kept
	return len(kept) > 0
}

// text is the document as a file. A comment stands behind the line of its path.
func (d *document) text(head string, comments map[string]string) ([]byte, error) {
	prune(d.root)
	annotate(d.root, "", comments)
	d.root.HeadComment = head
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(d.root); err != nil {
		return nil, fmt.Errorf("write the file: %w", err)
	}
	return out.Bytes(), enc.Close()
}

func annotate(n *yaml.Node, path string, comments map[string]string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		if c := comments[at]; c != "" {
			if value.Kind == yaml.ScalarNode || value.Style == yaml.FlowStyle {
				value.LineComment = c
			} else {
				key.HeadComment = c
			}
		}
		annotate(value, at, comments)
	}
}

// leaves are the paths of everything that can be left out by itself.
func (d *document) leaves() []string {
	var all []string
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		if n.Kind != yaml.MappingNode {
			all = append(all, path)
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			walk(n.Content[i+1], strings.TrimPrefix(path+"."+strings.ReplaceAll(n.Content[i].Value, ".", keyDot), "."))
		}
	}
	walk(d.root, "")
	return all
}

// without is a copy that lacks one path.
func (d *document) without(path string) *document {
	c := &document{root: cloneNode(d.root)}
	keys := strings.Split(path, ".")
	at := c.root
	for _, key := range keys[:len(keys)-1] {
		at = c.child(at, key)
	}
	last := strings.ReplaceAll(keys[len(keys)-1], keyDot, ".")
	for i := 0; i+1 < len(at.Content); i += 2 {
		if at.Content[i].Value == last {
			at.Content = slices.Delete(at.Content, i, i+2)
			break
		}
	}
	return c
}

func cloneNode(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = nil
	for _, child := range n.Content {
		c.Content = append(c.Content, cloneNode(child))
	}
	return &c
}
