package transport

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/benchd/benchd/protocol"
)

func TestConnectionsThatMisbehave(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		serve   func(net.Conn) // after the request; nil never reads it
		whole   bool
		timeout time.Duration
		class   protocol.Class
		status  int
		output  int // -1: many
		message string
	}{
		"closed before an answer": {serve: func(net.Conn) {}, class: protocol.ClassConnect, message: "without an answer"},
		"closed within the head":  {serve: func(c net.Conn) { write(c, streamHead[:20]) }, class: protocol.ClassConnect, message: "within the head"},
		"reset before an answer":  {serve: reset, class: protocol.ClassConnect, message: "reset"},
		"reset within the head":   {serve: func(c net.Conn) { write(c, streamHead[:20]); reset(c) }, class: protocol.ClassConnect, message: "reset"},
		"reset in mid-stream":     {serve: func(c net.Conn) { write(c, streamHead+hello); reset(c) }, class: protocol.ClassCut, status: 200, output: 1, message: "reset"},
		"closed in mid-stream":    {serve: func(c net.Conn) { write(c, streamHead+hello) }, class: protocol.ClassCut, status: 200, output: 1, message: "without [DONE]"},
		"a chunked body that breaks off": {serve: func(c net.Conn) {
			write(c, strings.Replace(streamHead, "\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n", 1)+hello)
		}, class: protocol.ClassCut, status: 200, output: 1},
		"a whole answer that breaks off": {serve: func(c net.Conn) { write(c, goodWhole[:len(goodWhole)-20]) }, whole: true, class: protocol.ClassCut, status: 200},
		"a whole answer that is reset":   {serve: func(c net.Conn) { write(c, goodWhole[:len(goodWhole)-20]); reset(c) }, whole: true, class: protocol.ClassCut, status: 200, message: "reset"},
		"a refusal":                      {serve: func(c net.Conn) { write(c, "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy") }, class: protocol.ClassStatus, status: 503, message: "busy"},
		"a refusal that breaks off":      {serve: func(c net.Conn) { write(c, "HTTP/1.1 503 Busy\r\nContent-Length: 40\r\n\r\nbusy") }, class: protocol.ClassStatus, status: 503, message: "busy"},
		"a refusal that is reset":        {serve: func(c net.Conn) { write(c, "HTTP/1.1 503 Busy\r\nContent-Length: 40\r\n\r\nbusy"); reset(c) }, class: protocol.ClassStatus, status: 503, message: "busy"},
		"not HTTP at all":                {serve: func(c net.Conn) { write(c, "SSH-2.0-OpenSSH_9.2\r\n"); gone(c) }, class: protocol.ClassPayload, message: "not HTTP"},
		"an endless header": {serve: func(c net.Conn) {
			write(c, "HTTP/1.1 200 OK\r\n")
			endless(c, "X-A: "+strings.Repeat("a", 4096)+"\r\n")
		}, class: protocol.ClassPayload, message: "head of over"},
		"an endless line":           {serve: func(c net.Conn) { write(c, streamHead+"data: {"); endless(c, strings.Repeat("x", 4096)) }, class: protocol.ClassPayload, status: 200, message: "a line of over"},
		"an endless whole answer":   {serve: func(c net.Conn) { write(c, "HTTP/1.1 200 OK\r\n\r\n"); endless(c, strings.Repeat(" ", 1<<20)) }, whole: true, class: protocol.ClassPayload, status: 200, message: "far more than"},
		"an endless stream":         {serve: func(c net.Conn) { write(c, streamHead); endless(c, hello) }, class: protocol.ClassPayload, status: 200, output: -1, message: "pieces"},
		"endless comments":          {serve: func(c net.Conn) { write(c, streamHead+hello); endless(c, ": ping\n\n") }, timeout: brief, class: protocol.ClassTimeout, status: 200, output: 1},
		"an endless refusal":        {serve: func(c net.Conn) { write(c, "HTTP/1.1 500 Broken\r\n\r\n"); endless(c, "no ") }, class: protocol.ClassStatus, status: 500, message: "no no"},
		"no answer":                 {serve: gone, timeout: brief, class: protocol.ClassTimeout, message: "no answer"},
		"a header and then nothing": {serve: func(c net.Conn) { write(c, streamHead); gone(c) }, timeout: brief, class: protocol.ClassTimeout, status: 200},
		"a stall in mid-stream":     {serve: func(c net.Conn) { write(c, streamHead+hello); gone(c) }, timeout: brief, class: protocol.ClassTimeout, status: 200, output: 1, message: "not complete"},
		"kept open after [DONE]":    {serve: func(c net.Conn) { write(c, streamHead+hello+done); gone(c) }, status: 200, output: 1},
		"reset after [DONE]":        {serve: func(c net.Conn) { write(c, streamHead+hello+done); reset(c) }, status: 200, output: 1},
		"an error and then nothing": {serve: func(c net.Conn) { write(c, streamHead+hello+"data: {\"error\":\"no GPU\"}\n\n"); gone(c) }, class: protocol.ClassServer, status: 200, output: 1, message: "no GPU"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			f := chat
			f.Streaming = !tc.whole
			timeout := tc.timeout
			if timeout == 0 {
				timeout = patience
			}
			s := l.Server(to(t, listen(t, once(tc.serve)), f))
			r := l.send(s, timeout, question).result()
			if r.Class != tc.class || r.Status != tc.status || !strings.Contains(r.Message, tc.message) {
				t.Errorf("class %q, status %d (%s); want %q, %d, %q", r.Class, r.Status, r.Message, tc.class, tc.status, tc.message)
			}
			if tc.output >= 0 && r.OutputTokens != tc.output || tc.output < 0 && r.OutputTokens < 1000 {
				t.Errorf("%d output tokens, want %d", r.OutputTokens, tc.output)
			}
			if took := time.Duration(r.End - r.Sent); tc.class == protocol.ClassTimeout && (took < tc.timeout || took > patience) {
				t.Errorf("ended after %s, the timeout is %s", took, tc.timeout)
			}
			if r.Connected == 0 || r.Redials != 0 {
				t.Errorf("connected %d, redials %d", r.Connected, r.Redials)
			}
			if n := value(l, func() int { return s.Outstanding + s.Kept() }); n != 0 {
				t.Errorf("%d requests under way or connections kept", n)
			}
		})
	}
}

