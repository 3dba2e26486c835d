package protocol

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	role  = `data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n"
	hello = `data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}` + "\n\n"
	world = `data: {"choices":[{"index":0,"delta":{"content":" world"},"finish_reason":"stop"}]}` + "\n\n"
	total = `data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}` + "\n\n"
	done  = "data: [DONE]\n\n"
)

// counted is what of an outcome a stream's events alone decide.
type counted struct {
	Chunks, Prompt, Output int
	Source                 string
	Class                  Class
}

func (o *outcome) counted() counted { return counted{o.Chunks, o.Prompt, o.Output, o.Source, o.Class} }

func TestStream(t *testing.T) {
	t.Parallel()
	two := counted{Chunks: 2, Prompt: 7, Output: 2, Source: TokensFromServer}
	one := counted{Chunks: 1, Output: 1, Source: TokensFromChunks}
	failed := func(c Class) counted { return counted{Chunks: 1, Output: 1, Source: TokensFromChunks, Class: c} }
	chunk := func(delta string) string { return `data: {"choices":[{"delta":` + delta + `}]}` + "\n\n" + done }
	usage := func(s, u string) string { return strings.ReplaceAll(s, `{"choices"`, `{"usage":`+u+`,"choices"`) }
	for name, tc := range map[string]struct {
		in   string
		want counted
	}{
		"a good answer":                                {role + hello + world + total + done, two},
		"a first chunk without a delta":                {`data: {"choices":[{"index":0,"delta":{}}]}` + "\n\n" + hello + world + total + done, two},
		"a first chunk of null content":                {`data: {"choices":[{"delta":{"role":"assistant","content":null}}]}` + "\n\n" + hello + world + total + done, two},
		"comments and event names mean nothing":        {": ping\n\nevent: message\nid: 3\nretry: 10\n" + hello + ": ping\n\n" + world + total + done, two},
		"a comment that looks like data":               {`: data: {"error":"x"}` + "\n" + hello + world + total + done, two},
		"lines end with CRLF":                          {strings.ReplaceAll(role+hello+world+total+done, "\n", "\r\n"), two},
		"no space after the colon":                     {strings.ReplaceAll(hello+world+total+done, "data: ", "data:"), two},
		"more spaces than one":                         {strings.ReplaceAll(hello+world+total+done, "data: ", "data:  \t"), two},
		"the last line has no end":                     {hello + world + total + "data: [DONE]", two},
		"an empty event":                               {"data:\n\n" + hello + "data: \n\n" + world + total + done, two},
		"a null error is none":                         {strings.ReplaceAll(hello+world+total+done, `"choices"`, `"error": null,"choices"`), two},
		"a null usage in every chunk is none":          {usage(hello+world, "null") + total + done, two},
		"usage in every chunk: the last one wins":      {usage(hello+world, `{"prompt_tokens":7,"completion_tokens":1}`) + total + done, two},
		"a last usage of zeros does not count":         {hello + world + total + `data: {"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}` + "\n\n" + done, two},
		"a usage below zero does not count":            {hello + world + total + `data: {"choices":[],"usage":{"prompt_tokens":-3,"completion_tokens":-9}}` + "\n\n" + done, two},
		"null choices":                                 {hello + world + strings.ReplaceAll(total, "[]", "null") + done, two},
		"no usage: chunks are counted":                 {hello + world + done, counted{Chunks: 2, Output: 2, Source: TokensFromChunks}},
		"what follows [DONE] is not looked at":         {hello + world + total + done + hello, two},
		"an error after [DONE] is not looked at":       {hello + world + total + done + `{"error":"x"}` + "\n", two},
		"one token":                                    {hello + strings.ReplaceAll(total, `_tokens":2`, `_tokens":1`) + done, counted{Chunks: 1, Prompt: 7, Output: 1, Source: TokensFromServer}},
		"one chunk of many tokens":                     {hello + strings.ReplaceAll(total, `_tokens":2`, `_tokens":40`) + done, counted{Chunks: 1, Prompt: 7, Output: 40, Source: TokensFromServer}},
		"spaces around the content's colon":            {chunk(`{"content" : "x"}`), one},
		"the completions API says text":                {`data: {"choices":[{"text":"x"}]}` + "\n\n" + done, one},
		"reasoning under both names counts once":       {chunk(`{"reasoning":"hm","reasoning_content":"hm"}`), one},
		"reasoning alone counts":                       {chunk(`{"content":null,"reasoning":"hm"}`), one},
		"the older name of reasoning":                  {chunk(`{"reasoning_content":"hm"}`), one},
		"reasoning and content in one chunk are one":   {chunk(`{"content":"x","reasoning_content":"hm"}`), one},
		"escaped keys inside the content":              {chunk(`{"content":"\"usage\":{\"completion_tokens\":99},\"error\":{\"message\":\"no\"}"}`), one},
		"the word error as content":                    {chunk(`{"content":"error"}`), one},
		"the word [DONE] as content":                   {chunk(`{"content":"data: [DONE]\n\n"}`), one},
		"a content that ends in a backslash":           {chunk(`{"content":"\\","error":null}`), one},
		"an escaped quote is content":                  {chunk(`{"content":"\""}`), one},
		"letters of several bytes":                     {chunk(`{"content":"žluťoučký 🐎"}`), one},
		"log probabilities under content are no text":  {chunk(`{"content":""},"logprobs":{"content":[{"token":"x"}]}`), counted{Class: ClassEmpty}},
		"tool calls are no text":                       {chunk(`{"tool_calls":[{"function":{"arguments":"{\"content\":\"x\"}"}}]}`), counted{Class: ClassEmpty}},
		"keys of other objects mean nothing":           {`data: {"meta":{"error":"x","choices":[{"text":"y"}],"usage":{"completion_tokens":9}},"choices":[{"text":"x"}]}` + "\n\n" + done, one},
		"another kind of object":                       {`data: {"object":"chat.completion.chunk","choices":[{"text":"x"}]}` + "\n\n" + done, one},
		"only a role":                                  {role + done, counted{Class: ClassEmpty}},
		"only usage":                                   {total + done, counted{Prompt: 7, Output: 2, Source: TokensFromServer, Class: ClassEmpty}},
		"nothing at all":                               {"", counted{Class: ClassCut}},
		"only comments":                                {": ping\n\n: ping\n\n", counted{Class: ClassCut}},
		"cut without [DONE]":                           {hello + world, counted{Chunks: 2, Output: 2, Source: TokensFromChunks, Class: ClassCut}},
		"cut within [DONE]":                            {hello + "data: [DON", failed(ClassCut)},
		"cut within an event":                          {hello + world[:30], failed(ClassCut)},
		"cut after an event without its line end":      {hello + strings.TrimSpace(world), counted{Chunks: 2, Output: 2, Source: TokensFromChunks, Class: ClassCut}},
		"an error object, framed":                      {hello + `data: {"error":{"message":"out of memory","code":500}}` + "\n\n" + done, failed(ClassServer)},
		"an error object, bare":                        {hello + `{"error":{"message":"out of memory"}}` + "\n", failed(ClassServer)},
		"an error object, bare and without a line end": {hello + `{"error":{"message":"out of memory"}}`, failed(ClassServer)},
		"an error object in vLLM's older shape":        {hello + `data: {"object":"error","message":"out of memory","code":500}` + "\n\n" + done, failed(ClassServer)},
		"an error object in that shape, bare":          {hello + `{"object":"error","message":"out of memory","code":500}` + "\n\n", failed(ClassServer)},
		"an error with an event's name":                {hello + "event: error\n" + `data: {"error":{"message":"out of memory"}}` + "\n\n", failed(ClassServer)},
		"an error that is a string":                    {`data: {"error": "no such model"}` + "\n\n" + done, counted{Class: ClassServer}},
		"a bare object that is no error":               {`{"warning":"slow"}` + "\n" + hello + done, one},
		"an event that is not JSON":                    {"data: <html>\n\n", counted{Class: ClassPayload}},
		"an event that is an array":                    {"data: [1]\n\n", counted{Class: ClassPayload}},
		"an event that is broken JSON":                 {hello + `data: {"choices":[}` + "\n\n" + done, failed(ClassPayload)},
		"a usage of the wrong type is none":            {hello + `data: {"usage":[1]}` + "\n\n" + done, one},
		"choices of the wrong type are none":           {hello + `data: {"choices":{"text":"x"}}` + "\n\n" + `data: {"choices":["x",1,[{"text":"x"}]]}` + "\n\n" + done, one},
		"a content of the wrong type is no text":       {hello + chunk(`{"content":["x"]}`), one},
		"a line without end":                           {"data: {" + strings.Repeat("x", maxLine+1), counted{Class: ClassPayload}},
		"a line too long":                              {"data: {" + strings.Repeat(" ", maxLine) + "}\n" + hello + done, counted{Class: ClassPayload}},
		"a long line":                                  {strings.Replace(hello, "Hello", strings.Repeat("x", maxLine-len(hello)), 1) + done, one},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, got := everyCut(t, chat, 4, head("200 OK", sse)+tc.in); got.counted() != tc.want {
				t.Errorf("got %+v, want %+v", got.counted(), tc.want)
			}
			if tc.in == "" { // an empty chunk would be the last
				return
			}
			// The same in chunks: their borders mean nothing.
			half := len(tc.in) / 2
			r, p := receive(chat, 4, events(tc.in[:half], tc.in[half:]))
			if got := outcomeOf(&r, p); half > 0 && got.counted() != tc.want {
				t.Errorf("in two chunks: %+v, want %+v", got.counted(), tc.want)
			}
		})
	}
}

