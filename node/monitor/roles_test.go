package monitor

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// Both ways to a process's descendants find its grandchildren too, and nothing else.
func TestTreesOfProcesses(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 60 & echo $$ $!; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pids := strings.Fields(line)
	grandchild, err := strconv.Atoi(pids[1])
	if err != nil {
		t.Fatal(err)
	}
	for name, found := range map[string]map[int]bool{"children": tree(os.Getpid()), "all": Descendants(os.Getpid())} {
		if !found[cmd.Process.Pid] || !found[grandchild] || found[os.Getpid()] || found[1] {
			t.Errorf("%s: %v, want %s", name, found, fmt.Sprint(pids))
		}
	}
	if p, err := os.FindProcess(grandchild); err == nil {
		_ = p.Kill() // the shell ends with it
	}
	_ = cmd.Wait() // it was made to end
	if found := tree(cmd.Process.Pid); len(found) > 0 {
		t.Errorf("below what has ended: %v", found)
	}
}

// BenchmarkTree is a look at the processes below this one, and at all of the machine.
func BenchmarkTree(b *testing.B) {
	for name, look := range map[string]func(int) map[int]bool{"children": tree, "all": Descendants} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				look(os.Getpid())
			}
		})
	}
}