// The answer is complete with [DONE]; the response's end is waited for, briefly, so that its connection can be kept.
func TestLinger(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	more := make(chan struct{})
	cut := strings.Index(goodStream, "0\r\n\r\n")
	s := l.Server(to(t, listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		readRequest(in)
		write(c, goodStream[:cut])
		<-more
		write(c, goodStream[cut:])
		readRequest(in)
		write(c, goodStream)
		gone(c)
	}), chat))
	p := l.send(s, patience, question)
	l.until("the answer's end", func() bool { return p.response.Settled() })
	if !value(l, p.Active) {
		t.Error("the request ended before its response")
	}
	close(more)
	if r := p.result(); r.Class != "" || r.End <= r.Last {
		t.Errorf("class %q (%s), last %d, end %d", r.Class, r.Message, r.Last, r.End)
	}
	if r := l.ask(s); r.Class != "" || r.Connected != 0 {
		t.Errorf("the connection was not used again: %+v", r)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		format protocol.Format
		answer string
		conns  int32 // for ten requests
	}{
		"streams":                    {chat, goodStream, 1},
		"whole answers":              {whole, goodWhole, 1},
		"refusals":                   {chat, "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", 1},
		"the server closes":          {whole, strings.Replace(goodWhole, "\r\n", "\r\nConnection: close\r\n", 1), 10},
		"HTTP/1.0":                   {whole, strings.Replace(goodWhole, "1.1", "1.0", 1), 10},
		"bytes after the end":        {whole, goodWhole + "x", 10},
		"the stream breaks a chunk":  {chat, strings.Replace(goodStream, "0\r\n\r\n", "what?\r\n", 1), 10},
		"a failure before its end":   {chat, strings.Split(goodStream, chunk(done))[0] + chunk("data: <html>\n"), 10},
		"an error before its end":    {chat, strings.Split(goodStream, chunk(done))[0] + chunk(`{"error":"no GPU"}`+"\n"), 10},
		"an interim response before": {whole, "HTTP/1.1 100 Continue\r\n\r\n" + goodWhole, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			var conns atomic.Int32
			s := l.Server(to(t, listen(t, func(c net.Conn) { conns.Add(1); always(tc.answer)(c) }), tc.format))
			for i := range 10 {
				r := l.ask(s)
				if reused := r.Connected == 0; reused != (i > 0 && tc.conns == 1) || r.Redials != 0 {
					t.Errorf("request %d: connected %d, redials %d, %q", i, r.Connected, r.Redials, r.Message)
				}
			}
			if n := conns.Load(); n != tc.conns {
				t.Errorf("%d connections, want %d", n, tc.conns)
			}
		})
	}
}

