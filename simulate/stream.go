package simulate

import "net/http"

// stream answers with server-sent events, one write for each chunk.
func (x *exchange) stream(p plan) error {
	c := newChunks(x.s, x.kind, quoteJSON(x.responseID()), &x.gen)
	if err := x.openStream(&c); err != nil {
		return err
	}
	if x.rec.Fault == FaultEmpty {
		return x.emptyStream(&c)
	}
	interrupted := p.tokens // nothing happens at the end
	if x.rec.Fault.strikes() {
		interrupted = p.half
	}
	if err := x.sendTokens(&c, p, 0, interrupted); err != nil {
		return err
	}
	switch x.rec.Fault {
	case FaultCut:
		return errCut
	case FaultTruncate:
		return nil
	case FaultStreamError:
		b := (*x.buf)[:0]
		if x.kind.ollama() {
			return x.flush(append(b, "{\"error\":\"an injected fault: the stream was to fail\"}\n"...))
		}
		b = append(b, "data: "...)
		b = refuse(http.StatusInternalServerError, "", "an injected fault: the stream was to fail").appendJSON(b)
		return x.flush(append(b, "\n\n"+done...))
	case FaultStall:
		x.pace.due += x.s.cfg.Faults.Stall
		if err := x.pace.wait(x.ctx, x.pace.due-x.s.now()); err != nil {
			return err
		}
		if err := x.sendTokens(&c, p, interrupted, p.tokens); err != nil {
			return err
		}
	}
	return x.closeStream(&c, p.tokens, p.finish)
}

// openStream sends the headers at once and, in a chat, the role: long before the first token, so that a client that
// takes the first chunk for the first token is found out.
func (x *exchange) openStream(c *chunks) error {
	h := x.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	if x.kind.ollama() {
		h.Set("Content-Type", "application/x-ndjson")
	}
	h.Set("Cache-Control", "no-cache")
	x.rec.Status = http.StatusOK
	x.w.WriteHeader(http.StatusOK)
	b := (*x.buf)[:0]
	if c.chat {
		for i := range x.gen.prompts {
			b = c.appendRole(b, i)
		}
	}
	return x.flush(b)
}

// sendTokens sends the tokens from first to end-1, each chunk when its last token is due.
func (x *exchange) sendTokens(c *chunks, p plan, first, end int) error {
	if conn, raw, ok := direct(x.ctx); ok && x.chunked && first < end {
		if pacer := x.s.pacing(); pacer != nil {
			return pacer.stream(x, c, p, first, end, conn, raw)
		}
	}
	for first < end {
		last := min(first+x.s.cfg.ChunkTokens, end)
		if first == 0 {
			last = 1
		}
		due := x.pace.next(last - first)
		finish := ""
		if last == p.tokens && p.finish == finishLength {
			finish = finishLength
		}
		b := (*x.buf)[:0]
		for i := range x.gen.prompts {
			b = c.appendTokens(b, i, first, last, finish)
		}
		if err := x.pace.wait(x.ctx, due-x.s.now()); err != nil {
			return err
		}
		x.sent((last-first)*len(x.gen.prompts), due)
		if err := x.flush(b); err != nil {
			return err
		}
		first = last
	}
	return nil
}

// closeStream sends what follows the last token. An answer that stops by itself says so in a chunk of its own, as
// OpenAI does; vLLM puts "length" on the last token.
func (x *exchange) closeStream(c *chunks, tokens int, finish string) error {
	forgetArrival(x.ctx)
	x.rec.FinishReason = finish
	b := (*x.buf)[:0]
	if x.kind.ollama() {
		return x.flush(x.appendOllamaEnd(b, "", tokens, finish))
	}
	if finish == finishStop {
		for i := range x.gen.prompts {
			b = c.appendEnd(b, i, tokens)
		}
	}
	if x.gen.includeUsage {
		b = c.appendUsage(b, x.rec.PromptTokens, tokens*len(x.gen.prompts))
	}
	return x.flush(append(b, done...))
}

// emptyStream ends the answer when its first token would be due.
func (x *exchange) emptyStream(c *chunks) error {
	if err := x.pace.wait(x.ctx, x.pace.next(1)-x.s.now()); err != nil {
		return err
	}
	return x.closeStream(c, 0, finishStop)
}

// flush sends b in one write, or just what is buffered, and keeps b's memory for the next chunk.
func (x *exchange) flush(b []byte) error {
	*x.buf = b[:0]
	if len(b) > 0 {
		if _, err := x.w.Write(b); err != nil {
			return err
		}
	}
	return x.rc.Flush()
}

// responseID is the id of the answer: vLLM's prefix and the id of the request.
func (x *exchange) responseID() string {
	if x.kind == apiChat {
		return "chatcmpl-" + x.rec.ID
	}
	return "cmpl-" + x.rec.ID
}
