package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/container"
	"github.com/benchd/benchd/node/logs"
	"github.com/benchd/benchd/services"
)

// commandFor makes a service's process into the command that this node runs: in its container, or found on PATH.
func (s *server) commandFor(p services.Process) (container.Command, error) {
	spec := &s.agent.manifest.Container
	env := maps.Clone(spec.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, s.agent.secrets.Env)
	if len(s.replica.GPUs) > 0 {
		env["CUDA_VISIBLE_DEVICES"] = gpuList(s.replica.GPUs)
	}
	maps.Copy(env, p.Env)
	if spec.Runtime != api.RuntimeNone {
		env = container.Environment(os.Environ(), env)
	}
	command, err := container.Wrap(spec, container.Process{
		Name: fmt.Sprintf("%.8s-%s-%s", s.agent.manifest.Allocation.UID, s.agent.opts.Node, s.logName(p)), Args: p.Args, Env: env, Folder: s.scratch(), Binds: s.ownBinds(p), GPUs: len(s.replica.GPUs) > 0,
		Node: s.agent.opts.Node, Shared: len(s.replica.Ranks) > 1,
	})
	if err != nil {
		return command, err
	}
	program, err := s.find(command.Args[0])
	if err != nil {
		return command, err
	}
	if len(command.CleanUp) > 0 {
		s.mu.Lock()
		s.cleanUps[strings.Join(command.CleanUp, "\x00")] = command.CleanUp
		s.mu.Unlock()
	}
	command.Args = append([]string{program}, command.Args[1:]...)
	return command, nil
}

// ownBinds are mounts that the process needs although the user does not name them: its folder on the node's disk, and, for the
// simulated server, benchd itself and the node's log folder.
func (s *server) ownBinds(p services.Process) []string {
	var binds []string
	switch scratch := s.scratch(); s.agent.manifest.Container.Runtime {
	case api.RuntimePodman, api.RuntimePyxis:
		binds = append(binds, scratch+":"+scratch)
	case api.RuntimeApptainer, api.RuntimeSingularity:
		if !strings.HasPrefix(scratch, "/tmp/") { // which these mount by themselves
			binds = append(binds, scratch+":"+scratch)
		}
	}
	if p.Args[0] == s.binary {
		logs := s.agent.folder.Logs(s.agent.opts.Node)
		binds = append(binds, s.binary+":"+s.binary, logs+":"+logs)
	}
	return binds
}

// cleanUpTimeout bounds the taking away of one container.
const cleanUpTimeout = 20 * time.Second

// cleanUp takes away what is left once the processes have ended: containers that were killed, and the folder on the node's disk.
func (s *server) cleanUp() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, args := range s.cleanUps {
		ctx, cancel := context.WithTimeout(context.Background(), cleanUpTimeout)
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.WaitDelay = time.Second
		if out, err := cmd.CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out))
		}
		cancel()
	}
	return errors.Join(append(errs, os.RemoveAll(s.scratch()))...)
}

// longestScratch is what a path of 107 bytes, the longest that a socket can have, leaves of Ray's
// /ray/session_2026-01-31_10-24-51_593334_1234567/sockets/plasma_store.
const longestScratch = 107 - 68

// scratch is the server's folder on the node's own disk. All nodes of the server call it the same, for some services have one
// node say where the others keep their files. Where the site's TMPDIR is too long for sockets, or cannot be seen in the container,
// it lies in /tmp.
func (s *server) scratch() string {
	name := fmt.Sprintf("benchd-%.8s-%s", s.agent.manifest.Allocation.UID, s.replica.Name)
	dir := filepath.Join(os.TempDir(), name)
	if len(dir) > longestScratch || s.agent.manifest.Container.Runtime == api.RuntimeCharliecloud {
		return filepath.Join("/tmp", name)
	}
	return dir
}

// find looks for a program in the folders of container.path, then on PATH.
func (s *server) find(program string) (string, error) {
	if strings.Contains(program, "/") {
		return program, nil
	}
	for _, dir := range s.agent.manifest.Container.Path {
		if found, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return found, nil
		}
	}
	found, err := exec.LookPath(program)
	if err != nil {
		return "", mistake("ServiceProgramMissing", "%s is not to be found on node %s: it is in none of container.path, nor on PATH (%s); name the module that brings it in slurm.modules, its folder in container.path, or use a container",
			program, s.agent.opts.Node, os.Getenv("PATH"))
	}
	return filepath.Abs(found)
}

