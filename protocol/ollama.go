package protocol

import "strconv"

// Ollama is Ollama's own API: JSON lines, with the server's timers in the last one.
type Ollama struct {
	// Model as Ollama names it.
	Model string
	// Chat selects /api/chat, else /api/generate.
	Chat bool
	// Streaming asks for tokens as they come.
	Streaming bool
}

var _ Format = Ollama{}

// Path to POST to.
func (o Ollama) Path() string {
	if o.Chat {
		return "/api/chat"
	}
	return "/api/generate"
}

// Streams says whether JSON lines are asked for.
func (o Ollama) Streams() (string, bool) { return "application/x-ndjson", o.Streaming }

// AppendBody appends the JSON of a request. Ollama cannot be told to go on after the model's own end, so answers may be
// shorter than asked for; how many were is reported.
func (o Ollama) AppendBody(dst []byte, q *Question) []byte {
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
	default:
		dst = append(dst, `,"prompt":`...)
		dst = appendString(dst, q.Text)
	}
	dst = append(dst, `,"stream":`...)
	dst = strconv.AppendBool(dst, o.Streaming)
	dst = append(dst, `,"options":{"temperature":0,"num_predict":`...)
	dst = strconv.AppendInt(dst, int64(q.MaxTokens), 10)
	return append(dst, "}}"...)
}

// NewAnswer returns a reader of answers.
func (o Ollama) NewAnswer() Answer {
	if o.Streaming {
		return &streamed{read: readOllama}
	}
	return &whole{read: readOllama}
}
