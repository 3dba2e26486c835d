package main

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A cluster is a Ray cluster of processes on this machine's loopback addresses.
type cluster struct {
	t    *testing.T
	temp string
	head string // its address
	env  []string
}

// newCluster has a folder of its own, so that it shares nothing with another.
func newCluster(t *testing.T, env ...string) *cluster {
	c := &cluster{t: t, temp: t.TempDir(), head: "127.0.0.1:" + strconv.Itoa(freePort(t))}
	c.env = append([]string{"GORACE=atexit_sleep_ms=0", "RAY_TMPDIR=" + c.temp, "STANDIN_RAY_LOST=10ms", "STANDIN_RAY_CONNECT=2s"}, env...)
	return c
}

// A process plays a name in a process of its own.
type process struct {
	cmd   *exec.Cmd
	out   *watched
	ended chan struct{}
}

// start runs a command line.
func (c *cluster) start(env []string, line string) *process {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(self), out: &watched{}, ended: make(chan struct{})}
	p.cmd.Args = strings.Fields(line)
	p.cmd.Env = append(append(os.Environ(), c.env...), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	c.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// node starts `ray start --block` and waits until it blocks.
func (c *cluster) node(env []string, line string) *process {
	c.t.Helper()
	p := c.start(env, line)
	if !p.out.await(c.t, "block forever", p.ended) {
		c.t.Fatalf("%s: it ended:\n%s", line, p.out)
	}
	return p
}

// exit waits for the end of a process.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("it goes on:\n%s", p.out)
		return -1
	}
}

// three starts a head with 2 GPUs and two workers with 4 each.
func (c *cluster) three() (head *process, workers [2]*process) {
	c.t.Helper()
	_, port, _ := strings.Cut(c.head, ":")
	head = c.node(nil, "ray start --head --node-ip-address=127.0.0.1 --port="+port+" --num-cpus=4 --num-gpus 2 --include-dashboard=false --disable-usage-stats --block")
	for i := range workers {
		workers[i] = c.node(nil, "ray start --address="+c.head+" --node-ip-address 127.0.0."+strconv.Itoa(i+2)+" --num-cpus=2 --num-gpus=4 --block")
	}
	return head, workers
}

// status is the page of `ray status`.
func (c *cluster) status() string {
	c.t.Helper()
	p := c.start(nil, "ray status")
	if code := p.exit(c.t); code != 0 {
		c.t.Fatalf("ray status: exit %d: %s", code, p.out)
	}
	return p.out.String()
}

// awaitGPUs asks for the status until so many GPUs are in it.
func (c *cluster) awaitGPUs(line string) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(c.status(), line); {
		if time.Now().After(deadline) {
			c.t.Fatalf("%q did not come:\n%s", line, c.status())
		}
	}
}

// children are the processes that a process started, by name.
func children(t *testing.T, pid int) map[string]int {
	t.Helper()
	out := map[string]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		data, err := os.ReadFile(path)
		fields := strings.Fields(string(data[strings.LastIndex(string(data), ")")+1:]))
		if err != nil || len(fields) < 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		name, _, _ := strings.Cut(string(line), "\x00")
		out[name] = child
	}
	return out
}

