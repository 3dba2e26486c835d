package manifest

import (
	"bytes"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/benchd/benchd/api/v1alpha1"
)

// Dialect is a format other than the kinds' own that objects can be written in. What is wrong with what came of a document is
// told in the document's terms.
type Dialect struct {
	// Is says whether a document with these keys, which has neither apiVersion nor kind, is one of the dialect.
	Is func(keys []string) bool
	// Schema is the dialect's JSON Schema.
	Schema *jsonschema.Schema
	// Convert makes objects of a document that fits the schema.
	Convert func(document map[string]any) Conversion
}

// Conversion is what became of a document.
type Conversion struct {
	Objects []v1alpha1.Object
	// From leads from a field of the objects to the one of the document that it was made of.
	From map[string]string
	// Errors and Warnings are about fields of the document.
	Errors, Warnings []Finding
}

// Finding is something to say about a field of a document.
type Finding struct{ Path, Detail string }

func (d *Dialect) is(root *node) bool {
	if root.kind != kindMap || root.child("apiVersion") != nil || root.child("kind") != nil {
		return false
	}
	keys := make([]string, len(root.keys))
	for i, k := range root.keys {
		keys[i] = k.name
	}
	return d.Is(keys)
}

// readDialect is read for a document of a dialect.
func (o *object) readDialect(d *Dialect) {
	o.schema = d.Schema
	o.value, _ = o.convert(o.root, o.schema, "").(map[string]any)
	o.checkSchema()
	o.settle()
	if len(o.errs) > 0 {
		return // a conversion of what does not fit the schema would prove nothing
	}
	c := d.Convert(o.value)
	o.from = c.From
	for _, f := range c.Errors {
		o.report(f.Path, o.quoted(f.Path), f.Detail)
	}
	for _, f := range c.Warnings {
		line, column := o.place(f.Path)
		o.warnings = append(o.warnings, &Error{File: o.file, Line: line, Column: column, Path: f.Path, Value: o.quoted(f.Path), Detail: f.Detail})
	}
	if len(o.errs) > 0 {
		return
	}
	o.made = c.Objects
	for _, obj := range o.made {
		v1alpha1.SetDefaults(obj)
		o.merge(v1alpha1.Validate(obj))
	}
}

// translated is an error about a made object as one about the document.
func (o *object) translated(e *field.Error) *field.Error {
	if o.from == nil {
		return e
	}
	path := e.Field
	for rest := path; rest != ""; rest = parentPath(rest) {
		if source, ok := o.from[rest]; ok {
			translated := *e
			// What lies below a field that was made of a single value is that value.
			translated.Field = source
			if _, below := o.at[source+path[len(rest):]]; below {
				translated.Field = source + path[len(rest):]
			}
			return &translated
		}
	}
	return e
}

// CompileSchema compiles a JSON Schema with the formats that benchd's schemas use.
func CompileSchema(id string, data []byte) (*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	for name, check := range formats {
		c.RegisterFormat(&jsonschema.Format{Name: name, Validate: check})
	}
	c.AssertFormat()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if err := c.AddResource(id, doc); err != nil {
		return nil, err
	}
	return c.Compile(id)
}
