package services

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Ray's ports, as its documentation and the sites' firewalls know them (docs.ray.io, "Configuring Ray", 2.5x).
const (
	rayPort          = 6379
	rayDashboardPort = 8265
	rayObjectPort    = 8076
	rayNodePort      = 8077
)

// Reasons of a Ray cluster that does not work.
const (
	reasonRayMissing = "RayWorkersMissing"
	reasonRayLost    = "RayWorkerLost"
)

// rayStarted is what `ray start` prints once its node has joined the cluster.
const rayStarted = "Ray runtime started."

// raySettings are the settings of the group `ray`.
var raySettings = []Setting{
	{Name: "port", Type: SettingInt, Least: 1024, Most: 65000, Meaning: "port of the head's control store; 6379 by default"},
	{Name: "dashboardPort", Type: SettingInt, Least: 1024, Most: 65000, Meaning: "port of the dashboard, on loopback alone; 8265 by default"},
	{Name: "objectManagerPort", Type: SettingInt, Least: 1024, Most: 65000, Meaning: "port of each node's object manager; 8076 by default"},
	{Name: "nodeManagerPort", Type: SettingInt, Least: 1024, Most: 65000, Meaning: "port of each node's manager; 8077 by default"},
	{Name: "numCpusPerNode", Type: SettingInt, Least: 1, Most: 4096, Meaning: "CPUs that each node offers; by default those of nodes.servers.cpus"},
	{Name: "numGpusPerNode", Type: SettingInt, Least: 0, Most: 64, Meaning: "GPUs that each node offers; by default those that the server has on a node"},
}

// rayCluster says how the nodes of one server become a Ray cluster of their own.
type rayCluster struct {
	launch   Launch
	settings map[string]any
}

// address is where the head's control store listens.
func (c *rayCluster) address() string {
	return net.JoinHostPort(c.launch.Nodes[0], strconv.Itoa(intSetting(c.settings, "port", rayPort)))
}

// env is what every program of the cluster needs. Ray knows token authentication since 2.52 and earlier ones ignore it; the
// token is made of the job's secret, and told by the environment, for command lines can be read by all users of a node.
func (c *rayCluster) env() map[string]string {
	sum := sha256.Sum256([]byte("ray:" + c.launch.APIKey))
	return map[string]string{
		"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": hex.EncodeToString(sum[:16]),
		// Not /tmp/ray, which may be another user's.
		"RAY_TMPDIR": c.launch.Scratch, "RAY_USAGE_STATS_ENABLED": "0", "VLLM_HOST_IP": c.launch.Address,
	}
}

// node is the process that makes this node a part of the cluster. It stays in the foreground (--block), so that its end is
// seen: Ray's own daemons would outlive the command and die unnoticed.
func (c *rayCluster) node() Process {
	l := &c.launch
	args := []string{"ray", "start"}
	if l.head() {
		// Without a word of --include-dashboard: where Ray's extras are not installed, as in vLLM's image, a head that is told to
		// have a dashboard fails, and one that is not told goes on without.
		args = append(args, "--head", "--port="+strconv.Itoa(intSetting(c.settings, "port", rayPort)),
			"--dashboard-host="+c.loopback(), "--dashboard-port="+strconv.Itoa(intSetting(c.settings, "dashboardPort", rayDashboardPort)))
	} else {
		args = append(args, "--address="+c.address())
	}
	args = append(args, "--node-ip-address="+l.Address,
		"--object-manager-port="+strconv.Itoa(intSetting(c.settings, "objectManagerPort", rayObjectPort)),
		"--node-manager-port="+strconv.Itoa(intSetting(c.settings, "nodeManagerPort", rayNodePort)))
	if cpus := intSetting(c.settings, "numCpusPerNode", l.CPUs); cpus > 0 {
		args = append(args, "--num-cpus="+strconv.Itoa(cpus))
	}
	if gpus := intSetting(c.settings, "numGpusPerNode", len(l.GPUs)); gpus > 0 {
		args = append(args, "--num-gpus="+strconv.Itoa(gpus))
	}
	p := Process{Name: "ray", Args: append(args, "--disable-usage-stats", "--block"), Env: c.env(), Ready: rayStarted, Late: reasonRayMissing}
	if !l.head() {
		p.Await = c.address() // a worker gives up after a while when there is no head yet
	}
	return p
}

// loopback is where the dashboard listens, which knows no password: an address that the node alone can reach. The nodes of an
// embedded cluster each have one of their own.
func (c *rayCluster) loopback() string {
	if ip := net.ParseIP(c.launch.Address); ip != nil && ip.IsLoopback() {
		return c.launch.Address
	}
	return "127.0.0.1"
}

// complete is the gate that all nodes have joined.
func (c *rayCluster) complete() *Gate {
	want := len(c.launch.Nodes)
	return &Gate{
		Args: []string{"ray", "status", "--address=" + c.address()}, Env: c.env(), Reason: reasonRayMissing, Lost: reasonRayLost,
		Check: func(output string) error {
			active, err := rayNodes(output)
			if err != nil {
				return err
			}
			if active < want {
				return fmt.Errorf("`ray status` at %s counts %d of %d nodes", c.address(), active, want)
			}
			return nil
		},
	}
}

// rayNodes counts the nodes that `ray status` prints as members: lines such as " 1 node_4fd2…" after "Active:" ("Healthy:"
// before 2.6) and, in later versions, "Idle:".
func rayNodes(output string) (int, error) {
	const most = 1 << 20
	inside, found, total := false, false, 0
	lines := bufio.NewScanner(strings.NewReader(output))
	for lines.Scan() {
		line := lines.Text()
		if heading := strings.TrimSpace(line); strings.HasSuffix(heading, ":") || !strings.HasPrefix(line, " ") {
			inside = heading == "Active:" || heading == "Idle:" || heading == "Healthy:"
			found = found || inside
			continue
		}
		if !inside {
			continue
		}
		count, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.Atoi(count); err == nil && n > 0 && total < most {
			total += min(n, most)
		}
	}
	if !found {
		first, _, _ := strings.Cut(strings.TrimSpace(output), "\n")
		return 0, errors.New("`ray status` tells no active nodes: " + clip(first))
	}
	return total, nil
}

func clip(s string) string {
	if len(s) > 300 {
		return strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// RayPorts are the ports of the Ray cluster that each server on several nodes makes; none where none is made.
func RayPorts(spec *api.ServiceSpec) []int {
	if spec.Name != "vllm" || spec.Template != nil || spec.NodesPerReplica < 2 || wordSetting(spec.Config, "backend", backendRay) != backendRay {
		return nil
	}
	return rayPorts(groupSetting(spec.Config, "ray"))
}

// rayPorts are the ports that a node's part of the cluster listens on.
func rayPorts(settings map[string]any) []int {
	ports := []int{
		intSetting(settings, "port", rayPort), intSetting(settings, "dashboardPort", rayDashboardPort),
		intSetting(settings, "objectManagerPort", rayObjectPort), intSetting(settings, "nodeManagerPort", rayNodePort),
	}
	slices.Sort(ports)
	return ports
}
