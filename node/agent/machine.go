package agent

import (
	"bufio"
	"context"
	"encoding/csv"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/benchd/benchd/api/node"
)

// describeMachine says what the node is made of, for those who want to repeat a run. What cannot be read is left out.
func describeMachine(r *node.AgentRecord) {
	r.CPUs, r.Kernel, r.OS, r.GPUs = runtime.NumCPU(), kernel(), osName(), gpus()
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return
	}
	if info, err := fs.CPUInfo(); err == nil && len(info) > 0 {
		r.CPUModel = info[0].ModelName
	}
	if m, err := fs.Meminfo(); err == nil && m.MemTotalBytes != nil {
		r.Memory = int64(*m.MemTotalBytes)
	}
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// osName is what os-release(5) calls the system.
func osName() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

// gpuQueryTimeout bounds nvidia-smi, which hangs where a driver does.
const gpuQueryTimeout = 10 * time.Second

// gpus asks nvidia-smi, where there is one.
func gpus() []node.GPU {
	ctx, cancel := context.WithTimeout(context.Background(), gpuQueryTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	return parseGPUs(string(out))
}

// parseGPUs reads nvidia-smi's table. A value that the driver does not tell stands as "[N/A]".
func parseGPUs(table string) []node.GPU {
	lines := csv.NewReader(strings.NewReader(table))
	lines.TrimLeadingSpace, lines.FieldsPerRecord = true, 3
	rows, err := lines.ReadAll()
	if err != nil {
		return nil
	}
	var all []node.GPU
	for _, row := range rows {
		memory, _ := strconv.ParseInt(row[2], 10, 64)
		all = append(all, node.GPU{Name: row[0], Driver: row[1], Memory: memory})
	}
	return all
}
