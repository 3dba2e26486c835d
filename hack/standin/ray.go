package main

// The personality `ray`: a cluster of a head and its members.
//
// Sources: ray-project/ray, python/ray/scripts/scripts.py (a copy of about 2.4x: options of `ray start`, what it prints, how
// --block ends), docs.ray.io ray-security/token-auth and ray-core/internals/token-authentication (2.52: RAY_AUTH_MODE and
// where the token comes from), python/ray/_private/authentication/authentication_constants.py (the words), issues 22326 and
// 37107 of ray and 15385 of vllm (a head that is not there), real outputs of `ray status` of 2.48.
//
// Not verified: the exit code of --block after SIGTERM (taken as 1), what an unknown RAY_AUTH_MODE leads to (taken as an
// end), the error of a missing ray_current_cluster in `ray start --address=auto`.

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const rayVersion = "2.52.0"

// runRay plays `ray`.
func runRay(ctx context.Context, c *call) int {
	if len(c.args) == 0 || c.args[0] == "--help" {
		fmt.Fprintln(c.stdout, "Usage: ray [OPTIONS] COMMAND [ARGS]...")
		return exitOK
	}
	verb, rest := c.args[0], c.args[1:]
	switch verb {
	case "--version":
		fmt.Fprintln(c.stdout, "ray, version "+rayVersion)
		return exitOK
	case "start":
		return c.rayStart(ctx, rest)
	case "status":
		return c.rayStatus(ctx, rest)
	case "stop":
		return c.rayStop(ctx, rest)
	}
	k := click{prog: "ray", usage: "[OPTIONS] COMMAND [ARGS]..."}
	if strings.HasPrefix(verb, "-") {
		return c.refuseUsage(k.fail("No such option: %s", verb))
	}
	return c.refuseUsage(k.fail("No such command '%s'.", verb))
}

// rayTemp is the root of Ray's files.
func (c *call) rayTemp() string {
	root := c.env("RAY_TMPDIR")
	if root == "" {
		root = "/tmp"
	}
	return filepath.Join(root, "ray")
}

// errNoCluster is what Ray says where it finds no cluster.
var errNoCluster = errors.New("Could not find any running Ray instance. Please specify the one to connect to by setting `--address` flag or `RAY_ADDRESS` environment variable.") //nolint:revive // Ray's own words

// rayAddress is the cluster that a command without an address talks to.
func (c *call) rayAddress(given string) (string, error) {
	if given == "" {
		given = c.env("RAY_ADDRESS")
	}
	if given != "" && given != "auto" {
		return given, nil
	}
	data, err := os.ReadFile(filepath.Join(c.rayTemp(), "ray_current_cluster"))
	if address := strings.TrimSpace(string(data)); err == nil && address != "" {
		return address, nil
	}
	return "", errNoCluster
}

// The words for what is wrong with tokens.
var (
	errNoToken  = errors.New("Token authentication is enabled but no authentication token was found. Ensure that the token for the cluster is available in a local file (e.g., ~/.ray/auth_token or via RAY_AUTH_TOKEN_PATH) or as the `RAY_AUTH_TOKEN` environment variable.") //nolint:revive // Ray's own words
	errBadToken = errors.New("Token authentication is enabled but the authentication token is invalid or incorrect.")                                                                                                                                                           //nolint:revive // Ray's own words
)

// rayToken is the token that RAY_AUTH_MODE asks for, empty when it asks for none.
func (c *call) rayToken() (string, error) {
	switch mode := strings.ToLower(c.env("RAY_AUTH_MODE")); mode {
	case "", "disabled":
		return "", nil
	case "token":
	default:
		return "", fmt.Errorf("RAY_AUTH_MODE is %q: want disabled or token", mode)
	}
	if token := c.env("RAY_AUTH_TOKEN"); token != "" {
		return token, nil
	}
	path, explicit := c.env("RAY_AUTH_TOKEN_PATH"), true
	if path == "" {
		path, explicit = filepath.Join(c.env("HOME"), ".ray", "auth_token"), false
	}
	data, err := os.ReadFile(path)
	token := strings.TrimSpace(string(data))
	switch {
	case err != nil && explicit:
		return "", fmt.Errorf("RAY_AUTH_TOKEN_PATH is set but file cannot be opened or is empty: %s", path)
	case token == "" && explicit:
		return "", fmt.Errorf("RAY_AUTH_TOKEN_PATH is set but file cannot be opened or is empty: %s", path)
	case token == "":
		return "", errNoToken
	}
	return token, nil
}

// A rayNode is a member of the cluster.
type rayNode struct {
	ID   string `json:"id"`
	IP   string `json:"ip"`
	CPUs int    `json:"cpus"`
	GPUs int    `json:"gpus"`
}

// A rayRequest is a line to the head; the connection of a join or a granted reservation stays open for as long as it holds.
type rayRequest struct {
	Op    string  `json:"op"` // join, status, reserve
	Token string  `json:"token,omitempty"`
	Node  rayNode `json:"node,omitzero"`
	GPUs  int     `json:"gpus,omitempty"`
}

