package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzResponse: whatever a server sends, and however the network cuts it, the same result comes of it. Where net/http
// understands the response as well, the bodies are equal.
func FuzzResponse(f *testing.F) {
	for i, raw := range []string{
		events(role, hello, world, total, done),
		events(strings.ReplaceAll(hello+world+done, "\n", "\r\n")),
		head("200 OK", sse) + hello + `{"error":"x"}`,
		head("200 OK", sse) + "data: [DONE]",
		head("200 OK", sse) + `data: {"choices":[{"delta":{"content":"žluťoučký \"usage\": kůň"}}]}` + "\n\n" + done,
		head("200 OK", sse) + "data: {\"usage\":{\"completion_tokens\":1e3}}\n",
		sized("200 OK", asJSON, answer),
		sized("200 OK", asJSON, `{"choices":[{"text":"x"}],"usage":{"prompt_tokens":-1,"completion_tokens":-7}}`),
		sized("200 OK", asJSON, `{"error":{}}`),
		head("200 OK", ndjson) + ollamaThinks + ollamaChat + ollamaDone,
		"HTTP/1.1 100 Continue\r\n\r\n" + sized("503 Busy", "text/plain", "busy", "Retry-After: 1"),
		head("200 OK", asJSON, "Transfer-Encoding: chunked") + "5;a=b\r\n{\"a\":\r\n2\r\n1}\r\n0\r\nX: y\r\n\r\n",
		head("200 OK", "", "Content-Length: 5", "Content-Length: 6") + "hello",
		"HTTP/1.0 200 OK\nConnection: keep-alive\n\nhello",
	} {
		f.Add([]byte(raw), uint8(i), uint64(i))
	}
	rest, err := NewREST("/", `{"a":"$prompt"}`, "a", "b", "c")
	if err != nil {
		f.Fatal(err)
	}
	formats := []Format{chat, chatOnce, Ollama{Streaming: true}, Ollama{}, rest}
	f.Fuzz(func(t *testing.T, data []byte, which uint8, cuts uint64) {
		format := formats[int(which)%len(formats)]
		r, p := receive(format, 4, string(data))
		want := outcomeOf(&r, p)
		for name, pieces := range map[string][]string{
			"at random": cutAt(rand.New(rand.NewPCG(cuts, 1)), string(data)),
			"bytewise":  bytewise(string(data[:min(len(data), 1<<14)])),
		} {
			if len(data) > 1<<14 && name == "bytewise" {
				continue
			}
			r2, p2 := receive(format, 4, pieces...)
			if diff := cmp.Diff(want, outcomeOf(&r2, p2)); diff != "" {
				t.Errorf("cut %s (-in one read +cut):\n%s", name, diff)
			}
			if err := consistent(&r2); err != nil {
				t.Errorf("cut %s: %v", name, err)
			}
		}
		if err := consistent(&r); err != nil {
			t.Error(err)
		}
		if _, streams := format.Streams(); streams && r.Class == "" && (r.First == 0 || r.OutputTokens == 0) {
			t.Errorf("a success without a token: %+v", r)
		}
		if len(r.Chunks) > 4*4+4096+1 || cap(p.head) > 4*maxHead+len(data) || cap(p.explain) > 2*maxExplain {
			t.Errorf("%d chunks, %d bytes of the head and %d of the reason are kept", len(r.Chunks), cap(p.head), cap(p.explain))
		}
		comparePeer(t, data)
	})
}

// comparePeer compares with net/http what both understand. Not compared is what HTTP/1.0 says of chunks, which net/http
// passes over.
func comparePeer(t *testing.T, data []byte) {
	status, body, ok := peer(data)
	k := &keeper{}
	r, _ := receive(k, 0, string(data))
	if !ok || r.Class != "" || bytes.HasPrefix(data, []byte("HTTP/1.0")) {
		return
	}
	if r.Status != status || !bytes.Equal(k.body, body) {
		t.Errorf("status %d and body %q; net/http reads %d and %q", r.Status, k.body, status, body)
	}
}

// FuzzReadOpenAI: what the scanner reads out of valid JSON is what encoding/json finds there.
func FuzzReadOpenAI(f *testing.F) {
	for _, seed := range []string{
		answer, strings.TrimPrefix(role, "data: "), strings.TrimPrefix(total, "data: "), `{"error":null}`, `{"error":{"message":"x"}}`, `{"object":"error"}`,
		`{"choices":[{"delta":{"reasoning":"","reasoning_content":"hm","content":null}},{"text":"x"},7,null,"x",[1]]}`,
		`{"usage":{"prompt_tokens":7,"prompt_tokens_details":{"cached_tokens":5},"completion_tokens":-2}}`, `{"choices":{"text":"x"},"usage":[1],"a":[[{}],"\\\""]}`,
		`{"a":"\\","choices":[{"message":{"content":"\""}}]}`, `{}`, `[]`, `{"choices":[`, `{"usage":{"completion_tokens":1e3}}`, "{\"a\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		compareReaders(t, data, readOpenAI, (*reference).openAI)
	})
}

