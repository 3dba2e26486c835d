package manifest

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/benchd/benchd/schemas"
)

// Formats of strings and numbers that the schemas name.
const (
	formatDuration = "duration-go"
	formatQuantity = "quantity"
	formatTime     = "date-time"
	formatInt32    = "int32"
	formatInt64    = "int64"
)

// compiled holds the schema of each kind. Schemas are embedded, so a failure is a broken build.
var compiled = sync.OnceValue(func() map[string]*jsonschema.Schema {
	all := map[string]*jsonschema.Schema{}
	for _, k := range schemas.Kinds() {
		data, err := schemas.For(k)
		if err != nil {
			panic(err)
		}
		if all[k], err = CompileSchema(schemas.BaseID+schemas.FileName(k), data); err != nil {
			panic(err)
		}
	}
	return all
})

var formats = map[string]func(any) error{
	formatDuration: func(v any) error {
		if s, ok := v.(string); ok {
			_, err := time.ParseDuration(s)
			return err
		}
		return nil
	},
	formatQuantity: checkQuantity,
	formatTime: func(v any) error {
		if s, ok := v.(string); ok {
			_, err := time.Parse(time.RFC3339, s)
			return err
		}
		return nil
	},
	formatInt32: func(v any) error { return checkInteger(v, 32) },
	formatInt64: func(v any) error { return checkInteger(v, 64) },
}

// quantityShape keeps exponents out of reach: 1e999999999 is a number that nobody wants written out.
var quantityShape = regexp.MustCompile(`^[-+]?[0-9.]{1,24}([eE][-+]?[0-9]{1,2}|[numkKMGTPE]i?)?$`)

func checkQuantity(v any) error {
	text := fmt.Sprint(v)
	if !quantityShape.MatchString(text) {
		return errors.New("is not an amount")
	}
	_, err := resource.ParseQuantity(text)
	return err
}

func checkInteger(v any, bits int) error {
	if text := fmt.Sprint(v); integer.MatchString(text) {
		_, err := strconv.ParseInt(text, 10, bits)
		return err
	}
	return nil
}

// checkSchema reports what the kind's schema demands beyond known fields and types, which shape has seen to. A value
// that cannot be decoded is taken out of the object.
func (o *object) checkSchema() {
	var invalid *jsonschema.ValidationError
	if err := o.schema.Validate(o.value); !errors.As(err, &invalid) {
		return
	}
	var leaves []*jsonschema.ValidationError
	var walk func(*jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		if len(e.Causes) == 0 {
			leaves = append(leaves, e)
		}
		for _, cause := range e.Causes {
			walk(cause)
		}
	}
	walk(invalid)
	// An order that does not hang on the order of a map.
	slices.SortStableFunc(leaves, func(a, b *jsonschema.ValidationError) int {
		return slices.Compare(append(a.InstanceLocation, a.ErrorKind.KeywordPath()...), append(b.InstanceLocation, b.ErrorKind.KeywordPath()...))
	})
	for _, leaf := range leaves {
		o.schemaError(leaf)
	}
}

func (o *object) schemaError(e *jsonschema.ValidationError) {
	path, s := o.locate(e.InstanceLocation)
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			o.missing(childPath(path, name), s.Properties[name])
		}
	case *kind.Enum:
		o.report(path, o.quoted(path), "is not supported"+oneOf(fmt.Sprint(k.Got), texts(k.Want)))
	case *kind.Format:
		o.report(path, o.quoted(path), formatDetail(k.Want, fmt.Sprint(k.Got)))
		o.remove(e.InstanceLocation)
	case *kind.Pattern:
		if s.Format != nil && s.Format.Name == formatDuration {
			o.report(path, o.quoted(path), formatDetail(formatDuration, k.Got))
			o.remove(e.InstanceLocation)
			return
		}
		o.suspect(path, "does not match "+k.Want)
	case *kind.Minimum:
		o.suspect(path, "use "+k.Want.RatString()+" or more")
	default:
		o.suspect(path, k.LocalizedString(printer))
	}
}

// missing reports a field that a user must write. Of a part that is missing with all it holds, it names what is needed.
func (o *object) missing(path string, s *jsonschema.Schema) {
	if s != nil && len(s.Required) > 0 && len(s.Properties) > 0 {
		for _, name := range s.Required {
			o.missing(childPath(path, name), s.Properties[name])
		}
		return
	}
	if o.excused[path] {
		return
	}
	if s == nil || len(s.Examples) == 0 {
		o.suspect(path, "is required")
		return
	}
	o.report(path, "", fmt.Sprintf("is required: write %s: %v", path[strings.LastIndex(path, ".")+1:], s.Examples[0]))
}

func formatDetail(format, got string) string {
	switch format {
	case formatDuration:
		if _, err := strconv.ParseFloat(got, 64); err == nil {
			return "is a time without a unit: say " + got + "s"
		}
		return "is not a time: use one such as 30s, 5m or 1h30m"
	case formatQuantity:
		return "is not an amount: use one such as 64Gi or 512Mi"
	case formatTime:
		return "is not a point in time: use one such as 2026-01-31T12:00:00Z"
	case formatInt32:
		return fmt.Sprintf("is out of range: use %d to %d", math.MinInt32, math.MaxInt32)
	case formatInt64:
		return "is out of range: it has to fit 64 bits"
	default:
		return "is not a valid " + format
	}
}

func texts(values []any) []string {
	var all []string
	for _, v := range values {
		all = append(all, fmt.Sprint(v))
	}
	return all
}
