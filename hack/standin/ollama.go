package main

// The personality `ollama`.
//
// Sources: ollama/ollama, server/routes.go (commit 00188139 and copies of 2025 and 2026), server/sched.go, envconfig/config.go
// and api/types.go (copies), docs/api.md. The version named is of about that time.
//
// Not verified: the text of OpenAI-style errors of /v1, sizes and details in /api/show and /api/ps, the exit code after
// SIGTERM (taken as 0), and that positional arguments of serve are refused in these words.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const ollamaVersion = "0.17.4"

// runOllama plays `ollama`.
func runOllama(ctx context.Context, c *call) int {
	if len(c.args) == 0 || c.args[0] == "--help" || c.args[0] == "-h" {
		fmt.Fprintln(c.stdout, "Usage:\n  ollama [flags]\n  ollama [command]")
		return exitOK
	}
	switch verb := c.args[0]; verb {
	case "--version", "-v":
		fmt.Fprintln(c.stdout, "Warning: could not connect to a running Ollama instance\nWarning: client version is "+ollamaVersion)
		return exitOK
	case "serve", "start":
		return c.ollamaServe(ctx, c.args[1:])
	default:
		if strings.HasPrefix(verb, "-") {
			return c.errorf("Error: unknown flag: %s", verb)
		}
		return c.errorf("Error: unknown command %q for \"ollama\"", verb)
	}
}

// ollamaServe plays `ollama serve`.
func (c *call) ollamaServe(ctx context.Context, args []string) int {
	for _, arg := range args {
		switch {
		case arg == "-h" || arg == "--help":
			fmt.Fprintln(c.stdout, "Start Ollama\n\nUsage:\n  ollama serve [flags]\n\nAliases:\n  serve, start")
			return exitOK
		case strings.HasPrefix(arg, "--"):
			return c.errorf("Error: unknown flag: %s", arg)
		case strings.HasPrefix(arg, "-") && len(arg) > 1:
			return c.errorf("Error: unknown shorthand flag: '%c' in %s", arg[1], arg)
		}
	}
	if len(args) > 0 {
		return c.errorf("Error: accepts 0 arg(s), received %d", len(args))
	}
	env := c.ollamaEnv()
	c.slog("INFO", "server config", "env", env)
	o := &ollama{call: c, env: env, store: modelStore{env.models}, sched: newScheduler(c, env)}
	if err := o.store.prepare(); err != nil {
		return c.errorf("Error: %v", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(env.host, env.port))
	if err != nil {
		return c.errorf("Error: %v", err)
	}
	return c.serve(ctx, l, o.routes(), func() {
		c.slog("INFO", fmt.Sprintf("Listening on %s (version %s)", l.Addr(), ollamaVersion))
	})
}

// slog writes a line as log/slog's text handler does, with Ollama's source in front.
func (c *call) slog(level, msg string, pairs ...any) {
	var b strings.Builder
	fmt.Fprintf(&b, "time=%s level=%s source=standin msg=%q", time.Now().Format("2006-01-02T15:04:05.000Z07:00"), level, msg)
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(&b, " %v=%q", pairs[i], fmt.Sprint(pairs[i+1]))
	}
	fmt.Fprintln(c.stderr, b.String())
}

// An ollama is the server.
type ollama struct {
	*call
	env   ollamaSettings
	store modelStore
	sched *scheduler
}

func (o *ollama) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "Ollama is running") })
	mux.HandleFunc("GET /api/version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"version": ollamaVersion})
	})
	mux.HandleFunc("GET /api/tags", o.tags)
	mux.HandleFunc("GET /api/ps", o.ps)
	mux.HandleFunc("POST /api/show", o.show)
	mux.HandleFunc("POST /api/pull", o.pull)
	mux.HandleFunc("DELETE /api/delete", o.remove)
	mux.HandleFunc("POST /api/generate", o.generate)
	mux.HandleFunc("POST /api/chat", o.generate)
	mux.HandleFunc("GET /v1/models", o.openAIModels)
	mux.HandleFunc("POST /v1/completions", o.openAI)
	mux.HandleFunc("POST /v1/chat/completions", o.openAI)
	return mux
}

// gin is a JSON object.
type gin map[string]any

// fail answers with Ollama's error object.
func (o *ollama) fail(w http.ResponseWriter, status int, format string, args ...any) {
	writeJSON(w, status, gin{"error": fmt.Sprintf(format, args...)})
}

// read decodes a request's body; false means that it was answered.
func (o *ollama) read(w http.ResponseWriter, r *http.Request, into any) ([]byte, bool) {
	body, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return nil, false
	case len(bytes.TrimSpace(body)) == 0:
		o.fail(w, http.StatusBadRequest, "missing request body")
		return nil, false
	}
	if err := json.Unmarshal(body, into); err != nil {
		o.fail(w, http.StatusBadRequest, "%v", err)
		return nil, false
	}
	return body, true
}

