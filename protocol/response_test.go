package protocol

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return b.String()
}

const (
	answer = `{"choices":[{"message":{"role":"assistant","content":"Hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`
	asJSON = "application/json"
	html   = "<!DOCTYPE html><title>Login</title>"
)

// What a server may answer instead of what was asked for, and what the user is told.
func TestAnswersOverHTTP(t *testing.T) {
	t.Parallel()
	noGPU := `{"error":{"message":"no GPU left"}}`
	for name, tc := range map[string]struct {
		raw     string
		whole   bool
		class   Class
		status  int
		message string // part of it
	}{
		"a good stream":                         {raw: events(role, hello, world, total, done), status: 200},
		"a good whole answer":                   {raw: sized("200 OK", asJSON, answer), whole: true, status: 200},
		"a content type in capitals":            {raw: head("200 OK", "Text/Event-Stream") + hello + done, status: 200},
		"status 201":                            {raw: sized("201 Created", asJSON, answer), whole: true, class: ClassStatus, status: 201},
		"status 204":                            {raw: head("204 No Content", ""), class: ClassStatus, status: 204, message: "HTTP 204"},
		"status 400 with its reason":            {raw: sized("400 Bad Request", asJSON, `{"error":"min_tokens is unknown"}`), class: ClassStatus, status: 400, message: "min_tokens"},
		"status 401 with its reason":            {raw: sized("401 Unauthorized", asJSON, `{"error":"no key"}`), class: ClassStatus, status: 401, message: "no key"},
		"status 429":                            {raw: sized("429 Too Many Requests", "text/plain", "slow down"), class: ClassStatus, status: 429, message: "slow down"},
		"status 500 without a body":             {raw: sized("500 Internal Server Error", "", ""), class: ClassStatus, status: 500, message: "HTTP 500"},
		"status 500 in chunks":                  {raw: head("500 Broken", "text/plain", "Transfer-Encoding: chunked") + chunked("out of", " memory"), class: ClassStatus, status: 500, message: "out of memory"},
		"status 502 until the end":              {raw: head("502 Bad Gateway", "text/html") + html, class: ClassStatus, status: 502, message: "Login"},
		"status 503 that breaks off":            {raw: head("503 Busy", "text/plain", "Content-Length: 400") + "busy", class: ClassStatus, status: 503, message: "busy"},
		"status 503 of an event stream":         {raw: head("503 Busy", sse) + hello + done, class: ClassStatus, status: 503},
		"a redirect is not followed":            {raw: sized("307 Temporary Redirect", "", "", "Location: http://127.0.0.1:1/"), class: ClassStatus, status: 307, message: "to http://127.0.0.1:1/, which is not followed"},
		"HTML instead of a stream":              {raw: sized("200 OK", "text/html", html), class: ClassPayload, status: 200, message: "Login"},
		"HTML instead of a whole answer":        {raw: sized("200 OK", "text/html", html), whole: true, class: ClassPayload, status: 200, message: "Login"},
		"JSON error instead of a stream":        {raw: sized("200 OK", asJSON, noGPU), class: ClassServer, status: 200, message: "no GPU left"},
		"a long JSON error instead of a stream": {raw: sized("200 OK", asJSON, `{"error":{"message":"no GPU left, `+strings.Repeat("x", 2000)+`"}}`), class: ClassServer, status: 200, message: "no GPU left"},
		"the older error instead of a stream":   {raw: sized("200 OK", asJSON, `{"object":"error","message":"no GPU left"}`), class: ClassServer, status: 200, message: "no GPU left"},
		"JSON answer instead of a stream":       {raw: sized("200 OK", asJSON, answer), class: ClassPayload, status: 200, message: asJSON},
		"a stream without a content type":       {raw: head("200 OK", "") + hello + done, class: ClassPayload, status: 200},
		"a stream instead of a whole answer":    {raw: events(hello, done), whole: true, class: ClassPayload, status: 200, message: "data:"},
		"an error in a whole answer":            {raw: sized("200 OK", asJSON, noGPU), whole: true, class: ClassServer, status: 200, message: "no GPU left"},
		"the older error in a whole answer":     {raw: sized("200 OK", asJSON, `{"object":"error","message":"no GPU left"}`), whole: true, class: ClassServer, status: 200, message: "no GPU left"},
		"a null error in a whole answer":        {raw: sized("200 OK", asJSON, `{"error":null,`+answer[1:]), whole: true, status: 200},
		"a whole answer without text":           {raw: sized("200 OK", asJSON, `{"choices":[{"message":{"content":""}}]}`), whole: true, class: ClassEmpty, status: 200},
		"a whole answer without choices":        {raw: sized("200 OK", asJSON, `{}`), whole: true, class: ClassEmpty, status: 200},
		"a whole answer of reasoning alone":     {raw: sized("200 OK", asJSON, `{"choices":[{"message":{"content":null,"reasoning":"hm"}}]}`), whole: true, status: 200},
		"a whole answer that is no JSON":        {raw: sized("200 OK", asJSON, answer+"}"), whole: true, class: ClassPayload, status: 200},
		"a whole answer that is a list":         {raw: sized("200 OK", asJSON, "["+answer+"]"), whole: true, class: ClassPayload, status: 200},
		"an empty whole answer":                 {raw: sized("200 OK", asJSON, ""), whole: true, class: ClassPayload, status: 200},
		"a whole answer with blanks around":     {raw: sized("200 OK", asJSON, "\r\n "+answer+"\n\n"), whole: true, status: 200},
		"a whole answer until the end":          {raw: head("200 OK", asJSON) + answer, whole: true, status: 200},
		"a whole answer that breaks off":        {raw: head("200 OK", asJSON, "Content-Length: 400") + answer, whole: true, class: ClassCut, status: 200},
		"chunks that break off":                 {raw: head("200 OK", asJSON, "Transfer-Encoding: chunked") + "400\r\n" + answer, whole: true, class: ClassCut, status: 200},
		"a stream's chunk that breaks off":      {raw: head("200 OK", sse, "Transfer-Encoding: chunked") + "400\r\n" + hello, class: ClassCut, status: 200, message: "after 1 chunks"},
		"a stream shorter than its length":      {raw: head("200 OK", sse, "Content-Length: 4000") + hello + done, status: 200},
		"a gzipped stream that nobody asked":    {raw: sized("200 OK", "text/event-stream", zipped(hello+done), "Content-Encoding: gzip"), class: ClassPayload, status: 200, message: "gzip"},
		"a gzipped answer that nobody asked":    {raw: sized("200 OK", asJSON, zipped(answer), "Content-Encoding: gzip"), whole: true, class: ClassPayload, status: 200, message: "gzip"},
		"encoded as identity":                   {raw: sized("200 OK", asJSON, answer, "Content-Encoding: Identity"), whole: true, status: 200},
		"a stream cut without [DONE]":           {raw: events(hello), class: ClassCut, status: 200, message: "after 1 chunks"},
		"an empty stream":                       {raw: events(), class: ClassCut, status: 200, message: "after 0 chunks"},
		"a long message is cut between letters": {raw: sized("500 Broken", "text/plain", strings.Repeat("é", 400)), class: ClassStatus, status: 500},
		"a message that is not UTF-8":           {raw: sized("500 Broken", "text/plain", "caf\xe9"), class: ClassStatus, status: 500, message: "caf"},
		"nothing":                               {raw: "", class: ClassConnect, message: "without an answer"},
		"within the head":                       {raw: "HTTP/1.1 200 OK\r\nContent-", class: ClassConnect, message: "within the head"},
		"not HTTP at all":                       {raw: "SSH-2.0-OpenSSH_9.2\r\n", class: ClassPayload, message: "not HTTP"},
		"HTTP/2":                                {raw: "HTTP/2 200\r\n\r\n", class: ClassPayload, message: "not HTTP/1.1"},
		"HTTP/0.9":                              {raw: "\r\n\r\n" + answer, class: ClassPayload, message: "not HTTP"},
		"a status that is no number":            {raw: "HTTP/1.1 fine\r\n\r\n", class: ClassPayload, message: "fine"},
		"a status of four digits":               {raw: "HTTP/1.1 2000 OK\r\n\r\n", class: ClassPayload},
		"a header without a colon":              {raw: "HTTP/1.1 200 OK\r\nwhat is this\r\n\r\n", class: ClassPayload, message: "what is this"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := chat
			f.Streaming = !tc.whole
			r, _ := everyCut(t, f, 4, tc.raw)
			if r.Class != tc.class || r.Status != tc.status {
				t.Errorf("class %q, status %d (%s); want %q, %d", r.Class, r.Status, r.Message, tc.class, tc.status)
			}
			if !strings.Contains(r.Message, tc.message) {
				t.Errorf("message %q lacks %q", r.Message, tc.message)
			}
			if !utf8.ValidString(r.Message) || len(r.Message) > 310 {
				t.Errorf("message %q is not UTF-8, or too long", r.Message)
			}
			if tc.whole && (r.First != 0 || r.Last != 0 || len(r.Chunks) != 0) {
				t.Error("an answer in one piece has no first token")
			}
		})
	}
}

