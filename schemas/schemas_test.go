package schemas_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/benchd/benchd/schemas"
)

func TestFor(t *testing.T) {
	for _, kind := range schemas.Kinds() {
		data, err := schemas.For(kind)
		if err != nil {
			t.Fatal(err)
		}
		if id := `"$id": "https://benchd.dev/schemas/v1alpha1/` + strings.ToLower(kind) + `.json"`; !bytes.Contains(data, []byte(id)) {
			t.Errorf("%s: no %s", kind, id)
		}
		compile(t, kind, data)
	}
	_, err := schemas.For("Event")
	if diff := cmp.Diff(`kind "Event" has no schema: use one of BenchmarkRun, BenchmarkSweep, BenchmarkSchedule, ServiceTemplate, Allocation, Cluster`, err.Error()); diff != "" {
		t.Errorf("For(Event) (-want +got):\n%s", diff)
	}
}

// TestAll holds that the schema for editors picks by kind.
func TestAll(t *testing.T) {
	data, err := schemas.All()
	if err != nil {
		t.Fatal(err)
	}
	schema := compile(t, "benchd", data)
	const head = `{"apiVersion":"benchd.dev/v1alpha1","metadata":{"name":"a"},`
	tests := map[string]struct {
		in string
		ok bool
	}{
		"a cluster":                 {head + `"kind":"Cluster","spec":{"type":"slurm"}}`, true},
		"a cluster with run fields": {head + `"kind":"Cluster","spec":{"workload":{}}}`, false},
		"a run":                     {head + `"kind":"BenchmarkRun","spec":{"service":{"name":"d"},"workload":{"duration":"1m"}}}`, true},
		"a run without a duration":  {head + `"kind":"BenchmarkRun","spec":{"service":{"name":"d"},"workload":{}}}`, false},
		"an unknown word":           {head + `"kind":"BenchmarkRun","spec":{"service":{"name":"d"},"workload":{"duration":"1m","api":"soap"}}}`, false},
		"an unknown kind":           {head + `"kind":"Pod"}`, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(test.in))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(value); (err == nil) != test.ok {
				t.Errorf("Validate = %v, want ok %t", err, test.ok)
			}
		})
	}
}

func compile(t *testing.T, name string, data []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(name+".json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}
