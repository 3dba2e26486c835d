package workload

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"time"

	"github.com/benchd/benchd/api/node"
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
	Last      int64 `json:"tn,omitempty"`
	End       int64 `json:"e"`
	// Gaps between successive chunks, in microseconds.
	Gaps []int64 `json:"g,omitempty"`
	// Streamed: First, Last and Gaps mean something.
	Streamed bool `json:"st,omitempty"`
	// PromptTokens, OutputTokens, where the counts come from, and how many were asked for.
	PromptTokens int    `json:"p,omitempty"`
	OutputTokens int    `json:"n,omitempty"`
	Source       string `json:"src,omitempty"`
	Target       int    `json:"t,omitempty"`
	// Class of the failure, empty for a success. `dropped` was never sent.
	Class   string `json:"err,omitempty"`
	Message string `json:"msg,omitempty"`
	Status  int    `json:"http,omitempty"`
}

// ClassDropped marks an arrival that was never sent: it still waited for the cap when sending ended.
const ClassDropped = "dropped"

// Header is the first line of a records file: what a reader needs to make sense of the rest.
type Header struct {
	Format  string `json:"format"` // benchd-records-1
	Run     string `json:"run"`
	Attempt int32  `json:"attempt"`
	Node    string `json:"node"`
	Rank    int    `json:"rank"`
	Ranks   int    `json:"ranks"`
	Seed    int64  `json:"seed"`
	// Warmup, Duration of the measured window, nanoseconds.
	Warmup   int64 `json:"warmup"`
	Duration int64 `json:"duration"`
	// OfferedRate of the whole load, 0 in a closed loop; Concurrency of all clients in a closed loop.
	OfferedRate float64 `json:"offeredRate,omitempty"`
	Concurrency int64   `json:"concurrency,omitempty"`
	Streaming   bool    `json:"streaming"`
	// ClockUncertainty of this node's times against the lead's.
	ClockUncertainty int64 `json:"clockUncertainty"`
	// SLO limits in nanoseconds, 0 for none.
	TTFT int64 `json:"sloTTFT,omitempty"`
	TPOT int64 `json:"sloTPOT,omitempty"`
	E2E  int64 `json:"sloE2E,omitempty"`
}

// Format of records files.
const Format = "benchd-records-1"

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
	// CPUSeconds the client process used over the load.
	CPUSeconds float64 `json:"cpuSeconds"`
}

// Writer appends records to a stream file. Each record is one write, so that all of them are there when the process is
// killed.
type Writer struct {
	mu      sync.Mutex
	file    *os.File
	hash    hash.Hash
	records int64
	bytes   int64
	err     error
}

// CreateRecords makes the stream file and writes its header. An attempt's file exists only once: one that is there is
// an error, for two writers would mix two executions.
func CreateRecords(path string, header Header) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create records: %w", err)
	}
	w := &Writer{file: f, hash: sha256.New()}
	if err := w.line(header); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

func (w *Writer) line(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	data = append(data, '\n')
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	n, err := w.file.Write(data)
	w.bytes += int64(n)
	_, _ = w.hash.Write(data[:n]) // a hash takes everything
	if err != nil {
		w.err = fmt.Errorf("write records: %w", err)
	}
	return w.err
}

// Add appends one record. The first error stays: a run whose records are not complete has failed.
func (w *Writer) Add(r *Record) error {
	if err := w.line(r); err != nil {
		return err
	}
	w.mu.Lock()
	w.records++
	w.mu.Unlock()
	return nil
}

// Close writes the trailer, syncs the file and seals it with path.done.json. After a failed write it only closes the
// file and returns that first error.
func (w *Writer) Close(trailer Trailer) error {
	if err := w.line(trailer); err != nil {
		_ = w.file.Close() // the file is of no use any more
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	done := Done{Records: w.records, Bytes: w.bytes, SHA256: hex.EncodeToString(w.hash.Sum(nil))}
	path := w.file.Name()
	if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
		return fmt.Errorf("finish records %s: %w", path, err)
	}
	return node.WriteSealed(DonePath(path), done)
}

// DonePath is the file that seals a stream.
func DonePath(path string) string { return path + ".done.json" }

// Visitor takes what a records stream holds, in order.
type Visitor struct {
	Header  func(Header) error
	Record  func(*Record) error
	Trailer func(Trailer) error
}

// ReadRecords reads a stream of one or more records files, one after the other. A last line cut short, as a kill leaves
// it, ends the reading without an error.
func ReadRecords(r io.Reader, v Visitor) error {
	in := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = v.line(line)
		}
		if err != nil {
			return fmt.Errorf("read records: line %d: %w", n, err)
		}
	}
}

func (v Visitor) line(line []byte) error {
	switch {
	case bytes.HasPrefix(line, []byte(`{"format":`)):
		var h Header
		if err := json.Unmarshal(line, &h); err != nil {
			return err
		}
		if h.Format != Format {
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
	var rec Record
	if err := json.Unmarshal(line, &rec); err != nil {
		return err
	}
	return v.Record(&rec)
}

func sinceNanos(t0, t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return int64(t.Sub(t0))
}
