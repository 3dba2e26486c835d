package logs

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// readBytes is what is read of a raw log at once.
	readBytes = 64 << 10
	// longestLine bounds what is held of a line that some program wrote without end. Capture splits its own far below that.
	longestLine = 1 << 20
)

// Source is where lines come from: the name of a raw log file is COMPONENT-CONTAINER.log, in its node's folder.
type Source struct {
	Node string
	// Component is server, client or monitor.
	Component string
	// Container is the process's name.
	Container string
}

// AgentContainer is the container name of benchd's own agents.
const AgentContainer = "agent"

// File is the raw log's name in its node's folder.
func (s Source) File() string { return s.Component + "-" + s.Container + ".log" }

// path is the raw log's place under the root of all nodes.
func (s Source) path(root string) string { return filepath.Join(root, s.Node, s.File()) }

// Sources lists the raw logs that are there, in the order of their names.
func Sources(root string) ([]Source, error) {
	paths, err := fs.Glob(os.DirFS(root), "*/*.log") // the root's own name is no pattern
	if err != nil {
		return nil, err
	}
	var found []Source
	for _, path := range paths {
		component, container, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".log"), "-")
		found = append(found, Source{Node: filepath.Base(filepath.Dir(path)), Component: component, Container: container})
	}
	return found, nil
}

// reader reads one raw log, and goes on where it stopped when there is more. The file may be replaced, cut short, or be away.
type reader struct {
	Source
	path   string
	window window
	ahead  time.Duration // its node's clock

	file   *os.File
	in     *bufio.Reader
	offset int64 // after the last whole line
	// cut: the rest of a line that was too long is still to be passed over.
	cut     bool
	skipped bool // to the window's own time
	long    []byte

	// The line that was read last; text is good until the next one is.
	at      int64
	stderr  bool
	text    []byte
	pending bool // it has not been handed on

	counts counts
	err    error // why it cannot be read at the moment
	// prefix and object are what its lines begin with in the merged files.
	prefix, object []byte
}

// window is a Window in nanoseconds.
type window struct{ startup, from, to int64 }

// ends says whether the window's end is known: that of a run under way is not.
func (w window) ends() bool { return w.to != math.MinInt64 }

func newReader(root string, s Source, w window, ahead time.Duration) *reader {
	return &reader{
		Source: s, path: s.path(root), window: w, ahead: ahead,
		prefix: []byte("] [" + s.Node + "] [" + s.Component + "] "),
		object: appendQuoted(append(appendQuoted([]byte(`","node":`), []byte(s.Node)), `,"component":`...), []byte(s.Component)),
	}
}

// ready opens the log, or goes back to where it stopped: what was the beginning of a line then may be a whole one now.
func (r *reader) ready() bool {
	r.err = nil
	if r.file == nil {
		f, err := os.Open(r.path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				r.err = err
			}
			return false
		}
		r.file = f
		if r.in == nil {
			r.in = bufio.NewReaderSize(f, readBytes)
		}
	}
	info, err := r.file.Stat()
	if err == nil && info.Size() < r.offset { // cut short, as a rotation by copy does
		r.offset, r.cut = 0, false
	}
	if err == nil {
		_, err = r.file.Seek(r.offset, io.SeekStart)
	}
	if err != nil {
		r.lose(err)
		return false
	}
	r.in.Reset(r.file)
	return true
}

// lose forgets the open file. A stale handle of a network file system is opened anew the next time, at the same place.
func (r *reader) lose(err error) {
	if !errors.Is(err, syscall.ESTALE) {
		r.err = err
	}
	r.close()
}

func (r *reader) close() {
	if r.file != nil {
		_ = r.file.Close() // was only read
		r.file = nil
	}
}

// next reads the next line of the window. A last line without its end is being written and is left for later.
func (r *reader) next() bool {
	for r.read() {
		if r.at <= r.window.startup || r.at >= r.window.from {
			return true
		}
		if !r.skipped {
			r.skipped = true
			r.skip()
		}
	}
	return false
}

// read reads the next line that has a time.
func (r *reader) read() bool {
	for {
		line, ok := r.whole()
		if !ok {
			return false
		}
		at, stderr, text, ok := parseRaw(line)
		at = r.told(at)
		if !ok || r.window.ends() && at > r.window.to { // of a later time, or of a clock that was ahead: earlier lines may follow
			continue
		}
		// A clock that was set back must not break the order within a file.
		r.at, r.stderr, r.text = max(at, r.at), stderr, text
		return true
	}
}

