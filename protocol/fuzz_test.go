package protocol

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// Whatever a server answers, the result is consistent, streamed or not, in one read or byte by byte.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(whole200))
	f.Add([]byte(role + hello + world + total + done))
	f.Add([]byte(strings.ReplaceAll(hello+done, "\n", "\r\n")))
	f.Add([]byte(`{"choices":[{"text":"x"}],"usage":{"prompt_tokens":-1,"completion_tokens":-7}}`))
	f.Add([]byte(`{"error":{}}`))
	f.Add([]byte("data: {\"usage\":{\"completion_tokens\":1e3}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &OpenAI{}
		check := func(name string, streamed bool, body io.Reader) Result {
			t.Helper()
			resp := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: io.NopCloser(body)}
			var r Result
			if streamed {
				c.readStream(t.Context(), func() {}, resp, &r)
			} else {
				c.readWhole(t.Context(), resp, &r)
			}
			switch {
			case r.PromptTokens < 0 || r.OutputTokens < 0:
				t.Errorf("%s: %d and %d tokens", name, r.PromptTokens, r.OutputTokens)
			case (r.OutputTokens > 0) != (r.TokenSource != ""):
				t.Errorf("%s: %d tokens from %q", name, r.OutputTokens, r.TokenSource)
			case (r.Class == "") != (r.Message == ""):
				t.Errorf("%s: class %q, message %q", name, r.Class, r.Message)
			case r.First.IsZero() != r.Last.IsZero(), r.First.IsZero() && len(r.Gaps) > 0, r.Last.Before(r.First), r.End.Before(r.Last):
				t.Errorf("%s: first %v, last %v, %d gaps, end %v", name, r.First, r.Last, len(r.Gaps), r.End)
			case streamed && r.Class == "" && (r.First.IsZero() || r.OutputTokens == 0):
				t.Errorf("%s: a success without a token", name)
			}
			return r
		}
		check("whole", false, bytes.NewReader(data))
		check("whole, byte by byte", false, iotest.OneByteReader(bytes.NewReader(data)))
		one := check("stream", true, bytes.NewReader(data))
		bytewise := check("stream, byte by byte", true, iotest.OneByteReader(bytes.NewReader(data)))
		withEOF := check("stream, end with the data", true, iotest.DataErrReader(bytes.NewReader(data)))
		for _, other := range []Result{bytewise, withEOF} {
			if one.Class != other.Class || one.OutputTokens != other.OutputTokens || len(one.Gaps) != len(other.Gaps) {
				t.Errorf("the split of the reads changed the result: %+v, %+v", one, other)
			}
		}
	})
}
