package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/benchd/benchd/api/v1alpha1"
)

// Formats that JSON Schema does not know. Readers that check them register them; others ignore them.
const (
	formatDuration = "duration-go"
	formatQuantity = "quantity"
	formatInt32    = "int32"
	formatInt64    = "int64"
)

const (
	patternDuration = `^([-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$|^0$`
	patternName     = `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
)

// source is what the Go source says and reflection does not: comments, and the constants of each string type.
type source struct {
	comments map[string]string
	enums    map[string][]any
}

func readSource(dir string) (*source, error) {
	r := &jsonschema.Reflector{}
	// The base is where the generator runs, so that joined with dir it names the package.
	base := "github.com/benchd/benchd/schemas"
	if filepath.IsAbs(dir) {
		base = ""
	}
	if err := r.AddGoComments(base, dir, jsonschema.WithFullComment()); err != nil {
		return nil, err
	}
	src := &source{comments: map[string]string{}, enums: map[string][]any{}}
	for name, text := range r.CommentMap {
		src.comments[name[strings.LastIndex(name, "/")+1:]] = strings.Join(strings.Fields(text), " ")
	}
	return src, src.readFiles(dir)
}

// readFiles collects the constants of each string type, in the order of the source, and the comments that fields share.
func (s *source) readFiles(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	slices.Sort(paths)
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			switch {
			case ok && gen.Tok == token.CONST:
				s.addEnums(gen)
			case ok && gen.Tok == token.TYPE:
				s.shareComments(gen)
			}
		}
	}
	return nil
}

// shareComments gives a field without a comment that of a field above it, when that names it: "Min and Max bound …".
func (s *source) shareComments(gen *ast.GenDecl) {
	for _, spec := range gen.Specs {
		typ, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		fields, ok := typ.Type.(*ast.StructType)
		if !ok {
			continue
		}
		shared := ""
		for _, field := range fields.Fields.List {
			if field.Doc != nil {
				shared = strings.Join(strings.Fields(field.Doc.Text()), " ")
				continue
			}
			for _, name := range field.Names {
				if regexp.MustCompile(`\b` + name.Name + `\b`).MatchString(shared) {
					s.comments["v1alpha1."+typ.Name.Name+"."+name.Name] = shared
				}
			}
		}
	}
}

func (s *source) addEnums(gen *ast.GenDecl) {
	for _, spec := range gen.Specs {
		value, ok := spec.(*ast.ValueSpec)
		if !ok {
			continue
		}
		typ, ok := value.Type.(*ast.Ident)
		if !ok {
			continue
		}
		for _, expr := range value.Values {
			if lit, ok := expr.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil {
					s.enums[typ.Name] = append(s.enums[typ.Name], text)
				}
			}
		}
	}
}

// comment finds a field's description: its own comment, else that of its type. A type by itself gets none, or the
// reflector would prefer "what one role needs" to what this role is for.
func (s *source) comment(t reflect.Type, name string) string {
	key := "v1alpha1." + t.Name()
	if name == "" {
		if t.Implements(reflect.TypeFor[v1alpha1.Object]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[v1alpha1.Object]()) {
			return s.comments[key]
		}
		return ""
	}
	if text := s.comments[key+"."+name]; text != "" {
		return text
	}
	f, ok := t.FieldByName(name)
	if !ok {
		return ""
	}
	typ := f.Type
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	return s.comments["v1alpha1."+typ.Name()]
}

// mapType gives the schema of types whose JSON is not what their Go fields suggest.
func (s *source) mapType(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[metav1.Duration]():
		return &jsonschema.Schema{Type: "string", Format: formatDuration, Pattern: patternDuration, Examples: []any{"30s", "5m", "1h30m"}}
	case reflect.TypeFor[resource.Quantity]():
		return &jsonschema.Schema{
			Format: formatQuantity, Examples: []any{"64Gi", "512Mi"},
			Extras: map[string]any{"type": []string{"string", "number"}},
		}
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		return &jsonschema.Schema{Type: "string", Format: "date-time"}
	case reflect.TypeFor[metav1.ObjectMeta]():
		return metadata()
	}
	switch t.Kind() {
	case reflect.Int32:
		return &jsonschema.Schema{Type: "integer", Format: formatInt32}
	case reflect.Int64:
		return &jsonschema.Schema{Type: "integer", Format: formatInt64}
	case reflect.String:
		if values := s.enums[t.Name()]; strings.HasSuffix(t.PkgPath(), "api/v1alpha1") && len(values) > 0 {
			return &jsonschema.Schema{Type: "string", Enum: values}
		}
	}
	return nil
}

// metadata is the part of Kubernetes' metadata that users write, and what benchd adds to it: an object that was
// printed can be applied again.
func metadata() *jsonschema.Schema {
	s := &jsonschema.Schema{
		Type: "object", Properties: jsonschema.NewProperties(), Required: []string{"name"},
		AdditionalProperties: jsonschema.FalseSchema,
	}
	most := uint64(63)
	add := func(name, description string, p *jsonschema.Schema) {
		p.Description = description
		s.Properties.Set(name, p)
	}
	text := func() *jsonschema.Schema { return &jsonschema.Schema{Type: "string"} }
	words := func() *jsonschema.Schema { return &jsonschema.Schema{Type: "object", AdditionalProperties: text()} }
	system := func(p *jsonschema.Schema) *jsonschema.Schema { p.ReadOnly = true; return p }
	time := func() *jsonschema.Schema {
		return system(&jsonschema.Schema{Type: "string", Format: "date-time"})
	}
	integer := func() *jsonschema.Schema {
		return system(&jsonschema.Schema{Type: "integer", Format: formatInt64})
	}
	objects := func() *jsonschema.Schema {
		return system(&jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Type: "object"}})
	}
	add("name", "Name of the object, unique among its kind in its namespace.",
		&jsonschema.Schema{Type: "string", Pattern: patternName, MaxLength: &most})
	add("namespace", "Namespace that the object lives in.", &jsonschema.Schema{Type: "string", Pattern: patternName, MaxLength: &most})
	add("labels", "Labels are short words to select objects by.", words())
	add("annotations", "Annotations are notes of any kind.", words())
	add("generateName", "GenerateName is what a name was made from.", text())
	add("uid", "UID is given by benchd.", system(text()))
	add("resourceVersion", "ResourceVersion changes with every change; given back, it guards against lost updates.", system(text()))
	add("generation", "Generation counts changes of the spec.", integer())
	add("creationTimestamp", "CreationTimestamp is when benchd first stored the object.", time())
	add("deletionTimestamp", "DeletionTimestamp is when deletion was asked for.", time())
	add("deletionGracePeriodSeconds", "DeletionGracePeriodSeconds is not used.", integer())
	add("finalizers", "Finalizers keep the object until they are taken off.", &jsonschema.Schema{Type: "array", Items: text()})
	add("ownerReferences", "OwnerReferences name the objects that this one goes with.", objects())
	add("managedFields", "ManagedFields is not used.", objects())
	add("selfLink", "SelfLink is not used.", system(text()))
	return s
}
