package main

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// serveOllama starts a server and returns its address.
func serveOllama(t *testing.T, env map[string]string, pairs ...string) (string, *acted) {
	t.Helper()
	port := strconv.Itoa(freePort(t))
	all := with(env, append([]string{"OLLAMA_HOST", "127.0.0.1:" + port}, pairs...)...)
	if all["OLLAMA_MODELS"] == "" {
		all["OLLAMA_MODELS"] = t.TempDir()
	}
	a := act(t, all, "ollama", "serve")
	a.ready(t, "Listening on 127.0.0.1:"+port)
	return "http://127.0.0.1:" + port, a
}

func TestOllamaPull(t *testing.T) {
	t.Parallel()
	models := t.TempDir()
	url, first := serveOllama(t, nil, "OLLAMA_MODELS", models, "STANDIN_REGISTRY", "m, ns/big:7b", "STANDIN_PULL", "4ms")
	status, text := ask(t, "POST", url+"/api/pull", "", `{"model":"m"}`)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if status != http.StatusOK || lines[0] != `{"status":"pulling manifest"}` || lines[len(lines)-1] != `{"status":"success"}` || !strings.Contains(text, `"completed":1000000000`) {
		t.Errorf("pull: %d\n%s", status, text)
	}
	expect(t, "POST", url+"/api/pull", "", `{"name":"ns/big:7b","stream":false}`, http.StatusOK, `{"status":"success"}`)
	expect(t, "POST", url+"/api/pull", "", `{"model":"none"}`, http.StatusOK, `{"error":"pull model manifest: file does not exist"}`)
	expect(t, "POST", url+"/api/pull", "", `{"model":"none","stream":false}`, http.StatusInternalServerError, `{"error":"pull model manifest: file does not exist"}`)
	expect(t, "POST", url+"/api/pull", "", `{"model":"a b"}`, http.StatusBadRequest, "invalid model name")
	expect(t, "POST", url+"/api/pull", "", ``, http.StatusBadRequest, "missing request body")
	first.end(t)

	url, _ = serveOllama(t, nil, "OLLAMA_MODELS", models, "STANDIN_REGISTRY", "offline")
	expect(t, "GET", url+"/api/tags", "", "", http.StatusOK, `"name":"ns/big:7b"`)
	expect(t, "POST", url+"/api/show", "", `{"model":"m"}`, http.StatusOK, `"capabilities":["completion"]`)
	expect(t, "POST", url+"/api/show", "", `{"model":"other"}`, http.StatusNotFound, "model 'other' not found")
	expect(t, "POST", url+"/api/pull", "", `{"model":"other"}`, http.StatusOK, `{"error":"pull model manifest: Get \"https://registry.example/v2/library/other/manifests/latest\": dial tcp: lookup registry.example: no such host"}`)
	expect(t, "DELETE", url+"/api/delete", "", `{"model":"m"}`, http.StatusOK, "")
	expect(t, "POST", url+"/api/generate", "", `{"model":"m"}`, http.StatusNotFound, "model 'm' not found")
}

func TestOllamaLoads(t *testing.T) {
	t.Parallel()
	url, _ := serveOllama(t, gpus4)
	ask(t, "POST", url+"/api/pull", "", `{"model":"m"}`)
	expect(t, "GET", url+"/api/ps", "", "", http.StatusOK, `{"models":[]}`)
	expect(t, "POST", url+"/api/generate", "", `{"model":"m","options":{"num_gpu":0},"keep_alive":-1}`, http.StatusOK, `"done_reason":"load"`)
	expect(t, "GET", url+"/api/ps", "", "", http.StatusOK, `"size_vram":0`)
	// A request without options takes the model as it is loaded, in both APIs.
	expect(t, "POST", url+"/api/chat", "", `{"model":"m:latest","messages":[{"role":"user","content":"a"}],"stream":false}`, http.StatusOK, `"role":"assistant"`)
	expect(t, "POST", url+"/v1/chat/completions", "", `{"model":"m","messages":[{"role":"user","content":"a"}]}`, http.StatusOK, `"chat.completion"`)
	expect(t, "GET", url+"/api/ps", "", "", http.StatusOK, `"size_vram":0`)
	expect(t, "POST", url+"/api/generate", "", `{"model":"m","prompt":"a","options":{"num_gpu":9,"num_predict":3}}`, http.StatusOK, `"done":true`)
	expect(t, "GET", url+"/api/ps", "", "", http.StatusOK, `"size_vram":1000000000`)
	expect(t, "POST", url+"/api/generate", "", `{"model":"m","keep_alive":0}`, http.StatusOK, `"done_reason":"unload"`)
	expect(t, "GET", url+"/api/ps", "", "", http.StatusOK, `{"models":[]}`)

	expect(t, "POST", url+"/api/generate", "", `{"model":"m","options":{"num_gpu":"all"}}`, http.StatusInternalServerError, `option \"num_gpu\" must be of type integer`)
	expect(t, "POST", url+"/api/generate", "", `{"model":"m","options":{"gpus":1}}`, http.StatusOK, `"load"`)
	expect(t, "POST", url+"/api/generate", "", `{"model":"m","keep_alive":"soon"}`, http.StatusBadRequest, "error")
	expect(t, "POST", url+"/v1/completions", "", `{"model":"n","prompt":"a"}`, http.StatusNotFound, "not_found_error")
	expect(t, "GET", url+"/v1/models", "", "", http.StatusOK, `"id":"m:latest"`)
	expect(t, "GET", url+"/", "", "", http.StatusOK, "Ollama is running")
}

