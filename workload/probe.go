package workload

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Target is one server to send to.
type Target struct {
	// Name stands in records. URL is the server's base address.
	Name, URL string
}

// probeClient asks servers before and beside the load; a proxy that the site sets for the world outside has no place in
// between, and redirects are not followed.
var probeClient = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: 10 * time.Second},
	Timeout:       30 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// maxProbe bounds what a server may answer to a probe.
const maxProbe = 8 << 20

// errStatus is an answer of another status than 200.
type errStatus struct {
	code int
	text string
}

func (e *errStatus) Error() string { return fmt.Sprintf("HTTP %d: %.200s", e.code, e.text) }

// ask sends a probe and decodes the JSON answer; in is posted where it is not nil.
func ask(ctx context.Context, url, apiKey string, in, out any) error {
	method, body := http.MethodGet, io.Reader(nil)
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		method, body = http.MethodPost, bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if apiKey != "" {
		req.Header.Set("Authorization", "Bearer "+apiKey)
	}
	resp, err := probeClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxProbe))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %w", method, url, &errStatus{resp.StatusCode, string(data)})
	}
	if raw, is := out.(*[]byte); is {
		*raw = data
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s %s: the answer is not the JSON that is expected: %.120q", method, url, data)
	}
	return nil
}

// Model is what a server says of a model that it serves.
type Model struct {
	// ID is the model's name, Owner who the server says it is.
	ID    string `json:"id"`
	Owner string `json:"owned_by"`
	// MaxLen is the context length; 0 when not told.
	MaxLen int `json:"max_model_len"`
}

// Models asks an OpenAI-compatible server what it serves.
func Models(ctx context.Context, base, apiKey string) ([]Model, error) {
	var list struct{ Data []Model }
	if err := ask(ctx, base+"/v1/models", apiKey, nil, &list); err != nil {
		return nil, fmt.Errorf("ask for the list of models: %w", err)
	}
	return list.Data, nil
}

// extended are the servers known to take vLLM's additions to OpenAI's API, by the owner that they give their models.
var extended = map[string]bool{"vllm": true, "sglang": true, "benchd": true}

// probed is what was found out about the servers before the load.
type probed struct {
	extensions bool
	maxLen     int
}

// probe asks the first server what it can. A server that does not answer such questions is measured all the same.
func probe(ctx context.Context, w *api.WorkloadSpec, target Target, model, apiKey string) probed {
	p := probed{extensions: w.Extensions == api.ExtensionsVLLM}
	if w.API != api.APIChat && w.API != api.APICompletions {
		return probed{}
	}
	models, err := Models(ctx, target.URL, apiKey)
	if err != nil {
		return p
	}
	for _, m := range models {
		if m.ID == model || len(models) == 1 {
			p.maxLen = m.MaxLen
			if w.Extensions == api.ExtensionsAuto {
				p.extensions = extended[m.Owner]
			}
		}
	}
	return p
}

// fits reports prompts that are longer than the model takes, before they are sent.
func (p probed) fits(w *api.WorkloadSpec, lines []TraceLine) error {
	if p.maxLen == 0 {
		return nil
	}
	longest, what := 0, "prompts and answers"
	longestOf := func(l Lengths) int {
		if l.Distribution == api.DistributionUniform || l.Distribution == api.DistributionNormal {
			return l.Max
		}
		return l.Tokens
	}
	if w.Prompts.Source == api.PromptSynthetic {
		longest = longestOf(promptLengths(&w.Prompts)) + longestOf(outputLengths(&w.Output))
	}
	if w.Load.Pattern == api.PatternTrace {
		longest, what = 0, "a prompt and its answer in the trace"
		for i := range lines {
			longest = max(longest, lines[i].Input+lines[i].Output)
		}
	}
	if longest > p.maxLen {
		return fmt.Errorf("%s have up to %d tokens together, the model takes %d: shorten workload.prompts or workload.output, or raise the server's context length", what, longest, p.maxLen)
	}
	return nil
}

// serverCount counts tokens with the server's tokenize endpoint: vLLM's and SGLang's form, or llama.cpp's.
func serverCount(ctx context.Context, base, apiKey, model string, chat bool) Count {
	return func(prompt string) (int, error) {
		in := map[string]any{"model": model, "prompt": prompt, "content": prompt}
		if chat {
			in = map[string]any{"model": model, "messages": []map[string]string{{"role": "user", "content": prompt}}}
		}
		var out struct {
			Count  *int  `json:"count"`
			Tokens []any `json:"tokens"`
		}
		if err := ask(ctx, base+"/tokenize", apiKey, in, &out); err != nil {
			return 0, fmt.Errorf("count tokens: %w", err)
		}
		if out.Count != nil {
			return *out.Count, nil
		}
		if len(out.Tokens) == 0 {
			return 0, errors.New("count tokens: the server's /tokenize told no count")
		}
		return len(out.Tokens), nil
	}
}
