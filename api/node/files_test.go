package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// childFile names the file that this process, started by a test, writes again and again until it is killed.
const childFile = "BENCHD_TEST_FILE"

// filled is long enough to be written in more than one piece, and says when a part of it is missing.
type filled struct {
	Counter int    `json:"counter"`
	Padding string `json:"padding"`
}

func (f filled) whole() bool { return f.Padding == strings.Repeat(fmt.Sprint(f.Counter%10), 60_000) }

func TestMain(m *testing.M) {
	path := os.Getenv(childFile)
	if path == "" {
		os.Exit(m.Run())
	}
	write := WriteLiveness
	if os.Getenv("BENCHD_TEST_SEALED") != "" {
		write = WriteSealed
	}
	for i := 1; ; i++ {
		if err := write(path, filled{i, strings.Repeat(fmt.Sprint(i%10), 60_000)}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

func TestAReaderNeverSeesHalfAFile(t *testing.T) {
	for name, sealed := range map[string]string{"liveness": "", "sealed": "1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, last := filepath.Join(t.TempDir(), "status.json"), 0
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			for round := range 5 {
				child := exec.CommandContext(t.Context(), self)
				child.Env = append(os.Environ(), childFile+"="+path, "BENCHD_TEST_SEALED="+sealed)
				child.Stderr = os.Stderr
				out, err := child.StdoutPipe()
				if err := errors.Join(err, child.Start()); err != nil {
					t.Fatal(err)
				}
				var told int
				if _, err := fmt.Fscan(out, &told); err != nil { // the first write is done
					t.Fatal(err)
				}
				go func() { _, _ = io.Copy(io.Discard, out) }()
				last = 0
				for range round * 7 { // as far as it comes while it is read
					var f filled
					if err := ReadJSON(path, &f); err != nil || !f.whole() || f.Counter < last {
						t.Fatalf("read while written: counter %d after %d (%v)", f.Counter, last, err)
					}
					last = f.Counter
				}
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = child.Wait() // it was killed
				var f filled
				if err := ReadJSON(path, &f); err != nil || !f.whole() || f.Counter < last || f.Counter < told {
					t.Fatalf("after the kill: counter %d after %d (%v)", f.Counter, last, err)
				}
			}
			// What a killed writer left behind is taken over, and no writer leaves more.
			if err := WriteSealed(path, filled{}); err != nil {
				t.Fatal(err)
			}
			if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
				t.Errorf("left: %v (%v)", entries, err)
			}
		})
	}
}

func TestReadJSONSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string]string{"empty": "", "half": `{"counter": 1`, "type": `{"counter": "many"}`, "twice": "{}{}"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := ReadJSON(path, &filled{}); err == nil || errors.Is(err, ErrNotYet) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := ReadJSON(filepath.Join(dir, "missing"), &filled{}); !errors.Is(err, ErrNotYet) {
		t.Errorf("a missing file: %v", err)
	}
	if err := ReadJSON(filepath.Join(dir, "no", "folder"), &filled{}); !errors.Is(err, ErrNotYet) {
		t.Errorf("a missing folder: %v", err)
	}
	if err := ReadJSON(dir, &filled{}); err == nil || errors.Is(err, ErrNotYet) {
		t.Errorf("a folder: %v", err)
	}
}

func TestWritesThatFailLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	taken := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(taken, "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func(string, any) error{"sealed": WriteSealed, "liveness": WriteLiveness} {
		for path, v := range map[string]any{
			taken:                              filled{}, // a folder is in the way
			filepath.Join(dir, "no", "folder"): filled{},
			filepath.Join(dir, "unencodable"):  make(chan int),
		} {
			if err := write(path, v); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("%s %s: %v", name, path, err)
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left: %v (%v)", entries, err)
	}
}

func TestSealedBytesHaveTheirModeWhateverWasThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "job.sh")
	tmp := filepath.Join(filepath.Dir(path), ".job.sh.tmp")
	if err := os.WriteFile(tmp, []byte("left behind, and longer than what comes"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o700, 0o600, 0o400} {
		if err := WriteSealedBytes(path, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		data, readErr := os.ReadFile(path)
		if err := errors.Join(err, readErr); err != nil || info.Mode() != mode || string(data) != "#!/bin/sh\n" {
			t.Errorf("mode %v, content %q (%v)", info.Mode(), data, err)
		}
	}
}

func TestListOrders(t *testing.T) {
	folder := Folder(t.TempDir())
	if numbers, err := folder.ListOrders(); err != nil || len(numbers) != 0 {
		t.Errorf("without a folder: %v (%v)", numbers, err)
	}
	if err := os.Mkdir(folder.Orders(), 0o700); err != nil {
		t.Fatal(err)
	}
	want := []int32{1, 2, 10, 9999, 10000, 123456}
	for _, n := range slices.Backward(want) {
		if err := errors.Join(WriteSealed(folder.Order(n), Order{Number: n}), WriteLiveness(folder.OrderStatus(n), OrderStatus{}), WriteSealed(folder.OrderCancel(n), nil)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{".0003.json.tmp", "3.json", "0003.json~", "0003.json.tmp", "x0003.json", "99999999999.json", "-0003.json", "0003.jsonl"} {
		if err := os.WriteFile(filepath.Join(folder.Orders(), name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := folder.ListOrders()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("orders (%v, -want +got):\n%s", err, diff)
	}
	var order Order
	if err := ReadJSON(folder.Order(10), &order); err != nil || order.Number != 10 {
		t.Errorf("order 10: %+v (%v)", order, err)
	}
	if err := os.RemoveAll(folder.Orders()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder.Orders(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := folder.ListOrders(); err == nil {
		t.Error("a file in place of the folder went unseen")
	}
}

func TestLivenessIsOneLineOfJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lead.json")
	if err := WriteLiveness(path, LeadStatus{Counter: 3, Message: "a\nb"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil || !json.Valid(data) || strings.Count(string(data), "\n") != 1 || !Exists(path) || Exists(path+"x") {
		t.Errorf("wrote %q (%v)", data, err)
	}
}
