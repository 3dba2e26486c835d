package manifest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPaths(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	named := func(name string) string { return strings.Replace(run(""), "name: a", "name: "+name, 1) }
	write("good/b.yaml", named("b")+"---\n"+named("c"))
	write("good/a.yml", named("a"))
	write("good/notes.txt", "not read")
	write("good/deep/d.JSON", `{"apiVersion":"benchd.dev/v1alpha1","kind":"Cluster","metadata":{"name":"d"}}`)
	write("bad/1.yaml", "a: [")
	write("bad/2.yaml", run("  x: 1\n"))
	write("none/notes.txt", "")

	tests := map[string]struct {
		paths     []string
		recursive bool
		want      string
	}{
		"a folder, sorted":           {[]string{"good"}, false, "a b c"},
		"a folder and what is below": {[]string{"good"}, true, "a b c d"},
		"a file twice is read once":  {[]string{"good/a.yml", "good"}, false, "a b c"},
		"stdin and a file":           {[]string{"-", "good/a.yml"}, false, "piped a"},
		"a file that is not there":   {[]string{"gone.yaml"}, false, "gone.yaml: does not exist"},
		"a folder without manifests": {[]string{"none"}, false, "none: holds no .yaml, .yml or .json file"},
		"nothing at all":             {nil, false, "no file is named: give files, folders, or - for standard input"},
		"all errors of all files": {[]string{"bad", "gone.yaml"}, false, "bad/1.yaml:1:4: is not valid YAML: sequence end token ']' not found\n" +
			"bad/2.yaml:7:3: spec.x: unknown field: spec has backoffLimit, cancel, cluster, container, logging, monitoring, nodes, service, slurm, timeouts, verdict, workload\n" +
			"gone.yaml: does not exist"},
	}
	t.Chdir(dir)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			docs, err := (&Reader{}).Paths(test.paths, test.recursive, strings.NewReader(named("piped")))
			var names []string
			for _, d := range docs {
				names = append(names, d.Object.GetName())
			}
			got := strings.Join(names, " ")
			if err != nil {
				got = fmt.Sprint(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("documents or errors (-want +got):\n%s", diff)
			}
		})
	}
}
