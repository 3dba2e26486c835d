package monitor

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
	"github.com/prometheus/procfs/blockdevice"
)

// machine is the node as a whole, as /proc and /sys tell of it.
type machine struct {
	fs     procfs.FS
	self   procfs.Proc
	disks  blockdevice.FS
	sys    string
	before procfs.CPUStat
	ports  []string // InfiniBand's
}

var machineMetrics = []Metric{
	{FamilyNode, "", "cpu_percent", "CPU time that was not idle, of all CPUs together, since the sample before."},
	{FamilyNode, "", "load1", "Load average over one minute."},
	{FamilyNode, "", "memory_used_bytes", "Memory that is not available to new programs."},
	{FamilyNode, "", "memory_total_bytes", "Memory of the node."},
	{FamilyNode, "", "swap_used_bytes", "Swap space in use."},
	{FamilyNode, "", "disk_read_bytes_total", "Bytes read from the node's own disks; network file systems are no part of it."},
	{FamilyNode, "", "disk_written_bytes_total", "Bytes written to the node's own disks."},
	{FamilyNode, "", "network_received_bytes_total", "Bytes received by the node's network devices; bonds, bridges and containers' interfaces are counted by those below them."},
	{FamilyNode, "", "network_sent_bytes_total", "Bytes sent by the node's network devices."},
	{FamilyNode, "", "infiniband_received_bytes_total", "Bytes received by all InfiniBand ports, past the kernel's network."},
	{FamilyNode, "", "infiniband_sent_bytes_total", "Bytes sent by all InfiniBand ports."},
}

// NewMachine is the source of the whole node. The roots are those of /proc and /sys; empty ones mean the node's own.
func NewMachine(proc, sys string) (Source, error) {
	proc, sys = cmp.Or(proc, procfs.DefaultMountPoint), cmp.Or(sys, "/sys")
	fs, err := procfs.NewFS(proc)
	if err != nil {
		return nil, fmt.Errorf("sample the node: %w", err)
	}
	m := &machine{fs: fs, sys: sys}
	if m.disks, err = blockdevice.NewFS(proc, sys); err != nil {
		return nil, fmt.Errorf("sample the node's disks: %w", err)
	}
	if m.self, err = fs.Self(); err != nil {
		return nil, fmt.Errorf("sample the node's network: %w", err)
	}
	stat, err := fs.Stat()
	if err != nil {
		return nil, fmt.Errorf("sample the node: %w", err)
	}
	m.before = stat.CPUTotal
	m.ports, err = filepath.Glob(filepath.Join(sys, "class/infiniband/*/ports/*/counters"))
	return m, err
}

func (m *machine) Metrics() []Metric { return machineMetrics }

func (m *machine) Close() error { return nil }

func (m *machine) Read(_ context.Context, v []float64) {
	if stat, err := m.fs.Stat(); err == nil {
		v[0] = busy(m.before, stat.CPUTotal)
		m.before = stat.CPUTotal
	}
	if load, err := m.fs.LoadAvg(); err == nil {
		v[1] = load.Load1
	}
	if mem, err := m.fs.Meminfo(); err == nil {
		known := func(p *uint64) float64 {
			if p == nil {
				return 0
			}
			return float64(*p)
		}
		total := known(mem.MemTotalBytes)
		v[2], v[3] = total-known(mem.MemAvailableBytes), total
		v[4] = known(mem.SwapTotalBytes) - known(mem.SwapFreeBytes)
	}
	m.readDisks(v[5:7])
	m.readNetwork(v[7:9])
	m.readInfiniBand(v[9:11])
}

// busy is the share of CPU time between two readings that was not idle, in percent of all CPUs.
func busy(a, b procfs.CPUStat) float64 {
	// The kernel's idle and iowait counters may step back a little between two readings.
	idle := b.Idle + b.Iowait - a.Idle - a.Iowait
	work := b.User + b.Nice + b.System + b.IRQ + b.SoftIRQ + b.Steal - a.User - a.Nice - a.System - a.IRQ - a.SoftIRQ - a.Steal
	idle, work = max(0, idle), max(0, work)
	if idle+work == 0 {
		return 0
	}
	return 100 * work / (idle + work)
}

// sectorBytes is the unit of /proc/diskstats, whatever the disk's own sectors are (kernel: Documentation/admin-guide/iostats.rst).
const sectorBytes = 512

// readDisks adds up whole disks: a partition's bytes are its disk's, and those of a mapped or striped device are counted by what lies
// below it.
func (m *machine) readDisks(v []float64) {
	stats, err := m.disks.ProcDiskstats()
	if err != nil {
		return
	}
	v[0], v[1] = 0, 0
	for _, d := range stats {
		if _, err := os.Stat(filepath.Join(m.sys, "block", d.DeviceName, "device")); err != nil {
			continue
		}
		v[0] += float64(d.ReadSectors) * sectorBytes
		v[1] += float64(d.WriteSectors) * sectorBytes
	}
}

// readNetwork adds up devices: what a bond, a bridge, a VLAN or a container's interface carries is counted by the device below it. In a
// network without any, such as a container's own, all but loopback count.
func (m *machine) readNetwork(v []float64) {
	interfaces, err := m.self.NetDev()
	if err != nil {
		return
	}
	v[0], v[1] = 0, 0
	received, sent, devices := 0.0, 0.0, 0
	for name, d := range interfaces {
		if name == "lo" {
			continue
		}
		received += float64(d.RxBytes)
		sent += float64(d.TxBytes)
		if _, err := os.Stat(filepath.Join(m.sys, "class/net", name, "device")); err == nil {
			devices++
			v[0] += float64(d.RxBytes)
			v[1] += float64(d.TxBytes)
		}
	}
	if devices == 0 {
		v[0], v[1] = received, sent
	}
}

// readInfiniBand adds up all ports. They count words of four bytes (kernel: Documentation/ABI/stable/sysfs-class-infiniband).
func (m *machine) readInfiniBand(v []float64) {
	for _, port := range m.ports {
		for i, name := range []string{"port_rcv_data", "port_xmit_data"} {
			text, err := os.ReadFile(filepath.Join(port, name))
			if err != nil {
				continue
			}
			words, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
			if err != nil {
				continue
			}
			if v[i] != v[i] { // NaN: the first port
				v[i] = 0
			}
			v[i] += 4 * float64(words)
		}
	}
}
