package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/server"
	"github.com/benchd/benchd/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a server with a store, and a client of it over its socket.
type fixture struct {
	*client.Client
	store    *store.Store
	endpoint client.Endpoint
}

func newFixture(t *testing.T, opts server.Options) *fixture {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	socket := filepath.Join(t.TempDir(), "run", "s")
	l, err := server.ListenUnix(socket, false)
	if err != nil {
		t.Fatal(err)
	}
	opts.Store, opts.Version = st, "v0.1.0"
	serve(t, func(ctx context.Context) error { return server.New(opts).ServeUnix(ctx, l) })
	e := client.Endpoint{Socket: socket}
	return &fixture{connect(t, e), st, e}
}

// serve runs a server until the test ends.
func serve(t *testing.T, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server ended with: %v", err)
		}
	})
}

// serveTLS serves over TLS too, and says how to get there.
func serveTLS(t *testing.T, opts server.Options) client.Endpoint {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "https://" + l.Addr().String()
	creds, err := server.MakeCredentials(filepath.Join(t.TempDir(), "tls"), url)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, func(ctx context.Context) error {
		return server.New(opts).ServeTLS(ctx, l, creds.CertFile, creds.KeyFile, creds.Token)
	})
	return client.Endpoint{URL: url, Token: creds.Token, CAFile: creds.CertFile}
}

