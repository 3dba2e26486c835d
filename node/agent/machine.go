package agent

import (
	"bufio"
	"context"
	"encoding/csv"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/services"
)

// describeMachine says what the node is made of, for those who want to repeat a run. What cannot be read is left out.
func describeMachine(r *node.AgentRecord) {
	r.CPUs, r.Kernel, r.OS, r.GPUs, r.Env = runtime.NumCPU(), kernel(), osName(), gpus(), environment(os.Environ())
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

// told are the variables of a job's environment that change how servers run; toldPrefixes are families of them.
var (
	told         = []string{"PATH", "LD_LIBRARY_PATH", "LOADEDMODULES", "OMP_NUM_THREADS", "HF_HOME", "TZ"}
	toldPrefixes = []string{"CUDA_", "NCCL_", "UCX_", "GLOO_", "RCCL_", "ROCR_", "HIP_", "VLLM_", "OLLAMA_", "HF_HUB_", "TRANSFORMERS_"}
)

// environment picks what matters out of a job's environment. What looks like a secret is masked.
func environment(all []string) map[string]string {
	env := map[string]string{}
	for _, pair := range all {
		name, value, _ := strings.Cut(pair, "=")
		if !slices.Contains(told, name) && !slices.ContainsFunc(toldPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		if services.SecretVariable(name) {
			value = "***"
		}
		env[name] = value
	}
	return env
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
func gpus() []api.GPURecord {
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
func parseGPUs(table string) []api.GPURecord {
	lines := csv.NewReader(strings.NewReader(table))
	lines.TrimLeadingSpace, lines.FieldsPerRecord = true, 3
	rows, err := lines.ReadAll()
	if err != nil {
		return nil
	}
	var all []api.GPURecord
	for _, row := range rows {
		memory, _ := strconv.ParseInt(row[2], 10, 64)
		all = append(all, api.GPURecord{Name: row[0], Driver: row[1], MemoryMiB: memory})
	}
	return all
}
