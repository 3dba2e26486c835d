package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// maxLine bounds one line of a stream, so that a server cannot fill the memory.
const maxLine = 1 << 20

// stream reads an OpenAI event stream. It is fed what each read brought, with the time of that read.
type stream struct {
	result  *Result
	partial []byte
	read    time.Time // of the last read
	done    bool      // [DONE] was seen
	chunks  int
	usage   usage
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
}

// settle puts the server's counts into the result. Without output tokens the server has not counted.
func (u usage) settle(r *Result) {
	r.PromptTokens, r.OutputTokens = max(0, u.PromptTokens), max(0, u.CompletionTokens)
	if r.OutputTokens > 0 {
		r.TokenSource = TokensFromServer
	}
}

// feed takes the bytes of one read. It returns false when the stream is over, by [DONE] or by a fault in the result.
func (s *stream) feed(data []byte, at time.Time) bool {
	s.read = at
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			s.partial = append(s.partial, data...)
			if len(s.partial) > maxLine {
				s.result.fail(ClassPayload, fmt.Sprintf("a line of over %d bytes in the event stream", maxLine))
				return false
			}
			return true
		}
		var line []byte
		line, data = data[:end], data[end+1:]
		if len(s.partial) > 0 {
			line = append(s.partial, line...)
			s.partial = s.partial[:0]
		}
		if !s.line(bytes.TrimRight(line, "\r"), at) {
			return false
		}
	}
	return true
}

func (s *stream) line(line []byte, at time.Time) bool {
	data, isData := bytes.CutPrefix(line, []byte("data:"))
	if !isData {
		if len(line) > 0 && line[0] == '{' {
			return s.serverError(line) // some servers drop the framing when they fail
		}
		return true // comments, event names, blank lines
	}
	data = bytes.TrimSpace(data)
	switch {
	case len(data) == 0:
		return true
	case bytes.Equal(data, []byte("[DONE]")):
		s.done = true
		return false
	case data[0] != '{':
		s.result.fail(ClassPayload, fmt.Sprintf("event %.120q is not JSON", data))
		return false
	}
	if hasObject(data, "error") {
		return s.serverError(data)
	}
	if hasText(data, "content") || hasText(data, "text") || hasText(data, "reasoning_content") || hasText(data, "reasoning") {
		s.chunk(at)
	}
	if hasObject(data, "usage") {
		return s.readUsage(data)
	}
	return true
}

func (s *stream) chunk(at time.Time) {
	s.chunks++
	if s.result.First.IsZero() {
		s.result.First = at
	} else {
		s.result.Gaps = append(s.result.Gaps, at.Sub(s.result.Last))
	}
	s.result.Last = at
}

// readUsage keeps the last counts that are not zero.
func (s *stream) readUsage(data []byte) bool {
	var event struct{ Usage usage }
	if err := json.Unmarshal(data, &event); err != nil {
		s.result.fail(ClassPayload, fmt.Sprintf("event %.120q: %v", data, err))
		return false
	}
	if event.Usage.PromptTokens > 0 {
		s.usage.PromptTokens = event.Usage.PromptTokens
	}
	if event.Usage.CompletionTokens > 0 {
		s.usage.CompletionTokens = event.Usage.CompletionTokens
	}
	return true
}

func (s *stream) serverError(data []byte) bool {
	s.result.fail(ClassServer, fmt.Sprintf("the server sent an error within its answer: %s", data))
	return false
}

// close settles the result when the stream has ended.
func (s *stream) close() {
	r := s.result
	// The last line may lack its end; one that is not whole was cut.
	if rest := bytes.TrimSpace(bytes.TrimPrefix(s.partial, []byte("data:"))); r.Class == "" && (json.Valid(rest) || bytes.Equal(rest, []byte("[DONE]"))) {
		s.line(s.partial, s.read)
	}
	s.usage.settle(r)
	if r.OutputTokens == 0 && s.chunks > 0 {
		r.OutputTokens, r.TokenSource = s.chunks, TokensFromChunks
	}
	if r.Class != "" {
		return
	}
	switch {
	case !s.done:
		r.fail(ClassCut, fmt.Sprintf("the stream ended without [DONE] after %d chunks", s.chunks))
	case s.chunks == 0:
		r.fail(ClassEmpty, "the answer held no text")
	}
}

// hasText says whether the JSON object holds a non-empty string under the key, at any depth. It looks at bytes, for
// decoding every chunk would cost more than all the rest. A key inside a string is never mistaken for one: its quotes
// are escaped there.
func hasText(data []byte, key string) bool {
	return scan(data, key, func(v []byte) bool { return len(v) > 1 && v[0] == '"' && v[1] != '"' })
}

// hasObject says whether the JSON object holds a value other than null under the key.
func hasObject(data []byte, key string) bool {
	return scan(data, key, func(v []byte) bool { return len(v) > 0 && v[0] != 'n' })
}

func scan(data []byte, key string, match func(value []byte) bool) bool {
	for {
		at := bytes.Index(data, []byte(key))
		if at < 0 {
			return false
		}
		before, after := data[:at], data[at+len(key):]
		data = after
		if len(before) == 0 || before[len(before)-1] != '"' || len(before) > 1 && before[len(before)-2] == '\\' ||
			len(after) == 0 || after[0] != '"' {
			continue
		}
		value := bytes.TrimLeft(after[1:], " \t")
		if len(value) == 0 || value[0] != ':' {
			continue
		}
		if match(bytes.TrimLeft(value[1:], " \t")) {
			return true
		}
	}
}
