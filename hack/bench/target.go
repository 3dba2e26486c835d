package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/benchd/benchd/simulate"
)

// startTimeout bounds how long a server may take until it accepts connections.
const startTimeout = 5 * time.Second

// A target is a server on the server's core.
type target struct {
	child *child
	port  int
	log   string // of a simulated server
}

// url is the address of the chat API.
func (t *target) url() string { return t.base() + "/v1/chat/completions" }

// base is the address of the server.
func (t *target) base() string { return fmt.Sprintf("http://127.0.0.1:%d", t.port) }

// simulated starts the project's own simulated server.
func (b *bench) simulated(ctx context.Context, settings simSettings) (*target, error) {
	config, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	log := filepath.Join(b.dir, "log.jsonl")
	if err := os.RemoveAll(log); err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	c, err := start(ctx, serverCore, b.self, simulateCommand, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), string(config), log)
	if err != nil {
		return nil, fmt.Errorf("the simulated server: %w", err)
	}
	return ready(ctx, &target{child: c, port: port, log: log})
}

// plain starts the small server that gives every request the same answer.
func (b *bench) plain(ctx context.Context) (*target, error) {
	path, err := b.tool(ctx, "server")
	if err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	c, err := start(ctx, serverCore, path, strconv.Itoa(port))
	if err != nil {
		return nil, fmt.Errorf("the plain server: %w", err)
	}
	return ready(ctx, &target{child: c, port: port})
}

// ready waits until the target accepts connections.
func ready(ctx context.Context, t *target) (*target, error) {
	deadline := time.Now().Add(startTimeout)
	dialer := net.Dialer{Timeout: time.Second}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(t.port)))
		if err == nil {
			return t, conn.Close()
		}
		select {
		case <-t.child.ended:
			_, err := t.child.wait()
			return nil, fmt.Errorf("the server ended: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.child.kill()
			return nil, fmt.Errorf("the server does not accept connections: %w", err)
		}
	}
}

// records stops a simulated server and reads what it sent, oldest end first.
func (t *target) records() (usage, []simulate.Record, error) {
	u, err := t.child.stop()
	if err != nil {
		return u, nil, fmt.Errorf("stop the simulated server: %w", err)
	}
	f, err := os.Open(t.log)
	if err != nil {
		return u, nil, err
	}
	defer f.Close()
	logs, err := simulate.ReadLog(f)
	if err != nil {
		return u, nil, err
	}
	if len(logs) != 1 {
		return u, nil, fmt.Errorf("the simulated server's log has %d lives, want 1", len(logs))
	}
	return u, logs[0].Requests, nil
}

// A count is what a plain server saw.
type count struct {
	Requests int     `json:"requests"`
	Seconds  float64 `json:"seconds"` // from the first to the last
}

// count stops a plain server and returns what it saw.
func (t *target) count() (usage, count, error) {
	u, err := t.child.stop()
	if err != nil {
		return u, count{}, fmt.Errorf("stop the plain server: %w", err)
	}
	var seen count
	if err := json.Unmarshal(u.stdout, &seen); err != nil {
		return u, count{}, fmt.Errorf("the plain server's count: %w", err)
	}
	return u, seen, nil
}

// freePort asks the kernel for a port that nobody has.
func freePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("%s is no TCP address", l.Addr())
	}
	return addr.Port, l.Close()
}
