package simulate

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Ollama's API (docs/api.md of Ollama 0.12): JSON lines, of which the last says done and holds the server's own timers in
// nanoseconds. What is asked for is a limit on the answer, num_predict; there is no way to go on after its end.

// ollamaRequest holds the fields that are looked at.
type ollamaRequest struct {
	Model    string          `json:"model"`
	Prompt   string          `json:"prompt"`
	Messages json.RawMessage `json:"messages"`
	Stream   *bool           `json:"stream"`
	Options  struct {
		NumPredict int `json:"num_predict"`
	} `json:"options"`
}

// ollama says whether the API is one of Ollama's.
func (k api) ollama() bool { return k == apiOllamaGenerate || k == apiOllamaChat }

// decodeOllama reads a request body; the error is an *apiError.
func decodeOllama(kind api, body []byte) (generation, error) {
	var r ollamaRequest
	if err := decodeJSON(body, &r); err != nil {
		return generation{}, err
	}
	text := r.Prompt
	if kind == apiOllamaChat {
		var err error
		if text, err = chatText(r.Messages); err != nil {
			return generation{}, err
		}
	}
	words := countWords(text)
	if words == 0 {
		return generation{}, refuse(http.StatusBadRequest, "prompt", "the prompt is empty; give at least one word")
	}
	g := generation{model: r.Model, prompts: []int{words}, stream: r.Stream == nil || *r.Stream}
	if r.Options.NumPredict > 0 {
		g.maxTokens = r.Options.NumPredict
	}
	return g, nil
}

// appendOllama appends a line with the tokens first to last-1.
func (c *chunks) appendOllama(b []byte, first, last int) []byte {
	b = append(b, c.head...)
	if c.kind == apiOllamaChat {
		b = append(b, `"message":{"role":"assistant","content":"`...)
	} else {
		b = append(b, `"response":"`...)
	}
	for k := first; k < last; k++ {
		b = append(b, piece(k)...)
	}
	if c.kind == apiOllamaChat {
		return append(b, "\"},\"done\":false}\n"...)
	}
	return append(b, "\",\"done\":false}\n"...)
}

// ollamaHead is what all lines begin with.
func ollamaHead(s *Server) string {
	return `{"model":` + s.model + `,"created_at":"` + s.zero.UTC().Format(time.RFC3339Nano) + `",`
}

// appendOllamaEnd appends the last line, or a whole answer with its text.
func (x *exchange) appendOllamaEnd(b []byte, text string, tokens int, finish string) []byte {
	b = append(b, ollamaHead(x.s)...)
	if x.kind == apiOllamaChat {
		b = append(b, `"message":{"role":"assistant","content":`+quoteJSON(text)+`},`...)
	} else {
		b = append(b, `"response":`+quoteJSON(text)+`,`...)
	}
	first, last := x.rec.FirstToken, x.rec.LastToken
	if tokens == 0 {
		first, last = x.s.now(), x.s.now()
	}
	b = append(b, `"done":true,"done_reason":"`+finish+`","total_duration":`...)
	b = strconv.AppendInt(b, int64(x.s.now()-x.rec.Arrival), 10)
	b = append(b, `,"load_duration":0,"prompt_eval_count":`...)
	b = strconv.AppendInt(b, int64(x.rec.PromptTokens), 10)
	b = append(b, `,"prompt_eval_duration":`...)
	b = strconv.AppendInt(b, int64(max(0, first-x.rec.Dequeued)), 10)
	b = append(b, `,"eval_count":`...)
	b = strconv.AppendInt(b, int64(tokens), 10)
	b = append(b, `,"eval_duration":`...)
	b = strconv.AppendInt(b, int64(max(0, last-first)), 10)
	return append(b, "}\n"...)
}

// writeOllama answers with a refusal in Ollama's words.
func (e *apiError) writeOllama(w http.ResponseWriter) {
	writeJSON(w, e.status, map[string]string{"error": e.message})
}

// serveTags lists the one model.
func (s *Server) serveTags(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"models": []any{map[string]any{
		"name": s.cfg.Model, "model": s.cfg.Model, "modified_at": s.zero.UTC().Format(time.RFC3339), "size": 0,
	}}})
}