// What failed says what the server said.
func TestStreamMessages(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ in, want string }{
		"framed error":       {`data: {"error":{"message":"out of memory"}}` + "\n\n", `{"message":"out of memory"}`},
		"bare error":         {`{"error":{"message":"out of memory"}}` + "\n", "out of memory"},
		"older shape":        {`data: {"object":"error","message":"out of memory"}` + "\n\n", "out of memory"},
		"cut":                {hello + hello, "after 2 chunks"},
		"not JSON":           {"data: <html>Login\n", "<html>Login"},
		"a line without end": {"data: {" + strings.Repeat("x", maxLine+1), "262144"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if r, _ := everyCut(t, chat, 4, head("200 OK", sse)+tc.in); !strings.Contains(r.Message, tc.want) {
				t.Errorf("message %q lacks %q", r.Message, tc.want)
			}
		})
	}
}

// Times are those of the read that completed a line; several events of one read share it, and that is noted.
func TestStreamTimes(t *testing.T) {
	t.Parallel()
	r, p := receive(chat, 4, head("200 OK", sse)+role, hello[:20], hello[20:]+world, ": ping\n\n", hello, total, done, "late")
	if r.First != 3*milli || r.FirstAnswer != 3*milli || r.Last != 5*milli || r.End != 8*milli {
		t.Errorf("first %d, first of the answer %d, last %d, end %d; want reads 3, 3, 5 and 8", r.First, r.FirstAnswer, r.Last, r.End)
	}
	if diff := cmp.Diff([]uint32{0, 0, 2000}, r.Chunks); diff != "" {
		t.Errorf("chunks (-want +got):\n%s", diff)
	}
	if r.SharedReads != 1 || r.Class != "" {
		t.Errorf("%d shared reads, want 1; class %q", r.SharedReads, r.Class)
	}
	if !p.Settled() {
		t.Error("not settled after [DONE]")
	}
}

