package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// REST is the API of a service of one's own: a JSON object is posted, a JSON object comes back in one piece.
type REST struct {
	path                         string
	pieces                       [][]byte // of the body, around the placeholders
	holes                        []string
	text, promptPath, outputPath []string
}

var _ Format = (*REST)(nil)

// Placeholders in a body: values that are exactly these strings are replaced.
const (
	placeholderPrompt = `"$prompt"`
	placeholderTokens = `"$maxTokens"`
)

// NewREST makes the format. The body is a JSON object in which the string values "$prompt" and "$maxTokens" stand for the
// prompt and the number of tokens asked for. The others are dotted paths into the answer: its text, and, where it tells,
// its counts of tokens.
func NewREST(path, body, text, promptTokens, outputTokens string) (*REST, error) {
	if !json.Valid([]byte(body)) || !strings.HasPrefix(strings.TrimSpace(body), "{") {
		return nil, fmt.Errorf(`body %q is not a JSON object: use one such as {"prompt": "$prompt", "max_tokens": "$maxTokens"}`, body)
	}
	r := &REST{path: path, text: split(text), promptPath: split(promptTokens), outputPath: split(outputTokens)}
	rest := []byte(body)
	for {
		at, hole := len(rest), ""
		for _, p := range []string{placeholderPrompt, placeholderTokens} {
			if i := bytes.Index(rest, []byte(p)); i >= 0 && i < at {
				at, hole = i, p
			}
		}
		r.pieces = append(r.pieces, rest[:at])
		if hole == "" {
			break
		}
		r.holes = append(r.holes, hole)
		rest = rest[at+len(hole):]
	}
	if !bytes.Contains([]byte(body), []byte(placeholderPrompt)) {
		return nil, fmt.Errorf("body %q has no place for the prompt: give one value as %s", body, placeholderPrompt)
	}
	if !json.Valid(r.AppendBody(nil, &Question{})) {
		return nil, fmt.Errorf("body %q is no JSON once it is filled in: %s and %s stand for whole values", body, placeholderPrompt, placeholderTokens)
	}
	if len(r.text) == 0 {
		return nil, fmt.Errorf("the path of the text in the answer is missing: name one such as text or choices.0.text")
	}
	return r, nil
}

func split(path string) []string {
	if path == "" {
		return nil
	}
	return strings.Split(path, ".")
}

// Path to POST to.
func (r *REST) Path() string { return r.path }

// Streams says no.
func (r *REST) Streams() (string, bool) { return "", false }

// AppendBody fills the placeholders in.
func (r *REST) AppendBody(dst []byte, q *Question) []byte {
	for i, piece := range r.pieces {
		dst = append(dst, piece...)
		switch {
		case i == len(r.holes):
		case r.holes[i] == placeholderPrompt:
			dst = appendString(dst, q.Text)
		default:
			dst = strconv.AppendInt(dst, int64(q.MaxTokens), 10)
		}
	}
	return dst
}

// NewAnswer returns a reader of answers.
func (r *REST) NewAnswer() Answer { return &whole{read: r.read} }

func (r *REST) read(data []byte, e *event) bool {
	var v any
	if json.Unmarshal(data, &v) != nil {
		return false
	}
	object, ok := v.(map[string]any)
	if !ok {
		return false
	}
	if failure, is := object["error"]; is && failure != nil {
		e.failure = fmt.Append(nil, failure)
	}
	text, _ := find(v, r.text).(string)
	e.text = text != ""
	for _, count := range []struct {
		path []string
		to   *int64
	}{{r.promptPath, &e.prompt}, {r.outputPath, &e.output}} {
		if n, is := find(v, count.path).(float64); is && n > 0 && n < 1<<31 {
			*count.to, e.usage = int64(n), true
		}
	}
	return true
}

// find follows a path through objects and arrays; nil when it leads nowhere.
func find(v any, path []string) any {
	if len(path) == 0 {
		return nil
	}
	for _, name := range path {
		switch node := v.(type) {
		case map[string]any:
			v = node[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(node) {
				return nil
			}
			v = node[i]
		default:
			return nil
		}
	}
	return v
}
