package transport

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/benchd/benchd/protocol"
)

// bare listens on a socket from which nobody accepts.
func bare(t testing.TB, backlog int) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	four, _ := name.(*unix.SockaddrInet4)
	return fmt.Sprint("127.0.0.1:", four.Port)
}

// unread is a server that connects and never reads.
func unread(t testing.TB) string { return bare(t, 8) }

// deaf is an address where connecting takes for ever: the queue of those that nobody accepts is full.
func deaf(t testing.TB) string {
	t.Helper()
	addr := bare(t, 0)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return addr
}

// refusing is an address where nobody listens.
func refusing(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return l.Addr().String()
}

// nowhere is an address to which no TCP connection can be made; the kernel says so at once.
const nowhere = "255.255.255.255:80"

func TestNoConnection(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		addr    string
		timeout time.Duration
		class   protocol.Class
		message string
	}{
		"refused":     {refusing(t), patience, protocol.ClassConnect, "connection refused"},
		"unreachable": {nowhere, patience, protocol.ClassConnect, "unreachable"},
		"no answer":   {deaf(t), brief, protocol.ClassTimeout, "no connection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			s := l.Server(to(t, tc.addr, chat))
			r := l.send(s, tc.timeout, question).result()
			if r.Class != tc.class || !strings.Contains(r.Message, tc.message) || r.Status != 0 || r.Connected != 0 {
				t.Errorf("class %q (%s), status %d, connected %d", r.Class, r.Message, r.Status, r.Connected)
			}
			if n := value(l, func() int { return s.Outstanding + s.Kept() }); n != 0 {
				t.Errorf("%d requests under way or connections kept", n)
			}
		})
	}
}

// Done is never called from within Send: one that sends the next request would call itself without end.
func TestDoneIsNotCalledWithinSend(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.Server(to(t, nowhere, chat))
	ended := make(chan struct{})
	l.on(func() {
		sending, n := false, 0
		x := l.NewExchange(nil)
		send := func() {
			sending = true
			x.Prepare(s, &question)
			x.Send(int64(patience))
			sending = false
		}
		x.Done = func(x *Exchange) {
			if sending {
				t.Error("Done was called within Send")
			}
			if x.Result.Class != protocol.ClassConnect || x.Result.End < x.Result.Sent {
				t.Errorf("%+v", x.Result)
			}
			if n++; n == 100 || sending {
				close(ended)
				return
			}
			send()
		}
		send()
	})
	l.wait("a hundred requests", ended)
}

func TestConnectAhead(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.Server(to(t, listen(t, always(goodWhole)), whole))
	l.on(func() { s.Connect(3) })
	l.until("three connections", func() bool { return s.Kept() == 3 })
	l.on(func() { s.Connect(3); s.Connect(2); s.Connect(0) }) // they stand already
	var all []*pending
	for range 3 {
		all = append(all, l.send(s, patience, question))
	}
	for _, p := range all {
		if r := p.result(); r.Class != "" || r.Connected != 0 {
			t.Errorf("class %q (%s), connected %d: want a connection made ahead", r.Class, r.Message, r.Connected)
		}
	}
	if n := value(l, s.Kept); n != 3 {
		t.Errorf("%d connections are kept, want 3", n)
	}
}

// Connections that cannot be made ahead are left to the requests.
func TestConnectAheadInVain(t *testing.T) {
	t.Parallel()
	for name, addr := range map[string]string{"refused": refusing(t), "unreachable": nowhere} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			s := l.Server(to(t, addr, whole))
			l.on(func() { s.Connect(3) })
			l.until("the refusals", func() bool {
				for _, c := range l.conns {
					if c != nil {
						return false
					}
				}
				return s.Kept() == 0
			})
			if r := l.ask(s); r.Class != protocol.ClassConnect {
				t.Errorf("class %q: %s", r.Class, r.Message)
			}
		})
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp6", "[::1]:0")
	mayMiss(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for range 2 { // Resolve's look, and the request
			if c, err := listener.Accept(); err == nil {
				always(goodWhole)(c)
				_ = c.Close()
			}
		}
	}()
	e, err := Resolve(t.Context(), "six", "http://"+listener.Addr().String(), "", whole)
	if err != nil {
		t.Fatal(err)
	}
	func() {
		l := newLab(t)
		s := l.Server(e)
		if r := l.ask(s); r.Class != "" {
			t.Error(r.Message)
		}
		l.on(func() {
			for _, c := range s.idle {
				c.close()
			}
			s.idle = nil
		})
	}()
	_ = listener.Close()
	<-served
}

