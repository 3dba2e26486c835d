package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/benchd/benchd/server"
	"github.com/benchd/benchd/store"
)

func TestListenUnix(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "run")
	path := filepath.Join(folder, "s")
	l, err := server.ListenUnix(path, false)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{folder: 0o700 | os.ModeDir, path: 0o600 | os.ModeSocket} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v (%v)", name, info.Mode(), want, err)
		}
	}
	if _, err := server.ListenUnix(path, false); !errors.Is(err, server.ErrSocketExists) {
		t.Errorf("a socket in use was not respected: %v", err)
	}
	unix, ok := l.(*net.UnixListener)
	if !ok {
		t.Fatalf("listener is a %T", l)
	}
	unix.SetUnlinkOnClose(false) // as if the server had died
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err = server.ListenUnix(path, true)
	if err != nil {
		t.Fatalf("a stale socket was not replaced: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestListenUnixRefused(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o755); err != nil { //nolint:gosec // that it is open is the point
		t.Fatal(err)
	}
	private := filepath.Join(t.TempDir(), "private")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(private, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, want string }{
		"a folder that others can enter": {filepath.Join(open, "s"), "chmod 700"},
		"a file in the way":              {file, "no socket"},
		"a long path":                    {filepath.Join(private, strings.Repeat("x", 120)), "BENCHD_HOME"},
	} {
		if _, err := server.ListenUnix(c.path, true); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "mine" {
		t.Errorf("the file in the way was touched: %q %v", data, err)
	}
}

func TestServeUnix(t *testing.T) {
	st := openStore(t)
	path := filepath.Join(t.TempDir(), "run", "s")
	l, err := server.ListenUnix(path, false)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, func(ctx context.Context) error { return server.New(server.Options{Store: st}).ServeUnix(ctx, l) })
	transport := unixTransport(t, path)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		resp := request(t, transport, method, "http://benchd/store/backup", "")
		copied := filepath.Join(t.TempDir(), "copy.db")
		data, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, os.WriteFile(copied, data, 0o600)); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v %s", method, err, resp.Status)
		}
		again, err := store.Open(copied, store.Options{})
		if err != nil {
			t.Fatalf("%s: the backup cannot be opened: %v", method, err)
		}
		if again.HomeID() != st.HomeID() {
			t.Errorf("%s: the backup is of another store", method)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestStopEndsWatches stops a server that a client watches: the client sees a proper end, and no stop waits for it.
func TestStopEndsWatches(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "s")
	l, err := server.ListenUnix(path, false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stopped := make(chan error, 1)
	go func() { stopped <- server.New(server.Options{Store: openStore(t)}).ServeUnix(ctx, l) }()
	transport := unixTransport(t, path)
	resp := request(t, transport, http.MethodGet, "http://benchd"+clusters+"?watch=true", "")
	stop()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("the watch ended with %q, %v", rest, err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

func unixTransport(t *testing.T, path string) *http.Transport {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// request sends a request, with a token where one is given, and closes the answer with the test.
func request(t *testing.T, transport http.RoundTripper, method, url, token string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestServeTLS(t *testing.T) {
	st := openStore(t)
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "https://" + l.Addr().String()
	creds, err := server.MakeCredentials(filepath.Join(t.TempDir(), "tls"), base)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, func(ctx context.Context) error {
		return server.New(server.Options{Store: st}).ServeTLS(ctx, l, creds.CertFile, creds.KeyFile, creds.Token)
	})
	pem, err := os.ReadFile(creds.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	for header, want := range map[string]int{
		"": 401, "Bearer": 401, "Bearer wrong": 401, "Basic " + creds.Token: 401, "Bearer " + creds.Token + "x": 401,
		"Bearer " + creds.Token: 200, "bearer " + creds.Token: 200,
	} {
		for _, path := range []string{"/healthz", clusters, "/metrics"} {
			if resp := request(t, transport, http.MethodGet, base+path, header); resp.StatusCode != want {
				t.Errorf("%s with %q: %s, want %d", path, header, resp.Status, want)
			}
		}
	}
	resp := request(t, transport, http.MethodGet, base+clusters, "")
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), `"reason":"Unauthorized"`) {
		t.Errorf("no Status: %s %v", body, err)
	}
	if resp := request(t, transport, http.MethodGet, base+"/store/backup", "Bearer "+creds.Token); resp.StatusCode != http.StatusNotFound {
		t.Errorf("the store can be had over the network: %s", resp.Status)
	}
	plain := request(t, transport, http.MethodGet, "http://"+l.Addr().String()+"/healthz", "Bearer "+creds.Token)
	if plain.StatusCode != http.StatusBadRequest {
		t.Errorf("answered without TLS: %s", plain.Status)
	}
}

func TestServeTLSNeedsAToken(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.New(server.Options{Store: openStore(t)}).ServeTLS(t.Context(), l, "", "", ""); err == nil {
		t.Error("served without a token")
	}
}

func TestMakeCredentials(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "tls")
	first, err := server.MakeCredentials(folder, "https://login1:8443")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{first.CertFile, first.KeyFile, first.TokenFile, first.Kubeconfig} {
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v %v", path, info, err)
		}
	}
	read := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	cert := read(first.CertFile)
	second, err := server.MakeCredentials(folder, "https://login1:9443")
	if err != nil {
		t.Fatal(err)
	}
	if second.Token != first.Token || read(second.CertFile) != cert || !strings.Contains(read(second.Kubeconfig), "login1:9443") {
		t.Error("a restart on another port locks clients out")
	}
	if _, err := server.MakeCredentials(folder, "https://10.1.2.3:9443"); err != nil || read(first.CertFile) == cert {
		t.Errorf("the certificate does not follow the address: %v", err)
	}
	for _, url := range []string{"http://login1:1", "login1:1", "https://:1"} {
		if _, err := server.MakeCredentials(folder, url); err == nil {
			t.Errorf("made credentials for %q", url)
		}
	}
}
