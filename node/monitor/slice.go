package monitor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// Slice copies the rows of several nodes' CSV files that lie between two times into one file, node after node. Files
// that are not there are left out: a node may have died before its first sample.
func Slice(paths []string, from, to time.Time, output string) error {
	out, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("slice metrics: %w", err)
	}
	w := bufio.NewWriter(out)
	_, err = fmt.Fprintln(w, strings.Join(Columns, ","))
	for _, path := range paths {
		err = errors.Join(err, sliceFile(w, path, from, to))
	}
	if err := errors.Join(err, w.Flush(), out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("slice metrics into %s: %w", output, err)
	}
	return nil
}

func sliceFile(w io.Writer, path string, from, to time.Time) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for {
		row, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil // a last row without its end is being written
		}
		if err != nil {
			return err
		}
		stamp, _, _ := strings.Cut(row, ",")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil || at.Before(from) || at.After(to) {
			continue // the header, or another run's
		}
		if _, err := io.WriteString(w, row); err != nil {
			return err
		}
	}
}
