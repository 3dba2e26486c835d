package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// serving starts a server whose line has PORT in it, and returns its address.
func serving(t *testing.T, env map[string]string, line, ready string) string {
	t.Helper()
	port := strconv.Itoa(freePort(t))
	act(t, env, strings.Fields(strings.ReplaceAll(line, "PORT", port))...).ready(t, ready)
	return "http://127.0.0.1:" + port
}

// ggufFile is a model file for llama-server.
func ggufFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLlamaWhileLoading(t *testing.T) {
	t.Parallel()
	port := strconv.Itoa(freePort(t))
	a := act(t, map[string]string{"STANDIN_HANG": "load", "LLAMA_API_KEY": "k,l"}, "llama-server", "-m", ggufFile(t), "--port", port)
	url := "http://127.0.0.1:" + port
	for { // the port is open at once, the model is never there
		if res, err := http.Get(url + "/health"); err == nil {
			res.Body.Close()
			break
		}
	}
	expect(t, "GET", url+"/health", "", "", http.StatusServiceUnavailable, `"message":"Loading model"`)
	expect(t, "GET", url+"/v1/models", "", "", http.StatusOK, "m.gguf")
	expect(t, "POST", url+"/v1/completions", "wrong", `{"prompt":"a"}`, http.StatusUnauthorized, "Invalid API Key")
	expect(t, "POST", url+"/v1/completions", "l", `{"prompt":"a"}`, http.StatusServiceUnavailable, "Loading model")
	if code := a.end(t); code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestLlamaAPI(t *testing.T) {
	t.Parallel()
	url := serving(t, nil, "llama-server -m "+ggufFile(t)+" -a name --port PORT", "starting the main loop")
	expect(t, "GET", url+"/health", "", "", http.StatusOK, `{"status":"ok"}`)
	expect(t, "GET", url+"/metrics", "", "", http.StatusNotImplemented, "--metrics")
	expect(t, "GET", url+"/props", "", "", http.StatusOK, `"model_alias":"name"`)
	expect(t, "POST", url+"/tokenize", "", `{"content":"a b"}`, http.StatusOK, `{"tokens":[0,1]}`)
	expect(t, "POST", url+"/v1/completions", "", `{"model":"name","prompt":"a"}`, http.StatusOK, `"text_completion"`)
}

func TestSGLangAPI(t *testing.T) {
	t.Parallel()
	url := serving(t, gpus4, "sglang serve --model-path org/m --served-model-name n --api-key k --port PORT", "fired up")
	expect(t, "GET", url+"/health", "", "", http.StatusOK, "")
	expect(t, "GET", url+"/server_info", "", "", http.StatusUnauthorized, "Unauthorized")
	expect(t, "GET", url+"/server_info", "k", "", http.StatusOK, sglangVersion)
	expect(t, "GET", url+"/metrics", "", "", http.StatusNotFound, "")
	expect(t, "POST", url+"/v1/chat/completions", "k", `{"model":"n","messages":[{"role":"user","content":"a"}]}`, http.StatusOK, "chat.completion")
}

func TestSGLangOnTwoNodes(t *testing.T) {
	t.Parallel()
	common := "sglang serve --model-path m --tp 4 --nnodes 2 --dist-init-addr 127.0.0.1:" + strconv.Itoa(freePort(t)) + " --port PORT --node-rank "
	env := map[string]string{"CUDA_VISIBLE_DEVICES": "0,1"}
	second := act(t, env, strings.Fields(strings.ReplaceAll(common, "PORT", "1")+"1")...)
	url := serving(t, env, common+"0", "fired up")
	expect(t, "GET", url+"/health", "", "", http.StatusOK, "")
	if code := second.end(t); code != 0 {
		t.Errorf("the second node: exit %d:\n%s", code, second.out)
	}
}

func TestOtherAPIs(t *testing.T) {
	t.Parallel()
	url := serving(t, gpus4, "trtllm-serve org/m --port PORT", "Uvicorn running")
	expect(t, "GET", url+"/version", "", "", http.StatusOK, trtllmVersion)
	expect(t, "POST", url+"/v1/completions", "", `{"model":"m","prompt":"a"}`, http.StatusOK, `"model":"m"`)

	url = serving(t, with(gpus4, "API_KEY", "k"), "text-generation-launcher --model-id org/m --hostname 127.0.0.1 --port PORT", "Connected")
	expect(t, "GET", url+"/info", "", "", http.StatusOK, tgiVersion)
	expect(t, "POST", url+"/v1/completions", "", `{"model":"tgi","prompt":"a"}`, http.StatusUnauthorized, "")
	expect(t, "POST", url+"/v1/completions", "k", `{"model":"tgi","prompt":"a"}`, http.StatusOK, `"model":"org/m"`)
}
