package home

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// childHome names the home that this process, started by a test, takes and holds until its input ends.
const childHome = "BENCHD_TEST_HOME"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childHome); dir != "" {
		lease, err := Dir(dir).Acquire(false, "https://elsewhere:1")
		if err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println("held")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		fmt.Println("guard", lease.Guard())
		return // without a release, as one that is killed
	}
	os.Exit(m.Run())
}

type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    interface{ Write([]byte) (int, error) }
	lines *bufio.Reader
}

// startChild starts another process that takes the home.
func startChild(t *testing.T, d Dir) (*child, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childHome+"="+string(d))
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	c := &child{t, cmd, in, bufio.NewReader(out)}
	return c, c.line()
}

func (c *child) line() string {
	c.t.Helper()
	line, err := c.lines.ReadString('\n')
	if err != nil {
		c.t.Fatalf("the other process says %q: %v", line, err)
	}
	return strings.TrimSpace(line)
}

func (c *child) kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	_ = c.cmd.Wait() // it was killed
}

func newHome(t *testing.T) Dir {
	t.Helper()
	d, err := Locate(filepath.Join(t.TempDir(), "home"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func acquire(t *testing.T, d Dir, takeOver bool) *Lease {
	t.Helper()
	l, err := d.Acquire(takeOver, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Release() }) // most were released before
	return l
}

// rewrite edits owner.json as another host, or nobody, would.
func rewrite(t *testing.T, d Dir, change func(*Owner)) {
	t.Helper()
	o, err := d.Owner()
	if err != nil {
		t.Fatal(err)
	}
	change(&o)
	data, err := json.Marshal(o)
	if err := errors.Join(err, os.WriteFile(d.ownerPath(), data, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func TestAHomeIsHeldByOneProcess(t *testing.T) {
	d := newHome(t)
	other, said := startChild(t, d)
	if said != "held" {
		t.Fatal(said)
	}
	for _, takeOver := range []bool{false, true} {
		_, err := d.Acquire(takeOver, "")
		if pid := fmt.Sprint("process ", other.cmd.Process.Pid); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), pid) {
			t.Errorf("take over %t: %v, want one that names %s", takeOver, err, pid)
		}
	}
	o, err := d.Owner()
	if err != nil || !o.Alive() || !o.Here() || o.PID != other.cmd.Process.Pid || o.URL != "https://elsewhere:1" || o.Socket != d.Socket() {
		t.Errorf("owner %+v (%v)", o, err)
	}

	other.kill()
	if o.Alive() {
		t.Error("a killed owner counts as alive")
	}
	lease := acquire(t, d, false)
	if lease.owner.Generation != o.Generation+1 {
		t.Errorf("generation %d after %d", lease.owner.Generation, o.Generation)
	}
	if _, said := startChild(t, d); !strings.Contains(said, fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("the other process says %q", said)
	}
	if _, err := d.Acquire(false, ""); !errors.Is(err, ErrHeld) {
		t.Errorf("taken twice by one process: %v", err)
	}
	if err := errors.Join(lease.Guard(), lease.Release()); err != nil {
		t.Fatal(err)
	}
	if _, said := startChild(t, d); said != "held" {
		t.Errorf("after the release: %s", said)
	}
}

// Locks do not reach other hosts on every file system: here the lock file is replaced, as if it did not.
func TestATakeOverEndsTheOldOwnersWrites(t *testing.T) {
	d := newHome(t)
	other, said := startChild(t, d)
	if said != "held" {
		t.Fatal(said)
	}
	if err := os.Remove(filepath.Join(string(d), "owner.lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Acquire(false, ""); !errors.Is(err, ErrHeld) {
		t.Fatalf("taken from a living process on this host: %v", err)
	}
	rewrite(t, d, func(o *Owner) { o.Host = "login2" })
	if _, err := d.Acquire(false, ""); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), "login2") || !strings.Contains(err.Error(), "--take-over") {
		t.Fatalf("taken from another host: %v", err)
	}
	lease := acquire(t, d, true)
	if _, err := other.in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if said := other.line(); !strings.HasPrefix(said, "guard "+ErrReplaced.Error()) {
		t.Errorf("the old owner says %q", said)
	}
	if err := lease.Guard(); err != nil {
		t.Errorf("the new owner: %v", err)
	}
}

func TestAReplacedOwnerLeavesTheHomeAlone(t *testing.T) {
	d := newHome(t)
	for name, change := range map[string]func(*Owner){
		"a later generation":              func(o *Owner) { o.Generation++ },
		"the same one taken on two hosts": func(o *Owner) { o.Nonce = "another" },
	} {
		lease := acquire(t, d, true)
		rewrite(t, d, func(o *Owner) { o.Host = "login2"; change(o) })
		want, err := d.Owner()
		if err != nil {
			t.Fatal(err)
		}
		if err := lease.Guard(); !errors.Is(err, ErrReplaced) || !strings.Contains(err.Error(), "login2") {
			t.Errorf("%s: guard says %v", name, err)
		}
		if err := lease.Release(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := d.Owner(); err != nil || !cmp.Equal(want, got) {
			t.Errorf("%s: the release wrote (%v):\n%s", name, err, cmp.Diff(want, got))
		}
	}
}

// In a container whose first process waits for no child, a control plane that was killed is never taken from the list of processes.
func TestAProcessThatNobodyWaitsForIsDead(t *testing.T) {
	child := exec.Command("sleep", "100")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	o, err := self()
	if err != nil {
		t.Fatal(err)
	}
	o.PID = child.Process.Pid
	if o.Start, err = startOf(o.PID); err != nil || !o.Alive() {
		t.Fatalf("a child that runs counts as dead (%v)", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Until it is dead, and no further: it stays a zombie.
	if err := unix.Waitid(unix.P_PID, o.PID, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if o.Alive() {
		t.Error("a child that was killed counts as alive until it is waited for")
	}
	_ = child.Wait() // killed
}

func TestTheDeadAreKnown(t *testing.T) {
	me, err := self()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*Owner)
		want   bool
	}{
		"this process":                     {func(*Owner) {}, true},
		"a pid that was reused":            {func(o *Owner) { o.Start-- }, false},
		"before the machine was restarted": {func(o *Owner) { o.BootID = "another" }, false},
		"no such process":                  {func(o *Owner) { o.PID = 1 << 30 }, false},
		"nobody":                           {func(o *Owner) { *o = Owner{} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := me
			if test.change(&o); o.Alive() != test.want {
				t.Errorf("alive: %t", o.Alive())
			}
			if test.want {
				return
			}
			d := newHome(t)
			if err := acquire(t, d, false).Release(); err != nil {
				t.Fatal(err)
			}
			rewrite(t, d, func(stored *Owner) { *stored = o })
			if lease := acquire(t, d, false); lease.owner.Generation != o.Generation+1 {
				t.Errorf("generation %d", lease.owner.Generation)
			}
		})
	}
}

func TestGenerationsCountOverReleases(t *testing.T) {
	d := newHome(t)
	if _, err := d.Owner(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an owner of a new home: %v", err)
	}
	for want := int64(1); want <= 3; want++ {
		l := acquire(t, d, false)
		if l.owner.Generation != want {
			t.Errorf("generation %d, want %d", l.owner.Generation, want)
		}
		if err := l.Release(); err != nil {
			t.Fatal(err)
		}
		if o, err := d.Owner(); err != nil || o.PID != 0 || o.Host != "" || o.Alive() {
			t.Errorf("after the release: %+v (%v)", o, err)
		}
	}
}

func TestADamagedOwnerIsExplained(t *testing.T) {
	for name, data := range map[string]string{"an empty file": "", "half a file": `{"host": "log`, "something else": `[1]`} {
		t.Run(name, func(t *testing.T) {
			d := newHome(t)
			if err := os.WriteFile(d.ownerPath(), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := d.Acquire(false, "")
			if err == nil || !strings.Contains(err.Error(), d.ownerPath()) || !strings.Contains(err.Error(), "--take-over") {
				t.Errorf("got %v", err)
			}
			lease := acquire(t, d, true)
			if err := os.WriteFile(d.ownerPath(), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := lease.Guard(); err == nil {
				t.Error("the guard lets writes through on a damaged owner.json")
			}
		})
	}
}

func TestAHomeThatCannotBeWrittenIsExplained(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Locate(filepath.Join(file, "home")); err == nil || !strings.Contains(err.Error(), "BENCHD_HOME") {
		t.Errorf("a home below a file: %v", err)
	}
	for _, blocked := range []string{"owner.lock", "owner.json.tmp", "owner.json"} {
		d := newHome(t)
		if err := os.Mkdir(filepath.Join(string(d), blocked), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Acquire(false, ""); err == nil || errors.Is(err, ErrHeld) {
			t.Errorf("%s cannot be written: %v", blocked, err)
		}
		if err := os.Remove(filepath.Join(string(d), blocked)); err != nil {
			t.Fatal(err)
		}
		acquire(t, d, false) // nothing of the failure holds the lock
	}
	d := newHome(t)
	if err := os.Chmod(string(d), 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 { // root may write anyway
		if _, err := d.Acquire(false, ""); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("a read-only home: %v", err)
		}
	}
}

func TestAFileSystemWithoutLocksIsNotAnotherOwner(t *testing.T) {
	d := newHome(t)
	lock, err := os.Open(os.DevNull)
	if err := errors.Join(err, lock.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.acquire(lock, false, ""); err == nil || errors.Is(err, ErrHeld) {
		t.Errorf("got %v", err)
	}
}

func TestASocketsPathFitsTheKernel(t *testing.T) {
	long := Dir("/" + strings.Repeat("long/", 30) + "home")
	seen := map[string]bool{}
	for _, tmp := range []string{"/tmp", "/" + strings.Repeat("scratch/", 20)} {
		t.Setenv("TMPDIR", tmp)
		for _, d := range []Dir{"/home/user/.benchd", Dir("/" + strings.Repeat("x", 94)), Dir("/" + strings.Repeat("x", 95)), long, long + "2"} {
			path := d.Socket()
			if len(path) > maxSocketPath {
				t.Errorf("%d bytes with TMPDIR=%s: %s", len(path), tmp, path)
			}
			seen[path] = true
		}
	}
	if len(seen) != 5 {
		t.Errorf("5 homes have %d sockets", len(seen))
	}
	if path := Dir("/" + strings.Repeat("x", 94)).Socket(); len(path) != maxSocketPath || filepath.Dir(path) == os.TempDir() {
		t.Errorf("a path of %d bytes is not used: %s", maxSocketPath, path)
	}
}

func TestLocate(t *testing.T) {
	base := t.TempDir()
	t.Setenv("HOME", base)
	t.Setenv("BENCHD_HOME", "")
	for name, test := range map[string]struct{ named, env, want string }{
		"the named folder":   {filepath.Join(base, "named"), filepath.Join(base, "env"), filepath.Join(base, "named")},
		"else BENCHD_HOME":   {"", filepath.Join(base, "env"), filepath.Join(base, "env")},
		"else in the user's": {"", "", filepath.Join(base, ".benchd")},
	} {
		t.Setenv("BENCHD_HOME", test.env)
		d, err := Locate(test.named)
		if err != nil || string(d) != test.want {
			t.Errorf("%s: %s (%v)", name, d, err)
		}
		if info, err := os.Stat(test.want); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
}
