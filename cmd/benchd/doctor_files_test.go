package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func TestDoctorWorkFolder(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const plenty = 100 << 30
	there := func(string) string { return root }
	for _, tc := range []struct {
		check    string
		want     level
		says     string
		folder   func(root string) string
		embedded bool
		system   fileSystem
	}{
		{"work folder", levelOK, "can be written", there, false, fileSystem{"nfs", plenty}},
		{"work folder", levelOK, "not there yet", func(r string) string { return filepath.Join(r, "a", "b") }, false, fileSystem{"nfs", plenty}},
		{"work folder", levelProblem, "is no folder", func(string) string { return file }, false, fileSystem{"nfs", plenty}},
		{"work folder", levelProblem, "not a directory", func(string) string { return filepath.Join(file, "a") }, false, fileSystem{"nfs", plenty}},
		{"work folder", levelProblem, "", func(string) string { return "/proc/benchd" }, false, fileSystem{"proc", plenty}},
		{"work folder", levelProblem, "", func(string) string { return "/proc/self" }, false, fileSystem{"proc", plenty}},
		{"free space", levelOK, "100 GiB", there, false, fileSystem{"nfs", plenty}},
		{"free space", levelWarning, "1024 MiB", there, false, fileSystem{"nfs", 1 << 30}},
		{"free space", levelProblem, "1 MiB", there, false, fileSystem{"nfs", 1 << 20}},
		{"file system", levelWarning, "it hung", there, false, fileSystem{}},
		{"file system", levelOK, "xfs", there, true, fileSystem{"xfs", plenty}},
		{"file system", levelWarning, "restarts", there, true, fileSystem{"tmpfs", plenty}},
		{"file system", levelProblem, "do not see it", there, false, fileSystem{"tmpfs", plenty}},
	} {
		stat := func(string) (fileSystem, error) {
			if tc.system.Type == "" {
				return tc.system, errors.New("it hung")
			}
			return tc.system, nil
		}
		expect(t, checkWorkFolder(t.Context(), tc.folder(root), tc.embedded, stat), tc.check, tc.want, tc.says)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, tc := range []struct {
		folder, system string
		want           level
	}{
		{"/project/p1", "lustre", levelOK}, {"/tmp/x", "lustre", levelWarning}, {"/tmpfoo", "nfs", levelOK}, {"/home/a", "ext4", levelWarning}, {"/home/a", "type 0x1", levelWarning},
	} {
		expect(t, []finding{checkFileSystem(tc.folder, fileSystem{tc.system, plenty}, false)}, "file system", tc.want, "")
	}
	if system, err := statFileSystem(root); err != nil || system.Type == "" || system.Free == 0 {
		t.Errorf("this file system: %+v, %v", system, err)
	}
	if _, err := statFileSystem(filepath.Join(root, "nope")); err == nil {
		t.Error("a folder that is not there has a file system")
	}
}

// Not parallel: PATH is this process's own.
func TestDoctorFiles(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"bin/vllm": 0o755, "bin/apptainer": 0o755, "image.sif": 0o644, "model.gguf": 0o644, "token": 0o600, "open": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("hush"), mode); err != nil {
			t.Fatal(err)
		}
	}
	type spec = api.BenchmarkRunSpec
	vllm := func(s *spec) { s.Service = api.ServiceSpec{Name: "vllm", Model: "org/model"} }
	contained := func(image, model string, binds ...string) func(*spec) {
		return func(s *spec) {
			vllm(s)
			s.Service.Model, s.Container = model, api.ContainerSpec{Runtime: api.RuntimeApptainer, Image: image, Binds: binds}
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	image := at("image.sif")
	secret := func(ref api.SecretSource) func(*spec) {
		return func(s *spec) { s.Container.Secrets = map[string]api.SecretSource{"HF_TOKEN": ref} }
	}
	withModule := func(change func(*spec)) func(*spec) {
		return func(s *spec) { change(s); s.Slurm.Modules = []string{"Apptainer"} }
	}
	t.Setenv("BENCHD_TEST_SECRET", "hush")
	for _, tc := range []struct {
		check string
		want  level
		says  string
		path  string
		where string // embedded, plane, node: what is so, beside
		run   func(*spec)
	}{
		{"runtime", levelOK, "none is needed", "", "", nil},
		{"runtime", levelOK, "apptainer is on PATH", bin, "", contained(image, "m")},
		{"runtime", levelWarning, "spec.slurm.modules", "", "", contained(image, "m")},
		{"runtime", levelLeftOut, "Apptainer", "", "", withModule(contained(image, "m"))},
		{"runtime", levelProblem, "install it", "", "embedded", contained(image, "m")},
		{"program", levelOK, ownBinary, "", "", nil},
		{"program", levelOK, at("bin/vllm"), bin, "", vllm},
		{"program", levelOK, at("bin/vllm"), "", "", func(s *spec) { vllm(s); s.Container.Path = []string{bin} }},
		{"program", levelProblem, "vllm is not on PATH here", "", "", vllm},
		{"program", levelProblem, "vllm is not on PATH, nor", "", "embedded", vllm},
		{"program", levelProblem, "nope", "", "", func(s *spec) { s.Service.Name = "nope" }},
		{"program", levelLeftOut, "a module may bring it", "", "", withModule(vllm)},
		{"program", levelLeftOut, "what the node says counts", "", "node", vllm},
		{"program", levelLeftOut, "in the image", "", "", contained(image, "m")},
		{"image", levelOK, image, "", "", contained(image, "m")},
		{"image", levelProblem, "its folder holds", "", "", contained(at("imgae.sif"), "m")},
		{"image", levelProblem, "benchd image pull", "", "", contained("docker://a/b", "m")},
		{"image", levelLeftOut, "none is needed", "", "", nil},
		{"image", levelLeftOut, "each node's own", "", "", func(s *spec) { contained("a/b", "m")(s); s.Container.Runtime = api.RuntimePodman }},
		{"model", levelOK, at("model.gguf"), "", "", func(s *spec) { vllm(s); s.Service.Model = at("model.gguf") }},
		{"model", levelOK, at("model.gguf"), "", "", contained(image, "/models/model.gguf", dir+":/models:ro")},
		{"model", levelWarning, "no bind brings it", "", "", contained(image, at("model.gguf"))},
		{"model", levelWarning, "is not seen here", "", "", contained(image, "/models/nope", dir+":/models:ro")},
		{"model", levelWarning, "is not seen here", "", "", contained(image, "/modelsfoo/model.gguf", dir+":/models")},
		{"model", levelProblem, "no such file", "", "", func(s *spec) { vllm(s); s.Service.Model = at("nope") }},
		{"model", levelLeftOut, "is a name", "", "", vllm},
		{"model", levelLeftOut, "needs none", "", "", func(s *spec) { s.Service.Model = "" }},
		{"model", levelLeftOut, "simulated", "", "", nil},
		{"binds", levelOK, dir, "", "", contained(image, "m", dir+":/d")},
		{"binds", levelWarning, "nodes alone", "", "", contained(image, "m", at("nope")+":/d")},
		{"binds", levelProblem, "cannot be mounted", "", "embedded", contained(image, "m", at("nope")+":/d")},
		{"binds", levelLeftOut, "has none", "", "", nil},
		{"secrets", levelOK, "is set here", "", "", secret(api.SecretSource{Env: "BENCHD_TEST_SECRET"})},
		{"secrets", levelOK, "owner alone", "", "", secret(api.SecretSource{File: at("token")})},
		{"secrets", levelProblem, "is not set", "", "", secret(api.SecretSource{Env: "BENCHD_TEST_NOPE"})},
		{"secrets", levelWarning, "is not set here", "", "plane", secret(api.SecretSource{Env: "BENCHD_TEST_NOPE"})},
		{"secrets", levelProblem, "chmod 600", "", "", secret(api.SecretSource{File: at("open")})},
		{"secrets", levelProblem, "no such file", "", "", func(s *spec) { s.Service.APIKey = &api.SecretSource{File: at("nope")} }},
		{"secrets", levelProblem, "logging.forward.authorizationFile: others can read", "", "", func(s *spec) {
			s.Logging.Forward = &api.ForwardSpec{AuthorizationFile: at("open")}
		}},
		{"secrets", levelProblem, "pushgateway.authorizationFile: the secret's file cannot be read", "", "", func(s *spec) {
			s.Monitoring.Pushgateway = &api.PushgatewaySpec{AuthorizationFile: at("nope")}
		}},
		{"secrets", levelLeftOut, "names none", "", "", nil},
		{"servers", levelLeftOut, "run already", "", "", func(s *spec) {
			s.Service = api.ServiceSpec{Name: "external", Model: "m", Endpoints: []string{"http://a"}}
		}},
	} {
		t.Run(tc.check+" "+string(tc.want)+" "+tc.says, func(t *testing.T) {
			t.Setenv("PATH", tc.path)
			f := healthySite()
			f.Embedded = tc.where == "embedded"
			a := newAsk(doctorRun(nil), &api.ClusterSpec{}, f)
			if tc.run != nil {
				a = newAsk(doctorRun(tc.run), &api.ClusterSpec{}, f)
			}
			a.node = tc.where == "node"
			if tc.says == "needs none" {
				a.spec.Service.Model = ""
			}
			all := a.checkFiles(t.Context(), f, tc.where == "plane")
			expect(t, all, tc.check, tc.want, tc.says)
			if strings.Contains(fmt.Sprint(all), "hush") {
				t.Errorf("a secret was told: %v", all)
			}
		})
	}
}

func TestDoctorPorts(t *testing.T) {
	t.Parallel()
	type spec = api.BenchmarkRunSpec
	vllm := func(s *spec) {
		s.Service = api.ServiceSpec{Name: "vllm", Model: "m", NodesPerReplica: 2, Config: map[string]any{"tensorParallelSize": 8}}
		s.Nodes.Servers.Count = count(2)
	}
	for _, tc := range []struct {
		check    string
		want     level
		says     string
		embedded bool
		run      func(*spec)
	}{
		{"server port", levelLeftOut, "5000: whether free", false, nil},
		{"server port", levelLeftOut, "5000, 5001", false, func(s *spec) { s.Service.Replicas = 2 }},
		{"server port", levelOK, "5000, on an address of its own", true, nil},
		{"server port", levelProblem, "for root", false, func(s *spec) { s.Service.Port = 80 }},
		{"server port", levelProblem, "above 65535", false, func(s *spec) { s.Service.Port, s.Service.Replicas = 65535, 2 }},
		{"server port", levelProblem, "used twice on a node: executor port", false, func(s *spec) { s.Service.Port = 6000 }},
		{"executor port", levelLeftOut, "6000", false, nil},
		{"executor port", levelOK, "6000", true, nil},
		{"executor port", levelWarning, "the server port's too", false, func(s *spec) { s.Nodes.ExecutorPort = 5000 }},
		{"executor port", levelProblem, "firewall between nodes", false, func(s *spec) { s.Nodes.ExecutorPort = 22 }},
		{"Ray", levelLeftOut, "6379, 8076, 8077, 8265", false, vllm},
		{"Ray", levelProblem, "service.config.ray", false, func(s *spec) { vllm(s); s.Nodes.ExecutorPort = 6379 }},
		{"network", levelWarning, "spec.network", false, vllm},
		{"network", levelLeftOut, "host name", false, nil},
		{"network", levelOK, "loopback", true, nil},
	} {
		a := newAsk(doctorRun(tc.run), &api.ClusterSpec{}, healthySite())
		expect(t, append(a.checkPorts(tc.embedded), a.checkNetwork("", tc.embedded)), tc.check, tc.want, tc.says)
	}
	a := newAsk(doctorRun(nil), &api.ClusterSpec{}, healthySite())
	if seen(a.checkPorts(false), "Ray") != nil {
		t.Error("a run without Ray has its ports looked at")
	}
	expect(t, []finding{a.checkNetwork("ib0", false)}, "network", levelLeftOut, "ib0")
}

func TestDoctorReaches(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/push/-/healthy" {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://ada:hush@" + l.Addr().String()
	_ = l.Close()
	gateway := func(url string) []finding {
		return []finding{checkPushgateway(t.Context(), &api.MonitoringSpec{Pushgateway: &api.PushgatewaySpec{URL: url}})}
	}
	expect(t, gateway(server.URL+"/push"), "Pushgateway", levelOK, "healthy")
	expect(t, gateway(server.URL), "Pushgateway", levelWarning, "404")
	refused := gateway(closed)
	expect(t, refused, "Pushgateway", levelWarning, "connection refused")
	expect(t, []finding{checkPushgateway(t.Context(), &api.MonitoringSpec{})}, "Pushgateway", levelLeftOut, "not set")
	endpoints := checkEndpoints(t.Context(), []string{closed})
	expect(t, endpoints, "endpoint", levelWarning, "connection refused")
	expect(t, checkEndpoints(t.Context(), []string{server.URL}), "endpoint", levelOK, "accepts")
	expect(t, checkEndpoints(t.Context(), []string{"http://[::1"}), "endpoint", levelProblem, "")
	if text := fmt.Sprint(refused, endpoints); strings.Contains(text, "hush") {
		t.Errorf("a password was told: %s", text)
	}
}
