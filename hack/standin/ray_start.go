package main

// `ray start` and `ray stop` (sources: see ray.go).

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// rayStartFlags are the options of `ray start`, those that its help hides included.
const rayStartFlags = `
--node-ip-address              text
--address                      text
--port                         int
--node-name                    text
--redis-username               text
--redis-password               text
--redis-shard-ports            text
--object-manager-port          int
--node-manager-port            int
--gcs-server-port              int
--min-worker-port              int
--max-worker-port              int
--worker-port-list             text
--ray-client-server-port       int
--memory                       int
--object-store-memory          int
--redis-max-memory             int
--num-cpus                     int
--num-gpus                     int
--resources                    text
--head                         flag
--include-dashboard            truth
--dashboard-host               text
--dashboard-port               int
--dashboard-agent-listen-port  int
--dashboard-agent-grpc-port    int
--dashboard-grpc-port          int
--runtime-env-agent-port       int
--block                        flag
--plasma-directory             text
--object-spilling-directory    text
--autoscaling-config           text
--no-redirect-output           flag
--plasma-store-socket-name     text
--raylet-socket-name           text
--temp-dir                     text
--system-config                json
--enable-object-reconstruction flag
--metrics-export-port          int
--no-monitor                   flag
--tracing-startup-hook         text
--ray-debugger-external        flag
--disable-usage-stats          flag
--labels                       text
--labels-file                  text
--include-log-monitor          truth
--log-style                    auto|record|pretty
--log-color                    auto|false|true
-v,--verbose                   flag
`

// A rayStarter is one `ray start`.
type rayStarter struct {
	*call
	p       *parsed
	head    bool
	block   bool
	ip      string
	address string // of the head
	temp    string
	daemons []*rayDaemon
}

// A rayDaemon is a process that was started.
type rayDaemon struct {
	name string
	cmd  *exec.Cmd
	held io.Closer // the pipe whose end ends it
}

// rayStart plays `ray start`.
func (c *call) rayStart(ctx context.Context, args []string) int {
	k := click{prog: "ray start", usage: "[OPTIONS]", options: options(rayStartFlags)}
	p, refused := k.parse(args)
	if refused != nil {
		return c.refuseUsage(refused)
	}
	var values map[string]float64
	if err := json.Unmarshal([]byte(p.text("resources", "{}")), &values); err != nil {
		return c.errorf("Error: Failed to parse resources JSON: `--resources` is not a valid JSON string, detail error:%v", err)
	}
	s := &rayStarter{call: c, p: p, head: p.on("head"), block: p.on("block"), temp: c.rayTemp()}
	if code := s.settle(); code != exitOK {
		return code
	}
	return s.run(ctx)
}

// settle checks the options against each other.
func (s *rayStarter) settle() int {
	p := s.p
	if n := p.number("num-gpus", 0); n < 0 {
		return s.raise("ValueError", "The 'GPU' resource quantity must be non-negative, got %d.", n)
	}
	if s.head {
		s.ip = p.text("node-ip-address", localIP())
		s.address = net.JoinHostPort(s.ip, strconv.Itoa(p.number("port", 6379)))
		s.temp = p.text("temp-dir", s.temp)
		if !filepath.IsAbs(s.temp) {
			return s.raise("ValueError", "temp_dir must be absolute path or None.")
		}
		return exitOK
	}
	if p.has("temp-dir") {
		s.errorf("`--temp-dir=%s` option will be ignored. `--head` is a required flag to use `--temp-dir`. temp_dir is only configurable from a head node. All the worker nodes will use the same temp_dir as a head node. ", p.text("temp-dir", ""))
	}
	if !p.has("address") {
		return s.abort("`--address` is a required flag unless starting a head node with `--head`.")
	}
	for _, flag := range []string{"port", "redis-shard-ports", "include-dashboard"} {
		if p.has(flag) {
			return s.abort("`--" + flag + "` should only be specified when starting head node with `--head`.")
		}
	}
	var err error
	if s.address, err = s.rayAddress(p.text("address", "")); err != nil {
		return s.raise("ConnectionError", "%v", err)
	}
	host, port, err := net.SplitHostPort(s.address)
	if _, bad := strconv.Atoi(port); err != nil || bad != nil || host == "" {
		return s.raise("ValueError", "Malformed address: %q. Expected '<host>:<port>'.", s.address)
	}
	s.ip = p.text("node-ip-address", localIP())
	return exitOK
}

// abort fails as cli_logger does.
func (s *rayStarter) abort(text string) int { return s.errorf("%s\nError: %s", text, text) }

