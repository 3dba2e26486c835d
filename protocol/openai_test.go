package protocol

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func stream200(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = io.WriteString(w, body)
	}
}

func plain(code int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func zipped(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, body)
		_ = z.Close()
	}
}

const whole200 = `{"choices":[{"message":{"role":"assistant","content":"Hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`

func TestAnswersOverHTTP(t *testing.T) {
	html := "<!DOCTYPE html><title>Login</title>"
	for name, tc := range map[string]struct {
		serve   http.HandlerFunc
		whole   bool
		class   Class
		status  int
		message string // part of it
	}{
		"a good stream":                         {serve: stream200(role + hello + world + total + done), status: 200},
		"a good whole answer":                   {serve: plain(200, "application/json", whole200), whole: true, status: 200},
		"status 401 with its reason":            {serve: plain(401, "application/json", `{"error":"no key"}`), class: ClassStatus, status: 401, message: "no key"},
		"status 429":                            {serve: plain(429, "text/plain", "slow down"), class: ClassStatus, status: 429, message: "slow down"},
		"status 500 without a body":             {serve: plain(500, "text/plain", ""), class: ClassStatus, status: 500, message: "HTTP 500"},
		"a redirect is not followed":            {serve: http.RedirectHandler("http://127.0.0.1:1/", http.StatusTemporaryRedirect).ServeHTTP, class: ClassStatus, status: 307},
		"HTML instead of a stream":              {serve: plain(200, "text/html", html), class: ClassPayload, status: 200, message: "Login"},
		"HTML instead of a whole answer":        {serve: plain(200, "text/html", html), whole: true, class: ClassPayload, status: 200, message: "Login"},
		"JSON error instead of a stream":        {serve: plain(200, "application/json", `{"error":{"message":"no GPU left"}}`), class: ClassServer, status: 200, message: "no GPU left"},
		"JSON answer instead of a stream":       {serve: plain(200, "application/json", whole200), class: ClassPayload, status: 200, message: "application/json"},
		"an error in a whole answer":            {serve: plain(200, "application/json", `{"error":{"message":"no GPU left"}}`), whole: true, class: ClassServer, status: 200, message: "no GPU left"},
		"a null error in a whole answer":        {serve: plain(200, "application/json", `{"error":null,`+whole200[1:]), whole: true, status: 200},
		"a whole answer without text":           {serve: plain(200, "application/json", `{"choices":[{"message":{"content":""}}]}`), whole: true, class: ClassEmpty, status: 200},
		"a whole answer without choices":        {serve: plain(200, "application/json", `{}`), whole: true, class: ClassEmpty, status: 200},
		"a whole answer of reasoning alone":     {serve: plain(200, "application/json", `{"choices":[{"message":{"content":null,"reasoning":"hm"}}]}`), whole: true, status: 200},
		"a gzipped stream that nobody asked":    {serve: zipped("text/event-stream", hello+world+done), class: ClassPayload, status: 200, message: "gzip"},
		"a gzipped answer that nobody asked":    {serve: zipped("application/json", whole200), whole: true, class: ClassPayload, status: 200},
		"a stream cut without [DONE]":           {serve: stream200(hello), class: ClassCut, status: 200, message: "after 1 chunks"},
		"an empty stream":                       {serve: stream200(""), class: ClassCut, status: 200},
		"an error object framed in a stream":    {serve: stream200(hello + `data: {"error":{"message":"boom"}}` + "\n\n" + done), class: ClassServer, status: 200, message: "boom"},
		"an error object bare in a stream":      {serve: stream200(`{"error":{"message":"boom"}}`), class: ClassServer, status: 200, message: "boom"},
		"a long message is cut between letters": {serve: plain(500, "text/plain", strings.Repeat("é", 400)), class: ClassStatus, status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			r := ask(t, OpenAI{URL: answering(t, tc.serve), Model: "m", Chat: true, Streaming: !tc.whole})
			if r.Class != tc.class || r.Status != tc.status {
				t.Errorf("class %q, status %d (%s); want %q, %d", r.Class, r.Status, r.Message, tc.class, tc.status)
			}
			if !strings.Contains(r.Message, tc.message) {
				t.Errorf("message %q lacks %q", r.Message, tc.message)
			}
			if !utf8.ValidString(r.Message) {
				t.Errorf("message %q is not UTF-8", r.Message)
			}
			if r.Sent.IsZero() || r.Connected.Before(r.Sent) || r.End.Before(r.Connected) {
				t.Errorf("times out of order: sent %v, connected %v, end %v", r.Sent, r.Connected, r.End)
			}
			if tc.whole && (!r.First.IsZero() || !r.Last.IsZero()) {
				t.Error("an answer in one piece has no first token")
			}
		})
	}
}

func TestTokensOfAWholeAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		body           string
		prompt, output int
		source         string
	}{
		"the server's usage":                 {whole200, 3, 1, TokensFromServer},
		"no usage: the count is not known":   {`{"choices":[{"text":"Hi"}]}`, 0, 0, ""},
		"null usage: the count is not known": {`{"choices":[{"text":"Hi"}],"usage":null}`, 0, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := ask(t, OpenAI{URL: answering(t, plain(200, "application/json", tc.body))})
			if r.Class != "" || r.PromptTokens != tc.prompt || r.OutputTokens != tc.output || r.TokenSource != tc.source {
				t.Errorf("%d prompt and %d output tokens from %q (%s)", r.PromptTokens, r.OutputTokens, r.TokenSource, r.Message)
			}
		})
	}
}

func TestConnectionsThatMisbehave(t *testing.T) {
	const brief = 400 * time.Millisecond
	for name, tc := range map[string]struct {
		serve   func(net.Conn)
		whole   bool
		timeout time.Duration
		class   Class
		output  int
	}{
		"closed before an answer": {serve: func(net.Conn) {}, class: ClassConnect},
		"reset before an answer":  {serve: reset, class: ClassConnect},
		"closed in mid-stream":    {serve: func(c net.Conn) { write(c, streamHead+hello) }, class: ClassCut, output: 1},
		"a chunked body that breaks off": {serve: func(c net.Conn) {
			write(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n"+hello)
		}, class: ClassCut, output: 1},
		"a whole answer that breaks off": {serve: func(c net.Conn) { write(c, "HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n"+whole200[:20]) }, whole: true, class: ClassCut},
		"not HTTP at all":                {serve: func(c net.Conn) { write(c, "SSH-2.0-OpenSSH_9.2\r\n") }, class: ClassConnect},
		"an endless header": {serve: func(c net.Conn) {
			write(c, "HTTP/1.1 200 OK\r\n")
			endless(c, "X-A: "+strings.Repeat("a", 4096)+"\r\n")
		}, class: ClassConnect},
		"an endless line":                     {serve: func(c net.Conn) { write(c, streamHead+"data: {"); endless(c, strings.Repeat("x", 4096)) }, class: ClassPayload},
		"an endless whole answer":             {serve: func(c net.Conn) { write(c, "HTTP/1.1 200 OK\r\n\r\n"); endless(c, strings.Repeat(" ", 1<<20)) }, whole: true, class: ClassPayload},
		"an endless stream":                   {serve: func(c net.Conn) { write(c, streamHead); endless(c, hello) }, timeout: brief, class: ClassTimeout, output: -1},
		"no answer":                           {serve: eof, timeout: brief, class: ClassTimeout},
		"a header and then nothing":           {serve: func(c net.Conn) { write(c, streamHead); eof(c) }, timeout: brief, class: ClassTimeout},
		"a stall in mid-stream":               {serve: func(c net.Conn) { write(c, streamHead+hello); eof(c) }, timeout: brief, class: ClassTimeout, output: 1},
		"a connection kept open after [DONE]": {serve: func(c net.Conn) { write(c, streamHead+hello+done); eof(c) }, output: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := ask(t, OpenAI{URL: rawServer(t, tc.serve), Streaming: !tc.whole, Timeout: tc.timeout})
			if r.Class != tc.class {
				t.Errorf("class %q (%s), want %q", r.Class, r.Message, tc.class)
			}
			if tc.output >= 0 && r.OutputTokens != tc.output || tc.output < 0 && r.OutputTokens < 10 {
				t.Errorf("%d output tokens, want %d", r.OutputTokens, tc.output)
			}
			if tc.class == ClassTimeout {
				if d := r.End.Sub(r.Sent); d < tc.timeout || d > patience {
					t.Errorf("ended after %s, the timeout is %s", d, tc.timeout)
				}
			}
		})
	}
}