// An exchange is used again, for another API as well, and its Done may begin the next request.
func TestExchangeIsUsedAgain(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	streams, wholes := l.Server(to(t, listen(t, always(goodStream)), chat)), l.Server(to(t, listen(t, always(goodWhole)), whole))
	var results []protocol.Result
	ended := make(chan struct{})
	l.on(func() {
		x := l.NewExchange(nil)
		next := func() {
			s := []*Server{streams, wholes}[len(results)%2]
			x.Prepare(s, &question)
			x.Send(int64(patience))
			if x.Server() != s || !x.Active() {
				t.Error("not under way to its server")
			}
		}
		x.Done = func(x *Exchange) {
			if x.Active() {
				t.Error("active at its end")
			}
			if results = append(results, x.Result); len(results) == 20 {
				close(ended)
				return
			}
			next()
		}
		next()
	})
	l.wait("twenty requests", ended)
	for i, r := range results {
		checkTimes(t, &r)
		if r.Class != "" || r.OutputTokens != 2-i%2 || (r.First != 0) != (i%2 == 0) || (r.Connected != 0) != (i < 2) {
			t.Errorf("request %d: %+v", i, r)
		}
	}
}

// A server may close a kept connection just when it is used: the request goes out again, once.
func TestKeptConnectionThatIsClosedOnUse(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(net.Conn){"closed": func(net.Conn) {}, "reset": reset} {
		for _, again := range []bool{false, true} {
			t.Run(name+", always "+strconv.FormatBool(again), func(t *testing.T) {
				t.Parallel()
				l := newLab(t)
				var conns atomic.Int32
				s := l.Server(to(t, listen(t, func(c net.Conn) {
					in, n := bufio.NewReader(c), conns.Add(1)
					if n == 1 || !again {
						readRequest(in)
						write(c, goodWhole)
					}
					if readRequest(in) {
						end(c)
					}
				}), whole))
				if r := l.ask(s); r.Class != "" || r.Redials != 0 {
					t.Fatalf("the first request: %+v", r)
				}
				r := l.ask(s)
				if want := map[bool]protocol.Class{true: protocol.ClassConnect}[again]; r.Class != want || r.Redials != 1 || r.Connected == 0 {
					t.Errorf("class %q (%s), %d redials, connected %d", r.Class, r.Message, r.Redials, r.Connected)
				}
				if n := conns.Load(); n != 2 {
					t.Errorf("%d connections, want 2", n)
				}
			})
		}
	}
}

// Once a byte of the answer came, the request is not sent again.
func TestNoRedialWithinAnAnswer(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.Server(to(t, listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		readRequest(in)
		write(c, goodWhole)
		if readRequest(in) {
			write(c, "HTTP/1.1 2")
		}
	}), whole))
	l.ask(s)
	if r := l.ask(s); r.Class != protocol.ClassConnect || r.Redials != 0 {
		t.Errorf("class %q (%s), %d redials", r.Class, r.Message, r.Redials)
	}
}

// The new connection for a kept one that was closed may be refused.
func TestRedialIsRefused(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		readRequest(in)
		_ = listener.Close()
		write(c, goodWhole)
		readRequest(in)
	}()
	s := l.Server(to(t, listener.Addr().String(), whole))
	if r := l.ask(s); r.Class != "" {
		t.Fatal(r.Message)
	}
	if r := l.ask(s); r.Class != protocol.ClassConnect || r.Redials != 1 || r.Connected != 0 || !strings.Contains(r.Message, "refused") {
		t.Errorf("class %q (%s), %d redials", r.Class, r.Message, r.Redials)
	}
	<-served
}

// A kept connection that the server closes, or on which it speaks unasked, is not used.
func TestKeptConnectionThatEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(net.Conn){
		"closed":  func(net.Conn) {},
		"reset":   reset,
		"unasked": func(c net.Conn) { write(c, "HTTP/1.1 408 Timeout\r\n\r\n"); gone(c) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			more := make(chan struct{})
			s := l.Server(to(t, listen(t, func(c net.Conn) {
				if readRequest(bufio.NewReader(c)) {
					write(c, goodWhole)
					<-more
					end(c)
				}
			}), whole))
			l.ask(s)
			if n := value(l, s.Kept); n != 1 {
				t.Fatalf("%d connections are kept, want 1", n)
			}
			close(more)
			l.until("the connection's end", func() bool { return s.Kept() == 0 })
			if r := l.ask(s); r.Class != "" || r.Redials != 0 || r.Connected == 0 {
				t.Errorf("class %q (%s), %d redials, connected %d", r.Class, r.Message, r.Redials, r.Connected)
			}
		})
	}
}

// big is a question of 8 MiB.
var big = protocol.Question{ID: "big", Text: bytes.Repeat([]byte("words and "), 8<<20/10), MaxTokens: 4}