func TestOllamaQueue(t *testing.T) {
	t.Parallel()
	url, _ := serveOllama(t, nil, "OLLAMA_MAX_QUEUE", "1", "STANDIN_HANG", "load", "OLLAMA_LOAD_TIMEOUT", "1h")
	ask(t, "POST", url+"/api/pull", "", `{"model":"m"}`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answered := make(chan int, 2)
	for range 2 { // one loads for ever, so the other finds the queue full
		req, err := http.NewRequestWithContext(ctx, "POST", url+"/api/generate", strings.NewReader(`{"model":"m"}`))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if res, err := http.DefaultClient.Do(req); err == nil {
				res.Body.Close()
				answered <- res.StatusCode
			}
		}()
	}
	select {
	case status := <-answered:
		if status != http.StatusServiceUnavailable {
			t.Errorf("status %d", status)
		}
	case <-time.After(patience):
		t.Error("neither request was answered")
	}
}

func TestOllamaUnloadsOthers(t *testing.T) {
	t.Parallel()
	url, _ := serveOllama(t, nil, "OLLAMA_MAX_LOADED_MODELS", "1")
	for _, m := range []string{"a", "b"} {
		ask(t, "POST", url+"/api/pull", "", `{"model":"`+m+`"}`)
		expect(t, "POST", url+"/api/generate", "", `{"model":"`+m+`"}`, http.StatusOK, `"load"`)
	}
	if _, text := ask(t, "GET", url+"/api/ps", "", ""); strings.Contains(text, `"a:latest"`) || !strings.Contains(text, `"b:latest"`) {
		t.Errorf("ps: %s", text)
	}
	expect(t, "POST", url+"/api/generate", "", `{"model":"a","prompt":"x","keep_alive":"1ms"}`, http.StatusOK, `"done":true`)
	for deadline := time.Now().Add(patience); ; {
		if _, text := ask(t, "GET", url+"/api/ps", "", ""); text == "{\"models\":[]}\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the model stays though its time is over")
		}
	}
}

func TestOllamaEnvironment(t *testing.T) {
	t.Parallel()
	out := &watched{}
	read := func(pairs ...string) ollamaSettings {
		env := with(nil, pairs...)
		c := &call{lookup: func(n string) (string, bool) { v, ok := env[n]; return v, ok }, stderr: out}
		return c.ollamaEnv()
	}
	for given, want := range map[string]string{
		"": "127.0.0.1:11434", ":9": ":9", "0.0.0.0": "0.0.0.0:11434", "h:x": "h:11434", "http://h": "h:80", "\"h:1\"": "h:1", "::1": "::1:11434", "[::1]:5": "::1:5",
	} {
		if e := read("OLLAMA_HOST", given); e.host+":"+e.port != want {
			t.Errorf("OLLAMA_HOST=%s: %s:%s, want %s", given, e.host, e.port, want)
		}
	}
	for given, want := range map[string]time.Duration{"": 5 * time.Minute, "x": 5 * time.Minute, "30": 30 * time.Second, "2h": 2 * time.Hour, "-1": forever, "0": 0} {
		if e := read("OLLAMA_KEEP_ALIVE", given); e.keepAlive != want {
			t.Errorf("OLLAMA_KEEP_ALIVE=%s: %s, want %s", given, e.keepAlive, want)
		}
	}
	if e := read("OLLAMA_NUM_PARALLEL", "many", "OLLAMA_FLASH_ATTENTION", "maybe", "OLLAMA_KV_CACHE_TYPE", "q2"); e.parallel != 1 || !e.flashAttention {
		t.Errorf("%+v", e)
	}
	for _, part := range []string{`"invalid environment variable, using default" key="OLLAMA_NUM_PARALLEL" value="many"`, "kv cache type not supported", "invalid port"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no warning %q in:\n%s", part, out)
		}
	}
}
