package simulate

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeGeneration(t *testing.T) {
	for name, c := range map[string]struct {
		kind api
		body string
		want generation
	}{
		"text":                    {apiCompletion, `{"model":"m","prompt":"one two  three\n"}`, generation{model: "m", prompts: []int{3}}},
		"token ids":               {apiCompletion, `{"prompt":[1,2,3,4]}`, generation{prompts: []int{4}}},
		"several texts":           {apiCompletion, `{"prompt":["one", "two three"]}`, generation{prompts: []int{1, 2}}},
		"several lists of ids":    {apiCompletion, `{"prompt":[[1],[2,3]]}`, generation{prompts: []int{1, 2}}},
		"unknown fields":          {apiCompletion, `{"prompt":"a","temperature":0,"top_p":0.9,"seed":null}`, generation{prompts: []int{1}}},
		"lengths":                 {apiCompletion, `{"prompt":"a","max_tokens":9,"min_tokens":9,"ignore_eos":true}`, generation{prompts: []int{1}, maxTokens: 9, minTokens: 9, ignoreEOS: true}},
		"null max_tokens":         {apiCompletion, `{"prompt":"a","max_tokens":null,"n":null}`, generation{prompts: []int{1}}},
		"the newer name wins":     {apiChat, `{"messages":[{"role":"user","content":"a"}],"max_tokens":3,"max_completion_tokens":4}`, generation{prompts: []int{1}, maxTokens: 4}},
		"usage":                   {apiCompletion, `{"prompt":"a","stream":true,"stream_options":{"include_usage":true}}`, generation{prompts: []int{1}, stream: true, includeUsage: true}},
		"usage on every chunk":    {apiCompletion, `{"prompt":"a","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}`, generation{prompts: []int{1}, stream: true, includeUsage: true, continuousUsage: true}},
		"continuous needs usage":  {apiCompletion, `{"prompt":"a","stream":true,"stream_options":{"continuous_usage_stats":true}}`, generation{prompts: []int{1}, stream: true}},
		"chat text":               {apiChat, `{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hello there"}]}`, generation{prompts: []int{4}}},
		"chat parts":              {apiChat, `{"messages":[{"role":"user","content":[{"type":"text","text":"a b"},{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"c"}]}]}`, generation{prompts: []int{3}}},
		"chat without content":    {apiChat, `{"messages":[{"role":"assistant","content":null,"tool_calls":[]},{"role":"tool"}]}`, generation{prompts: []int{0}}},
		"generate":                {apiGenerate, `{"prompt":"a b","max_tokens":2}`, generation{prompts: []int{2}, maxTokens: 2}},
		"n of one":                {apiCompletion, `{"prompt":"a","n":1}`, generation{prompts: []int{1}}},
		"escapes and white space": {apiCompletion, " {\"prompt\" : \"a\\u0020b\\tc\" } ", generation{prompts: []int{3}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decodeGeneration(c.kind, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(generation{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDecodeGenerationRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		kind  api
		body  string
		param string
		want  string
	}{
		"nothing":                 {apiCompletion, ``, "", "not a JSON object"},
		"half an object":          {apiCompletion, `{"prompt":"a"`, "", "not a JSON object"},
		"an array":                {apiCompletion, `[]`, "", "not a JSON object"},
		"null":                    {apiCompletion, `null`, "prompt", "prompt must be"},
		"no prompt":               {apiCompletion, `{}`, "prompt", "prompt must be"},
		"a null prompt":           {apiCompletion, `{"prompt":null}`, "prompt", "prompt must be"},
		"a number as prompt":      {apiCompletion, `{"prompt":5}`, "prompt", "prompt must be"},
		"an empty array":          {apiCompletion, `{"prompt":[]}`, "prompt", "prompt must be"},
		"an empty text":           {apiCompletion, `{"prompt":" "}`, "prompt", "prompt 0 is empty"},
		"an empty list of ids":    {apiCompletion, `{"prompt":["a",[]]}`, "prompt", "prompt 1 is empty"},
		"a negative id":           {apiCompletion, `{"prompt":[-1]}`, "prompt", "prompt must be"},
		"a null id":               {apiCompletion, `{"prompt":[1,null]}`, "prompt", "prompt must be"},
		"too many prompts":        {apiCompletion, `{"prompt":["a"` + strings.Repeat(`,"a"`, maxPrompts) + `]}`, "prompt", "257 prompts"},
		"max_tokens of 0":         {apiCompletion, `{"prompt":"a","max_tokens":0}`, "max_tokens", "at least 1, got 0"},
		"a text as max_tokens":    {apiCompletion, `{"prompt":"a","max_tokens":"9"}`, "max_tokens", "wrong type"},
		"max_completion_tokens":   {apiChat, `{"messages":[{"role":"user"}],"max_completion_tokens":-1}`, "max_completion_tokens", "at least 1, got -1"},
		"min over max":            {apiCompletion, `{"prompt":"a","max_tokens":3,"min_tokens":4}`, "min_tokens", "from 0 to max_tokens, got 4"},
		"negative min":            {apiCompletion, `{"prompt":"a","min_tokens":-4}`, "min_tokens", "got -4"},
		"several answers":         {apiCompletion, `{"prompt":"a","n":2}`, "n", "n is 2"},
		"options without stream":  {apiCompletion, `{"prompt":"a","stream_options":{"include_usage":true}}`, "stream_options", "stream: true"},
		"no messages":             {apiChat, `{"prompt":"a"}`, "messages", "non-empty array"},
		"empty messages":          {apiChat, `{"messages":[]}`, "messages", "non-empty array"},
		"a message without role":  {apiChat, `{"messages":[{"content":"a"}]}`, "messages", "message 0 has no role"},
		"a number as content":     {apiChat, `{"messages":[{"role":"user","content":1}]}`, "messages", "content of message 0"},
		"plain REST, as a stream": {apiGenerate, `{"prompt":"a","stream":true}`, "stream", "does not stream"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodeGeneration(c.kind, []byte(c.body))
			var refusal *apiError
			if !errors.As(err, &refusal) {
				t.Fatalf("error %v, want an *apiError", err)
			}
			if refusal.status != http.StatusBadRequest || refusal.param != c.param || !strings.Contains(refusal.message, c.want) {
				t.Errorf("%d, param %q, %q; want 400, %q, %q", refusal.status, refusal.param, refusal.message, c.param, c.want)
			}
		})
	}
}

func FuzzDecodeGeneration(f *testing.F) {
	for _, body := range []string{
		``, `null`, `{}`, `{"prompt":"a b","max_tokens":5,"stream":true,"stream_options":{"include_usage":true}}`, `{"prompt":[1,2]}`,
		`{"prompt":[[1],[2]]}`, `{"prompt":["a",[1]]}`, `{"prompt":[null]}`, `{"messages":[{"role":"user","content":"x"}]}`,
		`{"messages":[{"role":"user","content":[{"text":"x"}]}],"min_tokens":1e3}`, `{"prompt":"\ud800"}`,
	} {
		f.Add(uint8(0), []byte(body))
		f.Add(uint8(1), []byte(body))
	}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		g, err := decodeGeneration(api(kind%3), body)
		if err != nil {
			var refusal *apiError
			if !errors.As(err, &refusal) || refusal.status != http.StatusBadRequest || !json.Valid(refusal.appendJSON(nil)) {
				t.Fatalf("%v is not a refusal with status 400", err)
			}
			return
		}
		if len(g.prompts) < 1 || len(g.prompts) > maxPrompts || g.promptTokens() < 0 || g.promptTokens() > len(body) {
			t.Fatalf("prompts of %v tokens from %d bytes", g.prompts, len(body))
		}
		if g.maxTokens < 0 || g.minTokens < 0 || g.maxTokens > 0 && g.minTokens > g.maxTokens {
			t.Fatalf("from %d to %d tokens", g.minTokens, g.maxTokens)
		}
	})
}
