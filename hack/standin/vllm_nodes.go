package main

// How the nodes of one vLLM server find each other: with --nnodes by torch.distributed's store at the master's address, with
// the backend ray by a placement group (sources: see vllm.go).
//
// Not verified: the words of torch when a node does not come or goes. That a follower ends when the head's process is gone
// is taken from its blocking reads on that connection; the real one may take minutes.

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// peers are the other nodes of a server. lost is closed when the first of them goes.
type peers struct {
	mu    sync.Mutex
	conns []net.Conn
	lost  chan struct{}
	once  sync.Once
}

func newPeers() *peers { return &peers{lost: make(chan struct{})} }

// follow keeps a connection whose end means that the node at the other end is gone.
func (p *peers) follow(conn net.Conn, r *bufio.Reader) {
	p.mu.Lock()
	p.conns = append(p.conns, conn)
	p.mu.Unlock()
	go func() {
		_, _ = r.ReadByte() // nothing more is said but that a node is gone, and a broken connection says so too
		p.once.Do(func() { close(p.lost) })
	}()
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
}

// hangWhenLost answers no request once a node is gone.
func (p *peers) hangWhenLost(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-p.lost:
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// gather waits for the other nodes. Without peers the code is the program's.
func (s *vllmServer) gather(ctx context.Context) (*peers, int) {
	switch {
	case s.backend == "ray":
		return s.gatherRay(ctx)
	case s.backend == "uni" && s.world > 1:
		<-ctx.Done() // one process waits for ranks that nobody starts
		return nil, exitOK
	case s.nnodes > 1 && s.nodeRank > 0:
		if p, code := s.join(ctx); p == nil {
			return nil, code
		}
		return nil, s.raise("AssertionError", "collective_rpc should not be called on follower node")
	case s.nnodes > 1:
		return s.gatherFollowers(ctx)
	}
	return newPeers(), exitOK
}

// A hello is what a follower says first.
type hello struct {
	Rank   int    `json:"rank"`
	Nnodes int    `json:"nnodes"`
	Model  string `json:"model"`
	World  int    `json:"world"`
}

// gatherFollowers is the store of torch.distributed on the head: it waits for every rank.
func (s *vllmServer) gatherFollowers(ctx context.Context) (*peers, int) {
	l, err := listen(s.masterAddr, s.masterPort)
	if err != nil {
		return nil, s.raise("torch.distributed.DistNetworkError", "The server socket has failed to listen on any local network address. port: %d, useIpv6: false, code: -98, name: EADDRINUSE, message: %v", s.masterPort, err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(ctx, s.knobs.dist)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	p, ranks := newPeers(), map[int]bool{}
	for len(ranks) < s.nnodes-1 {
		conn, err := l.Accept()
		if err != nil {
			p.close()
			if ctx.Err() == context.DeadlineExceeded {
				return nil, s.raise("torch.distributed.DistStoreError", "Timed out after %d seconds waiting for clients. %d/%d clients joined.", int(s.knobs.dist.Seconds()), len(ranks)+1, s.nnodes)
			}
			return nil, exitOK
		}
		var h hello
		r := bufio.NewReader(conn)
		line, err := r.ReadBytes('\n')
		if err != nil || json.Unmarshal(line, &h) != nil || h.Nnodes != s.nnodes || h.World != s.world || h.Model != s.model || ranks[h.Rank] {
			_ = conn.Close() // ranks that disagree never form a group
			continue
		}
		ranks[h.Rank] = true
		p.follow(conn, r)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		if _, err := conn.Write([]byte("go\n")); err != nil {
			return nil, s.raise("RuntimeError", "Engine core initialization failed. See root cause above. Failed core proc(s): {}")
		}
	}
	return p, exitOK
}

// join is a follower's way to the head. Without peers the code is the program's.
func (s *vllmServer) join(ctx context.Context) (*peers, int) {
	address := net.JoinHostPort(s.masterAddr, strconv.Itoa(s.masterPort))
	ctx, cancel := context.WithTimeout(ctx, s.knobs.dist)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			r := bufio.NewReader(conn)
			if s.greet(conn, r) {
				stop()
				p := newPeers()
				p.follow(conn, r)
				return p, exitOK
			}
			stop()
			_ = conn.Close()
		}
		if !sleep(ctx, 20*time.Millisecond) {
			break
		}
	}
	if ctx.Err() == context.DeadlineExceeded {
		return nil, s.raise("torch.distributed.DistNetworkError", "The client socket has timed out after %dms while trying to connect to (%s, %d).", s.knobs.dist.Milliseconds(), s.masterAddr, s.masterPort)
	}
	return nil, exitOK
}

// greet says who this is, and reports whether the head had all it waited for.
func (s *vllmServer) greet(conn net.Conn, r *bufio.Reader) bool {
	line, err := json.Marshal(hello{s.nodeRank, s.nnodes, s.model, s.world})
	if err != nil {
		panic(err) // ints and a string always marshal
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return false
	}
	answer, err := r.ReadString('\n')
	return err == nil && answer == "go\n"
}

// runHeadless is a node without an API server.
func (s *vllmServer) runHeadless(ctx context.Context) int {
	s.prefix = ""
	if s.nodeRank == 0 {
		s.log("INFO", "Launching 1 data parallel engine(s) in headless mode, with head node address tcp://%s:%d.", s.p.text("data-parallel-address", s.masterAddr), s.p.number("data-parallel-rpc-port", 29550))
		<-ctx.Done() // it waits for a handshake with a front end elsewhere
		return exitOK
	}
	s.log("INFO", "Launching vLLM (v%s) headless multiproc executor, with head node address %s:%d for torch.distributed process group.", vllmVersion, s.masterAddr, s.masterPort)
	p, code := s.join(ctx)
	if p == nil {
		return code
	}
	defer p.close()
	if !s.loadModel(ctx) {
		return exitOK
	}
	var crash <-chan time.Time
	if s.knobs.crashAfter > 0 {
		crash = time.After(s.knobs.crashAfter)
	}
	select {
	case <-crash:
		return s.errorf("%s", outOfMemory)
	case <-ctx.Done():
		return exitOK
	case <-p.lost:
		return s.raise("torch.distributed.DistNetworkError", "Connection was likely closed. Did the remote server shutdown or crash?")
	}
}

// gatherRay asks the Ray cluster for the GPUs, and waits for them as long as vLLM does.
func (s *vllmServer) gatherRay(ctx context.Context) (*peers, int) {
	if s.world > s.gpus && s.world > 1 {
		s.log("WARNING", "Total GPU requirement (world_size=%d) exceeds locally visible GPUs (%d). For multi-node Ray clusters, this may be expected if the total cluster has enough GPUs. If running single-node, consider reducing tensor_parallel_size (%d) or pipeline_parallel_size (%d).", s.world, s.gpus, s.tp, s.pp)
	}
	address, err := s.rayAddress("")
	if err != nil {
		return s.gatherPrivate(ctx)
	}
	ip := s.env("VLLM_HOST_IP")
	s.log("INFO", "Connecting to existing Ray cluster at address: %s...", address)
	client, err := s.rayDial(ctx, address)
	if err != nil {
		return nil, s.raise("ConnectionError", "%v", err)
	}
	s.log("INFO", "No current placement group found. Creating a new placement group.")
	start, pause, told := time.Now(), 10*time.Second, false
	for {
		got, err := client.reserve(s.world, ip)
		switch {
		case err != nil:
			return nil, s.raise("ConnectionError", "%v", err)
		case got.NoDriver:
			client.close()
			return nil, s.raise("ValueError", "Current node has no GPU available. current_node_resource={}. vLLM engine cannot start without GPU. Make sure you have at least 1 GPU available in a node current_node_id='' current_ip='%s'.", ip)
		case got.OK:
			p := newPeers()
			p.follow(client.conn, client.r)
			return p, exitOK
		}
		if !told {
			told = true
			s.log("WARNING", "The number of required GPUs exceeds the total number of available GPUs in the placement group.")
		}
		if waited := time.Since(start); waited > s.knobs.pgTimeout {
			client.close()
			return nil, s.noPlacement()
		} else if waited > pause {
			pause = waited + 2*pause
			s.log("INFO", "Waiting for creating a placement group of specs for %d seconds. specs=%s. Check `ray status` and `ray list nodes` to see if you have enough resources, and make sure the IP addresses used by ray cluster are the same as VLLM_HOST_IP environment variable specified in each node if you are running on a multi-node.", int(waited.Seconds()), s.bundles())
		}
		if !sleep(ctx, 20*time.Millisecond) {
			client.close()
			return nil, exitOK
		}
	}
}

// gatherPrivate is what ray.init does where no cluster runs: it starts one of this node alone.
func (s *vllmServer) gatherPrivate(ctx context.Context) (*peers, int) {
	s.log("INFO", "Started a local Ray instance.")
	switch {
	case s.gpus == 0:
		return nil, s.raise("ValueError", "Current node has no GPU available. vLLM engine cannot start without GPU.")
	case s.world <= s.gpus:
		return newPeers(), exitOK
	}
	s.log("WARNING", "The number of required GPUs exceeds the total number of available GPUs in the placement group.")
	if !sleep(ctx, s.knobs.pgTimeout) {
		return nil, exitOK
	}
	return nil, s.noPlacement()
}

// bundles are what a placement group asks for, as Python prints it.
func (s *vllmServer) bundles() string {
	return "[" + strings.Join(slices.Repeat([]string{"{'GPU': 1.0}"}, s.world), ", ") + "]"
}

// noPlacement is the end of the wait.
func (s *vllmServer) noPlacement() int {
	seconds := int(s.knobs.pgTimeout.Seconds())
	if s.world == 1 {
		return s.raise("ValueError", "Cannot provide a placement group of placement_group_specs=%s within %d seconds. See `ray status` and `ray list nodes` to make sure the cluster has enough resources.", s.bundles(), seconds)
	}
	return s.raise("ValueError", "Cannot provide a placement group requiring %.1f GPUs (placement_group_specs=%s) within %d seconds.\nTensor parallel size may exceed available GPUs in your cluster. Check resources with `ray status` and `ray list nodes`.\nIf running on K8s with limited GPUs, consider reducing --tensor-parallel-size to match available GPU resources.", float64(s.world), s.bundles(), seconds)
}
