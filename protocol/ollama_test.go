package protocol

import (
	"strings"
	"testing"
)

// The timers of these answers, in nanoseconds: of 1000 in total, 100 to load, 200 for the prompt and 600 for the answer.
const (
	ollamaHello  = `{"model":"m","created_at":"2026-01-01T00:00:00Z","response":"Hello","done":false}` + "\n"
	ollamaDone   = `{"model":"m","response":"","done":true,"done_reason":"length","context":[1,2],"total_duration":1000,"load_duration":100,"prompt_eval_count":7,"prompt_eval_duration":200,"eval_count":2,"eval_duration":600}` + "\n"
	ollamaChat   = `{"model":"m","message":{"role":"assistant","content":"Hello"},"done":false}` + "\n"
	ollamaThinks = `{"model":"m","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}` + "\n"
	ndjson       = "application/x-ndjson"
)

var ollamaTimes = ServerTimes{Queue: 100, Load: 100, Prefill: 200, Decode: 600}

func TestOllamaStream(t *testing.T) {
	t.Parallel()
	two := outcome{Status: 200, Chunks: 2, Prompt: 7, Output: 2, Source: TokensFromServer, Server: ollamaTimes, Complete: true, Reusable: true}
	short := two
	short.Chunks = 1
	thinking := two
	thinking.Reasoning = true
	cut := outcome{Class: ClassCut, Status: 200, Chunks: 2, Output: 2, Source: TokensFromChunks, Complete: true, Reusable: true}
	failed := outcome{Class: ClassServer, Status: 200, Chunks: 1, Output: 1, Source: TokensFromChunks, Complete: true, Reusable: true}
	for name, tc := range map[string]struct {
		in      string
		want    outcome
		message string
	}{
		"generate":                             {ollamaHello + ollamaHello + ollamaDone, two, ""},
		"chat":                                 {ollamaChat + ollamaChat + strings.Replace(ollamaDone, `"response":""`, `"message":{"role":"assistant","content":""}`, 1), two, ""},
		"text in the last line":                {ollamaHello + strings.Replace(ollamaDone, `"response":""`, `"response":"x"`, 1), two, ""},
		"one token":                            {ollamaHello + ollamaDone, short, ""},
		"lines end with CRLF":                  {strings.ReplaceAll(ollamaHello+ollamaHello+ollamaDone, "\n", "\r\n"), two, ""},
		"blank lines":                          {"\n" + ollamaHello + "\n\n" + ollamaHello + ollamaDone, two, ""},
		"the last line has no end":             {ollamaHello + ollamaHello + strings.TrimSpace(ollamaDone), two, ""},
		"thinking in a chat":                   {ollamaThinks + ollamaChat + ollamaDone, thinking, ""},
		"thinking in generate":                 {`{"thinking":"hm","response":"","done":false}` + "\n" + ollamaHello + ollamaDone, thinking, ""},
		"what follows the end is not read":     {ollamaHello + ollamaHello + ollamaDone + `{"error":"x"}` + "\n", two, ""},
		"letters of several bytes":             {strings.ReplaceAll(ollamaHello, "Hello", "žluťoučký 🐎") + ollamaHello + ollamaDone, two, ""},
		"done is missing":                      {ollamaHello + ollamaHello, cut, "says done after 2 chunks"},
		"done is false":                        {ollamaHello + ollamaHello + strings.Replace(ollamaDone, `"done":true`, `"done":false`, 1), outcome{Class: ClassCut, Status: 200, Chunks: 2, Prompt: 7, Output: 2, Source: TokensFromServer, Complete: true, Reusable: true}, ""},
		"cut within a line":                    {ollamaHello + ollamaHello + ollamaDone[:40], cut, ""},
		"an error line":                        {ollamaHello + `{"error":"an error was encountered while running the model"}` + "\n", failed, "running the model"},
		"an error line without its end":        {ollamaHello + `{"error":"an error was encountered while running the model"}`, failed, "running the model"},
		"a line that is no JSON":               {ollamaHello + "<html>\n", outcome{Class: ClassPayload, Status: 200, Chunks: 1, Output: 1, Source: TokensFromChunks, Complete: true, Reusable: true}, "<html>"},
		"only the end":                         {ollamaDone, outcome{Class: ClassEmpty, Status: 200, Prompt: 7, Output: 2, Source: TokensFromServer, Server: ollamaTimes, Complete: true, Reusable: true}, ""},
		"no counts: chunks are counted":        {ollamaHello + ollamaHello + `{"done":true}` + "\n", outcome{Status: 200, Chunks: 2, Output: 2, Source: TokensFromChunks, Complete: true, Reusable: true}, ""},
		"parts longer than the total":          {ollamaHello + `{"done":true,"total_duration":5,"load_duration":3,"eval_duration":9}` + "\n", outcome{Status: 200, Chunks: 1, Output: 1, Source: TokensFromChunks, Server: ServerTimes{Load: 3, Decode: 9}, Complete: true, Reusable: true}, ""},
		"a prompt from the cache has no count": {ollamaHello + `{"done":true,"total_duration":9,"eval_count":1,"eval_duration":4}` + "\n", outcome{Status: 200, Chunks: 1, Output: 1, Source: TokensFromServer, Server: ServerTimes{Queue: 5, Decode: 4}, Complete: true, Reusable: true}, ""},
		"timers below zero":                    {ollamaHello + `{"done":true,"total_duration":9,"load_duration":-4,"eval_duration":4}` + "\n", outcome{Status: 200, Chunks: 1, Output: 1, Source: TokensFromChunks, Server: ServerTimes{Queue: 5, Decode: 4}, Complete: true, Reusable: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, contentType := range []string{ndjson, asJSON} { // older versions say JSON
				raw := head("200 OK", contentType, "Transfer-Encoding: chunked") + chunked(tc.in)
				r, got := everyCut(t, Ollama{Model: "m", Streaming: true}, 4, raw)
				got.Tokens = nil
				if !same(got, tc.want) || !strings.Contains(r.Message, tc.message) {
					t.Errorf("%s: got %+v (%s)\nwant %+v", contentType, got, r.Message, tc.want)
				}
			}
		})
	}
}

