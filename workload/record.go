package workload

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/protocol"
)

// Record is what is kept of one request. All numbers of a report can be recomputed from the records. Times are
// nanoseconds after the load's beginning (T0), on the lead's clock up to the offset's uncertainty.
type Record struct {
	// K is the request's place in the global sequence.
	K int64 `json:"k"`
	// Server is the name of the replica asked, Node the client node that asked.
	Server string `json:"server"`
	Node   string `json:"node"`
	// Intended start; in a closed loop it equals Sent.
	Intended int64 `json:"i"`
	// CapWait is how long it waited for the concurrency cap.
	CapWait int64 `json:"w,omitempty"`
	// Sent, first and last token, end. Absent ones are 0 with the flags below saying so.
	Sent      int64 `json:"s"`
	Connected int64 `json:"c,omitempty"`
	First     int64 `json:"t1,omitempty"`
	// FirstAnswer is the first token that is not reasoning; kept where there was reasoning.
	FirstAnswer int64 `json:"ta,omitempty"`
	Last        int64 `json:"tn,omitempty"`
	End         int64 `json:"e"`
	// Gaps between successive chunks, in microseconds: differences of rounded times, so their sum is exact to a microsecond.
	Gaps Numbers `json:"g,omitempty"`
	// ChunkTokens is how many tokens each chunk held, the first included, where the server said so in each and not all held
	// one.
	ChunkTokens Numbers `json:"kt,omitempty"`
	// Streamed: First, Last and Gaps mean something.
	Streamed bool `json:"st,omitempty"`
	// PromptTokens, OutputTokens, where the counts come from, how many were asked for, and how many prompt tokens the server
	// had in its prefix cache.
	PromptTokens int    `json:"p,omitempty"`
	OutputTokens int    `json:"n,omitempty"`
	Source       string `json:"src,omitempty"`
	Target       int    `json:"t,omitempty"`
	Cached       int    `json:"pc,omitempty"`
	// SharedReads counts reads that brought more than one chunk; Redials new connections for one that was closed while it was
	// kept; Retries how often the request was sent again after a failure.
	SharedReads int   `json:"sr,omitempty"`
	Redials     int   `json:"rd,omitempty"`
	Retries     int32 `json:"rt,omitempty"`
	// ServerQueue, ServerLoad, ServerPrefill and ServerDecode are the server's own timers, where it tells (Ollama).
	ServerQueue   int64 `json:"sq,omitempty"`
	ServerLoad    int64 `json:"sl,omitempty"`
	ServerPrefill int64 `json:"sp,omitempty"`
	ServerDecode  int64 `json:"sd,omitempty"`
	// Class of the failure, empty for a success. `dropped` was never sent.
	Class   string `json:"err,omitempty"`
	Message string `json:"msg,omitempty"`
	Status  int    `json:"http,omitempty"`
}

// Finish is when the answer was complete for its reader.
func (r *Record) Finish() int64 {
	if r.Streamed {
		return r.Last
	}
	return r.End
}

// CountedByServer is the Source of counts that the server told.
const CountedByServer = protocol.TokensFromServer

// ClassDropped marks an arrival that was never sent: it waited for the cap until its time was over, or the client was so
// late that sending it would have been a burst that nobody asked for.
const ClassDropped = "dropped"

// Numbers is a list of small counts.
type Numbers []uint32

// UnmarshalJSON reads a plain array of whole numbers, without the detour that encoding/json takes for each.
func (n *Numbers) UnmarshalJSON(data []byte) error {
	*n = (*n)[:0]
	v, digits := uint64(0), false
	for _, c := range data {
		switch {
		case c >= '0' && c <= '9':
			if v, digits = v*10+uint64(c-'0'), true; v > math.MaxUint32 {
				return fmt.Errorf("a number over %d", uint32(math.MaxUint32))
			}
		case c == ',' || c == ']':
			if digits {
				*n = append(*n, uint32(v))
			}
			v, digits = 0, false
		case c == '[' || c == ' ':
		default:
			return fmt.Errorf("%q where whole numbers stand", c)
		}
	}
	return nil
}

