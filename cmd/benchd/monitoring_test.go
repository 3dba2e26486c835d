package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/config/monitoring/dashboards"
	"github.com/benchd/benchd/home"
)

// needPrograms skips a test whose programs are not here, but not in CI, which installs them (hack/install-packages).
func needPrograms(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not on PATH: hack/install-packages installs it", name)
		}
		t.Skipf("left out: %s is not on PATH (hack/install-packages installs it)", name)
	}
}

// newListeningPlane starts a control plane that listens with TLS too.
func newListeningPlane(t *testing.T, env ...string) (*plane, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bh")
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	p := &plane{t: t, home: home.Dir(dir), binary: testBinary(t), env: env, args: []string{"--listen", address}}
	p.cleanUp()
	p.start()
	return p.ready(), address
}

// background starts a program that the test ends, by its own process, and returns what it says.
func background(t *testing.T, name string, args ...string) (*exec.Cmd, *lockedBuffer) {
	t.Helper()
	cmd, said := exec.Command(name, args...), &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()                          // as it was told to
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(name), said)
		}
	})
	return cmd, said
}

// onePage scrapes all nodes as one target, as docs/monitoring.md has it for those who cannot use service discovery.
const onePage = `
  - job_name: benchd-all-nodes
    honor_labels: true
    metrics_path: /metrics/nodes
    scheme: https
    authorization: {type: Bearer, credentials_file: credentials/token}
    tls_config: {ca_file: credentials/tls.crt}
    static_configs:
      - targets: [localhost:8443]
`

// prometheusServer is a real Prometheus of the test.
type prometheusServer struct {
	t     *testing.T
	p     *plane
	url   string
	begun time.Time
}