func TestResolve(t *testing.T) {
	t.Parallel()
	addr := listen(t, func(c net.Conn) { gone(c) })
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		ctx  context.Context
		base string
		host string
		path string
		err  string
	}{
		"a server":            {t.Context(), "http://" + addr, addr, "", ""},
		"with a path":         {t.Context(), "http://" + addr + "/a%20b/", addr, "/a%20b", ""},
		"a name":              {t.Context(), "http://localhost:" + addr[len("127.0.0.1:"):], "localhost:" + addr[len("127.0.0.1:"):], "", ""},
		"nobody listens":      {t.Context(), "http://" + refusing(t), "", "", "check that the server runs"},
		"no such name":        {t.Context(), "http://no-such-name.invalid:8000", "", "", "no-such-name.invalid"},
		"not a URL":           {t.Context(), "localhost:8000", "", "", "not the address of a server"},
		"cancelled meanwhile": {cancelled, "http://" + addr, "", "", "canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Resolve(tc.ctx, "n", tc.base, "", chat)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Resolve(tc.ctx, "n", tc.base, "key\r\nX: y", chat); err == nil || !strings.Contains(err.Error(), "API key") || strings.Contains(err.Error(), "X: y") {
				t.Errorf("a key of two lines: %v", err)
			}
			if e.Name != "n" || e.host != tc.host || e.path != tc.path || e.secure != nil || e.addr.Port() == 0 {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ base, err string }{
		"http":           {"http://localhost:8000", ""},
		"https":          {"https://example.com", ""},
		"an address":     {"http://10.0.0.1:8000/", ""},
		"IPv6":           {"http://[::1]:8000", ""},
		"a path":         {"http://h:1/a/b", ""},
		"highest port":   {"http://h:65535", ""},
		"credentials":    {"http://user:secret@h:1", "credentials"},
		"a user alone":   {"http://user@h:1", "credentials"},
		"a query":        {"http://h:1/?a=b", "query"},
		"a fragment":     {"http://h:1/#a", "fragment"},
		"no scheme":      {"h:8000", "address of a server"},
		"another scheme": {"unix:///run/x", "address of a server"},
		"ftp":            {"ftp://h:1", "address of a server"},
		"no host":        {"http://", "address of a server"},
		"only a port":    {"http://:8000", "address of a server"},
		"port 0":         {"http://h:0", "1 to 65535"},
		"port too high":  {"http://h:65536", "1 to 65535"},
		"port no number": {"http://h:http", "not a URL"},
		"both":           {"http://user:secret@h:http", "not a URL"},
		"empty":          {"", "address of a server"},
		"blanks":         {"http://a b", "not a URL"},
		"line ends":      {"http://h:1/\r\nX: y", "not a URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, err := ParseURL(tc.base)
			switch {
			case tc.err == "" && (err != nil || u == nil):
				t.Errorf("error %v", err)
			case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
				t.Errorf("error %v, want one with %q", err, tc.err)
			case err != nil && strings.Contains(err.Error(), "secret"):
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

// What goes out is a request that net/http reads as it was meant.
func TestRequests(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		endpoint *Endpoint
		question protocol.Question
		path     string
		auth     string
	}{
		"plain":       {&Endpoint{Format: chat, host: "h:8000"}, question, "/v1/chat/completions", ""},
		"with a key":  {&Endpoint{Format: chat, host: "h:8000", key: "k-1"}, question, "/v1/chat/completions", "Bearer k-1"},
		"with a path": {&Endpoint{Format: protocol.Ollama{}, host: "h", path: "/a%20b"}, question, "/a%20b/api/generate", ""},
		"large":       {&Endpoint{Format: chat, host: "[::1]:8000"}, big, "/v1/chat/completions", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw := tc.endpoint.AppendRequest([]byte("before"), &tc.question)
			in := bufio.NewReader(bytes.NewReader(raw[len("before"):]))
			r, err := http.ReadRequest(in)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil || !bytes.Equal(body, tc.endpoint.Format.AppendBody(nil, &tc.question)) || in.Buffered() != 0 {
				t.Errorf("%v, %d bytes of body and %d after it", err, len(body), in.Buffered())
			}
			got := fmt.Sprintln(r.Method, r.RequestURI, r.Host, r.Proto, r.Header["Authorization"], r.Header["X-Request-Id"], r.Header["Accept-Encoding"], r.Header["Content-Type"])
			auth := []string{}
			if tc.auth != "" {
				auth = append(auth, tc.auth)
			}
			if want := fmt.Sprintln("POST", tc.path, tc.endpoint.host, "HTTP/1.1", auth, []string{tc.question.ID}, "[identity]", "[application/json]"); got != want {
				t.Errorf("head %q, want %q", got, want)
			}
		})
	}
}
