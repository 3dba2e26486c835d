package simulate

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"hash/fnv"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxBody bounds a request: 32 MiB is a prompt of several million words.
const maxBody = 32 << 20

// routes builds the handler of every endpoint.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/health", only(http.MethodGet, s.serveHealth))
	mux.Handle("/version", only(http.MethodGet, s.serveVersion))
	mux.Handle("/metrics", only(http.MethodGet, s.metrics.handler().ServeHTTP))
	mux.Handle("/v1/models", only(http.MethodGet, s.serveModels))
	mux.Handle("/v1/completions", only(http.MethodPost, s.serveTokens(apiCompletion)))
	mux.Handle("/v1/chat/completions", only(http.MethodPost, s.serveTokens(apiChat)))
	mux.Handle("/generate", only(http.MethodPost, s.serveTokens(apiGenerate)))
	mux.Handle("/api/generate", only(http.MethodPost, s.serveTokens(apiOllamaGenerate)))
	mux.Handle("/api/chat", only(http.MethodPost, s.serveTokens(apiOllamaChat)))
	mux.Handle("/api/tags", only(http.MethodGet, s.serveTags))
	mux.Handle("/api/version", only(http.MethodGet, s.serveVersion))
	mux.Handle("/tokenize", only(http.MethodPost, s.serveTokenize))
	mux.Handle("/reset_prefix_cache", only(http.MethodPost, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK) // there is no cache: each request takes its drawn time
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(http.StatusNotFound, "", "there is nothing at %s", r.URL.Path).write(w)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.life.Err() != nil {
			panic(http.ErrAbortHandler) // a dead process answers nothing, not even /health
		}
		if !s.authorized(r) {
			refuse(http.StatusUnauthorized, "", "no or a wrong API key; send the header Authorization: Bearer <key>").write(w)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// authorized checks the key on /v1/*, where vLLM asks for it too; probes and metrics are open.
func (s *Server) authorized(r *http.Request) bool {
	if s.cfg.APIKey == "" || !strings.HasPrefix(r.URL.Path, "/v1/") {
		return true
	}
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(key), []byte(s.cfg.APIKey)) == 1
}

// only refuses other methods with an error object; GET lets HEAD through.
func only(method string, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && (method != http.MethodGet || r.Method != http.MethodHead) {
			w.Header().Set("Allow", method)
			refuse(http.StatusMethodNotAllowed, "", "%s takes %s, not %s", r.URL.Path, method, r.Method).write(w)
			return
		}
		h(w, r)
	})
}

func (s *Server) serveHealth(w http.ResponseWriter, _ *http.Request) {
	status, word := s.healthy()
	writeJSON(w, status, map[string]string{"status": word})
}

func (s *Server) serveVersion(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"version": Version})
}

func (s *Server) serveModels(w http.ResponseWriter, _ *http.Request) {
	var models []any
	for _, name := range append([]string{s.cfg.Model}, s.cfg.Aliases...) {
		models = append(models, map[string]any{
			"id": name, "object": "model", "created": s.zero.Unix(), "owned_by": "benchd",
			"root": s.cfg.Model, "parent": nil, "max_model_len": s.cfg.MaxModelLen,
		})
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": models})
}

// serveTokenize answers in vLLM's shape, for a prompt or for messages.
func (s *Server) serveTokenize(w http.ResponseWriter, r *http.Request) {
	text, err := readTokenize(w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	ids := []uint32{}
	for word := range strings.FieldsSeq(text) {
		ids = append(ids, tokenID(word))
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"count": len(ids), "max_model_len": s.cfg.MaxModelLen, "tokens": ids, "token_strs": nil,
	})
}

// readTokenize returns the text to split; the error is an *apiError or from reading.
func readTokenize(w http.ResponseWriter, r *http.Request) (string, error) {
	body, err := readBody(w, r)
	if err != nil {
		return "", err
	}
	var in struct {
		Prompt   *string         `json:"prompt"`
		Messages json.RawMessage `json:"messages"`
	}
	if err := decodeJSON(body, &in); err != nil {
		return "", err
	}
	switch {
	case in.Messages != nil:
		return chatText(in.Messages)
	case in.Prompt != nil:
		return *in.Prompt, nil
	default:
		return "", refuse(http.StatusBadRequest, "prompt", "give a prompt or messages to tokenize")
	}
}

// tokenID is the pretended id of a word: stable, and within a vocabulary of usual size.
func tokenID(word string) uint32 {
	const vocabularySize = 32000
	h := fnv.New32a()
	_, _ = h.Write([]byte(word)) // a hash's Write never fails
	return h.Sum32() % vocabularySize
}

// readBody reads the request; the error is an *apiError where the client is to be told.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, refuse(http.StatusRequestEntityTooLarge, "", "the body exceeds %d bytes", tooLarge.Limit)
	case err != nil:
		return nil, err
	}
	return body, nil
}

// writeError answers with an *apiError; another error means there is nobody to answer.
func writeError(w http.ResponseWriter, err error) {
	var refusal *apiError
	if errors.As(err, &refusal) {
		refusal.write(w)
	}
}

// setBodyHeaders announces a JSON body of n bytes.
func setBodyHeaders(w http.ResponseWriter, n int) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(n))
}
