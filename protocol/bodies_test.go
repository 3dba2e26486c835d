package protocol

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// decode fails the test unless body is one JSON object.
func decode(t interface{ Fatalf(string, ...any) }, body []byte) map[string]any {
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%v: %q", err, body)
	}
	return got
}

func TestBodies(t *testing.T) {
	t.Parallel()
	user := []any{map[string]any{"role": "user", "content": "tell me"}}
	system := []any{map[string]any{"role": "system", "content": "x"}}
	question := func(change func(*Question)) Question {
		q := Question{ID: "r-1", Text: []byte("tell me"), MaxTokens: 4}
		if change != nil {
			change(&q)
		}
		return q
	}
	messages := question(func(q *Question) { q.Messages = []byte(`[{"role":"system","content":"x"}]`) })
	tokens := question(func(q *Question) { q.Tokens = []int{5, 0, 128000} })
	for name, tc := range map[string]struct {
		format   Format
		question Question
		path     string
		stream   string
		want     map[string]any
	}{
		"chat, streamed": {
			chat, question(nil), "/v1/chat/completions", "text/event-stream",
			map[string]any{"messages": user, "max_tokens": 4.0, "temperature": 0.0, "stream": true, "stream_options": map[string]any{"include_usage": true}},
		},
		"chat with vLLM's additions": {
			OpenAI{Model: "m", Chat: true, Streaming: true, Extensions: true},
			question(nil), "/v1/chat/completions", "text/event-stream",
			map[string]any{
				"messages": user, "max_tokens": 4.0, "min_tokens": 4.0, "ignore_eos": true, "temperature": 0.0, "stream": true,
				"stream_options": map[string]any{"include_usage": true, "continuous_usage_stats": true},
			},
		},
		"chat in one piece":         {chatOnce, question(nil), "/v1/chat/completions", "", map[string]any{"messages": user, "max_tokens": 4.0, "temperature": 0.0, "stream": false}},
		"chat of messages":          {chatOnce, messages, "/v1/chat/completions", "", map[string]any{"messages": system, "max_tokens": 4.0, "temperature": 0.0, "stream": false}},
		"chat has no token ids":     {chatOnce, tokens, "/v1/chat/completions", "", map[string]any{"messages": user, "max_tokens": 4.0, "temperature": 0.0, "stream": false}},
		"completions, in one piece": {OpenAI{Model: "m", Extensions: true}, question(nil), "/v1/completions", "", map[string]any{"prompt": "tell me", "max_tokens": 4.0, "min_tokens": 4.0, "ignore_eos": true, "temperature": 0.0, "stream": false}},
		"completions of token ids":  {OpenAI{Model: "m"}, tokens, "/v1/completions", "", map[string]any{"prompt": []any{5.0, 0.0, 128000.0}, "max_tokens": 4.0, "temperature": 0.0, "stream": false}},
		"Ollama generate":           {Ollama{Model: "m", Streaming: true}, question(nil), "/api/generate", "application/x-ndjson", map[string]any{"prompt": "tell me", "stream": true, "options": map[string]any{"temperature": 0.0, "num_predict": 4.0}}},
		"Ollama chat":               {Ollama{Model: "m", Chat: true}, question(nil), "/api/chat", "", map[string]any{"messages": user, "stream": false, "options": map[string]any{"temperature": 0.0, "num_predict": 4.0}}},
		"Ollama chat of messages":   {Ollama{Model: "m", Chat: true}, messages, "/api/chat", "", map[string]any{"messages": system, "stream": false, "options": map[string]any{"temperature": 0.0, "num_predict": 4.0}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.want["model"] = "m"
			if diff := cmp.Diff(tc.want, decode(t, tc.format.AppendBody(nil, &tc.question))); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			contentType, streams := tc.format.Streams()
			if tc.format.Path() != tc.path || streams != (tc.stream != "") || streams && contentType != tc.stream {
				t.Errorf("path %q, streams %v as %q", tc.format.Path(), streams, contentType)
			}
		})
	}
}

func TestQuestionReset(t *testing.T) {
	t.Parallel()
	q := Question{ID: "x", Text: []byte("abc"), Messages: []byte("[]"), Tokens: []int{1}, MaxTokens: 3}
	q.Reset()
	if q.ID != "" || len(q.Text) != 0 || q.Messages != nil || len(q.Tokens) != 0 || q.MaxTokens != 0 || cap(q.Text) == 0 || cap(q.Tokens) == 0 {
		t.Errorf("%+v", q)
	}
}

// Any prompt comes back from the request as it was, whatever the API.
func TestPromptsRoundTrip(t *testing.T) {
	t.Parallel()
	rest, err := NewREST("/x", `{"in":{"prompt":"$prompt"},"n":"$maxTokens"}`, "text", "", "")
	if err != nil {
		t.Fatal(err)
	}
	hostile := rapid.SampledFrom([]string{
		"", "\"", `\`, `\"`, `"}],"model":"other","x":[{"`, "\x00\x01\x1f\x7f", "\r\n\t\b\f", "\u2028\u2029", "</script>", "\ufeff\ufffd", "🐎\U0010ffff", "$prompt", `"$prompt"`,
	})
	rapid.Check(t, func(t *rapid.T) {
		prompt := strings.Join(rapid.SliceOfN(rapid.OneOf(hostile, rapid.String()), 0, 5).Draw(t, "prompt"), "")
		model := rapid.OneOf(hostile, rapid.String()).Draw(t, "model")
		q := Question{Text: []byte(prompt), MaxTokens: rapid.IntRange(0, 1<<31).Draw(t, "max tokens")}
		if !utf8.ValidString(prompt) {
			t.Skip("not UTF-8")
		}
		yes := rapid.Bool()
		format := func(name string) (streaming, extensions bool) {
			return yes.Draw(t, name+" streams"), yes.Draw(t, name+" extensions")
		}
		streaming, extensions := format("format")
		for _, f := range []Format{
			OpenAI{Model: model, Chat: true, Streaming: streaming, Extensions: extensions},
			OpenAI{Model: model, Streaming: streaming, Extensions: extensions},
			Ollama{Model: model, Chat: true, Streaming: streaming},
			Ollama{Model: model, Streaming: streaming},
			rest,
		} {
			before := []byte("POST / HTTP/1.1\r\n\r\n")
			body := f.AppendBody(before, &q)[len(before):]
			got := decode(t, body)
			asked := find(got, strings.Split(map[bool]string{true: "in.prompt", false: "prompt"}[f == rest], "."))
			if asked == nil {
				asked = find(got, []string{"messages", "0", "content"})
			}
			if asked != prompt {
				t.Errorf("%T %+v: the prompt %q became %q", f, f, prompt, asked)
			}
			if f != rest && got["model"] != model {
				t.Errorf("%T: the model %q became %q", f, model, got["model"])
			}
		}
	})
}
