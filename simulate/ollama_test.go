package simulate

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func ollamaServer(t *testing.T, cfg Config) string {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		web.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return web.URL
}

func post(t *testing.T, url, body string) (int, string, []map[string]any) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var lines []map[string]any
	in := bufio.NewScanner(resp.Body)
	for in.Scan() {
		var line map[string]any
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			t.Fatalf("%v: %s", err, in.Bytes())
		}
		lines = append(lines, line)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("Content-Type"), lines
}

func TestOllamaStreams(t *testing.T) {
	t.Parallel()
	url := ollamaServer(t, Config{TTFT: 20 * time.Millisecond, ITL: 5 * time.Millisecond})
	for name, tc := range map[string]struct {
		path, body string
		text       func(map[string]any) string
	}{
		"generate": {"/api/generate", `{"model":"dummy","prompt":"a b c","options":{"num_predict":4}}`, func(l map[string]any) string {
			text, _ := l["response"].(string)
			return text
		}},
		"chat": {"/api/chat", `{"model":"dummy","messages":[{"role":"user","content":"a b c"}],"options":{"num_predict":4}}`, func(l map[string]any) string {
			message, _ := l["message"].(map[string]any)
			text, _ := message["content"].(string)
			return text
		}},
	} {
		for _, stream := range []bool{true, false} {
			body := tc.body
			if !stream {
				body = strings.Replace(body, "{", `{"stream":false,`, 1)
			}
			code, kind, lines := post(t, url+tc.path, body)
			want := map[bool]string{true: "application/x-ndjson", false: "application/json"}[stream]
			if code != 200 || kind != want || len(lines) != map[bool]int{true: 5, false: 1}[stream] {
				t.Fatalf("%s, stream %v: %d %s, %d lines", name, stream, code, kind, len(lines))
			}
			var text strings.Builder
			for _, l := range lines {
				text.WriteString(tc.text(l))
			}
			last := lines[len(lines)-1]
			if text.String() != Text(4) || last["done"] != true || last["done_reason"] != "length" || last["prompt_eval_count"] != 3.0 || last["eval_count"] != 4.0 {
				t.Errorf("%s, stream %v: %q, ends %v", name, stream, text.String(), last)
			}
			prefill, _ := last["prompt_eval_duration"].(float64)
			decode, _ := last["eval_duration"].(float64)
			total, _ := last["total_duration"].(float64)
			if prefill < 20e6 || decode < 10e6 || total < prefill+decode {
				t.Errorf("%s, stream %v: prefill %g, decode %g, total %g ns", name, stream, prefill, decode, total)
			}
		}
	}
}

func TestOllamaRefusesAndFails(t *testing.T) {
	t.Parallel()
	url := ollamaServer(t, Config{})
	for body, want := range map[string]int{`{"model":"x","prompt":"a"}`: 404, `{"model":"dummy","prompt":" "}`: 400, `hello`: 400} {
		code, _, lines := post(t, url+"/api/generate", body)
		if code != want || len(lines) != 1 || lines[0]["error"] == nil {
			t.Errorf("%s: %d %v", body, code, lines)
		}
	}
	for fault, faults := range map[string]Faults{"error": {StreamErrorRate: 1}, "truncate": {TruncateRate: 1}} {
		url := ollamaServer(t, Config{TTFT: 1, ITL: 1, Faults: faults})
		_, _, lines := post(t, url+"/api/generate", `{"model":"dummy","prompt":"a","options":{"num_predict":4}}`)
		last := lines[len(lines)-1]
		if (last["error"] != nil) != (fault == "error") || last["done"] == true {
			t.Errorf("%s: ends %v", fault, last)
		}
	}
	resp, err := http.Get(url + "/api/tags")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(data), `"name":"dummy"`) {
		t.Errorf("tags: %s, %v", data, err)
	}
}
