package logs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Open opens a merged log, whether it was compressed or not. The name is the one without .gz. One that is not there is fs.ErrNotExist.
func Open(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err == nil {
		return f, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	zipped, zipErr := os.Open(path + compressed)
	if zipErr != nil {
		if errors.Is(zipErr, fs.ErrNotExist) {
			return nil, err
		}
		return nil, zipErr
	}
	z, zipErr := gzip.NewReader(zipped)
	if zipErr != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", path+compressed, zipErr), zipped.Close())
	}
	return unzipped{z, zipped}, nil
}

// unzipped is a compressed file that is read as if it were not.
type unzipped struct {
	*gzip.Reader
	file *os.File
}

func (u unzipped) Close() error { return errors.Join(u.Reader.Close(), u.file.Close()) }

// lines reads a log's lines, of any length up to longestLine; a longer one is cut.
type lines struct {
	in   *bufio.Reader
	long []byte
}

func newLines(r io.Reader) *lines { return &lines{in: bufio.NewReaderSize(r, readBytes)} }

// next is the next line without its end, good until the one after. The last error is io.EOF.
func (l *lines) next() ([]byte, error) {
	l.long = l.long[:0]
	for {
		piece, err := l.in.ReadSlice('\n')
		if err == nil && len(l.long) == 0 {
			return piece[:len(piece)-1], nil
		}
		if len(l.long) < longestLine {
			l.long = append(l.long, piece...)
		}
		switch {
		case err == nil:
			return bytes.TrimSuffix(l.long, []byte("\n")), nil
		case errors.Is(err, io.EOF) && len(l.long) > 0:
			return l.long, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// UnreadableError tells that lines were left out, for they are none: the file was cut short, or is something else.
type UnreadableError struct{ Lines int64 }

var _ error = (*UnreadableError)(nil)

func (e *UnreadableError) Error() string { return fmt.Sprintf("%d lines cannot be read", e.Lines) }

// ReadFinished hands on the lines of a finished run. They come from the aggregated file, else from the other two. An UnreadableError
// comes when all the others have been handed on.
func ReadFinished(outputs Outputs, each func(*Line) error) error {
	if outputs.Aggregated != "" {
		f, err := Open(outputs.Aggregated)
		if err == nil {
			return errors.Join(readAggregated(f, each), f.Close())
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	stdout, err := Open(outputs.Stdout)
	if err != nil {
		return err
	}
	defer stdout.Close()
	stderr, err := Open(outputs.Stderr)
	if err != nil {
		return err
	}
	defer stderr.Close()
	return readText(stdout, stderr, each)
}

// entry is a line of the aggregated file.
type entry struct {
	Timestamp *string `json:"timestamp"`
	Node      *string `json:"node"`
	Component *string `json:"component"`
	Stream    string  `json:"stream"`
	Level     string  `json:"level"`
	Message   *string `json:"message"`
}

// parseEntry reads a line of the aggregated file. An error says what is wrong with it.
func parseEntry(line []byte) (Line, error) {
	var e entry
	if err := json.Unmarshal(line, &e); err != nil {
		return Line{}, err
	}
	for name, value := range map[string]*string{"timestamp": e.Timestamp, "node": e.Node, "component": e.Component, "message": e.Message} {
		if value == nil {
			return Line{}, fmt.Errorf("it has no %q", name)
		}
	}
	at, err := time.Parse(time.RFC3339, *e.Timestamp)
	if err != nil {
		return Line{}, fmt.Errorf("%w %q: not as %s", errTime, *e.Timestamp, stamp)
	}
	l := Line{At: at, Source: Source{Node: *e.Node, Component: *e.Component}, Stderr: e.Stream == "err", Text: *e.Message}
	l.Level = levelOfWord([]byte(e.Level))
	return l, nil
}

// errTime is a line whose time cannot be read.
var errTime = errors.New("timestamp")

func readAggregated(r io.Reader, each func(*Line) error) error {
	var bad UnreadableError
	for in := newLines(r); ; {
		text, err := in.next()
		if err != nil {
			return bad.after(err)
		}
		l, err := parseEntry(text)
		if err != nil {
			bad.Lines++
			continue
		}
		if err := each(&l); err != nil {
			return err
		}
	}
}

// readText tells which lines of the one file are in the other too: they stand there in the same order.
func readText(stdout, stderr io.Reader, each func(*Line) error) error {
	var bad UnreadableError
	out, errs := newLines(stdout), newLines(stderr)
	next, err := errs.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for {
		text, outErr := out.next()
		if outErr != nil {
			return bad.after(outErr)
		}
		l, parseErr := parseText(text)
		if err == nil && bytes.Equal(text, next) {
			l.Stderr = true
			if next, err = errs.next(); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		if parseErr != nil {
			bad.Lines++
			continue
		}
		if err := each(&l); err != nil {
			return err
		}
	}
}

// parseText reads `[TIME] [NODE] [COMPONENT] LINE`. An error says what is wrong with it.
func parseText(line []byte) (Line, error) {
	var parts [3][]byte
	rest := line
	for i := range parts {
		if len(rest) == 0 || rest[0] != '[' {
			return Line{}, errors.New("it does not begin with [time] [node] [component]")
		}
		end := bytes.Index(rest, []byte("] "))
		if end < 0 {
			return Line{}, errors.New("it does not begin with [time] [node] [component]")
		}
		parts[i], rest = rest[1:end], rest[end+2:]
	}
	at, err := time.Parse(time.RFC3339, string(parts[0]))
	if err != nil {
		return Line{}, fmt.Errorf("%w %q: not as %s", errTime, parts[0], stamp)
	}
	return Line{At: at, Source: Source{Node: string(parts[1]), Component: string(parts[2])}, Level: LevelOf(rest), Text: string(rest)}, nil
}

// after is what comes of the error that ended the reading.
func (e *UnreadableError) after(err error) error {
	switch {
	case !errors.Is(err, io.EOF):
		return err
	case e.Lines > 0:
		return e
	}
	return nil
}

func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
