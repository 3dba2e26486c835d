// Package agent is the process on each node of a job. It starts what its node's roles need, captures their output,
// samples the node and serves the executor API over TLS. On rank 0 it is also the lead, which works off orders with or
// without a control plane.
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/node/executor"
	"github.com/benchd/benchd/node/logs"
)

// firstPort is where the executor API is served; the next free one is taken when it is in use.
const firstPort = 6000

// Options of an agent; they come from its command line and from the job's environment.
type Options struct {
	Folder  node.Folder
	Version string
	// Rank, Node and Job identify it; see FromEnvironment.
	Rank int
	Node string
	Job  string
	// Address of the node; found by itself when empty.
	Address string
	// ClockSkew is added to the node's clocks, in tests of nodes whose clocks differ.
	ClockSkew time.Duration
}

// agent is the state of one node.
type agent struct {
	opts     Options
	folder   node.Folder
	manifest node.Manifest
	log      *slog.Logger
	capture  *logs.Capture
	zero     time.Time // of the node's monotonic clock
	address  string
	port     int
	token    string
	secrets  node.Secrets
	mask     *strings.Replacer // of what no log or status may hold
	exec     *executor.Executor
	servers  []*server
	// metrics are what this node tells in Prometheus' format: of its load, and of its samples.
	metrics *prometheus.Registry
	// heard is when the lead was last heard of, in nanoseconds after zero.
	heard atomic.Int64
	// shutdown is closed when the lead asks for the end.
	shutdown chan struct{}
	asked    atomic.Bool
	lead     atomic.Pointer[lead]
}

// Run is the agent's life: until the lead ends it, the lead is lost, or ctx is cancelled (SIGTERM).
func Run(ctx context.Context, opts Options) error {
	a := &agent{opts: opts, folder: opts.Folder, zero: time.Now(), shutdown: make(chan struct{})}
	if err := a.load(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper of this node's processes: %w", err)
	}
	if err := os.MkdirAll(a.folder.Logs(opts.Node), 0o700); err != nil {
		return fmt.Errorf("make the node's log folder: %w", err)
	}
	capture, err := a.newCapture(logs.Source{Component: a.component(), Container: logs.AgentContainer})
	if err != nil {
		return err
	}
	a.capture = capture
	a.log = slog.New(slog.NewTextHandler(lineWriter{capture}, nil)).With("node", opts.Node)
	err = a.serve(ctx)
	if err != nil {
		a.log.Error("the agent ends", "error", err)
	}
	return errors.Join(err, capture.Close())
}

// load reads what the control plane left in the job folder.
func (a *agent) load() error {
	if err := node.ReadJSON(a.folder.Manifest(), &a.manifest); err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	if v := a.manifest.Protocol; v < node.ProtocolVersion-1 || v > node.ProtocolVersion {
		return fmt.Errorf("start agent: the job was made by a benchd that speaks protocol %d, this one speaks %d", v, node.ProtocolVersion)
	}
	if a.opts.Rank >= len(a.manifest.Ranks) {
		return fmt.Errorf("start agent: rank %d, but the manifest has %d nodes", a.opts.Rank, len(a.manifest.Ranks))
	}
	token, err := os.ReadFile(a.folder.Token())
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	a.token = string(token)
	if err := node.ReadJSON(a.folder.Secrets(), &a.secrets); err != nil && !errors.Is(err, node.ErrNotYet) {
		return fmt.Errorf("start agent: %w", err)
	}
	a.mask = logs.Mask(a.secretValues()...)
	if a.address = a.opts.Address; a.address == "" {
		if a.address, err = NodeAddress(a.manifest.Network); err != nil {
			return fmt.Errorf("start agent: %w", err)
		}
	}
	return nil
}

// newCapture opens a raw log of this node.
func (a *agent) newCapture(s logs.Source) (*logs.Capture, error) {
	capture, err := logs.NewCapture(filepath.Join(a.folder.Logs(a.opts.Node), s.File()), a.secretValues()...)
	if err != nil {
		return nil, err
	}
	capture.Skew(a.opts.ClockSkew)
	return capture, nil
}

