package simulate

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEndpoints(t *testing.T) {
	for name, c := range map[string]struct {
		path, body string
		status     int
		want       string // with the parts that vary cut out, see stable
	}{
		"health":  {"/health", "", 200, `{"status":"ok"}`},
		"version": {"/version", "", 200, `{"version":"0.0.0-simulated"}`},
		"models": {
			"/v1/models", "", 200,
			`{"data":[{"created":0,"id":"dummy","max_model_len":32768,"object":"model","owned_by":"benchd","parent":null,"root":"dummy"}],"object":"list"}`,
		},
		"cache reset": {"/reset_prefix_cache", "{}", 200, ""},
		"tokenize a prompt": {
			"/tokenize", `{"model":"dummy","prompt":"a b a"}`, 200,
			`{"count":3,"max_model_len":32768,"token_strs":null,"tokens":[18220,15077,18220]}`,
		},
		"tokenize messages": {
			"/tokenize", `{"messages":[{"role":"user","content":"a"}]}`, 200,
			`{"count":1,"max_model_len":32768,"token_strs":null,"tokens":[18220]}`,
		},
		"tokenize nothing": {
			"/tokenize", `{}`, 400,
			`{"error":{"message":"give a prompt or messages to tokenize","type":"BadRequestError","param":"prompt","code":400}}`,
		},
		"tokenize no JSON": {
			"/tokenize", `{`, 400,
			`{"error":{"message":"the body is not a JSON object: unexpected end of JSON input","type":"BadRequestError","param":null,"code":400}}`,
		},
		"plain REST": {
			"/generate", `{"prompt":"say it","max_tokens":3}`, 200,
			`{"text":"the quick brown","usage":{"prompt_tokens":2,"total_tokens":5,"completion_tokens":3}}`,
		},
		"completion": {
			"/v1/completions", `{"prompt":"say it","max_tokens":2,"model":"dummy"}`, 200,
			`{"id":"cmpl-1","object":"text_completion","created":0,"model":"dummy","choices":[{"index":0,"text":"the quick","logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":2,"total_tokens":4,"completion_tokens":2}}`,
		},
		"completion of its own length": {
			"/v1/completions", `{"prompt":[7]}`, 200,
			`{"id":"cmpl-1","object":"text_completion","created":0,"model":"dummy","choices":[{"index":0,"text":"the quick brown","logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"total_tokens":4,"completion_tokens":3}}`,
		},
		"completion past its own end": {
			"/v1/completions", `{"prompt":[7],"ignore_eos":true,"min_tokens":4}`, 200,
			`{"id":"cmpl-1","object":"text_completion","created":0,"model":"dummy","choices":[{"index":0,"text":"the quick brown fox","logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":1,"total_tokens":5,"completion_tokens":4}}`,
		},
		"completions": {
			"/v1/completions", `{"prompt":["a b","c"],"max_tokens":1}`, 200,
			`{"id":"cmpl-1","object":"text_completion","created":0,"model":"dummy","choices":[{"index":0,"text":"the","logprobs":null,"finish_reason":"length"},{"index":1,"text":"the","logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2}}`,
		},
		"chat": {
			"/v1/chat/completions", `{"messages":[{"role":"user","content":"hello"}],"max_tokens":2}`, 200,
			`{"id":"chatcmpl-1","object":"chat.completion","created":0,"model":"dummy","choices":[{"index":0,"message":{"role":"assistant","content":"the quick"},"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":1,"total_tokens":3,"completion_tokens":2}}`,
		},
		"bad JSON": {
			"/v1/completions", `{"prompt":`, 400,
			`{"error":{"message":"the body is not a JSON object: unexpected end of JSON input","type":"BadRequestError","param":null,"code":400}}`,
		},
		"unknown model": {
			"/v1/completions", `{"prompt":"a","model":"gpt"}`, 404,
			`{"error":{"message":"the model \"gpt\" does not exist; this server has \"dummy\"","type":"NotFoundError","param":"model","code":404}}`,
		},
		"more than the context": {
			"/v1/completions", `{"prompt":"a b","max_tokens":32767}`, 400,
			`{"error":{"message":"the model's context length is 32768 tokens, but the request asks for 32769 (2 in the prompt, 32767 to come); shorten the prompt or max_tokens","type":"BadRequestError","param":"prompt","code":400}}`,
		},
		"wrong method": {
			"/v1/completions", "", 405,
			`{"error":{"message":"/v1/completions takes POST, not GET","type":"BadRequestError","param":null,"code":405}}`,
		},
		"another wrong method": {
			"/health", "{}", 405,
			`{"error":{"message":"/health takes GET, not POST","type":"BadRequestError","param":null,"code":405}}`,
		},
		"nothing there": {
			"/v2", "", 404,
			`{"error":{"message":"there is nothing at /v2","type":"NotFoundError","param":null,"code":404}}`,
		},
		"body too large": {
			"/v1/completions", `{"prompt":"` + strings.Repeat(" ", maxBody) + `"}`, 413,
			`{"error":{"message":"the body exceeds 33554432 bytes","type":"BadRequestError","param":null,"code":413}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, Config{OutputTokens: 3})
				status, body := f.do(c.path, c.body)
				if status != c.status {
					t.Errorf("status %d, want %d", status, c.status)
				}
				if diff := cmp.Diff(c.want, f.stable(body)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		})
	}
}

// stable replaces the time of creation by 0.
func (f *fixture) stable(body string) string {
	return strings.ReplaceAll(body, `"created":`+f.server.created, `"created":0`)
}

func TestAPIKeyGuardsV1(t *testing.T) {
	for name, c := range map[string]struct {
		path, header string
		want         int
	}{
		"right key":         {"/v1/models", "Bearer secret", 200},
		"wrong key":         {"/v1/models", "Bearer secre", 401},
		"no key":            {"/v1/models", "", 401},
		"another scheme":    {"/v1/models", "Basic secret", 401},
		"unknown path":      {"/v1/none", "", 401},
		"health needs none": {"/health", "", 200},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, Config{APIKey: "secret"})
				r := f.request(t.Context(), c.path, "")
				if c.header != "" {
					r.Header.Set("Authorization", c.header)
				}
				resp, err := f.client.Do(r)
				must(t, err)
				defer resp.Body.Close()
				if resp.StatusCode != c.want {
					t.Errorf("status %d, want %d", resp.StatusCode, c.want)
				}
				if c.want != http.StatusUnauthorized {
					return
				}
				var body struct{ Error struct{ Type string } }
				if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Error.Type != "AuthenticationError" {
					t.Errorf("body %+v, error %v; want an AuthenticationError", body, err)
				}
			})
		})
	}
}

func TestStartup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{Startup: time.Minute})
		status, body := f.do("/health", "")
		if status != http.StatusServiceUnavailable || body != `{"status":"starting"}` {
			t.Errorf("health is %d %s, want 503 starting", status, body)
		}
		if status, body = f.do("/v1/completions", `{"prompt":"a"}`); status != http.StatusServiceUnavailable {
			t.Errorf("a request got %d %s, want 503", status, body)
		}
		time.Sleep(time.Minute) // the bubble's clock
		if status, _ = f.do("/health", ""); status != http.StatusOK {
			t.Errorf("health is %d after start-up, want 200", status)
		}
		if status, _ = f.do("/v1/completions", `{"prompt":"a"}`); status != http.StatusOK {
			t.Errorf("a request got %d after start-up, want 200", status)
		}
		records := f.stop()
		if records[0].Outcome != OutcomeRefused || records[0].Status != 503 || records[1].Outcome != OutcomeAnswered {
			t.Errorf("records %+v, want one refused with 503 and one answered", records)
		}
	})
}

func TestNeverHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{Faults: Faults{NeverHealthy: true}})
		time.Sleep(time.Hour) // the bubble's clock
		if status, _ := f.do("/health", ""); status != http.StatusServiceUnavailable {
			t.Errorf("health is %d, want 503", status)
		}
	})
}

func TestRequestIDIsTakenOver(t *testing.T) {
	for name, c := range map[string]struct{ header, want string }{
		"given":           {"abc-1", "abc-1"},
		"none":            {"", "1"},
		"to be escaped":   {`a"\b`, `a"\b`},
		"longer than 128": {strings.Repeat("x", 200), strings.Repeat("x", 128)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, Config{})
				r := f.request(t.Context(), "/v1/chat/completions", `{"messages":[{"role":"user","content":"a"}],"max_tokens":1,"stream":true}`)
				if c.header != "" {
					r.Header.Set("X-Request-Id", c.header)
				}
				resp, err := f.client.Do(r)
				must(t, err)
				defer resp.Body.Close()
				events, err := f.events(resp.Body)
				must(t, err)
				var chunk struct{ ID string }
				must(t, json.Unmarshal([]byte(events[0].data), &chunk))
				if got := resp.Header.Get("X-Request-Id"); got != c.want || chunk.ID != "chatcmpl-"+c.want {
					t.Errorf("header %q and chunk id %q, want %q", got, chunk.ID, c.want)
				}
				if rec := f.one(); rec.ID != c.want || rec.Seq != 1 {
					t.Errorf("record %q, number %d; want %q, 1", rec.ID, rec.Seq, c.want)
				}
			})
		})
	}
}

func TestAliases(t *testing.T) {
	for body, want := range map[string]int{
		`{"prompt":"a","model":"m"}`: 200, `{"prompt":"a","model":"n"}`: 200, `{"prompt":"a","model":"o"}`: 404,
	} {
		synctest.Test(t, func(t *testing.T) {
			f := start(t, Config{Model: "m", Aliases: []string{"n"}})
			status, text := f.do("/v1/completions", body)
			if status != want || want == 200 && !strings.Contains(text, `"model":"m"`) {
				t.Errorf("%s: %d %s", body, status, text)
			}
		})
	}
}
