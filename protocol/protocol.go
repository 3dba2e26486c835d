// Package protocol words requests to inference servers and reads their answers. It does no input or output: bytes are
// pushed in with the time at which they came out of the socket, so that time stamps are taken before anything is looked
// at, and so that the same readers serve any transport.
//
// A Format is one API. It renders the body of a request, and gives an Answer that reads what comes back into a Result.
// Response reads the HTTP/1.1 around it. Nothing here retries: a failure is a Result with a Class.
//
// All times are nanoseconds on one monotonic clock whose zero lies before the first request, so that 0 means absent.
package protocol

import (
	"fmt"
	"strings"
)

// Question is what is asked of a server.
type Question struct {
	// ID goes along as X-Request-Id, so that a server's own log can be compared.
	ID string
	// Text is the prompt. Messages, where set, replaces it in a chat: a JSON array of messages. Tokens, where set, replaces
	// it in completions: the prompt as token ids.
	Text     []byte
	Messages []byte
	Tokens   []int
	// MaxTokens asked of the answer.
	MaxTokens int
}

// Reset empties the question and keeps its memory.
func (q *Question) Reset() {
	q.ID, q.Text, q.Messages, q.Tokens, q.MaxTokens = "", q.Text[:0], nil, q.Tokens[:0], 0
}

// A Format is the way one API words requests and answers.
type Format interface {
	// Path to POST to.
	Path() string
	// AppendBody appends the body of a request.
	AppendBody(dst []byte, q *Question) []byte
	// NewAnswer returns a reader, which is used for one answer after the other.
	NewAnswer() Answer
	// Streams says whether answers come in pieces, and of what content type then.
	Streams() (contentType string, yes bool)
}

// An Answer reads the body of one answer after the other.
type Answer interface {
	// Begin gets ready for an answer into r, of which so many tokens were asked.
	Begin(r *Result, maxTokens int)
	// Feed takes bytes of the body and when they were read. It returns false when nothing more is wanted: the answer is
	// complete, or r.Class says what is wrong with it.
	Feed(data []byte, at int64) bool
	// End settles r when the body has ended.
	End()
}

// Class says what kind of failure ended a request.
type Class string

// Classes of failure.
const (
	ClassConnect   Class = "connect"
	ClassTimeout   Class = "timeout"
	ClassStatus    Class = "http_status"
	ClassCut       Class = "stream_cut"
	ClassPayload   Class = "bad_payload"
	ClassServer    Class = "server_error"
	ClassEmpty     Class = "empty_answer"
	ClassCancelled Class = "cancelled"
)

// Result is what one request came to.
type Result struct {
	// Sent is when the request was handed to the transport, before any dial. Connected is when a new connection stood; 0
	// when one was reused.
	Sent, Connected int64
	// First and Last piece with text, reasoning included; FirstAnswer is the first that is not reasoning. 0 when there was
	// none, or the answer was not streamed.
	First, FirstAnswer, Last int64
	// End is when the stream was closed or the body was complete.
	End int64
	// Chunks holds the times of the pieces with text: whole microseconds after First, so the first one is 0.
	Chunks []uint32
	// ChunkTokens holds how many tokens were in each of Chunks, where the server says so in every chunk; else it is empty.
	ChunkTokens []uint16
	// Reasoning says that some of the text was reasoning.
	Reasoning bool
	// SharedReads counts reads that brought more than one piece: a sign of a client that is behind, or of a proxy.
	SharedReads int
	// PromptTokens and OutputTokens, where the counts come from (server or chunks), and how many prompt tokens the server
	// had in its prefix cache.
	PromptTokens, OutputTokens, CachedTokens int
	TokenSource                              string
	// Server holds the server's own timers, where it tells.
	Server ServerTimes
	// Status of HTTP; 0 when no answer came.
	Status int
	// Redials counts new connections made because a kept one was closed by the server just before it was used.
	Redials int
	// Class is empty when the request succeeded. Message says what was seen.
	Class   Class
	Message string
}

// ServerTimes are a server's own timers of one request, in nanoseconds. Queue is what of the total none of the others
// explains.
type ServerTimes struct {
	Queue, Load, Prefill, Decode int64
}

// Sources of token counts.
const (
	TokensFromServer = "server"
	TokensFromChunks = "chunks"
)

// Reset empties the result and keeps its memory.
func (r *Result) Reset() {
	*r = Result{Chunks: r.Chunks[:0], ChunkTokens: r.ChunkTokens[:0]}
}

// Fail notes the class of a failure and what was seen, cut to a readable length. The first failure stays.
func (r *Result) Fail(class Class, format string, args ...any) {
	if r.Class != "" {
		return
	}
	const most = 300
	message := fmt.Sprintf(format, args...)
	if len(message) > most {
		message = message[:most] + "…"
	}
	r.Class, r.Message = class, strings.ToValidUTF8(message, "")
}

// chunk notes a piece with text.
func (r *Result) chunk(at int64, tokens int) {
	if r.First == 0 {
		r.First = at
	}
	// Rounded absolute times: the differences between them add up to the whole.
	r.Chunks = append(r.Chunks, uint32((at-r.First)/1000))
	if tokens > 0 {
		r.ChunkTokens = append(r.ChunkTokens, uint16(min(tokens, 1<<16-1)))
	}
	r.Last = at
}
