package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/server"
)

// oneNode is a server's only node; it says what it was asked.
type oneNode struct{}

func (oneNode) Targets(context.Context) ([]node.Target, error) { return nil, nil }

func (oneNode) Find(_ context.Context, namespace, allocation, name string) (node.Target, error) {
	if namespace+"/"+allocation+"/"+name != "default/a/n1" {
		return node.Target{}, apierrors.NewNotFound(api.Resource(api.KindAllocation), allocation)
	}
	return node.Target{Node: name}, nil
}

func (oneNode) Open(_ context.Context, _ node.Target, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	if path == "/down" {
		return nil, errors.New("no route to host")
	}
	sent, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	said := method + " " + path + " " + header.Get("Accept") + " " + string(sent)
	return &http.Response{StatusCode: http.StatusAccepted, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(said))}, nil
}

// A node is asked over the socket as over TLS, and its answer comes back whatever it is.
func TestNode(t *testing.T) {
	f := newFixture(t, server.Options{Nodes: oneNode{}})
	remote := connect(t, serveTLS(t, server.Options{Store: f.store, Nodes: oneNode{}}))
	for where, c := range map[string]*client.Client{"socket": f.Client, "TLS": remote} {
		for name, want := range map[string]struct {
			method, path, node string
			code               int
			said               string
		}{
			"read":    {http.MethodGet, "/metrics?x=1%202", "n1", 202, "GET /metrics?x=1%202 text/plain "},
			"write":   {http.MethodPost, "/stop", "n1", 202, "POST /stop text/plain body"},
			"down":    {http.MethodGet, "/down", "n1", 502, "no route to host"},
			"unknown": {http.MethodGet, "/", "n2", 404, "not found"},
		} {
			r := httptest.NewRequest(want.method, want.path, strings.NewReader("body"))
			r.Header.Set("Accept", "text/plain")
			resp, err := c.Node(t.Context(), "default", "a", want.node, r)
			if err != nil {
				t.Errorf("%s, %s: %v", where, name, err)
				continue
			}
			said, err := io.ReadAll(resp.Body)
			if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != want.code || !strings.Contains(string(said), want.said) {
				t.Errorf("%s, %s: %s %q (%v), want %d %q", where, name, resp.Status, said, err, want.code, want.said)
			}
		}
	}
	gone := connect(t, client.Endpoint{Socket: filepath.Join(t.TempDir(), "none")})
	if _, err := gone.Node(t.Context(), "default", "a", "n1", httptest.NewRequest(http.MethodGet, "/", nil)); !errors.Is(err, client.ErrNoServer) {
		t.Errorf("without a server: %v", err)
	}
}