// component is the role that the agent's own log lines are told by.
func (a *agent) component() string {
	roles := a.manifest.Ranks[a.opts.Rank]
	for _, role := range []string{node.RoleServer, node.RoleClient} {
		if slices.Contains(roles, role) {
			return role
		}
	}
	return node.RoleMonitor
}

func (a *agent) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listener, err := a.listen(ctx)
	if err != nil {
		return err
	}
	a.metrics = prometheus.NewRegistry()
	a.exec = executor.New(a.opts.Node, a.zero.Add(-a.opts.ClockSkew), a.log)
	a.servers = a.newServers()
	api, err := a.serveAPI(listener)
	if err != nil {
		return err
	}
	defer api.close()
	if err := a.register(); err != nil {
		return err
	}
	a.log.Info("agent is up", "address", a.address, "port", a.port, "roles", fmt.Sprint(a.manifest.Ranks[a.opts.Rank]))

	defer a.cleanUp() // once all processes have ended
	processes := newProcesses(a.manifest.GraceTime.Duration, a.log)
	defer processes.stopAll()
	serving, end := context.WithCancel(ctx)
	defer end() // before the processes are ended, for none of them then ends by itself
	go reapOrphans(serving)
	go a.startGateway(serving, processes)
	defer a.monitor(ctx)() // what was pushed goes while the gateway is still there
	for _, s := range a.servers {
		go s.run(serving, processes)
	}
	defer a.exec.Stop() // before the servers go, so that the records are whole

	if a.opts.Rank == 0 {
		l := newLead(a)
		a.lead.Store(l)
		return l.run(ctx)
	}
	return a.follow(ctx)
}

// follow is a member's life: it goes on until the lead says so, is lost, or the job ends.
func (a *agent) follow(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			a.log.Info("the job is being ended")
			return nil
		case <-a.shutdown:
			a.log.Info("the lead ends the job")
			return nil
		case <-tick.C:
			// A lead that was never heard of may itself be starting still.
			heard, limit := time.Duration(a.heard.Load()), a.manifest.LeadLostTimeout.Duration
			if heard == 0 {
				limit += a.manifest.StartTimeout.Duration
			}
			if silent := time.Since(a.zero) - heard; silent > limit {
				return fmt.Errorf("the lead has not been heard of for %s: ending what runs on this node", silent.Round(time.Second))
			}
		}
	}
}

func (a *agent) cleanUp() {
	for _, s := range a.servers {
		if err := s.cleanUp(); err != nil {
			a.log.Warn("take away what a server left", "server", s.replica.Name, "error", err)
		}
	}
}

func (a *agent) listen(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	var err error
	first := cmp.Or(a.manifest.ExecutorPort, firstPort)
	for port := first; port < first+100; port++ {
		var l net.Listener
		if l, err = lc.Listen(ctx, "tcp", net.JoinHostPort(a.address, strconv.Itoa(port))); err == nil {
			a.port = port
			return l, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return nil, fmt.Errorf("listen for the executor API on %s: %w", a.address, err)
}

func (a *agent) register() error {
	if err := os.MkdirAll(a.folder.Agents(), 0o700); err != nil {
		return fmt.Errorf("register agent: %w", err)
	}
	record := node.AgentRecord{
		Protocol: node.ProtocolVersion, Rank: a.opts.Rank, Node: a.opts.Node, Address: a.address, Port: a.port, PID: os.Getpid(),
		JobID: a.opts.Job, Started: time.Now(), Version: a.opts.Version,
	}
	describeMachine(&record)
	if err := node.WriteSealed(a.folder.Agent(a.opts.Rank), record); err != nil {
		return fmt.Errorf("register agent: %w", err)
	}
	return nil
}

// lineWriter hands what slog writes, a line at a time, to a capture.
type lineWriter struct{ capture *logs.Capture }

func (w lineWriter) Write(line []byte) (int, error) {
	n := len(line)
	if n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	w.capture.Line("out", line)
	return n, nil
}
