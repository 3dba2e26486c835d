package workload

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
	"time"
)

// TraceLine is one request of a trace.
type TraceLine struct {
	// At is when it came, after the trace's first one.
	At time.Duration
	// Input and Output tokens.
	Input, Output int
	// Blocks name the prompt's blocks of TraceBlock tokens: equal names stand for equal text, as in Mooncake's traces.
	Blocks []int64
	// Session keeps requests on one client node, in order; "" for none.
	Session string
	// Prompt is the text itself, where the trace has it.
	Prompt string
}

// TraceBlock is how many tokens one of a trace's hash_ids stands for (Mooncake, FAST'25: blocks of 512 tokens).
const TraceBlock = 512

// Bounds on what a trace may hold.
const (
	maxTraceLines = 5_000_000
	maxTraceLine  = 16 << 20
)

// ReadTrace reads JSON lines with timestamp (milliseconds; or seconds), input_length and output_length, and optionally
// hash_ids, session and prompt. Lines must be in the order of time. Errors name file and line.
func ReadTrace(path string) ([]TraceLine, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the trace: %w", err)
	}
	defer f.Close()
	lines, err := parseTrace(f)
	if err != nil {
		return nil, fmt.Errorf("read the trace: %s:%w", path, err)
	}
	return lines, nil
}

func parseTrace(r io.Reader) ([]TraceLine, error) {
	var lines []TraceLine
	first := 0.0
	err := eachLine(r, func(number int, line []byte) error {
		t, seconds, err := parseTraceLine(line)
		if err != nil {
			return err
		}
		if len(lines) == 0 {
			first = seconds
		}
		if t.At = time.Duration(math.Round((seconds - first) * float64(time.Second))); len(lines) > 0 && t.At < lines[len(lines)-1].At {
			return fmt.Errorf("it is %.3f s earlier than the line before: sort the trace by time", (lines[len(lines)-1].At - t.At).Seconds())
		}
		if len(lines) >= maxTraceLines {
			return fmt.Errorf("a trace holds at most %d requests: cut it", maxTraceLines)
		}
		lines = append(lines, t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, errors.New(" it holds no request")
	}
	return lines, nil
}

func parseTraceLine(line []byte) (TraceLine, float64, error) {
	var in struct {
		Timestamp *float64        `json:"timestamp"`
		Seconds   *float64        `json:"seconds"`
		Input     *int            `json:"input_length"`
		Output    *int            `json:"output_length"`
		Blocks    []int64         `json:"hash_ids"`
		Session   json.RawMessage `json:"session"`
		Prompt    string          `json:"prompt"`
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return TraceLine{}, 0, fmt.Errorf("%w: want a JSON object with timestamp, input_length and output_length", err)
	}
	seconds := 0.0
	switch {
	case in.Timestamp != nil:
		seconds = *in.Timestamp / 1000
	case in.Seconds != nil:
		seconds = *in.Seconds
	default:
		return TraceLine{}, 0, errors.New("it has no timestamp (milliseconds)")
	}
	switch {
	case math.IsNaN(seconds) || math.IsInf(seconds, 0) || seconds < 0 || seconds > 1e9:
		return TraceLine{}, 0, fmt.Errorf("the timestamp is %g s: use milliseconds from 0", seconds)
	case in.Output == nil || *in.Output < 1 || *in.Output > 1<<20:
		return TraceLine{}, 0, errors.New("output_length is missing or not 1 to 1048576")
	case in.Prompt == "" && (in.Input == nil || *in.Input < 1 || *in.Input > 1<<20):
		return TraceLine{}, 0, errors.New("input_length is missing or not 1 to 1048576")
	}
	t := TraceLine{Output: *in.Output, Blocks: in.Blocks, Prompt: in.Prompt}
	if session := string(bytes.Trim(in.Session, `"`)); session != "null" { // as tables that were exported write nothing
		t.Session = session
	}
	if in.Input != nil {
		t.Input = *in.Input
	}
	return t, seconds, nil
}

// eachLine calls do for every line that is not blank, with its number; errors begin with the number.
func eachLine(r io.Reader, do func(number int, line []byte) error) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 64<<10), maxTraceLine)
	n := 0
	for in.Scan() {
		n++
		line := bytes.TrimSpace(in.Bytes())
		if len(line) == 0 {
			continue
		}
		if err := do(n, line); err != nil {
			return fmt.Errorf("%d: %w", n, err)
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("%d: %w", n+1, err)
	}
	return nil
}

// traceSchedule repeats a trace, once.
type traceSchedule struct {
	lines []TraceLine
	speed float64
	k     int64
}

func (s *traceSchedule) Next() (Arrival, bool) {
	if s.k >= int64(len(s.lines)) {
		return Arrival{}, false
	}
	line := &s.lines[s.k]
	s.k++
	return Arrival{K: s.k - 1, At: time.Duration(math.Round(float64(line.At) / s.speed)), Line: line}, true
}

// owner is the rank that sends an arrival: requests are dealt out in turn, sessions stay whole.
func (a *Arrival) owner(ranks int) int {
	if a.Line != nil && a.Line.Session != "" {
		return int(hash64(a.Line.Session) % uint64(ranks))
	}
	return int(a.K % int64(ranks))
}

func hash64(s string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, s) // a hash takes everything
	return h.Sum64()
}
