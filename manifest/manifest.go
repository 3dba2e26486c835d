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
	"slices"
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
	// Raw is the user's object as JSON, before defaults. An object that was made of a dialect has none.
	Raw []byte
	// Warnings name what the user wrote and nothing comes of.
	Warnings Errors
}

// Admission holds rules that need more than the shape, such as which services there are. It may set defaults of its own. All is
// everything that is read together.
type Admission func(obj v1alpha1.Object, all []v1alpha1.Object) field.ErrorList

// Reader reads files of objects. The zero Reader knows shapes alone.
type Reader struct {
	// Admit is asked about every object that can be decoded, after all of them were.
	Admit Admission
	// Dialect is another format that objects can be written in; nil for none.
	Dialect *Dialect
}

// Read decodes every YAML or JSON document of data; file names it in errors. The error is an Errors that holds
// everything that is wrong with the input.
func (r *Reader) Read(file string, data []byte) ([]Document, error) {
	objects, errs := r.parse(file, data)
	return r.finish([]string{file}, objects, errs)
}

// finish asks the admission about what was decoded and gathers what is wrong.
func (r *Reader) finish(files []string, objects []*object, errs Errors) ([]Document, error) {
	var all []v1alpha1.Object
	for _, o := range objects {
		all = append(all, o.made...)
	}
	var docs []Document
	for _, o := range objects {
		for _, obj := range o.made {
			if r.Admit != nil {
				o.merge(r.Admit(obj, all))
			}
		}
		o.settle()
		errs = append(errs, o.errs...)
		for _, obj := range o.made {
			docs = append(docs, Document{Object: obj, File: o.file, Line: o.root.line, Raw: o.raw, Warnings: sorted(o.warnings)})
		}
	}
	if len(errs) > 0 {
		return nil, errs.inOrder(files)
	}
	return docs, nil
}

// parse reads one file up to the admission.
func (r *Reader) parse(file string, data []byte) ([]*object, Errors) {
	if err := checkText(file, data); err != nil {
		return nil, Errors{err}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	roots, errs := parse(file, data)
	var nodes []*node
	for _, root := range roots {
		nodes = append(nodes, listItems(root)...)
	}
	switch {
	case len(nodes) > maxDocuments:
		return nil, Errors{{File: file, Line: 1, Column: 1, Detail: fmt.Sprintf("holds more than %d objects: split it", maxDocuments)}}
	case len(nodes) == 0 && len(errs) == 0:
		return nil, Errors{{File: file, Detail: "holds no object: write apiVersion, kind, metadata and spec"}}
	}
	type at struct{ line, column int }
	reported := map[at]bool{}
	for _, err := range errs {
		reported[at{err.Line, err.Column}] = true
	}
	var objects []*object
	for _, root := range nodes {
		o := newObject(file, root)
		if r.Dialect != nil && r.Dialect.is(root) {
			o.readDialect(r.Dialect)
		} else {
			o.read("")
		}
		o.errs = slices.DeleteFunc(o.errs, func(err *Error) bool {
			return reported[at{err.Line, err.Column}] // a value that could not be read was said to be so
		})
		objects = append(objects, o)
	}
	return objects, errs
}

// Decode reads the strict JSON of a single object of the kind, as it comes over the network: defaults applied,
// validated. apiVersion and kind may be left out. The error is an Errors without positions.
func Decode(kind string, data []byte) (v1alpha1.Object, error) {
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
	o := newObject("", roots[0])
	o.read(kind)
	o.settle()
	if len(o.errs) > 0 {
		return nil, sorted(o.errs)
	}
	return o.made[0], nil
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
