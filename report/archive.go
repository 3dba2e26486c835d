package report

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
)

// ArchivedRun is the object in an archive, beside its files.
const ArchivedRun = "run.json"

// Archive packs a run's result folders and the run itself into one compressed file. It is written under another name, read back and
// compared, and only then given its own: an archive that is there is whole, and is left as it is as long as it holds all that the
// folders do. All folders are called alike (a work folder that was changed between two attempts gives several); those that are gone
// are left out.
func Archive(ctx context.Context, folders []string, target string, run *api.BenchmarkRun) error {
	if err := archive(ctx, folders, target, run); err != nil {
		return fmt.Errorf("archive run %s to %s: %w", run.Name, target, err)
	}
	return nil
}

func archive(ctx context.Context, folders []string, target string, run *api.BenchmarkRun) error {
	switch kept, err := os.Open(target); {
	case err == nil:
		return errors.Join(covers(ctx, kept, folders), kept.Close())
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	object, err := json.MarshalIndent(run, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".tmp")
	if err := writeArchive(ctx, tmp, folders, fmt.Sprintf("%s-%.8s", run.Name, run.UID), object); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, target); err != nil {
		return err
	}
	// What it was made of is about to be removed: the archive must not be what a crash of the machine takes back.
	return node.SyncFolder(filepath.Dir(target))
}

// writeArchive writes an archive and reads it back.
func writeArchive(ctx context.Context, path string, folders []string, base string, object []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	sizes, err := pack(ctx, f, folders, base, object)
	if err = errors.Join(err, f.Sync()); err == nil {
		err = verify(ctx, f, sizes)
	}
	return errors.Join(err, f.Close())
}

// pack writes the archive, and returns the files in it with their sizes.
func pack(ctx context.Context, f io.Writer, folders []string, base string, object []byte) (map[string]int64, error) {
	zipped := gzip.NewWriter(f)
	w := tar.NewWriter(zipped)
	sizes := map[string]int64{}
	add := func(name string, size int64, at time.Time, in io.Reader) error {
		if _, twice := sizes[name]; twice {
			return fmt.Errorf("%s is in two of %q", name, folders)
		}
		sizes[name] = size
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: at, Format: tar.FormatPAX}); err != nil {
			return err
		}
		// A file that grows meanwhile is of somebody else: what was announced is taken.
		_, err := io.CopyN(w, untilDone{ctx, in}, size)
		return err
	}
	err := eachFile(folders, func(path, name string, info fs.FileInfo) error {
		if info.Mode().Type() == fs.ModeSymlink {
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			sizes[name] = 0
			return w.WriteHeader(&tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink, ModTime: info.ModTime(), Format: tar.FormatPAX})
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(add(name, info.Size(), info.ModTime(), in), in.Close())
	})
	if err == nil {
		err = add(base+"/"+ArchivedRun, int64(len(object)), time.Unix(0, 0), bytes.NewReader(object))
	}
	return sizes, errors.Join(err, w.Close(), zipped.Close())
}

// untilDone reads until ctx ends: results may be large, and nobody is to wait for them at the end.
type untilDone struct {
	ctx context.Context
	in  io.Reader
}

// Read reads on while ctx has not ended.
func (r untilDone) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.in.Read(p)
}

// eachFile visits the files and links in the folders, by their paths and their names, which begin with the folder's. Sockets and the like hold
// nothing that could be kept.
func eachFile(folders []string, visit func(path, name string, info fs.FileInfo) error) error {
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if path == folder && errors.Is(err, fs.ErrNotExist) {
				return fs.SkipAll
			}
			if err != nil || !entry.Type().IsRegular() && entry.Type() != fs.ModeSymlink {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(folder, path)
			if err != nil {
				return err
			}
			return visit(path, filepath.Base(folder)+"/"+filepath.ToSlash(rel), info)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// verify reads an archive back: its checksum holds, and everything is in it.
func verify(ctx context.Context, f io.ReadSeeker, want map[string]int64) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	got, err := contents(ctx, f)
	if err != nil {
		return err
	}
	for name, size := range want {
		if n, in := got[name]; !in || n != size {
			return fmt.Errorf("read it back: %s has %d bytes of %d", name, n, size)
		}
	}
	return nil
}

// contents reads an archive to its end and returns its files and their sizes.
func contents(ctx context.Context, f io.Reader) (map[string]int64, error) {
	zipped, err := gzip.NewReader(untilDone{ctx, f})
	if err != nil {
		return nil, fmt.Errorf("read it back: %w", err)
	}
	sizes := map[string]int64{}
	for in := tar.NewReader(zipped); ; {
		head, err := in.Next()
		if errors.Is(err, io.EOF) {
			// The checksum stands behind what tar reads.
			_, err := io.Copy(io.Discard, zipped)
			return sizes, err
		}
		if err != nil {
			return nil, fmt.Errorf("read it back: %w", err)
		}
		if sizes[head.Name], err = io.Copy(io.Discard, in); err != nil {
			return nil, fmt.Errorf("read %s back: %w", head.Name, err)
		}
	}
}

// covers says whether an archive that was there before holds all that the folders do.
func covers(ctx context.Context, f io.Reader, folders []string) error {
	got, err := contents(ctx, f)
	if err != nil {
		return fmt.Errorf("%w: it was there before: move it away", err)
	}
	return eachFile(folders, func(path, name string, info fs.FileInfo) error {
		size := info.Size()
		if info.Mode().Type() == fs.ModeSymlink {
			size = 0
		}
		if n, in := got[name]; !in || n != size {
			return fmt.Errorf("it was there before and lacks %s (%d bytes of %d): move it away", path, n, size)
		}
		return nil
	})
}
