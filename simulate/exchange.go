package simulate

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// errCut is returned by an answer that ends by closing the connection, as its fault demands.
var errCut = errors.New("the stream was cut on purpose")

// maxID bounds the X-Request-Id taken over, since it is repeated in every chunk.
const maxID = 128

// buffers are used again from request to request; a chunk is a few hundred bytes.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// An exchange is one request for tokens and its answer.
type exchange struct {
	s    *Server
	kind api
	w    http.ResponseWriter
	rc   *http.ResponseController
	ctx  context.Context // ends with the client, or with the server
	gen  generation
	pace pace
	rec  Record
	buf  *[]byte
	// chunked says that a streamed answer goes out in the chunked coding, which HTTP/1.0 does not know.
	chunked bool
}

// serveTokens handles one way to ask for tokens.
func (s *Server) serveTokens(kind api) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		detach := context.AfterFunc(s.life, func() { cancel(context.Cause(s.life)) })
		x := s.newExchange(ctx, kind, w, r)
		defer func() {
			x.close()
			detach()
			cancel(nil)
		}()
		if x.conclude(x.run(r)) {
			panic(http.ErrAbortHandler)
		}
	}
}

// newExchange notes the arrival of a request.
func (s *Server) newExchange(ctx context.Context, kind api, w http.ResponseWriter, r *http.Request) *exchange {
	seq := s.sequence.Add(1)
	id := r.Header.Get("X-Request-Id")
	if id == "" {
		id = strconv.FormatUint(seq, 10)
	}
	id = id[:min(len(id), maxID)]
	w.Header().Set("X-Request-Id", id)
	return &exchange{
		s: s, kind: kind, ctx: ctx, w: w, rc: http.NewResponseController(w),
		rec:     Record{Event: eventRequest, ID: id, Seq: seq, Path: r.URL.Path, Arrival: s.arrival(ctx)},
		pace:    pace{ttft: s.ttft, itl: s.itl, rng: newRand(s.cfg.Seed, seq)},
		chunked: r.ProtoAtLeast(1, 1),
		buf:     buffers.Get().(*[]byte), //nolint:errcheck // the pool holds nothing else
	}
}

// run takes the request from its body to the last byte of the answer. A returned *apiError is still to be answered.
func (x *exchange) run(r *http.Request) error {
	if x.s.starting() {
		return refuse(http.StatusServiceUnavailable, "", "the model is still loading; wait until /health answers 200")
	}
	body, err := readBody(x.w, r)
	if err != nil {
		return err
	}
	if x.gen, err = decodeGeneration(x.kind, body); err != nil {
		return err
	}
	if err := x.s.accepts(&x.gen); err != nil {
		return err
	}
	x.rec.Stream, x.rec.PromptTokens = x.gen.stream, x.gen.promptTokens()

	entered := x.s.now()
	err = x.s.queue.acquire(x.ctx)
	x.rec.Dequeued = x.s.now()
	x.rec.Queue = x.rec.Dequeued - entered
	if errors.Is(err, errQueueFull) {
		return refuse(http.StatusServiceUnavailable, "", "%d requests are being served and %d wait; try again later", x.s.cfg.Concurrency, x.s.cfg.QueueLimit)
	}
	if err != nil {
		return err
	}
	defer x.s.queue.release()
	return x.answer()
}

// accepts checks a well-formed request against what is served.
func (s *Server) accepts(g *generation) error {
	if g.model != "" && g.model != s.cfg.Model && !slices.Contains(s.cfg.Aliases, g.model) {
		return refuse(http.StatusNotFound, "model", "the model %q does not exist; this server has %q", g.model, s.cfg.Model)
	}
	output := g.target(s.cfg.OutputTokens)
	for _, prompt := range g.prompts {
		if output > s.cfg.MaxModelLen || prompt > s.cfg.MaxModelLen-output {
			return refuse(http.StatusBadRequest, "prompt", "the model's context length is %d tokens, but the request asks for %d (%d in the prompt, %d to come); shorten the prompt or max_tokens",
				s.cfg.MaxModelLen, prompt+output, prompt, output)
		}
	}
	return nil
}

// answer serves a request that left the queue, well or with a fault.
func (x *exchange) answer() error {
	s := x.s
	nth := s.admitted.Add(1)
	x.pace.due = x.rec.Dequeued
	x.rec.Fault = s.cfg.Faults.draw(x.pace.rng)
	if after := s.cfg.Faults.HangAfter; after > 0 && nth > int64(after) {
		x.rec.Fault = FaultHang
	}
	s.metrics.dequeued(&x.rec)
	p := x.plan()
	switch {
	case x.rec.Fault == FaultHang:
		return x.hang()
	case x.rec.Fault == FaultError:
		return refuse(s.cfg.Faults.ErrorStatus, "", "an injected fault: this request was to fail")
	case x.gen.stream:
		return x.stream(p)
	default:
		return x.whole(p)
	}
}

// hang answers nothing until the client or the server goes.
func (x *exchange) hang() error {
	select {
	case <-x.ctx.Done():
		return context.Cause(x.ctx)
	case <-x.s.stopping:
		return errStopped
	}
}

// conclude notes how the exchange ended and answers an *apiError. True means the connection is to be cut.
func (x *exchange) conclude(err error) (abort bool) {
	var refusal *apiError
	switch {
	case err == nil:
		x.rec.Outcome = OutcomeAnswered
	case errors.Is(err, errCut):
		x.rec.Outcome = OutcomeAnswered
		return true
	case errors.As(err, &refusal):
		x.rec.Outcome = OutcomeRefused
		if x.rec.Fault == FaultError {
			x.rec.Outcome = OutcomeAnswered
		}
		x.rec.Status, x.rec.Error = refusal.status, refusal.message
		if x.kind.ollama() {
			refusal.writeOllama(x.w)
		} else {
			refusal.write(x.w)
		}
	case errors.Is(err, ErrCrashed), errors.Is(err, errStopped):
		x.rec.Outcome = OutcomeStopped
		return true
	default:
		x.rec.Outcome = OutcomeCancelled
		return true
	}
	return false
}

// close writes the record and counts the answer.
func (x *exchange) close() {
	x.pace.stop()
	*x.buf = (*x.buf)[:0]
	buffers.Put(x.buf)
	x.rec.End = x.s.now()
	x.s.journal.write(&x.rec)
	x.s.metrics.ended(&x.rec)
	if x.rec.Outcome == OutcomeAnswered {
		x.s.countAnswer(x.ctx)
	}
}

// sent notes that a chunk with so many tokens is handed to the connection now, and when it was due.
func (x *exchange) sent(tokens int, due time.Duration) {
	now := x.s.now()
	rec := &x.rec
	if rec.OutputTokens == 0 {
		rec.FirstToken = now
		x.s.metrics.firstToken(now - rec.Arrival)
	} else {
		x.s.metrics.nextToken(now - rec.LastToken)
	}
	rec.LastToken = now
	rec.MaxLate = max(rec.MaxLate, now-due)
	rec.OutputTokens += tokens
	rec.Chunks++
	x.s.metrics.generated(tokens)
	if x.s.cfg.LogChunks {
		rec.ChunkTimes = append(rec.ChunkTimes, ChunkTime{At: now, Tokens: tokens})
	}
}
