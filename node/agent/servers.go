package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/node/logs"
	"github.com/benchd/benchd/services"
)

// Reasons of a failed server.
const (
	reasonLaunch  = "ServerLaunchFailed"
	reasonPort    = "ServerPortInUse"
	reasonExited  = "ServerExited"
	reasonHealth  = "ServerUnhealthy"
	reasonPrepare = "ServerPreparationFailed"
)

const (
	// gateInterval is how often it is looked whether a server's gate still holds. Seldom, for the load is being measured meanwhile, and
	// a program such as `ray status` takes a second or two of CPU to come up.
	gateInterval = 30 * time.Second
	// gateAgain is when one that has just failed is asked again.
	gateAgain = 5 * time.Second
)

// server is this node's part of one server: all of it, or what runs on one of its nodes.
type server struct {
	replica node.Replica
	agent   *agent
	service *services.Service
	// part is this node's place among the server's.
	part   int
	url    string
	binary string

	// died is closed once a process of this server has ended.
	died chan struct{}
	once sync.Once

	mu    sync.Mutex
	state node.ServerState
	procs []*process
	// sources are the logs of its processes.
	sources []logs.Source
	// cleanUps are the commands that take away what its containers may leave.
	cleanUps map[string][]string
}

// newServers returns the parts of servers that this node is to run, not yet started.
func (a *agent) newServers() []*server {
	var servers []*server
	for _, replica := range a.manifest.Replicas {
		part := slices.Index(replica.Ranks, a.opts.Rank)
		if part < 0 {
			continue
		}
		s := &server{replica: replica, agent: a, part: part, died: make(chan struct{}), cleanUps: map[string][]string{}}
		if part == 0 {
			s.url = "http://" + net.JoinHostPort(a.address, strconv.Itoa(int(replica.Port)))
		}
		s.state = node.ServerState{Name: replica.Name, Part: part, URL: s.url, State: node.ServerStarting}
		servers = append(servers, s)
	}
	return servers
}

// direct asks servers of this node; a proxy that the site sets for the world outside has no place in between.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// apiKey is what the job's servers ask for. It is derived, so that there is one secret per job to keep.
func apiKey(token string) string {
	sum := sha256.Sum256([]byte("api-key:" + token))
	return hex.EncodeToString(sum[:16])
}

// run starts this node's part of the server and sees to its health until it ends.
func (s *server) run(ctx context.Context, processes *processes) {
	starting, cancel := context.WithTimeout(ctx, s.agent.manifest.Service.Health.Timeout.Duration)
	defer cancel()
	parts, err := s.start(starting, processes)
	if err == nil {
		err = s.becomeReady(starting)
	}
	if err == nil {
		cancel()
		err = s.watch(ctx, parts, gateInterval, gateAgain)
	}
	if err != nil && ctx.Err() == nil {
		s.fail(err)
	}
}