// same compares without the tokens of chunks.
func same(a, b outcome) bool {
	a.Tokens, b.Tokens = nil, nil
	return a.Class == b.Class && a.Status == b.Status && a.counted() == b.counted() && a.Cached == b.Cached &&
		a.Reasoning == b.Reasoning && a.Server == b.Server && a.Complete == b.Complete && a.Reusable == b.Reusable
}

func TestOllamaTimes(t *testing.T) {
	t.Parallel()
	r, _ := receive(Ollama{Chat: true, Streaming: true}, 4, head("200 OK", ndjson), ollamaThinks, ollamaChat, ollamaDone)
	if r.First != 2*milli || r.FirstAnswer != 3*milli || r.Last != 3*milli || r.End != 4*milli || !r.Reasoning {
		t.Errorf("first %d, of the answer %d, last %d, end %d, reasoning %v", r.First, r.FirstAnswer, r.Last, r.End, r.Reasoning)
	}
}

func TestOllamaWhole(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body      string
		class     Class
		message   string
		server    ServerTimes
		output    int
		reasoning bool
	}{
		"generate":      {body: strings.Replace(ollamaDone, `"response":""`, `"response":"Hi"`, 1), server: ollamaTimes, output: 2},
		"chat":          {body: strings.Replace(ollamaDone, `"response":""`, `"message":{"content":"Hi"}`, 1), server: ollamaTimes, output: 2},
		"thinking":      {body: strings.Replace(ollamaDone, `"response":""`, `"message":{"content":"","thinking":"hm"}`, 1), server: ollamaTimes, output: 2, reasoning: true},
		"empty":         {body: ollamaDone, class: ClassEmpty, server: ollamaTimes, output: 2},
		"an error":      {body: `{"error":"model not found"}`, class: ClassServer, message: "model not found"},
		"several lines": {body: ollamaHello + ollamaDone, class: ClassPayload},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := everyCut(t, Ollama{Model: "m"}, 4, sized("200 OK", asJSON, tc.body))
			if r.Class != tc.class || r.Server != tc.server || r.OutputTokens != tc.output || r.Reasoning != tc.reasoning || !strings.Contains(r.Message, tc.message) {
				t.Errorf("class %q (%s), %+v, %d tokens, reasoning %v", r.Class, r.Message, r.Server, r.OutputTokens, r.Reasoning)
			}
		})
	}
}
