// Package recipe reads the recipes of the HPC Benchmark Toolkit's reports as objects: a BenchmarkRun, or a BenchmarkSweep where
// a value of the workload is a list. docs/recipes.md has the table of what becomes of each field.
//
// A recipe that fits its schema is read once, field by field, by a cursor that notes which fields were looked at: what nobody
// looked at is named in a warning. Each field of the object remembers the field of the recipe that it was made of, so that
// later faults are told at their place in the user's file.
package recipe

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/schemas"
)

// AccountVariable is the account of those who name none, as the report's toolkit has it.
const AccountVariable = "MLUX_ACCOUNT"

// Dialect reads recipes where manifests are read.
var Dialect = sync.OnceValue(func() *manifest.Dialect {
	data, err := yaml.YAMLToJSON(schemas.Recipe())
	if err != nil {
		panic(err) // the schema is embedded: a broken build
	}
	schema, err := manifest.CompileSchema("https://benchd.dev/schemas/recipe-format.yaml", data)
	if err != nil {
		panic(err)
	}
	return &manifest.Dialect{Is: is, Schema: schema, Convert: convert}
})

// is tells a recipe by its parts: a file with one of them, and neither apiVersion nor kind, is meant to be one.
func is(keys []string) bool {
	return slices.ContainsFunc(keys, func(key string) bool {
		return slices.Contains([]string{"scenario", "orchestration", "workload", "servers", "artifacts"}, key)
	})
}

// conversion is a recipe on its way to an object.
type conversion struct {
	*cursor
	run  api.BenchmarkRunSpec
	from map[string]string
	axes []api.ParameterSpec
}

// convert makes the object of a recipe that fits the schema.
func convert(document map[string]any) manifest.Conversion {
	c := &conversion{cursor: newCursor(document), from: map[string]string{}}
	name := c.heading()
	c.nodes()
	c.servers() // before the load, so that axes that need other servers vary slowest
	c.workload()
	c.container()
	c.logging()
	c.monitoring()
	c.warnUnused()
	out := manifest.Conversion{From: c.from, Errors: c.errors, Warnings: c.warnings}
	annotations := map[string]string{annotationScenario: c.text("scenario")}
	if len(c.axes) == 0 {
		run := &api.BenchmarkRun{Spec: c.run}
		run.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkRun))
		run.Name, run.Annotations = name, annotations
		out.Objects = []api.Object{run}
		return out
	}
	sweep := &api.BenchmarkSweep{Spec: api.BenchmarkSweepSpec{Template: api.RunTemplate{Spec: c.run}, Parameters: c.axes}}
	sweep.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkSweep))
	sweep.Name, sweep.Annotations = name, annotations
	for path, source := range maps.Clone(c.from) {
		c.from["spec.template."+path] = source
	}
	out.Objects = []api.Object{sweep}
	return out
}

// annotationScenario keeps the scenario as it was written.
const annotationScenario = "benchd.dev/scenario"

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// heading reads what stands at the top, and returns the object's name.
func (c *conversion) heading() string {
	c.look("version")
	scenario := c.text("scenario")
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(scenario), "-"), "-")
	name = strings.Trim(name[:min(len(name), 63)], "-")
	if name == "" {
		c.wrong("scenario", "holds no letter or digit that a name could be made of")
	}
	c.from["metadata.name"] = "scenario"
	c.set("cluster", "spec.cluster", func(v any) { c.run.Cluster = fmt.Sprint(v) })
	c.set("partition", "spec.slurm.partition", func(v any) { c.run.Slurm.Partition = fmt.Sprint(v) })
	c.run.Slurm.Account = os.Getenv(AccountVariable)
	c.set("account", "spec.slurm.account", func(v any) { c.run.Slurm.Account = fmt.Sprint(v) })
	c.set("qos", "spec.slurm.qos", func(v any) { c.run.Slurm.QOS = fmt.Sprint(v) })
	c.set("modules", "spec.slurm.modules", func(v any) { c.run.Slurm.Modules = texts(v) })
	c.set("environment", "spec.container.env", func(v any) {
		c.run.Container.Env = map[string]string{}
		variables, _ := v.(map[string]any)
		for key, value := range variables {
			c.look("environment[" + key + "]")
			c.run.Container.Env[key] = fmt.Sprint(value)
		}
	})
	return name
}

// set reads a field that may be absent, and notes what was made of it.
func (c *conversion) set(path, target string, do func(any)) {
	if value := c.look(path); value != nil {
		c.from[target] = path
		do(value)
	}
}

func texts(v any) []string {
	var all []string
	items, _ := v.([]any)
	for _, item := range items {
		all = append(all, fmt.Sprint(item))
	}
	return all
}
