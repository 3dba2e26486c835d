package protocol

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// counts is what a stream came to without its times.
type counts struct {
	Chunks, Prompt, Output int
	Source                 string
	Class                  Class
}

// run feeds the pieces one after the other, a millisecond apart.
func run(pieces ...string) (Result, counts) {
	var r Result
	s := stream{result: &r}
	for i, p := range pieces {
		if !s.feed([]byte(p), time.Unix(0, int64(i)*int64(time.Millisecond))) {
			break
		}
	}
	s.close()
	return r, counts{s.chunks, r.PromptTokens, r.OutputTokens, r.TokenSource, r.Class}
}

const (
	role  = `data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n"
	hello = `data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}` + "\n\n"
	world = `data: {"choices":[{"index":0,"delta":{"content":" world"},"finish_reason":"stop"}]}` + "\n\n"
	total = `data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}` + "\n\n"
	done  = "data: [DONE]\n\n"
)

func TestStream(t *testing.T) {
	two := counts{Chunks: 2, Prompt: 7, Output: 2, Source: TokensFromServer}
	one := counts{Chunks: 1, Output: 1, Source: TokensFromChunks}
	chunk := func(delta string) string { return `data: {"choices":[{"delta":` + delta + `}]}` + "\n\n" + done }
	for name, tc := range map[string]struct {
		in   string
		want counts
	}{
		"a good answer":                                {role + hello + world + total + done, two},
		"comments and event names mean nothing":        {": ping\n\nevent: message\nid: 3\nretry: 10\n" + hello + ": ping\n\n" + world + total + done, two},
		"lines end with CRLF":                          {strings.ReplaceAll(role+hello+world+total+done, "\n", "\r\n"), two},
		"no space after the colon":                     {strings.ReplaceAll(hello+world+total+done, "data: ", "data:"), two},
		"the last line has no end":                     {hello + world + total + "data: [DONE]", two},
		"a null error is none":                         {strings.ReplaceAll(hello+world+total+done, `"choices"`, `"error": null,"choices"`), two},
		"a null usage in every chunk is none":          {strings.ReplaceAll(hello+world, `{"choices"`, `{"usage":null,"choices"`) + total + done, two},
		"usage in every chunk: the last one wins":      {strings.ReplaceAll(hello+world, `{"choices"`, `{"usage":{"prompt_tokens":7,"completion_tokens":1},"choices"`) + total + done, two},
		"a last usage of zeros does not count":         {hello + world + total + `data: {"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}` + "\n\n" + done, two},
		"no usage: chunks are counted":                 {hello + world + done, counts{Chunks: 2, Output: 2, Source: TokensFromChunks}},
		"what follows [DONE] is not looked at":         {hello + world + total + done + hello, two},
		"spaces around the content's colon":            {chunk(`{"content" : "x"}`), one},
		"the completions API says text":                {`data: {"choices":[{"text":"x"}]}` + "\n\n" + done, one},
		"reasoning under both names counts once":       {chunk(`{"reasoning":"hm","reasoning_content":"hm"}`), one},
		"reasoning alone counts":                       {chunk(`{"content":null,"reasoning":"hm"}`), one},
		"the older name of reasoning":                  {chunk(`{"reasoning_content":"hm"}`), one},
		"reasoning and content in one chunk are one":   {chunk(`{"content":"x","reasoning_content":"hm"}`), one},
		"escaped keys inside the content":              {chunk(`{"content":"\"usage\":{\"completion_tokens\":99},\"error\":{\"message\":\"no\"}"}`), one},
		"the word error as content":                    {chunk(`{"content":"error"}`), one},
		"a content that ends in a backslash":           {chunk(`{"content":"\\","error":null}`), one},
		"an escaped quote is content":                  {chunk(`{"content":"\""}`), one},
		"log probabilities under content are no text":  {chunk(`{"content":""},"logprobs":{"content":[]}`), counts{Class: ClassEmpty}},
		"only a role":                                  {role + done, counts{Class: ClassEmpty}},
		"only usage":                                   {total + done, counts{Prompt: 7, Output: 2, Source: TokensFromServer, Class: ClassEmpty}},
		"nothing at all":                               {"", counts{Class: ClassCut}},
		"cut without [DONE]":                           {hello + world, counts{Chunks: 2, Output: 2, Source: TokensFromChunks, Class: ClassCut}},
		"cut within an event":                          {hello + world[:30], counts{Chunks: 1, Output: 1, Source: TokensFromChunks, Class: ClassCut}},
		"an error object, framed":                      {hello + `data: {"error":{"message":"out of memory","code":500}}` + "\n\n" + done, counts{Chunks: 1, Output: 1, Source: TokensFromChunks, Class: ClassServer}},
		"an error object, bare":                        {hello + `{"error":{"message":"out of memory"}}` + "\n", counts{Chunks: 1, Output: 1, Source: TokensFromChunks, Class: ClassServer}},
		"an error object, bare and without a line end": {hello + `{"error":{"message":"out of memory"}}`, counts{Chunks: 1, Output: 1, Source: TokensFromChunks, Class: ClassServer}},
		"an error that is a string":                    {`data: {"error": "no such model"}` + "\n\n" + done, counts{Class: ClassServer}},
		"an event that is not JSON":                    {"data: <html>\n\n", counts{Class: ClassPayload}},
		"a usage of the wrong type":                    {hello + `data: {"usage":[1]}` + "\n\n" + done, counts{Chunks: 1, Output: 1, Source: TokensFromChunks, Class: ClassPayload}},
		"a line without end":                           {"data: {" + strings.Repeat("x", maxLine+1), counts{Class: ClassPayload}},
	} {
		t.Run(name, func(t *testing.T) {
			r, got := run(tc.in)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("in one read (-want +got):\n%s\n%s", diff, r.Message)
			}
			if len(tc.in) > 1<<12 {
				return
			}
			// Byte by byte: UTF-8 and every line are split across reads.
			if _, got := run(strings.Split(tc.in, "")...); got != tc.want {
				t.Errorf("split into characters: %+v, want %+v", got, tc.want)
			}
			pieces := make([]string, 0, len(tc.in))
			for i := range len(tc.in) {
				pieces = append(pieces, tc.in[i:i+1])
			}
			if _, got := run(pieces...); got != tc.want {
				t.Errorf("split into bytes: %+v, want %+v", got, tc.want)
			}
		})
	}
}

// Times are those of the read that completed a line; several events of one read share it.
func TestStreamTimes(t *testing.T) {
	r, _ := run(role, hello[:20], hello[20:]+world, ": ping\n\n", hello, total, done)
	at := func(ms int64) time.Time { return time.Unix(0, ms*int64(time.Millisecond)) }
	if !r.First.Equal(at(2)) || !r.Last.Equal(at(4)) {
		t.Errorf("first %v, last %v; want reads 2 and 4", r.First, r.Last)
	}
	if diff := cmp.Diff([]time.Duration{0, 2 * time.Millisecond}, r.Gaps); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
}

// Any way in which a network splits the same bytes gives the same counts.
func FuzzStreamSplit(f *testing.F) {
	f.Add([]byte(role+hello+world+total+done), uint16(3), uint16(40))
	f.Add([]byte(strings.ReplaceAll(hello+world+done, "\n", "\r\n")), uint16(61), uint16(62))
	f.Add([]byte(`data: {"choices":[{"delta":{"content":"žluťoučký \"usage\": kůň"}}]}`+"\n\n"+done), uint16(44), uint16(50))
	f.Add([]byte(hello+`{"error":"x"}`), uint16(9), uint16(70))
	f.Add([]byte("data: [DONE]"), uint16(1), uint16(12))
	f.Fuzz(func(t *testing.T, data []byte, a, b uint16) {
		n := len(data) + 1
		lo, hi := int(a)%n, int(b)%n
		lo, hi = min(lo, hi), max(lo, hi)
		_, whole := run(string(data))
		r, split := run(string(data[:lo]), string(data[lo:hi]), string(data[hi:]))
		if whole != split {
			t.Errorf("split at %d and %d: %+v, in one piece %+v", lo, hi, split, whole)
		}
		if want := max(0, split.Chunks-1); len(r.Gaps) != want {
			t.Errorf("%d gaps for %d chunks", len(r.Gaps), split.Chunks)
		}
		if split.Chunks > bytes.Count(data, []byte("data:")) {
			t.Errorf("%d chunks, more than there are events", split.Chunks)
		}
	})
}
