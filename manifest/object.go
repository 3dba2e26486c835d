package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/schemas"
)

var printer = message.NewPrinter(language.English)

// object is one document on its way from nodes to a valid Go object.
type object struct {
	file   string
	root   *node
	kind   string
	schema *jsonschema.Schema
	// value is the object as JSON values, with repairs.
	value map[string]any
	// at holds the place of every field by its path.
	at map[string]entry
	// reported holds the paths that an error was reported for; no second one is.
	reported map[string]bool
	// excused holds the paths of fields that the user wrote in a wrong place: they are not missed.
	excused map[string]bool
	// removed holds the paths whose value was dropped, so that rules on fields beside them prove nothing.
	removed []string
	// suspects are faults that Validate may word better.
	suspects map[string]string
	errs     Errors
	warnings Errors
	// made are the objects that came of it, raw the one's JSON.
	made []v1alpha1.Object
	raw  []byte
	// from leads from a field of the made object to the one that a dialect made it of; nil when they are the same.
	from map[string]string
}

// entry is a field as the user wrote it.
type entry struct {
	key   key
	value *node
}

func newObject(file string, root *node) *object {
	return &object{
		file: file, root: root, at: map[string]entry{},
		reported: map[string]bool{}, excused: map[string]bool{}, suspects: map[string]string{},
	}
}

// read turns a document's nodes into an object. With wanted set, the object is of that kind.
func (o *object) read(wanted string) {
	if !o.findKind(wanted) {
		return
	}
	o.shape()
	o.checkSchema()
	obj, raw := o.decode()
	if obj == nil {
		return
	}
	o.made, o.raw = []v1alpha1.Object{obj}, raw
	v1alpha1.SetDefaults(obj)
	o.checkZeros(obj)
	o.merge(v1alpha1.Validate(obj))
}

// settle reports the faults that no rule has worded better.
func (o *object) settle() {
	for _, path := range slices.Sorted(maps.Keys(o.suspects)) {
		o.report(path, o.quoted(path), o.suspects[path])
	}
	clear(o.suspects)
}

// findKind picks the schema by apiVersion and kind. A misspelt kind is reported and taken for what was meant.
func (o *object) findKind(wanted string) bool {
	if o.root.kind != kindMap {
		o.report("", o.root.quoted(), "is "+o.root.kind.String()+", wants an object with apiVersion, kind, metadata and spec")
		return false
	}
	for i, k := range o.root.keys {
		o.at[k.name] = entry{k, o.root.values[i]}
	}
	version, given := o.root.child("apiVersion"), o.root.child("kind")
	want := v1alpha1.GroupVersion.String()
	switch {
	case blank(version) && wanted == "":
		o.report("apiVersion", "", "is required: write apiVersion: "+want)
	case !blank(version) && version.text != want:
		o.report("apiVersion", version.quoted(), "is not known: write apiVersion: "+want)
	}
	o.kind = wanted
	switch {
	case blank(given) && wanted == "":
		o.report("kind", "", "is required: use "+orList(schemas.Kinds()))
	case !blank(given) && wanted != "" && given.text != wanted:
		o.report("kind", given.quoted(), "is not the kind asked for: write kind: "+wanted)
	case !blank(given) && given.kind == kindString && slices.Contains(schemas.Kinds(), given.text):
		o.kind = given.text
	case !blank(given):
		o.report("kind", given.quoted(), "is not a kind that can be written"+oneOf(given.text, schemas.Kinds()))
		o.kind = closest(given.text, schemas.Kinds())
	}
	o.schema = compiled()[o.kind]
	if o.schema == nil && len(o.errs) == 0 {
		o.report("kind", "", strconv.Quote(clip(o.kind))+" cannot be written: use "+orList(schemas.Kinds()))
	}
	return o.schema != nil
}

func blank(n *node) bool {
	return n == nil || n.kind == kindNull || n.kind == kindString && n.text == ""
}

// shape holds the document against the schema's fields and types.
func (o *object) shape() {
	value, _ := o.convert(o.root, o.schema, "").(map[string]any)
	value["apiVersion"], value["kind"] = v1alpha1.GroupVersion.String(), o.kind
	o.value = value
}

// decode makes the Go object. What the schema lets through fits the Go types, so an error here is a gap in the schema.
func (o *object) decode() (v1alpha1.Object, []byte) {
	raw, err := json.Marshal(o.value)
	if err != nil {
		o.report("", "", "cannot be kept as JSON: "+err.Error())
		return nil, nil
	}
	obj := v1alpha1.New(o.kind)
	if err := json.Unmarshal(raw, obj); err != nil {
		path, detail := "", err.Error()
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			path, detail = wrong.Field, fmt.Sprintf("is %s, wants %s", wrong.Value, wrong.Type)
		}
		o.report(path, o.quoted(path), "cannot be read: "+detail)
		return nil, nil
	}
	return obj, raw
}

// report notes an error, unless there is one already for the field, for a part of it or for what holds it.
func (o *object) report(path, value, detail string) {
	for p := path; ; p = parentPath(p) {
		if o.reported[p] {
			return
		}
		if p == "" {
			break
		}
	}
	o.reported[path] = true
	line, column := o.place(path)
	o.errs = append(o.errs, &Error{File: o.file, Line: line, Column: column, Path: path, Value: value, Detail: detail})
}

