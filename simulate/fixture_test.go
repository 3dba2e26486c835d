package simulate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fixture is a served Server and a client of it, joined by in-memory connections, so that a test in a synctest
// bubble sees exact times.
type fixture struct {
	t      *testing.T
	server *Server
	client *http.Client
	listen *pipeListener
	log    *lockedBuffer
	end    context.CancelFunc
	served chan error
	result error
}

// start serves cfg until the test ends or stop is called.
func start(t *testing.T, cfg Config) *fixture {
	t.Helper()
	log := &lockedBuffer{}
	cfg.Log = log
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	ctx, end := context.WithCancel(t.Context())
	f := &fixture{
		t: t, server: s, listen: l, log: log, end: end, served: make(chan error, 1),
		client: &http.Client{Transport: &http.Transport{DialContext: l.dial}},
	}
	go func() { f.served <- s.Serve(ctx, l) }()
	t.Cleanup(func() { f.stop() })
	return f
}

// stop ends the server and returns what it logged.
func (f *fixture) stop() []Record {
	f.t.Helper()
	f.end()
	if f.served != nil {
		f.result = <-f.served
		f.served = nil
	}
	f.client.CloseIdleConnections()
	logs, err := ReadLog(strings.NewReader(f.log.String()))
	if err != nil || len(logs) != 1 {
		f.t.Fatalf("the log has %d starts, error %v:\n%s", len(logs), err, f.log)
	}
	return logs[0].Requests
}

// one is the only record of a test with one request.
func (f *fixture) one() Record {
	f.t.Helper()
	records := f.stop()
	if len(records) != 1 {
		f.t.Fatalf("the log has %d requests, want 1:\n%s", len(records), f.log)
	}
	return records[0]
}

// request makes a request; a body makes it a POST.
func (f *fixture) request(ctx context.Context, path, body string) *http.Request {
	f.t.Helper()
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://simulated"+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// do returns the status and the whole body.
func (f *fixture) do(path, body string) (int, string) {
	f.t.Helper()
	resp, err := f.client.Do(f.request(f.t.Context(), path, body))
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// An event is one server-sent event and when it was read, on the server's clock.
type event struct {
	at   time.Duration
	data string
}

// stream returns the events of a streamed answer and the error that ended it, nil for a proper end.
func (f *fixture) stream(path, body string) ([]event, error) {
	f.t.Helper()
	resp, err := f.client.Do(f.request(f.t.Context(), path, body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		f.t.Fatalf("POST %s: HTTP %d", path, resp.StatusCode)
	}
	return f.events(resp.Body)
}

// events reads events to the end.
func (f *fixture) events(r io.Reader) ([]event, error) {
	var out []event
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if data, ok := strings.CutPrefix(line, "data: "); ok && err == nil {
			out = append(out, event{f.server.now(), strings.TrimSuffix(data, "\n")})
		}
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

// A pipeListener hands out the far ends of in-memory connections.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A lockedBuffer may be read while the server writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
