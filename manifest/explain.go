package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/schemas"
)

// aliases are the names that people use for kinds.
var aliases = map[string]string{
	"run": v1alpha1.KindBenchmarkRun, "runs": v1alpha1.KindBenchmarkRun,
	"benchmarkrun": v1alpha1.KindBenchmarkRun, "benchmarkruns": v1alpha1.KindBenchmarkRun,
	"allocation": v1alpha1.KindAllocation, "allocations": v1alpha1.KindAllocation,
	"sweep": v1alpha1.KindBenchmarkSweep, "sweeps": v1alpha1.KindBenchmarkSweep, "bs": v1alpha1.KindBenchmarkSweep,
	"schedule": v1alpha1.KindBenchmarkSchedule, "schedules": v1alpha1.KindBenchmarkSchedule, "bsched": v1alpha1.KindBenchmarkSchedule,
	"template": v1alpha1.KindServiceTemplate, "templates": v1alpha1.KindServiceTemplate, "servicetemplate": v1alpha1.KindServiceTemplate,
	"cluster": v1alpha1.KindCluster, "clusters": v1alpha1.KindCluster,
}

// Explain describes a kind or one of its fields, such as run.spec.workload.load: type, description, default, allowed
// values and the fields below it.
func Explain(path string) (string, error) {
	steps := strings.Split(path, ".")
	name := strings.ToLower(steps[0])
	kind, ok := aliases[name]
	if !ok {
		return "", fmt.Errorf("%q is not a kind%s", clip(steps[0]), didYouMean(name, slices.Sorted(maps.Keys(aliases)), schemas.Kinds()))
	}
	s := compiled()[kind]
	at, needed := kind, false
	for _, step := range steps[1:] {
		parent := beneath(s)
		if s = parent.Properties[step]; s == nil {
			fields := slices.Sorted(maps.Keys(parent.Properties))
			if len(fields) == 0 {
				return "", fmt.Errorf("%s has no fields, so there is no %q in it", at, clip(step))
			}
			return "", fmt.Errorf("%s has no field %q%s", at, clip(step), didYouMean(step, fields, fields))
		}
		needed = slices.Contains(parent.Required, step)
		at += "." + step
	}
	return describe(kind, strings.TrimPrefix(strings.TrimPrefix(at, kind), "."), s, needed), nil
}

// didYouMean names the likely word, or lists what there is.
func didYouMean(got string, known, all []string) string {
	if meant := closest(got, known); meant != "" {
		return fmt.Sprintf("; did you mean %q?", meant)
	}
	return ": use " + orList(all)
}

// beneath looks through lists at what they hold.
func beneath(s *jsonschema.Schema) *jsonschema.Schema {
	for s.Items2020 != nil {
		s = s.Items2020
	}
	return s
}

func describe(kind, field string, s *jsonschema.Schema, needed bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "KIND:     %s\nVERSION:  %s\n", kind, v1alpha1.GroupVersion)
	if field != "" {
		fmt.Fprintf(&b, "FIELD:    %s %s\n", field, typeTag(s, needed))
	}
	if s.Description != "" {
		fmt.Fprintf(&b, "\n%s\n", wrap(s.Description))
	}
	if facts := facts(s); len(facts) > 0 {
		fmt.Fprintf(&b, "\n%s\n", strings.Join(facts, "\n"))
	}
	fields := beneath(s)
	if len(fields.Properties) == 0 {
		return b.String()
	}
	b.WriteString("\nFIELDS:\n")
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(fields.Properties)) {
		p := fields.Properties[name]
		text := p.Description
		if p.Default != nil {
			text = strings.TrimSpace(fmt.Sprintf("%s (default %v)", text, *p.Default))
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", name, typeTag(p, slices.Contains(fields.Required, name)), text)
	}
	_ = table.Flush() // to a strings.Builder
	return b.String()
}

// typeTag prints a field's type as it is written in a manifest.
func typeTag(s *jsonschema.Schema, needed bool) string {
	tag := ""
	switch types := typesOf(s); {
	case formatOf(s) == formatDuration:
		tag = "duration"
	case formatOf(s) == formatQuantity:
		tag = "quantity"
	case formatOf(s) == formatTime:
		tag = "time"
	case slices.Contains(types, "array"):
		tag = "[]" + strings.Trim(typeTag(beneath(s), false), "<>")
	case slices.Contains(types, "object") && memberSchema(s, "") != nil:
		tag = "map of " + strings.Trim(typeTag(memberSchema(s, ""), false), "<>")
	case len(types) > 0:
		tag = types[0]
	default:
		tag = "any"
	}
	if needed {
		return "<" + tag + ", required>"
	}
	return "<" + tag + ">"
}

// facts lists what else is known of a field.
func facts(s *jsonschema.Schema) []string {
	var all []string
	if s.Default != nil {
		all = append(all, fmt.Sprintf("Default: %v", *s.Default))
	}
	if s.Enum != nil {
		all = append(all, "One of: "+strings.Join(texts(s.Enum.Values), ", "))
	}
	if len(s.Examples) > 0 {
		all = append(all, "Examples: "+strings.Join(texts(s.Examples), ", "))
	}
	return all
}

// wrap breaks text into lines of at most 80 letters.
func wrap(text string) string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > 80 {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}
