package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// chunk is the text of one YAML document and the line it begins on.
type chunk struct {
	text []byte
	line int
}

// splitYAML cuts a stream at its document markers. `---` or `...` at the start of a line is always a marker, even in a
// block of text, so cutting by lines is exact; and a broken document does not hide the errors of the next one.
func splitYAML(data []byte) []chunk {
	var chunks []chunk
	current := chunk{line: 1}
	start, line := 0, 1
	for pos := 0; pos < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		text := data[pos:end]
		begins := isMarker(text, "---") && !onlyDirectives(data[start:pos])
		if begins && pos > start {
			current.text = data[start:pos]
			chunks = append(chunks, current)
			start, current = pos, chunk{line: line}
		}
		pos = end
		if isMarker(text, "...") {
			current.text = data[start:pos]
			chunks = append(chunks, current)
			start, current = pos, chunk{line: line + 1}
		}
	}
	current.text = data[start:]
	return append(chunks, current)
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || bytes.ContainsAny(rest[:1], " \t\r\n"))
}

// onlyDirectives says that nothing but directives, comments and empty lines was seen, as before a first `---`.
func onlyDirectives(text []byte) bool {
	directive := false
	for line := range bytes.Lines(text) {
		switch trimmed := bytes.TrimSpace(line); {
		case len(trimmed) == 0 || trimmed[0] == '#':
		case line[0] == '%':
			directive = true
		default:
			return false
		}
	}
	return directive
}

// parseYAML reads every document of a stream. Empty ones are skipped.
func parseYAML(file string, data []byte) ([]*node, Errors) {
	var roots []*node
	var errs Errors
	for _, c := range splitYAML(data) {
		root, found := parseDocument(file, c)
		errs = append(errs, found...)
		if root != nil {
			roots = append(roots, root)
		}
		if len(roots) > maxDocuments || len(errs) > maxDocuments {
			break
		}
	}
	return roots, errs
}

func parseDocument(file string, c chunk) (*node, Errors) {
	var doc yaml.Node
	err := decodeYAML(withoutVersion(c.text), &doc)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, Errors{syntaxError(file, c, err)}
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	r := &yamlReader{file: file, shift: c.line - 1, open: map[*yaml.Node]bool{}}
	root := r.value(doc.Content[0], 0)
	if root.kind == kindNull || r.full {
		root = nil
	}
	return root, r.errs
}

// withoutVersion turns a `%YAML 1.2` line into a comment, for the parser refuses that version, which it reads all the same.
func withoutVersion(text []byte) []byte {
	offset := 0
	for line := range bytes.Lines(text) {
		trimmed := bytes.TrimSpace(line)
		if bytes.HasPrefix(line, []byte("%YAML")) {
			text = bytes.Clone(text)
			text[offset] = '#'
			return text
		}
		if len(trimmed) > 0 && trimmed[0] != '#' {
			return text
		}
		offset += len(line)
	}
	return text
}

// decodeYAML guards against a parser that gives up in a panic.
func decodeYAML(text []byte, doc *yaml.Node) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: %v", p)
		}
	}()
	return yaml.NewDecoder(bytes.NewReader(text)).Decode(doc)
}

// yamlReader turns the parser's nodes into ours: aliases and merges resolved, keys checked.
type yamlReader struct {
	file   string
	shift  int
	values int
	open   map[*yaml.Node]bool
	errs   Errors
	full   bool
}

func (r *yamlReader) fail(y *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, &Error{File: r.file, Line: y.Line + r.shift, Column: y.Column, Detail: fmt.Sprintf(format, args...)})
}

func (r *yamlReader) value(y *yaml.Node, depth int) *node {
	n := &node{line: y.Line + r.shift, column: y.Column}
	if r.values++; r.values > maxValues || depth > maxDepth {
		if !r.full {
			r.errs = append(r.errs, tooLarge(r.file, n.line, n.column, depth))
		}
		r.full = true
	}
	if r.full {
		return n
	}
	switch y.Kind {
	case yaml.AliasNode:
		return r.alias(y, n, depth)
	case yaml.MappingNode:
		n.kind = kindMap
		r.checkTag(y, "!!map")
		r.open[y] = true
		r.mapping(y, n, depth)
		delete(r.open, y)
	case yaml.SequenceNode:
		n.kind = kindList
		r.checkTag(y, "!!seq")
		r.open[y] = true
		for _, item := range y.Content {
			n.items = append(n.items, r.value(item, depth+1))
		}
		delete(r.open, y)
	case yaml.ScalarNode:
		r.scalar(y, n)
	}
	return n
}

