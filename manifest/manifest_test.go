package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/benchd/benchd/api/v1alpha1"
)

const head = "apiVersion: benchd.dev/v1alpha1\nkind: BenchmarkRun\nmetadata: {name: a}\n"

// run is a valid run with more lines in its spec.
func run(spec string) string {
	return head + "spec:\n  service: {name: dummy}\n  workload: {duration: 1m}\n" + spec
}

func TestReadErrors(t *testing.T) {
	tests := map[string]struct {
		in   string
		want []string
	}{
		"an empty file":              {"", []string{`r.yaml: holds no object: write apiVersion, kind, metadata and spec`}},
		"comments and markers alone": {"# x\n---\n---\n", []string{`r.yaml: holds no object: write apiVersion, kind, metadata and spec`}},
		"a NUL byte":                 {"a: 1\nb: \x00", []string{`r.yaml:2:4: holds a NUL byte: save it as plain UTF-8 text`}},
		"text that is not UTF-8":     {"a: é\xff", []string{`r.yaml:1:5: is not UTF-8 text: save it as UTF-8`}},
		"a list":                     {"- a", []string{`r.yaml:1:1: is a list, wants an object with apiVersion, kind, metadata and spec`}},
		"an open bracket":            {"a: [1", []string{`r.yaml:1:4: is not valid YAML: sequence end token ']' not found`}},
		"a tab that indents":         {"a:\n\tb: 1\n", []string{`r.yaml:2:1: a tab indents this line: use spaces`}},
		"a syntax error hides no other document": {"a: [1\n---\n" + run("  bogus: 1\n"), []string{
			`r.yaml:1:4: is not valid YAML: sequence end token ']' not found`,
			`r.yaml:9:3: spec.bogus: unknown field: spec has backoffLimit, cancel, cluster, container, logging, monitoring, nodes, service, slurm, timeouts, verdict, workload`,
		}},
		"a key set twice":         {run("  cluster: a\n  cluster: b\n"), []string{`r.yaml:8:3: "cluster" is already set on line 7: keep one of them`}},
		"a key that is no string": {run("  container: {env: {1: x}}\n"), []string{`r.yaml:7:21: a key must be a string: write "1" in quotes`}},
		"an alias to itself": {run("  service: &x {config: {a: *x}}\n"), []string{
			`r.yaml:7:3: "service" is already set on line 5: keep one of them`,
			`r.yaml:7:28: alias *x stands within what it names`,
		}},
		"an unknown tag":  {run("  cluster: !foo a\n"), []string{`r.yaml:7:12: tag !foo is not known here: drop it`}},
		"an octal number": {run("  backoffLimit: 010\n"), []string{`r.yaml:7:17: 010 begins with a zero, which some readers take for octal: drop the zero, or quote it if it is text`}},
		"a number without end": {run("  workload: {load: {rate: .inf}}\n"), []string{
			`r.yaml:7:3: "workload" is already set on line 6: keep one of them`,
			`r.yaml:7:27: .inf is not a number that can be kept: use a finite one`,
		}},
		"zeros that a default takes the place of": {run("  verdict: {drift: 0}\n  monitoring: {interval: 0s}\n  backoffLimit: 0\n  nodes: {monitors: {count: 0}}\n"), []string{
			`r.yaml:7:20: spec.verdict.drift: 0: cannot be told from a field that is left out, which becomes 0.1: leave it out, or write another value`,
			`r.yaml:8:26: spec.monitoring.interval: "0s": cannot be told from a field that is left out, which becomes 1s: leave it out, or write another value`,
		}},
		"nothing known": {"foo: bar", []string{
			`r.yaml:1:1: apiVersion: is required: write apiVersion: benchd.dev/v1alpha1`,
			`r.yaml:1:1: kind: is required: use BenchmarkRun, BenchmarkSweep, BenchmarkSchedule, ServiceTemplate, Allocation or Cluster`,
		}},
		"a misspelt kind and version": {"apiVersion: benchd.dev/v1\nkind: benchmarkrun\nmetadata:\n  name: a\n", []string{
			`r.yaml:1:1: spec.service.name: is required: name the inference service, such as dummy`,
			`r.yaml:1:1: spec.workload.duration: is required: write duration: 30s`,
			`r.yaml:1:13: apiVersion: "benchd.dev/v1" is not known: write apiVersion: benchd.dev/v1alpha1`,
			`r.yaml:2:7: kind: "benchmarkrun" is not a kind that can be written; did you mean "BenchmarkRun"?`,
		}},
		"a kind that only benchd makes": {"apiVersion: benchd.dev/v1alpha1\nkind: Event\n", []string{
			`r.yaml:2:7: kind: "Event" is not a kind that can be written: use "BenchmarkRun", "BenchmarkSweep", "BenchmarkSchedule", "ServiceTemplate", "Allocation" or "Cluster"`,
		}},
		"a required field left empty": {head + "spec:\n  service: {name: }\n  workload:\n    duration:\n", []string{
			`r.yaml:5:13: spec.service.name: is required: name the inference service, such as dummy`,
			`r.yaml:7:5: spec.workload.duration: is required: write duration: 30s`,
		}},
		"a misspelt field, whose value is checked": {head + "spec:\n  service: {nmae: 5}\n  workload:\n    durration: 60\n", []string{
			`r.yaml:5:13: spec.service.nmae: unknown field; did you mean "name"?`,
			`r.yaml:5:19: spec.service.name: 5 is a number, wants a string: write "5"`,
			`r.yaml:7:5: spec.workload.durration: unknown field; did you mean "duration"?`,
			`r.yaml:7:16: spec.workload.duration: 60 is a number, wants a time: say 60s`,
		}},
		"a schedule's template, as Kubernetes has it": {"apiVersion: benchd.dev/v1alpha1\nkind: BenchmarkSchedule\nmetadata: {name: s}\nspec:\n  schedule: \"@daily\"\n  template:\n    spec: {}\n", []string{
			`r.yaml:7:5: spec.template.spec: unknown field; it belongs to spec or spec.template.sweep.template.spec; spec.template has labels, run, sweep`,
		}},
		"a field on the wrong level": {head + "spec:\n  duration: 5m\n  service: {name: dummy}\n  count: 2\n", []string{
			`r.yaml:5:3: spec.duration: unknown field; it belongs to spec.workload.duration`,
			`r.yaml:7:3: spec.count: unknown field; it belongs to spec.nodes.clients.count, spec.nodes.monitors.count or spec.nodes.servers.count`,
		}},
		"an unknown part":                  {run("extra: 1\n"), []string{`r.yaml:7:1: extra: unknown field: use apiVersion, kind, metadata and spec`}},
		"a string for an integer":          {run("  backoffLimit: two\n"), []string{`r.yaml:7:17: spec.backoffLimit: "two" is a string, wants an integer`}},
		"a quoted integer":                 {run("  backoffLimit: '2'\n"), []string{`r.yaml:7:17: spec.backoffLimit: "2" is a string, wants an integer: write 2 without quotes`}},
		"a fraction":                       {run("  backoffLimit: 1.5\n"), []string{`r.yaml:7:17: spec.backoffLimit: 1.5 is a number, wants an integer: write it without a fraction`}},
		"more than 32 bits":                {run("  backoffLimit: 99999999999\n"), []string{`r.yaml:7:17: spec.backoffLimit: 99999999999 is out of range: use -2147483648 to 2147483647`}},
		"a number beyond all":              {strings.Replace(run(""), "1m}", "1m, load: {rate: 1e400}}", 1), []string{`r.yaml:6:41: spec.workload.load.rate: "1e400" is a string, wants a number: no number can be that large`}},
		"a number for a string":            {run("  slurm: {timeLimit: 30}\n"), []string{`r.yaml:7:22: spec.slurm.timeLimit: 30 is a number, wants a string: write "30"`}},
		"a word for a list":                {run("  slurm: {modules: Apptainer}\n"), []string{`r.yaml:7:20: spec.slurm.modules: "Apptainer" is a string, wants a list: write [Apptainer]`}},
		"a word for a mapping":             {run("  nodes: {servers: 2}\n"), []string{`r.yaml:7:20: spec.nodes.servers: 2 is a number, wants a mapping with count, cpus, gpus, memory, nodelist`}},
		"a list for a mapping":             {run("  nodes: []\n"), []string{`r.yaml:7:3: spec.nodes: is a list, wants a mapping with clients, executorPort, monitors, servers`}},
		"an empty item":                    {run("  slurm:\n    modules:\n    -\n"), []string{`r.yaml:9:6: spec.slurm.modules[0]: is empty, wants a string`}},
		"a word of YAML 1.1 for a boolean": {run("  cancel: off\n"), []string{`r.yaml:7:11: spec.cancel: "off" is a string, wants true or false: write false`}},
		"a word of YAML 1.1 without a type": {strings.Replace(run(""), "dummy}", "dummy, config: {country: no}}", 1), []string{
			`r.yaml:5:44: spec.service.config[country]: "no" is a boolean to some readers of YAML and text to others: write false, or put it in quotes`,
		}},
		"a time without a unit": {run("  monitoring: {interval: '5'}\n"), []string{`r.yaml:7:26: spec.monitoring.interval: "5" is a time without a unit: say 5s`}},
		"a time in days":        {run("  timeouts: {queue: 1d}\n"), []string{`r.yaml:7:21: spec.timeouts.queue: "1d" is not a time: use one such as 30s, 5m or 1h30m`}},
		"a time beyond all":     {run("  timeouts: {queue: 99999999999h}\n"), []string{`r.yaml:7:21: spec.timeouts.queue: "99999999999h" is not a time: use one such as 30s, 5m or 1h30m`}},
		"a time out of range":   {run("  monitoring: {interval: 1ms}\n"), []string{`r.yaml:7:26: spec.monitoring.interval: "1ms": use a time such as 30s or 5m, from 100ms to 1h`}},
		"an amount":             {run("  nodes: {servers: {memory: 64Q}}\n"), []string{`r.yaml:7:29: spec.nodes.servers.memory: "64Q" is not an amount: use one such as 64Gi or 512Mi`}},
		"a value out of range":  {run("  nodes:\n    servers:\n      count: -1\n"), []string{`r.yaml:9:14: spec.nodes.servers.count: -1: use 0 to 4096`}},
		"a bad name": {strings.Replace(run(""), "name: a", "name: A_b", 1), []string{
			`r.yaml:3:18: metadata.name: "A_b": use at most 63 lower-case letters, digits and dashes, beginning and ending with a letter or digit`,
		}},
		"a bad key": {run("  container: {env: {A: x, 1-b: y}}\n"), []string{`r.yaml:7:27: spec.container.env[1-b]: "1-b": use letters, digits and underscores`}},
		"what is not allowed": {run("  slurm: {extraArgs: [--mem=3]}\n"), []string{
			`r.yaml:7:23: spec.slurm.extraArgs[0]: "--mem=3" is not allowed: benchd sets this option itself: use spec.nodes.*.memory`,
		}},
		"an unknown word of a list": {strings.Replace(run(""), "1m}", "1m, load: {pattern: constnat}, balance: roundrobin, api: soap}", 1), []string{
			`r.yaml:6:44: spec.workload.load.pattern: "constnat" is not supported; did you mean "constant"?`,
			`r.yaml:6:64: spec.workload.balance: "roundrobin" is not supported; did you mean "roundRobin"?`,
			`r.yaml:6:81: spec.workload.api: "soap" is not supported: use "chat", "completions", "ollamaChat", "ollamaGenerate" or "rest"`,
		}},
		"a word of a list left out": {run("  logging: {type: forward, forward: {url: 'http://loki:3100'}}\n"), []string{
			`r.yaml:7:28: spec.logging.forward.format: is required: use "loki", "elasticsearch" or "fluentbit"`,
		}},
		"a fault of two fields": {strings.Replace(run(""), "dummy}", "dummy, nodesPerReplica: 2, replicas: 1}", 1), []string{
			`r.yaml:5:43: spec.service.nodesPerReplica: 2: replicas (1) × nodesPerReplica (2) = 2 server nodes, but nodes.servers.count is 1`,
		}},
		"a repaired value is not counted against others": {strings.Replace(run("  nodes: {servers: {count: '2'}}\n"), "dummy}", "dummy, nodesPerReplica: 2, replicas: 1}", 1), []string{
			`r.yaml:7:28: spec.nodes.servers.count: "2" is a string, wants an integer: write 2 without quotes`,
		}},
		"a control character in a value": {run("  slurm: {account: \"a\\nb\"}\n"), []string{
			`r.yaml:7:20: spec.slurm.account: "a\nb" holds a control character (line break, tab, NUL …): remove it`,
		}},
		"lists of objects": {"kind: List\napiVersion: v1\nitems:\n- {apiVersion: benchd.dev/v1alpha1, kind: Cluster, metadata: {name: a}, spec: {workdir: w}}\n", []string{
			`r.yaml:4:89: spec.workdir: "w": use an absolute path`,
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			docs, err := (&Reader{}).Read("r.yaml", []byte(test.in))
			found, ok := errors.AsType[Errors](err)
			if !ok || len(docs) > 0 {
				t.Fatalf("Read = %d documents and %v, want Errors", len(docs), err)
			}
			if diff := cmp.Diff(test.want, strings.Split(found.Error(), "\n")); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadJSONErrors(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"a comma too many":     {"{\n\t\"kind\": 1,\n}", `r.json:3:1: is not valid JSON: invalid character '}' looking for beginning of object key string`},
		"an end in the middle": {`{"a": [1`, `r.json:1:9: is not valid JSON: it ends in the middle`},
		"a key set twice": {
			`{"apiVersion":"benchd.dev/v1alpha1","kind":"Cluster","metadata":{"name":"a","name":"b"}}`,
			`r.json:1:77: "name" is already set on line 1: keep one of them`,
		},
		"a wrong type": {
			"{\"apiVersion\":\"benchd.dev/v1alpha1\",\"kind\":\"Cluster\",\"metadata\":{\"name\":\"a\"},\n\t\"spec\": {\"é\": 1, \"maxQueued\": \"3\"}}",
			"r.json:2:11: spec.é: unknown field: spec has binDir, conf, embeddedNodes, maxQueued, network, nodeAccess, pollInterval, retention, type, visibilityTimeout, workdir\n" +
				`r.json:2:32: spec.maxQueued: "3" is a string, wants an integer: write 3 without quotes`,
		},
		"deep nesting": {strings.Repeat("[", 100), `r.json:1:66: is nested deeper than 64 levels`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := (&Reader{}).Read("r.json", []byte(test.in))
			if diff := cmp.Diff(test.want, fmt.Sprint(err)); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadBounds(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'h'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	tests := map[string]struct{ in, want string }{
		"a large file":       {strings.Repeat(" ", maxBytes+1), "r.yaml: is larger than 4 MiB: split it"},
		"many documents":     {strings.Repeat("---\na: 1\n", maxDocuments+1), "r.yaml:1:1: holds more than 1000 objects: split it"},
		"aliases of aliases": {bomb, "r.yaml:1:20: holds more than 50000 values in one document"},
		"deep flow":          {strings.Repeat("[", 100) + strings.Repeat("]", 100), "r.yaml:1:66: is nested deeper than 64 levels"},
		"deeper flow":        {strings.Repeat("[", 100_000), "r.yaml:1:1: is not valid YAML: exceeded max depth of 10000"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := (&Reader{}).Read("r.yaml", []byte(test.in))
			if diff := cmp.Diff(test.want, fmt.Sprint(err)); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRead(t *testing.T) {
	const want = `{"apiVersion":"benchd.dev/v1alpha1","kind":"BenchmarkRun","metadata":{"name":"a"},` +
		`"spec":{"service":{"name":"dummy"},"slurm":{"timeLimit":"02:00:00"},"workload":{"duration":"1m"}}}`
	const inJSON = "\t" + want
	tests := map[string]string{
		"a time limit without quotes":   run("  slurm: {timeLimit: 02:00:00}\n"),
		"quotes":                        run("  slurm: {timeLimit: \"02:00:00\"}\n"),
		"windows line ends and a mark":  "\xef\xbb\xbf" + strings.ReplaceAll(run("  slurm: {timeLimit: 02:00:00}\n"), "\n", "\r\n"),
		"directives, markers, comments": "# c\n%YAML 1.2\n---\n" + run("  slurm: {timeLimit: 02:00:00}\n") + "...\n# end\n",
		"empty fields":                  run("  slurm: {timeLimit: 02:00:00, account: }\n  nodes:\n  timeouts: ~\n"),
		"anchors and merges":            strings.Replace(run("  slurm: {<<: {timeLimit: 02:00:00}}\n"), "dummy", "&d dummy", 1),
		"JSON with tabs":                inJSON,
		"a list":                        `{"apiVersion":"v1","kind":"List","items":[` + want + `]}`,
	}
	for name, in := range tests {
		t.Run(name, func(t *testing.T) {
			docs, err := (&Reader{}).Read("r.yaml", []byte(in))
			if err != nil || len(docs) != 1 {
				t.Fatalf("Read = %d documents, %v", len(docs), err)
			}
			if diff := cmp.Diff(want, string(docs[0].Raw)); diff != "" {
				t.Errorf("raw (-want +got):\n%s", diff)
			}
			got, ok := docs[0].Object.(*v1alpha1.BenchmarkRun)
			if !ok {
				t.Fatalf("object is a %T", docs[0].Object)
			}
			if got.Kind != v1alpha1.KindBenchmarkRun || got.Spec.Cluster != "default" || got.Namespace != "default" {
				t.Errorf("object without kind or defaults: %+v", got)
			}
		})
	}
}

func TestReadLines(t *testing.T) {
	docs, err := (&Reader{}).Read("r.yaml", []byte(run("")+"---\n# second\n"+strings.Replace(run(""), "name: a", "name: b", 1)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range docs {
		got = append(got, fmt.Sprintf("%s:%d %s", d.File, d.Line, d.Object.GetName()))
	}
	if diff := cmp.Diff([]string{"r.yaml:1 a", "r.yaml:9 b"}, got); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
}

// TestRoundTrip holds that what benchd prints can be applied again.
func TestRoundTrip(t *testing.T) {
	docs, err := (&Reader{}).Read("r.yaml", []byte(run("  nodes: {servers: {count: 2, memory: 64Gi}}\n  container: {env: {A: \"no\", B: \"1\"}}\n  slurm: {timeLimit: \"90\"}\n")))
	if err != nil {
		t.Fatal(err)
	}
	want, ok := docs[0].Object.(*v1alpha1.BenchmarkRun)
	if !ok {
		t.Fatalf("object is a %T", docs[0].Object)
	}
	want.UID, want.ResourceVersion, want.Generation = "u", "7", 2
	want.CreationTimestamp = metav1.Unix(1_700_000_000, 0)
	want.Finalizers = []string{v1alpha1.FinalizerCluster}
	want.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "X", Name: "x", UID: "y"}}
	want.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m"}}
	want.Status = v1alpha1.BenchmarkRunStatus{Phase: v1alpha1.RunPending, ObservedGeneration: 2, Conditions: []metav1.Condition{{Type: "Scheduled"}}}
	printed, err := yaml.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	docs, err = (&Reader{}).Read("r.yaml", printed)
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	again, err := yaml.Marshal(docs[0].Object)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(printed), string(again)); diff != "" {
		t.Errorf("round trip (-want +got):\n%s", diff)
	}
}

func TestDecode(t *testing.T) {
	const spec = `"metadata":{"name":"a"},"spec":{"service":{"name":"d"},"workload":{"duration":"1m"}}}`
	tests := map[string]struct{ kind, in, want string }{
		"kind and version left out": {"BenchmarkRun", `{` + spec, "<nil>"},
		"kind and version given":    {"BenchmarkRun", `{"apiVersion":"benchd.dev/v1alpha1","kind":"BenchmarkRun",` + spec, "<nil>"},
		"another kind":              {"Cluster", `{"kind":"BenchmarkRun",` + spec, `kind: "BenchmarkRun" is not the kind asked for: write kind: Cluster` + "\n" + `spec.service: unknown field: spec has binDir, conf, embeddedNodes, maxQueued, network, nodeAccess, pollInterval, retention, type, visibilityTimeout, workdir` + "\n" + `spec.workload: unknown field: spec has binDir, conf, embeddedNodes, maxQueued, network, nodeAccess, pollInterval, retention, type, visibilityTimeout, workdir`},
		"an unknown field":          {"BenchmarkRun", `{"specc":{},` + spec, `specc: unknown field; did you mean "spec"?`},
		"two values":                {"BenchmarkRun", `{` + spec + `{}`, `holds 2 objects, wants one`},
		"nothing":                   {"BenchmarkRun", ``, `holds 0 objects, wants one`},
		"YAML":                      {"BenchmarkRun", `a: b`, `is not valid JSON: invalid character 'a' looking for beginning of value`},
		"a kind without a schema":   {"Event", `{}`, `kind: "Event" cannot be written: use BenchmarkRun, BenchmarkSweep, BenchmarkSchedule, ServiceTemplate, Allocation or Cluster`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			obj, err := Decode(test.kind, []byte(test.in))
			if diff := cmp.Diff(test.want, fmt.Sprint(err)); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			if err == nil && obj.GetName() != "a" {
				t.Errorf("name = %q", obj.GetName())
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		run(""), run("  slurm: {timeLimit: 02:00:00, modules: [a]}\n  nodes: {servers: {memory: 1e3}}\n"), "a: &x [*x]", "{", "[[", "? a\n: b",
		"<<: [{a: 1}, 2]", "--- |\n a\n...\n---\n", "!!binary a", "kind: List\nitems: [{}, 1]", "a: \"\\ud800\"", `{"a":{"a":1,"a":2}}`,
		head + "spec: {service: [], workload: {duration: [], load: {rate: 1e400}, slo: {ttft: 1}}, nodes: {servers: {count: 1e3}}}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := (&Reader{}).Read("r.yaml", data)
		if err == nil && len(docs) == 0 {
			t.Fatal("neither a document nor an error")
		}
		for _, d := range docs {
			if !json.Valid(d.Raw) || d.Object == nil || d.Line < 1 {
				t.Fatalf("incomplete document: %+v", d)
			}
		}
		if found, ok := errors.AsType[Errors](err); err != nil && !ok {
			t.Fatalf("%T is not Errors", err)
		} else if ok && found.Error() == "" {
			t.Fatal("an error without text")
		}
	})
}
