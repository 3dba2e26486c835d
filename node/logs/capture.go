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

// maxLineBytes bounds one line; a longer one is split.
const maxLineBytes = 64 << 10

// keptLines is how many of the last lines a Capture remembers as evidence, keptBytes how much of each: evidence stands in messages,
// and a progress bar is a line without an end.
const (
	keptLines = 20
	keptBytes = 500
)

// Capture appends the lines of a process's two outputs to one raw log: `TIME out|err LINE`. It is a stream file: what is written at
// once are whole lines, as many as came at once.
type Capture struct {
	secrets [][]byte
	mask    *strings.Replacer
	ahead   time.Duration

	mu      sync.Mutex
	file    *os.File
	clock   clock
	text    []byte // of a line, without what is not printable
	buf     []byte // lines that are not written yet
	last    [keptLines][]byte
	lines   int // that there have been
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
	c := &Capture{file: f, mask: Mask(secrets...), awaited: map[string]chan struct{}{}}
	for _, secret := range secrets {
		if len(secret) >= shortestSecret {
			c.secrets = append(c.secrets, []byte(secret))
		}
	}
	return c, nil
}

// Skew gives lines the times of a clock that is ahead of the node's, in tests of nodes whose clocks differ. It comes before the first line.
func (c *Capture) Skew(ahead time.Duration) { c.ahead = ahead }

// shortestSecret is the length from which on secrets are masked.
const shortestSecret = 6

// Mask replaces secrets by stars; ones of fewer than six letters are not, for they would be found in everything.
func Mask(secrets ...string) *strings.Replacer {
	// The longer first: of one that begins as another does, the rest would stay.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, secret := range secrets {
		if len(secret) >= shortestSecret {
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
	var rest []byte // of a line that was split: what is whole with the next piece alone
	for {
		line, err := in.ReadSlice('\n')
		if len(rest) > 0 {
			line = append(rest, line...)
		}
		text := bytes.TrimRight(line, "\r\n")
		wanted := len(text) > 0 || len(line) > 0 && !split
		rest = nil
		if split = errors.Is(err, bufio.ErrBufferFull); split {
			whole := len(text) - c.unfinished(text)
			text, rest = text[:whole], slices.Clone(text[whole:])
		}
		c.mu.Lock()
		if wanted {
			c.add(stream, text)
		}
		// What came with this line goes with it; it is looked for before the reader may wait for more.
		for err == nil && anotherLine(in) {
			line, err = in.ReadSlice('\n')
			c.add(stream, bytes.TrimRight(line, "\r\n"))
		}
		c.write()
		c.mu.Unlock()
		if err != nil && !split {
			return
		}
	}
}

// unfinished is how many bytes at the end of a piece may be the beginning of a character, or of a secret.
func (c *Capture) unfinished(text []byte) int {
	most := 0
	for n := 1; n < min(utf8.UTFMax, len(text)+1); n++ {
		if end := text[len(text)-n:]; utf8.RuneStart(end[0]) {
			if !utf8.FullRune(end) {
				most = n
			}
			break
		}
	}
	for _, secret := range c.secrets {
		for n := min(len(secret)-1, len(text)); n > most; n-- {
			if bytes.HasSuffix(text, secret[:n]) {
				most = n
			}
		}
	}
	return most
}

// anotherLine says whether a whole line has been read already.
func anotherLine(in *bufio.Reader) bool {
	held, err := in.Peek(in.Buffered())
	return err == nil && bytes.IndexByte(held, '\n') >= 0
}

// Line appends one line. A log that cannot be written must not stop the process that writes it, so errors are dropped.
func (c *Capture) Line(stream string, line []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(stream, line)
	c.write()
}

// add puts a line to those that are to be written.
func (c *Capture) add(stream string, line []byte) {
	c.text = appendClean(c.text[:0], line)
	text := c.text
	if slices.ContainsFunc(c.secrets, func(secret []byte) bool { return bytes.Contains(text, secret) }) {
		text = []byte(c.mask.Replace(string(text)))
	}
	for wanted, seen := range c.awaited {
		if bytes.Contains(text, []byte(wanted)) {
			close(seen)
			delete(c.awaited, wanted)
		}
	}
	c.buf = c.clock.append(c.buf, time.Now().Add(c.ahead).UnixNano(), 9)
	c.buf = append(append(append(append(append(c.buf, ' '), stream...), ' '), text...), '\n')
	kept := &c.last[c.lines%keptLines]
	*kept = append((*kept)[:0], text[:min(len(text), keptBytes+1)]...)
	c.lines++
	if len(c.buf) > maxLineBytes {
		c.write()
	}
}

func (c *Capture) write() {
	if len(c.buf) > 0 {
		_, _ = c.file.Write(c.buf) // see Line
		c.buf = c.buf[:0]
	}
}

// appendClean appends a line without control characters; what is no UTF-8 becomes a replacement character.
func appendClean(to, line []byte) []byte {
	for i := 0; i < len(line); {
		c := line[i]
		switch {
		case c < ' ' && c != '\t':
			i++
		case c < utf8.RuneSelf:
			start := i
			for i < len(line) && (line[i] >= ' ' || line[i] == '\t') && line[i] < utf8.RuneSelf {
				i++
			}
			to = append(to, line[start:i]...)
		default:
			r, size := utf8.DecodeRune(line[i:])
			if bad := r == utf8.RuneError && size == 1; !bad || i == 0 || !badBefore(line[:i]) {
				to = utf8.AppendRune(to, r)
			}
			i += size
		}
	}
	return to
}

// badBefore says whether a line's last byte so far is no UTF-8: one replacement character stands for all of a kind in a row.
func badBefore(line []byte) bool {
	r, size := utf8.DecodeLastRune(line)
	return r == utf8.RuneError && size == 1
}

// Last returns the last lines, as evidence.
func (c *Capture) Last() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var last []string
	for i := max(0, c.lines-keptLines); i < c.lines; i++ {
		text := string(c.last[i%keptLines])
		if len(text) > keptBytes {
			text = strings.ToValidUTF8(text[:keptBytes], "") + "…"
		}
		last = append(last, text)
	}
	return last
}

// Close waits for the pipes to end and closes the file.
func (c *Capture) Close() error {
	c.wg.Wait()
	return c.file.Close()
}
