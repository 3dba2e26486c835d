package container

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	api "github.com/benchd/benchd/api/v1alpha1"
)

const secret = "hf_planted"

func process(folder string, gpus, shared bool) Process {
	return Process{
		Name: "vllm-0", Args: []string{"vllm", "serve", "a b"}, Env: map[string]string{"HF_TOKEN": secret, "A": "it's $HOME"}, Folder: folder,
		Binds: []string{"/tmp/s:/tmp/s"}, GPUs: gpus, Node: "mel2001", Shared: shared,
	}
}

// What each runtime is given is pinned in testdata; no value of a variable is ever an argument.
func TestCommands(t *testing.T) {
	binds := []string{"/project/models:/models:ro", "/scratch"}
	for name, tc := range map[string]struct {
		spec         api.ContainerSpec
		gpus, shared bool
	}{
		"none":             {api.ContainerSpec{Runtime: api.RuntimeNone}, true, false},
		"apptainer":        {api.ContainerSpec{Runtime: api.RuntimeApptainer, Image: "/images/vllm.sif", Binds: binds}, true, false},
		"apptainer-amd":    {api.ContainerSpec{Runtime: api.RuntimeApptainer, Image: "file:///images/vllm.sif", GPU: api.GPUAMD, Args: []string{"--no-home"}}, true, false},
		"apptainer-cpu":    {api.ContainerSpec{Runtime: api.RuntimeApptainer, Image: "/images/vllm.sif"}, false, false},
		"singularity":      {api.ContainerSpec{Runtime: api.RuntimeSingularity, Image: "/images/vllm.sif", Binds: binds}, true, false},
		"podman":           {api.ContainerSpec{Runtime: api.RuntimePodman, Image: "docker://vllm/vllm-openai:latest", Binds: binds}, true, false},
		"podman-amd":       {api.ContainerSpec{Runtime: api.RuntimePodman, Image: "localhost/x", GPU: api.GPUAMD}, true, false},
		"podman-archive":   {api.ContainerSpec{Runtime: api.RuntimePodman, Image: "/images/vllm.tar", GPU: api.GPUNone}, true, false},
		"charliecloud":     {api.ContainerSpec{Runtime: api.RuntimeCharliecloud, Image: "/images/vllm", Binds: binds[1:]}, true, false},
		"pyxis":            {api.ContainerSpec{Runtime: api.RuntimePyxis, Image: "docker://nvcr.io/nvidia/vllm:25", Binds: binds}, true, false},
		"pyxis-ray":        {api.ContainerSpec{Runtime: api.RuntimePyxis, Image: "docker://vllm/vllm-openai:latest"}, true, true},
		"pyxis-squashfile": {api.ContainerSpec{Runtime: api.RuntimePyxis, Image: "/images/vllm.sqsh"}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			command, err := Describe(&tc.spec, process("/w/logs/.vllm-0", tc.gpus, tc.shared))
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			delete(command.Env, "USER")
			for _, variable := range slices.Sorted(maps.Keys(command.Env)) {
				lines = append(lines, variable+"="+command.Env[variable])
			}
			lines = append(lines, command.Args...)
			got := strings.Join(lines, "\n") + "\n"
			golden := filepath.Join("testdata", name+".golden")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if diff := cmp.Diff(string(want), got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if strings.Contains(strings.Join(command.Args, " "), secret) {
				t.Errorf("a secret stands on the command line: %q", command.Args)
			}
		})
	}
	if _, err := Describe(&api.ContainerSpec{Runtime: "docker"}, Process{}); err == nil {
		t.Error("an unknown runtime was taken")
	}
}

// A container with a name outlives its processes, and the next of that name takes it for its own, whatever its image: the name is the
// server's alone, its processes share it, and it is taken away.
func TestSharedContainer(t *testing.T) {
	spec := api.ContainerSpec{Runtime: api.RuntimePyxis, Image: "docker://vllm/vllm-openai:latest"}
	describe := func(folder, name string) Command {
		p := process(folder, true, true)
		p.Name = name
		command, err := Describe(&spec, p)
		if err != nil {
			t.Fatal(err)
		}
		return command
	}
	one, two := describe("/tmp/benchd-01234567-vllm-0", "vllm-0-ray"), describe("/tmp/benchd-01234567-vllm-0", "vllm-0")
	if !slices.Contains(one.Args, "--container-name=benchd-01234567-vllm-0") || !slices.Contains(two.Args, "--container-name=benchd-01234567-vllm-0") {
		t.Errorf("%q and %q share no container of their own", one.Args, two.Args)
	}
	if want := []string{"enroot", "remove", "--force", "pyxis_benchd-01234567-vllm-0"}; !slices.Equal(one.CleanUp, want) {
		t.Errorf("taken away by %q", one.CleanUp)
	}
}

