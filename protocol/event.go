package protocol

import (
	"bytes"
	"strings"
)

// event is what one JSON object of an answer says: a chunk of a stream, a line, or a whole body.
type event struct {
	text, reasoning        bool
	prompt, output, cached int64
	usage                  bool
	failure                []byte // the error object, raw
	done                   bool   // Ollama's own word for the end
	times                  ServerTimes
	total                  int64 // Ollama's total duration
}

// readOpenAI reads a chat.completion(.chunk) or text_completion object, and the error objects of vLLM and others. The
// shapes are those of the OpenAI API reference; `reasoning_content` and `reasoning` are vLLM's and others' additions and
// stand for the same text, so they are counted once.
func readOpenAI(data []byte, e *event) bool {
	s := scanner{b: data}
	if s.peek() != '{' {
		return false
	}
	s.open('{')
	for s.more('}') {
		switch string(s.key()) {
		case "choices":
			for ok := s.open('['); ok && s.more(']'); {
				s.choice(e)
			}
		case "usage":
			s.usage(e)
		case "error":
			s.failure(e)
		case "object": // some servers send {"object":"error","message":…} with status 200
			if word, ok := s.str(); ok && string(word) == "error" {
				e.failure = data
			}
		default:
			s.skip()
		}
	}
	return s.whole()
}

func (s *scanner) choice(e *event) {
	for ok := s.open('{'); ok && s.more('}'); {
		switch string(s.key()) {
		case "text":
			e.text = s.text() || e.text
		case "delta", "message":
			s.message(e)
		default:
			s.skip()
		}
	}
}

// message reads a delta or a message; Ollama's `thinking` is reasoning too.
func (s *scanner) message(e *event) {
	for ok := s.open('{'); ok && s.more('}'); {
		switch string(s.key()) {
		case "content":
			e.text = s.text() || e.text
		case "reasoning_content", "reasoning", "thinking":
			e.reasoning = s.text() || e.reasoning
		default:
			s.skip()
		}
	}
}

func (s *scanner) usage(e *event) {
	for ok := s.open('{'); ok && s.more('}'); {
		switch string(s.key()) {
		case "prompt_tokens":
			e.prompt, e.usage = s.number(), true
		case "completion_tokens":
			e.output, e.usage = s.number(), true
		case "prompt_tokens_details":
			for ok := s.open('{'); ok && s.more('}'); {
				if string(s.key()) == "cached_tokens" {
					e.cached = s.number()
				} else {
					s.skip()
				}
			}
		default:
			s.skip()
		}
	}
}

func (s *scanner) failure(e *event) {
	if s.null() {
		return
	}
	s.space()
	from := s.i
	s.skip()
	e.failure = s.b[from:min(s.i, len(s.b))]
}

// readOllama reads a line of Ollama's /api/generate and /api/chat, or a whole answer. Durations are nanoseconds.
func readOllama(data []byte, e *event) bool {
	s := scanner{b: data}
	if s.peek() != '{' {
		return false
	}
	s.open('{')
	for s.more('}') {
		switch string(s.key()) {
		case "response":
			e.text = s.text() || e.text
		case "thinking":
			e.reasoning = s.text() || e.reasoning
		case "message":
			s.message(e)
		case "done":
			e.done = s.peek() == 't'
			s.skip()
		case "prompt_eval_count":
			e.prompt, e.usage = s.number(), true
		case "eval_count":
			e.output, e.usage = s.number(), true
		case "total_duration":
			e.total = s.number()
		case "load_duration":
			e.times.Load = s.number()
		case "prompt_eval_duration":
			e.times.Prefill = s.number()
		case "eval_duration":
			e.times.Decode = s.number()
		case "error":
			s.failure(e)
		default:
			s.skip()
		}
	}
	if e.total > 0 {
		e.times.Queue = max(0, e.total-e.times.Load-e.times.Prefill-e.times.Decode)
	}
	return s.whole()
}

// counts gathers the tokens that a server tells of: the last counts that are not zero win.
type counts struct{ prompt, output, cached int64 }

func (c *counts) add(e *event) {
	if e.prompt > 0 {
		c.prompt = e.prompt
	}
	if e.output > 0 {
		c.output = e.output
	}
	if e.cached > 0 {
		c.cached = e.cached
	}
}

// settle puts the counts into the result. Without output tokens the server has not counted, and pieces are counted.
func (c *counts) settle(r *Result) {
	const most = 1 << 31
	r.PromptTokens, r.CachedTokens = int(min(c.prompt, most)), int(min(c.cached, most))
	switch {
	case c.output > 0:
		r.OutputTokens, r.TokenSource = int(min(c.output, most)), TokensFromServer
	case len(r.Chunks) > 0:
		r.OutputTokens, r.TokenSource = len(r.Chunks), TokensFromChunks
	}
}

// hasError says whether text that is no answer holds a JSON object with an error in it.
func hasError(text []byte) bool {
	var e event
	readOpenAI(bytes.TrimSpace(text), &e)
	return e.failure != nil
}

func clean(text []byte) string { return strings.TrimSpace(string(text)) }