// mistakeError is a failure that only the user can mend.
type mistakeError struct {
	reason, text string
}

var _ error = (*mistakeError)(nil)

func (e *mistakeError) Error() string { return e.text }

func mistake(reason, format string, args ...any) error {
	return &mistakeError{reason, fmt.Sprintf(format, args...)}
}

// environment is the node's own with the process's, which wins. Folders of container.path come first in PATH.
func (a *agent) environment(own map[string]string) []string {
	env := os.Environ()
	if dirs := a.manifest.Container.Path; len(dirs) > 0 {
		env = append(env, "PATH="+strings.Join(append(slices.Clone(dirs), os.Getenv("PATH")), ":"))
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		env = append(env, name+"="+own[name])
	}
	return env
}

// startProcess starts one of the server's processes once what it waits for is there.
func (s *server) startProcess(ctx context.Context, processes *processes, p services.Process) error {
	if err := s.awaitAddress(ctx, p.Await); err != nil {
		return err
	}
	if p.Gate != nil {
		if err := s.awaitGate(ctx, p.Gate); err != nil {
			return err
		}
	}
	command, err := s.commandFor(p)
	if err != nil {
		return err
	}
	source := logs.Source{Node: s.agent.opts.Node, Component: node.RoleServer, Container: s.logName(p)}
	s.mu.Lock()
	s.sources = append(s.sources, source)
	s.mu.Unlock()
	capture, err := s.agent.newCapture(source)
	if err != nil {
		return err
	}
	var up <-chan struct{}
	if p.Ready != "" {
		up = capture.Await(p.Ready)
	}
	proc, err := processes.start(command.Args, s.agent.environment(command.Env), capture)
	if err != nil {
		return err
	}
	s.started(p, command, proc)
	if up == nil {
		return nil
	}
	s.say("waiting for %s to say %q", p.Args[0], p.Ready)
	select {
	case <-up:
		return nil
	case <-proc.exited:
		return &exitedError{proc}
	case <-ctx.Done():
		return &gateError{cmp.Or(p.Late, reasonHealth), fmt.Errorf("%s did not say %q in time: see its log, and check that the server's nodes reach each other", strings.Join(p.Args, " "), p.Ready)}
	}
}

// started keeps what was started. The command of the last process of a server's first node is the server's.
func (s *server) started(p services.Process, command container.Command, proc *process) {
	s.agent.log.Info("process started", "server", s.replica.Name, "process", s.logName(p), "pid", proc.cmd.Process.Pid, "command", strings.Join(command.Args, " "))
	go func() {
		<-proc.exited // at the latest when the agent ends all processes
		s.once.Do(func() { close(s.died) })
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.procs = append(s.procs, proc)
	s.state.PID, s.state.Command = proc.cmd.Process.Pid, command.Args
	s.state.Env = map[string]string{}
	for name, value := range command.Env {
		if services.SecretVariable(name) || slices.ContainsFunc(s.agent.secretValues(), func(secret string) bool { return strings.Contains(value, secret) }) {
			value = "***"
		}
		s.state.Env[name] = value
	}
}

func (s *server) logName(p services.Process) string {
	if p.Name == "" {
		return s.replica.Name
	}
	return s.replica.Name + "-" + p.Name
}

// awaitAddress waits until something accepts connections there.
func (s *server) awaitAddress(ctx context.Context, address string) error {
	if address == "" {
		return nil
	}
	s.say("waiting for %s", address)
	var dialer net.Dialer
	return s.until(ctx, func() error {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}, &mismatch{"ServerNodesApart", fmt.Sprintf("the first node of %s cannot be reached from node %s", s.replica.Name, s.agent.opts.Node)})
}

// mismatch names a wait that came to nothing.
type mismatch struct{ reason, text string }

// gateError is a gate that did not come to hold, or holds no more.
type gateError struct {
	reason string
	err    error
}

func (e *gateError) Error() string { return e.err.Error() }
func (e *gateError) Unwrap() error { return e.err }

// awaitGate waits until the gate holds. A process of this node that ends meanwhile ends the wait.
func (s *server) awaitGate(ctx context.Context, g *services.Gate) error {
	return s.until(ctx, func() error { return s.askGate(ctx, g) }, &mismatch{g.Reason, "not all nodes of " + s.replica.Name + " are joined"})
}

// gateTimeout bounds one run of a gate's program.
const gateTimeout = 30 * time.Second

func (s *server) askGate(ctx context.Context, g *services.Gate) error {
	ctx, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	command, err := s.commandFor(services.Process{Name: "gate", Args: g.Args, Env: g.Env})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, command.Args[0], command.Args[1:]...)
	cmd.Env = s.agent.environment(command.Env)
	cmd.WaitDelay = time.Second
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("%s did not answer: %w", strings.Join(g.Args, " "), ctx.Err())
	}
	if err != nil {
		last := strings.TrimSpace(string(output[max(0, len(output)-400):]))
		return fmt.Errorf("%s: %w: %s", strings.Join(g.Args, " "), err, last)
	}
	return g.Check(string(output))
}

