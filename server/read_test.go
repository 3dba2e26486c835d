package server_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/server"
	"github.com/benchd/benchd/store"
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

// watcher reads a watch over a real connection.
type watcher struct {
	t     *testing.T
	lines *json.Decoder
}

func (f *fixture) watch(target string, headers ...string) *watcher {
	f.t.Helper()
	srv := httptest.NewServer(f.http)
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, srv.URL+target, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = resp.Body.Close(); srv.CloseClientConnections(); srv.Close() })
	if resp.StatusCode != http.StatusOK {
		f.t.Fatalf("watch %s: %s", target, resp.Status)
	}
	return &watcher{f.t, json.NewDecoder(resp.Body)}
}

// expect reads one event and compares its type and its object's name.
func (w *watcher) expect(kind, name string) json.RawMessage {
	w.t.Helper()
	var ev struct {
		Type   string
		Object json.RawMessage
	}
	if err := w.lines.Decode(&ev); err != nil {
		w.t.Fatalf("watch ended before %s %s: %v", kind, name, err)
	}
	var head struct{ Metadata metav1.ObjectMeta }
	if err := json.Unmarshal(ev.Object, &head); err != nil {
		w.t.Fatal(err)
	}
	if ev.Type != kind || head.Metadata.Name != name {
		w.t.Fatalf("watch shows %s %q, want %s %q: %s", ev.Type, head.Metadata.Name, kind, name, ev.Object)
	}
	return ev.Object
}

func TestWatch(t *testing.T) {
	f := newFixture(t)
	f.create("one", map[string]any{"metadata.labels": map[string]string{"team": "a"}})
	version := f.list(runs).Metadata.ResourceVersion
	all := f.watch(runs + "?watch=true&allowWatchBookmarks=true")
	after := f.watch(runs + "?watch=1&resourceVersion=" + version)
	team := f.watch(runs + "?watch=true&labelSelector=team%3Da")
	named := f.watch(runs + "?watch=true&resourceVersion=0&fieldSelector=metadata.name%3Dtwo")

	all.expect("ADDED", "one")
	team.expect("ADDED", "one")
	f.create("two", nil)
	for _, w := range []*watcher{all, after, named} {
		w.expect("ADDED", "two")
	}
	f.patch(mergePatch, runs+"/one", `{"metadata":{"labels":{"team":"b"}}}`).want(http.StatusOK)
	all.expect("MODIFIED", "one")
	after.expect("MODIFIED", "one")
	team.expect("DELETED", "one") // it left the selector
	f.patch(mergePatch, runs+"/two", `{"metadata":{"finalizers":null}}`).want(http.StatusOK)
	f.call(http.MethodDelete, runs+"/two", "").want(http.StatusOK)
	named.expect("MODIFIED", "two")
	named.expect("DELETED", "two")
}

func TestWatchTable(t *testing.T) {
	f := newFixture(t)
	f.create("one", nil)
	var table metav1.Table
	if err := json.Unmarshal(f.watch(runs+"?watch=true", "Accept", asTable).expect("ADDED", ""), &table); err != nil {
		t.Fatal(err)
	}
	if len(table.Rows) != 1 || table.Rows[0].Cells[0] != "one" {
		t.Errorf("the table is %+v", table)
	}
}

func TestWatchEnds(t *testing.T) {
	f := newFixture(t)
	if err := f.watch(runs + "?watch=true&timeoutSeconds=1").lines.Decode(&struct{}{}); err == nil || err.Error() != "EOF" {
		t.Errorf("a watch whose time is up ends with %v", err)
	}
}

