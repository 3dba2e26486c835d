package simulate

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// An api is one of the ways to ask for tokens.
type api uint8

const (
	apiCompletion api = iota
	apiChat
	apiGenerate // the plain REST of a "dummy" service
	apiOllamaGenerate
	apiOllamaChat
)

// maxPrompts bounds a batch of prompts in one request, and with it what one request can cost.
const maxPrompts = 256

// A generation is a request for tokens, as far as the server cares.
type generation struct {
	model           string // empty when not given
	prompts         []int  // the length of each prompt in tokens; an answer has a choice for each
	maxTokens       int    // 0 when not given
	minTokens       int
	ignoreEOS       bool
	stream          bool
	includeUsage    bool
	continuousUsage bool
}

// promptTokens is the length of all prompts together.
func (g *generation) promptTokens() int {
	sum := 0
	for _, n := range g.prompts {
		sum += n
	}
	return sum
}

// wireRequest holds the fields that are looked at; the others of the protocol are accepted and have no effect.
type wireRequest struct {
	Model               string          `json:"model"`
	Prompt              json.RawMessage `json:"prompt"`
	Messages            json.RawMessage `json:"messages"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	MinTokens           int             `json:"min_tokens"`
	IgnoreEOS           bool            `json:"ignore_eos"`
	N                   *int            `json:"n"`
	Stream              bool            `json:"stream"`
	StreamOptions       *struct {
		IncludeUsage         bool `json:"include_usage"`
		ContinuousUsageStats bool `json:"continuous_usage_stats"`
	} `json:"stream_options"`
}

// decodeGeneration reads a request body; the error is an *apiError.
func decodeGeneration(kind api, body []byte) (generation, error) {
	if kind.ollama() {
		return decodeOllama(kind, body)
	}
	var w wireRequest
	if err := decodeJSON(body, &w); err != nil {
		return generation{}, err
	}
	prompts, err := w.promptLengths(kind)
	if err != nil {
		return generation{}, err
	}
	g := generation{model: w.Model, prompts: prompts, minTokens: w.MinTokens, ignoreEOS: w.IgnoreEOS, stream: w.Stream}
	if w.StreamOptions != nil {
		g.includeUsage = w.StreamOptions.IncludeUsage
		g.continuousUsage = g.includeUsage && w.StreamOptions.ContinuousUsageStats // as in vLLM
	}
	if err := g.setLengths(&w); err != nil {
		return generation{}, err
	}
	switch {
	case w.N != nil && *w.N != 1:
		return generation{}, refuse(http.StatusBadRequest, "n", "n is %d, but this server gives one answer for each prompt; leave n out", *w.N)
	case w.StreamOptions != nil && !w.Stream:
		return generation{}, refuse(http.StatusBadRequest, "stream_options", "stream_options can only be given with stream: true")
	case kind == apiGenerate && w.Stream:
		return generation{}, refuse(http.StatusBadRequest, "stream", "/generate does not stream; use /v1/completions")
	}
	return g, nil
}

// setLengths takes over the limits on output tokens; max_completion_tokens is the newer name and wins, as in vLLM.
func (g *generation) setLengths(w *wireRequest) error {
	limit, name := w.MaxTokens, "max_tokens"
	if w.MaxCompletionTokens != nil {
		limit, name = w.MaxCompletionTokens, "max_completion_tokens"
	}
	if limit != nil {
		if *limit < 1 {
			return refuse(http.StatusBadRequest, name, "%s must be at least 1, got %d", name, *limit)
		}
		g.maxTokens = *limit
	}
	if g.minTokens < 0 || (g.maxTokens > 0 && g.minTokens > g.maxTokens) {
		return refuse(http.StatusBadRequest, "min_tokens", "min_tokens must be from 0 to %s, got %d", name, g.minTokens)
	}
	return nil
}

// decodeJSON reads body into v; the error is an *apiError.
func decodeJSON(body []byte, v any) error {
	err := json.Unmarshal(body, v)
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return refuse(http.StatusBadRequest, wrongType.Field, "the field %q has the wrong type: %v", wrongType.Field, err)
	default:
		return refuse(http.StatusBadRequest, "", "the body is not a JSON object: %v", err)
	}
}

// promptLengths returns the number of tokens of each prompt.
func (w *wireRequest) promptLengths(kind api) ([]int, error) {
	if kind == apiChat {
		text, err := chatText(w.Messages)
		if err != nil {
			return nil, err
		}
		return []int{countWords(text)}, nil
	}
	lengths, err := promptLengths(w.Prompt)
	if err != nil {
		return nil, err
	}
	if len(lengths) > maxPrompts {
		return nil, refuse(http.StatusBadRequest, "prompt", "%d prompts in one request: at most %d are accepted; send several requests", len(lengths), maxPrompts)
	}
	for i, n := range lengths {
		if n == 0 {
			return nil, refuse(http.StatusBadRequest, "prompt", "prompt %d is empty; give at least one word or token id", i)
		}
	}
	return lengths, nil
}

// promptLengths counts the tokens of a prompt: a string, token ids, or an array of either.
func promptLengths(raw json.RawMessage) ([]int, error) {
	bad := refuse(http.StatusBadRequest, "prompt", "prompt must be a string, an array of token ids, or an array of either")
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil, bad
	}
	if raw[0] == '"' {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return nil, bad
		}
		return []int{countWords(text)}, nil
	}
	if n, ok := countIDs(raw); ok && n > 0 {
		return []int{n}, nil
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil || len(items) == 0 {
		return nil, bad
	}
	lengths := make([]int, len(items))
	for i, item := range items {
		n, ok := countPrompt(item)
		if !ok {
			return nil, bad
		}
		lengths[i] = n
	}
	return lengths, nil
}

// countPrompt counts the tokens of one prompt of a batch.
func countPrompt(raw json.RawMessage) (int, bool) {
	if raw[0] != '"' {
		return countIDs(raw)
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return 0, false
	}
	return countWords(text), true
}

// countIDs counts an array of token ids; false means raw is something else.
func countIDs(raw json.RawMessage) (int, bool) {
	var ids []uint32
	if raw[0] != '[' || json.Unmarshal(raw, &ids) != nil || bytes.Contains(raw, []byte("null")) {
		return 0, false // a null would decode as id 0
	}
	return len(ids), true
}

// countWords counts what is between white space: the server's whole idea of a token.
func countWords(text string) int {
	n := 0
	for range strings.FieldsSeq(text) {
		n++
	}
	return n
}
