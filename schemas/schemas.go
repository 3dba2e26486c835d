// Package schemas holds the JSON Schemas of the kinds that users write, generated from the Go types and embedded.
//
// The files also serve editors: benchd.json covers every kind, so a manifest that begins with
//
//	# yaml-language-server: $schema=<path>/schemas/benchd.json
//
// is completed and checked while it is typed. The generator in folder generate is run by `go generate ./schemas`;
// its test fails when the files no longer agree with the types.
package schemas

import (
	"embed"
	"fmt"
	"strings"
)

//go:generate go run ./generate

//go:embed *.json
var files embed.FS

//go:embed recipe-format.yaml
var recipeFormat []byte

// Recipe returns the JSON Schema of a recipe, as YAML. It is written by hand, for recipes are not objects of ours.
func Recipe() []byte { return recipeFormat }

// BaseID is what the `$id` of every schema begins with.
const BaseID = "https://benchd.dev/schemas/v1alpha1/"

// Kinds lists the kinds that have a schema, the ones that users write first.
func Kinds() []string {
	return []string{"BenchmarkRun", "BenchmarkSweep", "BenchmarkSchedule", "ServiceTemplate", "Allocation", "Cluster"}
}

// For returns the JSON Schema of a kind.
func For(kind string) ([]byte, error) {
	for _, known := range Kinds() {
		if kind == known {
			return files.ReadFile(FileName(kind))
		}
	}
	return nil, fmt.Errorf("kind %q has no schema: use one of %s", kind, strings.Join(Kinds(), ", "))
}

// All returns the schema that covers every kind, told apart by its `kind`.
func All() ([]byte, error) { return files.ReadFile("benchd.json") }

// FileName returns the name of the kind's schema file, which is also the last part of its `$id`.
func FileName(kind string) string { return strings.ToLower(kind) + ".json" }
