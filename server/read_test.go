package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/server"
)

// page is a list of any kind.
type page struct {
	Kind     string
	Metadata metav1.ListMeta
	Items    []struct {
		Kind, APIVersion string
		Metadata         metav1.ObjectMeta
	}
}

func (f *fixture) list(target string) page {
	f.t.Helper()
	var p page
	f.get(target).want(http.StatusOK).into(&p)
	return p
}

func (p *page) names() string {
	var names []string
	for _, item := range p.Items {
		names = append(names, item.Metadata.Name)
	}
	return strings.Join(names, " ")
}

func TestList(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		f.create(name, map[string]any{"metadata.labels": map[string]string{"name": name, "all": "yes"}})
	}
	f.call(http.MethodPost, "/apis/benchd.dev/v1alpha1/namespaces/team/benchmarkruns", runJSON("t", nil)).want(http.StatusCreated)
	for query, want := range map[string]string{
		runs: "a b c d e",
		"/apis/benchd.dev/v1alpha1/benchmarkruns":                                          "a b c d e t",
		runs + "?limit=0":                                                                  "a b c d e",
		runs + "?labelSelector=name+in+(b,d)":                                              "b d",
		runs + "?labelSelector=name!%3Da&limit=2":                                          "b c",
		runs + "?fieldSelector=metadata.name%3Dc":                                          "c",
		runs + "?fieldSelector=metadata.name%3Dc&labelSelector=name%3Da":                   "",
		runs + "?fieldSelector=metadata.name%3Dnone":                                       "",
		runs + "?fieldSelector=metadata.name!%3Dc&limit=3":                                 "a b d",
		"/apis/benchd.dev/v1alpha1/benchmarkruns?fieldSelector=metadata.namespace%3Dteam":  "t",
		"/apis/benchd.dev/v1alpha1/benchmarkruns?fieldSelector=metadata.name%3Da&limit=10": "a",
		"/apis/benchd.dev/v1alpha1/clusters":                                               "",
	} {
		if p := f.list(query); p.names() != want || p.Items == nil {
			t.Errorf("%s lists %q, want %q", query, p.names(), want)
		}
	}
}

func TestListPages(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		f.create(name, nil)
	}
	first := f.list(runs + "?limit=2")
	f.create("z", nil)
	second := f.list(runs + "?limit=2&continue=" + first.Metadata.Continue)
	third := f.list(runs + "?limit=20&continue=" + second.Metadata.Continue)
	if got := strings.Join([]string{first.names(), second.names(), third.names()}, "|"); got != "a b|c d|e z" || third.Metadata.Continue != "" {
		t.Errorf("pages are %s", got)
	}
	if first.Kind != "BenchmarkRunList" || third.Metadata.ResourceVersion != first.Metadata.ResourceVersion {
		t.Error("a watch from the last page would miss what changed since the first")
	}
}

func TestReadRefused(t *testing.T) {
	f := newFixture(t)
	for name, r := range map[string]refusal{
		"no such object":     {target: runs + "/none", code: 404, reason: metav1.StatusReasonNotFound, message: `benchmarkruns.benchd.dev "none" not found`},
		"no such path":       {target: "/nowhere", code: 404, reason: metav1.StatusReasonNotFound, message: "/nowhere"},
		"label selector":     {target: runs + "?labelSelector=a=(", code: 400, reason: metav1.StatusReasonBadRequest, message: "labelSelector"},
		"field selector":     {target: runs + "?fieldSelector=a", code: 400, reason: metav1.StatusReasonBadRequest, message: "fieldSelector"},
		"unknown field":      {target: runs + "?fieldSelector=spec.x%3D1", code: 400, reason: metav1.StatusReasonBadRequest, message: "use metadata.name, metadata.namespace"},
		"limit":              {target: runs + "?limit=-1", code: 400, reason: metav1.StatusReasonBadRequest, message: "limit"},
		"continue":           {target: runs + "?continue=x", code: 400, reason: metav1.StatusReasonBadRequest, message: "from the start"},
		"continue's inside":  {target: runs + "?continue=1.x", code: 400, reason: metav1.StatusReasonBadRequest, message: "from the start"},
		"version of a watch": {target: runs + "?watch=true&resourceVersion=x", code: 400, reason: metav1.StatusReasonBadRequest},
		"timeout of a watch": {target: runs + "?watch=true&timeoutSeconds=x", code: 400, reason: metav1.StatusReasonBadRequest},
		"version to come":    {target: runs + "?watch=true&resourceVersion=99", code: 410, reason: metav1.StatusReasonExpired, message: "list again"},
		"initial events":     {target: runs + "?watch=true&sendInitialEvents=true", code: 422, reason: metav1.StatusReasonInvalid},
		"method":             {method: http.MethodPut, target: runs, code: 405, reason: metav1.StatusReasonMethodNotAllowed},
		"backup over TCP":    {target: "/store/backup", code: 404, reason: metav1.StatusReasonNotFound},
		"no such namespace":  {target: "/api/v1/namespaces/none", code: 404, reason: metav1.StatusReasonNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			f.t = t
			if r.method == "" {
				r.method = http.MethodGet
			}
			f.refuses(r)
		})
	}
}

