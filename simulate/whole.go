package simulate

import (
	"encoding/json"
	"net/http"
	"time"
)

// usage counts the tokens of an answer.
type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	TotalTokens      int `json:"total_tokens"`
	CompletionTokens int `json:"completion_tokens"`
}

// whole answers in one piece, when the last token would have been sent.
func (x *exchange) whole(p plan) error {
	switch x.rec.Fault {
	case FaultEmpty:
		p.tokens, p.finish = 0, finishStop
	case FaultCut, FaultTruncate, FaultStreamError:
		p.tokens = p.half
	}
	due := x.pace.next(max(1, p.tokens))
	if x.rec.Fault == FaultStall {
		due += x.s.cfg.Faults.Stall
	}
	body := x.wholeBody(p)
	if err := x.pace.wait(x.ctx, due-x.s.now()); err != nil {
		return err
	}
	if x.kind.ollama() { // its timers are known only now
		x.rec.FirstToken = min(x.rec.Dequeued+x.s.cfg.TTFT, x.s.now())
		x.rec.LastToken = x.s.now()
		body = x.appendOllamaEnd(nil, Text(p.tokens), p.tokens, p.finish)
	}
	forgetArrival(x.ctx)
	x.rec.Status = http.StatusOK
	switch x.rec.Fault {
	case FaultCut: // announced in full, sent by half
		setBodyHeaders(x.w, len(body))
		x.w.WriteHeader(http.StatusOK)
		if err := x.flush(body[:len(body)/2]); err != nil {
			return err
		}
		return errCut
	case FaultTruncate: // good HTTP, half a JSON object
		body = body[:len(body)/2]
	case FaultStreamError: // as some proxies do
		body = refuse(http.StatusInternalServerError, "", "an injected fault: this request was to fail").appendJSON(nil)
	default:
		x.rec.FinishReason = p.finish
		x.sentWhole(p.tokens, due)
	}
	writeBody(x.w, http.StatusOK, body)
	return nil
}

// sentWhole notes the tokens of an answer in one piece, all of which leave now.
func (x *exchange) sentWhole(tokens int, due time.Duration) {
	if tokens > 0 {
		x.sent(tokens*len(x.gen.prompts), due)
	}
}

// wholeBody is the answer of p.tokens tokens to each prompt.
func (x *exchange) wholeBody(p plan) []byte {
	text, n := Text(p.tokens), len(x.gen.prompts)
	u := usage{PromptTokens: x.rec.PromptTokens, CompletionTokens: p.tokens * n, TotalTokens: x.rec.PromptTokens + p.tokens*n}
	var v any
	if x.kind == apiGenerate {
		v = struct {
			Text  string `json:"text"`
			Usage usage  `json:"usage"`
		}{text, u}
	} else {
		v = x.openAIBody(text, p.finish, u)
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and ints always marshal
	}
	return b
}

// openAIBody is the answer as an OpenAI-compatible server gives it.
func (x *exchange) openAIBody(text, finish string, u usage) any {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	type choice struct {
		Index        int      `json:"index"`
		Text         *string  `json:"text,omitempty"`
		Message      *message `json:"message,omitempty"`
		Logprobs     any      `json:"logprobs"`
		FinishReason string   `json:"finish_reason"`
	}
	choices := make([]choice, len(x.gen.prompts))
	object := "text_completion"
	for i := range choices {
		choices[i] = choice{Index: i, FinishReason: finish}
		if x.kind == apiChat {
			object = "chat.completion"
			choices[i].Message = &message{Role: "assistant", Content: text}
		} else {
			choices[i].Text = &text
		}
	}
	return struct {
		ID      string   `json:"id"`
		Object  string   `json:"object"`
		Created int64    `json:"created"`
		Model   string   `json:"model"`
		Choices []choice `json:"choices"`
		Usage   usage    `json:"usage"`
	}{x.responseID(), object, x.s.zero.Unix(), x.s.cfg.Model, choices, u}
}
