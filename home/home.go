// Package home is BENCHD_HOME: the folder that holds all of one control plane's state, and the rule that one control
// plane has it at a time.
//
//	benchd.db     the store
//	benchd.sock   the API
//	owner.json    who has the home, and where it answers
//	owner.lock    held (flock) by the owner, on its host
//	serve.log     what a control plane in the background says
//	embedded/     the embedded cluster
//	work/         the default work folder
package home

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Dir is a home.
type Dir string

// Locate returns the home: the named folder, else BENCHD_HOME, else .benchd in the user's home folder. It is made,
// private, when it is not there.
func Locate(named string) (Dir, error) {
	dir := named
	if dir == "" {
		dir = os.Getenv("BENCHD_HOME")
	}
	if dir == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find BENCHD_HOME: %w: set BENCHD_HOME", err)
		}
		dir = filepath.Join(user, ".benchd")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find BENCHD_HOME: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make BENCHD_HOME: %w: name another folder in BENCHD_HOME", err)
	}
	return Dir(dir), nil
}

// Store is the store's file.
func (d Dir) Store() string { return filepath.Join(string(d), "benchd.db") }

// Log is what a control plane in the background says.
func (d Dir) Log() string { return filepath.Join(string(d), "serve.log") }

// maxSocketPath is what the kernel takes as the path of a unix socket (sun_path of sockaddr_un, less its NUL).
const maxSocketPath = 107

// Socket is where the API listens. A home with a long path has it in the user's runtime folder instead.
func (d Dir) Socket() string {
	path := filepath.Join(string(d), "benchd.sock")
	if len(path) <= maxSocketPath {
		return path
	}
	// owner.json tells it; this is only where a new control plane listens.
	name := filepath.Join(fmt.Sprintf("benchd-%d", os.Getuid()), fmt.Sprintf("%x.sock", hash(string(d))))
	if path = filepath.Join(os.TempDir(), name); len(path) > maxSocketPath {
		path = filepath.Join("/tmp", name)
	}
	return path
}

