package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
)

func TestParseGPUs(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want []api.GPURecord
	}{
		"two A100":          {"NVIDIA A100-SXM4-40GB, 535.104.05, 40960\nNVIDIA A100-SXM4-40GB, 535.104.05, 40960\n", []api.GPURecord{{Name: "NVIDIA A100-SXM4-40GB", Driver: "535.104.05", MemoryMiB: 40960}, {Name: "NVIDIA A100-SXM4-40GB", Driver: "535.104.05", MemoryMiB: 40960}}},
		"an unknown memory": {"NVIDIA GB10, 580.1, [N/A]\n", []api.GPURecord{{Name: "NVIDIA GB10", Driver: "580.1"}}},
		"none":              {"", nil},
		"an error message":  {"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", nil},
	} {
		if diff := cmp.Diff(tc.want, parseGPUs(tc.in)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestEnvironmentThatMatters(t *testing.T) {
	got := environment([]string{"NCCL_DEBUG=INFO", "VLLM_API_KEY=sk-x", "HOME=/root", "PATH=/bin", "OLLAMA_HOST=h"})
	want := map[string]string{"NCCL_DEBUG": "INFO", "VLLM_API_KEY": "***", "PATH": "/bin", "OLLAMA_HOST": "h"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDescribeMachine(t *testing.T) {
	var r node.AgentRecord
	describeMachine(&r)
	if r.CPUs == 0 || r.Kernel == "" || r.Memory == 0 {
		t.Errorf("nothing is known of this machine: %+v", r)
	}
}
