package monitor

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// File is one node's CSV file.
type File struct {
	Path string
	// Ahead is how far the node's clock is before that of whoever slices; less than none where it is behind.
	Ahead time.Duration
}

// Slice copies the rows of several nodes' CSV files that lie between two times into one file, node after node, with times as one clock
// tells them. Nodes may have different columns: the file has all of them, and a cell is empty where its node has no such column. Files that
// are not there are left out: a node may have died before its first sample.
func Slice(files []File, from, to time.Time, output string) error {
	columns := []string{columnTime, columnNode}
	for _, file := range files {
		names, err := columnsOf(file.Path)
		if err != nil {
			return fmt.Errorf("slice metrics: %w", err)
		}
		for _, name := range names {
			if !slices.Contains(columns, name) {
				columns = append(columns, name)
			}
		}
	}
	out, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("slice metrics: %w", err)
	}
	w := csv.NewWriter(out)
	err = w.Write(columns)
	for _, file := range files {
		err = errors.Join(err, sliceFile(w, columns, file, from.Add(file.Ahead), to.Add(file.Ahead)))
	}
	w.Flush()
	if err := errors.Join(err, w.Error(), out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("slice metrics into %s: %w", output, err)
	}
	return nil
}

func columnsOf(path string) ([]string, error) {
	f, err := openSamples(path)
	if f == nil {
		return nil, err
	}
	return f.names, f.file.Close()
}

// sliceFile copies the rows between two times by the node's own clock.
func sliceFile(w *csv.Writer, columns []string, file File, from, to time.Time) error {
	f, err := openSamples(file.Path)
	if f == nil {
		return err
	}
	defer f.file.Close()
	f.seek(from)
	place := make([]int, len(f.names))
	for i, name := range f.names {
		place[i] = slices.Index(columns, name)
	}
	row := make([]string, len(columns))
	for {
		at, cells, err := f.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if at.Before(from) || at.After(to) { // of another time, or of a clock that was ahead and was set back since
			continue
		}
		for i, cell := range cells {
			row[place[i]] = cell
		}
		if file.Ahead != 0 {
			row[0] = stamp(at.Add(-file.Ahead))
		}
		if err := w.Write(row); err != nil {
			return err
		}
	}
}
