package monitor

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

// Sample is one row of a CSV of samples.
type Sample struct {
	At   time.Time
	Node string
	// Values by the places of the columns; NaN for an empty cell.
	Values []float64
}

// largest is far more than anything that is sampled: what is larger is damage, and sums of it would have no end.
const largest = 1e24

// Read reads a CSV of samples, of one node or of several: the names of its columns, after time and node, and its rows to visit, whose
// Values it uses again for the next one. Rows that are no samples are left out. A file that is not there gives fs.ErrNotExist.
func Read(path string, visit func(columns []string, s Sample) error) error {
	f, err := openSamples(path)
	if err != nil {
		return fmt.Errorf("read samples: %w", err)
	}
	if f == nil {
		return fmt.Errorf("read samples: %w", &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist})
	}
	defer f.file.Close()
	values := make([]float64, max(0, len(f.names)-2))
	for {
		at, cells, err := f.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read samples: %w", err)
		}
		for i, cell := range cells[2:] {
			v, err := strconv.ParseFloat(cell, 64)
			if err != nil || math.Abs(v) > largest {
				v = nan
			}
			values[i] = v
		}
		if err := visit(f.names[2:], Sample{at, cells[1], values}); err != nil {
			return err
		}
	}
}

// samplesFile is a CSV of samples being read.
type samplesFile struct {
	file  *os.File
	in    *bufio.Reader
	names []string
}

// longestRow bounds what is looked through for the beginning of a row.
const longestRow = 64 << 10

// openSamples opens a file and reads its header. One that is not there, is empty, or has lost its header gives nil.
func openSamples(path string) (*samplesFile, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := &samplesFile{file: file, in: bufio.NewReaderSize(file, longestRow)}
	line, err := f.in.ReadString('\n')
	if err == nil {
		f.names = cells(line)
	}
	if len(f.names) < 2 || f.names[0] != columnTime || f.names[1] != columnNode {
		return nil, file.Close()
	}
	return f, nil
}

// next reads the next whole row. A last row without its end is being written.
func (f *samplesFile) next() (at time.Time, row []string, err error) {
	for {
		line, err := f.in.ReadString('\n')
		if err != nil {
			return at, nil, err
		}
		stamp, _, _ := strings.Cut(line, ",")
		if at, err = time.Parse(time.RFC3339Nano, stamp); err != nil {
			continue // another header, or what a crash of the machine left
		}
		if row = cells(line); len(row) == len(f.names) {
			return at, row, nil
		}
	}
}

// cells splits a row; only one with quotes needs the CSV reader.
func cells(line string) []string {
	line = strings.TrimRight(line, "\r\n")
	if !strings.Contains(line, `"`) {
		return strings.Split(line, ",")
	}
	row, err := csv.NewReader(strings.NewReader(line)).Read()
	if err != nil {
		return nil
	}
	return row
}

// seek goes on at a row that is not after the time, and not far before it. It is looked for by halves: what a run is shown of a job's
// samples costs the same however long the job was.
func (f *samplesFile) seek(from time.Time) {
	here, err1 := f.file.Seek(0, io.SeekCurrent)
	end, err2 := f.file.Seek(0, io.SeekEnd)
	low, high := here-int64(f.in.Buffered()), end
	chunk := make([]byte, longestRow)
	for err1 == nil && err2 == nil && high-low > int64(len(chunk)) {
		middle := low + (high-low)/2
		n, err := f.file.ReadAt(chunk, middle)
		if err != nil && !errors.Is(err, io.EOF) {
			break
		}
		offset, at, ok := firstRow(chunk[:n])
		if ok && at.Before(from) {
			low = middle + offset
		} else {
			high = middle
		}
	}
	if _, err := f.file.Seek(low, io.SeekStart); err == nil {
		f.in.Reset(f.file)
	}
}

// firstRow finds the first whole row in a piece of a file: where it begins, and its time.
func firstRow(piece []byte) (offset int64, at time.Time, ok bool) {
	for {
		cut := bytes.IndexByte(piece[offset:], '\n')
		if cut < 0 {
			return 0, at, false
		}
		offset += int64(cut) + 1
		stamp, _, found := bytes.Cut(piece[offset:], []byte(","))
		if !found {
			return 0, at, false
		}
		if at, err := time.Parse(time.RFC3339Nano, string(stamp)); err == nil {
			return offset, at, true
		}
	}
}
