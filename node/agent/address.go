package agent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"github.com/benchd/benchd/api/node"
)

// FromEnvironment fills what Slurm (or the embedded cluster) tells a task about itself.
func FromEnvironment(opts Options) (Options, error) {
	rank, err := strconv.Atoi(os.Getenv("SLURM_PROCID"))
	if err != nil {
		return opts, errors.New("start agent: SLURM_PROCID is not set: an agent runs inside a job, started by its script")
	}
	opts.Rank, opts.Job = rank, os.Getenv("SLURM_JOB_ID")
	opts.Address = os.Getenv(node.AddressVariable)
	if opts.Node = os.Getenv("SLURMD_NODENAME"); opts.Node == "" {
		if opts.Node, err = os.Hostname(); err != nil {
			return opts, fmt.Errorf("start agent: find out the node's name: %w", err)
		}
	}
	return opts, nil
}

// NodeAddress chooses the address that this node is reached at: on the named interface or in the prefix, else what its
// host name resolves to, else its first address that is not loopback.
func NodeAddress(network string) (string, error) {
	addrs, err := addresses(network)
	if err != nil {
		return "", err
	}
	if network != "" {
		if len(addrs) == 0 {
			return "", fmt.Errorf("choose the node's address: no address on %q: correct the Cluster object's spec.network", network)
		}
		return addrs[0].String(), nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("choose the node's address: %w", err)
	}
	if resolved, err := net.LookupHost(host); err == nil {
		for _, text := range resolved {
			for _, own := range addrs {
				if text == own.String() {
					return text, nil
				}
			}
		}
	}
	if len(addrs) == 0 {
		return "", errors.New("choose the node's address: it has none but loopback")
	}
	return addrs[0].String(), nil
}

// addresses lists this node's own IPv4 addresses before its IPv6 ones, without loopback and link-local ones.
func addresses(network string) ([]netip.Addr, error) {
	prefix, prefixErr := netip.ParsePrefix(network)
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	var v4, v6 []netip.Addr
	for _, i := range interfaces {
		if network != "" && prefixErr != nil && i.Name != network || i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("list addresses of %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() || prefixErr == nil && !prefix.Contains(p.Addr()) {
				continue
			}
			if p.Addr().Is4() {
				v4 = append(v4, p.Addr())
			} else {
				v6 = append(v6, p.Addr())
			}
		}
	}
	return append(v4, v6...), nil
}
