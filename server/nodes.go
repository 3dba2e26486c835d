package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
)

// Nodes reaches the agents of live Allocations.
type Nodes interface {
	// Targets returns the nodes of all live Allocations.
	Targets(ctx context.Context) ([]node.Target, error)
	// Find returns one node, by its name or its rank in the job.
	Find(ctx context.Context, namespace, allocation, name string) (node.Target, error)
	// Open asks a node's agent and returns its answer, of whatever status. The caller closes its body, and bounds the time by ctx.
	Open(ctx context.Context, t node.Target, method, path string, header http.Header, body io.Reader) (*http.Response, error)
}

// noNodes are the nodes of a server that knows of none.
type noNodes struct{}

func (noNodes) Targets(context.Context) ([]node.Target, error) { return nil, nil }

func (noNodes) Find(_ context.Context, _, allocation, _ string) (node.Target, error) {
	return node.Target{}, apierrors.NewNotFound(api.Resource(api.KindAllocation), allocation)
}

func (noNodes) Open(context.Context, node.Target, string, string, http.Header, io.Reader) (*http.Response, error) {
	return nil, errors.New("this server reaches no nodes")
}

const (
	// proxyTimeout bounds a question that is passed on to a node, proxyBytes its answer.
	proxyTimeout = 30 * time.Second
	proxyBytes   = 64 << 20
)

// routeNodes serves what the nodes of live Allocations tell: each one's own API, and its metrics alone or together.
func (s *Server) routeNodes(mux *http.ServeMux) {
	passed := verbs{http.MethodGet: s.proxy, http.MethodPost: s.proxy}
	mux.Handle("/apis/"+api.GroupVersion.String()+"/namespaces/{namespace}/allocations/{name}/proxy/{node}/{path...}", s.endpoint(nil, passed))
	mux.Handle("/metrics/targets", s.endpoint(nil, verbs{http.MethodGet: s.targets}))
	mux.Handle("/metrics/nodes", s.endpoint(nil, verbs{http.MethodGet: s.scrapeAll}))
	mux.Handle("/metrics/nodes/{namespace}/{name}/{node}", s.endpoint(nil, verbs{http.MethodGet: s.scrapeOne}))
}

// targetGroup is one of the list that Prometheus' HTTP service discovery reads.
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// targets lists the nodes for Prometheus' HTTP service discovery. All of them are scraped through this server, at the address that
// the list was asked for at: whoever got here through a tunnel gets to the nodes through the same one.
func (s *Server) targets(w http.ResponseWriter, r *request) error {
	found, err := s.opts.Nodes.Targets(r.Context())
	if err != nil {
		return err
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	groups := make([]targetGroup, 0, len(found))
	for _, t := range found {
		labels := labelsOf(t)
		labels["instance"] = path.Join(t.Namespace, t.Allocation, t.Node)
		labels["__scheme__"] = scheme
		labels["__metrics_path__"] = "/metrics/nodes/" + path.Join(url.PathEscape(t.Namespace), url.PathEscape(t.Allocation), url.PathEscape(t.Node))
		groups = append(groups, targetGroup{Targets: []string{withPort(r.Host, scheme)}, Labels: labels})
	}
	s.respond(w, r.Request, http.StatusOK, groups)
	return nil
}

// withPort names the port of an address, as service discovery asks for it.
func withPort(host, scheme string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), map[string]string{"http": "80", "https": "443"}[scheme])
}

// labelsOf are the labels that tell a node's metrics from those of others. Values that are not known are left out.
func labelsOf(t node.Target) map[string]string {
	labels := map[string]string{
		"namespace": t.Namespace, "allocation": t.Allocation, "cluster": t.Cluster, "service": t.Service, "node": t.Node,
		"roles": strings.Join(t.Roles, ","), "run": t.Run, "run_name": t.Runs[t.Run],
	}
	for name, value := range labels {
		if value == "" {
			delete(labels, name)
		}
	}
	return labels
}

// proxy passes a request on to a node's agent, as the agent's own API has it, and the answer back.
func (s *Server) proxy(w http.ResponseWriter, r *request) error {
	ctx, cancel := context.WithTimeout(r.Context(), proxyTimeout)
	defer cancel()
	t, err := s.opts.Nodes.Find(ctx, r.namespace, r.name, r.PathValue("node"))
	if err != nil {
		return err
	}
	header := http.Header{}
	for _, name := range []string{"Accept", "Content-Type"} {
		if value := r.Header.Get(name); value != "" {
			header.Set(name, value)
		}
	}
	target := url.URL{Path: "/" + r.PathValue("path"), RawQuery: r.URL.RawQuery}
	resp, err := s.opts.Nodes.Open(ctx, t, r.Method, target.RequestURI(), header, http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return unreachable(t, err)
	}
	defer resp.Body.Close()
	// Read before the answer is begun, so that one that is cut short or too long is an error and no half truth.
	body, err := io.ReadAll(io.LimitReader(resp.Body, proxyBytes+1))
	if err == nil && len(body) > proxyBytes {
		err = fmt.Errorf("its answer is longer than the %d MiB that are passed on", proxyBytes>>20)
	}
	if err != nil {
		return unreachable(t, err)
	}
	if value := resp.Header.Get("Content-Type"); value != "" {
		w.Header().Set("Content-Type", value)
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(body) // a client that went away needs no answer
	return nil
}

// unreachable is the answer to a question that a node would have to answer and does not.
func unreachable(t node.Target, err error) error {
	return statusError(http.StatusBadGateway, metav1.StatusReason("NodeUnreachable"), fmt.Sprintf(
		"node %s of allocation %s (%s on cluster %s) does not answer the control plane: %v: the run goes on by the files of its job folder; see docs/monitoring.md for metrics of nodes that cannot be reached",
		t.Node, t.Allocation, t.Host, t.Cluster, err))
}
