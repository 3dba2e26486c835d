package simulate

import "strconv"

// The reasons an answer ends.
const (
	finishLength = "length" // max_tokens were sent
	finishStop   = "stop"   // the answer came to its own end
)

// done ends every stream that was not cut.
const done = "data: [DONE]\n\n"

// chunks puts the events of one stream together. The part that is the same in all of them is made once; the rest is
// appended to a buffer that is used again, so that a chunk costs no allocation.
type chunks struct {
	kind    api
	chat    bool
	head    []byte // from "data: " to the opening bracket of choices
	usage   bool   // usage on every chunk
	prompts []int
}

// newChunks prepares the events of an answer with this id (quoted as JSON).
func newChunks(s *Server, kind api, id string, g *generation) chunks {
	if kind.ollama() {
		return chunks{kind: kind, head: []byte(ollamaHead(s)), prompts: g.prompts}
	}
	object := "text_completion"
	if kind == apiChat {
		object = "chat.completion.chunk"
	}
	head := `data: {"id":` + id + `,"object":"` + object + `","created":` + s.created + `,"model":` + s.model + `,"choices":[`
	return chunks{kind: kind, chat: kind == apiChat, head: []byte(head), usage: g.continuousUsage, prompts: g.prompts}
}

// appendRole appends the first chunk of a chat, which says who speaks and has no content.
func (c *chunks) appendRole(b []byte, choice int) []byte {
	b = append(b, c.head...)
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, int64(choice), 10)
	b = append(b, `,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]`...)
	return c.closeChunk(b, choice, 0)
}

// appendTokens appends a chunk with the tokens first to last-1 of a choice; finish is empty unless it is the last.
func (c *chunks) appendTokens(b []byte, choice, first, last int, finish string) []byte {
	if c.kind.ollama() {
		return c.appendOllama(b, first, last)
	}
	b = append(b, c.head...)
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, int64(choice), 10)
	if c.chat {
		b = append(b, `,"delta":{"content":"`...)
	} else {
		b = append(b, `,"text":"`...)
	}
	for k := first; k < last; k++ {
		b = append(b, piece(k)...)
	}
	b = append(b, '"')
	if c.chat {
		b = append(b, '}')
	}
	return c.closeChunk(appendFinish(b, finish), choice, last)
}

// appendEnd appends the chunk without content in which an answer that stops by itself says so.
func (c *chunks) appendEnd(b []byte, choice, tokens int) []byte {
	if !c.chat {
		return c.appendTokens(b, choice, tokens, tokens, finishStop)
	}
	b = append(b, c.head...)
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, int64(choice), 10)
	b = append(b, `,"delta":{}`...)
	return c.closeChunk(appendFinish(b, finishStop), choice, tokens)
}

// appendUsage appends the chunk with empty choices that reports the usage of the whole answer.
func (c *chunks) appendUsage(b []byte, prompt, output int) []byte {
	b = append(b, c.head...)
	b = append(b, `],`...)
	b = appendUsage(b, prompt, output)
	return append(b, "}\n\n"...)
}

// closeChunk ends a chunk after its choices, with the usage so far where it was asked for.
func (c *chunks) closeChunk(b []byte, choice, tokens int) []byte {
	if c.usage {
		b = append(b, ',')
		b = appendUsage(b, c.prompts[choice], tokens)
	}
	return append(b, "}\n\n"...)
}

// appendFinish closes the one choice of a chunk.
func appendFinish(b []byte, finish string) []byte {
	if finish == "" {
		return append(b, `,"logprobs":null,"finish_reason":null}]`...)
	}
	b = append(b, `,"logprobs":null,"finish_reason":"`...)
	b = append(b, finish...)
	return append(b, `"}]`...)
}

// appendUsage appends the usage member of an answer or a chunk.
func appendUsage(b []byte, prompt, output int) []byte {
	b = append(b, `"usage":{"prompt_tokens":`...)
	b = strconv.AppendInt(b, int64(prompt), 10)
	b = append(b, `,"total_tokens":`...)
	b = strconv.AppendInt(b, int64(prompt+output), 10)
	b = append(b, `,"completion_tokens":`...)
	b = strconv.AppendInt(b, int64(output), 10)
	return append(b, '}')
}
