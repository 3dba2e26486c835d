package manifest

import (
	"strconv"
	"strings"
)

// nodeKind is what a node was written as.
type nodeKind int

const (
	kindNull nodeKind = iota
	kindBool
	kindNumber
	kindString
	kindList
	kindMap
)

// String names the kind as error messages do.
func (k nodeKind) String() string {
	switch k {
	case kindNull:
		return "empty"
	case kindBool:
		return "a boolean"
	case kindNumber:
		return "a number"
	case kindString:
		return "a string"
	case kindList:
		return "a list"
	case kindMap:
		return "a mapping"
	default:
		return "unknown"
	}
}

// node is a value with its place in the user's file. YAML and JSON both become nodes.
type node struct {
	kind         nodeKind
	line, column int
	// text of a scalar: of a number as JSON writes it, of a boolean true or false.
	text string
	// plain says that a scalar was written without quotes.
	plain bool
	// keys and values of a map, in the order of the file; each key once.
	keys   []key
	values []*node
	// items of a list.
	items []*node
}

// key is a map's key with its place.
type key struct {
	name         string
	line, column int
}

// child returns the value of a map's key, or nil.
func (n *node) child(name string) *node {
	if n == nil || n.kind != kindMap {
		return nil
	}
	for i := range n.keys {
		if n.keys[i].name == name {
			return n.values[i]
		}
	}
	return nil
}

// quoted prints a scalar for an error message, cut to a readable length; maps and lists print as nothing.
func (n *node) quoted() string {
	switch n.kind {
	case kindString:
		return strconv.Quote(clip(n.text))
	case kindBool, kindNumber:
		return clip(n.text)
	default:
		return ""
	}
}

// clip keeps a long value from flooding an error message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// childPath is the path of a field, keyPath of a map's key, indexPath of a list's item, as k8s.io's field.Path prints
// them.
func childPath(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func keyPath(path, name string) string { return path + "[" + clip(name) + "]" }

func indexPath(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// parentPath cuts the last step off a path.
func parentPath(path string) string {
	if i := strings.LastIndexAny(path, ".["); i >= 0 {
		return path[:i]
	}
	return ""
}