func TestResetInMidStreamIsACut(t *testing.T) {
	began := make(chan struct{})
	url := rawServer(t, func(c net.Conn) {
		write(c, streamHead+hello)
		<-began
		reset(c)
	})
	client := NewOpenAI(OpenAI{URL: url, Streaming: true, Timeout: patience})
	defer client.Close()
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotFirstResponseByte: func() { close(began) }})
	if r := client.Do(ctx, Request{}); r.Class != ClassCut || r.Status != 200 {
		t.Errorf("class %q: %s", r.Class, r.Message)
	}
}

func TestConnectionRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	_ = l.Close()
	r := ask(t, OpenAI{URL: url, Streaming: true})
	if r.Class != ClassConnect || r.Status != 0 || !r.Connected.IsZero() || r.End.Before(r.Sent) {
		t.Errorf("class %q (%s), status %d", r.Class, r.Message, r.Status)
	}
}

func TestCancellation(t *testing.T) {
	for name, cancelled := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"by the caller": context.WithCancel,
		"by the caller's deadline": func(c context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(c, 100*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			began := make(chan struct{})
			url := rawServer(t, func(c net.Conn) { write(c, streamHead+hello); close(began); eof(c) })
			ctx, cancel := cancelled(t.Context())
			defer cancel()
			go func() {
				<-began
				if name == "by the caller" {
					cancel()
				}
			}()
			client := NewOpenAI(OpenAI{URL: url, Streaming: true, Timeout: time.Minute})
			defer client.Close()
			if r := client.Do(ctx, Request{}); r.Class != ClassCancelled {
				t.Errorf("class %q: %s", r.Class, r.Message)
			}
		})
	}
}

func TestWhatIsSent(t *testing.T) {
	for name, tc := range map[string]struct {
		client OpenAI
		path   string
		want   map[string]any
	}{
		"chat, streamed": {
			OpenAI{Model: "m", Chat: true, Streaming: true, APIKey: "k"},
			"/v1/chat/completions",
			map[string]any{"messages": []any{map[string]any{"role": "user", "content": "tell me"}}, "stream": true, "stream_options": map[string]any{"include_usage": true}},
		},
		"completions, in one piece": {OpenAI{Model: "m", APIKey: "k"}, "/v1/completions", map[string]any{"prompt": "tell me", "stream": false}},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range map[string]any{"model": "m", "max_tokens": 4.0, "min_tokens": 4.0, "ignore_eos": true, "temperature": 0.0} {
				tc.want[k] = v
			}
			var got map[string]any
			var head string
			tc.client.URL = answering(t, func(_ http.ResponseWriter, r *http.Request) {
				head = fmt.Sprintln(r.Method, r.URL.Path, r.Header["Authorization"], r.Header["X-Request-Id"], r.Header["Accept-Encoding"])
				_ = json.NewDecoder(r.Body).Decode(&got)
			})
			ask(t, tc.client)
			if want := fmt.Sprintln("POST", tc.path, "[Bearer k]", "[r-1]", "[]"); head != want {
				t.Errorf("head %q, want %q", head, want)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}