func TestRayClusterLosesAWorker(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	head, workers := c.three()
	page := c.status()
	for _, part := range []string{"======== Autoscaler status: ", "Active:\n 1 node_", "Pending:\n (no pending nodes)", "Recent failures:\n (no failures)", " 0.0/8.0 CPU\n 0.0/10.0 GPU\n"} {
		if !strings.Contains(page, part) {
			t.Errorf("the status has no %q:\n%s", part, page)
		}
	}
	if got := strings.Count(page, " 1 node_"); got != 3 {
		t.Errorf("%d nodes:\n%s", got, page)
	}
	_ = workers[0].cmd.Process.Kill()
	c.awaitGPUs(" 0.0/6.0 GPU\n")

	// A raylet that dies takes its `ray start --block` along.
	raylet := children(t, workers[1].cmd.Process.Pid)[rayletName]
	if raylet == 0 {
		t.Fatal("the worker has no raylet")
	}
	if err := syscall.Kill(raylet, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := workers[1].exit(t); code != 1 || !strings.Contains(workers[1].out.String(), "Some Ray subprocesses exited unexpectedly:\n  raylet [exit code=-9]") {
		t.Errorf("exit %d:\n%s", code, workers[1].out)
	}
	c.awaitGPUs(" 0.0/2.0 GPU\n")
	if err := head.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := head.exit(t); code != 1 {
		t.Errorf("the head: exit %d after SIGTERM", code)
	}
}

func TestRayWorkersEndWithTheHead(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	head, workers := c.three()
	_ = head.cmd.Process.Kill()
	for _, w := range workers {
		if code := w.exit(t); code != 1 || !strings.Contains(w.out.String(), "raylet [exit code=1]") {
			t.Errorf("exit %d:\n%s", code, w.out)
		}
	}
}

func TestRayTokens(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	secret := filepath.Join(c.temp, "secret")
	if err := os.WriteFile(secret, []byte("right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(c.head, ":")
	c.node([]string{"RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN=right"}, "ray start --head --node-ip-address=127.0.0.1 --port="+port+" --num-gpus=1 --include-dashboard=false --block")
	worker := "ray start --address=" + c.head + " --node-ip-address=127.0.0.2 --num-gpus=1 --block"
	for says, env := range map[string][]string{
		errBadToken.Error(): {"RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN=wrong"},
		errNoToken.Error():  {"RAY_AUTH_MODE=disabled", "RAY_AUTH_TOKEN=right"},
	} {
		p := c.start(env, worker)
		if code := p.exit(t); code != 1 || !strings.Contains(p.out.String(), says) {
			t.Errorf("%v: exit %d, want %q:\n%s", env, code, says, p.out)
		}
	}
	p := c.start(nil, "ray status --address "+c.head)
	if code := p.exit(t); code != 1 {
		t.Errorf("a status without token: exit %d:\n%s", code, p.out)
	}
	c.node([]string{"RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN_PATH=" + secret}, worker)
}

func TestRayWithoutBlock(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	_, port, _ := strings.Cut(c.head, ":")
	line := "ray start --head --node-ip-address=127.0.0.1 --port=" + port + " --num-gpus=3 --include-dashboard=false"
	p := c.start(nil, line)
	if code := p.exit(t); code != 0 || !strings.Contains(p.out.String(), "ray start --address='"+c.head+"'") {
		t.Fatalf("exit %d:\n%s", code, p.out)
	}
	defer func() { c.start(nil, "ray stop --force").exit(t) }()
	c.awaitGPUs(" 0.0/3.0 GPU\n")
	if again := c.start(nil, line); again.exit(t) != 1 || !strings.Contains(again.out.String(), "is already running at "+c.head) {
		t.Errorf("a second head on the port:\n%s", again.out)
	}
	if stop := c.start(nil, "ray stop"); stop.exit(t) != 0 || !strings.Contains(stop.out.String(), "Stopped all 2 Ray processes.") {
		t.Errorf("%s", stop.out)
	}
	if stop := c.start(nil, "ray stop"); !(stop.exit(t) == 0 && strings.Contains(stop.out.String(), "Did not find any active Ray processes.")) {
		t.Errorf("%s", stop.out)
	}
}

// A dashboard that is asked for is not left out, as one that is not.
func TestRayDashboardWithoutExtras(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	_, port, _ := strings.Cut(c.head, ":")
	p := c.start(nil, "ray start --head --node-ip-address=127.0.0.1 --port="+port+" --include-dashboard=true --block")
	if code := p.exit(t); code != 1 || !strings.Contains(p.out.String(), "No module named 'aiohttp_cors'") {
		t.Errorf("exit %d:\n%s", code, p.out)
	}
}

func TestRayWorkerWithoutHead(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "STANDIN_RAY_CONNECT=50ms")
	p := c.start(nil, "ray start --address="+c.head+" --block")
	if code := p.exit(t); code != 1 || !strings.Contains(p.out.String(), "Failed to connect to GCS at address "+c.head) {
		t.Errorf("exit %d:\n%s", code, p.out)
	}
}

// TestVLLMOnRay is the case that a health check does not see: a worker dies, /health goes on saying 200.
func TestVLLMOnRay(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	_, workers := c.three()
	port := strconv.Itoa(freePort(t))
	v := act(t, map[string]string{"RAY_ADDRESS": c.head, "CUDA_VISIBLE_DEVICES": "0,1", "VLLM_HOST_IP": "127.0.0.1"}, "vllm", "serve", "m", "-tp", "4", "-pp", "2", "--distributed-executor-backend", "ray", "--host", "127.0.0.1", "--port", port)
	v.ready(t, "Uvicorn running")
	if page := c.status(); !strings.Contains(page, " 8.0/10.0 GPU (8.0 used of 8.0 reserved in placement groups)") {
		t.Errorf("the reservation does not show:\n%s", page)
	}
	url := "http://127.0.0.1:" + port
	expect(t, "POST", url+"/v1/completions", "", `{"model":"m","prompt":"a b","max_tokens":2}`, http.StatusOK, `"finish_reason":"length"`)
	_ = workers[1].cmd.Process.Kill()
	c.awaitGPUs("/6.0 GPU")
	expect(t, "GET", url+"/health", "", "", http.StatusOK, "")

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/completions", strings.NewReader(`{"model":"m","prompt":"a b"}`))
	if err != nil {
		t.Fatal(err)
	}
	if res, err := http.DefaultClient.Do(req); err == nil {
		res.Body.Close()
		t.Error("a request was answered, though a worker is gone")
	}
	v.end(t)
	c.awaitGPUs(" 0.0/6.0 GPU\n") // the placement group goes with its owner
}

func TestVLLMWaitsForRay(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	_, port, _ := strings.Cut(c.head, ":")
	c.node(nil, "ray start --head --node-ip-address=127.0.0.1 --port="+port+" --num-gpus=2 --include-dashboard=false --block")
	server := strconv.Itoa(freePort(t))
	line := []string{"vllm", "serve", "m", "-tp", "4", "--distributed-executor-backend", "ray", "--host", "127.0.0.1", "--port", server}
	env := map[string]string{"RAY_ADDRESS": c.head, "CUDA_VISIBLE_DEVICES": "0,1"}
	v := act(t, env, line...)
	v.ready(t, "The number of required GPUs exceeds the total number of available GPUs in the placement group.")
	c.node(nil, "ray start --address="+c.head+" --node-ip-address=127.0.0.2 --num-gpus=2 --block")
	v.ready(t, "Uvicorn running")
	v.end(t)

	c.node(nil, "ray start --address="+c.head+" --node-ip-address=127.0.0.3 --num-gpus=0 --block")
	for name, x := range map[string]struct {
		env  map[string]string
		says string
	}{
		"no GPU here":  {with(env, "VLLM_HOST_IP", "127.0.0.3"), "Current node has no GPU available."},
		"another node": {with(env, "VLLM_HOST_IP", "127.0.0.9", "STANDIN_PG_TIMEOUT", "10ms"), "Cannot provide a placement group requiring 4.0 GPUs"},
		"no cluster":   {with(env, "RAY_ADDRESS", "127.0.0.1:1", "STANDIN_RAY_CONNECT", "10ms"), "ConnectionError: Failed to connect to GCS at address 127.0.0.1:1"},
	} {
		if r := act(t, x.env, line...); r.wait(t) != 1 || !strings.Contains(r.out.String(), x.says) {
			t.Errorf("%s: exit %d, want %q:\n%s", name, r.code, x.says, r.out)
		}
	}
}

func TestVLLMOnTwoNodes(t *testing.T) {
	t.Parallel()
	master, port := strconv.Itoa(freePort(t)), strconv.Itoa(freePort(t))
	env := map[string]string{"CUDA_VISIBLE_DEVICES": "0,1"}
	common := "vllm serve m -tp 2 -pp 2 --nnodes 2 --master-addr 127.0.0.1 --master-port " + master + " --host 127.0.0.1 --port "
	head := act(t, env, strings.Fields(common+port+" --node-rank 0")...)
	bare := act(t, with(env, "STANDIN_DIST_TIMEOUT", "10ms"), strings.Fields(common+"1 --node-rank 1 --headless -pp 1 -tp 2")...)
	if bare.wait(t) != 1 {
		t.Errorf("a node with another world joined:\n%s", bare.out)
	}
	worker := act(t, env, strings.Fields(common+"1 --node-rank 1 --headless")...)
	worker.ready(t, "headless multiproc executor, with head node address 127.0.0.1:"+master)
	head.ready(t, "Uvicorn running")
	head.end(t)
	if code := worker.wait(t); code != 1 {
		t.Errorf("the worker outlived the head: exit %d", code)
	}

	follower := act(t, env, strings.Fields(common+strconv.Itoa(freePort(t))+" --node-rank 1")...)
	late := act(t, env, strings.Fields(common+port+" --node-rank 0")...)
	if code := follower.wait(t); code != 1 || !strings.Contains(follower.out.String(), "collective_rpc should not be called on follower node") {
		t.Errorf("exit %d:\n%s", code, follower.out)
	}
	late.end(t)
}

func TestVLLMAPI(t *testing.T) {
	t.Parallel()
	port := strconv.Itoa(freePort(t))
	v := act(t, with(gpus4, "VLLM_API_KEY", "k", "STANDIN_CRASH_AFTER", "1h"), "vllm", "serve", "org/m", "--served-model-name", "x", "y", "--host", "127.0.0.1", "--port", port)
	v.ready(t, "Uvicorn running")
	url := "http://127.0.0.1:" + port
	for _, path := range []string{"/health", "/version", "/metrics"} {
		expect(t, "GET", url+path, "", "", http.StatusOK, "")
	}
	expect(t, "GET", url+"/v1/models", "wrong", "", http.StatusUnauthorized, `{"error":"Unauthorized"}`)
	expect(t, "GET", url+"/v1/models", "k", "", http.StatusOK, `"id":"y"`)
	expect(t, "POST", url+"/v1/completions", "k", `{"model":"y","prompt":"a"}`, http.StatusOK, `"model":"x"`)
	expect(t, "POST", url+"/v1/chat/completions", "k", `{"model":"z","messages":[{"role":"user","content":"a"}]}`, http.StatusNotFound, "NotFoundError")
	expect(t, "POST", url+"/tokenize", "", `{"model":"x","prompt":"a b c"}`, http.StatusOK, `"count":3`)
	expect(t, "GET", url+"/nothing", "", "", http.StatusNotFound, "Not Found")

	second := act(t, gpus4, "vllm", "serve", "m", "--host", "127.0.0.1", "--port", port)
	if code := second.wait(t); code != 1 || !strings.Contains(second.out.String(), "OSError: [Errno 98] Address already in use") {
		t.Errorf("a second server on the port: exit %d:\n%s", code, second.out)
	}
}

func TestCrashAfterReady(t *testing.T) {
	t.Parallel()
	v := act(t, with(gpus4, "STANDIN_CRASH_AFTER", "1ms"), "vllm", "serve", "m", "--host", "127.0.0.1", "--port", strconv.Itoa(freePort(t)))
	if code := v.wait(t); code != 1 || !strings.Contains(v.out.String(), "CUDA out of memory") {
		t.Errorf("exit %d:\n%s", code, v.out)
	}
}

func TestBadKnob(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"STANDIN_LOAD": "soon", "STANDIN_HANG": "up", "STANDIN_GPUS": "-1"} {
		if _, err := readKnobs(func(n string) (string, bool) { return map[string]string{name: value}[n], n == name }); err == nil {
			t.Errorf("%s=%s was taken", name, value)
		}
	}
}
