package logs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Line is one line of a raw log.
type Line struct {
	At              time.Time
	Node, Component string
	// Stream is out or err.
	Stream, Text string
}

// String prints the line as the merged stdout.log does.
func (l Line) String() string {
	return fmt.Sprintf("[%s] [%s] [%s] %s", l.At.UTC().Format(stamp), l.Node, l.Component, l.Text)
}

// ReadFrom reads the whole lines of a raw log from an offset on, and returns the offset after them.
func ReadFrom(path string, offset int64) ([]Line, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, offset, err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, offset, err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, offset, err
	}
	end := strings.LastIndexByte(string(data), '\n') + 1
	component, _, _ := strings.Cut(filepath.Base(path), "-")
	var lines []Line
	for text := range strings.Lines(string(data[:end])) {
		f := strings.SplitN(strings.TrimRight(text, "\n"), " ", 3)
		if len(f) != 3 {
			continue
		}
		if at, err := time.Parse(time.RFC3339Nano, f[0]); err == nil {
			lines = append(lines, Line{at, filepath.Base(filepath.Dir(path)), component, f[1], f[2]})
		}
	}
	return lines, offset + int64(end), nil
}
