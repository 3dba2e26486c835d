package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// imageFolder is a container image as charliecloud takes it: a folder with the stand-ins in it and nothing else.
func imageFolder(t *testing.T) string {
	t.Helper()
	bin, err := standIns()
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image")
	for _, dir := range []string{"bin", "usr/bin", "tmp", "etc", "dev", "proc", "sys", "root", "home", "models", "mnt", "run", "var/tmp", "ch"} {
		if err := os.MkdirAll(filepath.Join(image, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"etc/hosts", "etc/resolv.conf", "etc/passwd", "etc/group"} {
		if err := os.WriteFile(filepath.Join(image, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(filepath.Join(filepath.Dir(bin), "standin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(image, "usr/bin/standin"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"vllm", "ray", "ollama"} {
		if err := os.Symlink("standin", filepath.Join(image, "usr/bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

// Servers run in a real container: a model folder that is bound, and a Ray cluster whose programs meet across containers.
func TestContainers(t *testing.T) {
	t.Parallel()
	needPrograms(t, "ch-run") // charliecloud's
	image := imageFolder(t)
	models := modelFolder(t)
	contained := func(s *api.BenchmarkRunSpec) {
		s.Container = api.ContainerSpec{
			Runtime: api.RuntimeCharliecloud, Image: image, Binds: []string{models + ":/models"},
			Env:     map[string]string{"STANDIN_GPUS": "4", "QUOTED": `it's "$HOME" \n`},
			Secrets: map[string]api.SecretSource{"HF_TOKEN": {Env: "MY_HF_TOKEN"}},
		}
	}
	p := newPlane(t, "MY_HF_TOKEN="+plantedEnv).ready()
	p.create(newRun("ollama", served(t, "ollama", "llama2", config("models", "/models")), contained))
	p.create(newRun("ray", served(t, "vllm", "org/model", nodes(2, 2)), contained))
	var uids []string
	for _, name := range []string{"ollama", "ray"} {
		run := p.until(name, time.Minute, api.RunCompleted)
		a := p.allocation(name + "-1")
		checkServed(t, run, a)
		uids = append(uids, string(a.UID))
	}
	if found, err := filepath.Glob(filepath.Join(models, "manifests", "*", "*", "llama2", "*")); err != nil || len(found) != 1 {
		t.Errorf("the model was pulled to %v (%v), want the folder that is bound", found, err)
	}
	p.create(newRun("nobind", once, served(t, "ollama", "llama2"), contained, func(s *api.BenchmarkRunSpec) { s.Container.Binds = []string{"/nowhere:/models"} }))
	p.failed("nobind", api.FailureUser, "BindSourceMissing")
	p.create(newRun("noimage", once, served(t, "ollama", "llama2"), contained, func(s *api.BenchmarkRunSpec) { s.Container.Image = image + "s" }))
	p.failed("noimage", api.FailureUser, "ContainerImageMissing")
	p.eventually(30*time.Second, "the jobs have ended", func(context.Context) (bool, string) {
		left := p.processes()
		return len(left) == 1, strings.Join(left, "\n")
	})
	p.kill()
	grepHome(t, p)
	for _, uid := range uids {
		if left, err := filepath.Glob(filepath.Join(os.TempDir(), "benchd-"+uid[:8]+"-*")); err != nil || len(left) > 0 {
			t.Errorf("left on the node's disk: %v (%v)", left, err)
		}
	}
}
