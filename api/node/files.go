package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// WriteSealed writes v as JSON, for good: to a temporary name, synced, checked close, renamed, folder synced. An
// existing file of that name is replaced, which writers that seal once avoid by looking first.
func WriteSealed(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return WriteSealedBytes(path, append(data, '\n'), 0o600)
}

// WriteSealedBytes is WriteSealed for content that is not JSON.
func WriteSealedBytes(path string, data []byte, mode fs.FileMode) error {
	if err := replace(path, data, mode, true); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// WriteLiveness replaces a status file. It is not synced: what a crash of the machine takes back, the next beat brings.
func WriteLiveness(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	if err := replace(path, append(data, '\n'), 0o600, false); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func replace(path string, data []byte, mode fs.FileMode, durable bool) (err error) {
	dir := filepath.Dir(path)
	// One writer per file, so one temporary name: what a kill leaves behind, the next write takes over.
	tmp, err := os.OpenFile(filepath.Join(dir, "."+filepath.Base(path)+".tmp"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	_, err = tmp.Write(data)
	if err == nil && durable {
		err = tmp.Sync()
	}
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil || !durable {
		return err
	}
	return SyncFolder(dir)
}

// SyncFolder makes durable what names a folder has.
func SyncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(ignoreUnsupported(d.Sync()), d.Close())
}

// Some network file systems cannot sync a folder and say EINVAL; there is nothing more to be done there.
func ignoreUnsupported(err error) error {
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

// ErrNotYet says that a file is not there, or not yet visible through the network file system.
var ErrNotYet = errors.New("not there yet")

// ErrDamaged says that a file is there and cannot be decoded: a liveness file may be so after its node died.
var ErrDamaged = errors.New("cannot be decoded")

// ReadJSON reads a sealed or liveness file. It re-opens after a stale handle, and a file that is not there gives ErrNotYet.
func ReadJSON(path string, v any) error {
	const tries = 3
	var data []byte
	var err error
	for range tries {
		if data, err = os.ReadFile(path); !errors.Is(err, syscall.ESTALE) {
			break
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: %w", path, ErrNotYet)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read %s: %w: %w", path, ErrDamaged, err)
	}
	return nil
}

// Exists says whether a file is there; a look that fails counts as not there yet.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
