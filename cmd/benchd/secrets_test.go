package main

import (
	"bytes"
	"context"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

const (
	plantedEnv  = "hf_PLANTEDsecretOfTheEnvironment"
	plantedFile = "sk-PLANTEDsecretOfTheFile"
)

// The secrets of a run reach its server, and are nowhere in what the run leaves: store, script, manifest, logs, records, reports,
// events, and the command lines of its processes while they run.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(plantedFile+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPlane(t, "MY_HF_TOKEN="+plantedEnv).ready()
	// A server that prints its environment, as careless ones do, and then serves.
	dir := t.TempDir()
	script := "#!/bin/bash\nenv\necho \"token is $HF_TOKEN, key is $OTHER\" >&2\n" +
		"[ \"$HF_TOKEN\" = " + plantedEnv + " ] && [ \"$OTHER\" = " + plantedFile + " ] || exit 7\nexec \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "careless"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	p.create(newRun("careful", once, func(s *api.BenchmarkRunSpec) {
		s.Service = api.ServiceSpec{Name: "careless", Model: "m", Template: &api.ServiceTemplateSpec{
			Command: []string{"careless", "$(benchd)", "simulate", "--listen", "$(address):$(port)", "--model", "$(model)"},
			Env:     map[string]string{"BENCHD_SIMULATE_API_KEY": "$(apiKey)"},
			Port:    5600, HealthPath: "/health", VersionPath: "/version",
		}}
		s.Container = api.ContainerSpec{Path: []string{dir}, Secrets: map[string]api.SecretSource{
			"HF_TOKEN": {Env: "MY_HF_TOKEN"}, "OTHER": {File: file},
		}}
		s.Workload.Duration = seconds(8)
	}))
	p.until("careful", time.Minute, api.RunExecuting)
	for _, line := range commandLines(t) {
		if strings.Contains(line, plantedEnv) || strings.Contains(line, plantedFile) {
			t.Errorf("a command line holds a secret: %s", line)
		}
	}
	run := p.until("careful", time.Minute, api.RunCompleted)
	if run.Status.Summary == nil || run.Status.Summary.Failed > 0 {
		t.Errorf("summary: %+v", run.Status.Summary)
	}
	p.eventually(30*time.Second, "the job has ended", func(context.Context) (bool, string) {
		a := p.allocation("careful-1")
		return a.Status.Phase.Terminal(), string(a.Status.Phase)
	})
	p.kill()
	files := grepHome(t, p)
	if files < 20 {
		t.Errorf("only %d files were looked at", files)
	}
}

func commandLines(t *testing.T) []string {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		if data, err := os.ReadFile(entry); err == nil {
			all = append(all, string(data))
		}
	}
	return all
}