// FuzzReadOllama is the same for Ollama's lines.
func FuzzReadOllama(f *testing.F) {
	for _, seed := range []string{
		ollamaHello, ollamaDone, ollamaChat, ollamaThinks, `{"error":"x"}`, `{"done":"true"}`, `{"done":true,"done":false}`, `{"message":[],"response":{}}`,
		`{"total_duration":9,"load_duration":-4,"eval_duration":4.5}`, `{"eval_count":12345678901234567890}`, `{"done":`, `{"message":{"reasoning":"hm"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		compareReaders(t, data, readOllama, (*reference).ollama)
	})
}

// compareReaders compares a scanner's event with the reference, where data is a JSON object. A \u in a name is not decoded
// by the scanner, so input with it is only read.
func compareReaders(t *testing.T, data []byte, read func([]byte, *event) bool, want func(*reference, map[string][]any)) {
	var got event
	understood := read(data, &got)
	if !json.Valid(data) || bytes.Contains(data, []byte(`\u`)) {
		return
	}
	object, is := members(data)
	if understood != is {
		t.Fatalf("understood is %v of %q", understood, data)
	}
	if !is {
		return
	}
	var ref reference
	want(&ref, object)
	found := reference{
		text: got.text, reasoning: got.reasoning, prompt: got.prompt, output: got.output, cached: got.cached,
		failed: got.failure != nil, done: got.done, times: got.times,
	}
	if found != ref && !ref.odd {
		t.Errorf("%q is read as %+v, encoding/json has %+v", data, found, ref)
	}
}

// reference is an event as encoding/json decodes it.
type reference struct {
	text, reasoning        bool
	prompt, output, cached int64
	failed, done           bool
	times                  ServerTimes
	odd                    bool // a number that is no whole one within reason: not compared
}

// members decodes an object into the values of each of its names, in order: a name may stand there several times, and
// encoding/json would keep one. Objects become such maps, arrays slices, all the way down.
func members(data []byte) (map[string][]any, bool) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := value(d)
	if err != nil {
		return nil, false
	}
	object, is := v.(map[string][]any)
	return object, is
}

func value(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		object := map[string][]any{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := value(d)
			if err != nil {
				return nil, err
			}
			object[fmt.Sprint(name)] = append(object[fmt.Sprint(name)], v)
		}
		_, err = d.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := value(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	}
	return token, nil
}

func said(values []any) bool {
	for _, v := range values {
		if s, is := v.(string); is && s != "" {
			return true
		}
	}
	return false
}

// number is the last value, 0 when it is none or below zero.
func (r *reference) number(values []any, to *int64) {
	if len(values) == 0 {
		return
	}
	*to = 0
	if n, is := values[len(values)-1].(json.Number); is {
		v, err := strconv.ParseInt(n.String(), 10, 64)
		r.odd = r.odd || err != nil || v > 1<<58
		*to = max(0, v)
	}
}

func (r *reference) message(values []any) {
	for _, v := range values {
		if m, is := v.(map[string][]any); is {
			r.text = r.text || said(m["content"])
			r.reasoning = r.reasoning || said(m["reasoning"]) || said(m["reasoning_content"]) || said(m["thinking"])
		}
	}
}

func (r *reference) failure(values []any) {
	for _, v := range values {
		r.failed = r.failed || v != nil
	}
}

func (r *reference) openAI(object map[string][]any) {
	for _, v := range object["choices"] {
		list, _ := v.([]any)
		for _, c := range list {
			if choice, is := c.(map[string][]any); is {
				r.text = r.text || said(choice["text"])
				r.message(choice["delta"])
				r.message(choice["message"])
			}
		}
	}
	for _, v := range object["usage"] {
		if usage, is := v.(map[string][]any); is {
			r.number(usage["prompt_tokens"], &r.prompt)
			r.number(usage["completion_tokens"], &r.output)
			for _, d := range usage["prompt_tokens_details"] {
				if details, is := d.(map[string][]any); is {
					r.number(details["cached_tokens"], &r.cached)
				}
			}
		}
	}
	r.failure(object["error"])
	for _, v := range object["object"] {
		r.failed = r.failed || v == "error"
	}
}

func (r *reference) ollama(object map[string][]any) {
	r.text, r.reasoning = said(object["response"]), said(object["thinking"])
	r.message(object["message"])
	r.failure(object["error"])
	if v := object["done"]; len(v) > 0 {
		r.done = v[len(v)-1] == true
	}
	var total int64
	r.number(object["prompt_eval_count"], &r.prompt)
	r.number(object["eval_count"], &r.output)
	r.number(object["total_duration"], &total)
	r.number(object["load_duration"], &r.times.Load)
	r.number(object["prompt_eval_duration"], &r.times.Prefill)
	r.number(object["eval_duration"], &r.times.Decode)
	if total > 0 {
		r.times.Queue = max(0, total-r.times.Load-r.times.Prefill-r.times.Decode)
	}
}
