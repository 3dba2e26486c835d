package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var integer = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

// maxSuggested bounds the errors that come with a search for what was meant.
const maxSuggested = 200

// convert turns a node into JSON values as the schema wants them, reports unknown fields and wrong types, and repairs
// them where the meaning is plain. Empty fields are left out, as if they had not been written.
func (o *object) convert(n *node, s *jsonschema.Schema, path string) any {
	if wants := wanted(s); wants != "" && !fits(n, s) {
		repaired, fix := repair(n, s)
		o.report(path, n.quoted(), "is "+n.kind.String()+", wants "+wants+fix)
		return repaired
	}
	switch n.kind {
	case kindBool:
		return n.text == "true"
	case kindNumber:
		return numeral(n.text, s)
	case kindString:
		o.checkAmbiguous(n, s, path)
		return n.text
	case kindList:
		items := make([]any, len(n.items))
		for i, item := range n.items {
			at := indexPath(path, i)
			o.at[at] = entry{key{line: item.line, column: item.column}, item}
			if items[i] = o.convert(item, itemSchema(s), at); items[i] == nil && item.kind != kindNull {
				items[i] = zero(itemSchema(s))
			}
		}
		return items
	case kindMap:
		return o.convertMap(n, s, path)
	default:
		return nil
	}
}

func (o *object) convertMap(n *node, s *jsonschema.Schema, path string) map[string]any {
	object := make(map[string]any, len(n.keys))
	for i, k := range n.keys {
		value, name := n.values[i], k.name
		if !knownField(s, name) {
			if name = o.unknownField(n, s, path, k); name == "" {
				continue
			}
		}
		at := memberPath(s, path, name)
		o.at[at] = entry{k, value}
		field := memberSchema(s, name)
		if value.kind == kindNull && field != nil && wanted(field) != "" {
			continue
		}
		if converted := o.convert(value, field, at); converted != nil || value.kind == kindNull {
			object[name] = converted
		} else {
			o.removed = append(o.removed, at)
		}
	}
	return object
}

// maxListed is how many fields are listed beside where an unknown one belongs.
const maxListed = 4

// unknownField reports a field that the schema does not have. It returns the name of the field beside it that was
// likely meant, if that is free, so that what was written there is checked as well.
func (o *object) unknownField(n *node, s *jsonschema.Schema, path string, k key) string {
	at := childPath(path, clip(k.name))
	o.at[at] = entry{k, &node{kind: kindMap}} // the fault is in the key
	if len(o.errs) >= maxSuggested {
		o.report(at, "", "unknown field")
		return ""
	}
	here := slices.Sorted(maps.Keys(s.Properties))
	meant := closest(k.name, here)
	elsewhere := o.elsewhere(k.name)
	if meant != "" && (len(elsewhere) == 0 || distance(fold(k.name), fold(meant)) <= 1) {
		o.report(at, "", fmt.Sprintf("unknown field; did you mean %q?", meant))
		if n.child(meant) != nil {
			return ""
		}
		return meant
	}
	switch {
	case len(elsewhere) > 0:
		detail := "unknown field; it belongs to " + orList(elsewhere)
		if path != "" && len(here) > 0 && len(here) <= maxListed {
			detail += "; " + path + " has " + strings.Join(here, ", ")
		}
		o.report(at, "", detail)
		for _, p := range elsewhere {
			o.excused[p] = true
		}
	case path == "":
		o.report(at, "", "unknown field: use apiVersion, kind, metadata and spec")
	default:
		o.report(at, "", "unknown field: "+path+" has "+strings.Join(here, ", "))
	}
	return ""
}

// elsewhere lists the paths of the fields of that name, at most a few.
func (o *object) elsewhere(name string) []string {
	const most = 3
	var found []string
	var walk func(*jsonschema.Schema, string)
	walk = func(s *jsonschema.Schema, path string) {
		for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
			p, at := s.Properties[field], childPath(path, field)
			if path == "" && field == "status" || p.ReadOnly {
				continue
			}
			if fold(field) == fold(name) {
				found = append(found, at)
			}
			walk(p, at)
		}
	}
	walk(o.schema, "")
	return found[:min(len(found), most)]
}

// checkAmbiguous refuses words that other YAML readers take for a boolean where no type tells what is meant.
func (o *object) checkAmbiguous(n *node, s *jsonschema.Schema, path string) {
	if wanted(s) == "" && n.plain {
		if b, ok := boolean(n.text); ok {
			o.report(path, n.quoted(), fmt.Sprintf("is a boolean to some readers of YAML and text to others: write %t, or put it in quotes", b))
		}
	}
}

// boolean reads the words that YAML 1.1 takes for booleans.
func boolean(text string) (value, ok bool) {
	switch strings.ToLower(text) {
	case "true", "yes", "on", "y":
		return true, true
	case "false", "no", "off", "n":
		return false, true
	}
	return false, false
}

