package services

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// direct asks a server; a proxy that the site sets for the world outside has no place in between.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// maxAnswer bounds what is read of an answer: far more than any server tells here.
const maxAnswer = 4 << 20

// getJSON asks for a JSON object.
func (s *Server) getJSON(ctx context.Context, path string, answer any) error {
	return s.exchange(ctx, http.MethodGet, path, nil, into(answer))
}

// postJSON posts a JSON object and reads one.
func (s *Server) postJSON(ctx context.Context, path string, question, answer any) error {
	return s.exchange(ctx, http.MethodPost, path, question, into(answer))
}

func into(answer any) func(io.Reader) error {
	return func(body io.Reader) error { return json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(answer) }
}

// exchange does one request and has the body of a good answer read.
func (s *Server) exchange(ctx context.Context, method, path string, question any, read func(io.Reader) error) error {
	var body io.Reader
	if question != nil {
		data, err := json.Marshal(question)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, body)
	if err != nil {
		return err
	}
	if question != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if s.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+s.APIKey)
	}
	resp, err := direct.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 600)) // what can be read of it
		return &answerError{method: method, path: path, code: resp.StatusCode, said: strings.TrimSpace(string(said))}
	}
	if err := read(resp.Body); err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return nil
}

// answerError is an answer that is not 200.
type answerError struct {
	method, path string
	code         int
	said         string
}

var _ error = (*answerError)(nil)

func (e *answerError) Error() string {
	return fmt.Sprintf("%s %s: HTTP %d: %s", e.method, e.path, e.code, e.said)
}
