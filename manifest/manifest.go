// Package manifest reads what users write: YAML or JSON files that declare objects. It is strict, and it speaks of the
// user's file: every error of every document is reported at once, each with its line and column, the field's path, the
// value and what to write instead.
//
// A document goes through four steps. The text becomes a tree of nodes that remember their place (yaml.go, json.go).
// The tree is held against the kind's JSON Schema for unknown fields and wrong types (shape.go), the rest of the schema
// is checked (schema.go), and the object is decoded, given its defaults and validated (object.go). A fault found in one
// step is repaired where the meaning is plain, so that the next steps report what else is wrong, and nothing twice.
package manifest

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/benchd/benchd/api/v1alpha1"
)

// Limits on what is read: far above what people write, and low enough that hostile input does no harm.
const (
	maxBytes     = 4 << 20
	maxDocuments = 1000
	maxDepth     = 64
	maxValues    = 50_000
)

// Document is one object of a file.
type Document struct {
	// Object has its kind set, its defaults applied, and is valid.
	Object v1alpha1.Object
	// File and Line say where it begins.
	File string
	Line int
	// Raw is the user's object as JSON, before defaults.
	Raw []byte
}

// Admission holds rules that need more than the shape, such as which services there are. It may set defaults of its own.
type Admission func(v1alpha1.Object) field.ErrorList

// Read decodes every YAML or JSON document of data; file names it in errors. The error is an Errors that holds
// everything that is wrong with the input. Objects that can be decoded go through the admissions too.
func Read(file string, data []byte, admit ...Admission) ([]Document, error) {
	if err := checkText(file, data); err != nil {
		return nil, Errors{err}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	roots, errs := parse(file, data)
	var objects []*node
	for _, root := range roots {
		objects = append(objects, listItems(root)...)
	}
	switch {
	case len(objects) > maxDocuments:
		return nil, Errors{{File: file, Line: 1, Column: 1, Detail: fmt.Sprintf("holds more than %d objects: split it", maxDocuments)}}
	case len(objects) == 0 && len(errs) == 0:
		return nil, Errors{{File: file, Detail: "holds no object: write apiVersion, kind, metadata and spec"}}
	}
	type at struct{ line, column int }
	reported := map[at]bool{}
	for _, err := range errs {
		reported[at{err.Line, err.Column}] = true
	}
	var docs []Document
	for _, root := range objects {
		doc, found := readObject(file, root, "", admit)
		for _, err := range found {
			if !reported[at{err.Line, err.Column}] { // a value that could not be read was said to be so
				errs = append(errs, err)
			}
		}
		docs = append(docs, doc)
	}
	if len(errs) > 0 {
		return nil, sorted(errs)
	}
	return docs, nil
}

// Decode reads the strict JSON of a single object of the kind, as it comes over the network: defaults applied,
// validated. apiVersion and kind may be left out. The error is an Errors without positions.
func Decode(kind string, data []byte, admit ...Admission) (v1alpha1.Object, error) {
	if err := checkText("", data); err != nil {
		return nil, Errors{err}
	}
	roots, errs := parseJSON("", data)
	if len(errs) == 0 && len(roots) != 1 {
		errs = Errors{{Detail: fmt.Sprintf("holds %d objects, wants one", len(roots))}}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	doc, errs := readObject("", roots[0], kind, admit)
	if len(errs) > 0 {
		return nil, sorted(errs)
	}
	return doc.Object, nil
}

func checkText(file string, data []byte) *Error {
	if len(data) > maxBytes {
		return &Error{File: file, Detail: fmt.Sprintf("is larger than %d MiB: split it", maxBytes>>20)}
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		line, column := place(data, i)
		return &Error{File: file, Line: line, Column: column, Detail: "holds a NUL byte: save it as plain UTF-8 text"}
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			line, column := place(data, i)
			return &Error{File: file, Line: line, Column: column, Detail: "is not UTF-8 text: save it as UTF-8"}
		}
		i += size
	}
	return nil
}

// place turns an offset into line and column, both from 1, the column in characters.
func place(data []byte, offset int) (line, column int) {
	before := data[:min(offset, len(data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1
}

// parse reads JSON where the input is JSON, for YAML does not allow all of it (tabs), and YAML otherwise.
func parse(file string, data []byte) ([]*node, Errors) {
	named := strings.EqualFold(filepath.Ext(file), ".json")
	if named || bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		roots, errs := parseJSON(file, data)
		if named || len(errs) == 0 {
			return roots, errs
		}
	}
	return parseYAML(file, data)
}

// listItems takes a List, as `get -o yaml` prints several objects, apart.
func listItems(root *node) []*node {
	kind, items := root.child("kind"), root.child("items")
	if kind == nil || items == nil || items.kind != kindList || !strings.HasSuffix(kind.text, "List") {
		return []*node{root}
	}
	return items.items
}