// reportKey notes that a map's key is wrong.
func (o *object) reportKey(path, name, detail string) {
	at := o.at[path].key
	o.at[path] = entry{at, &node{kind: kindMap}} // the fault is in the key
	o.report(path, strconv.Quote(name), detail)
}

// suspect notes a fault of a value that can be decoded all the same.
func (o *object) suspect(path, detail string) {
	if _, known := o.suspects[path]; !known {
		o.suspects[path] = detail
	}
}

// place finds the value of a path in the file, or the key of the nearest parent that is there.
func (o *object) place(path string) (line, column int) {
	if o.file == "" {
		return 0, 0
	}
	if e, ok := o.at[path]; ok && path != "" {
		if e.value.kind == kindMap || e.value.kind == kindList || e.value.kind == kindNull {
			return e.key.line, e.key.column
		}
		return e.value.line, e.value.column
	}
	for p := parentPath(path); p != ""; p = parentPath(p) {
		if e, ok := o.at[p]; ok {
			return e.key.line, e.key.column
		}
	}
	return o.root.line, o.root.column
}

func (o *object) quoted(path string) string {
	if e, ok := o.at[path]; ok {
		return e.value.quoted()
	}
	return ""
}

// locate turns a place in the JSON value into a path and its schema.
func (o *object) locate(tokens []string) (string, *jsonschema.Schema) {
	path, s, value := "", o.schema, any(o.value)
	for _, token := range tokens {
		switch v := value.(type) {
		case []any:
			i, _ := strconv.Atoi(token)
			path, s, value = indexPath(path, i), itemSchema(s), v[min(i, len(v)-1)]
		case map[string]any:
			path, s, value = memberPath(s, path, token), memberSchema(s, token), v[token]
		}
	}
	return path, s
}

// remove takes a value that cannot be decoded out of the object. Items of a list are emptied, so that the others keep
// their index.
func (o *object) remove(tokens []string) {
	path, s := o.locate(tokens)
	o.removed = append(o.removed, path)
	var value any = o.value
	for i, token := range tokens {
		last := i == len(tokens)-1
		switch v := value.(type) {
		case []any:
			at, _ := strconv.Atoi(token)
			if last {
				v[at] = zero(s)
			}
			value = v[at]
		case map[string]any:
			if last {
				delete(v, token)
			}
			value = v[token]
		}
	}
}

var supported = regexp.MustCompile(`"([^"]*)"`)

// merge adds what Validate found, unless the field was reported or hangs on one whose value was dropped.
func (o *object) merge(found field.ErrorList) {
	slices.SortStableFunc(found, func(a, b *field.Error) int { return strings.Compare(a.Field, b.Field) })
	for _, e := range found {
		e = o.translated(e)
		// A map's key stands as the value of an error on the map.
		if name, ok := e.BadValue.(string); ok && o.at[keyPath(e.Field, name)].value != nil {
			o.reportKey(keyPath(e.Field, name), name, e.Detail)
			continue
		}
		if o.doubtful(e) {
			continue
		}
		delete(o.suspects, e.Field)
		value := o.quoted(e.Field)
		if value == "" && e.Type == field.ErrorTypeInvalid {
			value = badValue(e.BadValue)
		}
		detail := e.Detail
		switch e.Type {
		case field.ErrorTypeNotSupported:
			var known []string
			for _, m := range supported.FindAllStringSubmatch(e.Detail, -1) {
				known = append(known, m[1])
			}
			name := fmt.Sprint(e.BadValue)
			if value == "" && name != "" {
				value = strconv.Quote(clip(name)) // it stands within what is written, such as one of a sweep's values
			}
			detail = "is not supported" + oneOf(name, known)
			if name == "" && value == "" {
				detail = "is required" + oneOf(name, known)
			}
			if _, written := o.at[e.Field]; written && strings.HasSuffix(e.Field, "["+name+"]") {
				o.reportKey(e.Field, name, detail) // the key is what is not known, whatever its value
				continue
			}
		case field.ErrorTypeRequired:
			value, detail = "", "is required: "+e.Detail
		case field.ErrorTypeForbidden:
			detail = "is not allowed: " + e.Detail
		case field.ErrorTypeDuplicate:
			detail = "is used twice: give each its own"
		}
		o.report(e.Field, value, detail)
	}
}

// doubtful says that an error may only follow from one that was reported.
func (o *object) doubtful(e *field.Error) bool {
	if _, written := o.at[e.Field]; !written && o.excused[e.Field] {
		return true
	}
	for path := range o.reported {
		if strings.HasPrefix(path, e.Field) && (len(path) == len(e.Field) || strings.ContainsAny(path[len(e.Field):len(e.Field)+1], ".[")) {
			return true
		}
	}
	return slices.ContainsFunc(o.removed, func(path string) bool {
		beside := parentPath(path) == parentPath(e.Field) || parentPath(path) == e.Field
		return e.Type == field.ErrorTypeForbidden && beside
	})
}

func badValue(v any) string {
	switch v := v.(type) {
	case nil, field.OmitValueType:
		return ""
	case string:
		return strconv.Quote(clip(v))
	default:
		return clip(fmt.Sprint(v))
	}
}
