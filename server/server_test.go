package server_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/server"
	"github.com/benchd/benchd/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	runs     = "/apis/benchd.dev/v1alpha1/namespaces/default/benchmarkruns"
	clusters = "/apis/benchd.dev/v1alpha1/clusters"
	allocs   = "/apis/benchd.dev/v1alpha1/namespaces/default/allocations"
	events   = "/api/v1/namespaces/default/events"

	asTable    = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
	mergePatch = "application/merge-patch+json"
	jsonPatch  = "application/json-patch+json"
)

// openStore opens a store that lasts as long as the test.
func openStore(t testing.TB) *store.Store {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

// fixture is a server under test and the store behind it.
type fixture struct {
	t     testing.TB
	store *store.Store
	http  http.Handler
}

func newFixture(t testing.TB) *fixture {
	st := openStore(t)
	srv := server.New(server.Options{
		Store: st, Version: "v0.1.0",
		Admit: func(obj, _ api.Object) field.ErrorList {
			if run, ok := obj.(*api.BenchmarkRun); ok && run.Spec.Service.Name == "unknown" {
				return field.ErrorList{field.NotSupported(field.NewPath("spec", "service", "name"), "unknown", []string{"dummy"})}
			}
			return nil
		},
	})
	return &fixture{t: t, store: st, http: srv.Handler()}
}

// runJSON is a manifest of a run. Each edit sets a field of the document, by its path with dots.
func runJSON(name string, edits map[string]any) string {
	doc := map[string]any{
		"apiVersion": "benchd.dev/v1alpha1", "kind": "BenchmarkRun", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"service": map[string]any{"name": "dummy", "model": "tiny"}, "workload": map[string]any{"duration": "2s"}},
	}
	for path, value := range edits {
		at, keys := doc, strings.Split(path, ".")
		for _, key := range keys[:len(keys)-1] {
			next, ok := at[key].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[key] = next
			}
			at = next
		}
		at[keys[len(keys)-1]] = value
	}
	data, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// answer is what came back.
type answer struct {
	t      testing.TB
	code   int
	header http.Header
	body   []byte
}

func (a *answer) into(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("answer is not JSON: %v\n%s", err, a.body)
	}
}

func (a *answer) run() *api.BenchmarkRun {
	a.t.Helper()
	var run api.BenchmarkRun
	a.into(&run)
	return &run
}

func (a *answer) status() metav1.Status {
	a.t.Helper()
	var st metav1.Status
	a.into(&st)
	if st.Kind != "Status" {
		a.t.Fatalf("answer is no Status: %s", a.body)
	}
	return st
}

// want checks the code and returns the answer.
func (a *answer) want(code int) *answer {
	a.t.Helper()
	if a.code != code {
		a.t.Fatalf("code %d, want %d: %s", a.code, code, a.body)
	}
	return a
}

// call sends a request. Headers are given as name, value pairs.
func (f *fixture) call(method, target, body string, headers ...string) *answer {
	f.t.Helper()
	req := httptest.NewRequestWithContext(f.t.Context(), method, target, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	f.http.ServeHTTP(rec, req)
	data, err := io.ReadAll(rec.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return &answer{t: f.t, code: rec.Code, header: rec.Header(), body: data}
}

func (f *fixture) get(target string) *answer {
	f.t.Helper()
	return f.call(http.MethodGet, target, "")
}

func (f *fixture) patch(mediaType, target, body string) *answer {
	f.t.Helper()
	return f.call(http.MethodPatch, target, body, "Content-Type", mediaType)
}

// create stores a run by the API.
func (f *fixture) create(name string, edits map[string]any) *api.BenchmarkRun {
	f.t.Helper()
	return f.call(http.MethodPost, runs, runJSON(name, edits)).want(http.StatusCreated).run()
}

// stored reads a run from the store.
func (f *fixture) stored(name string) *api.BenchmarkRun {
	f.t.Helper()
	obj, err := f.store.Get(f.t.Context(), api.KindBenchmarkRun, api.DefaultNamespace, name)
	if err != nil {
		f.t.Fatal(err)
	}
	run, ok := obj.(*api.BenchmarkRun)
	if !ok {
		f.t.Fatalf("got a %T", obj)
	}
	return run
}

// put stores an object as a controller does.
func put[T api.Object](f *fixture, kind, name string, edit func(T)) T {
	f.t.Helper()
	obj, ok := api.New(kind).(T)
	if !ok {
		f.t.Fatalf("kind %s has another type", kind)
	}
	obj.SetName(name)
	if api.Namespaced(kind) {
		obj.SetNamespace(api.DefaultNamespace)
	}
	if edit != nil {
		edit(obj)
	}
	if err := f.store.Create(f.t.Context(), obj); err != nil {
		f.t.Fatal(err)
	}
	return obj
}

// setStatus changes a run's status as a controller does.
func (f *fixture) setStatus(run *api.BenchmarkRun, edit func(*api.BenchmarkRunStatus)) {
	f.t.Helper()
	edit(&run.Status)
	if err := f.store.PutStatus(f.t.Context(), run); err != nil {
		f.t.Fatal(err)
	}
}
