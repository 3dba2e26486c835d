package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// stdinName stands in errors for what was piped in.
const stdinName = "stdin"

// Paths reads files, folders and, for "-", stdin. Of a folder it takes the *.yaml, *.yml and *.json files, sorted, and
// with recursive also those of the folders in it. The error is an Errors of all files together.
func (r *Reader) Paths(paths []string, recursive bool, stdin io.Reader) ([]Document, error) {
	var objects []*object
	var order []string // of the files
	var errs Errors
	seen := map[string]bool{}
	for _, path := range paths {
		files, err := filesOf(path, recursive)
		if err != nil {
			errs = append(errs, err)
			order = append(order, path)
		}
		for _, file := range files {
			if seen[filepath.Clean(file)] {
				continue
			}
			seen[filepath.Clean(file)] = true
			order = append(order, file)
			if file == "-" {
				order[len(order)-1] = stdinName
			}
			found, err := r.readFile(file, stdin)
			objects = append(objects, found...)
			errs = append(errs, err...)
		}
	}
	if len(paths) == 0 {
		errs = append(errs, &Error{Detail: "no file is named: give files, folders, or - for standard input"})
	}
	return r.finish(order, objects, errs)
}

// filesOf names the files of a path, of which there has to be one.
func filesOf(path string, recursive bool) ([]string, *Error) {
	if path == "-" {
		return []string{path}, nil
	}
	files, err := Files(path, recursive)
	switch {
	case err != nil:
		return nil, fileError(path, err)
	case len(files) == 0:
		return nil, &Error{File: path, Detail: "holds no .yaml, .yml or .json file"}
	}
	return files, nil
}

// Files names the files that Paths reads of a path: itself, or those of a folder, sorted, which may be none.
func Files(path string, recursive bool) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(p string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && p != path && !recursive:
			return fs.SkipDir
		case !entry.IsDir() && isManifest(p):
			files = append(files, p)
		}
		return nil
	})
	if err != nil {
		return nil, fileError(path, err)
	}
	slices.Sort(files)
	return files, nil
}

func isManifest(path string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(path)))
}

// readFile reads one file, but never more of it than Read takes.
func (r *Reader) readFile(path string, stdin io.Reader) ([]*object, Errors) {
	name, in := path, stdin
	if path == "-" {
		name = stdinName
	} else {
		f, err := os.Open(path)
		if err != nil {
			return nil, Errors{fileError(path, err)}
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxBytes+1))
	if err != nil {
		return nil, Errors{fileError(name, err)}
	}
	return r.parse(name, data)
}

// fileError says what is wrong with a file, without the name that the error begins with anyway.
func fileError(path string, err error) *Error {
	if told, ok := errors.AsType[*Error](err); ok {
		return told
	}
	detail := err.Error()
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		detail = fmt.Sprintf("cannot be read: %v", failed.Err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		detail = "does not exist"
	}
	return &Error{File: path, Detail: detail}
}
