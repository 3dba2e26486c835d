package transport

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/benchd/benchd/protocol"
)

// secured starts a TLS server and returns an endpoint that trusts it, and how many connections were made.
func secured(t testing.TB, f protocol.Format, h http.HandlerFunc) (*Endpoint, *atomic.Int32) {
	t.Helper()
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(h)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	e, err := Resolve(t.Context(), "tls", s.URL, "", f)
	if err != nil {
		t.Fatal(err)
	}
	e.secure.RootCAs = x509.NewCertPool()
	e.secure.RootCAs.AddCert(s.Certificate())
	return e, &conns
}

func streaming(w http.ResponseWriter, parts ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, part := range parts {
		_, _ = io.WriteString(w, part)
		_ = http.NewResponseController(w).Flush()
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		serve   http.HandlerFunc
		class   protocol.Class
		status  int
		output  int
		message string
		conns   int32 // for three requests; 0: not looked at
	}{
		"a good stream":        {func(w http.ResponseWriter, _ *http.Request) { streaming(w, hello, hello, done) }, "", 200, 2, "", 1},
		"a refusal":            {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "busy", http.StatusServiceUnavailable) }, protocol.ClassStatus, 503, 0, "busy", 1},
		"closed in mid-stream": {func(w http.ResponseWriter, _ *http.Request) { streaming(w, hello); panic(http.ErrAbortHandler) }, protocol.ClassCut, 200, 1, "", 3},
		"closed before":        {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, protocol.ClassConnect, 0, 0, "", 3},
		"the server closes": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			streaming(w, hello, done)
		}, "", 200, 1, "", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, conns := secured(t, chat, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				tc.serve(w, r)
			})
			l := newLab(t)
			s := l.Server(e)
			for i := range 3 {
				r := l.ask(s)
				if r.Class != tc.class || r.Status != tc.status || r.OutputTokens != tc.output || !strings.Contains(r.Message, tc.message) {
					t.Errorf("class %q, status %d (%s), %d tokens", r.Class, r.Status, r.Message, r.OutputTokens)
				}
				if reused := tc.conns == 1 && i > 0; (r.Connected == 0) != reused {
					t.Errorf("request %d: connected %d", i, r.Connected)
				}
			}
			if n := conns.Load() - 1; n != tc.conns { // one is Resolve's
				t.Errorf("%d connections, want %d", n, tc.conns)
			}
		})
	}
}

func TestTLSOfAStranger(t *testing.T) {
	t.Parallel()
	e, _ := secured(t, chat, func(http.ResponseWriter, *http.Request) { t.Error("a request came through") })
	e.secure.RootCAs = x509.NewCertPool()
	l := newLab(t)
	if r := l.ask(l.Server(e)); r.Class != protocol.ClassConnect || r.Connected != 0 || !strings.Contains(r.Message, "certificate") {
		t.Errorf("class %q: %s", r.Class, r.Message)
	}
}

func TestTLSToAServerWithout(t *testing.T) {
	t.Parallel()
	e, err := Resolve(t.Context(), "x", "https://"+listen(t, once(func(net.Conn) {})), "", chat)
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	if r := l.ask(l.Server(e)); r.Class != protocol.ClassConnect || r.Connected != 0 {
		t.Errorf("class %q: %s", r.Class, r.Message)
	}
}

func TestTLSRequestsArrive(t *testing.T) {
	t.Parallel()
	e, _ := secured(t, whole, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || int64(len(body)) != r.ContentLength || !strings.Contains(string(body), "words and words") {
			t.Errorf("%v: %d bytes of %d", err, len(body), r.ContentLength)
		}
		_, _ = io.WriteString(w, answer)
	})
	l := newLab(t)
	if r := l.send(l.Server(e), patience, big).result(); r.Class != "" || r.OutputTokens != 1 {
		t.Errorf("class %q: %s", r.Class, r.Message)
	}
}

func TestTLSConnectAheadAndCancel(t *testing.T) {
	t.Parallel()
	began := make(chan struct{}, 1)
	e, _ := secured(t, chat, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		streaming(w, hello)
		began <- struct{}{}
		<-r.Context().Done()
	})
	l := newLab(t)
	s := l.Server(e)
	l.on(func() { s.Connect(2) })
	l.until("two connections", func() bool { return s.Kept() == 2 })
	p := l.send(s, patience, question)
	<-began
	l.until("the first token", func() bool { return len(p.Exchange.Result.Chunks) == 1 })
	l.on(p.Cancel)
	if r := p.result(); r.Class != protocol.ClassCancelled || r.Connected != 0 || r.OutputTokens != 1 {
		t.Errorf("class %q (%s), connected %d", r.Class, r.Message, r.Connected)
	}
	if n := value(l, s.Kept); n != 1 {
		t.Errorf("%d connections are kept, want 1", n)
	}
	p = l.send(l.Server(e), brief, question) // and a timeout
	if r := p.result(); r.Class != protocol.ClassTimeout {
		t.Errorf("class %q: %s", r.Class, r.Message)
	}
}

// A handshake that does not end is given up like everything else.
func TestTLSHandshakeThatNeverEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*pending) protocol.Class{
		"cancelled": func(p *pending) protocol.Class { p.lab.on(p.Cancel); return protocol.ClassCancelled },
		"timeout":   func(*pending) protocol.Class { return protocol.ClassTimeout },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			e := to(t, unread(t), chat)
			e.secure = &tls.Config{ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
			p := l.send(l.Server(e), brief, question)
			want := end(p)
			if r := p.result(); r.Class != want || r.Connected != 0 || want == protocol.ClassTimeout && !strings.Contains(r.Message, "no connection") {
				t.Errorf("class %q: %s", r.Class, r.Message)
			}
		})
	}
}