// until repeats a look each health interval until it succeeds, the time is over, or a process of this server has ended.
func (s *server) until(ctx context.Context, look func() error, otherwise *mismatch) error {
	tick := time.NewTicker(s.agent.manifest.Service.Health.Interval.Duration)
	defer tick.Stop()
	for {
		err := look()
		if err == nil {
			return nil
		}
		if wrong := (*mistakeError)(nil); errors.As(err, &wrong) {
			return err
		}
		if ctx.Err() == nil {
			s.say("%v", err)
		}
		select {
		case <-s.died:
			return &exitedError{s.firstEnded()}
		case <-ctx.Done():
			return &gateError{otherwise.reason, fmt.Errorf("%s: %w", otherwise.text, err)}
		case <-tick.C:
		}
	}
}

// nodeAddresses are the addresses of the server's nodes. Those of others are in the records that their agents write.
func (s *server) nodeAddresses(ctx context.Context) ([]string, error) {
	addresses := make([]string, len(s.replica.Ranks))
	for i, rank := range s.replica.Ranks {
		if rank == s.agent.opts.Rank {
			addresses[i] = s.agent.address
			continue
		}
		err := s.until(ctx, func() error {
			var record node.AgentRecord
			if err := node.ReadJSON(s.agent.folder.Agent(rank), &record); err != nil {
				return err
			}
			addresses[i] = record.Address
			return nil
		}, &mismatch{"ServerNodesApart", fmt.Sprintf("the agent of rank %d has left no record", rank)})
		if err != nil {
			return nil, err
		}
	}
	return addresses, nil
}

// checkPort sees that the server's port is free before the start, for a server that finds it taken may just move to another.
func (s *server) checkPort() error {
	address := net.JoinHostPort(s.agent.address, strconv.Itoa(int(s.replica.Port)))
	probe, err := net.Listen("tcp", address)
	if err != nil {
		return &gateError{reasonPort, fmt.Errorf("port %d of %s is not free (%w): choose another service.port", s.replica.Port, s.agent.opts.Node, err)}
	}
	return probe.Close()
}

// checkContainer looks for what the container needs on this node.
func (s *server) checkContainer() error {
	spec := &s.agent.manifest.Container
	for _, problem := range []*container.Problem{container.CheckRuntime(spec), container.CheckImage(spec), container.CheckBinds(spec.Binds)} {
		if problem != nil {
			return mistake(problem.Reason, "on node %s: %s", s.agent.opts.Node, problem.Text)
		}
	}
	return nil
}

// alone does something while no other server of the job does it. The holder of the file is a server of this job, and the job
// ends when one of them fails, so a file that is left over harms nobody.
func (s *server) alone(ctx context.Context, do func() error) (err error) {
	path := filepath.Join(string(s.agent.folder), "preparing")
	for {
		f, openErr := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if openErr == nil {
			defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
			return do()
		}
		if !errors.Is(openErr, fs.ErrExist) {
			return fmt.Errorf("take turns with the other servers: %w", openErr)
		}
		s.say("waiting for another server that prepares")
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// secretValues are what no log or status may hold.
func (a *agent) secretValues() []string {
	values := []string{a.token, apiKey(a.token), a.secrets.APIKey}
	for _, value := range a.secrets.Env {
		values = append(values, value)
	}
	return slices.DeleteFunc(values, func(v string) bool { return v == "" })
}