// An ollamaRequest is what generate and chat look at before there are tokens.
type ollamaRequest struct {
	Model     string            `json:"model"`
	Prompt    string            `json:"prompt"`
	Messages  []json.RawMessage `json:"messages"`
	KeepAlive *keepAlive        `json:"keep_alive"`
	Options   map[string]any    `json:"options"`
	Stream    *bool             `json:"stream"`
}

// generate serves /api/generate and /api/chat: without a prompt they load the model, or unload it with keep_alive 0, and say
// so in one object.
func (o *ollama) generate(w http.ResponseWriter, r *http.Request) {
	var req ollamaRequest
	body, ok := o.read(w, r, &req)
	if !ok {
		return
	}
	chat := r.URL.Path == "/api/chat"
	if req.Model == "" && chat {
		o.fail(w, http.StatusBadRequest, "model is required")
		return
	}
	name, ok := o.store.find(req.Model)
	if !ok {
		o.fail(w, http.StatusNotFound, "model '%s' not found", req.Model)
		return
	}
	empty := req.Prompt == "" && !chat || chat && len(req.Messages) == 0
	if empty && req.KeepAlive != nil && req.KeepAlive.d == 0 {
		o.sched.expire(name)
		o.single(w, req.Model, "unload", chat)
		return
	}
	opts, err := o.env.runnerOptions(req.Options, func(name string) { o.slog("WARN", "invalid option provided", "option", name) })
	if err != nil {
		o.fail(w, http.StatusInternalServerError, "%v", err)
		return
	}
	run, err := o.sched.acquire(r.Context(), name, opts, req.KeepAlive)
	if err != nil {
		o.scheduleFailed(w, err)
		return
	}
	defer o.sched.release(run)
	if empty {
		o.single(w, req.Model, "load", chat)
		return
	}
	o.forward(w, r, run, req.Model, body)
}

// single is the answer to a load and an unload.
func (o *ollama) single(w http.ResponseWriter, model, reason string, chat bool) {
	answer := gin{"model": model, "created_at": time.Now().UTC(), "done": true, "done_reason": reason}
	if chat {
		answer["message"] = gin{"role": "assistant", "content": ""}
	} else {
		answer["response"] = ""
	}
	writeJSON(w, http.StatusOK, answer)
}

// scheduleFailed is Ollama's handleScheduleError.
func (o *ollama) scheduleFailed(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, context.Canceled):
		o.fail(w, 499, "request canceled")
	case errors.Is(err, errMaxQueue):
		o.fail(w, http.StatusServiceUnavailable, "%v", err)
	default:
		o.fail(w, http.StatusInternalServerError, "%v", err)
	}
}

// forward hands a request to the model's engine, under the name that the engine knows.
func (o *ollama) forward(w http.ResponseWriter, r *http.Request, run *runner, asked string, body []byte) {
	if asked != run.name && asked+":latest" != run.name {
		var fields map[string]json.RawMessage
		name, err := json.Marshal(run.name)
		if json.Unmarshal(body, &fields) == nil && err == nil {
			fields["model"] = name
			if body, err = json.Marshal(fields); err != nil {
				o.fail(w, http.StatusInternalServerError, "%v", err)
				return
			}
		}
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	run.engine.Handler().ServeHTTP(w, r)
}

// openAI serves completions and chat in OpenAI's shape; there are no runner options in it.
func (o *ollama) openAI(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Model string `json:"model"`
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if err := json.Unmarshal(body, &req); err != nil {
		o.openAIFail(w, http.StatusBadRequest, "invalid_request_error", err.Error())
		return
	}
	name, ok := o.store.find(req.Model)
	if !ok {
		o.openAIFail(w, http.StatusNotFound, "not_found_error", fmt.Sprintf("model '%s' not found", req.Model))
		return
	}
	opts, err := o.env.runnerOptions(nil, nil)
	if err != nil {
		o.openAIFail(w, http.StatusInternalServerError, "api_error", err.Error())
		return
	}
	run, err := o.sched.acquire(r.Context(), name, opts, nil)
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, errMaxQueue) {
			status = http.StatusServiceUnavailable
		}
		o.openAIFail(w, status, "api_error", err.Error())
		return
	}
	defer o.sched.release(run)
	o.forward(w, r, run, req.Model, body)
}

func (o *ollama) openAIFail(w http.ResponseWriter, status int, kind, message string) {
	writeJSON(w, status, gin{"error": gin{"message": message, "type": kind, "param": nil, "code": nil}})
}

func (o *ollama) openAIModels(w http.ResponseWriter, _ *http.Request) {
	data := []gin{}
	for _, m := range o.store.list() {
		data = append(data, gin{"id": m.name, "object": "model", "created": m.modified.Unix(), "owned_by": "library"})
	}
	writeJSON(w, http.StatusOK, gin{"object": "list", "data": data})
}