// newPrometheus starts one with the files that benchd writes, changed only in addresses, in the interval, and by a fixture of what
// agents on other machines tell: GPUs, and an engine's own figures.
func newPrometheus(t *testing.T, p *plane, address string, fixture string) *prometheusServer {
	t.Helper()
	folder := t.TempDir()
	if out, err := exec.Command(p.binary, "init", "--monitoring", folder, "--home", string(p.home)).CombinedOutput(); err != nil {
		t.Fatalf("write the files: %v\n%s", err, out)
	}
	path := filepath.Join(folder, "prometheus.yml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	config := strings.NewReplacer("localhost:8443", address, "15s", "2s", "10s", "2s").Replace(string(text))
	config += fmt.Sprintf("\n  - job_name: fixture\n    honor_labels: true\n    static_configs:\n      - targets: [%q]\n", fixture)
	config += strings.ReplaceAll(onePage, "localhost:8443", address)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "check", "config", path).CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	s := &prometheusServer{t, p, "http://" + freeAddress(t), time.Now()}
	background(t, "prometheus", "--config.file="+path, "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+strings.TrimPrefix(s.url, "http://"))
	p.eventually(20*time.Second, "Prometheus is ready", func(ctx context.Context) (bool, string) {
		code, body := fetch(ctx, t, s.url+"/-/ready")
		return code == http.StatusOK, body
	})
	return s
}

// fetch gets a URL; a code of 0 means that nobody answered.
func fetch(ctx context.Context, t *testing.T, from string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// ask asks a question of all the time until now, as a panel does, and says how many answers there are to it. A run need not last until
// a busy machine has come to ask.
func (s *prometheusServer) ask(ctx context.Context, query string) (answers int, seen string, err error) {
	code, body := fetch(ctx, s.t, fmt.Sprintf("%s/api/v1/query_range?step=1&start=%d&end=%d&query=%s", s.url, s.begun.Unix(), time.Now().Unix(), url.QueryEscape(query)))
	var answer struct {
		Error string
		Data  struct{ Result []json.RawMessage }
	}
	if code == 0 {
		return 0, body, nil
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return 0, body, err
	}
	if code != http.StatusOK {
		return 0, body, errors.New(answer.Error)
	}
	return len(answer.Data.Result), body, nil
}

// panelQuery is a question of a dashboard, with where it stands.
type panelQuery struct{ where, expr string }

// queriesOf reads the questions out of a dashboard, with Grafana's own variables replaced.
func queriesOf(t *testing.T, file string, data []byte) []panelQuery {
	t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	var all []panelQuery
	for _, panel := range d.Panels {
		if len(panel.Targets) == 0 {
			t.Errorf("%s: %s asks nothing", file, panel.Title)
		}
		for _, target := range panel.Targets {
			expr := strings.NewReplacer("$__rate_interval", "8s", "$__range", "1m", "$service", "dummy").Replace(target.Expr)
			all = append(all, panelQuery{file + ": " + panel.Title, regexp.MustCompile(`\$(allocation|run|node)`).ReplaceAllString(expr, ".*")})
		}
	}
	return all
}

func encoded(t *testing.T, d *dashboards.Builder) []byte {
	t.Helper()
	data, err := dashboards.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// contract serves what agents tell that this machine has none of, or that a simulated server does not have: a fixture. Counters go up.
func contract(t *testing.T, runName string) string {
	t.Helper()
	var text bytes.Buffer
	for family, labels := range map[string]string{
		"gpu_utilization_percent": `gpu="0"`, "gpu_memory_used_bytes": `gpu="0"`, "gpu_memory_total_bytes": `gpu="0"`, "gpu_power_watts": `gpu="0"`,
		"gpu_energy_joules_total": `gpu="0"`, "gpu_temperature_celsius": `gpu="0"`, "gpu_sm_clock_mhz": `gpu="0"`, "gpu_throttled": `gpu="0"`,
		"gpu_ecc_errors_total": `gpu="0"`, "gpu_xid_errors_total": `gpu="0"`,
		"server_prefix_cache_queries_total": `server="dummy-0"`, "server_prefix_cache_hits_total": `server="dummy-0"`,
	} {
		fmt.Fprintf(&text, "benchd_%s{node=\"fixture\",namespace=\"default\",allocation=\"fixture\",run_name=%q,service=\"dummy\",%s} VALUE\n", family, runName, labels)
	}
	begun := time.Now()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.ReplaceAll(text.String(), "VALUE", fmt.Sprintf("%.3f", 1+time.Since(begun).Seconds())))
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// Every panel of every dashboard has an answer while a run is under way: the real Prometheus has scraped it as the shipped files say.
func TestDashboardsHaveAnswers(t *testing.T) {
	t.Parallel()
	needPrograms(t, "prometheus", "promtool")
	p, address := newListeningPlane(t)
	prom := newPrometheus(t, p, address, contract(t, "shown"))
	p.create(newRun("shown", func(s *api.BenchmarkRunSpec) {
		s.Nodes.Clients.Count = count(2)
		s.Workload.Duration = seconds(60) // it is cancelled below, and after a failure ends by itself
	}))
	p.until("shown", time.Minute, api.RunExecuting)

	for name, d := range dashboards.Set() {
		if name == "nodes.json" || name == "benchd.json" {
			continue
		}
		for _, q := range queriesOf(t, name, encoded(t, d)) { // no such load here: it is enough that Prometheus can read them
			if _, _, err := prom.ask(t.Context(), q.expr); err != nil {
				t.Errorf("%s: %s: %v", q.where, q.expr, err)
			}
		}
	}
	prom.answers(append(panelsOfDummy(t),
		panelQuery{"every node is scraped", `sum(up{job="benchd-nodes"}) == 3`},
		panelQuery{"the control plane is scraped", `up{job="benchd"} == 1`},
		panelQuery{"all nodes are on one page", `benchd_scrape_nodes{job="benchd-all-nodes",result="answered"} == 3`},
		panelQuery{"metrics are told apart", `count(dummy_workload_running{job="benchd-nodes",run_name="shown",allocation="shown-1",cluster="embedded",namespace="default",service="dummy",roles=~".*client.*"} == 1) == 2`},
		panelQuery{"and are the same on both ways", `count(dummy_requests_total) by (namespace, allocation, node, roles, run, run_name, service, cluster) == 2`},
		panelQuery{"labels of metrics are kept", `absent({__name__=~".+",exported_node!=""})`},
	)...)
	prom.checkVariables(encoded(t, dashboards.Service("dummy", "Dummy Performance", true)), encoded(t, dashboards.Nodes()))
	p.cancelRun("shown")
	p.until("shown", time.Minute, api.RunCancelled)
}

// panelsOfDummy are the questions of all panels that a run of the simulated service has an answer to.
func panelsOfDummy(t *testing.T) []panelQuery {
	t.Helper()
	all := queriesOf(t, "dummy.json", encoded(t, dashboards.Service("dummy", "Dummy Performance", true)))
	for _, name := range []string{"nodes.json", "benchd.json"} {
		all = append(all, queriesOf(t, name, encoded(t, dashboards.Set()[name]))...)
	}
	return all
}

// answers waits until each question has an answer.
func (s *prometheusServer) answers(questions ...panelQuery) {
	s.t.Helper()
	for _, q := range questions {
		s.p.eventually(30*time.Second, q.where+" has an answer to "+q.expr, func(ctx context.Context) (bool, string) {
			answers, seen, err := s.ask(ctx, q.expr)
			if err != nil && ctx.Err() == nil {
				s.t.Fatalf("%s: %s: %v", q.where, q.expr, err)
			}
			return answers > 0, seen
		})
	}
}

// cancelRun asks for a run's end.
func (p *plane) cancelRun(name string) {
	p.t.Helper()
	if _, err := p.api.Patch(p.t.Context(), api.KindBenchmarkRun, "default", name, map[string]any{"spec": map[string]any{"cancel": true}}); err != nil {
		p.t.Fatal(err)
	}
}

// checkVariables asks for what the dashboards offer to choose from.
func (s *prometheusServer) checkVariables(all ...[]byte) {
	s.t.Helper()
	form := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	for _, data := range all {
		var d struct {
			Title      string
			Templating struct {
				List []struct {
					Name, Type string
					Query      any
				}
			}
		}
		if err := json.Unmarshal(data, &d); err != nil {
			s.t.Fatal(err)
		}
		asked := 0
		for _, v := range d.Templating.List {
			query, _ := v.Query.(string)
			if v.Type != "query" {
				continue
			}
			asked++
			parts := form.FindStringSubmatch(query)
			if parts == nil {
				s.t.Errorf("%s: variable %s: %q", d.Title, v.Name, query)
				continue
			}
			series := regexp.MustCompile(`\$\w+`).ReplaceAllString(parts[1], ".*")
			_, body := fetch(s.t.Context(), s.t, s.url+"/api/v1/label/"+parts[2]+"/values?match[]="+url.QueryEscape(series))
			var answer struct{ Data []string }
			if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Data) == 0 {
				s.t.Errorf("%s: variable %s offers nothing: %s (%v)", d.Title, v.Name, body, err)
			}
		}
		if asked != 4 {
			s.t.Errorf("%s: %d variables, want service, allocation, run and node", d.Title, asked)
		}
	}
}

// lockedBuffer is a buffer that a process writes to while a test reads it.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