func TestTokensOfAWholeAnswer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body           string
		prompt, output int
		source         string
	}{
		"the server's usage":                 {answer, 3, 1, TokensFromServer},
		"no usage: the count is not known":   {`{"choices":[{"text":"Hi"}]}`, 0, 0, ""},
		"null usage: the count is not known": {`{"choices":[{"text":"Hi"}],"usage":null}`, 0, 0, ""},
		"usage before the choices":           {`{"usage":{"prompt_tokens":3,"completion_tokens":1},"choices":[{"text":"Hi"}]}`, 3, 1, TokensFromServer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if r, _ := everyCut(t, chatOnce, 4, sized("200 OK", asJSON, tc.body)); r.Class != "" || r.PromptTokens != tc.prompt || r.OutputTokens != tc.output || r.TokenSource != tc.source {
				t.Errorf("%d prompt and %d output tokens from %q (%s)", r.PromptTokens, r.OutputTokens, r.TokenSource, r.Message)
			}
		})
	}
}

// How a body is framed, and whether its connection can be used again.
func TestFraming(t *testing.T) {
	t.Parallel()
	coded := func(body string) string { return head("200 OK", asJSON, "Transfer-Encoding: chunked") + body }
	n := fmt.Sprintf("%x", len(answer))
	length := fmt.Sprintf("Content-Length: %d", len(answer))
	for name, tc := range map[string]struct {
		raw      string
		class    Class
		reusable bool
		pending  bool // the response did not come to its end
	}{
		"a length":                         {raw: sized("200 OK", asJSON, answer), reusable: true},
		"chunks":                           {raw: coded(chunked(answer[:5], answer[5:])), reusable: true},
		"until the connection's end":       {raw: head("200 OK", asJSON) + answer, pending: true},
		"lines end with a line feed alone": {raw: strings.ReplaceAll(sized("200 OK", asJSON, answer), "\r\n", "\n"), reusable: true},
		"chunks' lines too":                {raw: coded(strings.ReplaceAll(chunked(answer), "\r\n", "\n")), reusable: true},
		"names in any case":                {raw: "HTTP/1.1 200 OK\r\nCONTENT-length:" + length[15:] + "\r\n\r\n" + answer, reusable: true},
		"no reason phrase":                 {raw: "HTTP/1.1 200\r\n" + length + "\r\n\r\n" + answer, reusable: true},
		"a size in capitals and zeros":     {raw: coded("000" + strings.ToUpper(n) + "\r\n" + answer + "\r\n000\r\n\r\n"), reusable: true},
		"chunk extensions":                 {raw: coded(n + ";a=1;b=\"x y\"\r\n" + answer + "\r\n0 ; last\r\n\r\n"), reusable: true},
		"blanks after a size":              {raw: coded(n + " \t\r\n" + answer + "\r\n0\r\n\r\n"), reusable: true},
		"trailers":                         {raw: coded(n + "\r\n" + answer + "\r\n0\r\nX-Sum: 1\r\nX-B: 2\r\n\r\n"), reusable: true},
		"an interim response before":       {raw: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + sized("200 OK", asJSON, answer), reusable: true},
		"an interim response alone":        {raw: "HTTP/1.1 100 Continue\r\n\r\n", class: ClassConnect, pending: true},
		"bytes after the end":              {raw: sized("200 OK", asJSON, answer) + "x"},
		"bytes after the last chunk":       {raw: coded(chunked(answer)) + "\r\n"},
		"another response after the end":   {raw: sized("200 OK", asJSON, answer) + sized("200 OK", asJSON, answer)},
		"the server closes":                {raw: sized("200 OK", asJSON, answer, "Connection: close")},
		"the server closes, among others":  {raw: sized("200 OK", asJSON, answer, "Connection: X-A, Close")},
		"the server closes and keeps":      {raw: sized("200 OK", asJSON, answer, "Connection: keep-alive", "Connection: close")},
		"HTTP/1.0":                         {raw: strings.Replace(sized("200 OK", asJSON, answer), "1.1", "1.0", 1)},
		"HTTP/1.0 that keeps":              {raw: strings.Replace(sized("200 OK", asJSON, answer, "Connection: Keep-Alive"), "1.1", "1.0", 1), reusable: true},
		"HTTP/1.0 without a length":        {raw: strings.Replace(head("200 OK", asJSON, "Connection: keep-alive"), "1.1", "1.0", 1) + answer, pending: true},
		"the same length twice":            {raw: sized("200 OK", asJSON, answer, length), reusable: true},
		"two lengths":                      {raw: sized("200 OK", asJSON, answer, "Content-Length: 5"), class: ClassPayload, pending: true},
		"a length below zero":              {raw: head("200 OK", asJSON, "Content-Length: -1") + answer, class: ClassPayload, pending: true},
		"a length that is no number":       {raw: head("200 OK", asJSON, "Content-Length: many") + answer, class: ClassPayload, pending: true},
		"a length too long":                {raw: head("200 OK", asJSON, "Content-Length: 99999999999999999999") + answer, class: ClassPayload, pending: true},
		"chunks and a length: chunks":      {raw: head("200 OK", asJSON, "Content-Length: 5", "Transfer-Encoding: chunked") + chunked(answer), reusable: true},
		"an unknown transfer coding":       {raw: head("200 OK", asJSON, "Transfer-Encoding: gzip, chunked") + chunked(answer), class: ClassPayload, pending: true},
		"a chunk without a size":           {raw: coded("\r\n" + answer), class: ClassPayload, pending: true},
		"a chunk whose size is no number":  {raw: coded("xyz\r\n" + answer), class: ClassPayload, pending: true},
		"a chunk whose size is enormous":   {raw: coded("fffffffffffffffffffff\r\n" + answer), class: ClassPayload, pending: true},
		"a chunk longer than its size":     {raw: coded("5\r\n" + answer), class: ClassPayload, pending: true},
		"no coding after all":              {raw: coded(answer), class: ClassPayload, pending: true},
		"status 304 with a length":         {raw: head("304 Not Modified", asJSON, "Content-Length: 400"), class: ClassStatus, reusable: true},
		"status 204 with a coding":         {raw: head("204 No Content", "", "Transfer-Encoding: chunked"), class: ClassStatus, reusable: true},
		"status 500, the body read":        {raw: sized("500 Broken", "text/plain", "x"), class: ClassStatus, reusable: true},
		"an empty body":                    {raw: sized("200 OK", asJSON, ""), class: ClassPayload, reusable: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, got := everyCut(t, chatOnce, 4, tc.raw)
			if got.Class != tc.class || got.Reusable != tc.reusable || got.Complete == tc.pending {
				t.Errorf("class %q (%s), reusable %v, complete %v; want %q, %v, %v", got.Class, r.Message, got.Reusable, got.Complete, tc.class, tc.reusable, !tc.pending)
			}
		})
	}
}

