package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	api "github.com/benchd/benchd/api/v1alpha1"
	starter "github.com/benchd/benchd/config"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/services"
)

// command runs the command line in this process and returns what it printed.
func command(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRootCommand()
	root.SetArgs(append([]string{"--home", filepath.Join(t.TempDir(), "home")}, args...))
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	err = root.Execute()
	return out.String(), errs.String(), err
}

// sampleFiles are the paths of config/samples.
func sampleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("only %d samples (%v)", len(files), err)
	}
	return files
}

// Every sample is valid, and what it is rendered to is a batch script that shellcheck has nothing to say about.
func TestSamples(t *testing.T) {
	t.Setenv("MLUX_ACCOUNT", "")
	for _, file := range sampleFiles(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if _, warnings, err := command(t, "", "validate", "-f", file); err != nil || warnings != "" {
				t.Fatalf("%v\n%s", err, warnings)
			}
			runs, _, err := command(t, "", "convert", "--runs", "-f", file)
			if err != nil && strings.Contains(err.Error(), "what the search") {
				return // its runs are not known before; that they can be rendered is looked at when it is validated
			}
			if err != nil {
				t.Fatal(err)
			}
			rendered, _, err := command(t, runs, "render", "-f", "-")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(runs, "kind: BenchmarkRun") {
				return
			}
			scripts := scriptsOf(rendered)
			if len(scripts) == 0 {
				t.Fatal("no script was rendered")
			}
			shellcheck(t, scripts[0])
		})
	}
}

// scriptsOf cuts the batch scripts out of what render prints.
func scriptsOf(rendered string) []string {
	var scripts []string
	for _, part := range strings.Split(rendered, "# --- ")[1:] {
		title, text, _ := strings.Cut(part, "\n")
		if strings.HasSuffix(title, "/job.sh") {
			scripts = append(scripts, text)
		}
	}
	return scripts
}

func shellcheck(t *testing.T, script string) {
	t.Helper()
	if _, err := exec.LookPath("shellcheck"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("shellcheck is not installed")
		}
		t.Log("shellcheck is not here: the script is not looked at")
		return
	}
	cmd := exec.Command("shellcheck", "-s", "bash", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Every service has a sample, every sample a line in the README, and no secret stands in one.
func TestSamplesAreComplete(t *testing.T) {
	readme, err := starter.Samples.ReadFile(starter.Folder + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, file := range sampleFiles(t) {
		name := filepath.Base(file)
		text, err := starter.Samples.ReadFile(starter.Folder + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(readme), "]("+name+")") {
			t.Errorf("README.md does not say what %s is for", name)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "HF_TOKEN:") && !strings.Contains(line, "{env: HF_TOKEN}") {
				t.Errorf("%s: %q does not refer to a secret", name, line)
			}
		}
		for _, run := range runsOfSample(t, file) {
			seen[run.Spec.Service.Name] = true
		}
	}
	for _, name := range services.Names() {
		if !seen[name] {
			t.Errorf("no sample of service %s", name)
		}
	}
}

// runsOfSample are the runs of a file, the first one of each sweep.
func runsOfSample(t *testing.T, file string) []*api.BenchmarkRun {
	t.Helper()
	var runs []*api.BenchmarkRun
	for _, doc := range readSample(t, file) {
		switch o := doc.Object.(type) {
		case *api.BenchmarkRun:
			runs = append(runs, o)
		case *api.BenchmarkSweep:
			run, err := plan.Run(o, plan.Sample(&o.Spec)[0])
			if err != nil {
				t.Fatal(err)
			}
			runs = append(runs, run)
		}
	}
	return runs
}

func readSample(t *testing.T, file string) []manifest.Document {
	t.Helper()
	o := options{home: filepath.Join(t.TempDir(), "home"), namespace: api.DefaultNamespace}
	cmd := newRootCommand()
	cmd.SetContext(t.Context())
	docs, err := o.readManifests(cmd, []string{file}, false)
	if err != nil {
		t.Fatal(err)
	}
	return docs
}
