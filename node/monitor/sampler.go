// Package monitor samples what a node's resources do: CPU and memory of the whole node, at absolute ticks, into a CSV
// stream that is readable while it is written.
package monitor

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/procfs"
)

// Columns of the CSV; time is RFC 3339 with nanoseconds, in UTC.
var Columns = []string{"timestamp", "node", "cpu_percent", "load1", "memory_used_bytes", "memory_total_bytes"}

// Sampler writes a row per interval.
type Sampler struct {
	// Node is the name in every row.
	Node string
	// Path of the CSV file; it is appended to.
	Path string
	// Interval between two samples.
	Interval time.Duration
}

// Run samples until ctx ends. A tick that came too late is left out, never made up for: the gap stays visible.
func (s *Sampler) Run(ctx context.Context) error {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return fmt.Errorf("sample node %s: %w", s.Node, err)
	}
	f, err := os.OpenFile(s.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("sample node %s: %w", s.Node, err)
	}
	defer f.Close()
	out := csv.NewWriter(f)
	if info, err := f.Stat(); err == nil && info.Size() == 0 {
		if err := out.Write(Columns); err != nil {
			return fmt.Errorf("sample node %s: %w", s.Node, err)
		}
	}
	ticker := time.NewTicker(s.Interval)
	defer ticker.Stop()
	before, err := fs.Stat()
	if err != nil {
		return fmt.Errorf("sample node %s: %w", s.Node, err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		row, now, err := s.sample(fs, before)
		if err != nil {
			return fmt.Errorf("sample node %s: %w", s.Node, err)
		}
		before = now
		if err := out.Write(row); err != nil {
			return fmt.Errorf("sample node %s: %w", s.Node, err)
		}
		if out.Flush(); out.Error() != nil {
			return fmt.Errorf("sample node %s: %w", s.Node, out.Error())
		}
	}
}

func (s *Sampler) sample(fs procfs.FS, before procfs.Stat) ([]string, procfs.Stat, error) {
	now, err := fs.Stat()
	if err != nil {
		return nil, before, err
	}
	load, err := fs.LoadAvg()
	if err != nil {
		return nil, before, err
	}
	mem, err := fs.Meminfo()
	if err != nil {
		return nil, before, err
	}
	var total, available uint64
	if mem.MemTotal != nil && mem.MemAvailable != nil {
		total, available = *mem.MemTotal*1024, *mem.MemAvailable*1024
	}
	return []string{
		time.Now().UTC().Format(time.RFC3339Nano), s.Node,
		strconv.FormatFloat(busy(before.CPUTotal, now.CPUTotal), 'f', 2, 64), strconv.FormatFloat(load.Load1, 'f', 2, 64),
		strconv.FormatUint(total-available, 10), strconv.FormatUint(total, 10),
	}, now, nil
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