// After [DONE] the result is known: what comes then decides about the connection alone.
func TestAfterTheAnswersEnd(t *testing.T) {
	t.Parallel()
	begin := head("200 OK", sse, "Transfer-Encoding: chunked") + strings.TrimSuffix(chunked(hello, done), "0\r\n\r\n")
	for name, tc := range map[string]struct {
		rest     string
		complete bool
		reusable bool
	}{
		"the last chunk":          {"0\r\n\r\n", true, true},
		"more events":             {chunked(hello, "data: {\"error\":1}\n\n"), true, true},
		"the connection's end":    {"", false, false},
		"damaged coding":          {"what?\r\n", false, false},
		"damaged within a size":   {"5\r\nhello!", false, false},
		"endless trailers":        {"0\r\n" + strings.Repeat("X: y\r\n", maxHead/4), false, false},
		"a response nobody asked": {"0\r\n\r\nHTTP/1.1 500 Broken\r\n\r\n", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if r, got := everyCut(t, chat, 4, begin+tc.rest); r.Class != "" || got.Chunks != 1 || got.Complete != tc.complete || got.Reusable != tc.reusable {
				t.Errorf("%+v (%s)", got, r.Message)
			}
		})
	}
}

// Responses are read one after the other with the same memory, and nothing of one is left in the next.
func TestResponsesOneAfterTheOther(t *testing.T) {
	t.Parallel()
	var r Result
	var p Response
	a := chat.NewAnswer()
	for i, tc := range []struct {
		raw   string
		class Class
	}{
		{events(role, hello, world, total, done), ""},
		{head("200 OK", sse) + hello + `data: {"choices`, ClassCut},
		{sized("500 Broken", "text/plain", "x"), ClassStatus},
		{"HTTP/1.1 20", ClassConnect},
		{events(strings.ReplaceAll(hello, `{"choices"`, `{"usage":{"completion_tokens":1},"choices"`), done), ""},
		{events(hello, done), ""},
		{"", ClassConnect},
		{events(role, done), ClassEmpty},
	} {
		r.Reset()
		p.Begin(chat, a, &r, 4)
		if p.Began() || p.Settled() || p.Complete() || p.Reusable() {
			t.Errorf("response %d: not new", i)
		}
		p.Feed([]byte(tc.raw), milli)
		if p.Began() != (tc.raw != "") {
			t.Errorf("response %d: began is %v", i, p.Began())
		}
		p.End()
		fresh, q := receive(chat, 4, tc.raw)
		if got, want := fmt.Sprintf("%+v", outcomeOf(&r, &p)), outcomeOf(&fresh, q); r.Class != tc.class || r.Class != want.Class || r.Message != fresh.Message || len(r.Chunks) != want.Chunks || len(r.ChunkTokens) != len(want.Tokens) || r.OutputTokens != want.Output {
			t.Errorf("response %d: %s; alone %+v", i, got, want)
		}
	}
}

