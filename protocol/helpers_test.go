package protocol

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// patience bounds what must not last: far more than any test needs, even on a busy machine.
const patience = 10 * time.Second

// ask sends one request to url and returns what became of it.
func ask(t *testing.T, c OpenAI) Result {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = patience
	}
	client := NewOpenAI(c)
	t.Cleanup(client.Close)
	return client.Do(t.Context(), Request{ID: "r-1", Prompt: "tell me", MaxTokens: 4})
}

// answering starts a server with one handler.
func answering(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// rawServer hands every connection, with its first request read, to serve and closes it when that returns.
func rawServer(t *testing.T, serve func(conn net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				serve(conn)
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return "http://" + l.Addr().String()
}

const streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

func write(conn net.Conn, s string) { _, _ = conn.Write([]byte(s)) }

// endless writes s until the client has gone.
func endless(conn net.Conn, s string) {
	for {
		if _, err := conn.Write([]byte(s)); err != nil {
			return
		}
	}
}

// eof waits until the client has gone.
func eof(conn net.Conn) { _, _ = bufio.NewReader(conn).ReadByte() }

func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}
