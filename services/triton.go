package services

import (
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// triton serves a model repository through Triton's OpenAI-compatible front end, which runs Triton inside its own process.
var triton = Service{
	Name:        "triton",
	Summary:     "Triton Inference Server's OpenAI-compatible front end, with its vLLM or TensorRT-LLM backend",
	Written:     "Triton 25.08",
	Source:      "https://github.com/triton-inference-server/server/tree/main/python/openai",
	Port:        9000,
	HealthPath:  "/health/ready",
	MetricsPath: "/metrics",
	API:         api.APIChat,
	Image:       "docker://nvcr.io/nvidia/tritonserver:25.08-vllm-python-py3",
	Settings: []Setting{
		{Name: "modelRepository", Type: SettingWord, Flag: "--model-repository", Meaning: "folder of Triton's models, as the server sees it; needed"},
		{Name: "tokenizer", Type: SettingWord, Flag: "--tokenizer", Meaning: "model or folder whose tokenizer and chat template are used"},
		{Name: "backend", Type: SettingWord, Flag: "--backend", Choices: []string{"vllm", "tensorrtllm"}, Meaning: "format of the backend's requests; found by itself when left out"},
		{Name: "frontend", Type: SettingWord, Meaning: "path of the front end's main.py; by default where NVIDIA's images have it"},
	},
	Validate: func(spec *api.BenchmarkRunSpec, at *field.Path) field.ErrorList {
		if wordSetting(spec.Service.Config, "modelRepository", "") == "" {
			return field.ErrorList{field.Required(at.Child("config").Key("modelRepository"), "name the folder of Triton's models")}
		}
		return nil
	},
	launch: func(l Launch) ([]Process, error) {
		main := wordSetting(l.Spec.Config, "frontend", "/opt/tritonserver/python/openai/openai_frontend/main.py")
		args := []string{"python3", main, "--host", l.Address, "--openai-port", strconv.Itoa(int(l.Port))}
		args = append(args, l.options...)
		return []Process{{Args: append(args, l.Spec.Args...)}}, nil
	},
	Prepare: prepareOpenAI,
}
