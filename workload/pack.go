package workload

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// PackedName is the one compressed file that an attempt's records end in.
const PackedName = "records.jsonl.gz"

// Pack puts the nodes' stream files together into one compressed file and then removes them. Files that are not there
// are left out. It can be repeated: until the packed file stands under its name, the parts stay; once it stands, it is
// complete and only the parts that are left are removed.
func Pack(parts []string, output string) (err error) {
	if _, err := os.Stat(output); err == nil {
		return removeParts(parts)
	}
	tmp := filepath.Join(filepath.Dir(output), "."+filepath.Base(output)+".tmp")
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("pack records: %w", err)
	}
	z := gzip.NewWriter(out)
	found := 0
	for _, part := range parts {
		n, copyErr := appendFile(z, part)
		found += n
		err = errors.Join(err, copyErr)
	}
	err = errors.Join(err, z.Close(), out.Sync(), out.Close())
	if err != nil || found == 0 {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, output); err != nil {
		return fmt.Errorf("pack records: %w", err)
	}
	return removeParts(parts)
}

func removeParts(parts []string) error {
	for _, part := range parts {
		for _, path := range []string{part, DonePath(part)} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("pack records: %w", err)
			}
		}
	}
	return nil
}

// appendFile appends the whole lines of a stream file.
func appendFile(w io.Writer, path string) (int, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("pack records: %w", err)
	}
	defer f.Close()
	tail := &tailWriter{w: w}
	if _, err := io.Copy(tail, f); err != nil {
		return 0, fmt.Errorf("pack records: %w", err)
	}
	return 1, nil
}

// tailWriter holds a last line back until its end comes, so that one cut short by a kill does not run into the next.
type tailWriter struct {
	w    io.Writer
	held []byte
}

func (t *tailWriter) Write(p []byte) (int, error) {
	n := len(p)
	if at := slices.Index(p, '\n'); at < 0 {
		t.held = append(t.held, p...)
		return n, nil
	}
	end := strings.LastIndexByte(string(p), '\n') + 1
	if _, err := t.w.Write(append(t.held, p[:end]...)); err != nil {
		return 0, err
	}
	t.held = append([]byte(nil), p[end:]...)
	return n, nil
}

// OpenRecords opens an attempt's records for ReadRecords: the packed file where there is one, else what stream files
// were left. No records at all give fs.ErrNotExist.
func OpenRecords(dir string) (io.ReadCloser, error) {
	packed, err := os.Open(filepath.Join(dir, PackedName))
	if err == nil {
		z, err := gzip.NewReader(packed)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open records %s: %w", packed.Name(), err), packed.Close())
		}
		return readCloser{z, packed}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open records: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open records: %w", err)
	}
	var parts []string // not by a glob: the folder's own name may hold brackets
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "records-") && strings.HasSuffix(e.Name(), ".jsonl") {
			parts = append(parts, filepath.Join(dir, e.Name()))
		}
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("open records in %s: %w", dir, fs.ErrNotExist)
	}
	r, w := io.Pipe()
	go func() {
		var err error
		for _, part := range parts {
			if _, err = appendFile(w, part); err != nil {
				break
			}
		}
		w.CloseWithError(err)
	}()
	return r, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}