// Header is the first line of a records file: what a reader needs to make sense of the rest.
type Header struct {
	Format  string `json:"format"` // benchd-records-2
	Run     string `json:"run"`
	Attempt int32  `json:"attempt"`
	Node    string `json:"node"`
	Rank    int    `json:"rank"`
	Ranks   int    `json:"ranks"`
	Seed    int64  `json:"seed"`
	// Warmup, Duration of the measured window, nanoseconds.
	Warmup   int64 `json:"warmup"`
	Duration int64 `json:"duration"`
	// Pattern of the load.
	Pattern string `json:"pattern,omitempty"`
	// OfferedRate of the whole load over the measured window, 0 in a closed loop; Concurrency of all clients in a closed loop.
	OfferedRate float64 `json:"offeredRate,omitempty"`
	Concurrency int64   `json:"concurrency,omitempty"`
	// Drawn is how many arrivals of the whole load fall into the measured window, as drawn; 0 in a closed loop.
	Drawn int64 `json:"drawn,omitempty"`
	// MaxConcurrency is the cap on requests in flight, 0 for none.
	MaxConcurrency int64 `json:"maxConcurrency,omitempty"`
	Streaming      bool  `json:"streaming"`
	// Extensions of the API were sent: answers were to have the length asked for.
	Extensions bool `json:"extensions,omitempty"`
	// PromptCount says how the prompts' tokens were counted: words, server, file, ids or dataset.
	PromptCount string `json:"promptCount,omitempty"`
	// ClockUncertainty of this node's times against the lead's.
	ClockUncertainty int64 `json:"clockUncertainty"`
	// SLO limits in nanoseconds, 0 for none.
	TTFT int64 `json:"sloTTFT,omitempty"`
	TPOT int64 `json:"sloTPOT,omitempty"`
	E2E  int64 `json:"sloE2E,omitempty"`
}

// Format of records files.
const Format = "benchd-records-2"

// Done seals a stream file: what a complete one holds.
type Done struct {
	Records int64  `json:"records"`
	Bytes   int64  `json:"bytes"`
	SHA256  string `json:"sha256"`
}

// Trailer is the last line of a complete records file.
type Trailer struct {
	// Node that wrote the file.
	Node string `json:"trailer"`
	// SendEnded is when the last request was sent or given up; Ended when the last one had ended.
	SendEnded int64 `json:"sendEnded"`
	Ended     int64 `json:"ended"`
	// Bound says what ended sending before the time was over: requests, trace, errorBudget or stopped; empty when the time did.
	Bound string `json:"bound,omitempty"`
	// CPUSeconds the client process used over the load, and the CPUs it may use.
	CPUSeconds float64 `json:"cpuSeconds"`
	CPUs       int     `json:"cpus,omitempty"`
	// PeakCPU is the largest share of its CPUs that the process used in any 5 s; PeakThread the largest share of one CPU that
	// a thread of the load engine used. The engine is as fast as its threads.
	PeakCPU    float64 `json:"peakCPU,omitempty"`
	PeakThread float64 `json:"peakThread,omitempty"`
	// Servers holds what servers told of themselves over the measured window, by their names.
	Servers map[string]ServerView `json:"servers,omitempty"`
}

// What ended sending early.
const (
	BoundRequests    = "requests"
	BoundTrace       = "trace"
	BoundErrorBudget = node.BoundErrorBudget
	BoundStopped     = "stopped"
)

// ServerView is what a server told of itself over the measured window: the growth of its own sums, in seconds.
type ServerView struct {
	// Source of the numbers: the metrics endpoint's family, such as vllm.
	Source string `json:"source"`
	// Queue, Prefill and Decode are times of requests; TTFT and E2E the same as the client's, seen by the server.
	Queue   ServerTime `json:"queue"`
	Prefill ServerTime `json:"prefill"`
	Decode  ServerTime `json:"decode"`
	TTFT    ServerTime `json:"ttft"`
	E2E     ServerTime `json:"e2e"`
	// Restarted: its process began anew within the load, or its counters fell.
	Restarted bool `json:"restarted,omitempty"`
}

// ServerTime is the growth of a sum of seconds and of its count.
type ServerTime struct {
	Sum   float64 `json:"sum"`
	Count float64 `json:"count"`
}

