package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const workFolderNext = "correct its permissions, or name another spec.workdir in the Cluster object"

// Free space of a work folder below which is warned, and below which nothing goes.
const (
	littleSpace = 5 << 30
	noSpace     = 64 << 20
)

// statfs asks for a file system; tests answer instead.
type statfs func(path string) (fileSystem, error)

// fileSystem is what the work folder lies on.
type fileSystem struct {
	// Type by its name, or its number where the name is not known.
	Type string
	// Free bytes for ordinary users.
	Free uint64
}

// fileSystems are the types that matter here, by their numbers in linux/magic.h and in the systems' own sources.
var fileSystems = map[int64]string{
	0x01021994: "tmpfs", 0x858458f6: "ramfs", 0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x794c7630: "overlay", 0x2fc12fc1: "zfs",
	0x6969: "nfs", 0x0bd00bd0: "lustre", 0x47504653: "gpfs", 0x19830326: "beegfs", 0x00c36400: "ceph", 0x65735546: "fuse", 0xff534d42: "cifs",
	0xfe534d42: "smb2", 0x5346414f: "afs", 0x01161970: "gfs2", 0x7461636f: "ocfs2", 0x20030528: "orangefs", 0xaad7aaea: "panfs", 0x013111a8: "ibrix",
}

// memoryTypes lose everything at the next start; sharedTypes are made to be seen by several machines.
var (
	memoryTypes = []string{"tmpfs", "ramfs"}
	sharedTypes = []string{"nfs", "lustre", "gpfs", "beegfs", "ceph", "fuse", "cifs", "smb2", "afs", "gfs2", "ocfs2", "orangefs", "panfs", "ibrix"}
)

func statFileSystem(path string) (fileSystem, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return fileSystem{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	kind, known := fileSystems[int64(uint32(st.Type))]
	if !known {
		kind = fmt.Sprintf("type 0x%x", uint32(st.Type))
	}
	return fileSystem{Type: kind, Free: st.Bavail * uint64(st.Bsize)}, nil
}

// checkWorkFolder looks whether jobs' files can be kept there, and whether nodes can see them.
func checkWorkFolder(_ context.Context, folder string, embedded bool, stat statfs) []finding {
	const check = "work folder"
	there, err := writable(folder)
	if err != nil {
		return []finding{problem(check, workFolderNext, "%v", err)}
	}
	all := []finding{found(check, "%s can be written", folder)}
	if there != folder {
		all[0].Seen = fmt.Sprintf("%s is not there yet; it is made when it is needed, in %s, which can be written", folder, there)
	}
	system, err := stat(there)
	if err != nil {
		return append(all, warning("file system", "look at it with `df`", "%v", err))
	}
	return append(all, checkSpace(folder, system), checkFileSystem(folder, system, embedded))
}

// writable tries to write a file, and returns the folder that it was written to: the folder itself, or the nearest one above it
// that exists.
func writable(folder string) (string, error) {
	there := folder
	for {
		info, err := os.Stat(there)
		if err == nil {
			if !info.IsDir() {
				return there, fmt.Errorf("%s is no folder", there)
			}
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || there == filepath.Dir(there) {
			return there, fmt.Errorf("look for the work folder: %w", err)
		}
		there = filepath.Dir(there)
	}
	if there != folder {
		made, err := os.MkdirTemp(there, ".doctor-*") // as the folder itself would be made, and gone again
		if err != nil {
			return there, fmt.Errorf("%s is not there and cannot be made: %w", folder, err)
		}
		return there, os.Remove(made)
	}
	f, err := os.CreateTemp(there, ".doctor-*")
	if err != nil {
		return there, fmt.Errorf("write to the work folder: %w", err)
	}
	_, err = f.WriteString("benchd doctor\n")
	return there, errors.Join(err, f.Close(), os.Remove(f.Name()))
}

func checkSpace(folder string, system fileSystem) finding {
	const check, next = "free space", "free some, or name another spec.workdir in the Cluster object; `benchd delete --purge` removes runs with their results"
	free := mebibytes(int64(system.Free >> 20))
	switch {
	case system.Free < noSpace:
		return problem(check, next, "%s are free for %s: no job's folder fits", free, folder)
	case system.Free < littleSpace:
		return warning(check, next, "%s are free for %s: records of long runs take gigabytes", free, folder)
	}
	return found(check, "%s (a quota may allow less)", free)
}

func checkFileSystem(folder string, system fileSystem, embedded bool) finding {
	const check = "file system"
	const shared = "name a spec.workdir in the Cluster object that login and compute nodes share under the same path, or prove by `benchd doctor --node` that this one is"
	temporary := slices.ContainsFunc([]string{"/tmp", "/var/tmp", "/dev/shm", "/run"}, func(root string) bool {
		return folder == root || strings.HasPrefix(folder, root+"/")
	})
	switch {
	case slices.Contains(memoryTypes, system.Type):
		if embedded {
			return warning(check, "name a spec.workdir in the Cluster object that is on a disk", "%s: results are gone when this machine restarts, and take its memory until then", system.Type)
		}
		return problem(check, shared, "%s is this machine's memory: compute nodes do not see it", system.Type)
	case embedded:
		return found(check, "%s", system.Type)
	case temporary:
		return warning(check, shared, "%s, in a folder that every node commonly has its own of, and cleans up", system.Type)
	case !slices.Contains(sharedTypes, system.Type):
		return warning(check, shared, "%s is commonly a disk of this machine alone", system.Type)
	}
	return found(check, "%s, made to be shared", system.Type)
}

// mebibytes tells an amount of memory or space.
func mebibytes(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d TiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d GiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n)
}
