package logs

import (
	"bufio"
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

// Merge brings the raw logs under root (NODE/COMPONENT-CONTAINER.log) together in the order of time, up to the time `to`.
// Lines of start-up belong to every run of a job, so there is no earlier bound. Stdout takes every line, Stderr those
// of standard error alone.
func Merge(root string, to time.Time, outputs Outputs) (sum Summary, err error) {
	sources, err := openSources(root)
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
		if !s.at.After(to) {
			if err := w.write(s, &sum); err != nil {
				return sum, fmt.Errorf("merge logs: %w", err)
			}
		}
		if !s.at.After(to) && s.next() {
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
}

func openSources(root string) ([]*source, error) {
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
			file: f, in: bufio.NewReaderSize(f, maxLineBytes*2), node: filepath.Base(filepath.Dir(path)), component: component,
		})
	}
	return sources, nil
}

// next reads the next line that has a time. A last line without its end is being written and is left for later.
func (s *source) next() bool {
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
