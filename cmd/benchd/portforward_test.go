package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// forwarded starts a port-forward and returns what it says, its exit, and the address that it forwards.
func forwarded(t *testing.T, p *plane, args ...string) (cmd *exec.Cmd, said *lockedBuffer, ended chan error, address string) {
	t.Helper()
	cmd, said, ended = exec.Command(p.binary, append([]string{"port-forward", "--home", string(p.home)}, args...)...), &lockedBuffer{}, make(chan error, 1)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { defer close(exited); ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended, unless the test failed
		<-exited
	})
	p.eventually(20*time.Second, "port-forward says where", func(context.Context) (bool, string) {
		match := regexp.MustCompile(`Forwarding http://localhost:(\d+) `).FindStringSubmatch(said.String())
		if match != nil {
			address = net.JoinHostPort("127.0.0.1", match[1])
		}
		return match != nil, said.String()
	})
	return cmd, said, ended, address
}

// answerOf asks a forwarded port.
func answerOf(t *testing.T, method, address, path, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		req.Host = host
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestPortForward(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	p.create(newRun("forwarded", func(s *api.BenchmarkRunSpec) { s.Workload.Duration = seconds(60) }))
	p.until("forwarded", time.Minute, api.RunExecuting)

	_, said, ended, address := forwarded(t, p, "forwarded", "0:6000")
	for name, c := range map[string]struct {
		method, path, host string
		code               int
		want               string
	}{
		"metrics":               {http.MethodGet, "/metrics/prometheus", "", 200, "dummy_workload_running{"},
		"with a query":          {http.MethodGet, "/status?a=b%20c", "localhost:25000", 200, `"state":"running"`},
		"a path that is none":   {http.MethodGet, "/nothing", "", 404, "404"},
		"a write":               {http.MethodPost, "/stop", "", 405, "--allow-writes"},
		"a name of somebody":    {http.MethodGet, "/status", "attacker.example", 403, "localhost"},
		"a delete":              {http.MethodDelete, "/status", "", 405, "not passed on"},
		"a name without a port": {http.MethodGet, "/health", "localhost", 200, ""},
	} {
		code, body := answerOf(t, c.method, address, c.path, c.host)
		if code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %q, want %d and %q", name, code, body, c.code, c.want)
		}
	}

	// Ctrl-C ends a forward and nothing else; a node is named by its name or rank.
	other, otherSaid, otherEnded, otherAddress := forwarded(t, p, "allocation/forwarded-1", "0:6000", "--node", "0", "--allow-writes")
	if code, body := answerOf(t, http.MethodGet, otherAddress, "/status", ""); code != 200 || !strings.Contains(body, `"node":"node001"`) {
		t.Errorf("by rank: %d %s", code, body)
	}
	if code, body := answerOf(t, http.MethodPost, otherAddress, "/nothing", ""); code != 404 {
		t.Errorf("a write that was asked for does not reach the node: %d %s", code, body)
	}
	if err := other.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-otherEnded; err != nil || !strings.Contains(otherSaid.String(), "allocation/forwarded-1 goes on") {
		t.Errorf("ctrl-C: %v: %s", err, otherSaid)
	}

	p.cancelRun("forwarded")
	if err := <-ended; err != nil || !strings.Contains(said.String(), "run/forwarded has ended (Cancelled): forwarding has ended with it") {
		t.Errorf("the run has ended: %v: %s", err, said)
	}
	for args, want := range map[string]string{
		"forwarded":                    "run/forwarded has ended (Cancelled)",
		"forwarded 6000:5000":          "goes by 6000",
		"forwarded x:6000":             "is a number",
		"nobody":                       "not found",
		"sweep/x":                      "has no nodes",
		"allocation/forwarded-1 --bad": "unknown flag",
	} {
		out, err := exec.Command(p.binary, append([]string{"port-forward", "--home", string(p.home)}, strings.Fields(args)...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v: %s, want %q", args, err, out, want)
		}
	}
}

// Where the control plane cannot connect to nodes, it says so, and the page of all nodes counts them.
func TestMetricsOfNodesThatCannotBeReached(t *testing.T) {
	t.Parallel()
	p := newPlane(t, blockVariable+"=1").ready()
	p.create(newRun("blocked", func(s *api.BenchmarkRunSpec) { s.Workload.Duration = seconds(60) }))
	p.until("blocked", time.Minute, api.RunExecuting)
	_, _, _, address := forwarded(t, p, "blocked", "0:6000")
	if code, body := answerOf(t, http.MethodGet, address, "/metrics/prometheus", ""); code != http.StatusBadGateway || !strings.Contains(body, "blocked by the test") {
		t.Errorf("port-forward: %d %s", code, body)
	}
	socket := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", p.home.Socket())
	}
	resp, err := (&http.Client{Transport: &http.Transport{DialContext: socket, DisableKeepAlives: true}}).Get("http://benchd/metrics/nodes")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`benchd_scrape_nodes{result="left_out"} 2`, `benchd_scrape_nodes{result="answered"} 0`, `run_name="blocked",service="dummy"} 0`} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page of all nodes lacks %q:\n%s", want, page)
		}
	}
	p.cancelRun("blocked")
	p.until("blocked", time.Minute, api.RunCancelled)
}

// Nobody's own choice of a port is changed; a port that is free is found where none was made.
func TestListenLocal(t *testing.T) {
	taken, err := listenLocal(t.Context(), 0, true)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address, ok := taken.Addr().(*net.TCPAddr)
	if !ok || !address.IP.IsLoopback() {
		t.Fatalf("listens on %s", taken.Addr())
	}
	if l, err := listenLocal(t.Context(), address.Port, true); err == nil || !strings.Contains(err.Error(), "name a free port") {
		t.Errorf("a port that is taken and named: %v %v", l, err)
	}
	next, err := listenLocal(t.Context(), address.Port, false)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if localName(next) == localName(taken) || !strings.HasPrefix(localName(next), "localhost:") {
		t.Errorf("the next free port is %s", localName(next))
	}
}
