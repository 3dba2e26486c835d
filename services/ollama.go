package services

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// ollama serves models of its own library. All its settings are environment variables, and options of requests.
var ollama = Service{
	Name:       "ollama",
	Summary:    "Ollama: models of its library, pulled when they are not there",
	Written:    "Ollama 0.17",
	Source:     "https://docs.ollama.com/faq and envconfig/config.go",
	Port:       11434,
	HealthPath: "/api/tags",
	API:        api.APIOllamaChat,
	observe:    observeOllama,
	Image:      "docker://ollama/ollama:latest",
	Settings: []Setting{
		{Name: "numParallel", Type: SettingInt, Least: 1, Most: 4096, Meaning: "requests served at once (OLLAMA_NUM_PARALLEL)"},
		{Name: "keepAlive", Type: SettingWord, Meaning: "how long the model stays loaded after a request (OLLAMA_KEEP_ALIVE); -1, for ever, by default"},
		{Name: "models", Type: SettingWord, Meaning: "folder of the models, as the server sees it (OLLAMA_MODELS)"},
		{Name: "gpuLayers", Type: SettingInt, Least: -1, Most: 100000, Meaning: "layers on the GPU (option num_gpu); 0 runs on CPUs, -1 lets Ollama decide"},
		{Name: "contextLength", Type: SettingInt, Least: 1, Meaning: "longest prompt and answer together, in tokens (OLLAMA_CONTEXT_LENGTH)"},
		{Name: "maxQueue", Type: SettingInt, Least: 1, Meaning: "requests that may wait before one is refused (OLLAMA_MAX_QUEUE)"},
		{Name: "flashAttention", Type: SettingBool, Meaning: "flash attention (OLLAMA_FLASH_ATTENTION)"},
		{Name: "kvCacheType", Type: SettingWord, Choices: []string{"f16", "q8_0", "q4_0"}, Meaning: "type of the KV cache (OLLAMA_KV_CACHE_TYPE)"},
		{Name: "pull", Type: SettingBool, Meaning: "pull the model when it is not there; true by default"},
	},
	Validate: func(spec *api.BenchmarkRunSpec, at *field.Path) field.ErrorList {
		keep, given := spec.Service.Config["keepAlive"].(string)
		if !given {
			return nil
		}
		if _, err := time.ParseDuration(keep); err != nil && strings.Trim(keep, "-0123456789") != "" {
			return field.ErrorList{field.Invalid(at.Child("config").Key("keepAlive"), keep, "use a time such as 24h, or -1 for ever: Ollama would ignore it")}
		}
		return nil
	},
	launch: func(l Launch) ([]Process, error) {
		env := map[string]string{
			"OLLAMA_HOST": l.hostPort(), "OLLAMA_KEEP_ALIVE": wordSetting(l.Spec.Config, "keepAlive", "-1"),
			// Another model must not push out the one that is measured.
			"OLLAMA_MAX_LOADED_MODELS": "1",
		}
		for name, variable := range map[string]string{
			"numParallel": "OLLAMA_NUM_PARALLEL", "models": "OLLAMA_MODELS", "contextLength": "OLLAMA_CONTEXT_LENGTH",
			"maxQueue": "OLLAMA_MAX_QUEUE", "kvCacheType": "OLLAMA_KV_CACHE_TYPE",
		} {
			if value, given := l.Spec.Config[name]; given {
				env[variable] = settingText(value)
			}
		}
		if on, given := l.Spec.Config["flashAttention"].(bool); given {
			env["OLLAMA_FLASH_ATTENTION"] = map[bool]string{true: "1", false: "0"}[on]
		}
		return []Process{{Args: append([]string{"ollama", "serve"}, l.Spec.Args...), Env: env}}, nil
	},
	Prepare: prepareOllama,
}

// prepareOllama sees to it that the model is there and loaded.
func prepareOllama(ctx context.Context, s Server) (Prepared, error) {
	var p Prepared
	var version struct {
		Version string `json:"version"`
	}
	if err := s.getJSON(ctx, "/api/version", &version); err != nil {
		return p, fmt.Errorf("ask the server's version: %w", err)
	}
	p.Version = version.Version
	there, err := s.hasOllamaModel(ctx)
	if err != nil {
		return p, err
	}
	if !there {
		// Two servers that share a models folder would write the same files.
		if err := s.Alone(ctx, func() error { return s.pullOllamaModel(ctx) }); err != nil {
			return p, err
		}
	}
	s.Progress("loading %s", s.Spec.Model)
	return p, s.loadOllamaModel(ctx)
}