// A rayAnswer is the head's line in return.
type rayAnswer struct {
	Error    string    `json:"error,omitempty"`
	OK       bool      `json:"ok"`
	NoDriver bool      `json:"noDriver,omitempty"` // the node of who asks has no GPU
	Nodes    []rayNode `json:"nodes,omitempty"`
	Reserved int       `json:"reserved,omitempty"`
}

// A rayClient is a connection to the head.
type rayClient struct {
	conn  net.Conn
	r     *bufio.Reader
	token string
}

// rayDial connects, for as long as STANDIN_RAY_CONNECT says, and shows the token.
func (c *call) rayDial(ctx context.Context, address string) (*rayClient, error) {
	token, err := c.rayToken()
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(c.knobs.rayConnect)
	warned := false
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err == nil {
			return &rayClient{conn, bufio.NewReader(conn), token}, nil
		}
		if !warned && time.Now().After(deadline.Add(-c.knobs.rayConnect*6/7)) {
			warned = true
			fmt.Fprintf(c.stderr, "[%s W %d %d] gcs_rpc_client.h:151: Failed to connect to GCS at address %s within 5 seconds.\n", rayTime(), os.Getpid(), os.Getpid(), address)
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			fmt.Fprintf(c.stderr, "[%s W %d %d] gcs_client.cc:183: Failed to get cluster ID from GCS server: TimedOut: Timed out while waiting for GCS to become available.\n", rayTime(), os.Getpid(), os.Getpid())
			return nil, fmt.Errorf("Failed to connect to GCS at address %s", address)
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

func rayTime() string { return time.Now().Format("2006-01-02 15:04:05,000") }

func (k *rayClient) close() { _ = k.conn.Close() }

// ask sends a request and reads the answer.
func (k *rayClient) ask(r rayRequest) (rayAnswer, error) {
	r.Token = k.token
	line, err := json.Marshal(r)
	if err != nil {
		return rayAnswer{}, err
	}
	if _, err := k.conn.Write(append(line, '\n')); err != nil {
		return rayAnswer{}, err
	}
	line, err = k.r.ReadBytes('\n')
	if err != nil {
		return rayAnswer{}, err
	}
	var a rayAnswer
	if err := json.Unmarshal(line, &a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// reserve asks for GPUs, of which one must be on the node at ip.
func (k *rayClient) reserve(gpus int, ip string) (rayAnswer, error) {
	return k.ask(rayRequest{Op: "reserve", GPUs: gpus, Node: rayNode{IP: ip}})
}

// rayStatus plays `ray status`.
func (c *call) rayStatus(ctx context.Context, args []string) int {
	k := click{prog: "ray status", usage: "[OPTIONS]", options: options(`
--address          text
--redis_password   text
-v,--verbose       flag
--log-style        auto|record|pretty
--log-color        auto|false|true
`)}
	p, refused := k.parse(args)
	if refused != nil {
		return c.refuseUsage(refused)
	}
	address, err := c.rayAddress(p.text("address", ""))
	if err != nil {
		return c.raise("ConnectionError", "%v", err)
	}
	client, err := c.rayDial(ctx, address)
	if err != nil {
		return c.raise("ConnectionError", "%v", err)
	}
	defer client.close()
	a, err := client.ask(rayRequest{Op: "status"})
	if err != nil {
		return c.raise("ray.exceptions.AuthenticationError", "%v", err)
	}
	fmt.Fprint(c.stdout, clusterStatus(time.Now(), a))
	return exitOK
}

// clusterStatus is the page that `ray status` prints for a cluster that was started by hand.
func clusterStatus(now time.Time, a rayAnswer) string {
	header := fmt.Sprintf("======== Autoscaler status: %s ========", now.Format("2006-01-02 15:04:05.000000"))
	line := strings.Repeat("-", 63)
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nNode status\n%s\nActive:\n", header, line)
	cpus, gpus := 0, 0
	for _, n := range a.Nodes {
		fmt.Fprintf(&b, " 1 node_%s\n", n.ID)
		cpus += n.CPUs
		gpus += n.GPUs
	}
	if len(a.Nodes) == 0 {
		b.WriteString(" (no active nodes)\n")
	}
	fmt.Fprintf(&b, "Pending:\n (no pending nodes)\nRecent failures:\n (no failures)\n\nResources\n%s\nTotal Usage:\n 0.0/%.1f CPU\n", line, float64(cpus))
	if gpus > 0 {
		fmt.Fprintf(&b, " %.1f/%.1f GPU", float64(a.Reserved), float64(gpus))
		if a.Reserved > 0 {
			fmt.Fprintf(&b, " (%.1f used of %.1f reserved in placement groups)", float64(a.Reserved), float64(a.Reserved))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, " 0B/%d.00GiB memory\n 0B/%d.00GiB object_store_memory\n\n", 4*len(a.Nodes), 2*len(a.Nodes))
	b.WriteString("Total Constraints:\n (no request_resources() constraints)\nTotal Demands:\n (no resource demands)\n")
	return b.String()
}