// localIP is the address of the interface that leads out, or the loopback's.
func localIP() string {
	conn, err := net.Dial("udp", "192.0.2.1:9") // sends nothing
	if err != nil {
		return "127.0.0.1"
	}
	defer conn.Close()
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		return "127.0.0.1"
	}
	return host
}

// run starts the daemons.
func (s *rayStarter) run(ctx context.Context) int {
	if _, err := s.rayToken(); err != nil {
		return s.raise("ray.exceptions.AuthenticationError", "%v", err)
	}
	if s.head {
		fmt.Fprintf(s.stdout, "Usage stats collection is %s.\n\n", map[bool]string{true: "disabled", false: "enabled"}[s.p.on("disable-usage-stats") || s.env("RAY_USAGE_STATS_ENABLED") == "0"])
	}
	fmt.Fprintf(s.stdout, "Local node IP: %s\n", s.ip)
	defer s.stopAll()
	if s.head {
		if err := s.startGCS(ctx); err != nil {
			if portInUse(err.Error()) {
				return s.raise("ConnectionError", "Ray is trying to start at %s, but is already running at %s. Please specify a different port using the `--port` flag of `ray start` command.", s.address, s.address)
			}
			return s.raise("RuntimeError", "Failed to start GCS: %v", err)
		}
	}
	id := make([]byte, 28)
	_, _ = rand.Read(id) // never fails
	node, err := json.Marshal(rayNode{hex.EncodeToString(id), s.ip, s.p.number("num-cpus", runtime.NumCPU()), s.p.number("num-gpus", s.gpuCount())})
	if err != nil {
		panic(err) // strings and ints always marshal
	}
	taken := ports(s.p.number("node-manager-port", 0), s.p.number("object-manager-port", 0))
	if err := s.start(ctx, rayletName, append([]string{s.address, string(node)}, taken...)...); err != nil {
		return s.raise("RuntimeError", "%v", err)
	}
	s.report()
	if err := os.WriteFile(filepath.Join(s.temp, "ray_current_cluster"), []byte(s.address), 0o644); err != nil {
		return s.raise("OSError", "%v", err)
	}
	if !s.block {
		s.daemons = nil // they go on
		return exitOK
	}
	fmt.Fprintln(s.stdout, "\n--block\n  This command will now block forever until terminated by a signal.\n  Running subprocesses are monitored and a message will be printed if any of them terminate unexpectedly. Subprocesses exit with SIGTERM will be treated as graceful, thus NOT reported.")
	return s.watch(ctx)
}

// startGCS starts the head's daemon, and with it the dashboard. Of an installation without Ray's extras, which vLLM's image has, it
// plays the refusal of a dashboard that is asked for.
func (s *rayStarter) startGCS(ctx context.Context) error {
	switch {
	case s.p.has("include-dashboard") && !isTrue(s.p.text("include-dashboard", "")):
		return s.start(ctx, gcsName, s.address)
	case s.p.has("include-dashboard"):
		return errors.New("Ray dashboard dependencies failed to install properly: No module named 'aiohttp_cors'.") //nolint:revive // Ray's own words
	}
	host, port := s.p.text("dashboard-host", "127.0.0.1"), s.p.number("dashboard-port", 8265)
	tries := 50 // like Ray, the next ports are tried when the default's is taken
	if s.p.has("dashboard-port") {
		tries = 1
	}
	var err error
	for range tries {
		at := net.JoinHostPort(host, strconv.Itoa(port))
		if err = s.start(ctx, gcsName, s.address, at); err == nil || !strings.Contains(err.Error(), at) || s.address == at {
			return err
		}
		port++
	}
	return fmt.Errorf("Failed to start the dashboard: %w", errors.New(strings.ReplaceAll(err.Error(), "address already in use", "port is taken")))
}

// start runs a daemon until it is ready.
func (s *rayStarter) start(ctx context.Context, name string, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0] = name
	cmd.Env = os.Environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	d := &rayDaemon{name: name, cmd: cmd}
	if s.block {
		cmd.Env = append(cmd.Env, "STANDIN_RAY_FATE=shared")
		if d.held, err = cmd.StdinPipe(); err != nil {
			return err
		}
	} else {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	logs := filepath.Join(s.temp, "session_latest", "logs")
	if err := errors.Join(os.MkdirAll(logs, 0o755), os.MkdirAll(s.pids(), 0o755)); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(logs, fmt.Sprintf("%s.%s.err", name, s.ip)))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	line, _ := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != readyLine {
		_ = cmd.Wait()
		text, _ := os.ReadFile(log.Name())
		fmt.Fprint(s.stderr, string(text))
		return fmt.Errorf("%s", strings.TrimSpace(string(text)))
	}
	s.daemons = append(s.daemons, d)
	return os.WriteFile(filepath.Join(s.pids(), strconv.Itoa(cmd.Process.Pid)), nil, 0o644)
}

