// Package embedded is a cluster of one machine that runs the same batch scripts as Slurm does: each node is an own
// loopback address, each job has its own detached supervisor that keeps time limit and exit record and outlives the
// control plane, and srun and scontrol are shims of the benchd binary.
//
// State is a folder per job, so that every look is a look at files:
//
//	jobs/ID/job.json    what was submitted
//	jobs/ID/released    the owner let it start
//	jobs/ID/cancelled   the owner wants it ended
//	jobs/ID/lock        held (flock) by the supervisor while it lives
//	jobs/ID/state.json  what the supervisor says
//	nodes/N             held (flock) by the job that has the node
//	schedule            held (flock) by the job that is next in line
package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/benchd/benchd/slurmadapter"
)

// minJobAge is how long a finished job stays listed, as Slurm's MinJobAge.
const minJobAge = 5 * time.Minute

// Version is what Info reports.
const Version = "embedded 1"

// Cluster is the adapter. It holds no state but a memory of which jobs have ended.
type Cluster struct {
	dir    string
	binary string
	nodes  int

	mu    sync.Mutex
	ended map[string]slurmadapter.Job
}

// job is job.json.
type job struct {
	Spec      slurmadapter.JobSpec
	Submitted time.Time
	// Subnet is the first three bytes of the nodes' addresses; Nodes how many there are.
	Subnet string
	Nodes  int
}

// state is state.json.
type state struct {
	State    slurmadapter.State
	Reason   string
	Nodes    []int
	Started  time.Time
	Ended    time.Time
	ExitCode string
}

// New returns the cluster whose state is in dir. The binary is benchd itself, which supervises the jobs.
func New(dir, binary string, nodes int) (*Cluster, error) {
	for _, sub := range []string{"jobs", "nodes", "bin"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("prepare the embedded cluster: %w", err)
		}
	}
	return &Cluster{dir: dir, binary: binary, nodes: nodes, ended: map[string]slurmadapter.Job{}}, nil
}

// subnet draws the nodes' addresses from the folder's name, so that two control planes on one machine do not meet.
func (c *Cluster) subnet() string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.dir)) // a hash takes everything
	sum := h.Sum32()
	return fmt.Sprintf("127.%d.%d.", 16+sum>>8%200, 1+sum%250)
}

func (c *Cluster) jobDir(id string) string { return filepath.Join(c.dir, "jobs", id) }

// Submit makes the job, held.
func (c *Cluster) Submit(ctx context.Context, spec slurmadapter.JobSpec) (string, error) {
	if spec.Nodelist != "" || spec.Exclude != "" {
		return "", fmt.Errorf("submit %s: the embedded cluster's nodes have no names to choose by: leave nodelist and exclude out: %w", spec.Name, slurmadapter.ErrRejected)
	}
	entries, err := os.ReadDir(filepath.Join(c.dir, "jobs"))
	if err != nil {
		return "", fmt.Errorf("submit %s: %w", spec.Name, err)
	}
	last := 0
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			last = max(last, n)
		}
	}
	for id := last + 1; ctx.Err() == nil; id++ {
		dir := c.jobDir(strconv.Itoa(id))
		if err := os.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return "", fmt.Errorf("submit %s: %w", spec.Name, err)
		}
		j := job{Spec: spec, Submitted: time.Now(), Subnet: c.subnet(), Nodes: c.nodes}
		if err := writeJSON(filepath.Join(dir, "job.json"), j); err != nil {
			return "", fmt.Errorf("submit %s: %w", spec.Name, err)
		}
		return strconv.Itoa(id), nil
	}
	return "", ctx.Err()
}

// Release starts the job's supervisor. It returns when the supervisor has taken the job over, so a control plane that
// dies in between finds the job still held.
func (c *Cluster) Release(ctx context.Context, id string) error {
	dir := c.jobDir(id)
	if exists(filepath.Join(dir, "released")) {
		return nil
	}
	if !exists(filepath.Join(dir, "job.json")) {
		return fmt.Errorf("release job %s: %w", id, slurmadapter.ErrNotFound)
	}
	log, err := os.OpenFile(filepath.Join(dir, "supervisor.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("release job %s: %w", id, err)
	}
	defer log.Close()
	cmd := exec.Command(c.binary, SupervisorVerb, c.dir, id)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("release job %s: start its supervisor: %w", id, err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-exited:
			if exists(filepath.Join(dir, "released")) {
				return nil
			}
			return fmt.Errorf("release job %s: its supervisor ended at once (%w), see %s", id, err, log.Name())
		case <-tick.C:
			if exists(filepath.Join(dir, "released")) {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("release job %s: %w", id, ctx.Err())
		}
	}
}

// Cancel asks the supervisor to end the job. A held one ends here and now.
func (c *Cluster) Cancel(_ context.Context, id string) error {
	dir := c.jobDir(id)
	if !exists(filepath.Join(dir, "job.json")) {
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, "cancelled"), nil, 0o600); err != nil {
		return fmt.Errorf("cancel job %s: %w", id, err)
	}
	return nil
}

