package simulate

import (
	"io"
	"time"
)

// The defaults New fills in.
const (
	DefaultModel         = "dummy"
	DefaultTTFT          = 50 * time.Millisecond
	DefaultITL           = 10 * time.Millisecond // 100 tokens a second, a usual reading speed of a good server
	DefaultOutputTokens  = 128
	DefaultMaxModelLen   = 32768
	DefaultShutdownGrace = 3 * time.Second
)

// Config says what the server pretends. The zero value is a server that never fails, has no queue, and sends 128
// tokens, the first after 50 ms and one more each 10 ms.
//
// Durations are in nanoseconds when decoded as JSON; a caller that reads "50ms" converts it.
type Config struct {
	// Model is the one model served; a request for another is answered with 404.
	Model string `json:"model,omitempty"`
	// Aliases are further names that the model may be asked for under; answers and metrics say Model.
	Aliases []string `json:"aliases,omitempty"`
	// MaxModelLen is the context length: a request whose prompt and max_tokens exceed it is answered with 400.
	MaxModelLen int `json:"maxModelLen,omitempty"`

	// TTFT is the time from leaving the queue to the first token. Zero means the default; 1ns means none.
	TTFT time.Duration `json:"ttft,omitempty"`
	// ITL is the time between two tokens. Zero means the default; 1ns means as fast as it goes.
	ITL time.Duration `json:"itl,omitempty"`
	// TTFTDist and ITLDist say how the times spread around their mean: "constant" (the default), "exponential",
	// "normal", "uniform" or "lognormal".
	TTFTDist string `json:"ttftDist,omitempty"`
	ITLDist  string `json:"itlDist,omitempty"`
	// Spread is the standard deviation relative to the mean, for normal, uniform and lognormal.
	Spread float64 `json:"spread,omitempty"`
	// Seed decides every draw: the nth request to arrive gets the same times and the same fault in every run.
	Seed uint64 `json:"seed,omitempty"`

	// Concurrency is how many requests are served at once; others wait in order of arrival. Zero means no limit.
	Concurrency int `json:"concurrency,omitempty"`
	// QueueLimit is how many may wait; one more is answered with 503. Zero means no limit.
	QueueLimit int `json:"queueLimit,omitempty"`
	// Startup is how long /health answers 503 "starting" and requests are refused with 503.
	Startup time.Duration `json:"startup,omitempty"`
	// ShutdownGrace is how long Serve lets open requests finish once its context ended.
	ShutdownGrace time.Duration `json:"shutdownGrace,omitempty"`

	// OutputTokens is the length of an answer where the request gives no max_tokens; its finish_reason is "stop".
	OutputTokens int `json:"outputTokens,omitempty"`
	// ChunkTokens is how many tokens come in one chunk, as with speculative decoding: the first chunk has one token,
	// so that TTFT stays what it is, and every later chunk leaves when its last token is due, so that TPOT does too.
	ChunkTokens int `json:"chunkTokens,omitempty"`
	// WriteChunks is how many chunks leave in one write, as behind a proxy that gathers; the first one goes alone. They
	// leave when the first of them is due, so it is for measuring how fast a client parses. Serve alone does so.
	WriteChunks int `json:"writeChunks,omitempty"`
	// APIKey, when set, must be given as a bearer token on /v1/*.
	APIKey string `json:"apiKey,omitempty"`

	Faults Faults `json:"faults,omitzero"`

	// LogPath is the file the log is appended to; Log is a writer instead of it. Neither means no log.
	LogPath string    `json:"logPath,omitempty"`
	Log     io.Writer `json:"-"`
	// LogChunks adds the time of every chunk to the Records, where a test wants more than the first and the last.
	LogChunks bool `json:"logChunks,omitempty"`

	// OnCrash is called once when Faults.CrashAfter is reached, after the log was flushed; a command exits the
	// process in it, with CrashExitCode. Without it, or when it returns, every connection is closed and Serve
	// returns ErrCrashed.
	OnCrash func() `json:"-"`
}

// Faults says how the server fails. Rates are shares of the requests that leave the queue, drawn with Config.Seed; one
// request has at most one fault, so their sum may not exceed 1. "Half-way" is after half of the tokens, at least one.
// Counts are of requests for tokens, health checks that ask for a token included; zero turns a count off.
type Faults struct {
	// ErrorRate is the share answered with ErrorStatus, 500 by default, without being served.
	ErrorRate   float64 `json:"errorRate,omitempty"`
	ErrorStatus int     `json:"errorStatus,omitempty"`
	// StallRate is the share that stops half-way for Stall, then goes on at the usual pace.
	StallRate float64       `json:"stallRate,omitempty"`
	Stall     time.Duration `json:"stall,omitempty"`
	// CutRate is the share whose connection is closed half-way: the client's read fails.
	CutRate float64 `json:"cutRate,omitempty"`
	// TruncateRate is the share that ends half-way in good HTTP but without [DONE], as some proxies do: only a
	// client that looks for [DONE] notices.
	TruncateRate float64 `json:"truncateRate,omitempty"`
	// StreamErrorRate is the share that gets an error object half-way, after HTTP 200.
	StreamErrorRate float64 `json:"streamErrorRate,omitempty"`
	// EmptyRate is the share that gets a well-formed answer without any content.
	EmptyRate float64 `json:"emptyRate,omitempty"`
	// EarlyStopRate is the share that ends half-way with finish_reason "stop"; ignore_eos and min_tokens prevent it.
	EarlyStopRate float64 `json:"earlyStopRate,omitempty"`
	// HangRate is the share that is never answered.
	HangRate float64 `json:"hangRate,omitempty"`

	// HangAfter lets that many requests be answered; every later one hangs while /health stays 200.
	HangAfter int `json:"hangAfter,omitempty"`
	// CrashAfter crashes the server once that many requests were answered. See Config.OnCrash.
	CrashAfter int `json:"crashAfter,omitempty"`
	// UnhealthyAfter turns /health to 500 once that many requests were answered; requests are still served.
	UnhealthyAfter int `json:"unhealthyAfter,omitempty"`
	// NeverHealthy is a start-up that never ends.
	NeverHealthy bool `json:"neverHealthy,omitempty"`
}

// withDefaults returns c with every unset field at its default.
func (c Config) withDefaults() Config {
	setDefault(&c.Model, DefaultModel)
	setDefault(&c.MaxModelLen, DefaultMaxModelLen)
	setDefault(&c.TTFT, DefaultTTFT)
	setDefault(&c.ITL, DefaultITL)
	setDefault(&c.TTFTDist, distConstant)
	setDefault(&c.ITLDist, distConstant)
	setDefault(&c.ShutdownGrace, DefaultShutdownGrace)
	setDefault(&c.OutputTokens, DefaultOutputTokens)
	setDefault(&c.ChunkTokens, 1)
	setDefault(&c.WriteChunks, 1)
	setDefault(&c.Faults.ErrorStatus, 500)
	return c
}

// setDefault sets *field to value if it is zero.
func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