// told is a time of the node's clock by that of the window.
func (r *reader) told(at int64) int64 {
	if r.ahead == 0 {
		return at
	}
	return nanos(time.Unix(0, at).Add(-r.ahead))
}

// whole returns the next whole line without its end. One that is too long is cut.
func (r *reader) whole() ([]byte, bool) {
	if r.file == nil {
		return nil, false
	}
	r.long = r.long[:0]
	for {
		piece, err := r.in.ReadSlice('\n')
		switch {
		case err == nil && r.cut:
			r.cut = false
			r.offset += int64(len(r.long) + len(piece))
			r.long = r.long[:0]
		case err == nil && len(r.long) == 0:
			r.offset += int64(len(piece))
			return piece[:len(piece)-1], true
		case err == nil:
			r.long = append(r.long, piece...)
			r.offset += int64(len(r.long))
			return r.long[:len(r.long)-1], true
		case errors.Is(err, bufio.ErrBufferFull) && r.cut:
			r.offset += int64(len(piece))
		case errors.Is(err, bufio.ErrBufferFull):
			if r.long = append(r.long, piece...); len(r.long) > longestLine {
				r.offset += int64(len(r.long))
				r.cut = true
				return r.long, true
			}
		case errors.Is(err, io.EOF):
			last := append(r.long, piece...) //nolint:gocritic // a file that was replaced may end without a line's end
			if !r.rotated() {
				return nil, false
			}
			if len(last) > 0 && !r.cut {
				return slices.Clone(last), true
			}
			r.cut = false
		default:
			r.lose(err)
			return nil, false
		}
	}
}

// rotated goes on with the file that has taken this one's place, if one has.
func (r *reader) rotated() bool {
	now, err := os.Stat(r.path)
	if err != nil {
		return false // moved away, and the next one is not there yet
	}
	here, err := r.file.Stat()
	if err != nil || os.SameFile(now, here) {
		return false
	}
	f, err := os.Open(r.path)
	if err != nil {
		return false
	}
	r.close()
	r.file, r.offset = f, 0
	r.in.Reset(f)
	return true
}

// skip goes on at a line that is not after the first one of the window's own time, and not far before it.
func (r *reader) skip() {
	end, err := r.file.Seek(0, io.SeekEnd)
	low, high := r.offset, end
	chunk := make([]byte, maxLineBytes*2)
	for err == nil && high-low > int64(len(chunk)) {
		middle := low + (high-low)/2
		n, readErr := r.file.ReadAt(chunk, middle)
		if readErr != nil && !errors.Is(readErr, io.EOF) {
			break
		}
		offset, at, ok := firstLine(chunk[:n])
		switch {
		case !ok, r.told(at) >= r.window.from:
			high = middle
		default:
			low = middle + offset
		}
	}
	if _, err := r.file.Seek(low, io.SeekStart); err == nil {
		r.offset = low
		r.in.Reset(r.file)
	}
}

// firstLine finds the first whole line that has a time in a piece of a log: where it begins, and its time.
func firstLine(piece []byte) (offset, at int64, ok bool) {
	for {
		cut := bytes.IndexByte(piece[offset:], '\n')
		if cut < 0 {
			return 0, 0, false
		}
		offset += int64(cut) + 1
		word, _, found := bytes.Cut(piece[offset:], []byte(" "))
		if !found {
			return 0, 0, false
		}
		if at, ok := parseTime(word); ok {
			return offset, at, true
		}
	}
}

// parseRaw takes `TIME out|err LINE` apart; text is a part of the line.
func parseRaw(line []byte) (at int64, stderr bool, text []byte, ok bool) {
	word, rest, found := bytes.Cut(line, []byte(" "))
	if !found {
		return 0, false, nil, false
	}
	stream, text, found := bytes.Cut(rest, []byte(" "))
	if !found {
		return 0, false, nil, false
	}
	at, ok = parseTime(word)
	return at, string(stream) == "err", text, ok
}

// parseTime reads a time of RFC 3339 as nanoseconds since 1970.
func parseTime(word []byte) (int64, bool) {
	var at time.Time
	if len(word) < len("2006-01-02T15:04:05Z") || word[4] != '-' {
		return 0, false
	}
	if err := at.UnmarshalText(word); err != nil {
		return 0, false
	}
	return nanos(at), true
}

// nanos are a time's nanoseconds since 1970; those of times that have none are the least and the most there are.
func nanos(t time.Time) int64 {
	switch {
	case t.Year() < 1678:
		return math.MinInt64
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}
