package transport

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/benchd/benchd/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what must not last: far more than any test needs, even on a busy machine. brief is a timeout that is
// waited for.
const (
	patience = 20 * time.Second
	brief    = 200 * time.Millisecond
)

// lab is a loop that runs, and a test that asks through it.
type lab struct {
	testing.TB
	*Loop
}

// newLab runs a loop until the test's end.
func newLab(t testing.TB) *lab {
	t.Helper()
	loop, err := NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- loop.Run() }()
	t.Cleanup(func() {
		loop.Post(loop.Stop)
		if err := <-ended; err != nil {
			t.Errorf("the loop ended with %v", err)
		}
	})
	return &lab{t, loop}
}

// on does something on the loop's thread and waits for it.
func (l *lab) on(do func()) {
	l.Helper()
	did := make(chan struct{})
	l.Post(func() {
		do()
		close(did)
	})
	l.wait("the loop", did)
}

func (l *lab) wait(what string, c <-chan struct{}) {
	l.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		l.Fatalf("waited in vain for %s", what)
	}
}

// until waits for a condition that the loop's rounds bring about.
func (l *lab) until(what string, met func() bool) {
	l.Helper()
	is := make(chan struct{})
	l.on(func() {
		l.Afterward(func() {
			if met() {
				l.Afterward(nil)
				close(is)
			}
		})
	})
	l.wait(what, is)
}

// pending is a request under way.
type pending struct {
	*Exchange
	lab   *lab
	ended chan protocol.Result
}

// send begins a request.
func (l *lab) send(s *Server, timeout time.Duration, q protocol.Question) *pending {
	l.Helper()
	p := &pending{lab: l, ended: make(chan protocol.Result, 1)}
	l.on(func() {
		p.Exchange = l.NewExchange(func(x *Exchange) {
			r := x.Result
			r.Chunks, r.ChunkTokens = slices.Clone(r.Chunks), slices.Clone(r.ChunkTokens)
			p.ended <- r
		})
		p.Prepare(s, &q)
		p.Send(int64(timeout))
	})
	return p
}

// result waits for the request's end and checks what holds for every one.
func (p *pending) result() protocol.Result {
	p.lab.Helper()
	select {
	case r := <-p.ended:
		checkTimes(p.lab, &r)
		return r
	case <-time.After(patience):
		p.lab.Fatal("the request did not end")
		panic("unreachable")
	}
}

// checkTimes checks that the times of a result are in order.
func checkTimes(t testing.TB, r *protocol.Result) {
	t.Helper()
	last := r.Sent
	for i, at := range []int64{r.Connected, r.First, r.FirstAnswer, r.Last, r.End} {
		if at != 0 && at < last || r.Sent == 0 || r.End == 0 {
			t.Errorf("time %d is out of order: sent %d, connected %d, first %d, answer %d, last %d, end %d", i, r.Sent, r.Connected, r.First, r.FirstAnswer, r.Last, r.End)
		}
		last = max(last, at)
	}
}

var question = protocol.Question{ID: "r-1", Text: []byte("tell me"), MaxTokens: 4}

func (l *lab) ask(s *Server) protocol.Result {
	l.Helper()
	return l.send(s, patience, question).result()
}

// value reads something of the loop's.
func value[T any](l *lab, get func() T) T {
	var v T
	l.on(func() { v = get() })
	return v
}

var (
	chat  = protocol.OpenAI{Model: "dummy", Chat: true, Streaming: true}
	whole = protocol.OpenAI{Model: "dummy", Chat: true}
)

// to is an endpoint that was not connected to before, as Resolve would.
func to(t testing.TB, addr string, f protocol.Format) *Endpoint {
	t.Helper()
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return &Endpoint{Format: f, addr: a, host: addr}
}

// listen hands every connection to serve, on a goroutine each, and closes it when that returns; all end with the test.
// The address is returned.
func listen(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			all.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// once reads one request before it serves.
func once(serve func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		if readRequest(bufio.NewReader(c)) {
			serve(c)
		}
	}
}

// readRequest reads a request to its end.
func readRequest(in *bufio.Reader) bool {
	r, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil
}

// always answers every request of a connection with the same.
func always(answer string) func(net.Conn) {
	return func(c net.Conn) {
		for in := bufio.NewReader(c); readRequest(in); {
			write(c, answer)
		}
	}
}

func write(c net.Conn, s string) { _, _ = io.WriteString(c, s) }

// endless writes s until the client has gone.
func endless(c net.Conn, s string) {
	for {
		if _, err := io.WriteString(c, s); err != nil {
			return
		}
	}
}

// gone waits until the client has gone.
func gone(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

const (
	streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
	hello      = `data: {"choices":[{"delta":{"content":"Hello"}}]}` + "\n\n"
	done       = "data: [DONE]\n\n"
	answer     = `{"choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`
	goodWhole  = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 92\r\n\r\n" + answer
)

// goodStream is a stream in chunks, after which its connection can be used again.
var goodStream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
	chunk(hello) + chunk(hello) + chunk(done) + "0\r\n\r\n"

func chunk(s string) string {
	const hex = "0123456789abcdef"
	return string([]byte{hex[len(s)>>4&15], hex[len(s)&15]}) + "\r\n" + s + "\r\n"
}

// descriptors are the open descriptors of this process and what they lead to.
func descriptors(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "/proc/") {
			open = append(open, e.Name()+" "+to)
		}
	}
	return open
}

// mayMiss leaves a test out where the machine lacks something, but never in CI.
func mayMiss(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	t.Skipf("left out: %v", err)
}