// An event cut within a letter has the time of its last byte, and is whole.
func TestLetterSplitAcrossReads(t *testing.T) {
	t.Parallel()
	event := `data: {"choices":[{"delta":{"content":"ž"}}]}` + "\n\n"
	at := strings.Index(event, "ž") + 1
	r, _ := receive(chat, 4, head("200 OK", sse)+event[:at], event[at:], done)
	if r.Class != "" || r.First != 2*milli || len(r.Chunks) != 1 {
		t.Errorf("class %q, first %d, %d chunks", r.Class, r.First, len(r.Chunks))
	}
}

func TestReasoningIsKeptApart(t *testing.T) {
	t.Parallel()
	delta := func(d string) string { return `data: {"choices":[{"delta":` + d + `}]}` + "\n\n" }
	for name, tc := range map[string]struct {
		pieces      []string
		firstAnswer int64
		reasoning   bool
	}{
		"no reasoning":          {[]string{hello, world}, 2, false},
		"reasoning first":       {[]string{delta(`{"reasoning":"hm"}`), delta(`{"reasoning_content":"hm"}`), hello}, 4, true},
		"both in one chunk":     {[]string{delta(`{"reasoning":"hm"}`), delta(`{"reasoning":"hm","content":"x"}`), hello}, 3, true},
		"reasoning alone":       {[]string{delta(`{"reasoning":"hm"}`), delta(`{"thinking":"hm"}`)}, 0, true},
		"empty reasoning":       {[]string{delta(`{"reasoning":"","content":""}`), hello}, 3, false},
		"null reasoning":        {[]string{delta(`{"reasoning":null,"content":"x"}`), hello}, 2, false},
		"reasoning afterwards":  {[]string{hello, delta(`{"reasoning":"hm"}`)}, 2, true},
		"the names in one null": {[]string{delta(`{"reasoning":null,"reasoning_content":"hm"}`), hello}, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := receive(chat, 4, append(append([]string{head("200 OK", sse)}, tc.pieces...), done)...)
			if r.Class != "" || r.FirstAnswer != tc.firstAnswer*milli || r.Reasoning != tc.reasoning {
				t.Errorf("class %q, first answer at %d, reasoning %v; want %d, %v", r.Class, r.FirstAnswer, r.Reasoning, tc.firstAnswer*milli, tc.reasoning)
			}
		})
	}
}