// A large request to a server that reads slowly fills the socket: the rest waits for it, and all arrives.
func TestLargeRequestToASlowReader(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	got, read := make(chan [32]byte, 1), make(chan struct{})
	s := l.Server(to(t, listen(t, func(c net.Conn) {
		<-read
		r, err := http.ReadRequest(bufio.NewReaderSize(c, 512))
		if err != nil {
			return
		}
		body, _ := io.ReadAll(io.LimitReader(r.Body, r.ContentLength))
		var asked struct {
			Messages []struct{ Content string }
		}
		if json.Unmarshal(body, &asked) == nil && len(asked.Messages) == 1 {
			got <- sha256.Sum256([]byte(asked.Messages[0].Content))
		}
		write(c, goodWhole)
		gone(c)
	}), whole))
	p := l.send(s, patience, big)
	l.until("a full socket", func() bool { return p.conn.blocked })
	close(read)
	if r := p.result(); r.Class != "" {
		t.Fatal(r.Message)
	}
	if <-got != sha256.Sum256(big.Text) {
		t.Error("the prompt did not arrive as it was")
	}
	if n := value(l, s.Kept); n != 1 {
		t.Errorf("%d connections are kept, want 1", n)
	}
}

// A server may answer before it has read the request; its connection is of no more use.
func TestAnswerBeforeTheRequestWasSent(t *testing.T) {
	t.Parallel()
	const refusal = "HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\n\r\ntoo long"
	for name, tc := range map[string]struct {
		answer string
		after  func(net.Conn) // nil: nothing more is read, nothing is closed
		class  protocol.Class
	}{
		"an answer":              {goodWhole, nil, ""},
		"a refusal":              {refusal, nil, protocol.ClassStatus},
		"a refusal, then closed": {refusal, func(net.Conn) {}, protocol.ClassStatus},
		"a refusal, then reset":  {refusal, reset, protocol.ClassStatus},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			ended := make(chan struct{})
			if tc.after == nil {
				tc.after = func(net.Conn) { <-ended }
			}
			s := l.Server(to(t, listen(t, func(c net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReaderSize(c, 512)); err == nil {
					write(c, tc.answer)
					tc.after(c)
				}
			}), whole))
			r := l.send(s, patience, big).result()
			close(ended)
			if r.Class != tc.class || tc.class != "" && !strings.Contains(r.Message, "too long") {
				t.Errorf("class %q: %s", r.Class, r.Message)
			}
			if n := value(l, s.Kept); n != 0 {
				t.Errorf("%d connections are kept, want none", n)
			}
		})
	}
}

// Cancel ends a request in whatever state it is, at once; but an answer that is complete stays one.
func TestCancel(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		addr     func(testing.TB) string
		question protocol.Question
		reached  func(*Exchange) bool
		class    protocol.Class
		output   int
	}{
		"connecting": {deaf, question, func(x *Exchange) bool { return x.conn.connecting }, protocol.ClassCancelled, 0},
		"sending":    {unread, big, func(x *Exchange) bool { return x.conn.blocked }, protocol.ClassCancelled, 0},
		"waiting":    {serving(once(gone)), question, func(x *Exchange) bool { return x.Result.Connected != 0 }, protocol.ClassCancelled, 0},
		"in the head": {
			serving(once(func(c net.Conn) { write(c, "HTTP/1.1 200"); gone(c) })), question,
			func(x *Exchange) bool { return x.response.Began() }, protocol.ClassCancelled, 0,
		},
		"in mid-stream": {
			serving(once(func(c net.Conn) { write(c, streamHead+hello); gone(c) })), question,
			func(x *Exchange) bool { return len(x.Result.Chunks) == 1 }, protocol.ClassCancelled, 1,
		},
		"in a refusal": {
			serving(once(func(c net.Conn) { write(c, "HTTP/1.1 500 Broken\r\n\r\nno"); gone(c) })), question,
			func(x *Exchange) bool { return x.Result.Status == 500 }, protocol.ClassCancelled, 0,
		},
		"after [DONE]": {
			serving(once(func(c net.Conn) { write(c, streamHead+hello+done); gone(c) })), question,
			func(x *Exchange) bool { return x.response.Settled() }, "", 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			s := l.Server(to(t, tc.addr(t), chat))
			p := l.send(s, patience, tc.question)
			l.until(name, func() bool { return p.conn != nil && tc.reached(p.Exchange) })
			l.on(func() {
				p.Cancel()
				if p.Active() {
					t.Error("still active")
				}
				p.Cancel() // means nothing any more
			})
			r := p.result()
			if r.Class != tc.class || r.OutputTokens != tc.output {
				t.Errorf("class %q (%s), %d tokens; want %q, %d", r.Class, r.Message, r.OutputTokens, tc.class, tc.output)
			}
			if n := value(l, func() int { return s.Outstanding + s.Kept() }); n != 0 {
				t.Errorf("%d requests under way or connections kept", n)
			}
		})
	}
}

func serving(serve func(net.Conn)) func(testing.TB) string {
	return func(t testing.TB) string { return listen(t, serve) }
}
