// Package client speaks to a benchd server: over its Unix socket, or over TLS with a token.
//
// Objects go by kind, namespace and name, as they do in the store. Errors of the server come back as apimachinery's
// (NotFound, Conflict, Invalid …), so apierrors.IsNotFound and its kin work on them; a server that cannot be reached
// is ErrNoServer.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
)

const (
	dialTimeout = 10 * time.Second
	// answerTimeout bounds the wait for an answer's header; its body, a watch for one, takes as long as it takes.
	answerTimeout = time.Minute
	// maxErrorBody bounds what is read of an error that is no Status.
	maxErrorBody = 64 << 10
)

// ErrNoServer says that nothing answers where the server should be.
var ErrNoServer = errors.New("no benchd server answers")

// Endpoint says where the server is: on a Socket, or at a URL (https) with a Token and the CAFile that its certificate
// is checked with.
type Endpoint struct {
	Socket string
	URL    string
	Token  string
	CAFile string
}

func (e Endpoint) String() string {
	if e.Socket != "" {
		return "unix:" + e.Socket
	}
	return e.URL
}

// Client speaks to one server. It is safe for concurrent use.
type Client struct {
	endpoint Endpoint
	base     *url.URL
	http     *http.Client
	dryRun   bool
}

// New makes a client. It connects to nothing yet.
func New(e Endpoint) (*Client, error) {
	transport := &http.Transport{ResponseHeaderTimeout: answerTimeout, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true}
	dialer := &net.Dialer{Timeout: dialTimeout}
	transport.DialContext = dialer.DialContext
	base := &url.URL{Scheme: "http", Host: "benchd"}
	if e.Socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", e.Socket)
		}
	} else {
		u, err := url.Parse(e.URL)
		if err != nil || u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("connect to %q: use a socket, or a URL of the form https://host:port", e.URL)
		}
		base = u
		if transport.TLSClientConfig, err = trust(e.CAFile); err != nil {
			return nil, err
		}
	}
	return &Client{endpoint: e, base: base, http: &http.Client{Transport: transport}}, nil
}

// trust reads the certificates that a server's is checked with; none given means the machine's own.
func trust(caFile string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return config, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the server's certificate: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the server's certificate: %s holds none in PEM form: copy the server's tls.crt", caFile)
	}
	return config, nil
}

// DryRun returns a client whose writes are checked and answered as ever, and then forgotten by the server.
func (c *Client) DryRun() *Client {
	dry := *c
	dry.dryRun = true
	return &dry
}

// Close drops the connections that are kept for later requests.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Version asks for the server's version. Having an answer, the caller knows that the server lives.
func (c *Client) Version(ctx context.Context) (info version.Info, err error) {
	return info, c.do(ctx, call{method: http.MethodGet, path: "/version"}, &info)
}

// Ready says why the server is not ready to work, or nil.
func (c *Client) Ready(ctx context.Context) error {
	resp, err := c.open(ctx, call{method: http.MethodGet, path: "/readyz"})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Backup writes a consistent copy of the server's live store to w and returns its size. Only the socket offers it.
func (c *Client) Backup(ctx context.Context, w io.Writer) (int64, error) {
	resp, err := c.open(ctx, call{method: http.MethodPost, path: "/store/backup"})
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(w, resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return n, fmt.Errorf("back up the store: broke off after %d bytes, so the copy is of no use: %w", n, err)
	}
	return n, nil
}

// call is one request.
type call struct {
	method, path string
	query        url.Values
	accept       string
	contentType  string
	body         any // nil, []byte as it is, or encoded as JSON
}

// do makes a call and decodes its answer.
func (c *Client) do(ctx context.Context, call call, into any) (err error) {
	resp, err := c.open(ctx, call)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the answer to %s %s: %w", call.method, call.path, err)
	}
	_, err = io.Copy(io.Discard, resp.Body) // to the end, so that the connection can be used again
	return err
}

// open makes a call and returns its answer once that is known to be no error. The caller closes it.
func (c *Client) open(ctx context.Context, call call) (*http.Response, error) {
	if all, none := strings.CutSuffix(call.path, "/"); none { // a variable of a script that was not set
		return nil, fmt.Errorf("the name of one of the %s is empty: write it, as in run my-run or sweep/my-sweep", path.Base(all))
	}
	req, err := c.request(ctx, call)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("%s %s: %s, and its reason cannot be read: %w", call.method, call.path, resp.Status, err)
	}
	var status metav1.Status
	if json.Unmarshal(data, &status) == nil && status.Kind == "Status" {
		return nil, &apierrors.StatusError{ErrStatus: status}
	}
	return nil, fmt.Errorf("%s %s: %s: %s", call.method, call.path, resp.Status, strings.TrimSpace(string(data)))
}

func (c *Client) request(ctx context.Context, call call) (*http.Request, error) {
	body, ok := call.body.([]byte)
	if !ok && call.body != nil {
		var err error
		if body, err = json.Marshal(call.body); err != nil {
			return nil, fmt.Errorf("encode what %s %s sends: %w", call.method, call.path, err)
		}
	}
	u := *c.base
	u.Path = strings.TrimSuffix(u.Path, "/") + call.path
	if c.dryRun && call.method != http.MethodGet {
		if call.query == nil {
			call.query = url.Values{}
		}
		call.query.Set("dryRun", metav1.DryRunAll)
	}
	u.RawQuery = call.query.Encode()
	req, err := http.NewRequestWithContext(ctx, call.method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", call.method, call.path, err)
	}
	if call.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if call.contentType != "" {
		req.Header.Set("Content-Type", call.contentType)
	}
	req.Header.Set("Accept", "application/json")
	if call.accept != "" {
		req.Header.Set("Accept", call.accept)
	}
	if c.endpoint.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.endpoint.Token)
	}
	return req, nil
}

// unreachable tells apart a server that is not there from one that breaks off.
func (c *Client) unreachable(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w at %s: start it with `benchd serve`: %w", ErrNoServer, c.endpoint, err)
	}
	return fmt.Errorf("ask the server at %s: %w", c.endpoint, err)
}
