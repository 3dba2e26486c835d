package main

// The OpenAI front end of Triton: `python3 main.py --model-repository DIR`.
//
// Source: triton-inference-server/server, python/openai/openai_frontend/main.py (commit 09a0868a: options, order of the
// start), its README for /health/ready, /v1 and /metrics.
//
// Not verified: the words of refusals about the repository, and that of a model that is not there.

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

const tritonFlags = `
--model-repository               text
--tokenizer                      text
--backend                        vllm|tensorrtllm
--lora-separator                 text
--tritonserver-log-verbose-level int
--host                           text
--openai-port                    int
--uvicorn-log-level              debug|info|warning|error|critical|trace
--enable-kserve-frontends        flag
--kserve-http-port               int
--kserve-grpc-port               int
`

// tritonServe checks the command line and serves every model of the repository.
func (c *call) tritonServe(ctx context.Context, args []string) int {
	usage := "main.py [-h] --model-repository MODEL_REPOSITORY [options]"
	p, refused := (&argparse{prog: "main.py", usage: usage, options: options(tritonFlags), required: []string{"model-repository"}}).parse(args)
	if refused != nil {
		return c.refuseUsage(refused)
	}
	repository := p.text("model-repository", "")
	models, _ := filepath.Glob(filepath.Join(repository, "*", "config.pbtxt"))
	if _, err := os.Stat(repository); err != nil || len(models) == 0 {
		return c.raise("tritonserver._c.triton_bindings.InternalError", "failed to load all models: failed to stat file or no model in %s", repository)
	}
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = filepath.Base(filepath.Dir(m))
	}
	if !c.loadModel(ctx) {
		return exitOK
	}
	engine, err := c.engine(names, c.knobs.contextLength, 0)
	if err != nil {
		return c.errorf("standin: %v", err)
	}
	mux := http.NewServeMux()
	for _, path := range []string{"/v1/models", "/v1/completions", "/v1/chat/completions"} {
		mux.Handle(path, engine.Handler())
	}
	mux.HandleFunc("GET /health/ready", okay)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range names {
			fmt.Fprintf(w, "nv_inference_request_success{model=%q,version=\"1\"} 0\n", name)
		}
	})
	mux.HandleFunc("/", notFound)
	host, port := p.text("host", "0.0.0.0"), p.number("openai-port", 9000)
	l, err := listen(host, port)
	if err != nil {
		return c.errorf("ERROR:    [Errno 98] error while attempting to bind on address ('%s', %d): %v", host, port, err)
	}
	return c.serve(ctx, l, mux, func() { c.uvicorn("", host, port) })
}
