package report

import (
	"encoding/json"
	"fmt"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// vllmBackends are what `vllm bench serve --backend` calls the APIs that it knows too.
var vllmBackends = map[api.API]string{api.APIChat: "openai-chat", api.APICompletions: "openai"}

// VLLM is the attempt as `vllm bench serve --save-result` would have written it: the conventional numbers over the whole run, warm-up
// included, under its key names. Tools that read such files read this one. What it counts as inter-token latency are gaps between chunks.
func (d *Document) VLLM() ([]byte, error) {
	if !d.measured() {
		return nil, fmt.Errorf("write the numbers of %s as vLLM's benchmark does: nothing was measured", d.Input.Run)
	}
	s, w := d.Summary, &d.Story.Spec.Workload
	backend, known := vllmBackends[w.API]
	if !known {
		backend = string(w.API)
	}
	out := map[string]any{
		"backend": backend, "endpoint_type": backend, "label": d.Input.Run, "model_id": s.Model, "tokenizer_id": s.Model,
		"request_rate": "inf", "burstiness": 1.0, "max_concurrency": nil, "request_goodput": nil,
	}
	if !d.Story.End.IsZero() {
		out["date"] = d.Story.End.UTC().Format("20060102-150405")
	}
	if s.OfferedRate != nil {
		out["request_rate"] = *s.OfferedRate
	}
	if w.Load.Pattern == api.PatternGamma {
		out["burstiness"] = w.Load.Burstiness
	}
	switch {
	case w.Load.Pattern == api.PatternClosed:
		out["max_concurrency"] = int64(w.Load.ClientsPerNode) * int64(max(1, d.Input.Clients))
	case w.Load.MaxConcurrency > 0:
		out["max_concurrency"] = w.Load.MaxConcurrency
	}
	if s.Goodput != nil {
		out["request_goodput"] = s.Goodput.Rate
	}
	for name, v := range s.WholeRun {
		out[name] = v
	}
	for _, name := range []string{"completed", "failed", "total_input_tokens", "total_output_tokens"} {
		out[name] = int64(s.WholeRun[name])
	}
	out["num_prompts"] = int64(s.WholeRun["completed"] + s.WholeRun["failed"])
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the numbers of %s as vLLM's benchmark does: %w", d.Input.Run, err)
	}
	return append(data, '\n'), nil
}
