package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"time"
)

// TLSName is the name in every job's certificate; addresses are not known when it is made.
const TLSName = "benchd-agent"

// Client reaches the agents of one job.
type Client struct {
	// Lead marks the requests as the lead's: they are the sign of life that members go by.
	Lead bool

	token string
	http  *http.Client
}

// LeadHeader marks requests of the lead.
const LeadHeader = "X-Benchd-Lead"

// NewClient returns a client that trusts the job's certificate alone. A nil dial is the machine's own.
func NewClient(folder Folder, dial func(ctx context.Context, network, address string) (net.Conn, error)) (*Client, error) {
	token, err := os.ReadFile(folder.Token())
	if err != nil {
		return nil, fmt.Errorf("reach agents: %w", err)
	}
	pem, err := os.ReadFile(folder.Cert())
	if err != nil {
		return nil, fmt.Errorf("reach agents: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reach agents: %s holds no certificate", folder.Cert())
	}
	return &Client{token: string(token), http: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: TLSName, MinVersion: tls.VersionTLS13},
		DialContext:     dial, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
	}}}, nil
}

// Close frees idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// StatusError is an agent's answer of another status than 200.
type StatusError struct {
	// Code of HTTP, and what the agent said.
	Code int
	Text string
}

var _ error = (*StatusError)(nil)

func (e *StatusError) Error() string { return fmt.Sprintf("HTTP %d: %.600s", e.Code, e.Text) }

// Open sends a request to an agent and returns its answer as it is, of whatever status. The caller closes its body. Of the
// header, only what is given is sent, and the token.
func (c *Client) Open(ctx context.Context, method, host, path string, header http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+host+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Authorization", "Bearer "+c.token)
	return c.http.Do(req)
}

// Call sends a request to an agent and decodes its answer into out, when there is one. An answer other than 200 is an
// error with what the agent said.
func (c *Client) Call(ctx context.Context, method, host, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+host+path, body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if c.Lead {
		req.Header.Set(LeadHeader, "1")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, req.URL, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %w", method, req.URL, &StatusError{resp.StatusCode, string(bytes.TrimSpace(data))})
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, req.URL, err)
	}
	return nil
}
