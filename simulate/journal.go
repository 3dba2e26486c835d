package simulate

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"
)

// flushEvery bounds how long a line stays in memory.
const flushEvery = 100 * time.Millisecond

// A journal writes the log. It has no goroutine of its own: the first line after a flush starts a timer for the next.
type journal struct {
	mu     sync.Mutex
	out    *bufio.Writer // nil without a log
	closer io.Closer     // nil if the writer is the caller's
	timer  *time.Timer
	armed  bool
	err    error // the first; nothing is written after it
}

func newJournal(out io.Writer, closer io.Closer) *journal {
	j := &journal{closer: closer}
	if out != nil {
		j.out = bufio.NewWriterSize(out, 64<<10)
	}
	return j
}

// write adds a line. Lines after close are dropped.
func (j *journal) write(v any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.out == nil {
		return
	}
	line, err := json.Marshal(v)
	if err == nil {
		_, err = j.out.Write(append(line, '\n'))
	}
	if err != nil {
		j.err = cmp.Or(j.err, err)
		return
	}
	if j.armed {
		return
	}
	j.armed = true
	if j.timer == nil {
		j.timer = time.AfterFunc(flushEvery, func() { _ = j.flush() }) // kept in err
	} else {
		j.timer.Reset(flushEvery)
	}
}

// flush hands every line to the writer and returns the first error so far.
func (j *journal) flush() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.armed = false
	if j.out != nil {
		j.err = cmp.Or(j.err, j.out.Flush())
	}
	return j.err
}

// close flushes and closes the log; the first call returns the first error so far.
func (j *journal) close() error {
	err := j.flush()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.timer != nil {
		j.timer.Stop()
	}
	if j.closer != nil {
		err = errors.Join(err, j.closer.Close())
	}
	j.out, j.closer, j.err = nil, nil, nil
	return err
}