// grepHome looks for planted secrets in every file that a control plane and its jobs left.
func grepHome(t *testing.T, p *plane) (files int) {
	t.Helper()
	err := filepath.WalkDir(string(p.home), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(path, "/bin/benchd-") {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		for _, secret := range []string{plantedEnv, plantedFile} {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s holds a secret", path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestSecretsThatAreMissing(t *testing.T) {
	t.Parallel()
	open := filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(open, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := newPlane(t).ready()
	for name, tc := range map[string]struct {
		ref  api.SecretSource
		told string
	}{
		"unset": {api.SecretSource{Env: "BENCHD_NO_SUCH_VARIABLE"}, "BENCHD_NO_SUCH_VARIABLE is not set in the control plane's environment"},
		"gone":  {api.SecretSource{File: "/nowhere/key"}, "no such file"},
		"open":  {api.SecretSource{File: open}, "chmod 600 " + open},
	} {
		p.create(newRun(name, once, func(s *api.BenchmarkRunSpec) { s.Container.Secrets = map[string]api.SecretSource{"HF_TOKEN": tc.ref} }))
		run := p.failed(name, api.FailureUser, "SecretMissing")
		if m := run.Status.Outcome.Message; !strings.Contains(m, tc.told) || !strings.Contains(m, "spec.container.secrets[HF_TOKEN]") {
			t.Errorf("%q lacks %q", m, tc.told)
		}
	}
}

// A server that somebody else keeps running is measured with its key, and nothing is started.
func TestExternalService(t *testing.T) {
	t.Parallel()
	p := newPlane(t, "THE_KEY="+plantedEnv).ready()
	address := freeAddress(t)
	server := exec.Command(testBinary(t), "simulate", "--listen", address, "--model", "org/model")
	server.Env = append(os.Environ(), "BENCHD_SIMULATE_API_KEY="+plantedEnv)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	p.eventually(10*time.Second, "the server answers", func(context.Context) (bool, string) {
		resp, err := http.Get("http://" + address + "/health")
		if err != nil {
			return false, err.Error()
		}
		return resp.StatusCode == http.StatusOK, errorsOf(resp.Body.Close())
	})
	external := func(s *api.BenchmarkRunSpec) {
		s.Service = api.ServiceSpec{Name: "external", Model: "org/model", Endpoints: []string{"http://" + address}, APIKey: &api.SecretSource{Env: "THE_KEY"}}
		s.Nodes.Servers.Count, s.Nodes.Clients.Count = nil, count(2)
		s.Service.Health.Timeout = seconds(3)
		s.Workload.Duration = seconds(8)
		s.BackoffLimit = count(0)
	}
	p.create(newRun("theirs", external))
	run := p.until("theirs", time.Minute, api.RunCompleted)
	if s := run.Status.Summary; s == nil || s.Requests == 0 || s.Failed > 0 {
		t.Errorf("summary: %+v", s)
	}
	if a := p.allocation("theirs-1"); len(a.Status.Nodes) != 2 || len(a.Status.Servers) != 1 || a.Status.Servers[0].Command != nil {
		t.Errorf("nodes %+v, servers %+v", a.Status.Nodes, a.Status.Servers)
	}
	p.create(newRun("wrongmodel", external, func(s *api.BenchmarkRunSpec) {
		s.Service.Model = "other"
		s.Service.Endpoints = []string{"http://" + address, "http://" + address + "/"}
	}))
	// Some servers repeat the key that they refuse.
	rude := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no such key: "+r.Header.Get("Authorization"), http.StatusUnauthorized)
	}))
	t.Cleanup(rude.Close)
	p.create(newRun("refused", external, func(s *api.BenchmarkRunSpec) { s.Service.Endpoints = []string{rude.URL} }))
	if m := p.failed("refused", api.FailureUser, "APIKeyRefused").Status.Outcome.Message; strings.Contains(m, plantedEnv) || !strings.Contains(m, "no such key: Bearer ***") {
		t.Errorf("the message holds the key, or not what was said: %s", m)
	}
	p.create(newRun("nobody", external, func(s *api.BenchmarkRunSpec) { s.Service.Endpoints = []string{"http://127.0.0.1:9"} }))
	if m := p.failed("nobody", api.FailureService, "ServerUnhealthy").Status.Outcome.Message; !strings.Contains(m, "http://127.0.0.1:9") {
		t.Errorf("the message does not name the endpoint: %s", m)
	}
}

func errorsOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A template that is stored is used by its name; a run that has begun keeps what it said then.
func TestStoredTemplate(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	template := &api.ServiceTemplate{ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: "default"}, Spec: api.ServiceTemplateSpec{
		Command: []string{"$(benchd)", "simulate", "--listen", "$(address):$(port)", "--model", "$(model)", "--config", `{"ttft":"$(config.ttft)"}`},
		Env:     map[string]string{"BENCHD_SIMULATE_API_KEY": "$(apiKey)"}, Port: 5700, HealthPath: "/health", VersionPath: "/version",
	}}
	template.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindServiceTemplate))
	if _, _, err := p.api.Apply(t.Context(), template); err != nil {
		t.Fatal(err)
	}
	mine := func(s *api.BenchmarkRunSpec) {
		s.Service = api.ServiceSpec{Name: "mine", Model: "m", Config: map[string]any{"ttft": "3ms"}}
	}
	p.create(newRun("first", mine))
	run := p.until("first", time.Minute, api.RunCompleted)
	if run.Spec.Service.Template == nil || run.Spec.Service.Port != 5700 {
		t.Errorf("the run did not take the template over: %+v", run.Spec.Service)
	}
	template.Spec.Port = 5701
	if _, _, err := p.api.Apply(t.Context(), template); err != nil {
		t.Fatal(err)
	}
	// The same file once more changes nothing of a run that is over.
	if result, _, err := p.api.Apply(t.Context(), newRun("first", mine)); err != nil || result != "unchanged" {
		t.Errorf("applied again: %s, %v", result, err)
	}
	if _, err := p.api.Create(t.Context(), newRun("unknown", func(s *api.BenchmarkRunSpec) { s.Service = api.ServiceSpec{Name: "theirs", Model: "m"} })); err == nil ||
		!strings.Contains(err.Error(), "theirs") {
		t.Errorf("a service that nobody declared: %v", err)
	}
}