// start starts the processes of this node, each when what it waits for is there.
func (s *server) start(ctx context.Context, processes *processes) ([]services.Process, error) {
	a := s.agent
	service, err := services.Of(&a.manifest.Service)
	if err != nil {
		return nil, err
	}
	s.service = service
	if s.binary, err = os.Executable(); err != nil {
		return nil, err
	}
	if err := s.checkContainer(); err != nil {
		return nil, err
	}
	if s.part == 0 {
		if err := s.checkPort(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(s.scratch(), 0o700); err != nil {
		return nil, fmt.Errorf("make the server's folder on the node's own disk: %w", err)
	}
	addresses, err := s.nodeAddresses(ctx)
	if err != nil {
		return nil, err
	}
	parts, err := service.Launch(services.Launch{
		Binary: s.binary, Spec: a.manifest.Service, Address: a.address, Port: s.replica.Port, GPUs: s.replica.GPUs, CPUs: a.manifest.CPUs,
		APIKey: apiKey(a.token), Logs: a.folder.Logs(a.opts.Node), Scratch: s.scratch(), Replica: s.replica.Name, Nodes: addresses, Node: s.part,
	})
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if err := s.startProcess(ctx, processes, p); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// gpuList picks the replica's share of the devices that Slurm gave the node, which it names in CUDA_VISIBLE_DEVICES.
func gpuList(indices []int) string {
	given := strings.Split(os.Getenv("CUDA_VISIBLE_DEVICES"), ",")
	names := make([]string, 0, len(indices))
	for _, i := range indices {
		if i < len(given) && given[i] != "" {
			names = append(names, given[i])
		} else {
			names = append(names, strconv.Itoa(i))
		}
	}
	return strings.Join(names, ",")
}

// becomeReady polls until the server answers, the socket is its own and it is prepared. A part that answers no requests is
// ready once its processes are up: whether they work together is for the first part to find out.
func (s *server) becomeReady(ctx context.Context) error {
	var p services.Prepared
	if s.part == 0 {
		health := s.agent.manifest.Service.Health
		late := &mismatch{reasonHealth, fmt.Sprintf("not healthy %s after its start: see its log, or raise service.health.timeout; last seen", health.Timeout.Duration)}
		err := s.until(ctx, func() error { return s.check(ctx, health.Endpoint) }, late)
		if err != nil {
			return err
		}
		if p, err = s.prepare(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.State, s.state.Message, s.state.Version, s.state.Model, s.state.Ready = node.ServerReady, "", p.Version, p.Model, time.Now()
	s.agent.log.Info("server is ready", "server", s.replica.Name, "part", s.part, "url", s.url, "version", p.Version)
	return nil
}

// prepare gets the healthy server ready. A process that ends meanwhile ends the preparation.
func (s *server) prepare(ctx context.Context) (services.Prepared, error) {
	if s.service.Prepare == nil {
		return services.Prepared{}, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.died:
			cancel(&exitedError{s.firstEnded()})
		case <-ctx.Done():
		}
	}()
	p, err := s.service.Prepare(ctx, services.Server{
		URL: s.url, Spec: s.agent.manifest.Service, APIKey: apiKey(s.agent.token), Progress: s.say, Alone: s.alone,
	})
	if exited, ok := context.Cause(ctx).(*exitedError); ok && err != nil { //nolint:errorlint // set as it is above
		return p, exited
	}
	if err != nil {
		if wrong := (*services.UserError)(nil); errors.As(err, &wrong) {
			return p, mistake(wrong.Reason, "%v", err)
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("not prepared %s after its start: raise service.health.timeout; last seen: %w", s.agent.manifest.Service.Health.Timeout.Duration, err)
		}
		return p, &gateError{reasonPrepare, err}
	}
	return p, nil
}

// watch returns when the server fails: a process of it ends, or a gate holds no more. A gate that fails once may come back, and
// one whose program does not answer in time says nothing: the node may be busy.
func (s *server) watch(ctx context.Context, parts []services.Process, every, again time.Duration) error {
	next := time.NewTimer(every)
	defer next.Stop()
	failures := map[*services.Gate]int{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.died:
			return &exitedError{s.firstEnded()}
		case <-next.C:
		}
		wait := every
		for _, p := range parts {
			if p.Gate == nil {
				continue
			}
			err := s.askGate(ctx, p.Gate)
			if err == nil {
				failures[p.Gate] = 0
				continue
			}
			if errors.Is(err, context.DeadlineExceeded) {
				s.agent.log.Warn("a look at the server's nodes came to nothing", "server", s.replica.Name, "error", err)
				continue
			}
			if failures[p.Gate]++; failures[p.Gate] >= 2 {
				return &gateError{p.Gate.Lost, fmt.Errorf("a node of the server is lost: %w", err)}
			}
			wait = again
		}
		next.Reset(wait)
	}
}

// check asks whether the server is healthy, and sees that it is this job's own that answers.
func (s *server) check(ctx context.Context, path string) error {
	// Without the key: who answers is known below.
	if err := askHealth(ctx, s.url, path, ""); err != nil {
		return err
	}
	if s.agent.manifest.Container.Runtime == api.RuntimePyxis {
		return nil // Slurm's daemon is the parent of what srun starts
	}
	// Whatever starts the server may have left it to this agent, which is the reaper of all that it starts.
	own, err := ownsListener(os.Getpid(), s.agent.address, int(s.replica.Port))
	if err != nil {
		return err
	}
	if !own {
		return fmt.Errorf("GET %s answers, but port %d belongs to another process: choose another service.port", path, s.replica.Port)
	}
	return nil
}

// healthPatience bounds one question for a server's health.
const healthPatience = 5 * time.Second

// askHealth asks a server whether it is healthy, with its key where there is one: what stands before an external server may ask for it.
func askHealth(ctx context.Context, url, path, key string) error {
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
	if err != nil {
		return err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := direct.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return errors.New("it does not listen yet")
	}
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return &healthError{path, resp.StatusCode}
	}
	return nil
}

// healthError is an answer to the question for a server's health that is not 200.
type healthError struct {
	path string
	code int
}

var _ error = (*healthError)(nil)

func (e *healthError) Error() string { return fmt.Sprintf("GET %s: HTTP %d", e.path, e.code) }

// say tells people what is going on.
func (s *server) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Message = s.agent.mask.Replace(fmt.Sprintf(format, args...))
}

// exitedError is a process of the server that has ended, which none should.
type exitedError struct{ proc *process }

func (e *exitedError) Error() string {
	err := e.proc.err
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Sprintf("%s ended by itself: %v", e.proc.name(), err)
}

// firstEnded is the first of this server's processes that has ended.
func (s *server) firstEnded() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.procs {
		select {
		case <-p.exited:
			return p
		default:
		}
	}
	return s.procs[len(s.procs)-1]
}

// fail records why the server failed, and who is to blame. A known failure among its last lines tells that better than how it ended.
func (s *server) fail(err error) {
	rule, found := s.explain()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.state
	st.State, st.Reason, st.Class, st.Message, st.Since = node.ServerFailed, reasonLaunch, api.FailureService, s.agent.mask.Replace(err.Error()), time.Now()
	var exited *exitedError
	var wrong *mistakeError
	var gate *gateError
	proc := (*process)(nil)
	switch {
	case errors.As(err, &exited):
		st.State, st.Reason, proc = node.ServerExited, reasonExited, exited.proc
	case errors.As(err, &wrong):
		st.Reason, st.Class = wrong.reason, api.FailureUser
	case errors.As(err, &gate):
		st.Reason = gate.reason
	}
	if proc == nil && len(s.procs) > 0 {
		proc = s.procs[len(s.procs)-1]
	}
	if proc != nil {
		st.Evidence = proc.capture.Last()
	}
	if rule != nil && unexplained[st.Reason] && wrong == nil {
		st.Reason, st.Class, st.Evidence = rule.Name, rule.Class, found.Lines
		st.Message += fmt.Sprintf(": %s: %s", rule.Meaning, rule.NextStep)
	}
	s.agent.log.Error("server failed", "server", s.replica.Name, "part", s.part, "reason", st.Reason, "error", err)
}

func (s *server) status() node.ServerState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}
