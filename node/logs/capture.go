// Package logs takes the output of processes line by line with the time of each line (capture), and brings the lines of
// all nodes together in the order of time (merge).
package logs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Source is where lines come from: the name of a raw log file is COMPONENT-CONTAINER.log.
type Source struct {
	// Component is server, client or monitor.
	Component string
	// Container is the process's name.
	Container string
}

// File is the raw log's name in its node's folder.
func (s Source) File() string { return s.Component + "-" + s.Container + ".log" }

// maxLineBytes bounds one line; a longer one is split.
const maxLineBytes = 64 << 10

// keptLines is how many of the last lines a Capture remembers as evidence, keptBytes how much of each: evidence stands in messages,
// and a progress bar is a line without an end.
const (
	keptLines = 20
	keptBytes = 500
)

// Capture appends the lines of a process's two outputs to one raw log: `TIME out|err LINE`. It is a stream file: each
// line is one write.
type Capture struct {
	mask *strings.Replacer

	mu      sync.Mutex
	file    *os.File
	last    []string
	awaited map[string]chan struct{}
	streams []chan struct{} // closed once a stream has been read to its end
	wg      sync.WaitGroup
}

// NewCapture opens the raw log for appending. Secrets that a program prints are masked.
func NewCapture(path string, secrets ...string) (*Capture, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("capture output: %w", err)
	}
	return &Capture{file: f, mask: Mask(secrets...), awaited: map[string]chan struct{}{}}, nil
}

// Mask replaces secrets by stars; ones of fewer than six letters are not, for they would be found in everything.
func Mask(secrets ...string) *strings.Replacer {
	// The longer first: of one that begins as another does, the rest would stay.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, secret := range secrets {
		if len(secret) >= 6 {
			pairs = append(pairs, secret, "***")
		}
	}
	return strings.NewReplacer(pairs...)
}

// Await returns a channel that is closed once a line holds the text. Ask before the process starts.
func (c *Capture) Await(text string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, asked := c.awaited[text]
	if !asked {
		seen = make(chan struct{})
		c.awaited[text] = seen
	}
	return seen
}

// Pipe returns a file to hand to a process as its stdout ("out") or stderr ("err"). Its lines are captured until every
// holder of it has closed it; the caller closes its own copy after the start.
func (c *Capture) Pipe(stream string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("capture output: %w", err)
	}
	read := make(chan struct{})
	c.mu.Lock()
	c.streams = append(c.streams, read)
	c.mu.Unlock()
	c.wg.Go(func() {
		defer close(read)
		defer r.Close()
		c.copy(r, stream)
	})
	return w, nil
}

// Settle waits until all that was written so far has been read: a process that has ended may have said why a moment before. A stream
// that somebody else holds open is waited for no longer than asked.
func (c *Capture) Settle(most time.Duration) {
	c.mu.Lock()
	streams := c.streams
	c.mu.Unlock()
	limit := time.After(most)
	for _, read := range streams {
		select {
		case <-read:
		case <-limit:
			return
		}
	}
}

func (c *Capture) copy(r io.Reader, stream string) {
	in := bufio.NewReaderSize(r, maxLineBytes)
	split := false
	for {
		line, err := in.ReadSlice('\n')
		if text := bytes.TrimRight(line, "\r\n"); len(text) > 0 || len(line) > 0 && !split {
			c.Line(stream, text)
		}
		if split = errors.Is(err, bufio.ErrBufferFull); err != nil && !split {
			return
		}
	}
}

// Line appends one line. A log that cannot be written must not stop the process that writes it, so errors are dropped.
func (c *Capture) Line(stream string, line []byte) {
	text := c.mask.Replace(clean(line))
	c.mu.Lock()
	defer c.mu.Unlock()
	for wanted, seen := range c.awaited {
		if strings.Contains(text, wanted) {
			close(seen)
			delete(c.awaited, wanted)
		}
	}
	_, _ = fmt.Fprintf(c.file, "%s %s %s\n", time.Now().UTC().Format(time.RFC3339Nano), stream, text)
	if len(c.last) == keptLines {
		c.last = c.last[1:]
	}
	if len(text) > keptBytes {
		text = strings.ToValidUTF8(text[:keptBytes], "") + "…"
	}
	c.last = append(c.last, text)
}

// clean makes binary noise printable.
func clean(line []byte) string {
	s := string(line)
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "�")
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' {
			return -1
		}
		return r
	}, s)
}

// Last returns the last lines, as evidence.
func (c *Capture) Last() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.last...)
}

// Close waits for the pipes to end and closes the file.
func (c *Capture) Close() error {
	c.wg.Wait()
	return c.file.Close()
}