// TestWatchExpired lets a watcher's version fall out of what the store keeps.
func TestWatchExpired(t *testing.T) {
	f := newFixture(t)
	cluster := put(f, api.KindCluster, "c", func(*api.Cluster) {})
	if err := f.store.Update(t.Context(), func(tx *store.Tx) error {
		for i := range 10_100 {
			cluster.Spec.MaxQueued = int32(i)
			if err := tx.Put(cluster); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	f.refuses(refusal{method: http.MethodGet, target: clusters + "?watch=true&resourceVersion=1", code: 410, reason: metav1.StatusReasonExpired, message: "list again"})
}

// TestWatchOfClosedStore sees the stream end with an error that makes clients start anew.
func TestWatchOfClosedStore(t *testing.T) {
	st, err := store.Open(t.TempDir()+"/store.db", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, store: st, http: server.New(server.Options{Store: st}).Handler()}
	w := f.watch(clusters + "?watch=true")
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	var status metav1.Status
	if err := json.Unmarshal(w.expect("ERROR", ""), &status); err != nil || status.Reason != metav1.StatusReasonExpired {
		t.Errorf("the stream ended with %+v, %v", status, err)
	}
}

func TestTables(t *testing.T) {
	f := newFixture(t)
	f.create("new", nil)
	f.create("failed", nil)
	f.setStatus(f.stored("failed"), func(st *api.BenchmarkRunStatus) {
		st.Phase = api.RunFailed
		st.Outcome = &api.Outcome{Result: api.ResultFailed, Reason: "ServerUnhealthy", Message: "no answer"}
		st.Attempts = []api.Attempt{{Number: 1, JobID: "7"}}
	})
	f.create("done", nil)
	f.setStatus(f.stored("done"), func(st *api.BenchmarkRunStatus) {
		st.Phase = api.RunCompleted
		st.Summary = &api.Summary{RequestThroughput: 12.345, OutputTokenThroughput: 1580.4, TTFTP50: 0.0451, TTFTP99: 1.25, ErrorRate: 0.005, Verdict: "Healthy"}
	})
	put(f, api.KindAllocation, "alloc", func(a *api.Allocation) {
		a.Status = api.AllocationStatus{Phase: api.AllocationQueued, JobID: "7", Job: &api.JobStatus{State: "PENDING", Reason: "Resources"}}
	})
	put(f, api.KindCluster, "c", func(c *api.Cluster) { c.Spec.Type = api.ClusterSlurm })
	event(t, f.store, "done")

	for target, want := range map[string][]any{
		runs + "/new":    {"new", "Pending", "", "dummy", "tiny", 2.0, "<none>", "<none>", "<none>", "<none>", "<none>", "<none>", "<none>", "<none>"},
		runs + "/failed": {"failed", "Failed (ServerUnhealthy)", "", "dummy", "tiny", 2.0, "<none>", "<none>", "<none>", "<none>", "<none>", "<none>", "no answer", "7"},
		runs + "/done":   {"done", "Completed", "", "dummy", "tiny", 2.0, "12.3", "1580", "45.1ms", "1.25s", "0.5%", "Healthy", "<none>", "<none>"},
		allocs:           {"alloc", "Queued", "", "7", "PENDING", 0.0, "Resources"},
		clusters:         {"c", "slurm", "<none>", "Unknown", ""},
	} {
		var table metav1.Table
		f.call(http.MethodGet, target, "", "Accept", asTable).want(http.StatusOK).into(&table)
		if len(table.Rows) != 1 {
			t.Fatalf("%s shows %d rows", target, len(table.Rows))
		}
		cells := table.Rows[0].Cells
		age := slices.IndexFunc(table.ColumnDefinitions, func(c metav1.TableColumnDefinition) bool { return c.Name == "Age" })
		cells[age] = ""
		if !slices.Equal(cells, want) {
			t.Errorf("%s shows\n%v, want\n%v", target, cells, want)
		}
	}
	var table metav1.Table
	f.call(http.MethodGet, events, "", "Accept", asTable).want(http.StatusOK).into(&table)
	if got := table.Rows[0].Cells[1:5]; !slices.Equal(got, []any{"Normal", "Queued", "benchmarkrun/done", "the job waits for nodes"}) {
		t.Errorf("events show %v", got)
	}
}

func TestTableObjects(t *testing.T) {
	f := newFixture(t)
	f.create("one", nil)
	for include, want := range map[string]string{"": "PartialObjectMetadata", "Metadata": "PartialObjectMetadata", "Object": "BenchmarkRun", "None": ""} {
		var table metav1.Table
		f.call(http.MethodGet, runs+"?includeObject="+include, "", "Accept", asTable).want(http.StatusOK).into(&table)
		var head metav1.TypeMeta
		if raw := table.Rows[0].Object.Raw; string(raw) != "null" && raw != nil {
			if err := json.Unmarshal(raw, &head); err != nil {
				t.Fatal(err)
			}
		}
		if head.Kind != want {
			t.Errorf("includeObject=%s comes with a %q", include, head.Kind)
		}
	}
	f.call(http.MethodGet, runs+"?includeObject=Some", "", "Accept", asTable).want(http.StatusBadRequest)
	var list page
	f.call(http.MethodGet, runs, "", "Accept", "application/json,"+asTable).want(http.StatusOK).into(&list)
	if list.Kind != "BenchmarkRunList" {
		t.Errorf("a client that prefers objects gets a %s", list.Kind)
	}
}

func TestRunPhaseColumn(t *testing.T) {
	f := newFixture(t)
	for want, status := range map[string]api.BenchmarkRunStatus{
		"Executing 45%":          {Phase: api.RunExecuting, Progress: &api.Progress{Percent: 45}},
		"TearingDown (NodeLost)": {Phase: api.RunTearingDown, Outcome: &api.Outcome{Result: api.ResultFailed, Reason: "NodeLost"}},
		"Cancelled":              {Phase: api.RunCancelled, Outcome: &api.Outcome{Result: api.ResultCancelled, Reason: "Cancelled"}},
		"Reporting":              {Phase: api.RunReporting, Outcome: &api.Outcome{Result: api.ResultSucceeded, Reason: "Done"}},
		"Deploying, deleting":    {Phase: api.RunDeploying},
	} {
		run := put(f, api.KindBenchmarkRun, "one", func(r *api.BenchmarkRun) { r.Status = status; r.Finalizers = []string{api.FinalizerCluster} })
		if strings.Contains(want, "deleting") {
			f.call(http.MethodDelete, runs+"/one", "").want(http.StatusOK)
		}
		var table metav1.Table
		f.call(http.MethodGet, runs, "", "Accept", asTable).want(http.StatusOK).into(&table)
		if got := table.Rows[0].Cells[1]; got != want {
			t.Errorf("phase shows %q, want %q", got, want)
		}
		f.patch(mergePatch, runs+"/one/status", `{}`)
		run.ResourceVersion, run.Finalizers = "", nil
		if err := f.store.Put(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		if _, err := f.store.Delete(t.Context(), api.KindBenchmarkRun, run.Namespace, run.Name, ""); err != nil && !strings.Contains(want, "deleting") {
			t.Fatal(err)
		}
	}
}

func TestAges(t *testing.T) {
	st := openStore(t)
	srv := server.New(server.Options{Store: st, Now: func() time.Time { return time.Now().Add(3 * time.Hour) }})
	f := &fixture{t: t, store: st, http: srv.Handler()}
	put(f, api.KindCluster, "c", func(*api.Cluster) {})
	var table metav1.Table
	f.call(http.MethodGet, clusters, "", "Accept", asTable).want(http.StatusOK).into(&table)
	if got := table.Rows[0].Cells[4]; got != "3h" && got != "3h0m" {
		t.Errorf("age shows %q", got)
	}
}
