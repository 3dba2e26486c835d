package main

import (
	"strings"
	"testing"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/services"
)

// Whatever a site has, the files of its folder are valid, and speak of it.
func TestStarterFilesFitTheSite(t *testing.T) {
	gpus := []sitePartition{{Name: "batch"}, {Name: "a100", GPUs: 8}}
	programs := map[string]bool{}
	for _, name := range services.Names() {
		programs[name] = true
	}
	for name, tc := range map[string]struct {
		site  siteDefaults
		files string
		want  map[string]string // texts, by the files that hold them
		not   map[string]string
	}{
		"a laptop": {site: siteDefaults{}, files: "cluster.yaml first-run.yaml README.md", want: map[string]string{"README.md": "benchd create run.yaml", "cluster.yaml": "workdir: /home/x/work"}},
		"Slurm, containers by modules": {
			site:  siteDefaults{Slurm: true, Accounts: []string{"p1"}, Partitions: gpus},
			files: "cluster.yaml first-run.yaml ollama.yaml vllm.yaml README.md",
			want:  map[string]string{"ollama.yaml": "partition: a100\n    account: p1\n", "vllm.yaml": "/project/home/p1/containers/vllm-openai.sif", "README.md": "benchd run -f ollama.yaml"},
			not:   map[string]string{"ollama.yaml": "p200981"},
		},
		"podman": {
			site: siteDefaults{Runtimes: []string{"podman"}}, files: "cluster.yaml first-run.yaml ollama.yaml vllm.yaml README.md",
			want: map[string]string{"vllm.yaml": "runtime: podman\n    image: docker://vllm/vllm-openai:latest"},
		},
		"charliecloud": {
			site: siteDefaults{Runtimes: []string{"charliecloud"}, Programs: programs}, files: "cluster.yaml first-run.yaml ollama.yaml vllm.yaml sglang.yaml llama.cpp.yaml tensorrt-llm.yaml tgi.yaml README.md",
			want: map[string]string{"llama.cpp.yaml": `models:/models"]`},
		},
		"programs on PATH": {
			site: siteDefaults{Programs: programs}, files: "cluster.yaml first-run.yaml ollama.yaml vllm.yaml sglang.yaml llama.cpp.yaml tensorrt-llm.yaml tgi.yaml README.md",
			want: map[string]string{"vllm.yaml": "HF_TOKEN: {env: HF_TOKEN}"},
			not:  map[string]string{"vllm.yaml": "runtime:", "ollama.yaml": "container:", "llama.cpp.yaml": "binds"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := starterFiles(tc.site, "/home/x")
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			texts := map[string]string{}
			reader := manifest.Reader{Admit: noTemplates}
			for _, f := range files {
				names, texts[f.name] = append(names, f.name), f.text
				if !strings.HasSuffix(f.name, ".yaml") {
					continue
				}
				docs, err := reader.Read(f.name, []byte(f.text))
				if err != nil {
					t.Errorf("%v\n%s", err, f.text)
					continue
				}
				if run, ok := docs[0].Object.(*api.BenchmarkRun); ok && f.name == "first-run.yaml" && run.Name != "first-run" {
					t.Errorf("the first run is called %s", run.Name)
				}
			}
			if got := strings.Join(names, " "); got != tc.files {
				t.Errorf("files %s, want %s", got, tc.files)
			}
			for file, text := range tc.want {
				if !strings.Contains(texts[file], text) {
					t.Errorf("%s lacks %q:\n%s", file, text, texts[file])
				}
			}
			for file, text := range tc.not {
				if strings.Contains(texts[file], text) {
					t.Errorf("%s holds %q:\n%s", file, text, texts[file])
				}
			}
		})
	}
}
