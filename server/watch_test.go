package server_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/server"
	"github.com/benchd/benchd/store"
)

// watcher reads a watch over a real connection.
type watcher struct {
	t     testing.TB
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