func (r *yamlReader) alias(y *yaml.Node, n *node, depth int) *node {
	if y.Alias == nil || r.open[y.Alias] {
		r.fail(y, "alias *%s stands within what it names", clip(y.Value))
		return n
	}
	copied := r.value(y.Alias, depth)
	copied.line, copied.column = n.line, n.column
	return copied
}

func (r *yamlReader) checkTag(y *yaml.Node, want string) {
	if y.Style&yaml.TaggedStyle != 0 && y.ShortTag() != want {
		r.fail(y, "tag %s is not known here: drop it", clip(y.Tag))
	}
}

func (r *yamlReader) mapping(y *yaml.Node, n *node, depth int) {
	seen := map[string]int{}
	var merged []*node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		if k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge" {
			merged = append(merged, r.merge(v, depth)...)
			continue
		}
		value := r.value(v, depth+1)
		name, ok := r.key(k)
		if !ok {
			continue
		}
		at := key{name, k.Line + r.shift, k.Column}
		if first, twice := seen[name]; twice {
			r.errs = append(r.errs, duplicateKey(r.file, at, first))
			continue
		}
		seen[name] = at.line
		n.keys = append(n.keys, at)
		n.values = append(n.values, value)
	}
	for _, from := range merged {
		for i, k := range from.keys {
			if _, set := seen[k.name]; !set {
				seen[k.name] = k.line
				n.keys = append(n.keys, k)
				n.values = append(n.values, from.values[i])
			}
		}
	}
}

// merge resolves what stands behind `<<`.
func (r *yamlReader) merge(y *yaml.Node, depth int) []*node {
	value := r.value(y, depth+1)
	maps := []*node{value}
	if value.kind == kindList {
		maps = value.items
	}
	for _, m := range maps {
		if m.kind != kindMap {
			r.fail(y, "<< merges mappings, this is %s", m.kind)
			return nil
		}
	}
	return maps
}

// key takes strings alone. A key such as 1, true or null is quoted by whoever means it.
func (r *yamlReader) key(k *yaml.Node) (string, bool) {
	if k.Kind == yaml.AliasNode && k.Alias != nil && k.Alias.Kind == yaml.ScalarNode {
		k = &yaml.Node{Kind: yaml.ScalarNode, Value: k.Alias.Value, Tag: k.Alias.Tag, Style: k.Alias.Style, Line: k.Line, Column: k.Column}
	}
	switch tag := k.ShortTag(); {
	case k.Kind != yaml.ScalarNode:
		r.fail(k, "a key must be a string, this is a mapping or list")
	case tag == "!!str" || tag == "!!timestamp":
		return k.Value, true
	case k.Value == "":
		r.fail(k, "a key is missing before the colon")
	default:
		r.fail(k, "a key must be a string: write %q in quotes", clip(k.Value))
	}
	return "", false
}

func (r *yamlReader) scalar(y *yaml.Node, n *node) {
	n.text = y.Value
	n.plain = y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch y.ShortTag() {
	case "!!str", "!!timestamp", "!!merge":
		n.kind = kindString
	case "!!null":
		n.kind = kindNull
	case "!!bool":
		n.kind, n.text = kindBool, strings.ToLower(y.Value)
		if n.text != "true" && n.text != "false" {
			r.fail(y, "%q is not a boolean: write true or false", clip(y.Value))
		}
	case "!!int", "!!float":
		n.kind = kindNumber
		text, problem := jsonNumber(y.Value)
		if problem != "" {
			r.fail(y, "%s %s", clip(y.Value), problem)
		}
		n.text = text
	default:
		r.fail(y, "tag %s is not known here: drop it", clip(y.Tag))
	}
}

var (
	leadingZero = regexp.MustCompile(`^[-+]?0[0-9_]+$`)
	jsonNumeral = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
)

// jsonNumber writes a YAML number as JSON does, or says why that cannot be done.
func jsonNumber(text string) (number, problem string) {
	bare := strings.ReplaceAll(text, "_", "")
	if leadingZero.MatchString(bare) {
		return "0", "begins with a zero, which some readers take for octal: drop the zero, or quote it if it is text"
	}
	if i, err := strconv.ParseInt(bare, 0, 64); err == nil {
		return strconv.FormatInt(i, 10), ""
	}
	f, err := strconv.ParseFloat(bare, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return "0", "is not a number that can be kept: use a finite one"
	}
	if jsonNumeral.MatchString(bare) {
		return bare, ""
	}
	return strconv.FormatFloat(f, 'g', -1, 64), ""
}