func connect(t *testing.T, e client.Endpoint) *client.Client {
	t.Helper()
	c, err := client.New(e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func newRun(name string, edit func(*api.BenchmarkRun)) *api.BenchmarkRun {
	run, ok := api.New(api.KindBenchmarkRun).(*api.BenchmarkRun)
	if !ok {
		panic("a run has another type")
	}
	run.Name = name
	run.Spec.Service = api.ServiceSpec{Name: "dummy", Model: "tiny"}
	run.Spec.Workload.Duration = metav1.Duration{Duration: 2 * time.Second}
	if edit != nil {
		edit(run)
	}
	return run
}

func (f *fixture) create(t *testing.T, name string, edit func(*api.BenchmarkRun)) *api.BenchmarkRun {
	t.Helper()
	obj, err := f.Create(t.Context(), newRun(name, edit))
	if err != nil {
		t.Fatal(err)
	}
	run, ok := obj.(*api.BenchmarkRun)
	if !ok {
		t.Fatalf("got a %T", obj)
	}
	return run
}

func names(items []api.Object) string {
	var list []string
	for _, obj := range items {
		list = append(list, obj.GetName())
	}
	return strings.Join(list, " ")
}

func TestObjects(t *testing.T) {
	f := newFixture(t, server.Options{})
	ctx := t.Context()
	run := f.create(t, "one", nil)
	if run.UID == "" || run.Namespace != api.DefaultNamespace {
		t.Errorf("created %+v", run.ObjectMeta)
	}
	if _, err := f.Create(ctx, newRun("one", nil)); !apierrors.IsAlreadyExists(err) {
		t.Errorf("second create: %v", err)
	}
	if _, err := f.Create(ctx, newRun("two", func(r *api.BenchmarkRun) { r.Spec.Slurm.TimeLimit = "soon" })); !apierrors.IsInvalid(err) {
		t.Errorf("create of what is invalid: %v", err)
	}
	if _, err := f.Get(ctx, api.KindBenchmarkRun, "", "none"); !apierrors.IsNotFound(err) {
		t.Errorf("get of what is not there: %v", err)
	}
	run.Spec.Workload.Duration.Duration = time.Minute
	replaced, err := f.Replace(ctx, run)
	if err != nil || replaced.GetGeneration() != 2 {
		t.Errorf("replaced: %+v %v", replaced, err)
	}
	if _, err := f.Replace(ctx, run); !apierrors.IsConflict(err) {
		t.Errorf("replace of an old version: %v", err)
	}
	patched, err := f.Patch(ctx, api.KindBenchmarkRun, "", "one", map[string]any{"spec": map[string]any{"cancel": true}})
	if cancelled, ok := patched.(*api.BenchmarkRun); err != nil || !ok || !cancelled.Spec.Cancel {
		t.Errorf("patched: %+v %v", patched, err)
	}
	if _, err := f.Delete(ctx, api.KindBenchmarkRun, "", "one", "other-uid"); !apierrors.IsConflict(err) {
		t.Errorf("delete of another uid: %v", err)
	}
	if gone, err := f.Delete(ctx, api.KindBenchmarkRun, "", "one", string(run.UID)); gone || err != nil {
		t.Errorf("a run with a finalizer: gone %t, %v", gone, err)
	}
	if _, err := f.Patch(ctx, api.KindBenchmarkRun, "", "one", []byte(`{"metadata":{"finalizers":null}}`)); err != nil {
		t.Error(err)
	}
	if _, err := f.Get(ctx, api.KindBenchmarkRun, "", "one"); !apierrors.IsNotFound(err) {
		t.Errorf("the run is still there: %v", err)
	}
	cluster := api.New(api.KindCluster)
	cluster.SetName("c")
	if _, err := f.Create(ctx, cluster); err != nil {
		t.Error(err)
	}
	if gone, err := f.Delete(ctx, api.KindCluster, "", "c", ""); !gone || err != nil {
		t.Errorf("a cluster: gone %t, %v", gone, err)
	}
}

func TestListFollowsPages(t *testing.T) {
	f := newFixture(t, server.Options{})
	const count = 1203
	if err := f.store.Update(t.Context(), func(tx *store.Tx) error {
		for i := range count {
			run := newRun(fmt.Sprintf("run-%04d", i), nil)
			run.Namespace, run.Labels = api.DefaultNamespace, map[string]string{"third": fmt.Sprint(i%3 == 0)}
			if err := tx.Create(run); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		opts client.ListOptions
		want int
	}{
		{client.ListOptions{}, count},
		{client.ListOptions{Namespace: "other"}, 0},
		{client.ListOptions{Limit: 700}, 700},
		{client.ListOptions{LabelSelector: "third=true"}, 401},
		{client.ListOptions{Namespace: "default", FieldSelector: "metadata.name=run-0007"}, 1},
	} {
		list, err := f.List(t.Context(), api.KindBenchmarkRun, c.opts)
		if err != nil || len(list.Items) != c.want || list.ResourceVersion == "" {
			t.Errorf("%+v lists %d, want %d: %v", c.opts, len(list.Items), c.want, err)
		}
		table, err := f.Table(t.Context(), api.KindBenchmarkRun, c.opts)
		if err != nil || len(table.Rows) != c.want {
			t.Errorf("%+v shows %d rows, want %d: %v", c.opts, len(table.Rows), c.want, err)
		}
	}
	if table, err := f.TableOf(t.Context(), api.KindBenchmarkRun, "", "run-0007"); err != nil || len(table.Rows) != 1 {
		t.Errorf("one object shows %+v: %v", table, err)
	}
	if _, err := f.List(t.Context(), "Pod", client.ListOptions{}); err == nil {
		t.Error("listed an unknown kind")
	}
}

func TestDeleteAll(t *testing.T) {
	f := newFixture(t, server.Options{})
	for _, name := range []string{"a", "b", "c"} {
		cluster := api.New(api.KindCluster)
		cluster.SetName(name)
		cluster.SetLabels(map[string]string{"name": name})
		if _, err := f.Create(t.Context(), cluster); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.DeleteAll(t.Context(), api.KindCluster, client.ListOptions{LabelSelector: "name!=b"}); err != nil {
		t.Error(err)
	}
	if list, err := f.List(t.Context(), api.KindCluster, client.ListOptions{}); err != nil || names(list.Items) != "b" {
		t.Errorf("left are %s: %v", names(list.Items), err)
	}
}

func TestWatch(t *testing.T) {
	f := newFixture(t, server.Options{})
	f.create(t, "one", nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	list, err := f.List(ctx, api.KindBenchmarkRun, client.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := f.Watch(ctx, api.KindBenchmarkRun, client.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := f.WatchTable(ctx, api.KindBenchmarkRun, client.ListOptions{Namespace: "default", ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	if ev := <-all; ev.Type != watch.Added || ev.Object.GetName() != "one" {
		t.Errorf("first event %+v", ev)
	}
	f.create(t, "two", nil)
	if ev := <-all; ev.Type != watch.Added || ev.Object.GetName() != "two" {
		t.Errorf("second event %+v", ev)
	}
	if ev := <-rows; ev.Type != watch.Added || ev.Table.Rows[0].Cells[0] != "two" {
		t.Errorf("row %+v", ev)
	}
	cancel()
	for range all {
		t.Error("an event after the end")
	}
	for range rows {
		t.Error("a row after the end")
	}
	if _, err := f.Watch(t.Context(), api.KindBenchmarkRun, client.ListOptions{ResourceVersion: "9999"}); !apierrors.IsResourceExpired(err) {
		t.Errorf("watch from a version to come: %v", err)
	}
}

func TestWatchThatBreaks(t *testing.T) {
	f := newFixture(t, server.Options{})
	changes, err := f.Watch(t.Context(), api.KindCluster, client.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	if ev := <-changes; !apierrors.IsResourceExpired(ev.Err) {
		t.Errorf("the last event is %+v", ev)
	}
	if ev, open := <-changes; open {
		t.Errorf("an event after the last: %+v", ev)
	}
}

func TestServerItself(t *testing.T) {
	f := newFixture(t, server.Options{Ready: func() error { return errors.New("slurm is away") }})
	if info, err := f.Version(t.Context()); err != nil || info.GitVersion != "v0.1.0" {
		t.Errorf("version %+v: %v", info, err)
	}
	if err := f.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "slurm is away") || errors.Is(err, client.ErrNoServer) {
		t.Errorf("ready: %v", err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	var copied bytes.Buffer
	n, err := f.Backup(t.Context(), &copied)
	if err != nil || n != int64(copied.Len()) {
		t.Fatalf("backup of %d bytes, %d got: %v", n, copied.Len(), err)
	}
	if err := os.WriteFile(path, copied.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if again.HomeID() != f.store.HomeID() {
		t.Error("the backup is of another store")
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestNoServer(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "https://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, e := range []client.Endpoint{{Socket: filepath.Join(t.TempDir(), "none")}, {URL: url}} {
		if _, err := connect(t, e).Version(t.Context()); !errors.Is(err, client.ErrNoServer) || !strings.Contains(err.Error(), "benchd serve") {
			t.Errorf("%v: %v", e, err)
		}
	}
	for _, e := range []client.Endpoint{{}, {URL: "http://login1:1"}, {URL: "https://login1:1", CAFile: "none"}} {
		if _, err := client.New(e); err == nil {
			t.Errorf("made a client of %+v", e)
		}
	}
}

// A name that is empty is told as such, and nothing is asked of the server.
func TestEmptyName(t *testing.T) {
	c := connect(t, client.Endpoint{Socket: filepath.Join(t.TempDir(), "none")})
	if _, err := c.Get(t.Context(), api.KindBenchmarkSweep, "", ""); err == nil || !strings.Contains(err.Error(), "benchmarksweeps is empty") {
		t.Errorf("%v", err)
	}
}

func TestTLS(t *testing.T) {
	f := newFixture(t, server.Options{})
	good := serveTLS(t, server.Options{Store: f.store})
	if _, err := connect(t, good).Create(t.Context(), newRun("one", nil)); err != nil {
		t.Errorf("with token and certificate: %v", err)
	}
	if _, err := connect(t, client.Endpoint{URL: good.URL, Token: "wrong", CAFile: good.CAFile}).Version(t.Context()); !apierrors.IsUnauthorized(err) {
		t.Errorf("with a wrong token: %v", err)
	}
	if _, err := connect(t, client.Endpoint{URL: good.URL, Token: good.Token}).Version(t.Context()); err == nil || errors.Is(err, client.ErrNoServer) {
		t.Errorf("without the certificate: %v", err)
	}
	if _, err := connect(t, good).Backup(t.Context(), &bytes.Buffer{}); !apierrors.IsNotFound(err) {
		t.Errorf("backup over the network: %v", err)
	}
}
