// Command generate writes the JSON Schemas of package schemas from the Go types in api/v1alpha1.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"github.com/invopop/jsonschema"
	orderedmap "github.com/pb33f/ordered-map/v2"

	"github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/schemas"
)

func main() {
	source := flag.String("source", "../api/v1alpha1", "folder of the Go types, whose comments become descriptions")
	out := flag.String("out", ".", "folder to write to")
	flag.Parse()
	if err := generate(*source, *out); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// generate writes one schema file per kind and benchd.json for all of them.
func generate(source, out string) error {
	src, err := readSource(source)
	if err != nil {
		return err
	}
	kinds := map[string]*jsonschema.Schema{}
	for _, kind := range schemas.Kinds() {
		s, err := kindSchema(kind, src)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		kinds[kind] = s
		if err := write(filepath.Join(out, schemas.FileName(kind)), s); err != nil {
			return err
		}
	}
	return write(filepath.Join(out, "benchd.json"), allKinds(kinds))
}

func write(path string, s *jsonschema.Schema) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	if err := json.Indent(&buf, data, "", "  "); err != nil {
		return err
	}
	buf.WriteByte('\n')
	return os.WriteFile(path, buf.Bytes(), 0o644)
}

// kindSchema reflects one kind into a schema without references, so that a reader finds everything in its place.
func kindSchema(kind string, src *source) (*jsonschema.Schema, error) {
	obj := v1alpha1.New(kind)
	if obj == nil {
		return nil, fmt.Errorf("not a kind of %s", v1alpha1.GroupVersion)
	}
	r := &jsonschema.Reflector{
		Anonymous:                  true,
		DoNotReference:             true,
		RequiredFromJSONSchemaTags: true,
		Mapper:                     src.mapType,
		LookupComment:              src.comment,
	}
	s := r.Reflect(obj)
	s.ID = jsonschema.ID(schemas.BaseID + schemas.FileName(kind))
	s.Title = kind
	s.Description = src.comment(reflect.TypeOf(obj).Elem(), "")
	s.Properties = topLevel(kind, s.Properties)
	property(s, "metadata").Description = "Metadata names and labels the object."
	require(s, kind)
	loosen(property(s, "status"))
	return s, setDefaults(s, kind)
}

// topLevel puts apiVersion and kind first, each with the only value that it can have.
func topLevel(kind string, from *orderedmap.OrderedMap[string, *jsonschema.Schema]) *orderedmap.OrderedMap[string, *jsonschema.Schema] {
	props := jsonschema.NewProperties()
	props.Set("apiVersion", &jsonschema.Schema{
		Type: "string", Const: v1alpha1.GroupVersion.String(), Description: "APIVersion is the group and version of the kind.",
	})
	props.Set("kind", &jsonschema.Schema{Type: "string", Const: kind, Description: "Kind of the object."})
	for pair := from.Oldest(); pair != nil; pair = pair.Next() {
		if pair.Key != "apiVersion" && pair.Key != "kind" {
			props.Set(pair.Key, pair.Value)
		}
	}
	return props
}

// require marks what a user must write; all else has a default.
func require(s *jsonschema.Schema, kind string) {
	s.Required = []string{"apiVersion", "kind", "metadata"}
	spec := property(s, "spec")
	if kind == v1alpha1.KindBenchmarkRun {
		s.Required = append(s.Required, "spec")
		spec.Required = []string{"service", "workload"}
	}
	if service := property(spec, "service"); service != nil {
		service.Required = []string{"name"}
	}
	if workload := property(spec, "workload"); workload != nil {
		workload.Required = []string{"duration"}
	}
}

// loosen lets a status through as it is: benchd writes it, and what another version wrote must stay readable.
func loosen(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	s.ReadOnly = true
	var walk func(*jsonschema.Schema)
	walk = func(s *jsonschema.Schema) {
		if s == nil {
			return
		}
		s.Enum = nil
		if s.AdditionalProperties == jsonschema.FalseSchema {
			s.AdditionalProperties = nil
		}
		walk(s.Items)
		for pair := s.Properties.Oldest(); pair != nil; pair = pair.Next() {
			walk(pair.Value)
		}
	}
	walk(s)
}

// allKinds joins the kinds' schemas into one that picks by `kind`. The parts are copied in, for editors do not fetch.
func allKinds(kinds map[string]*jsonschema.Schema) *jsonschema.Schema {
	all := &jsonschema.Schema{
		Version:     jsonschema.Version,
		ID:          jsonschema.ID(schemas.BaseID + "benchd.json"),
		Title:       "benchd",
		Description: "Any object that benchd reads, told apart by its kind.",
		Type:        "object",
		Required:    []string{"apiVersion", "kind"},
		Properties:  jsonschema.NewProperties(),
		Definitions: jsonschema.Definitions{},
	}
	all.Properties.Set("apiVersion", &jsonschema.Schema{Type: "string", Const: v1alpha1.GroupVersion.String()})
	kind := &jsonschema.Schema{Type: "string"}
	all.Properties.Set("kind", kind)
	for _, name := range schemas.Kinds() {
		kind.Enum = append(kind.Enum, name)
		part := *kinds[name]
		part.ID, part.Version = "", ""
		all.Definitions[name] = &part
		when := &jsonschema.Schema{Properties: jsonschema.NewProperties(), Required: []string{"kind"}}
		when.Properties.Set("kind", &jsonschema.Schema{Const: name})
		all.AllOf = append(all.AllOf, &jsonschema.Schema{If: when, Then: &jsonschema.Schema{Ref: "#/$defs/" + name}})
	}
	return all
}

// property returns a property's schema, or nil.
func property(s *jsonschema.Schema, name string) *jsonschema.Schema {
	if s == nil || s.Properties == nil {
		return nil
	}
	p, _ := s.Properties.Get(name)
	return p
}
