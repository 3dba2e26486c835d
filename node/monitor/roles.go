package monitor

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// roles are the processes of this node by their role: what the agent started is the server's, the agent itself is the client's (the
// load engine is a part of it) or, on a node without clients, the monitor's.
type roles struct {
	fs      procfs.FS
	self    int
	metrics []Metric

	began  time.Time
	looked time.Time    // when the tree was last looked at
	tree   map[int]bool // below the agent
	before map[int]procfs.ProcStat
	at     time.Time // of before
}

// mostBetween bounds how long it is not looked which processes there are: to read all of a node's takes some milliseconds. In the
// beginning, when servers start theirs, it is looked more often.
const mostBetween = 10 * time.Second

// NewRoles is the source of this process, which plays the role, and of all below it, which are servers.
func NewRoles(role string) (Source, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return nil, fmt.Errorf("sample processes: %w", err)
	}
	r := &roles{fs: fs, self: os.Getpid(), began: time.Now(), before: map[int]procfs.ProcStat{}}
	for _, name := range []string{role, "server"} {
		r.metrics = append(r.metrics,
			Metric{FamilyRole, name, "cpu_percent", "CPU time of the role's processes, in percent of one CPU, since the sample before."},
			Metric{FamilyRole, name, "memory_bytes", "Resident memory of the role's processes; what they share counts for each."},
			Metric{FamilyRole, name, "processes", "Processes of the role."})
	}
	return r, nil
}

func (r *roles) Metrics() []Metric { return r.metrics }

func (r *roles) Close() error { return nil }

func (r *roles) Read(_ context.Context, v []float64) {
	now := time.Now()
	if now.Sub(r.looked) >= min(now.Sub(r.began)/4, mostBetween) {
		r.looked, r.tree = now, tree(r.self)
	}
	seen := map[int]procfs.ProcStat{}
	passed := now.Sub(r.at).Seconds()
	first := r.at.IsZero()
	r.sum(v[0:3], []int{r.self}, seen, passed)
	if pids := slices.Collect(maps.Keys(r.tree)); len(pids) > 0 {
		r.sum(v[3:6], pids, seen, passed)
	}
	if first { // no time has passed since anything
		v[0] = nan
		v[3] = nan
	}
	r.before, r.at = seen, now
}

// sum adds up processes. One that is gone is left out; what it used since it was last seen is lost.
func (r *roles) sum(v []float64, pids []int, seen map[int]procfs.ProcStat, passed float64) {
	v[0], v[1], v[2] = 0, 0, 0
	for _, pid := range pids {
		proc, err := r.fs.Proc(pid)
		if err != nil {
			delete(r.tree, pid)
			continue
		}
		stat, err := proc.Stat()
		if err != nil {
			delete(r.tree, pid)
			continue
		}
		seen[pid] = stat
		if before, known := r.before[pid]; known && before.Starttime == stat.Starttime && passed > 0 {
			v[0] += 100 * (stat.CPUTime() - before.CPUTime()) / passed
		}
		v[1] += float64(stat.ResidentMemory())
		v[2]++
	}
}

// tree are the processes below one, by the lists of children that the kernel keeps for each thread (proc(5), where it was built with
// CONFIG_PROC_CHILDREN). A process that ends meanwhile may hide others, until the next look. It costs what the tree has of threads, and
// not what the node has of processes.
func tree(pid int) map[int]bool {
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)); err != nil {
		return Descendants(pid)
	}
	found := map[int]bool{}
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", queue[0]))
		if err != nil {
			continue // it has ended
		}
		for _, task := range tasks {
			list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", queue[0], task.Name()))
			if err != nil {
				continue
			}
			for _, word := range strings.Fields(string(list)) {
				if child, err := strconv.Atoi(word); err == nil && !found[child] {
					found[child] = true
					queue = append(queue, child)
				}
			}
		}
	}
	return found
}

// Descendants are all processes below one, as they are now. It reads all of the node's.
func Descendants(pid int) map[int]bool {
	procs, err := procfs.AllProcs()
	if err != nil {
		return map[int]bool{}
	}
	children := map[int][]int{}
	for _, p := range procs {
		if stat, err := p.Stat(); err == nil {
			children[stat.PPID] = append(children[stat.PPID], p.PID)
		}
	}
	found := map[int]bool{}
	for queue := children[pid]; len(queue) > 0; queue = queue[1:] {
		if !found[queue[0]] {
			found[queue[0]] = true
			queue = append(queue, children[queue[0]]...)
		}
	}
	return found
}