// keeper is a format whose answer keeps the body as it came.
type keeper struct{ body []byte }

var (
	_ Format = (*keeper)(nil)
	_ Answer = (*keeper)(nil)
)

func (k *keeper) Path() string                              { return "/" }
func (k *keeper) AppendBody(dst []byte, _ *Question) []byte { return dst }
func (k *keeper) NewAnswer() Answer                         { return k }
func (k *keeper) Streams() (string, bool)                   { return "", false }
func (k *keeper) Begin(*Result, int)                        { k.body = k.body[:0] }
func (k *keeper) End()                                      {}
func (k *keeper) Feed(data []byte, _ int64) bool {
	k.body = append(k.body, data...)
	return true
}

// peer is what net/http makes of a response: its status and body; false when it refuses it or it is an interim one.
func peer(raw []byte) (status int, body []byte, ok bool) {
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: http.MethodPost})
	if err != nil || resp.StatusCode < 200 {
		return 0, nil, false
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err == nil
}

// Any well-formed response, however it is cut, has the body that net/http finds in it.
func TestBodiesAgreeWithNetHTTP(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body")
		raw := wellFormed(t, body)
		k := &keeper{}
		r, p := receive(k, 0, cutAt(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "cuts"), 1)), raw)...)
		status, want, ok := peer([]byte(raw))
		switch {
		case !ok || !bytes.Equal(want, body):
			t.Fatalf("net/http reads %q from %q", want, raw)
		case r.Class != "" || r.Status != status || !bytes.Equal(k.body, body):
			t.Errorf("status %d, class %q (%s), body %q; want %q", r.Status, r.Class, r.Message, k.body, body)
		case p.Complete() && p.Reusable() == strings.Contains(raw, "Connection: close"):
			t.Errorf("reusable %v", p.Reusable())
		}
	})
}