// append appends the record as a line of JSON: what encoding/json would write, without what it allocates.
func (r *Record) append(dst []byte) []byte {
	number := func(name string, v int64) {
		if v != 0 {
			dst = append(dst, name...)
			dst = strconv.AppendInt(dst, v, 10)
		}
	}
	list := func(name string, v Numbers) {
		if len(v) == 0 {
			return
		}
		dst = append(dst, name...)
		for i, n := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(dst, uint64(n), 10)
		}
		dst = append(dst, ']')
	}
	text := func(name, v string) {
		if v != "" {
			dst = append(dst, name...)
			dst = appendJSONString(dst, v)
		}
	}
	dst = append(dst, `{"k":`...)
	dst = strconv.AppendInt(dst, r.K, 10)
	dst = append(dst, `,"server":`...)
	dst = appendJSONString(dst, r.Server)
	dst = append(dst, `,"node":`...)
	dst = appendJSONString(dst, r.Node)
	dst = append(dst, `,"i":`...)
	dst = strconv.AppendInt(dst, r.Intended, 10)
	number(`,"w":`, r.CapWait)
	dst = append(dst, `,"s":`...)
	dst = strconv.AppendInt(dst, r.Sent, 10)
	number(`,"c":`, r.Connected)
	number(`,"t1":`, r.First)
	number(`,"ta":`, r.FirstAnswer)
	number(`,"tn":`, r.Last)
	dst = append(dst, `,"e":`...)
	dst = strconv.AppendInt(dst, r.End, 10)
	list(`,"g":[`, r.Gaps)
	list(`,"kt":[`, r.ChunkTokens)
	if r.Streamed {
		dst = append(dst, `,"st":true`...)
	}
	number(`,"p":`, int64(r.PromptTokens))
	number(`,"n":`, int64(r.OutputTokens))
	text(`,"src":`, r.Source)
	number(`,"t":`, int64(r.Target))
	number(`,"pc":`, int64(r.Cached))
	number(`,"sr":`, int64(r.SharedReads))
	number(`,"rd":`, int64(r.Redials))
	number(`,"rt":`, int64(r.Retries))
	number(`,"sq":`, r.ServerQueue)
	number(`,"sl":`, r.ServerLoad)
	number(`,"sp":`, r.ServerPrefill)
	number(`,"sd":`, r.ServerDecode)
	text(`,"err":`, r.Class)
	text(`,"msg":`, r.Message)
	number(`,"http":`, int64(r.Status))
	return append(dst, '}', '\n')
}

// appendJSONString appends s as a JSON string; names and classes need no escape, messages may.
func appendJSONString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, err := json.Marshal(s)
			if err != nil {
				quoted = []byte(`""`) // a string always marshals
			}
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// DonePath is the file that seals a stream.
func DonePath(path string) string { return path + ".done.json" }

// Visitor takes what a records stream holds, in order. A Record is only good until the next one.
type Visitor struct {
	Header  func(Header) error
	Record  func(*Record) error
	Trailer func(Trailer) error
}

// ReadRecords reads a stream of one or more records files, one after the other. A last line cut short, as a kill leaves
// it, ends the reading without an error.
func ReadRecords(r io.Reader, v Visitor) error {
	in := bufio.NewReaderSize(r, 1<<20)
	var rec Record
	for n := 1; ; n++ {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = v.line(line, &rec)
		}
		if err != nil {
			return fmt.Errorf("read records: line %d: %w", n, err)
		}
	}
}

// maxRecord bounds a line of records: a request of a million tokens takes some eight megabytes.
const maxRecord = 64 << 20

// readLine reads a line with its end; io.EOF for one without.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if line == nil && err == nil {
			return part, nil
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
		if len(line) > maxRecord {
			return nil, fmt.Errorf("a line of over %d bytes", maxRecord)
		}
	}
}

func (v Visitor) line(line []byte, rec *Record) error {
	switch {
	case bytes.HasPrefix(line, []byte(`{"format":`)):
		var h Header
		if err := json.Unmarshal(line, &h); err != nil {
			return err
		}
		if h.Format != Format && h.Format != formatOne {
			return fmt.Errorf("format %q is not %q, which this benchd reads", h.Format, Format)
		}
		return v.Header(h)
	case bytes.HasPrefix(line, []byte(`{"trailer":`)):
		var t Trailer
		if err := json.Unmarshal(line, &t); err != nil {
			return err
		}
		return v.Trailer(t)
	}
	*rec = Record{Gaps: rec.Gaps[:0], ChunkTokens: rec.ChunkTokens[:0]}
	if err := json.Unmarshal(line, rec); err != nil {
		return err
	}
	return v.Record(rec)
}

// formatOne is the format before: this one without its newer fields.
const formatOne = "benchd-records-1"
