package protocol

import "strconv"

// OpenAI is the completions and chat API that vLLM, SGLang, llama.cpp and others serve.
type OpenAI struct {
	// Model as the server names it.
	Model string
	// Chat selects /v1/chat/completions, else /v1/completions.
	Chat bool
	// Streaming asks for tokens as they come.
	Streaming bool
	// Extensions are vLLM's additions, which SGLang and others share: ignore_eos and min_tokens, so that an answer has the
	// length that was asked for, and usage in every chunk. A server that does not know them may refuse the request.
	Extensions bool
}

var _ Format = OpenAI{}

// Path to POST to.
func (o OpenAI) Path() string {
	if o.Chat {
		return "/v1/chat/completions"
	}
	return "/v1/completions"
}

// Streams says whether server-sent events are asked for.
func (o OpenAI) Streams() (string, bool) { return "text/event-stream", o.Streaming }

// AppendBody appends the JSON of a request. Sampling is greedy, so that two trials ask for the same work.
func (o OpenAI) AppendBody(dst []byte, q *Question) []byte {
	dst = append(dst, `{"model":`...)
	dst = appendString(dst, o.Model)
	switch {
	case o.Chat && len(q.Messages) > 0:
		dst = append(dst, `,"messages":`...)
		dst = append(dst, q.Messages...)
	case o.Chat:
		dst = append(dst, `,"messages":[{"role":"user","content":`...)
		dst = appendString(dst, q.Text)
		dst = append(dst, `}]`...)
	case len(q.Tokens) > 0:
		dst = append(dst, `,"prompt":[`...)
		for i, id := range q.Tokens {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendInt(dst, int64(id), 10)
		}
		dst = append(dst, ']')
	default:
		dst = append(dst, `,"prompt":`...)
		dst = appendString(dst, q.Text)
	}
	dst = append(dst, `,"max_tokens":`...)
	dst = strconv.AppendInt(dst, int64(q.MaxTokens), 10)
	if o.Extensions {
		dst = append(dst, `,"min_tokens":`...)
		dst = strconv.AppendInt(dst, int64(q.MaxTokens), 10)
		dst = append(dst, `,"ignore_eos":true`...)
	}
	dst = append(dst, `,"temperature":0,"stream":`...)
	dst = strconv.AppendBool(dst, o.Streaming)
	switch {
	case o.Streaming && o.Extensions:
		dst = append(dst, `,"stream_options":{"include_usage":true,"continuous_usage_stats":true}`...)
	case o.Streaming:
		dst = append(dst, `,"stream_options":{"include_usage":true}`...)
	}
	return append(dst, '}')
}

// NewAnswer returns a reader of answers.
func (o OpenAI) NewAnswer() Answer {
	if o.Streaming {
		return &streamed{read: readOpenAI, events: true}
	}
	return &whole{read: readOpenAI}
}

// appendString appends s as a JSON string.
func appendString[T string | []byte](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= ' ':
			dst = append(dst, c)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(dst, '"')
}