func TestEvents(t *testing.T) {
	f := newFixture(t)
	f.create("one", nil)
	run := event(t, f.store, "one")
	event(t, f.store, f.create("other", nil).Name)
	about := "fieldSelector=involvedObject.name%3Done,involvedObject.namespace%3Ddefault,involvedObject.kind%3DBenchmarkRun"
	for _, query := range []string{about, about + ",involvedObject.uid%3D" + string(run.UID)} {
		p := f.list(events + "?" + query)
		if len(p.Items) != 1 || p.Items[0].APIVersion != "v1" || p.Items[0].Kind != "Event" {
			t.Errorf("%s lists %+v", query, p)
		}
	}
	if p := f.list("/apis/benchd.dev/v1alpha1/events"); len(p.Items) != 2 || p.Items[0].APIVersion != api.GroupVersion.String() {
		t.Errorf("the group's events are %+v", p)
	}
}

func TestPretty(t *testing.T) {
	f := newFixture(t)
	f.create("one", nil)
	if body := string(f.get(runs + "/one?pretty=true").body); !strings.HasPrefix(body, "{\n  \"kind\"") {
		t.Errorf("not pretty: %s", body)
	}
}

func TestDiscovery(t *testing.T) {
	f := newFixture(t)
	f.call(http.MethodPost, "/apis/benchd.dev/v1alpha1/namespaces/team/benchmarkruns", runJSON("t", nil)).want(http.StatusCreated)
	for target, want := range map[string][]string{
		"/api":                             {`"versions":["v1"]`},
		"/api/v1":                          {`"name":"events"`, `"name":"namespaces"`},
		"/apis":                            {`"name":"benchd.dev"`, `"groupVersion":"benchd.dev/v1alpha1"`},
		"/apis/benchd.dev":                 {`"preferredVersion"`},
		"/apis/benchd.dev/v1alpha1":        {`"shortNames":["run","runs","br"]`, `"name":"benchmarkruns/status"`, `"shortNames":["alloc"]`, `"name":"clusters","singularName":"cluster","namespaced":false`},
		"/version":                         {`"gitVersion":"v0.1.0"`, `"major":"0"`, `"minor":"1"`},
		"/openapi/v2":                      {`"dryRun"`, `"swagger":"2.0"`},
		"/healthz":                         {"ok"},
		"/livez":                           {"ok"},
		"/readyz":                          {"ok"},
		"/api/v1/namespaces":               {`"name":"default"`, `"name":"team"`},
		"/api/v1/namespaces/team":          {`"phase":"Active"`},
		"/apis/benchd.dev/v1alpha1/events": {`"kind":"EventList"`},
	} {
		for _, word := range want {
			if body := string(f.get(target).want(http.StatusOK).body); !strings.Contains(body, word) {
				t.Errorf("%s does not hold %s: %s", target, word, body)
			}
		}
	}
	if a := f.call(http.MethodGet, "/openapi/v2", "", "Accept", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"); !strings.Contains(a.header.Get("Content-Type"), "protobuf") {
		t.Errorf("kubectl gets no protobuf: %v", a.header)
	}
}

func TestReadyAndMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "benchd_test"}))
	srv := server.New(server.Options{Store: openStore(t), Registry: registry, Ready: func() error { return http.ErrServerClosed }})
	f := &fixture{t: t, http: srv.Handler()}
	if body := string(f.get("/readyz").want(http.StatusServiceUnavailable).body); !strings.Contains(body, http.ErrServerClosed.Error()) {
		t.Errorf("/readyz does not say why: %s", body)
	}
	if body := string(f.get("/metrics").want(http.StatusOK).body); !strings.Contains(body, "benchd_test 0") {
		t.Errorf("/metrics shows %s", body)
	}
}

func TestPanicIsAnswered(t *testing.T) {
	st := openStore(t)
	srv := server.New(server.Options{Store: st, Admit: func(_, _ api.Object) field.ErrorList { panic("boom") }})
	f := &fixture{t: t, store: st, http: srv.Handler()}
	f.refuses(refusal{method: http.MethodPost, target: runs, body: runJSON("one", nil), code: 500, reason: metav1.StatusReasonInternalError, message: "boom"})
	put(f, api.KindCluster, "still-works", func(*api.Cluster) {})
}
