package simulate

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// The values of "event", the first member of every line of the log.
const (
	eventStart   = "start"
	eventRequest = "request"
)

// An Outcome is how a request ended, seen from the server.
type Outcome string

// The outcomes. A fault that was injected as planned is an answer; Record.Fault tells it from a good one.
const (
	OutcomeAnswered  Outcome = "answered"
	OutcomeRefused   Outcome = "refused"   // 4xx, a full queue, or not started yet
	OutcomeCancelled Outcome = "cancelled" // the client went away first
	OutcomeStopped   Outcome = "stopped"   // the server stopped or crashed first
)

// A Start is the first line of a log and ties the server's clock to the wall clock. A restarted server that appends
// to the same file writes another.
type Start struct {
	Event    string    `json:"event"`
	Wall     time.Time `json:"wall"`       // when the server's clock was 0
	WallUnix int64     `json:"wallUnixNs"` // the same
	Model    string    `json:"model"`
	Seed     uint64    `json:"seed"`
}

// A Record is the truth about one request for tokens, written when it ended. Times are nanoseconds on the server's
// monotonic clock, which was 0 at Start.Wall. A time is taken just before the write it stands for, so a client of the
// same clock never sees a token earlier than its record; a stage that was not reached is 0.
type Record struct {
	Event   string  `json:"event"`
	ID      string  `json:"id"`  // the request's X-Request-Id, or Seq
	Seq     uint64  `json:"seq"` // order of arrival, from 1
	Path    string  `json:"path"`
	Stream  bool    `json:"stream"`
	Status  int     `json:"status"` // 0 if nothing was answered
	Outcome Outcome `json:"outcome"`
	Fault   Fault   `json:"fault,omitempty"`
	Error   string  `json:"error,omitempty"` // why it was refused

	Arrival    time.Duration `json:"arrivalNs"`
	Queue      time.Duration `json:"queueNs"`      // spent waiting for Config.Concurrency
	Dequeued   time.Duration `json:"dequeuedNs"`   // or given up, if the outcome is not answered
	FirstToken time.Duration `json:"firstTokenNs"` // in one piece: when that was sent
	LastToken  time.Duration `json:"lastTokenNs"`
	End        time.Duration `json:"endNs"`
	// MaxLate is by how much the latest chunk left after it was due: the server's own error.
	MaxLate time.Duration `json:"maxLateNs"`

	PromptTokens int    `json:"promptTokens"`
	TargetTokens int    `json:"targetTokens"` // asked for, over all prompts
	OutputTokens int    `json:"outputTokens"` // sent
	Chunks       int    `json:"chunks"`       // sent with tokens in them
	FinishReason string `json:"finishReason,omitempty"`
	// ChunkTimes is there if Config.LogChunks is set.
	ChunkTimes []ChunkTime `json:"chunkTimes,omitempty"`
}

// A ChunkTime says when a chunk was sent and how many tokens were in it.
type ChunkTime struct {
	At     time.Duration `json:"atNs"`
	Tokens int           `json:"tokens"`
}

// A Log is what one life of a server left behind.
type Log struct {
	Start    Start
	Requests []Record // in the order in which they ended
}

// ReadLog reads a log, with one Log for each life of the server. A last line without its end, as a killed process
// leaves it, is dropped.
func ReadLog(r io.Reader) ([]Log, error) {
	var logs []Log
	in := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return logs, nil
		}
		if err != nil {
			return logs, fmt.Errorf("read line %d of the simulated server's log: %w", n, err)
		}
		if logs, err = appendLine(logs, line); err != nil {
			return logs, fmt.Errorf("read line %d of the simulated server's log: %w", n, err)
		}
	}
}

// appendLine adds one line to the log it belongs to.
func appendLine(logs []Log, line []byte) ([]Log, error) {
	var kind struct {
		Event string `json:"event"`
	}
	if err := json.Unmarshal(line, &kind); err != nil {
		return logs, err
	}
	switch {
	case kind.Event == eventStart:
		var s Start
		err := json.Unmarshal(line, &s)
		return append(logs, Log{Start: s}), err
	case kind.Event == eventRequest && len(logs) > 0:
		var rec Record
		err := json.Unmarshal(line, &rec)
		last := &logs[len(logs)-1]
		last.Requests = append(last.Requests, rec)
		return logs, err
	case kind.Event == eventRequest:
		return logs, errors.New("a request before the first start line; give the log from its beginning")
	default:
		return logs, fmt.Errorf("event %q is neither start nor request; is this a log of package simulate?", kind.Event)
	}
}
