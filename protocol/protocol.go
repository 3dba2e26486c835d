// Package protocol speaks to inference servers and tells exactly when what arrived.
//
// A Client sends one request and fills a Result. Time stamps are taken when bytes come out of the socket, before they
// are looked at. Nothing is retried: a failure is a Result with an error class.
package protocol

import (
	"context"
	"strings"
	"time"
)

// Request is one question to a server.
type Request struct {
	// ID goes along as X-Request-Id, so that a server's own log can be compared.
	ID string
	// Prompt in words.
	Prompt string
	// MaxTokens asked of the answer.
	MaxTokens int
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

// Result is what one request came to. Times are on the monotonic clock.
type Result struct {
	// Sent is when the request was handed to the transport, before any dial.
	Sent time.Time
	// Connected is when a new connection stood; zero when one was reused.
	Connected time.Time
	// First and Last delta with content; zero when there was none or the answer was not streamed.
	First, Last time.Time
	// End is when the stream was closed or the body was complete.
	End time.Time
	// Gaps between successive chunks with content.
	Gaps []time.Duration
	// PromptTokens and OutputTokens, and where the counts come from: server or chunks.
	PromptTokens, OutputTokens int
	TokenSource                string
	// Status of HTTP; 0 when no answer came.
	Status int
	// Class is empty when the request succeeded. Message says what was seen.
	Class   Class
	Message string
}

// Sources of token counts.
const (
	TokensFromServer = "server"
	TokensFromChunks = "chunks"
)

// Client sends requests to one server. It is safe for concurrent use.
type Client interface {
	// Do sends one request and returns what became of it.
	Do(ctx context.Context, req Request) Result
	// Close frees idle connections.
	Close()
}

func (r *Result) fail(class Class, message string) {
	const most = 300
	if len(message) > most {
		message = message[:most] + "…"
	}
	r.Class, r.Message = class, strings.ToValidUTF8(message, "")
}