// pids is the folder whose files are named by the daemons' process ids.
func (s *rayStarter) pids() string { return filepath.Join(s.rayTemp(), "standin") }

// report prints what `ray start` says at its end.
func (s *rayStarter) report() {
	fmt.Fprint(s.stdout, "\n--------------------\nRay runtime started.\n--------------------\n\n")
	if s.head {
		fmt.Fprintf(s.stdout, "Next steps\n  To add another node to this Ray cluster, run\n    ray start --address='%s'\n  \n  To connect to this Ray cluster:\n    import ray\n    ray.init(_node_ip_address='%s')\n  \n  To terminate the Ray runtime, run\n    ray stop\n  \n  To view the status of the cluster, use\n    ray status\n", s.address, s.ip)
		return
	}
	fmt.Fprint(s.stdout, "To terminate the Ray runtime, run\n  ray stop\n")
}

// watch is --block: it stays until a daemon dies or a signal comes. Daemons that SIGTERM ended are not missed, so that after
// `ray stop` it blocks on, as the real one does.
func (s *rayStarter) watch(ctx context.Context) int {
	died := make(chan *rayDaemon, len(s.daemons))
	for _, d := range s.daemons {
		go func() {
			_ = d.cmd.Wait()
			died <- d
		}()
	}
	for {
		select {
		case <-ctx.Done():
			return exitFailed
		case d := <-died:
			state := d.cmd.ProcessState
			status, _ := state.Sys().(syscall.WaitStatus)
			code := state.ExitCode()
			if status.Signaled() {
				code = -int(status.Signal())
			}
			if code == 0 || code == -int(syscall.SIGTERM) || code == 128+int(syscall.SIGTERM) {
				continue
			}
			return s.errorf("\nSome Ray subprocesses exited unexpectedly:\n  %s [exit code=%d]\n\nRemaining processes will be killed.", d.name, code)
		}
	}
}

// stopAll ends what was started and not let go.
func (s *rayStarter) stopAll() {
	for _, d := range s.daemons {
		_ = d.cmd.Process.Kill() // one that has ended already is not hit: the process is known by more than its number
		_ = os.Remove(filepath.Join(s.pids(), strconv.Itoa(d.cmd.Process.Pid)))
	}
}

// rayStop plays `ray stop`: it ends the daemons of this machine. The real one finds them by name; this one by the files of
// RAY_TMPDIR, so that it ends nothing that another test started.
func (c *call) rayStop(ctx context.Context, args []string) int {
	k := click{prog: "ray stop", usage: "[OPTIONS]", options: options(`
-f,--force         flag
-g,--grace-period  int
--log-style        auto|record|pretty
--log-color        auto|false|true
-v,--verbose       flag
`)}
	p, refused := k.parse(args)
	if refused != nil {
		return c.refuseUsage(refused)
	}
	dir := filepath.Join(c.rayTemp(), "standin")
	entries, _ := os.ReadDir(dir)
	var found []int
	for _, e := range entries { // all of them before the first ends, for one takes the others along
		if pid, err := strconv.Atoi(e.Name()); err == nil && isDaemon(pid) {
			found = append(found, pid)
		}
		_ = os.Remove(filepath.Join(dir, e.Name()))
	}
	for _, pid := range found {
		c.endDaemon(ctx, pid, p.on("force"), time.Duration(p.number("grace-period", 16))*time.Second)
	}
	_ = os.Remove(filepath.Join(c.rayTemp(), "ray_current_cluster"))
	if len(found) == 0 {
		fmt.Fprintln(c.stdout, "Did not find any active Ray processes.")
	} else {
		fmt.Fprintf(c.stdout, "Stopped all %d Ray processes.\n", len(found))
	}
	return exitOK
}

// isDaemon says whether a process is one of ours: process ids are used again.
func isDaemon(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	name, _, _ := strings.Cut(string(line), "\x00")
	return err == nil && (name == gcsName || name == rayletName)
}

// endDaemon ends one, politely first.
func (c *call) endDaemon(ctx context.Context, pid int, force bool, grace time.Duration) {
	if !force {
		_ = syscall.Kill(pid, syscall.SIGTERM)
		for deadline := time.Now().Add(grace); time.Now().Before(deadline) && isDaemon(pid); {
			sleep(ctx, 10*time.Millisecond)
		}
	}
	if isDaemon(pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
