package report

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// ArchivedRun is the object in an archive, beside its files.
const ArchivedRun = "run.json"

// Archive packs a run's result folders and the run itself into one compressed file. It is written under another name, read back and
// compared, and only then given its own: an archive that is there is whole, and is left as it is. Folders that are gone make an
// archive of the object alone.
func Archive(folders []string, target string, run *api.BenchmarkRun) (err error) {
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	object, err := json.MarshalIndent(run, "", "  ")
	if err != nil {
		return fmt.Errorf("archive run %s: %w", run.Name, err)
	}
	tmp := filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".tmp")
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("archive run %s: %w", run.Name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("archive run %s: %w", run.Name, err), os.Remove(tmp))
		}
	}()
	names, err := pack(f, folders, strings.TrimSuffix(filepath.Base(target), ".tar.gz"), object)
	if err = errors.Join(err, f.Sync()); err == nil {
		err = verify(f, names)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, target)
}

// pack writes the archive, and returns the names and sizes in it.
func pack(f io.Writer, folders []string, base string, object []byte) (map[string]int64, error) {
	zipped := gzip.NewWriter(f)
	w := tar.NewWriter(zipped)
	names := map[string]int64{}
	add := func(name string, size int64, at time.Time, in io.Reader) error {
		names[name] = size
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: at, Format: tar.FormatPAX}); err != nil {
			return err
		}
		// A file that grows meanwhile is of somebody else: what was announced is taken.
		_, err := io.CopyN(w, in, size)
		return err
	}
	var err error
	for _, folder := range folders {
		err = errors.Join(err, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			in, err := os.Open(path)
			if err != nil {
				return err
			}
			defer in.Close()
			info, err := in.Stat()
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(folder, path)
			if err != nil {
				return err
			}
			return add(filepath.ToSlash(filepath.Join(base, rel)), info.Size(), info.ModTime(), in)
		}))
	}
	if err == nil {
		err = add(base+"/"+ArchivedRun, int64(len(object)), time.Unix(0, 0), bytes.NewReader(object))
	}
	return names, errors.Join(err, w.Close(), zipped.Close())
}

// verify reads an archive back: its checksum holds, and everything is in it.
func verify(f io.ReadSeeker, names map[string]int64) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	zipped, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	in := tar.NewReader(zipped)
	found := 0
	for {
		head, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read it back: %w", err)
		}
		n, err := io.Copy(io.Discard, in)
		if err != nil || n != names[head.Name] {
			return fmt.Errorf("read it back: %s has %d bytes of %d (%v)", head.Name, n, names[head.Name], err)
		}
		found++
	}
	if found != len(names) {
		return fmt.Errorf("read it back: %d of %d files", found, len(names))
	}
	return nil
}
