package agent

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"

	"github.com/benchd/benchd/node/monitor"
)

// listening is the state of a listening socket in /proc/net/tcp (TCP_LISTEN of the kernel's tcp_states.h).
const listening = 0x0A

// ownsListener says whether the socket that listens on address:port belongs to the process or a descendant of it. A
// healthy answer from somebody else's server must never be measured.
func ownsListener(pid int, address string, port int) (bool, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return false, fmt.Errorf("look who listens on port %d: %w", port, err)
	}
	inodes := map[string]bool{}
	want := net.ParseIP(address)
	//nolint:staticcheck // netlink, which is recommended instead, is not open to every container; /proc is
	for _, read := range []func() (procfs.NetTCP, error){fs.NetTCP, fs.NetTCP6} {
		lines, err := read()
		if err != nil {
			continue // no IPv6 on this node
		}
		for _, l := range lines {
			if l.St == listening && l.LocalPort == uint64(port) && (l.LocalAddr.Equal(want) || l.LocalAddr.IsUnspecified()) {
				inodes[strconv.FormatUint(l.Inode, 10)] = true
			}
		}
	}
	candidates := monitor.Descendants(pid)
	candidates[pid] = true
	for p := range candidates {
		links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p))
		if err != nil {
			return false, err
		}
		for _, link := range links {
			target, err := os.Readlink(link)
			if inode, ok := strings.CutPrefix(target, "socket:["); err == nil && ok && inodes[strings.TrimSuffix(inode, "]")] {
				return true, nil
			}
		}
	}
	return false, nil
}