// Where the usage stands in every chunk, its growth tells how many tokens each brought; else that is not known.
func TestTokensOfChunks(t *testing.T) {
	t.Parallel()
	tokens := func(text string, usage ...string) string {
		s := `data: {"choices":[{"delta":{"content":"` + text + `"}}]`
		for _, u := range usage {
			s += `,"usage":{"prompt_tokens":7,"completion_tokens":` + u + `}`
		}
		return s + "}\n\n"
	}
	for name, tc := range map[string]struct {
		in     string
		want   []uint16
		output int
		source string
	}{
		"one each":                             {tokens("", "0") + tokens("a", "1") + tokens("b", "2"), []uint16{1, 1}, 2, TokensFromServer},
		"several a chunk":                      {tokens("a", "1") + tokens("bcd", "4") + tokens("ef", "6"), []uint16{1, 3, 2}, 6, TokensFromServer},
		"a final usage says the same":          {tokens("a", "1") + tokens("b", "2") + total, []uint16{1, 1}, 2, TokensFromServer},
		"half a letter waits for the next":     {tokens("a", "1") + tokens("", "2") + tokens("ž", "3"), []uint16{1, 2}, 3, TokensFromServer},
		"only at the end":                      {tokens("a") + tokens("b") + total, nil, 2, TokensFromServer},
		"not in the first":                     {tokens("a") + tokens("b", "2") + tokens("c", "3"), nil, 3, TokensFromServer},
		"not in the last":                      {tokens("a", "1") + tokens("b", "2") + tokens("c"), nil, 2, TokensFromServer},
		"not growing":                          {tokens("a", "1") + tokens("b", "1") + tokens("c", "2"), nil, 2, TokensFromServer},
		"shrinking":                            {tokens("a", "5") + tokens("b", "3"), nil, 3, TokensFromServer},
		"zero throughout":                      {tokens("a", "0") + tokens("b", "0"), nil, 2, TokensFromChunks},
		"more than a chunk's count can hold":   {tokens("a", "1") + tokens("b", "100000"), []uint16{1, 65535}, 100000, TokensFromServer},
		"far more than any server can send":    {tokens("a", "99999999999999999999999"), []uint16{65535}, 1 << 31, TokensFromServer},
		"a count with a fraction is its whole": {tokens("a", "1.5") + tokens("b", "2e0"), []uint16{1, 1}, 2, TokensFromServer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := everyCut(t, chat, 4, events(tc.in, done))
			if diff := cmp.Diff(tc.want, got.Tokens); diff != "" || got.Output != tc.output || got.Source != tc.source || got.Class != "" {
				t.Errorf("%+v; tokens (-want +got):\n%s", got, diff)
			}
		})
	}
}

func TestCachedTokens(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		details string
		want    int
	}{
		"some":              {`{"cached_tokens":5,"audio_tokens":9}`, 5},
		"others first":      {`{"audio":{"cached_tokens":8},"cached_tokens":5}`, 5},
		"none":              {`{"cached_tokens":0}`, 0},
		"null":              {`null`, 0},
		"null within":       {`{"cached_tokens":null}`, 0},
		"of the wrong type": {`[5]`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			usage := `"usage":{"prompt_tokens":7,"prompt_tokens_details":` + tc.details + `,"completion_tokens":1}`
			if _, got := everyCut(t, chat, 4, events(hello, `data: {"choices":[],`+usage+"}\n\n", done)); got.Cached != tc.want || got.Output != 1 || got.Prompt != 7 {
				t.Errorf("streamed: %+v, want %d", got, tc.want)
			}
			if _, got := everyCut(t, chatOnce, 4, sized("200 OK", "application/json", `{"choices":[{"text":"x"}],`+usage+`}`)); got.Cached != tc.want {
				t.Errorf("whole: %+v, want %d", got, tc.want)
			}
		})
	}
}

