package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/services"
)

// Next steps of the troubles that people have with networks; docs/doctor.md tells the stories.
const (
	serverPortNext   = "choose another service.port; when servers start and stay unhealthy, `benchd logs NAME` shows what they say, and service.health.timeout (10m by default) may be too short for the model"
	executorPortNext = "choose another nodes.executorPort; agents try the following ports too, so what matters is that a firewall between nodes lets them through"
	rayNext          = "choose other ports in service.config.ray (port, dashboardPort, objectManagerPort, nodeManagerPort), and name the fast network in the Cluster object's spec.network where a node has several"
	pushgatewayNext  = "correct monitoring.pushgateway.url, start the Pushgateway, or have the firewall let nodes through to it; Grafana shows what Prometheus scrapes from there"
	addressNext      = "name an interface that nodes reach each other on, or its CIDR prefix, in the Cluster object's spec.network"
)

// portUse is a port that a run's processes listen on, on nodes of a role.
type portUse struct {
	Check string
	Port  int
	Next  string
}

// ports lists what the run's processes listen on: a server's ports on one node, the executor's, Ray's.
func (a *ask) ports() []portUse {
	var all []portUse
	seen := map[int]bool{}
	for _, r := range a.manifest.Replicas {
		if !seen[int(r.Port)] {
			seen[int(r.Port)] = true
			all = append(all, portUse{"server port", int(r.Port), serverPortNext})
		}
	}
	all = append(all, portUse{"executor port", a.manifest.ExecutorPort, executorPortNext})
	for _, port := range services.RayPorts(&a.spec.Service) {
		all = append(all, portUse{"Ray", port, rayNext})
	}
	return all
}

// checkPorts looks whether the ports can work at all. Whether they are free, nodes alone can tell.
func (a *ask) checkPorts(embedded bool) []finding {
	uses := a.ports()
	var all []finding
	for _, check := range []string{"server port", "executor port", "Ray"} {
		var ports []int
		next := ""
		for _, u := range uses {
			if u.Check == check {
				ports, next = append(ports, u.Port), u.Next
			}
		}
		if len(ports) == 0 {
			continue
		}
		if f := judgePorts(check, next, ports, uses, embedded); !a.node || f.Level != levelLeftOut { // else the node tells
			all = append(all, f)
		}
	}
	return all
}

func judgePorts(check, next string, ports []int, uses []portUse, embedded bool) finding {
	text := strings.Trim(strings.ReplaceAll(fmt.Sprint(ports), " ", ", "), "[]")
	for _, port := range ports {
		var others []string
		for _, u := range uses {
			if u.Port == port && u.Check != check {
				others = append(others, u.Check)
			}
		}
		switch {
		case port < 1024:
			return problem(check, next, "%d: ports below 1024 are for root", port)
		case port > 65535:
			return problem(check, next, "%d is above 65535, the highest port there is: too many servers on one node count up from service.port", port)
		case len(others) > 0 && check != "executor port":
			return problem(check, next, "%d is used twice on a node: %s", port, strings.Join(others, ", "))
		case len(others) > 0:
			return warning(check, next, "%d is the %s's too: agents will take the next free one", port, others[0])
		}
	}
	if embedded {
		return found(check, "%s, on an address of its own for each node", text)
	}
	return leftOut(check, "%s: whether free on a node, `--node` looks", text)
}

// checkNetwork tells which network nodes are to meet on, where servers span several of them.
func (a *ask) checkNetwork(network string, embedded bool) finding {
	const check = "network"
	switch {
	case embedded:
		return found(check, "loopback")
	case network != "":
		return leftOut(check, "%s (spec.network of the Cluster): the address that it gives on a node, `--node` tells", network)
	case a.spec.Service.NodesPerReplica > 1:
		return warning(check, addressNext+"; `--node` tells which address would be chosen",
			"a server spans %d nodes, which meet on the address of the host name: commonly the slow network", a.spec.Service.NodesPerReplica)
	}
	return leftOut(check, "the address of a node's host name: `--node` tells which")
}

// reachTimeout bounds one attempt to reach a server.
const reachTimeout = 5 * time.Second

// checkPushgateway asks the Pushgateway whether it is healthy. One that is not costs live metrics, never a run.
func checkPushgateway(ctx context.Context, m *api.MonitoringSpec) finding {
	const check = "Pushgateway"
	if m.Pushgateway == nil {
		return leftOut(check, "monitoring.pushgateway is not set: no live metrics for Grafana; the run's metrics folder has them all")
	}
	shown := redacted(m.Pushgateway.URL)
	if err := reach(ctx, m.Pushgateway.URL); err != nil {
		return warning(check, pushgatewayNext, "%s cannot be reached from here: %v", shown, err)
	}
	return found(check, "%s is healthy, seen from here", shown)
}

// redacted is a URL without its password.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the URL"
	}
	return u.Redacted()
}

// reach asks a Pushgateway for its health. Credentials in the URL are sent and never told.
func reach(ctx context.Context, base string) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	at, err := url.JoinPath(base, "-", "healthy")
	if err != nil {
		return fmt.Errorf("read the address: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return fmt.Errorf("read the address: %w", err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // only to tell more
		return fmt.Errorf("GET /-/healthy answers %s: %q", resp.Status, said)
	}
	return nil
}

// checkEndpoints tries to connect to servers that run already.
func checkEndpoints(ctx context.Context, endpoints []string) []finding {
	var all []finding
	for _, endpoint := range endpoints {
		const check, next = "endpoint", "start the server, correct service.endpoints, or run the clients where it can be reached; client nodes may reach what this machine cannot"
		u, err := url.Parse(endpoint)
		if err != nil {
			all = append(all, problem(check, next, "%v", err))
			continue
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"https": "443"}[u.Scheme]
			if port == "" {
				port = "80"
			}
		}
		d := net.Dialer{Timeout: reachTimeout}
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
		if err != nil {
			all = append(all, warning(check, next, "%s cannot be reached from here: %v", u.Redacted(), err))
			continue
		}
		_ = conn.Close()
		all = append(all, found(check, "%s accepts connections from here", u.Redacted()))
	}
	return all
}
