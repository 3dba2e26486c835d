package server_test

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/server"
	"github.com/benchd/benchd/store"
)

// kubectl runs the kubectl on PATH, or the one that KUBECTL names, against a server over TLS.
type kubectl struct {
	t      *testing.T
	binary string
	config string
	home   string
}

func newKubectl(t *testing.T, st *store.Store) *kubectl {
	t.Helper()
	binary := os.Getenv("KUBECTL")
	if binary == "" {
		binary = "kubectl"
	}
	binary, err := exec.LookPath(binary)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("kubectl is needed here: apt-get install kubernetes-client: %v", err)
		}
		t.Skipf("kubectl is not on PATH (apt-get install kubernetes-client): %v", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	creds, err := server.MakeCredentials(filepath.Join(t.TempDir(), "tls"), "https://"+l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	serve(t, func(ctx context.Context) error {
		return server.New(server.Options{Store: st, Version: "v1.32.0"}).ServeTLS(ctx, l, creds.CertFile, creds.KeyFile, creds.Token)
	})
	return &kubectl{t: t, binary: binary, config: creds.Kubeconfig, home: t.TempDir()}
}

// serve runs a server until the test ends.
func serve(t *testing.T, run func(context.Context) error) {
	t.Helper()
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

func (k *kubectl) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, k.binary, append([]string{"--kubeconfig", k.config}, args...)...)
	cmd.Env = []string{"HOME=" + k.home, "PATH=" + os.Getenv("PATH")}
	return cmd
}

// run runs kubectl, which has to succeed and to print each of the wanted words.
func (k *kubectl) run(stdin string, args []string, want ...string) string {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	cmd := k.command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		k.t.Fatalf("kubectl %v: %v\n%s%s", args, err, out, &errs)
	}
	for _, word := range want {
		if !strings.Contains(string(out), word) {
			k.t.Errorf("kubectl %v does not print %q:\n%s%s", args, word, out, &errs)
		}
	}
	return string(out)
}

// finish plays the controllers: it lets go of every run that is deleted.
func finish(t *testing.T, st *store.Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	changes, err := st.Watch(ctx, api.KindBenchmarkRun, 0, store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for change := range changes {
			if change.Type == store.Deleted || change.Object.GetDeletionTimestamp() == nil {
				continue
			}
			change.Object.SetFinalizers(nil)
			if err := st.Put(ctx, change.Object); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				t.Errorf("let go of %s: %v", change.Object.GetName(), err)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// TestKubectl takes a run through its life with kubectl alone.
func TestKubectl(t *testing.T) {
	st := openStore(t)
	finish(t, st)
	k := newKubectl(t, st)
	manifest := filepath.Join(t.TempDir(), "run.yaml")
	writeManifest := func(duration string) {
		text := runJSON("first", map[string]any{"spec.workload.duration": duration, "metadata.labels": map[string]string{"team": "a"}})
		if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	k.run("", []string{"api-resources"}, "benchmarkruns", "run,runs,br", "allocations", "clusters", "BenchmarkRun", "events", "namespaces")
	k.run("", []string{"version"}, "v1.32.0")
	writeManifest("2s")
	k.run("", []string{"apply", "-f", manifest, "--dry-run=server"}, "created (server dry run)")
	k.run("", []string{"apply", "-f", manifest}, "first created")
	k.run("", []string{"apply", "-f", manifest}, "first unchanged")
	writeManifest("3s")
	k.run("", []string{"apply", "-f", manifest, "--dry-run=server"}, "configured (server dry run)")
	k.run("", []string{"apply", "-f", manifest}, "first configured")

	k.run("", []string{"get", "runs"}, "NAME", "TTFT P99", "first", "Pending", "dummy", "tiny", "<none>")
	k.run("", []string{"get", "runs", "-A", "-o", "wide"}, "NAMESPACE", "default", "MESSAGE", "JOB")
	k.run("", []string{"get", "run", "first", "-o", "yaml"}, "duration: 3s", "benchd.dev/cluster", "uid:")
	k.run("", []string{"get", "br", "-o", "name"}, "benchmarkrun.benchd.dev/first")
	k.run("", []string{"get", "namespaces"}, "default")
	k.run("", []string{"label", "run", "first", "tier=test"}, "labeled")
	k.run("", []string{"get", "run", "-l", "tier=test,team=a"}, "first")
	k.run("", []string{"annotate", "run", "first", "note=hello"}, "annotate")
	k.run("", []string{"patch", "run", "first", "--type=json", "-p", `[{"op":"replace","path":"/spec/backoffLimit","value":5}]`}, "patched")

	run := event(t, st, "first")
	k.run("", []string{"describe", "run", "first"}, "Events:", "Queued", "waits for nodes", "Backoff Limit:  5")
	k.run("", []string{"get", "events"}, "benchmarkrun/first", "waits for nodes")
	k.watches(st, run)

	k.run("", []string{"wait", "run", "first", "--for=condition=Deployed", "--timeout=30s"}, "condition met")
	k.run(runJSON("second", nil), []string{"create", "-f", "-"}, "second created")
	k.run("", []string{"delete", "run", "first"}, `"first" deleted`)
	k.run("", []string{"delete", "runs", "--all"}, `"second" deleted`)
	if out := k.run("", []string{"get", "runs", "-o", "name"}); out != "" {
		t.Errorf("runs are left: %s", out)
	}
}

// watches follows a run with `get -w` while its status changes.
func (k *kubectl) watches(st *store.Store, run *api.BenchmarkRun) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	cmd := k.command(ctx, "get", "runs", "-w") // of a single object it swallows the first change
	out, err := cmd.StdoutPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	expect := func(word string) {
		k.t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), word) {
				return
			}
		}
		k.t.Errorf("kubectl get -w ended without %q: %v", word, lines.Err())
	}
	expect("Pending")
	run.Status.Phase = api.RunExecuting
	run.Status.Progress = &api.Progress{Percent: 45}
	run.Status.Conditions = []metav1.Condition{{
		Type: api.ConditionDeployed, Status: metav1.ConditionTrue, Reason: "Ready", Message: "ready", LastTransitionTime: metav1.Now(),
	}}
	if err := st.PutStatus(ctx, run); err != nil {
		k.t.Fatal(err)
	}
	expect("Executing 45%")
	cancel()
	_ = cmd.Wait() // it was cut off
}

// event stores what controllers would tell of a run.
func event(t *testing.T, st *store.Store, name string) *api.BenchmarkRun {
	t.Helper()
	obj, err := st.Get(t.Context(), api.KindBenchmarkRun, api.DefaultNamespace, name)
	if err != nil {
		t.Fatal(err)
	}
	run, ok := obj.(*api.BenchmarkRun)
	if !ok {
		t.Fatalf("got a %T", obj)
	}
	if err := st.Update(t.Context(), func(tx *store.Tx) error {
		return tx.Event(run, api.EventNormal, "Queued", "the job waits for nodes")
	}); err != nil {
		t.Fatal(err)
	}
	return run
}
