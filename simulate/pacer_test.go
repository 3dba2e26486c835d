package simulate

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pacedServer serves on a TCP port, so that streams go through the pacer.
func pacedServer(t *testing.T, cfg Config) (*Server, string) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

const streamBody = `{"model":"dummy","messages":[{"role":"user","content":"a"}],"max_tokens":4,"stream":true}`

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 s: %s", what)
		}
	}
}

// Between streams the thread sleeps: an alarm that rang must not keep it awake. And a connection that was closed is
// forgotten, whoever closed it.
func TestPacerRestsAndForgets(t *testing.T) {
	t.Parallel()
	s, addr := pacedServer(t, Config{TTFT: time.Millisecond, ITL: time.Millisecond})
	for _, closer := range []string{"keep-alive", "close"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/v1/chat/completions", strings.NewReader(streamBody))
		if err != nil {
			t.Fatal(err)
		}
		req.Close = closer == "close" // then the server closes
		client := http.Client{Transport: &http.Transport{}}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		client.CloseIdleConnections()
		if err != nil || !strings.HasSuffix(string(data), done) {
			t.Fatalf("%s: %v, %q", closer, err, data)
		}
	}
	eventually(t, "nothing wakes the thread", func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.pacing().epoll), Events: unix.POLLIN}}, 50)
		return n == 0 && err == nil
	})
	eventually(t, "no connection is remembered", func() bool {
		left := 0
		s.pacing().marks.Range(func(_, _ any) bool { left++; return true })
		return left == 0
	})
}

// HTTP/1.0 knows no chunked coding.
func TestPacerLeavesOldClientsAlone(t *testing.T) {
	t.Parallel()
	_, addr := pacedServer(t, Config{TTFT: time.Millisecond, ITL: time.Millisecond})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST /v1/chat/completions HTTP/1.0\r\nContent-Length: "+strconv.Itoa(len(streamBody))+"\r\n\r\n"+streamBody); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "data: ") {
			t.Errorf("a line that is no event: %q", line)
		}
	}
}

// An alarm that rings too early, for the two clocks were not read at one moment, is set again.
func TestPacerBearsAnEarlyAlarm(t *testing.T) {
	t.Parallel()
	s, addr := pacedServer(t, Config{TTFT: 50 * time.Millisecond, ITL: time.Millisecond})
	s.pacing().post(func() { s.pacing().zero -= int64(5 * time.Millisecond) })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/v1/chat/completions", strings.NewReader(streamBody))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if data, err := io.ReadAll(resp.Body); err != nil || !strings.HasSuffix(string(data), done) {
		t.Errorf("%v, %q", err, data)
	}
}
