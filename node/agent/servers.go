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
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/benchd/benchd/api/node"
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

// server is one server process of this node.
type server struct {
	replica node.Replica
	agent   *agent
	service *services.Service
	url     string

	mu    sync.Mutex
	state node.ServerState
	proc  *process
}

// newServers returns the servers that this node is to run, not yet started.
func (a *agent) newServers() []*server {
	var servers []*server
	for _, replica := range a.manifest.Replicas {
		if replica.Ranks[0] != a.opts.Rank {
			continue
		}
		s := &server{replica: replica, agent: a, url: "http://" + net.JoinHostPort(a.address, strconv.Itoa(int(replica.Port)))}
		s.state = node.ServerState{Name: replica.Name, URL: s.url, State: node.ServerStarting}
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

// run starts the server and sees to its health until it ends.
func (s *server) run(ctx context.Context, processes *processes) {
	if err := s.start(processes); err != nil {
		s.fail(reasonLaunch, err)
		return
	}
	if s.awaitHealthy(ctx) {
		select {
		case <-s.proc.exited:
			s.exited()
		case <-ctx.Done():
		}
	}
}

func (s *server) start(processes *processes) error {
	a := s.agent
	service, err := services.Get(a.manifest.Service.Name)
	if err != nil {
		return err
	}
	s.service = service
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// Looked at before the start, for a server that finds its port taken may also just move to another.
	probe, err := net.Listen("tcp", net.JoinHostPort(a.address, strconv.Itoa(int(s.replica.Port))))
	if err != nil {
		return fmt.Errorf("port %d of %s is not free (%w): choose another service.port", s.replica.Port, a.opts.Node, err)
	}
	if err := probe.Close(); err != nil {
		return err
	}
	command, err := service.Launch(services.Launch{
		Binary: self, Spec: a.manifest.Service, Address: a.address, Port: s.replica.Port, GPUs: s.replica.GPUs,
		APIKey: apiKey(a.token), Logs: a.folder.Logs(a.opts.Node), Replica: s.replica.Name,
	})
	if err != nil {
		return err
	}
	capture, err := logs.NewCapture(filepath.Join(a.folder.Logs(a.opts.Node), logs.Source{Component: node.RoleServer, Container: s.replica.Name}.File()))
	if err != nil {
		return err
	}
	proc, err := processes.start(command.Args, s.environment(command.Env), capture)
	if err != nil {
		return err
	}
	a.log.Info("server started", "server", s.replica.Name, "pid", proc.cmd.Process.Pid, "command", strings.Join(command.Args, " "))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc, s.state.PID = proc, proc.cmd.Process.Pid
	return nil
}

// environment is the node's own, the user's, and the service's, later ones winning.
func (s *server) environment(command map[string]string) []string {
	env := os.Environ()
	add := func(pairs map[string]string) {
		for name, value := range pairs {
			env = append(env, name+"="+value)
		}
	}
	if len(s.replica.GPUs) > 0 {
		add(map[string]string{"CUDA_VISIBLE_DEVICES": gpuList(s.replica.GPUs)})
	}
	add(s.agent.manifest.Container.Env)
	add(command)
	return env
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

// awaitHealthy polls until the server answers, the socket is its own and it is prepared. It says whether it came to that.
func (s *server) awaitHealthy(ctx context.Context) bool {
	health := s.agent.manifest.Service.Health
	deadline := time.Now().Add(health.Timeout.Duration)
	tick := time.NewTicker(health.Interval.Duration)
	defer tick.Stop()
	var last error
	for {
		if last = s.check(ctx, health.Endpoint); last == nil {
			return s.prepare(ctx, deadline)
		}
		s.mu.Lock()
		s.state.Message = last.Error()
		s.mu.Unlock()
		select {
		case <-s.proc.exited:
			s.exited()
			return false
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		if time.Now().After(deadline) {
			s.fail(reasonHealth, fmt.Errorf("not healthy %s after its start: %w: see its log, or raise service.health.timeout", health.Timeout.Duration, last))
			return false
		}
	}
}

func (s *server) check(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return err
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
		return fmt.Errorf("GET %s: HTTP %d", path, resp.StatusCode)
	}
	own, err := ownsListener(s.proc.cmd.Process.Pid, s.agent.address, int(s.replica.Port))
	if err != nil {
		return err
	}
	if !own {
		return fmt.Errorf("GET %s answers, but port %d belongs to another process: choose another service.port", path, s.replica.Port)
	}
	return nil
}

func (s *server) prepare(ctx context.Context, deadline time.Time) bool {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	version := ""
	if s.service.Prepare != nil {
		var err error
		if version, err = s.service.Prepare(ctx, s.url, s.agent.manifest.Service.Model, apiKey(s.agent.token)); err != nil {
			s.fail(reasonPrepare, err)
			return false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.State, s.state.Message, s.state.Version, s.state.Ready = node.ServerReady, "", version, time.Now()
	s.agent.log.Info("server is ready", "server", s.replica.Name, "url", s.url, "version", version)
	return true
}

func (s *server) fail(reason string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.State, s.state.Reason, s.state.Message = node.ServerFailed, reason, err.Error()
	if reason == reasonLaunch && strings.Contains(err.Error(), "is not free") {
		s.state.Reason = reasonPort
	}
	s.state.Evidence = s.evidence()
	s.agent.log.Error("server failed", "server", s.replica.Name, "reason", s.state.Reason, "error", err)
}

// exited records that the process ended by itself, which a server never should.
func (s *server) exited() {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.proc.err
	if err == nil {
		err = errors.New("exit status 0")
	}
	s.state.State, s.state.Reason = node.ServerExited, reasonExited
	s.state.Message = fmt.Sprintf("its process ended by itself: %v", err)
	s.state.Evidence = s.evidence()
	s.agent.log.Error("server ended by itself", "server", s.replica.Name, "error", err)
}

func (s *server) evidence() []string {
	if s.proc == nil {
		return nil
	}
	return s.proc.capture.Last()
}

func (s *server) status() node.ServerState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}