// repair says what to write instead of a value of the wrong type, and returns that, or nil where it is not plain.
func repair(n *node, s *jsonschema.Schema) (any, string) {
	types := typesOf(s)
	switch {
	case slices.Contains(types, "string") && n.kind == kindNumber && formatOf(s) == formatDuration:
		return n.text + "s", ": say " + n.text + "s"
	case slices.Contains(types, "string") && (n.kind == kindNumber || n.kind == kindBool):
		return n.text, ": write " + strconv.Quote(clip(n.text))
	case slices.Contains(types, "boolean") && n.kind == kindString:
		if b, ok := boolean(n.text); ok {
			return b, fmt.Sprintf(": write %t", b)
		}
	case slices.Contains(types, "integer") && n.kind == kindNumber:
		return nil, ": write it without a fraction"
	case slices.Contains(types, "number") && n.kind == kindString && n.plain && jsonNumeral.MatchString(n.text):
		return json.Number("0"), ": no number can be that large" // which is why it was read as a string
	case slices.Contains(types, "integer") && n.kind == kindString && integer.MatchString(n.text),
		slices.Contains(types, "number") && n.kind == kindString && jsonNumeral.MatchString(n.text):
		return json.Number(n.text), ": write " + clip(n.text) + " without quotes"
	case slices.Contains(types, "array") && n.kind != kindMap && n.kind != kindNull:
		return []any{n.text}, ": write [" + clip(n.text) + "]"
	case slices.Contains(types, "object") && len(s.Properties) > 0:
		return nil, " with " + strings.Join(slices.Sorted(maps.Keys(s.Properties)), ", ")
	}
	return nil, ""
}

func fits(n *node, s *jsonschema.Schema) bool {
	return slices.ContainsFunc(typesOf(s), func(t string) bool {
		switch t {
		case "null":
			return n.kind == kindNull
		case "boolean":
			return n.kind == kindBool
		case "integer":
			return n.kind == kindNumber && integer.MatchString(fmt.Sprint(numeral(n.text, s)))
		case "number":
			return n.kind == kindNumber
		case "string":
			return n.kind == kindString
		case "array":
			return n.kind == kindList
		default:
			return n.kind == kindMap
		}
	})
}

// numeral keeps a number as it was written, except that an integer written as 2.0 or 1e3 becomes one that Go reads.
func numeral(text string, s *jsonschema.Schema) json.Number {
	if slices.Contains(typesOf(s), "integer") && len(text) <= 24 && !integer.MatchString(text) {
		if f, _, err := big.ParseFloat(text, 10, 128, big.ToNearestEven); err == nil && f.IsInt() && f.MantExp(nil) < 64 {
			i, _ := f.Int(nil)
			return json.Number(i.String())
		}
	}
	return json.Number(text)
}

// wanted names the type that the schema wants, "" for any.
func wanted(s *jsonschema.Schema) string {
	var names []string
	for _, t := range typesOf(s) {
		switch {
		case t == "null":
		case t == "string" && formatOf(s) == formatDuration:
			names = append(names, "a time")
		case t == "string" && formatOf(s) == formatQuantity:
			return "an amount such as 64Gi"
		case t == "boolean":
			names = append(names, "true or false")
		case t == "integer":
			names = append(names, "an integer")
		case t == "array":
			names = append(names, "a list")
		case t == "object":
			names = append(names, "a mapping")
		default:
			names = append(names, "a "+t)
		}
	}
	return orList(names)
}

func typesOf(s *jsonschema.Schema) []string {
	if s == nil || s.Types == nil {
		return nil
	}
	return s.Types.ToStrings()
}

func formatOf(s *jsonschema.Schema) string {
	if s == nil || s.Format == nil {
		return ""
	}
	return s.Format.Name
}

// knownField says whether an object may have the field: it is declared, or any is allowed.
func knownField(s *jsonschema.Schema, name string) bool {
	if s == nil || s.Properties[name] != nil {
		return true
	}
	allowed, isBool := s.AdditionalProperties.(bool)
	return !isBool || allowed
}

// memberSchema is the schema of an object's field, nil when it may be anything.
func memberSchema(s *jsonschema.Schema, name string) *jsonschema.Schema {
	if s == nil {
		return nil
	}
	if p := s.Properties[name]; p != nil {
		return referred(p)
	}
	p, _ := s.AdditionalProperties.(*jsonschema.Schema)
	return referred(p)
}

// referred follows references ($ref).
func referred(s *jsonschema.Schema) *jsonschema.Schema {
	for s != nil && s.Ref != nil {
		s = s.Ref
	}
	return s
}

// memberPath is the path of an object's field, or of a map's key.
func memberPath(s *jsonschema.Schema, path, name string) string {
	if s == nil || len(s.Properties) == 0 {
		return keyPath(path, name)
	}
	return childPath(path, name)
}

func itemSchema(s *jsonschema.Schema) *jsonschema.Schema {
	if s == nil {
		return nil
	}
	return referred(s.Items2020)
}

// zero is an empty value of the schema's type.
func zero(s *jsonschema.Schema) any {
	switch types := typesOf(s); {
	case slices.Contains(types, "string"):
		return ""
	case slices.Contains(types, "object"):
		return map[string]any{}
	case slices.Contains(types, "array"):
		return []any{}
	case slices.Contains(types, "boolean"):
		return false
	case len(types) > 0:
		return json.Number("0")
	default:
		return nil
	}
}
