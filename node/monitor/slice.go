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

// Slice copies the rows of several nodes' CSV files that lie between two times into one file, node after node. Nodes may have
// different columns: the file has all of them, and a cell is empty where its node has no such column. Files that are not there
// are left out: a node may have died before its first sample.
func Slice(paths []string, from, to time.Time, output string) error {
	columns := []string{columnTime, columnNode}
	for _, path := range paths {
		names, err := columnsOf(path)
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
	for _, path := range paths {
		err = errors.Join(err, sliceFile(w, columns, path, from, to))
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

func sliceFile(w *csv.Writer, columns []string, path string, from, to time.Time) error {
	f, err := openSamples(path)
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
		if errors.Is(err, io.EOF) || err == nil && at.After(to) {
			return nil
		}
		if err != nil {
			return err
		}
		if at.Before(from) {
			continue
		}
		for i, cell := range cells {
			row[place[i]] = cell
		}
		if err := w.Write(row); err != nil {
			return err
		}
	}
}
