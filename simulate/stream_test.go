package simulate

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	completionHead = `{"id":"cmpl-1","object":"text_completion","created":0,"model":"dummy","choices":[`
	chatHead       = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":0,"model":"dummy","choices":[`
)

func TestStreamIsWhatVLLMSends(t *testing.T) {
	for name, c := range map[string]struct {
		path, body string
		want       []string
	}{
		"completion": {
			"/v1/completions", `{"prompt":"a b","max_tokens":2,"stream":true}`,
			[]string{
				completionHead + `{"index":0,"text":"the","logprobs":null,"finish_reason":null}]}`,
				completionHead + `{"index":0,"text":" quick","logprobs":null,"finish_reason":"length"}]}`,
				`[DONE]`,
			},
		},
		"completion of its own length, with usage": {
			"/v1/completions", `{"prompt":"a b","stream":true,"stream_options":{"include_usage":true}}`,
			[]string{
				completionHead + `{"index":0,"text":"the","logprobs":null,"finish_reason":null}]}`,
				completionHead + `{"index":0,"text":" quick","logprobs":null,"finish_reason":null}]}`,
				completionHead + `{"index":0,"text":" brown","logprobs":null,"finish_reason":null}]}`,
				completionHead + `{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}]}`,
				completionHead + `],"usage":{"prompt_tokens":2,"total_tokens":5,"completion_tokens":3}}`,
				`[DONE]`,
			},
		},
		"two prompts": {
			"/v1/completions", `{"prompt":["a b","c"],"max_tokens":1,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}`,
			[]string{
				completionHead + `{"index":0,"text":"the","logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":2,"total_tokens":3,"completion_tokens":1}}`,
				completionHead + `{"index":1,"text":"the","logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":1,"total_tokens":2,"completion_tokens":1}}`,
				completionHead + `],"usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2}}`,
				`[DONE]`,
			},
		},
		"chat": {
			"/v1/chat/completions", `{"messages":[{"role":"user","content":"a b"}],"max_completion_tokens":2,"stream":true}`,
			[]string{
				chatHead + `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`,
				chatHead + `{"index":0,"delta":{"content":"the"},"logprobs":null,"finish_reason":null}]}`,
				chatHead + `{"index":0,"delta":{"content":" quick"},"logprobs":null,"finish_reason":"length"}]}`,
				`[DONE]`,
			},
		},
		"chat of its own length, with usage on every chunk": {
			"/v1/chat/completions", `{"messages":[{"role":"user","content":"a b"}],"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}`,
			[]string{
				chatHead + `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":2,"total_tokens":2,"completion_tokens":0}}`,
				chatHead + `{"index":0,"delta":{"content":"the"},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":2,"total_tokens":3,"completion_tokens":1}}`,
				chatHead + `{"index":0,"delta":{"content":" quick"},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":2,"total_tokens":4,"completion_tokens":2}}`,
				chatHead + `{"index":0,"delta":{"content":" brown"},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":2,"total_tokens":5,"completion_tokens":3}}`,
				chatHead + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"total_tokens":5,"completion_tokens":3}}`,
				chatHead + `],"usage":{"prompt_tokens":2,"total_tokens":5,"completion_tokens":3}}`,
				`[DONE]`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, Config{OutputTokens: 3})
				events, err := f.stream(c.path, c.body)
				must(t, err)
				var got []string
				for _, e := range events {
					got = append(got, f.stable(e.data))
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		})
	}
}

// text puts a stream's content together, and returns the last finish_reason.
func text(t *testing.T, events []event) (content, finish string) {
	t.Helper()
	var b strings.Builder
	for _, e := range events {
		if e.data == "[DONE]" {
			continue
		}
		var chunk struct {
			Choices []struct {
				Text         string
				Delta        struct{ Content string }
				FinishReason string `json:"finish_reason"`
			}
		}
		must(t, json.Unmarshal([]byte(e.data), &chunk))
		for _, choice := range chunk.Choices {
			b.WriteString(choice.Text + choice.Delta.Content)
			finish = choice.FinishReason
		}
	}
	return b.String(), finish
}

func TestTokensAreSentWhenDue(t *testing.T) {
	const ms = time.Millisecond
	type chunk struct {
		At     time.Duration
		Tokens int
	}
	for name, c := range map[string]struct {
		cfg    Config
		prompt string
		n      string
		want   []chunk
	}{
		"one token a chunk": {Config{}, `"a"`, "4", []chunk{{50 * ms, 1}, {60 * ms, 1}, {70 * ms, 1}, {80 * ms, 1}}},
		"one token":         {Config{}, `"a"`, "1", []chunk{{50 * ms, 1}}},
		"other times":       {Config{TTFT: time.Second, ITL: 2 * ms}, `"a"`, "2", []chunk{{1000 * ms, 1}, {1002 * ms, 1}}},
		"three tokens a chunk: the first has one, and the last is on time": {
			Config{ChunkTokens: 3}, `"a"`, "6", []chunk{{50 * ms, 1}, {80 * ms, 3}, {100 * ms, 2}},
		},
		"two prompts": {Config{}, `["a","b"]`, "2", []chunk{{50 * ms, 2}, {60 * ms, 2}}},
		"a stall moves what follows it": {
			Config{Faults: Faults{StallRate: 1, Stall: time.Second}}, `"a"`, "4", []chunk{{50 * ms, 1}, {60 * ms, 1}, {1070 * ms, 1}, {1080 * ms, 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.cfg.LogChunks = true
				f := start(t, c.cfg)
				time.Sleep(time.Second) // so that arrival is not 0
				events, err := f.stream("/v1/completions", `{"prompt":`+c.prompt+`,"stream":true,"max_tokens":`+c.n+`}`)
				must(t, err)
				rec := f.one()
				var got []chunk
				for _, sent := range rec.ChunkTimes {
					got = append(got, chunk{sent.At - rec.Dequeued, sent.Tokens})
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				if first := events[0].at; first != rec.FirstToken {
					t.Errorf("the client saw the first token at %v, the server sent it at %v", first, rec.FirstToken)
				}
				if rec.Arrival != time.Second || rec.Queue != 0 || rec.MaxLate != 0 || rec.LastToken != rec.ChunkTimes[len(got)-1].At {
					t.Errorf("record %+v: want arrival at 1s, no queue, nothing late", rec)
				}
				if rec.Chunks != len(c.want) || rec.OutputTokens != rec.TargetTokens || rec.PromptTokens != strings.Count(c.prompt, `"`)/2 {
					t.Errorf("record %+v: want %d chunks and all tokens", rec, len(c.want))
				}
			})
		})
	}
}

func TestRoleComesBeforeTheFirstToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{})
		events, err := f.stream("/v1/chat/completions", `{"messages":[{"role":"user","content":"a"}],"stream":true,"max_tokens":1}`)
		must(t, err)
		if events[0].at != 0 || events[1].at != DefaultTTFT {
			t.Errorf("role at %v and first token at %v, want 0s and %v", events[0].at, events[1].at, DefaultTTFT)
		}
		if rec := f.one(); rec.FirstToken != DefaultTTFT {
			t.Errorf("logged %v as the first token, want %v", rec.FirstToken, DefaultTTFT)
		}
	})
}

func TestDrawnTimesRepeat(t *testing.T) {
	run := func(seed uint64) (times []ChunkTime) {
		synctest.Test(t, func(t *testing.T) {
			f := start(t, Config{Seed: seed, TTFTDist: "lognormal", ITLDist: "exponential", Spread: 0.5, LogChunks: true})
			_, err := f.stream("/v1/completions", `{"prompt":"a","stream":true,"max_tokens":20}`)
			must(t, err)
			times = f.one().ChunkTimes
		})
		return times
	}
	first := run(1)
	if diff := cmp.Diff(first, run(1)); diff != "" {
		t.Errorf("the same seed differs:\n%s", diff)
	}
	if cmp.Equal(first, run(2)) {
		t.Error("another seed gave the same times")
	}
}

func TestWholeAnswerComesWithItsLastToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Config{})
		f.do("/v1/completions", `{"prompt":"a","max_tokens":11}`)
		rec := f.one()
		if want := 150 * time.Millisecond; rec.LastToken != want || rec.FirstToken != want || rec.OutputTokens != 11 || rec.Stream {
			t.Errorf("record %+v, want 11 tokens, not streamed, at %v", rec, want)
		}
	})
}

func TestChunksCostNoAllocation(t *testing.T) {
	s, err := New(Config{})
	must(t, err)
	defer s.Close()
	c := newChunks(s, apiChat, `"chatcmpl-1"`, &generation{prompts: []int{5}, continuousUsage: true})
	b := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { b = c.appendTokens(b[:0], 0, 5, 6, "") }); n != 0 {
		t.Errorf("%v allocations for each chunk, want none", n)
	}
}
