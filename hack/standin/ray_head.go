package main

// The daemons of Ray: gcs_server on the head keeps the members, raylet on each node is one. They are processes of their own,
// started by `ray start`, so that a test can kill one and see what the others make of it.

import (
	"bufio"
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	gcsName    = "gcs_server"
	rayletName = "raylet"
	readyLine  = "ready" // what a daemon says when it is one
)

// A gcs is the state of the cluster.
type gcs struct {
	token string
	lost  time.Duration

	mu       sync.Mutex
	members  []rayNode
	reserved map[net.Conn]int
}

// runGCS is the daemon of the head: arguments are its address, and the dashboard's where there is to be one.
func runGCS(ctx context.Context, c *call) int {
	ctx, cancel := c.untilParentEnds(ctx)
	defer cancel()
	token, err := c.rayToken()
	if err != nil {
		return c.errorf("%v", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.args[0])
	if err != nil {
		return c.errorf("%v", err)
	}
	if len(c.args) > 1 {
		if err := serveDashboard(ctx, c.args[1]); err != nil {
			return c.errorf("%v", err)
		}
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	fmt.Fprintln(c.stdout, readyLine)
	g := &gcs{token: token, lost: c.knobs.rayLost, reserved: map[net.Conn]int{}}
	for {
		conn, err := l.Accept()
		if err != nil {
			return exitOK
		}
		go g.serve(ctx, conn)
	}
}

// serveDashboard answers the one path that tools look at.
func serveDashboard(ctx context.Context, address string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"version": "4", "ray_version": rayVersion})
	})
	hs := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = hs.Serve(l) }()
	context.AfterFunc(ctx, func() { _ = hs.Close() })
	return nil
}

// serve answers one connection until it ends.
func (g *gcs) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			break
		}
		var req rayRequest
		if json.Unmarshal(line, &req) != nil {
			break
		}
		if g.token != "" && subtle.ConstantTimeCompare([]byte(g.token), []byte(req.Token)) != 1 {
			text := errBadToken
			if req.Token == "" {
				text = errNoToken
			}
			answer(conn, rayAnswer{Error: text.Error()})
			continue
		}
		g.handle(conn, req)
		if req.Op == "join" {
			_, _ = io.Copy(io.Discard, r) // until the node is gone
			sleep(ctx, g.lost)
			g.leave(req.Node)
			return
		}
	}
	g.mu.Lock()
	delete(g.reserved, conn)
	g.mu.Unlock()
}

// answer writes a line; a client that has gone needs none.
func answer(conn net.Conn, a rayAnswer) {
	line, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings and ints always marshal
	}
	_, _ = conn.Write(append(line, '\n'))
}

// handle carries out a request.
func (g *gcs) handle(conn net.Conn, req rayRequest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	total, used := 0, 0
	for _, n := range g.members {
		total += n.GPUs
	}
	for _, n := range g.reserved {
		used += n
	}
	switch req.Op {
	case "join":
		g.members = append(g.members, req.Node)
		answer(conn, rayAnswer{OK: true})
	case "reserve":
		known, gpus := g.driver(req.Node.IP)
		ok := gpus > 0 && total-used >= req.GPUs
		if ok {
			g.reserved[conn] = req.GPUs
		}
		// A bundle of a node that is not in the cluster is waited for, in case it joins.
		answer(conn, rayAnswer{OK: ok, NoDriver: known && gpus == 0})
	default:
		answer(conn, rayAnswer{OK: true, Nodes: g.members, Reserved: used})
	}
}

// driver says whether the node of who asks is in the cluster, and how many GPUs it has. Without an address any node will do.
func (g *gcs) driver(ip string) (known bool, gpus int) {
	for _, n := range g.members {
		if ip == "" || n.IP == ip {
			known, gpus = true, max(gpus, n.GPUs)
		}
	}
	return known, gpus
}

// leave takes a node off the list, and tells those who hold a reservation: Ray tells their actors' owner.
func (g *gcs) leave(node rayNode) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = slices.DeleteFunc(g.members, func(n rayNode) bool { return n.ID == node.ID })
	for conn := range g.reserved {
		answer(conn, rayAnswer{Error: "node " + node.ID + " died"})
	}
}

// runRaylet is the daemon of every node: arguments are the head's address, the node as JSON, and ports to take.
func runRaylet(ctx context.Context, c *call) int {
	ctx, cancel := c.untilParentEnds(ctx)
	defer cancel()
	var node rayNode
	if err := json.Unmarshal([]byte(c.args[1]), &node); err != nil {
		return c.errorf("%v", err)
	}
	for _, port := range c.args[2:] {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(node.IP, port))
		if err != nil {
			return c.errorf("%v", err)
		}
		defer l.Close()
	}
	client, err := c.rayDial(ctx, c.args[0])
	if err != nil {
		return c.errorf("%v", err)
	}
	defer client.close()
	defer context.AfterFunc(ctx, client.close)()
	if _, err := client.ask(rayRequest{Op: "join", Node: node}); err != nil {
		return c.errorf("%v", err)
	}
	fmt.Fprintln(c.stdout, readyLine)
	_, _ = io.Copy(io.Discard, client.r)
	if ctx.Err() != nil || !sleep(ctx, c.knobs.rayLost) {
		return exitOK
	}
	fmt.Fprintln(c.stderr, "gcs_rpc_client.h:542: Failed to connect to GCS within 60 seconds. GCS may have been killed. It's either GCS is terminated by `ray stop` or is killed unexpectedly. The program will terminate.")
	return exitFailed
}

// untilParentEnds ends the context with `ray start --block`, whose pipe is the daemon's stdin.
func (c *call) untilParentEnds(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if c.env("STANDIN_RAY_FATE") == "shared" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	return ctx, cancel
}

// ports lists those that were given, for raylet's arguments.
func ports(numbers ...int) []string {
	var out []string
	for _, n := range numbers {
		if n > 0 {
			out = append(out, strconv.Itoa(n))
		}
	}
	return out
}

// portInUse says whether an error is about an address that is taken.
func portInUse(text string) bool { return strings.Contains(text, "address already in use") }