// hasOllamaModel asks for the list of models. A name without a tag means its tag latest.
func (s *Server) hasOllamaModel(ctx context.Context) (bool, error) {
	var tags struct {
		Models []struct {
			Name  string `json:"name"`
			Model string `json:"model"`
		} `json:"models"`
	}
	if err := s.getJSON(ctx, "/api/tags", &tags); err != nil {
		return false, fmt.Errorf("ask which models are there: %w", err)
	}
	want := withTag(s.Spec.Model)
	for _, m := range tags.Models {
		if withTag(m.Name) == want || withTag(m.Model) == want {
			return true, nil
		}
	}
	return false, nil
}

func withTag(model string) string {
	if strings.Contains(model[strings.LastIndex(model, "/")+1:], ":") {
		return model
	}
	return model + ":latest"
}

// pullOllamaModel fetches the model. Its answer is a stream of JSON objects, one per line, whose last one says success.
func (s *Server) pullOllamaModel(ctx context.Context) error {
	model := s.Spec.Model
	if there, err := s.hasOllamaModel(ctx); there || err != nil {
		return err // another server of this job pulled it meanwhile
	}
	hint := fmt.Sprintf("fetch it where there is a network (`OLLAMA_MODELS=FOLDER ollama pull %s`), and give the servers that folder: service.config.models, with a bind where they run in containers", model)
	if pull, given := s.Spec.Config["pull"].(bool); given && !pull {
		return &UserError{reasonModel, fmt.Errorf("model %s is not there and service.config.pull is false: %s", model, hint)}
	}
	s.Progress("pulling %s", model)
	done, refused := false, error(nil)
	err := s.exchange(ctx, http.MethodPost, "/api/pull", map[string]any{"model": model, "stream": true}, func(body io.Reader) error {
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var step struct {
				Status, Error    string
				Total, Completed int64
			}
			if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
				return fmt.Errorf("%q: %w", clip(lines.Text()), err)
			}
			if step.Error != "" {
				refused = errors.New(step.Error)
				return refused
			}
			if done = step.Status == "success"; step.Total > 0 {
				s.Progress("pulling %s: %d %% of %d MB", model, 100*step.Completed/step.Total, step.Total/1e6)
			}
		}
		return lines.Err()
	})
	if err == nil && !done {
		err = errors.New("the answer ended before it said success")
	}
	if err != nil && refused == nil {
		return fmt.Errorf("pull model %s: %w", model, err) // the server or the connection failed: another try may do
	}
	if err != nil {
		return &UserError{reasonModel, fmt.Errorf("pull model %s: %w: correct service.model, or, if this node has no network, %s", model, err, hint)}
	}
	return nil
}

// loadOllamaModel has the model loaded by a request without a prompt. Options given here stay in force: requests that do
// not speak of num_gpu take the model as it is loaded (server/sched.go, needsReload).
func (s *Server) loadOllamaModel(ctx context.Context) error {
	question := map[string]any{"model": s.Spec.Model, "stream": false}
	if layers, given := s.Spec.Config["gpuLayers"]; given {
		question["options"] = map[string]any{"num_gpu": layers}
	}
	var answer struct {
		Done bool `json:"done"`
	}
	if err := s.postJSON(ctx, "/api/generate", question, &answer); err != nil {
		return fmt.Errorf("load model %s: %w", s.Spec.Model, err)
	}
	if !answer.Done {
		return fmt.Errorf("load model %s: the answer does not say that it is done", s.Spec.Model)
	}
	return nil
}

// observeOllama asks which models are loaded (GET /api/ps), and how much of them lies on GPUs.
func observeOllama(ctx context.Context, s Server) (map[string]float64, error) {
	var loaded struct {
		Models []struct {
			Size int64 `json:"size"`
			VRAM int64 `json:"size_vram"`
		} `json:"models"`
	}
	if err := s.getJSON(ctx, "/api/ps", &loaded); err != nil {
		return nil, err
	}
	told := map[string]float64{"loaded_models": float64(len(loaded.Models)), "model_memory_bytes": 0, "model_vram_bytes": 0}
	for _, m := range loaded.Models {
		told["model_memory_bytes"] += float64(m.Size)
		told["model_vram_bytes"] += float64(m.VRAM)
	}
	return told, nil
}
