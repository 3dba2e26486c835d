package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/node/monitor"
)

// testLead leads a server of two nodes: the first node's agent answers with states, that its client cannot reach a server, and that its
// client's error budget is spent; the second's is silent since a while.
func testLead(t *testing.T, silence time.Duration, states ...node.ServerState) *lead {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{node.TLSName}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/clock" { // ahead by some seconds
			_ = json.NewEncoder(w).Encode(node.ClockReading{Wall: time.Now().Add(7 * time.Second).UnixNano()})
			return
		}
		if r.URL.Path == "/prepare" {
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": "connect: connection refused"})
			return
		}
		_ = json.NewEncoder(w).Encode(node.ExecutorStatus{Servers: states, Bound: node.BoundErrorBudget})
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	srv.StartTLS()
	t.Cleanup(srv.Close)

	a := &agent{folder: node.Folder(t.TempDir()), log: slog.New(slog.DiscardHandler)}
	a.manifest.Replicas = []node.Replica{{Name: "vllm-0", Ranks: []int{0, 1}}}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.MkdirAll(filepath.Dir(a.folder.Cert()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(node.WriteSealedBytes(a.folder.Token(), []byte("token"), 0o600), node.WriteSealedBytes(a.folder.Cert(), cert, 0o600)); err != nil {
		t.Fatal(err)
	}
	l := newLead(a)
	if l.client, err = node.NewClient(a.folder, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.client.Close)
	l.members = []*member{
		{AgentRecord: node.AgentRecord{Rank: 0, Node: "n1"}, host: strings.TrimPrefix(srv.URL, "https://"), client: l.client},
		{AgentRecord: node.AgentRecord{Rank: 1, Node: "n2"}, host: "127.0.0.1:1", roles: []string{node.RoleServer}, client: l.client, missing: time.Now().Add(-silence)},
	}
	return l
}

// A server's first node may find out that another is gone before the lead counts that node as lost: it is the node that is named.
func TestASilentNodeIsNamedBeforeTheServer(t *testing.T) {
	t.Parallel()
	l := testLead(t, memberLost-3*time.Second, node.ServerState{Name: "vllm-0", State: node.ServerFailed, Reason: "RayWorkerLost", Message: "a node of the server is lost"})
	_, err := l.serverStates(t.Context())
	var f *failure
	if !errors.As(err, &f) || f.Reason != "NodeLost" || f.Node != "n2" {
		t.Errorf("%v", err)
	}
}

// Nodes begin at different times, and so does their patience: what the first node waits for is named although it goes on trying.
func TestAPartThatIsNotUpIsNamed(t *testing.T) {
	f := failed([]partState{
		{node.ServerState{Name: "vllm-0", State: node.ServerFailed, Class: api.FailureService, Reason: "RayWorkersMissing", Message: "not all nodes of vllm-0 are joined"}, "n1"},
		{node.ServerState{Name: "vllm-0", Part: 1, State: node.ServerReady}, "n2"},
		{node.ServerState{Name: "vllm-0", Part: 2, State: node.ServerStarting, Message: "waiting for ray to say it"}, "n3"},
		{node.ServerState{Name: "vllm-1", Part: 1, State: node.ServerStarting}, "n4"},
	})
	if want := "server vllm-0 on n1: not all nodes of vllm-0 are joined; n3 (node 3 of the server) is not up: waiting for ray to say it"; f.Message != want {
		t.Errorf("%q, want %q", f.Message, want)
	}
}

// A server that falls over makes the clients' connections and requests fail at once: it is the server that is blamed, not they.
func TestAServerIsBlamedBeforeItsClients(t *testing.T) {
	t.Parallel()
	for name, phase := range map[string]func(*attempt) error{
		"launch":  func(a *attempt) error { return a.launch(t.Context()) },
		"execute": func(a *attempt) error { return a.execute(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := testAttempt(t, node.ServerState{Name: "vllm-0", State: node.ServerExited, Class: api.FailureService, Reason: reasonExited, Message: "vllm ended by itself"})
			var f *failure
			if err := phase(a); !errors.As(err, &f) || f.Reason != reasonExited {
				t.Errorf("%v", err)
			}
		})
	}
}

// A client that cannot prepare its load while all servers are well is what failed.
func TestAClientThatCannotPrepareIsTold(t *testing.T) {
	t.Parallel()
	a := testAttempt(t, node.ServerState{Name: "vllm-0", State: node.ServerReady})
	var f *failure
	if err := a.launch(t.Context()); !errors.As(err, &f) || f.Reason != "ClientUnreachable" || !strings.Contains(f.Message, "connection refused") {
		t.Errorf("%v", err)
	}
}

// testAttempt is an attempt of one node, whose server is in the state.
func testAttempt(t *testing.T, state node.ServerState) *attempt {
	t.Helper()
	l := testLead(t, 0, state)
	l.members = l.members[:1]
	a := &attempt{lead: l, clients: l.members}
	run := &api.BenchmarkRun{}
	api.SetDefaults(run)
	a.order.Workload, a.order.Timeouts = run.Spec.Workload, run.Spec.Timeouts
	return a
}

// Samples of a node whose clock differs are told by the lead's clock; of one that does not answer nobody knows.
func TestSamplesByTheLeadsClock(t *testing.T) {
	t.Parallel()
	l := testLead(t, 0)
	a := &attempt{lead: l, taken: time.Now().Add(-time.Minute)}
	a.order.Folder = t.TempDir()
	enabled := true
	a.order.Monitoring.Enabled, a.order.Monitoring.Output = &enabled, "samples.csv"
	taken := time.Now().UTC().Truncate(time.Second)
	for i, ahead := range []time.Duration{7 * time.Second, 0} {
		path := samplesPath(l.folder, l.members[i].Node)
		text := "timestamp,node,a\n" + taken.Add(ahead-2*time.Second).Format(time.RFC3339Nano) + "," + l.members[i].Node + ",1\n"
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(a.order.Folder, "metrics"), 0o700), a.sliceMetrics(taken)); err != nil {
		t.Fatal(err)
	}
	seen := 0
	err := monitor.Read(filepath.Join(a.order.Folder, "metrics", "samples.csv"), func(_ []string, s monitor.Sample) error {
		seen++
		if off := taken.Add(-2 * time.Second).Sub(s.At).Abs(); off > 2*time.Second { // as long as a busy machine takes for an answer
			t.Errorf("%s: %s off", s.Node, off)
		}
		return nil
	})
	if err != nil || seen != 2 {
		t.Errorf("%d rows (%v)", seen, err)
	}
}
