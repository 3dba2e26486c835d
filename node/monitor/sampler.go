// Package monitor samples what a node's resources do: CPU, memory, disks and network of the whole node, its processes by
// role, GPUs, and what servers tell of themselves. A sample is taken at absolute ticks, kept in memory, and written as a row of
// a CSV stream that is readable while it is written; Prometheus' text shows the last one, and a Pushgateway can be given it.
package monitor

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"
	"sync"
	"time"
)

// Source gives some of a node's metrics. A further one is a file here, or anywhere, with a type of this interface, and a place in the
// list that the agent hands to its Sampler.
type Source interface {
	// Metrics says what is given, in the order of Read's values; always the same.
	Metrics() []Metric
	// Read puts what is known now; what it leaves as it finds it (NaN) is not known. It is called by one goroutine at a time. One that
	// takes longer than a tick costs that tick its values, and keeps no other source from being read.
	Read(ctx context.Context, values []float64)
	// Close frees what the source holds.
	Close() error
}

// Sampler takes a sample per interval.
type Sampler struct {
	// Node is the name in every row.
	Node string
	// Path of the CSV file; it is appended to.
	Path string
	// Interval between two samples.
	Interval time.Duration
	// Log gets what goes wrong once sampling has begun.
	Log *slog.Logger

	// now is the wall clock, wait waits for a time on it.
	now     func() time.Time
	wait    func(context.Context, time.Time) error
	readers []*reader
	metrics []Metric

	mu     sync.Mutex // of what follows
	values []float64  // the last sample, NaN for what is not known
}

// NewSampler makes a Sampler of these sources, and of the metric that tells of its own gaps.
func NewSampler(node, path string, interval time.Duration, log *slog.Logger, sources ...Source) *Sampler {
	s := &Sampler{Node: node, Path: path, Interval: interval, Log: log, now: time.Now, wait: sleepUntil}
	for _, source := range sources {
		r := newReader(source)
		s.readers = append(s.readers, r)
		s.metrics = append(s.metrics, r.metrics...)
	}
	s.metrics = append(s.metrics, gapMetric)
	return s
}

var gapMetric = Metric{FamilyNode, "", "sample_gap_seconds_total", "Seconds that no sample stands for, as the sampler came too late."}

// Skew has the sampler go by a clock that is ahead of the node's, in tests of nodes whose clocks differ.
func (s *Sampler) Skew(ahead time.Duration) {
	s.now = func() time.Time { return time.Now().Add(ahead) }
	s.wait = func(ctx context.Context, t time.Time) error { return sleepUntil(ctx, t.Add(-ahead)) }
}

// Run samples until ctx ends. Ticks are whole multiples of the interval on the wall clock, so that nodes are sampled at the same times.
// A tick that came too late is left out, never made up for: the row after it tells of the gap.
func (s *Sampler) Run(ctx context.Context) (err error) {
	for _, r := range s.readers {
		go r.run()
	}
	defer func() {
		s.show(nil) // an old sample would look alive for ever
		for _, r := range s.readers {
			err = errors.Join(err, r.close())
		}
		if err != nil {
			err = fmt.Errorf("sample node %s: %w", s.Node, err)
		}
	}()
	f, err := os.OpenFile(s.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	out := csv.NewWriter(f)
	if err := s.begin(f, out); err != nil {
		return err
	}
	gaps := 0.0
	next := s.after(s.now())
	for {
		if s.wait(ctx, next) != nil {
			return nil
		}
		now := s.now()
		if late := now.Sub(next) / s.Interval; late > 0 { // woken too late, such as after the machine slept
			next = next.Add(late * s.Interval)
			gaps += (late * s.Interval).Seconds()
		}
		values := s.read(ctx, time.Now().Add(s.Interval*4/5-max(0, now.Sub(next))), gaps)
		if ctx.Err() != nil {
			return nil // cut off in the middle: half a sample tells wrong things
		}
		if err := s.write(out, now, values); err != nil {
			return err
		}
		if next = next.Add(s.Interval); next.Sub(now) > 2*s.Interval { // the clock was set back: not to be waited for until it is where it was
			next = s.after(now)
		}
	}
}

// after is the first tick after a time.
func (s *Sampler) after(t time.Time) time.Time { return t.Truncate(s.Interval).Add(s.Interval) }

// begin writes the header, unless the file has it: a second life goes on where the first one ended.
func (s *Sampler) begin(f *os.File, out *csv.Writer) error {
	names := header(s.metrics)
	if had, err := csv.NewReader(f).Read(); err == nil && strings.Join(had, ",") == strings.Join(names, ",") {
		return nil
	} else if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s holds something else than samples: %w", s.Path, err)
	}
	if err := out.Write(names); err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

// read asks all sources, and waits for those that answer in time.
func (s *Sampler) read(ctx context.Context, deadline time.Time, gaps float64) []float64 {
	values := make([]float64, 0, len(s.metrics))
	for _, r := range s.readers {
		r.ask(ctx)
	}
	for _, r := range s.readers {
		values = append(values, r.answer(deadline)...)
	}
	values = append(values, gaps)
	s.show(values)
	return values
}

// show makes a sample the last one.
func (s *Sampler) show(values []float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values = values
}

// write is one system call: a reader never sees half a row.
func (s *Sampler) write(out *csv.Writer, at time.Time, values []float64) error {
	row := make([]string, 0, len(values)+2)
	row = append(row, stamp(at), s.Node)
	for _, v := range values {
		row = append(row, number(v))
	}
	if err := out.Write(row); err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

// stamp is a time as a row has it.
func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

func sleepUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reader reads a source in a goroutine of its own: a driver that hangs takes nothing with it but its own values.
type reader struct {
	source  Source
	metrics []Metric
	asks    chan context.Context
	answers chan []float64
	unknown []float64
	waiting bool // for an answer
}

func newReader(source Source) *reader {
	r := &reader{source: source, metrics: source.Metrics(), asks: make(chan context.Context), answers: make(chan []float64, 1)}
	r.unknown = nothing(len(r.metrics))
	return r
}

// nothing is values none of which is known.
func nothing(n int) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = math.NaN()
	}
	return values
}

func (r *reader) run() {
	for ctx := range r.asks {
		values := nothing(len(r.metrics))
		r.source.Read(ctx, values)
		r.answers <- values
	}
	close(r.answers)
}

// ask has the source read, unless it is busy still.
func (r *reader) ask(ctx context.Context) {
	if r.waiting {
		select {
		case <-r.answers: // too late
		default:
			return
		}
	}
	r.waiting = true
	r.asks <- ctx
}

// answer waits for the values until the deadline; one that is there already counts however late it is.
func (r *reader) answer(deadline time.Time) []float64 {
	select {
	case values := <-r.answers:
		r.waiting = false
		return values
	default:
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case values := <-r.answers:
		r.waiting = false
		return values
	case <-timer.C:
		return r.unknown
	}
}

// closeTimeout is how long a source that hangs is waited for.
const closeTimeout = 2 * time.Second

// close ends the reading and frees the source. Either may hang with a driver: it is then left behind.
func (r *reader) close() error {
	close(r.asks)
	closed := make(chan error, 1)
	go func() {
		for range r.answers { // until nothing is read any more: what is in use must not be freed
		}
		closed <- r.source.Close()
	}()
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case err := <-closed:
		return err
	case <-timer.C:
		return nil
	}
}