func hash(s string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// Owner says who has a home.
type Owner struct {
	Host   string `json:"host"`
	BootID string `json:"bootID"`
	PID    int    `json:"pid"`
	// Start is the process's start time in clock ticks after boot: with it a reused pid is told apart.
	Start uint64 `json:"start"`
	// Generation counts owners; Nonce tells two apart that took the same number on different hosts.
	Generation int64  `json:"generation"`
	Nonce      string `json:"nonce"`
	// Socket is where it answers on its host; URL where it answers from elsewhere, if it does.
	Socket string    `json:"socket"`
	URL    string    `json:"url,omitempty"`
	Since  time.Time `json:"since"`
}

// ErrHeld says that another control plane has the home.
var ErrHeld = errors.New("another control plane has this home")

// ErrReplaced says that another control plane took the home over.
var ErrReplaced = errors.New("another control plane took this home over")

// Lease is a home that is held.
type Lease struct {
	dir   Dir
	owner Owner
	lock  *os.File
}

func (d Dir) ownerPath() string { return filepath.Join(string(d), "owner.json") }

// Owner reads who has the home. Nobody ever did: fs.ErrNotExist.
func (d Dir) Owner() (Owner, error) {
	var o Owner
	data, err := os.ReadFile(d.ownerPath())
	if err != nil {
		return o, fmt.Errorf("read who has the home: %w", err)
	}
	if err := json.Unmarshal(data, &o); err != nil {
		return o, fmt.Errorf("read who has the home: %s: %w", d.ownerPath(), err)
	}
	return o, nil
}

// Acquire takes the home for this process. Where another control plane has it, the error says which and where; takeOver
// takes it from an owner on another host, of which nobody here can tell whether it lives.
func (d Dir) Acquire(takeOver bool, url string) (*Lease, error) {
	lock, err := os.OpenFile(filepath.Join(string(d), "owner.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("take home %s: %w", d, err)
	}
	l, err := d.acquire(lock, takeOver, url)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return l, nil
}

func (d Dir) acquire(lock *os.File, takeOver bool, url string) (*Lease, error) {
	me, err := self()
	if err != nil {
		return nil, fmt.Errorf("take home %s: %w", d, err)
	}
	lockErr := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if lockErr != nil && !errors.Is(lockErr, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("take home %s: lock %s: %w: name a folder in BENCHD_HOME whose file system has locks", d, lock.Name(), lockErr)
	}
	// Read only now: before the lock it could still be the one of an owner that has gone meanwhile.
	old, err := d.Owner()
	if lockErr != nil {
		return nil, fmt.Errorf("take home %s: %w: process %d on %s since %s", d, ErrHeld, old.PID, old.Host, old.Since.Format(time.DateTime))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !takeOver {
		return nil, fmt.Errorf("take home %s: %w: when you know that no control plane has it, run `benchd serve --take-over`", d, err)
	}
	if old.PID != 0 && old.Host != me.Host && !takeOver {
		return nil, fmt.Errorf("take home %s: %w: process %d on host %s since %s; nobody here can tell whether it lives: "+
			"run benchd there, or, when you know that it is gone, `benchd serve --take-over`", d, ErrHeld, old.PID, old.Host, old.Since.Format(time.DateTime))
	}
	if old.Host == me.Host && old.Alive() && old.PID != me.PID && !takeOver {
		return nil, fmt.Errorf("take home %s: %w: process %d since %s", d, ErrHeld, old.PID, old.Since.Format(time.DateTime))
	}
	me.Generation, me.Nonce, me.Socket, me.URL, me.Since = old.Generation+1, rand.Text()[:8], d.Socket(), url, time.Now()
	l := &Lease{dir: d, owner: me, lock: lock}
	return l, l.write()
}

// write replaces owner.json, durably.
func (l *Lease) write() error {
	data, err := json.MarshalIndent(l.owner, "", "  ")
	if err != nil {
		return fmt.Errorf("encode owner: %w", err)
	}
	tmp := l.dir.ownerPath() + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("take home: %w", err)
	}
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("take home: %w", err)
	}
	return os.Rename(tmp, l.dir.ownerPath())
}

// Guard says whether this process still has the home. Every write to the store asks, for file locks cannot be trusted
// on network file systems.
func (l *Lease) Guard() error {
	o, err := l.dir.Owner()
	if err != nil {
		return err
	}
	if o.Generation != l.owner.Generation || o.Nonce != l.owner.Nonce {
		return fmt.Errorf("%w: process %d on %s since %s", ErrReplaced, o.PID, o.Host, o.Since.Format(time.DateTime))
	}
	return nil
}

// Watch returns when ctx ends, or with ErrReplaced when another control plane took the home over: this one must end.
func (l *Lease) Watch(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := l.Guard(); errors.Is(err, ErrReplaced) {
				return err
			}
		}
	}
}

// Release gives the home back. The generation stays, so that a later owner counts on.
func (l *Lease) Release() error {
	if err := l.Guard(); err != nil {
		return l.lock.Close()
	}
	l.owner = Owner{Generation: l.owner.Generation, Nonce: l.owner.Nonce}
	return errors.Join(l.write(), l.lock.Close())
}

// Alive says whether the owner's process lives. Only its own host can tell.
func (o Owner) Alive() bool {
	boot, err := bootID()
	if err != nil || boot != o.BootID {
		return false
	}
	start, err := startOf(o.PID)
	return err == nil && start == o.Start
}

// Here says whether the owner is on this host.
func (o Owner) Here() bool {
	host, err := os.Hostname()
	return err == nil && host == o.Host
}

func self() (Owner, error) {
	host, err := os.Hostname()
	if err != nil {
		return Owner{}, err
	}
	boot, err := bootID()
	if err != nil {
		return Owner{}, err
	}
	start, err := startOf(os.Getpid())
	return Owner{Host: host, BootID: boot, PID: os.Getpid(), Start: start}, err
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

func startOf(pid int) (uint64, error) {
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	stat, err := proc.Stat()
	if err == nil && stat.State == "Z" && stat.NumThreads <= 1 {
		err = fmt.Errorf("process %d has ended, and waits for its parent to see it", pid)
	}
	return stat.Starttime, err
}
