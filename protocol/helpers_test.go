package protocol

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// outcome is what a response came to, without what may depend on how the network cut it: its times.
type outcome struct {
	Class                  Class
	Status                 int
	Chunks, Prompt, Output int
	Cached                 int
	Source                 string
	Reasoning              bool
	Tokens                 []uint16
	Server                 ServerTimes
	Complete, Reusable     bool
}

const milli = int64(1e6)

// receive pushes the pieces in, the first at 1 ms and one more each millisecond, then closes the connection if the response
// did not come to its end by itself. It goes on after a failure, where a transport would not.
func receive(f Format, maxTokens int, pieces ...string) (Result, *Response) {
	var r Result
	var p Response
	p.Begin(f, f.NewAnswer(), &r, maxTokens)
	for i, piece := range pieces {
		p.Feed([]byte(piece), int64(i+1)*milli)
	}
	if !p.Complete() {
		p.End()
	}
	return r, &p
}

func outcomeOf(r *Result, p *Response) outcome {
	return outcome{
		Class: r.Class, Status: r.Status, Chunks: len(r.Chunks), Prompt: r.PromptTokens, Output: r.OutputTokens,
		Cached: r.CachedTokens, Source: r.TokenSource, Reasoning: r.Reasoning, Tokens: append([]uint16(nil), r.ChunkTokens...),
		Server: r.Server, Complete: p.Complete(), Reusable: p.Reusable(),
	}
}

// bytewise splits into single bytes.
func bytewise(s string) []string {
	pieces := make([]string, len(s))
	for i := range len(s) {
		pieces[i] = s[i : i+1]
	}
	return pieces
}

// cutAt splits at random places, most pieces being short.
func cutAt(rng *rand.Rand, s string) []string {
	var pieces []string
	for len(s) > 0 {
		n := 1 + rng.IntN(min(len(s), 1+rng.IntN(len(s))))
		pieces, s = append(pieces, s[:n]), s[n:]
	}
	return pieces
}

// everyCut receives raw whole, byte by byte and cut at random, and fails when the cuts make a difference.
func everyCut(t *testing.T, f Format, maxTokens int, raw string) (Result, outcome) {
	t.Helper()
	r, p := receive(f, maxTokens, raw)
	want := outcomeOf(&r, p)
	ways := map[string][]string{}
	if len(raw) < 1<<15 {
		ways["byte by byte"] = bytewise(raw)
	}
	rng := rand.New(rand.NewPCG(1, uint64(len(raw))))
	for i := range 5 {
		ways[fmt.Sprint("cut at random ", i)] = cutAt(rng, raw)
	}
	for name, pieces := range ways {
		r2, p2 := receive(f, maxTokens, pieces...)
		if diff := cmp.Diff(want, outcomeOf(&r2, p2)); diff != "" {
			t.Errorf("%s (-in one read +cut):\n%s\n%s", name, diff, r2.Message)
		}
		// Of damaged coding the message shows the read in which it was seen.
		if r2.Message != r.Message && !strings.Contains(r.Message, "damaged") {
			t.Errorf("%s: message %q, in one read %q", name, r2.Message, r.Message)
		}
		if err := consistent(&r2); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := consistent(&r); err != nil {
		t.Errorf("in one read: %v", err)
	}
	return r, want
}

// consistent checks what holds for every result, whatever the server sent.
func consistent(r *Result) error {
	switch {
	case r.PromptTokens < 0 || r.OutputTokens < 0 || r.CachedTokens < 0:
		return fmt.Errorf("tokens below zero: %+v", r)
	case r.Server.Load < 0 || r.Server.Prefill < 0 || r.Server.Decode < 0 || r.Server.Queue < 0:
		return fmt.Errorf("timers below zero: %+v", r.Server)
	case (r.OutputTokens > 0) != (r.TokenSource != ""):
		return fmt.Errorf("%d tokens from %q", r.OutputTokens, r.TokenSource)
	case (r.Class == "") != (r.Message == ""):
		return fmt.Errorf("class %q, message %q", r.Class, r.Message)
	case (r.First == 0) != (len(r.Chunks) == 0), (r.Last == 0) != (r.First == 0), r.Last < r.First, r.End < r.Last:
		return fmt.Errorf("first %d, last %d, end %d, %d chunks", r.First, r.Last, r.End, len(r.Chunks))
	case r.FirstAnswer != 0 && (r.FirstAnswer < r.First || r.FirstAnswer > r.Last):
		return fmt.Errorf("first answer %d is not between %d and %d", r.FirstAnswer, r.First, r.Last)
	case len(r.ChunkTokens) != 0 && len(r.ChunkTokens) != len(r.Chunks):
		return fmt.Errorf("tokens of %d chunks of %d", len(r.ChunkTokens), len(r.Chunks))
	case len(r.Chunks) > 0 && (r.Chunks[0] != 0 || int64(r.Chunks[len(r.Chunks)-1]) != (r.Last-r.First)/1000):
		return fmt.Errorf("chunks %v do not lead from %d to %d", r.Chunks, r.First, r.Last)
	}
	for i := 1; i < len(r.Chunks); i++ {
		if r.Chunks[i] < r.Chunks[i-1] {
			return fmt.Errorf("chunks %v go back in time", r.Chunks)
		}
	}
	return nil
}

// head is the head of a response that ends with its connection.
func head(status, contentType string, more ...string) string {
	h := "HTTP/1.1 " + status + "\r\n"
	if contentType != "" {
		h += "Content-Type: " + contentType + "\r\n"
	}
	for _, line := range more {
		h += line + "\r\n"
	}
	return h + "\r\n"
}

func sized(status, contentType, body string, more ...string) string {
	return head(status, contentType, append(more, fmt.Sprint("Content-Length: ", len(body)))...) + body
}

// chunked frames the parts as chunks.
func chunked(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(part), part)
	}
	return b.String() + "0\r\n\r\n"
}

const sse = "text/event-stream; charset=utf-8"

// events is a good response with these server-sent events.
func events(parts ...string) string {
	return head("200 OK", sse, "Transfer-Encoding: chunked") + chunked(parts...)
}

var (
	chat     = OpenAI{Model: "m", Chat: true, Streaming: true}
	chatOnce = OpenAI{Model: "m", Chat: true}
)