// Charliecloud's variables go by a file that its owner alone can read.
func TestEnvironmentFile(t *testing.T) {
	p := process(t.TempDir(), false, false)
	spec := api.ContainerSpec{Runtime: api.RuntimeCharliecloud, Image: "/images/vllm"}
	if _, err := Wrap(&spec, p); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(p.Folder, "vllm-0.env")
	data, err := os.ReadFile(path)
	if err != nil || string(data) != "A='it's $HOME'\nHF_TOKEN='hf_planted'\n" {
		t.Errorf("%q, %v", data, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", info, err)
	}
	p.Env["B"] = "two\nlines"
	if _, err := Wrap(&spec, p); err == nil || !strings.Contains(err.Error(), "B holds a line break") {
		t.Errorf("a line break: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	got := Environment([]string{"CUDA_VISIBLE_DEVICES=3", "PYTHONPATH=/x", "NCCL_DEBUG=INFO", "HOME=/h", "http_proxy=p"}, map[string]string{"CUDA_VISIBLE_DEVICES": "0,1", "A": "b"})
	want := map[string]string{"CUDA_VISIBLE_DEVICES": "0,1", "NCCL_DEBUG": "INFO", "http_proxy": "p", "A": "b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestChecks(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"vllm.sif", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spec := func(r api.Runtime, image string, binds ...string) *api.ContainerSpec {
		return &api.ContainerSpec{Runtime: r, Image: image, Binds: binds}
	}
	for name, tc := range map[string]struct {
		got  *Problem
		want string // part of the text; empty for no problem
	}{
		"no container":                 {CheckImage(spec(api.RuntimeNone, "")), ""},
		"an image that is there":       {CheckImage(spec(api.RuntimeApptainer, filepath.Join(dir, "vllm.sif"))), ""},
		"one by URL":                   {CheckImage(spec(api.RuntimeApptainer, "file://"+filepath.Join(dir, "vllm.sif"))), ""},
		"a misspelt image":             {CheckImage(spec(api.RuntimeApptainer, filepath.Join(dir, "vlm.sif"))), "does not exist; its folder holds vllm.sif"},
		"an image in no folder":        {CheckImage(spec(api.RuntimeApptainer, "/nowhere/x.sif")), "nor can its folder be read"},
		"a reference":                  {CheckImage(spec(api.RuntimeApptainer, "docker://vllm/vllm-openai:latest")), "benchd image pull docker://vllm/vllm-openai:latest --runtime apptainer"},
		"a reference that srun takes":  {CheckImage(spec(api.RuntimePyxis, "docker://vllm/vllm-openai:latest")), ""},
		"a runtime that is not there":  {CheckRuntime(spec("no-such-runtime", "")), "no-such-runtime is not on PATH"},
		"no runtime wanted":            {CheckRuntime(spec(api.RuntimeNone, "")), ""},
		"a bind that is there":         {CheckBinds([]string{dir + ":/models"}), ""},
		"a bind that is not there":     {CheckBinds([]string{dir + "/x:/models"}), "no such file or directory"},
		"a bind for reading alone":     {CheckBinds([]string{"/proc:/p:ro"}), ""},
		"a bind that is not writable":  {CheckBinds([]string{"/proc/sys:/p:rw"}), "cannot be"},
		"a bind of a file for writing": {CheckBinds([]string{"/proc/version:/p:rw"}), ""},
	} {
		switch {
		case tc.want == "" && tc.got != nil:
			t.Errorf("%s: %v", name, tc.got)
		case tc.want != "" && (tc.got == nil || !strings.Contains(tc.got.Text, tc.want)):
			t.Errorf("%s: %v, want %q", name, tc.got, tc.want)
		}
	}
}

func TestPlanPull(t *testing.T) {
	for name, tc := range map[string]struct {
		runtime        api.Runtime
		reference      string
		target, failed string
		words          string
	}{
		"apptainer":       {api.RuntimeApptainer, "docker://ollama/ollama:latest", "/i/ollama_ollama_latest.sif", "", "apptainer pull --force /i/.ollama_ollama_latest.part.sif docker://ollama/ollama:latest"},
		"by digest":       {api.RuntimeSingularity, "docker://a/b@sha256:00", "/i/a_b_sha256_00.sif", "", "singularity pull"},
		"a SIF registry":  {api.RuntimeApptainer, "oras://ghcr.io/a/b:1", "/i/ghcr.io_a_b_1.sif", "", "oras://ghcr.io/a/b:1"},
		"charliecloud":    {api.RuntimeCharliecloud, "docker://ollama/ollama:latest", "/i/ollama_ollama_latest", "", "pull ollama/ollama:latest /i/.ollama_ollama_latest.part"},
		"pyxis":           {api.RuntimePyxis, "docker://nvcr.io/nvidia/x:1", "/i/nvcr.io_nvidia_x_1.sqsh", "", "enroot import --output /i/.nvcr.io_nvidia_x_1.part.sqsh docker://nvcr.io#nvidia/x:1"},
		"podman":          {api.RuntimePodman, "docker://ollama/ollama", "", "", "podman pull ollama/ollama"},
		"no runtime":      {api.RuntimeNone, "docker://a/b", "", "are fetched by", ""},
		"a path":          {api.RuntimeApptainer, "/i/x.sif", "", "is no reference", ""},
		"an option":       {api.RuntimeApptainer, "docker://--help", "", "is no reference", ""},
		"another scheme":  {api.RuntimePodman, "oras://a/b", "", "docker:// references alone", ""},
		"a shell's words": {api.RuntimeCharliecloud, "docker://a;rm -rf b", "", "is no reference", ""},
	} {
		got, err := PlanPull(tc.runtime, tc.reference, "/i")
		if tc.failed != "" {
			if err == nil || !strings.Contains(err.Error(), tc.failed) {
				t.Errorf("%s: %v, want %q", name, err, tc.failed)
			}
			continue
		}
		if err != nil || got.Target != tc.target || !strings.Contains(strings.Join(got.Args, " "), tc.words) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