// List returns the jobs, finished ones for five minutes more.
func (c *Cluster) List(ctx context.Context) ([]slurmadapter.Job, error) {
	entries, err := os.ReadDir(filepath.Join(c.dir, "jobs"))
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	var jobs []slurmadapter.Job
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		j, err := c.look(e.Name())
		if errors.Is(err, slurmadapter.ErrNotFound) {
			continue // being made, or left half-made by a kill: no job
		}
		if err != nil {
			return nil, fmt.Errorf("list jobs: %w", err)
		}
		if j.State.Stage() != slurmadapter.StageEnded || time.Since(j.Ended) < minJobAge {
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// Details is what the cluster knows of a job.
func (c *Cluster) Details(_ context.Context, id string) (map[string]string, error) {
	j, err := c.look(id)
	if err != nil {
		return nil, err
	}
	return map[string]string{"JobId": j.ID, "JobName": j.Name, "JobState": string(j.State), "NodeList": j.Nodes, "ExitCode": j.ExitCode}, nil
}

// Lookup finds a job whatever its age.
func (c *Cluster) Lookup(_ context.Context, id string, _ time.Time) (slurmadapter.Job, error) {
	return c.look(id)
}

func (c *Cluster) look(id string) (slurmadapter.Job, error) {
	c.mu.Lock()
	known, ok := c.ended[id]
	c.mu.Unlock()
	if ok {
		return known, nil
	}
	found, err := c.read(id)
	if err == nil && found.State.Stage() == slurmadapter.StageEnded {
		c.mu.Lock()
		c.ended[id] = found
		c.mu.Unlock()
	}
	return found, err
}

func (c *Cluster) read(id string) (slurmadapter.Job, error) {
	dir := c.jobDir(id)
	var j job
	if err := readJSON(filepath.Join(dir, "job.json"), &j); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return slurmadapter.Job{}, fmt.Errorf("job %s: %w", id, slurmadapter.ErrNotFound)
	} else if err != nil {
		return slurmadapter.Job{}, err
	}
	out := slurmadapter.Job{ID: id, Name: j.Spec.Name, State: slurmadapter.Pending, Submitted: j.Submitted}
	if !exists(filepath.Join(dir, "released")) {
		out.Reason = "JobHeldUser"
		if info, err := os.Stat(filepath.Join(dir, "cancelled")); err == nil {
			out.State, out.Reason, out.Ended = slurmadapter.Cancelled, "", info.ModTime()
		}
		return out.WithRaw(), nil
	}
	// Asked before the state is read: a supervisor that ends in between has written its last word by then.
	alive := locked(filepath.Join(dir, "lock"))
	var st state
	if err := readJSON(filepath.Join(dir, "state.json"), &st); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return slurmadapter.Job{}, err
	}
	if st.State != "" {
		out.State, out.Reason = st.State, st.Reason
	}
	out.Started, out.Ended, out.ExitCode, out.Nodes = st.Started, st.Ended, st.ExitCode, nodeList(st.Nodes)
	if out.State.Stage() != slurmadapter.StageEnded && !alive {
		out.State, out.Reason, out.Ended = slurmadapter.NodeFail, "the job's supervisor is gone", time.Now()
	}
	return out.WithRaw(), nil
}

// Info describes the cluster.
func (c *Cluster) Info(context.Context) (slurmadapter.Info, error) {
	return slurmadapter.Info{Version: Version, Accounting: true}, nil
}

// Dial connects to a node.
func (c *Cluster) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

func nodeName(n int) string { return fmt.Sprintf("node%03d", n) }

func nodeList(nodes []int) string {
	list := ""
	for i, n := range nodes {
		if i > 0 {
			list += ","
		}
		list += nodeName(n)
	}
	return list
}

// locked says whether somebody holds the lock file.
func locked(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
