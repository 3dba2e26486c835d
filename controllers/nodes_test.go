package controllers

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/slurmadapter"
	"github.com/benchd/benchd/store"

	"github.com/benchd/benchd/api/node"
)

// reachable is a cluster whose nodes can be connected to.
type reachable struct{ *fakeCluster }

func (reachable) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// nodesWorld is a manager that does not run, with clusters c and files, and a job folder.
func nodesWorld(t *testing.T) (*store.Store, *Nodes, node.Folder) {
	t.Helper()
	home := t.TempDir()
	binary := filepath.Join(home, "benchd")
	if err := os.WriteFile(binary, []byte("a binary"), 0o700); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(filepath.Join(home, "benchd.db"), store.Options{Live: api.Live})
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(Config{
		Store: st, Home: home, Binary: binary, Log: slog.New(slog.DiscardHandler),
		NewCluster: func(*api.Cluster, string, string) (Cluster, error) {
			return reachable{&fakeCluster{jobs: map[string]*slurmadapter.Job{}}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Nodes().close()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, access := range map[string]api.NodeAccess{"c": api.NodeAccessAuto, "files": api.NodeAccessFiles} {
		c := &api.Cluster{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: api.ClusterSpec{NodeAccess: access}}
		c.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindCluster))
		api.SetDefaults(c)
		if err := st.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	folder := node.Folder(filepath.Join(home, "job"))
	if err := os.MkdirAll(folder.Orders(), 0o700); err != nil {
		t.Fatal(err)
	}
	return st, m.Nodes(), folder
}

// putAllocation stores one with a status.
func putAllocation(t *testing.T, st *store.Store, name, cluster string, status api.AllocationStatus) *api.Allocation {
	t.Helper()
	a := &api.Allocation{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: api.AllocationSpec{Cluster: cluster, Service: api.ServiceSpec{Name: "vllm"}}}
	a.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindAllocation))
	if err := st.Create(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	a.Status = status
	if err := st.PutStatus(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return a
}

func order(t *testing.T, folder node.Folder, number int32, run, uid string) {
	t.Helper()
	if err := node.WriteSealed(folder.Order(number), node.Order{Number: number, Run: api.ObjectRef{Name: run, UID: uid}}); err != nil {
		t.Fatal(err)
	}
}

func TestNodesOfLiveAllocations(t *testing.T) {
	st, nodes, folder := nodesWorld(t)
	two := []api.NodeStatus{{Rank: 0, Name: "n1", Roles: []string{"server"}, Executor: "https://10.0.0.1:6000"}, {Rank: 1, Name: "n2", Roles: []string{"client"}, Executor: "https://10.0.0.2:6001"}}
	putAllocation(t, st, "queued", "c", api.AllocationStatus{Phase: api.AllocationQueued})
	putAllocation(t, st, "over", "c", api.AllocationStatus{Phase: api.AllocationReleased, Nodes: two})
	a := putAllocation(t, st, "live", "c", api.AllocationStatus{Phase: api.AllocationReady, Folder: string(folder), Nodes: two})

	want := []node.Target{
		{Namespace: "default", Allocation: "live", UID: a.UID, Cluster: "c", Service: "vllm", Folder: folder, Node: "n1", Roles: []string{"server"}, Host: "10.0.0.1:6000", Runs: map[string]string{}},
		{Namespace: "default", Allocation: "live", UID: a.UID, Cluster: "c", Service: "vllm", Folder: folder, Node: "n2", Roles: []string{"client"}, Host: "10.0.0.2:6001", Runs: map[string]string{}},
	}
	check := func(what string) {
		t.Helper()
		got, err := nodes.Targets(t.Context())
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s (%v): -want +got:\n%s", what, err, diff)
		}
	}
	check("before the first run")

	// The order may come later through the file system than the lead's word of it.
	at := func(number int32, run string, runs map[string]string) {
		a.Status.Order = number
		if err := st.PutStatus(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			want[i].Run, want[i].Runs = run, runs
		}
	}
	at(1, "", map[string]string{})
	check("before the order can be seen")
	order(t, folder, 1, "one", "uid-1")
	at(1, "uid-1", map[string]string{"uid-1": "one"})
	check("at the first run")
	order(t, folder, 2, "two", "uid-2")
	at(2, "uid-2", map[string]string{"uid-1": "one", "uid-2": "two"})
	check("at the second run")

	for name, wantNode := range map[string]string{"n2": "n2", "0": "n1", "1": "n2"} {
		if got, err := nodes.Find(t.Context(), "default", "live", name); err != nil || got.Node != wantNode {
			t.Errorf("find %s: %s %v", name, got.Node, err)
		}
	}
	for name, is := range map[string]func(error) bool{
		"live/n3": apierrors.IsNotFound, "none/n1": apierrors.IsNotFound, "over/n1": apierrors.IsGone, "queued/n1": apierrors.IsServiceUnavailable,
	} {
		allocation, node, _ := strings.Cut(name, "/")
		if _, err := nodes.Find(t.Context(), "default", allocation, node); !is(err) {
			t.Errorf("find %s: %v", name, err)
		}
	}

	a.Status.Phase = api.AllocationReleased
	if err := st.PutStatus(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	want = nil
	check("after the end")
	if len(nodes.known) != 0 {
		t.Errorf("remembered of what has ended: %v", nodes.known)
	}
}

// Nodes are asked with the certificate and the token of their job, and not at all where the cluster says so.
func TestOpenANode(t *testing.T) {
	_, nodes, folder := nodesWorld(t)
	if err := errors.Join(os.MkdirAll(filepath.Dir(folder.Cert()), 0o700), makeCertificate(folder), os.WriteFile(folder.Token(), []byte("secret"), 0o600)); err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(folder.Cert(), folder.Key())
	if err != nil {
		t.Fatal(err)
	}
	agent := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, r.Method+" "+r.RequestURI+" "+r.Header.Get("Authorization")+" "+r.Header.Get("Accept")+" "+string(body))
	}))
	agent.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	agent.StartTLS()
	defer agent.Close()
	to := node.Target{UID: "u", Cluster: "c", Folder: folder, Host: strings.TrimPrefix(agent.URL, "https://")}
	for range 2 { // the second time over the connection of the first
		resp, err := nodes.Open(t.Context(), to, http.MethodPost, "/way?q=1", http.Header{"Accept": {"x/y"}}, strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if want := "POST /way?q=1 Bearer secret x/y body"; string(said) != want || resp.StatusCode != http.StatusTeapot {
			t.Errorf("said %q (%s), want %q", said, resp.Status, want)
		}
	}
	to.Cluster = "files"
	if _, err := nodes.Open(t.Context(), to, http.MethodGet, "/", nil, nil); !errors.Is(err, ErrNodeAccess) {
		t.Errorf("nodeAccess files: %v", err)
	}
	to.Cluster, to.UID, to.Folder = "c", "other", "/nowhere"
	if _, err := nodes.Open(t.Context(), to, http.MethodGet, "/", nil, nil); err == nil || !strings.Contains(err.Error(), "/nowhere/token") {
		t.Errorf("a folder that is gone: %v", err)
	}
}

