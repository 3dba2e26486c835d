package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
	"github.com/benchd/benchd/store/storetest"
)

// childFile names the store that this process, started by a test, is to write to until it is killed.
const childFile = "BENCHD_TEST_STORE"

// beChild writes without end: round by round it makes a run, changes its status twice, and deletes every third, telling
// what is done on standard output.
func beChild() bool {
	path := os.Getenv(childFile)
	if path == "" {
		return false
	}
	s, err := store.Open(path, store.Options{})
	if err != nil {
		fmt.Println("error", err)
		return true
	}
	fmt.Println("open")
	ctx, padding := context.Background(), make([]byte, 9000)
	for i := range padding {
		padding[i] = 'a' + byte(i%26)
	}
	for i := 0; ; i++ {
		name := fmt.Sprintf("run-%d-%d", os.Getpid(), i)
		run := storetest.NewRun("a", name, nil)
		run.Annotations = map[string]string{"padding": string(padding[:rand.IntN(len(padding))])}
		err := s.Create(ctx, run)
		fmt.Println("created", name)
		for n := range 2 {
			run.Status.Message = strconv.Itoa(n)
			err = errors.Join(err, s.Update(ctx, func(tx *store.Tx) error {
				return errors.Join(tx.PutStatus(run), tx.Event(run, api.EventNormal, "Counted", "up"))
			}))
			fmt.Println("status", name, n)
		}
		if i%3 == 2 {
			_, deleteErr := s.Delete(ctx, api.KindBenchmarkRun, "a", name, "")
			err = errors.Join(err, deleteErr)
			fmt.Println("deleted", name)
		}
		if err != nil {
			fmt.Println("error", err)
			return true
		}
	}
}

// startChild starts a process that writes to the store, and returns the lines that it prints.
func startChild(t *testing.T, path string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), childFile+"="+path)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "open\n" {
		t.Fatalf("the child says %q (%v)", line, err)
	}
	return child, lines
}

func TestEveryAcknowledgedWriteOutlivesAKill(t *testing.T) {
	t.Parallel()
	const seed = 7
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, seed))
	path := filepath.Join(t.TempDir(), "benchd.db")
	status := map[string]int{} // by run: the last status that was acknowledged; -1 for none
	version := uint64(0)
	for range 8 {
		child, lines := startChild(t, path)
		unsure := "" // the run that was being deleted
		for left := 3 + random.IntN(60); ; left-- {
			if left == 0 {
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			line, err := lines.ReadString('\n')
			if errors.Is(err, io.EOF) {
				break
			}
			var what, name string
			n := -1
			if _, err := fmt.Sscan(line, &what, &name, &n); err != nil && n >= 0 || what == "error" {
				t.Fatalf("the child says %q", line)
			}
			if status[name] = n; what == "deleted" {
				delete(status, name)
			}
			unsure = name
		}
		_ = child.Wait() // it was killed
		version = checkSurvivors(t, path, status, unsure, version)
	}
	if len(status) == 0 {
		t.Error("nothing was written")
	}
}

// checkSurvivors opens the store and looks for every run. The one that was written to when the kill came can be further.
func checkSurvivors(t *testing.T, path string, status map[string]int, unsure string, version uint64) uint64 {
	t.Helper()
	s, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, n := range status {
		obj, err := s.Get(t.Context(), api.KindBenchmarkRun, "a", name)
		if apierrors.IsNotFound(err) && name == unsure && n == 1 {
			delete(status, name)
			continue
		}
		run, ok := obj.(*api.BenchmarkRun)
		if err != nil || !ok {
			t.Errorf("%s was acknowledged: %v", name, err)
			continue
		}
		found := -1
		if run.Status.Message != "" {
			found, _ = strconv.Atoi(run.Status.Message)
		}
		if found < n || found > n && name != unsure {
			t.Errorf("%s: status %d was acknowledged, %d is stored", name, n, found)
		}
		status[name] = found
		if events, err := s.Owned(t.Context(), string(run.UID)); err != nil || len(events) != min(1, found+1) {
			t.Errorf("%s has %d events with status %d (%v)", name, len(events), found, err)
		}
	}
	list, err := s.List(t.Context(), api.KindBenchmarkRun, store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	now, err := strconv.ParseUint(list.ResourceVersion, 10, 64)
	if err != nil || now <= version {
		t.Errorf("version %q after %d (%v)", list.ResourceVersion, version, err)
	}
	if len(list.Items) > len(status)+8 { // each round may have made one more than it could tell
		t.Errorf("%d runs are stored, %d were told of", len(list.Items), len(status))
	}
	return now
}

func TestAStoreHasOneProcess(t *testing.T) {
	t.Parallel() // most of it is the wait for the lock
	path := filepath.Join(t.TempDir(), "benchd.db")
	child, lines := startChild(t, path)
	drained := make(chan struct{})
	go func() { defer close(drained); _, _ = io.Copy(io.Discard, lines) }()
	_, err := store.Open(path, store.Options{})
	if !errors.Is(err, store.ErrLocked) {
		t.Errorf("opened under a living process: %v", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-drained
	_ = child.Wait() // it was killed
	open(t, path, store.Options{})
}

// Live objects are found without the others, also in a store that an older benchd left without an index.
func TestListLive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "benchd.db")
	live := func(o api.Object) bool {
		run, ok := o.(*api.BenchmarkRun)
		return ok && !run.Status.Phase.Terminal()
	}
	s := open(t, path, store.Options{Live: live})
	for i := range 4 {
		run := finished(i)
		if i%2 == 0 {
			run.Status.Phase = api.RunExecuting
		}
		if err := s.Create(t.Context(), run); err != nil {
			t.Fatal(err)
		}
	}
	names := func(s *store.Store) string {
		list, err := s.ListLive(t.Context(), api.KindBenchmarkRun)
		if err != nil {
			t.Fatal(err)
		}
		out := ""
		for _, obj := range list.Items {
			out += obj.GetName() + " "
		}
		return out
	}
	if got := names(s); got != "run-000000 run-000002 " {
		t.Errorf("live: %s", got)
	}
	run, err := store.Get[*api.BenchmarkRun](t.Context(), s, "default", "run-000000")
	if err != nil {
		t.Fatal(err)
	}
	run.Status.Phase = api.RunCompleted
	if err := s.PutStatus(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if got := names(s); got != "run-000002 " {
		t.Errorf("live once one has ended: %s", got)
	}
	if err := store.DropIndex(s); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := names(open(t, path, store.Options{Live: live})); got != "run-000002 " {
		t.Errorf("live in a store without an index: %s", got)
	}
}
