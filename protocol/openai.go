package protocol

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"time"
)

// maxBody bounds an answer that is not streamed.
const maxBody = 64 << 20

// linger is how long after [DONE] the end of the answer is waited for: only then can its connection be used again.
const linger = 100 * time.Millisecond

// OpenAI speaks the completions and chat API that vLLM, SGLang, llama.cpp and others serve.
type OpenAI struct {
	// URL of the server without a path; Model as the server names it.
	URL, Model string
	// Chat selects /v1/chat/completions, else /v1/completions.
	Chat bool
	// Streaming asks for tokens as they come.
	Streaming bool
	// APIKey goes along as a bearer token.
	APIKey string
	// Timeout bounds one request.
	Timeout time.Duration

	http *http.Client
}

var _ Client = (*OpenAI)(nil)

// NewOpenAI returns the client with its own connections, as many as there are requests in flight.
func NewOpenAI(c OpenAI) *OpenAI {
	c.http = &http.Client{
		Transport: &http.Transport{
			MaxIdleConns: 0, MaxIdleConnsPerHost: 1 << 16, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
			DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &c
}

// Close frees idle connections.
func (c *OpenAI) Close() { c.http.CloseIdleConnections() }

type body struct {
	Model         string         `json:"model"`
	Messages      []message      `json:"messages,omitempty"`
	Prompt        string         `json:"prompt,omitempty"`
	MaxTokens     int            `json:"max_tokens"`
	MinTokens     int            `json:"min_tokens,omitempty"`
	IgnoreEOS     bool           `json:"ignore_eos"`
	Stream        bool           `json:"stream"`
	StreamOptions *streamOptions `json:"stream_options,omitempty"`
	Temperature   float64        `json:"temperature"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// Do sends one request.
func (c *OpenAI) Do(ctx context.Context, req Request) (r Result) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, os.ErrDeadlineExceeded)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			if !info.Reused {
				r.Connected = time.Now()
			}
		},
	})
	httpReq, err := c.newRequest(ctx, req)
	r.Sent = time.Now()
	if err != nil {
		r.fail(ClassPayload, err.Error())
		return r
	}
	resp, err := c.http.Do(httpReq)
	if err != nil {
		r.End = time.Now()
		r.fail(classifyTransport(ctx, err), err.Error())
		return r
	}
	defer resp.Body.Close()
	r.Status = resp.StatusCode
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // what there is of it explains the status
		r.End = time.Now()
		r.fail(ClassStatus, fmt.Sprintf("HTTP %d: %s", resp.StatusCode, strings.TrimSpace(string(text))))
		return r
	}
	if c.Streaming {
		c.readStream(ctx, cancel, resp, &r)
	} else {
		c.readWhole(ctx, resp, &r)
	}
	return r
}

func (c *OpenAI) newRequest(ctx context.Context, req Request) (*http.Request, error) {
	b := body{Model: c.Model, MaxTokens: req.MaxTokens, MinTokens: req.MaxTokens, IgnoreEOS: true, Stream: c.Streaming}
	path := "/v1/completions"
	if c.Chat {
		path = "/v1/chat/completions"
		b.Messages = []message{{Role: "user", Content: req.Prompt}}
	} else {
		b.Prompt = req.Prompt
	}
	if c.Streaming {
		b.StreamOptions = &streamOptions{IncludeUsage: true}
	}
	data, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	httpReq, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+path, bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	httpReq.Header.Set("Content-Type", "application/json")
	httpReq.Header.Set("X-Request-Id", req.ID)
	if c.APIKey != "" {
		httpReq.Header.Set("Authorization", "Bearer "+c.APIKey)
	}
	return httpReq, nil
}

func (c *OpenAI) readStream(ctx context.Context, cancel context.CancelFunc, resp *http.Response, r *Result) {
	contentType, encoding := resp.Header.Get("Content-Type"), resp.Header.Get("Content-Encoding")
	if !strings.HasPrefix(contentType, "text/event-stream") || encoding != "" {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // what there is of it explains the answer
		r.End = time.Now()
		class := ClassPayload
		if hasObject(text, "error") {
			class = ClassServer
		}
		r.fail(class, fmt.Sprintf("a stream was asked for, the answer is %q, encoded %q: %.200q", contentType, encoding, text))
		return
	}
	s := stream{result: r}
	buf := make([]byte, 16<<10)
	for {
		n, err := resp.Body.Read(buf)
		at := time.Now()
		r.End = at
		if n > 0 && !s.feed(buf[:n], at) {
			break
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if class := classifyTransport(ctx, err); class != ClassConnect {
				r.fail(class, err.Error())
			}
			break
		}
	}
	s.close()
	if s.done {
		defer time.AfterFunc(linger, cancel).Stop()
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxLine)) // the answer is complete whatever follows
		r.End = time.Now()
	}
}

func (c *OpenAI) readWhole(ctx context.Context, resp *http.Response, r *Result) {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	r.End = time.Now()
	if err != nil {
		class := classifyTransport(ctx, err)
		if class == ClassConnect {
			class = ClassCut
		}
		r.fail(class, err.Error())
		return
	}
	if len(data) > maxBody {
		r.fail(ClassPayload, fmt.Sprintf("an answer of over %d bytes", maxBody))
		return
	}
	var answer struct {
		Choices []struct {
			Text    string
			Message struct {
				Content          string
				ReasoningContent string `json:"reasoning_content"`
				Reasoning        string
			}
		}
		Usage usage
		Error json.RawMessage
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		r.fail(ClassPayload, fmt.Sprintf("answer %.120q: %v", data, err))
		return
	}
	answer.Usage.settle(r)
	if len(answer.Error) > 0 && string(answer.Error) != "null" {
		r.fail(ClassServer, fmt.Sprintf("the server sent an error with status 200: %s", answer.Error))
		return
	}
	for _, choice := range answer.Choices {
		if choice.Text != "" || choice.Message.Content != "" || choice.Message.ReasoningContent != "" || choice.Message.Reasoning != "" {
			return
		}
	}
	r.fail(ClassEmpty, "the answer held no text")
}

// classifyTransport finds the class of an error of the transport. Once an answer has begun, ClassConnect stands for a
// connection that broke, which the caller knows better.
func classifyTransport(ctx context.Context, err error) Class {
	var netErr net.Error
	switch {
	case errors.Is(context.Cause(ctx), os.ErrDeadlineExceeded):
		return ClassTimeout
	case ctx.Err() != nil:
		return ClassCancelled
	case errors.As(err, &netErr) && netErr.Timeout():
		return ClassTimeout
	}
	return ClassConnect
}