// gathered are the values of a registry by metric and labels' values.
func gathered(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

// What has ended is counted once, however often it is told of; a list anew forgets who is gone.
func TestCensus(t *testing.T) {
	c, r := newCensus(), prometheus.NewRegistry()
	r.MustRegister(c)
	run := func(name string, phase api.RunPhase, gone bool) {
		o := validRun()
		o.Name, o.Status.Phase = name, phase
		c.notice(o, gone)
	}
	run("new", "", false)
	run("a", api.RunExecuting, false)
	run("b", api.RunExecuting, false)
	run("b", api.RunReporting, false)
	run("deleted", api.RunPending, false)
	run("deleted", api.RunPending, true)
	for range 2 {
		run("a", api.RunFailed, false)
	}
	run("long over", api.RunCompleted, false)
	want := map[string]float64{"benchd_runs Pending": 1, "benchd_runs Executing": 0, "benchd_runs Reporting": 1, "benchd_runs_ended_total Failed": 1, "benchd_runs_ended_total Completed": 0, "benchd_allocations Ready": 0}
	got := gathered(t, r)
	for name, value := range want {
		if v, shown := got[name]; !shown || v != value {
			t.Errorf("%s is %v (%v), want %v", name, v, shown, value)
		}
	}
	c.forget(api.KindBenchmarkRun)
	if got := gathered(t, r); got["benchd_runs Reporting"] != 0 || got["benchd_runs_ended_total Failed"] != 1 {
		t.Errorf("after a list anew: %v", got)
	}
}

// Every phase of the API is counted: one that is left out would be missing from the sum.
func TestCensusKnowsEveryPhase(t *testing.T) {
	for kind, ends := range endPhases {
		for _, phase := range slices.Concat(ends, livePhases[kind]) {
			over := api.RunPhase(phase).Terminal()
			if kind == api.KindAllocation {
				over = api.AllocationPhase(phase).Terminal()
			}
			if counted := slices.Contains(ends, phase); over != counted {
				t.Errorf("%s %s: an end %v, counted as one %v", kind, phase, over, counted)
			}
		}
	}
	counted := slices.Concat(livePhases[api.KindBenchmarkRun], endPhases[api.KindBenchmarkRun])
	for phase := range phases {
		if phase != "" && !slices.Contains(counted, string(phase)) { // one that nobody has looked at counts as Pending
			t.Errorf("run phase %s is not counted", phase)
		}
	}
}

// Calls of a cluster are timed, and failures told apart.
func TestMeasuredCluster(t *testing.T) {
	r := prometheus.NewRegistry()
	fake := &fakeCluster{jobs: map[string]*slurmadapter.Job{}}
	c := &measured{Cluster: fake, name: "c", metrics: newMetrics(r)}
	_, _ = c.Submit(t.Context(), slurmadapter.JobSpec{Name: "j"})
	_, _ = c.Lookup(t.Context(), "nothing", time.Time{})
	_, _ = c.Info(t.Context())
	_, _ = c.Details(t.Context(), "1")
	fake.outage = errors.Join(slurmadapter.ErrOutage)
	_, _ = c.List(t.Context())
	_ = c.Release(t.Context(), "1")
	fake.outage = errors.New("what nobody knows")
	_ = c.Cancel(t.Context(), "1")
	off, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = c.List(off)
	want := map[string]float64{}
	for _, call := range []string{"submit", "lookup", "info", "details", "list", "release", "cancel"} {
		want["benchd_cluster_call_seconds "+call+" c"] = 1
	}
	for _, failed := range []string{"lookup c not_found", "details c not_found", "list c outage", "release c outage", "cancel c other"} {
		want["benchd_cluster_call_errors_total "+failed] = 1
	}
	if diff := cmp.Diff(want, gathered(t, r)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
