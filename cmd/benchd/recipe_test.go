package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// reportRecipe is the recipe as the report prints it, where it lies beside the project; else one that says the same.
func reportRecipe(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../../shared/mission/recipe.yaml")
	if err != nil {
		data, err = os.ReadFile("testdata/ollama.recipe.yaml")
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The report's recipe is accepted as it is printed, and becomes what it says.
func TestReportRecipeAsPrinted(t *testing.T) {
	t.Parallel()
	text := reportRecipe(t)
	cmd := exec.Command(testBinary(t), "convert", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{
		"name: experiment-name", "partition: gpu", "account: p200981", "qos: default", `timeLimit: "02:00:00"`, "exclusive: true", "gpuLayers: 0", "name: ollama",
		"model: llama2", "port: 11434", "replicas: 2", "endpoint: /api/tags", "timeout: 5m0s", "interval: 5s", "clientsPerNode: 10", "duration: 2m0s",
		"warmup: 1m0s", "image: /path/to/containers/ollama_latest.sif", "- /project/.ollama:/root/.ollama:rw", "- /project/scratch:/scratch:rw",
		"memory: 32Gi", "memory: 16Gi", "gpus: 2", "benchd itself is the executor",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if n := strings.Count(string(out), "Warning:"); n != 1 {
		t.Errorf("%d warnings, want the one about python:\n%s", n, out)
	}
}

// The report's recipe runs, its paths changed, its times cut and its nodes played by this machine: in (pretended) containers, through
// all phases.
func TestReportRecipeRuns(t *testing.T) {
	t.Parallel()
	text := reportRecipe(t)
	bin, err := standIns()
	if err != nil {
		t.Fatal(err)
	}
	dir := modelFolder(t)
	for _, sub := range []string{"containers", "ollama", "scratch"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "containers", "ollama_latest.sif"), []byte("an image"), 0o644); err != nil {
		t.Fatal(err)
	}
	for old, now := range map[string]string{
		"/path/to/containers/": dir + "/containers/", "/project/.ollama": dir + "/ollama", "/project/scratch": dir + "/scratch",
		`mode: "slurm"`: `mode: "embedded"`, `duration: "2m"`: `duration: "3s"`, `warmup: "1m"`: `warmup: "1s"`,
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("the recipe has no %s", old)
		}
		text = strings.Replace(text, old, now, 1)
	}
	p := newPlane(t, "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir).ready()
	recipe := filepath.Join(dir, "recipe.yaml")
	if err := os.WriteFile(recipe, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testBinary(t), "run", "--recipe", recipe, "--home", string(p.home), "--quiet")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	run := p.until("experiment-name", time.Minute, api.RunCompleted)
	a := p.allocation("experiment-name-1")
	checkServed(t, run, a)
	if len(a.Status.Servers) != 2 || len(a.Status.Nodes) != 5 || !strings.Contains(strings.Join(a.Status.Servers[0].Command, " "), "exec --cleanenv --nv --bind") {
		t.Errorf("servers %+v on nodes %+v", a.Status.Servers, a.Status.Nodes)
	}
}
