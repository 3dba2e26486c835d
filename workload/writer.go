package workload

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/benchd/benchd/api/node"
)

// Writer appends records to a stream file. A goroutine writes what has gathered, in one write(2), as soon as the last one
// is through: a request costs the load no system call, and a killed process loses what ended in its last milliseconds. Once a second the file is synced, so that a dead machine loses no more than that.
type Writer struct {
	file *os.File
	wake chan struct{}
	done chan struct{}

	mu      sync.Mutex
	pending []byte
	spare   []byte
	closing bool
	records int64
	err     error

	hash  hash.Hash // of the goroutine, until it is done
	bytes int64
}

// gather is how long records may wait for others.
const gather = time.Millisecond

// maxPending bounds what waits for the disk: beyond it the load fails, rather than fill the memory.
const maxPending = 64 << 20

// CreateRecords makes the stream file and writes its header. An attempt's file exists only once: one that is there is
// an error, for two writers would mix two executions.
func CreateRecords(path string, header Header) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create records: %w", err)
	}
	line, err := json.Marshal(header)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("encode records' header: %w", err), f.Close())
	}
	w := &Writer{file: f, wake: make(chan struct{}, 1), done: make(chan struct{}), hash: sha256.New()}
	if w.write(append(line, '\n')); w.err != nil {
		return nil, errors.Join(w.err, f.Close())
	}
	go w.run()
	return w, nil
}

// Add appends one record. The first error of the disk stays: a run whose records are not complete has failed.
func (w *Writer) Add(r *Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	first := len(w.pending) == 0
	w.pending = r.append(w.pending)
	w.records++
	if len(w.pending) > maxPending {
		w.err = fmt.Errorf("write records %s: the file system takes them more slowly than they come: %d MiB wait", w.file.Name(), maxPending>>20)
	}
	if first {
		w.ring()
	}
	return w.err
}

func (w *Writer) ring() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes what has gathered until the writer is closed.
func (w *Writer) run() {
	defer close(w.done)
	synced := time.Now()
	for range w.wake {
		// Under load records come by the ten thousand a second: what comes within a moment is written together, for each wake-up
		// of this goroutine takes its time from the load's thread.
		time.Sleep(gather)
		w.mu.Lock()
		batch, last := w.pending, w.closing
		w.pending, w.spare = w.spare[:0], nil
		w.mu.Unlock()
		w.write(batch)
		if time.Since(synced) > time.Second && !last {
			_ = unix.Fdatasync(int(w.file.Fd())) // a failure shows at the end, in the last sync
			synced = time.Now()
		}
		w.mu.Lock()
		w.spare = batch[:0]
		w.mu.Unlock()
		if last {
			return
		}
	}
}

func (w *Writer) write(data []byte) {
	n, err := w.file.Write(data)
	w.bytes += int64(n)
	_, _ = w.hash.Write(data[:n]) // a hash takes everything
	if err != nil {
		w.mu.Lock()
		w.err = cmp.Or(w.err, fmt.Errorf("write records: %w", err))
		w.mu.Unlock()
	}
}

// Close writes the trailer, syncs the file and seals it with path.done.json. After a failed write it only closes the
// file and returns that first error.
func (w *Writer) Close(trailer Trailer) error {
	line, err := json.Marshal(trailer)
	if err != nil {
		return fmt.Errorf("encode records' trailer: %w", err)
	}
	w.mu.Lock()
	w.pending = append(append(w.pending, line...), '\n')
	w.closing = true
	w.mu.Unlock()
	w.ring()
	<-w.done
	if w.err != nil {
		_ = w.file.Close() // the file is of no use any more
		return w.err
	}
	done := Done{Records: w.records, Bytes: w.bytes, SHA256: hex.EncodeToString(w.hash.Sum(nil))}
	path := w.file.Name()
	if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
		return fmt.Errorf("finish records %s: %w", path, err)
	}
	return node.WriteSealed(DonePath(path), done)
}
