package logs

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Outputs are the three merged files; Aggregated may be empty.
type Outputs struct{ Stdout, Stderr, Aggregated string }

// Summary says what a merge brought together.
type Summary struct {
	Lines, StderrLines int64
	Nodes              []string
}

// stamp is the time format of the merged files.
const stamp = "2006-01-02T15:04:05.000000Z"

// entry is a line of the JSON lines file.
type entry struct {
	Timestamp string `json:"timestamp"`
	Node      string `json:"node"`
	Component string `json:"component"`
	Message   string `json:"message"`
}

// Window is what a run of a job is shown of the logs: the start-up, which is every run's, and the time of its own.
type Window struct{ Startup, From, To time.Time }

// Merge brings the raw logs under root (NODE/COMPONENT-CONTAINER.log) together in the order of time, as far as they are of the
// window. Stdout takes every line, Stderr those of standard error alone. What lies between start-up and the run's own time
// is not read: its beginning is looked for by halves, so a run costs the same however many went before it.
func Merge(root string, window Window, outputs Outputs) (sum Summary, err error) {
	sources, err := openSources(root, window)
	defer func() {
		for _, s := range sources {
			_ = s.file.Close() // was only read
		}
	}()
	if err != nil {
		return sum, fmt.Errorf("merge logs: %w", err)
	}
	var w writers
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.open(outputs); err != nil {
		return sum, fmt.Errorf("merge logs: %w", err)
	}
	queue := make(lineHeap, 0, len(sources))
	nodes := map[string]bool{}
	for _, s := range sources {
		if !nodes[s.node] {
			nodes[s.node] = true
			sum.Nodes = append(sum.Nodes, s.node)
		}
		if s.next() {
			queue = append(queue, s)
		}
	}
	heap.Init(&queue)
	for len(queue) > 0 {
		s := queue[0]
		if !s.at.After(window.To) {
			if err := w.write(s, &sum); err != nil {
				return sum, fmt.Errorf("merge logs: %w", err)
			}
		}
		if !s.at.After(window.To) && s.next() {
			heap.Fix(&queue, 0)
		} else {
			heap.Pop(&queue)
		}
	}
	return sum, nil
}

// source is one raw log being read.
type source struct {
	file            *os.File
	in              *bufio.Reader
	node, component string
	at              time.Time
	stream, text    string
	window          Window
	skipped         bool // to the window's own time
}

func openSources(root string, window Window) ([]*source, error) {
	paths, err := filepath.Glob(filepath.Join(root, "*", "*.log"))
	if err != nil {
		return nil, err
	}
	var sources []*source
	for _, path := range paths {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return sources, err
		}
		component, _, _ := strings.Cut(filepath.Base(path), "-")
		sources = append(sources, &source{
			file: f, in: bufio.NewReaderSize(f, maxLineBytes*2), node: filepath.Base(filepath.Dir(path)), component: component, window: window,
		})
	}
	return sources, nil
}

// next reads the next line of the window. A last line without its end is being written and is left for later.
func (s *source) next() bool {
	for s.read() {
		if !s.at.After(s.window.Startup) || !s.at.Before(s.window.From) {
			return true
		}
		if !s.skipped {
			s.skipped = true
			s.skip()
		}
	}
	return false
}

// skip goes on at a line that is not after the first one of the window's own time, and not far before it.
func (s *source) skip() {
	here, err1 := s.file.Seek(0, io.SeekCurrent)
	end, err2 := s.file.Seek(0, io.SeekEnd)
	low, high := here-int64(s.in.Buffered()), end
	chunk := make([]byte, maxLineBytes*2)
	for err1 == nil && err2 == nil && high-low > int64(len(chunk)) {
		middle := low + (high-low)/2
		n, err := s.file.ReadAt(chunk, middle)
		if err != nil && !errors.Is(err, io.EOF) {
			break
		}
		offset, at, ok := firstLine(chunk[:n])
		switch {
		case !ok, !at.Before(s.window.From):
			high = middle
		default:
			low = middle + offset
		}
	}
	if _, err := s.file.Seek(low, io.SeekStart); err == nil {
		s.in.Reset(s.file)
	}
}

// firstLine finds the first whole line that has a time in a piece of a log: where it begins, and its time.
func firstLine(piece []byte) (offset int64, at time.Time, ok bool) {
	for {
		cut := bytes.IndexByte(piece[offset:], '\n')
		if cut < 0 {
			return 0, at, false
		}
		offset += int64(cut) + 1
		word, _, found := bytes.Cut(piece[offset:], []byte(" "))
		if !found {
			return 0, at, false
		}
		if at, err := time.Parse(time.RFC3339Nano, string(word)); err == nil {
			return offset, at, true
		}
	}
}

// read reads the next line that has a time.
func (s *source) read() bool {
	for {
		line, err := s.in.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) || !strings.HasSuffix(line, "\n") {
			return false
		}
		f := strings.SplitN(strings.TrimRight(line, "\n"), " ", 3)
		if len(f) == 3 {
			if at, err := time.Parse(time.RFC3339Nano, f[0]); err == nil {
				// A clock that was set back must not break the order within a file.
				if at.Before(s.at) {
					at = s.at
				}
				s.at, s.stream, s.text = at, f[1], f[2]
				return true
			}
		}
	}
}

type lineHeap []*source

func (h lineHeap) Len() int { return len(h) }
func (h lineHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].node < h[j].node
	}
	return h[i].at.Before(h[j].at)
}
func (h lineHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *lineHeap) Push(x any) {
	if s, ok := x.(*source); ok {
		*h = append(*h, s)
	}
}

func (h *lineHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// writers are the open outputs.
type writers struct {
	files                      []*os.File
	stdout, stderr, aggregated *bufio.Writer
}

func (w *writers) open(o Outputs) error {
	for _, out := range []struct {
		path string
		to   **bufio.Writer
	}{{o.Stdout, &w.stdout}, {o.Stderr, &w.stderr}, {o.Aggregated, &w.aggregated}} {
		if out.path == "" {
			continue
		}
		f, err := os.OpenFile(out.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		w.files = append(w.files, f)
		*out.to = bufio.NewWriterSize(f, 256<<10)
	}
	return nil
}

func (w *writers) write(s *source, sum *Summary) error {
	at := s.at.UTC().Format(stamp)
	sum.Lines++
	_, err := fmt.Fprintf(w.stdout, "[%s] [%s] [%s] %s\n", at, s.node, s.component, s.text)
	if err == nil && s.stream == "err" {
		sum.StderrLines++
		_, err = fmt.Fprintf(w.stderr, "[%s] [%s] [%s] %s\n", at, s.node, s.component, s.text)
	}
	if err == nil && w.aggregated != nil {
		var data []byte
		if data, err = json.Marshal(entry{at, s.node, s.component, s.text}); err == nil {
			_, err = w.aggregated.Write(append(data, '\n'))
		}
	}
	return err
}

func (w *writers) close() error {
	var errs []error
	for _, b := range []*bufio.Writer{w.stdout, w.stderr, w.aggregated} {
		if b != nil {
			errs = append(errs, b.Flush())
		}
	}
	for _, f := range w.files {
		errs = append(errs, f.Sync(), f.Close())
	}
	return errors.Join(errs...)
}