// wellFormed words a response with this body in one of the ways that HTTP/1.1 allows.
func wellFormed(t *rapid.T, body []byte) string {
	line := rapid.SampledFrom([]string{
		"Date: Thu, 01 Jan 2026 00:00:00 GMT", "Server: uvicorn", "X-Request-Id:r-1", "X-Empty:", "Content-Type: application/json",
		"Connection: close", "Set-Cookie: a=b: c", "X-Blanks:  \t x \t",
	})
	lines := rapid.SliceOfN(line, 0, 4).Draw(t, "lines")
	framing := rapid.SampledFrom([]string{"length", "chunks", "end"}).Draw(t, "framing")
	var framed strings.Builder
	switch framing {
	case "length":
		lines = append(lines, fmt.Sprint("Content-Length: ", len(body)))
		framed.Write(body)
	case "chunks":
		lines = append(lines, "Transfer-Encoding: chunked")
		extension := rapid.SampledFrom([]string{"", ";a", ";a=b", " ", `;a="b c"`})
		for rest := body; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "chunk")
			fmt.Fprintf(&framed, rapid.SampledFrom([]string{"%x", "%X", "0%x"}).Draw(t, "digits")+"%s\r\n%s\r\n", n, extension.Draw(t, "extension"), rest[:n])
			rest = rest[n:]
		}
		framed.WriteString("0" + extension.Draw(t, "extension") + "\r\n" + rapid.SampledFrom([]string{"", "X-Trailer: 1\r\n"}).Draw(t, "trailer") + "\r\n")
	default:
		framed.Write(body)
	}
	lines = rapid.Permutation(lines).Draw(t, "order")
	return head("200 OK", "", lines...) + framed.String()
}
