package logs

import (
	"errors"
	"fmt"
	"math"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Window is what a run of a job is shown of the logs: the start-up, which is every run's, and the time of its own.
type Window struct {
	Startup, From, To time.Time
	// Ahead is how far nodes' clocks are before that of the times above, by which lines are told; less than none of those that are behind.
	Ahead map[string]time.Duration
}

func (w Window) nanos() window { return window{nanos(w.Startup), nanos(w.From), nanos(w.To)} }

// Merge brings the raw logs under root (NODE/COMPONENT-CONTAINER.log) together in the order of time, as far as they are of the
// window. Stdout takes every line, Stderr those of standard error alone. What lies between start-up and the run's own time
// is not read: its beginning is looked for by halves, so a run costs the same however many went before it.
//
// The files get their names once they are whole. Rules that lines match are found on the way; a nil finder finds nothing.
func Merge(root string, w Window, outputs Outputs, found *Finder) (sum api.LogSummary, err error) {
	m := newMerger(root, w)
	defer m.close()
	if err := m.look(); err != nil {
		return sum, fmt.Errorf("merge logs: %w", err)
	}
	var out writers
	defer func() {
		if closeErr := out.close(err != nil); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("merge logs: %w", closeErr))
		}
	}()
	if err := out.open(outputs, false); err != nil {
		return sum, fmt.Errorf("merge logs: %w", err)
	}
	err = m.round(m.window.to, func(r *reader) error {
		level := LevelOf(r.text)
		r.counts.add(r, level)
		if found != nil {
			found.look(r)
		}
		return out.write(r, level)
	})
	if err = errors.Join(err, m.problem()); err != nil {
		return sum, fmt.Errorf("merge logs: %w", err)
	}
	sum = m.summary()
	sum.Bytes, sum.Files = out.bytes(), int32(len(out.outputs))
	return sum, nil
}

// merger reads raw logs in the order of time, in rounds. Between two rounds logs may grow, be replaced, and come into being.
type merger struct {
	root    string
	window  window
	ahead   map[string]time.Duration
	readers []*reader
	known   map[Source]bool
	queue   []*reader
}

func newMerger(root string, w Window) *merger {
	return &merger{root: root, window: w.nanos(), ahead: w.Ahead, known: map[Source]bool{}}
}

// look finds the raw logs that have come into being.
func (m *merger) look() error {
	sources, err := Sources(m.root)
	if err != nil {
		return err
	}
	for _, s := range sources {
		if !m.known[s] {
			m.known[s] = true
			m.readers = append(m.readers, newReader(m.root, s, m.window, m.ahead[s.Node]))
		}
	}
	return nil
}

// round hands on, in the order of time, the lines that are there and not after the given time. The others wait for a later
// round: so lines of nodes whose files are seen late come in their order, if not later than the time is behind.
func (m *merger) round(until int64, each func(*reader) error) error {
	m.queue = m.queue[:0]
	for _, r := range m.readers {
		if !r.pending {
			r.pending = r.ready() && r.next()
		}
		if r.pending {
			m.queue = append(m.queue, r)
		}
	}
	for i := len(m.queue)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
	for len(m.queue) > 0 && m.queue[0].at <= until {
		r := m.queue[0]
		if err := each(r); err != nil {
			return err
		}
		if r.pending = r.next(); !r.pending {
			last := len(m.queue) - 1
			m.queue[0] = m.queue[last]
			m.queue = m.queue[:last]
		}
		m.sink(0)
	}
	return nil
}

// sink restores the heap's order below i: the earliest line comes first, and of the same instant the one of the first node.
func (m *merger) sink(i int) {
	for {
		least, left := i, 2*i+1
		for child := left; child <= left+1 && child < len(m.queue); child++ {
			if m.queue[child].before(m.queue[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		m.queue[i], m.queue[least] = m.queue[least], m.queue[i]
		i = least
	}
}

func (r *reader) before(other *reader) bool {
	if r.at != other.at {
		return r.at < other.at
	}
	if r.Node != other.Node {
		return r.Node < other.Node
	}
	return r.path < other.path
}

// problem is why some logs cannot be read; nil when all could be.
func (m *merger) problem() error {
	var errs []error
	for _, r := range m.readers {
		errs = append(errs, r.err)
	}
	return errors.Join(errs...)
}

func (m *merger) close() {
	for _, r := range m.readers {
		r.close()
	}
}

// counts are what a summary is made of, per source.
type counts struct {
	stderr      int64
	levels      [levels]int64
	first, last int64
}

func (c *counts) add(r *reader, level Level) {
	if c.total() == 0 {
		c.first = r.at
	}
	c.last = r.at
	c.levels[level]++
	if r.stderr {
		c.stderr++
	}
}

func (c *counts) total() (sum int64) {
	for _, n := range c.levels {
		sum += n
	}
	return sum
}

// summary adds up what the sources have counted. Every node that has a log is in it.
func (m *merger) summary() api.LogSummary {
	sum := api.LogSummary{Nodes: map[string]int64{}, Components: map[string]int64{}, Levels: map[string]int64{}}
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for _, r := range m.readers {
		n := r.counts.total()
		sum.Nodes[r.Node] += n
		if n == 0 {
			continue
		}
		sum.Lines += n
		sum.StderrLines += r.counts.stderr
		sum.Components[r.Component] += n
		for level, n := range r.counts.levels {
			if n > 0 && Level(level) != LevelNone {
				sum.Levels[Level(level).String()] += n
			}
		}
		first, last = min(first, r.counts.first), max(last, r.counts.last)
	}
	if sum.Lines > 0 {
		sum.Duration = metav1.Duration{Duration: time.Duration(last - first)}
	}
	return sum
}
