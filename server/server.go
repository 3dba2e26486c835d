// Package server offers the store over HTTP, in Kubernetes' URLs and wire conventions, so that kubectl works with it as
// it is: discovery, lists in pages, watches, patches, dry runs, Tables, and errors as Status objects.
//
// It is where users' writes are checked: a manifest is decoded strictly, compared with what it replaces, and admitted.
// Users cannot write a status through the object itself, and Allocations they can only look at and delete. Controllers
// do not come through here; they use the store.
//
// A write runs in one store transaction from the read to the write, so a patch never conflicts with another one, and a
// dry run is the very same transaction, rolled back at its end.
package server

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// Options of a Server. Store is needed; all else may be left out.
type Options struct {
	Store *store.Store
	// Version of benchd, as /version tells it.
	Version string
	// Registry is what /metrics shows; an empty one by default.
	Registry *prometheus.Registry
	// Ready says why the control plane is not ready to work, or nil. /readyz shows its answer.
	Ready func() error
	// Log gets what no client can be told; nothing is logged by default.
	Log *slog.Logger
	// Admit is asked about every spec that a user creates (old is nil) or changes, after its shape was found good.
	// It holds the rules that need to know services or a site, and may set defaults that need them. It runs inside the write transaction: it may read the
	// store, and must not write it or wait for anything.
	Admit func(obj, old api.Object) field.ErrorList
	// Nodes reaches the agents of live Allocations; by default there are none.
	Nodes Nodes
	// Now tells the time that ages are counted from; time.Now by default.
	Now func() time.Time
}

// Server answers requests from a store. It has no state of its own and is safe for concurrent use.
type Server struct {
	opts    Options
	store   *store.Store
	log     *slog.Logger
	openapi openapiDocument
	scraper *scraper
	handler http.Handler
}

// New makes a Server. It listens to nothing until ServeUnix or ServeTLS is called.
func New(opts Options) *Server {
	if opts.Registry == nil {
		opts.Registry = prometheus.NewRegistry()
	}
	if opts.Ready == nil {
		opts.Ready = func() error { return nil }
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Admit == nil {
		opts.Admit = func(_, _ api.Object) field.ErrorList { return nil }
	}
	if opts.Nodes == nil {
		opts.Nodes = noNodes{}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Server{
		opts: opts, store: opts.Store, log: opts.Log, openapi: newOpenAPI(opts.Version), scraper: newScraper(opts.Nodes, opts.Registry),
	}
	s.handler = s.guard(s.routes())
	return s
}

// Handler answers every path but /store/backup, and asks for no token: it is for a listener that is private already.
func (s *Server) Handler() http.Handler { return s.handler }

// routes is the map of the API.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	s.routeHealth(mux)
	s.routeDiscovery(mux)
	s.routeNodes(mux)
	for i := range resources {
		s.routeResource(mux, &resources[i])
	}
	mux.Handle("/api/v1/namespaces", s.endpoint(nil, verbs{http.MethodGet: s.listNamespaces}))
	mux.Handle("/api/v1/namespaces/{name}", s.endpoint(nil, verbs{http.MethodGet: s.getNamespace}))
	mux.Handle("/", s.endpoint(nil, verbs{}))
	return mux
}

func (s *Server) routeResource(mux *http.ServeMux, res *resource) {
	all := res.base() + "/" + res.plural
	if res.namespaced {
		mux.Handle(all, s.endpoint(res, verbs{http.MethodGet: s.list}))
		all = res.base() + "/namespaces/{namespace}/" + res.plural
	}
	collection := verbs{http.MethodGet: s.list, http.MethodDelete: s.deleteAll}
	object := verbs{http.MethodGet: s.get, http.MethodDelete: s.delete}
	status := verbs{http.MethodGet: s.get}
	switch res.writers {
	case users:
		collection[http.MethodPost] = s.create
		object[http.MethodPut], object[http.MethodPatch] = s.update, s.patch
		status[http.MethodPut], status[http.MethodPatch] = s.updateStatus, s.patchStatus
	case controllers:
		collection[http.MethodPost] = s.refuseWrite
		for _, v := range []verbs{object, status} {
			v[http.MethodPut], v[http.MethodPatch] = s.refuseWrite, s.refuseWrite
		}
	}
	mux.Handle(all, s.endpoint(res, collection))
	mux.Handle(all+"/{name}", s.endpoint(res, object))
	if res.hasStatus() {
		mux.Handle(all+"/{name}/status", s.endpoint(res, status))
	}
}