// A server that never ends must not fill the memory.
func TestEndlessAnswers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		format Format
		head   string
		more   string
		class  Class
		bound  int // of what is kept, in pieces or bytes
	}{
		"head":          {chat, "HTTP/1.1 200 OK\r\n", "X-A: " + strings.Repeat("a", 4096) + "\r\n", ClassPayload, 4 * maxHead},
		"head's line":   {chat, "HTTP/1.1 200 OK\r\nX: ", strings.Repeat("a", 4096), ClassPayload, 4 * maxHead},
		"not even HTTP": {chat, "", strings.Repeat("a", 4096), ClassPayload, 4 * maxHead},
		"line":          {chat, head("200 OK", sse) + "data: {", strings.Repeat("x", 4096), ClassPayload, 4 * maxLine},
		"stream":        {chat, head("200 OK", sse), strings.Repeat(hello, 50), ClassPayload, 4 * 4200},
		"JSON lines":    {Ollama{Streaming: true}, head("200 OK", "application/x-ndjson"), strings.Repeat(`{"response":"x"}`+"\n", 50), ClassPayload, 4 * 4200},
		"whole answer":  {chatOnce, head("200 OK", "application/json"), strings.Repeat(" ", 1<<16), ClassPayload, 4 * 300 << 10},
		"reason":        {chat, head("500 Broken", "text/plain"), strings.Repeat("a", 4096), ClassStatus, 4 * maxExplain},
		"trailer":       {chat, head("200 OK", sse, "Transfer-Encoding: chunked") + "0\r\n", "X: " + strings.Repeat("a", 4096) + "\r\n", ClassPayload, 4 * maxHead},
		"comments":      {chat, head("200 OK", sse), strings.Repeat(": ping\n\n", 100), "", 4 * maxLine},
		"interim":       {chat, "", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100), "", 4 * maxHead},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r Result
			var p Response
			a := tc.format.NewAnswer()
			p.Begin(tc.format, a, &r, 4)
			p.Feed([]byte(tc.head), 1)
			for i := range int64(2000) {
				p.Feed([]byte(tc.more), i+2)
			}
			kept := cap(p.head) + cap(p.explain) + cap(r.Chunks)
			switch a := a.(type) {
			case *streamed:
				kept += cap(a.lines.partial)
			case *whole:
				kept += cap(a.body)
			}
			if r.Class != tc.class || p.Settled() != (tc.class != "") || p.Complete() {
				t.Errorf("class %q (%s), want %q", r.Class, r.Message, tc.class)
			}
			if tc.bound > 0 && kept > tc.bound {
				t.Errorf("%d kept, want at most %d", kept, tc.bound)
			}
		})
	}
}

// A warmed answer reads a steady stream without any allocation, so that a thousand streams make no garbage.
func TestSteadyStreamAllocatesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		format Format
		head   string
		chunk  string
	}{
		"chat":             {chat, head("200 OK", sse, "Transfer-Encoding: chunked"), strings.TrimSuffix(chunked(hello), "0\r\n\r\n")},
		"continuous usage": {chat, head("200 OK", sse), strings.ReplaceAll(hello, `{"choices"`, `{"usage":{"prompt_tokens":7,"completion_tokens":1},"choices"`)},
		"Ollama":           {Ollama{Chat: true, Streaming: true}, head("200 OK", "application/x-ndjson"), `{"model":"m","message":{"role":"assistant","content":"x"},"done":false}` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Result{Chunks: make([]uint32, 0, 1<<14), ChunkTokens: make([]uint16, 0, 1<<14)}
			var p Response
			p.Begin(tc.format, tc.format.NewAnswer(), &r, 1<<14)
			p.Feed([]byte(tc.head), 1)
			whole, split := []byte(tc.chunk), len(tc.chunk)/2
			at := int64(1)
			feed := func() {
				at += 1000
				p.Feed(whole, at)
				p.Feed(whole[:split], at)
				p.Feed(whole[split:], at)
			}
			feed()
			if n := testing.AllocsPerRun(1000, feed); n != 0 {
				t.Errorf("%v allocations for two chunks, want none", n)
			}
			if r.Class != "" || len(r.Chunks) != 2*1002 {
				t.Errorf("%d chunks, class %q: %s", len(r.Chunks), r.Class, r.Message)
			}
		})
	}
}
