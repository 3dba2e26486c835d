package protocol

import (
	"bytes"
	"encoding/json"
)

// streamed reads an answer that comes in lines: server-sent events with OpenAI's chunks, or JSON lines with Ollama's.
type streamed struct {
	lines    lines
	read     func([]byte, *event) bool
	events   bool // server-sent events, that end with [DONE]
	result   *Result
	counts   counts
	one      event // kept here, for as a variable each would be allocated
	done     bool
	at       int64 // of the last read
	most     int   // pieces
	inRead   int   // pieces of this read
	lastSeen int64 // output tokens that the server last told
}

var _ Answer = (*streamed)(nil)

// Begin gets ready for an answer.
func (s *streamed) Begin(r *Result, maxTokens int) {
	s.lines.reset()
	s.result, s.counts, s.done, s.at, s.lastSeen = r, counts{}, false, 0, 0
	// Pieces can be fewer than tokens or a few more; an answer that never ends must not fill the memory.
	s.most = 4*maxTokens + 4096
}

// Feed takes what one read brought.
func (s *streamed) Feed(data []byte, at int64) bool {
	s.at, s.inRead = at, 0
	more, tooLong := s.lines.each(data, s.line)
	if s.inRead > 1 {
		s.result.SharedReads++
	}
	if tooLong {
		s.result.Fail(ClassPayload, "a line of over %d bytes in the stream", maxLine)
	}
	return more
}

func (s *streamed) line(line []byte) bool {
	data := line
	if s.events {
		var isData bool
		if data, isData = bytes.CutPrefix(line, []byte("data:")); !isData {
			if len(line) > 0 && line[0] == '{' && hasError(line) { // some servers drop the framing when they fail
				s.result.Fail(ClassServer, "the server sent an error within its answer: %s", line)
				return false
			}
			return true // comments, event names, blank lines
		}
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return true
	}
	if s.events && string(data) == "[DONE]" {
		s.done = true
		return false
	}
	s.one = event{}
	if !s.read(data, &s.one) {
		s.result.Fail(ClassPayload, "%.120q in the stream is not a JSON object", data)
		return false
	}
	return s.event(&s.one)
}

func (s *streamed) event(e *event) bool {
	r := s.result
	if e.failure != nil {
		r.Fail(ClassServer, "the server sent an error within its answer: %s", e.failure)
		return false
	}
	s.counts.add(e)
	if e.text || e.reasoning {
		s.piece(e)
	}
	if e.done {
		s.done, r.Server = true, e.times
	}
	if len(r.Chunks) > s.most {
		r.Fail(ClassPayload, "an answer of over %d pieces, far more than was asked for", s.most)
	}
	return !e.done && r.Class == ""
}

// piece notes a chunk with text. Where the usage stands in every chunk, its growth tells how many tokens came.
func (s *streamed) piece(e *event) {
	r := s.result
	s.inRead++
	if e.text && r.FirstAnswer == 0 {
		r.FirstAnswer = s.at
	}
	r.Reasoning = r.Reasoning || e.reasoning
	tokens := 0
	if e.usage && e.output > s.lastSeen && len(r.ChunkTokens) == len(r.Chunks) {
		tokens = int(e.output - s.lastSeen)
		s.lastSeen = e.output
	}
	r.chunk(s.at, tokens)
	if tokens == 0 && len(r.ChunkTokens) > 0 {
		r.ChunkTokens = r.ChunkTokens[:0] // told of some chunks, not of all: not known
		s.lastSeen = 1 << 62
	}
}

// End settles the result when the stream has ended.
func (s *streamed) End() {
	r := s.result
	// The last line may lack its end; one that is not whole was cut.
	if rest := s.lines.rest(); r.Class == "" && !s.done && len(rest) > 0 {
		payload := bytes.TrimSpace(bytes.TrimPrefix(rest, []byte("data:")))
		if json.Valid(payload) || string(payload) == "[DONE]" {
			s.line(rest)
		}
	}
	s.counts.settle(r)
	switch {
	case r.Class != "":
	case !s.done && s.events:
		r.Fail(ClassCut, "the stream ended without [DONE] after %d chunks", len(r.Chunks))
	case !s.done:
		r.Fail(ClassCut, "the stream ended without a last line that says done after %d chunks", len(r.Chunks))
	case len(r.Chunks) == 0:
		r.Fail(ClassEmpty, "the answer held no text")
	}
}

// whole reads an answer that comes in one piece.
type whole struct {
	read   func([]byte, *event) bool
	result *Result
	body   []byte
	most   int
}

var _ Answer = (*whole)(nil)

// Begin gets ready for an answer.
func (w *whole) Begin(r *Result, maxTokens int) {
	w.result, w.body = r, w.body[:0]
	// A token is a few letters, each at most six bytes when escaped; beyond this it is not what was asked for.
	w.most = 256<<10 + 256*maxTokens
}

// Feed keeps the body until it is whole.
func (w *whole) Feed(data []byte, _ int64) bool {
	if len(w.body)+len(data) > w.most {
		w.result.Fail(ClassPayload, "an answer of over %d bytes, far more than was asked for", w.most)
		return false
	}
	w.body = append(w.body, data...)
	return true
}

// End reads the body.
func (w *whole) End() {
	r := w.result
	if r.Class != "" {
		return
	}
	var e event
	if !w.read(bytes.TrimSpace(w.body), &e) {
		r.Fail(ClassPayload, "the answer is not a JSON object: %.120q", w.body)
		return
	}
	var c counts
	c.add(&e)
	c.settle(r)
	r.Reasoning, r.Server = e.reasoning, e.times
	switch {
	case e.failure != nil:
		r.Fail(ClassServer, "the server sent an error with status 200: %s", e.failure)
	case !e.text && !e.reasoning:
		r.Fail(ClassEmpty, "the answer held no text")
	}
}
