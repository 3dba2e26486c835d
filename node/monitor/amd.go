package monitor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// amdRoot is where the kernel shows graphics cards, openDevice opens what programs use them by.
var amdRoot, openDevice = "/sys/class/drm", os.OpenFile

// amdVendor is AMD's number on the PCI bus.
const amdVendor = "0x1002"

// amdGPU is one GPU by the files of its driver (kernel: Documentation/gpu/amdgpu/thermal.rst, and hwmon's sysfs interface).
type amdGPU struct{ device, hwmon string }

// openAMD finds AMD's GPUs. ROCm counts those that the job may open, which the kernel's files do not tell apart from others.
func openAMD(v visible, _ func(int) bool) (*gpus, error) {
	cards, err := filepath.Glob(filepath.Join(amdRoot, "card*", "device", "gpu_busy_percent"))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(cards, func(a, b string) int { return cardNumber(a) - cardNumber(b) })
	var indices []string
	var devices []gpu
	number := -1
	for _, card := range cards {
		g := amdGPU{device: filepath.Dir(card)}
		if vendor, err := os.ReadFile(filepath.Join(g.device, "vendor")); err != nil || strings.TrimSpace(string(vendor)) != amdVendor {
			continue
		}
		if !g.mayOpen() {
			continue
		}
		id, _ := os.ReadFile(filepath.Join(g.device, "unique_id")) // not all have one
		if number++; !v.has(number, "GPU-"+strings.TrimSpace(string(id))) {
			continue
		}
		if found, err := filepath.Glob(filepath.Join(g.device, "hwmon", "hwmon*")); err == nil && len(found) > 0 {
			g.hwmon = found[0]
		}
		indices, devices = append(indices, strconv.Itoa(number)), append(devices, g)
	}
	if len(devices) == 0 {
		return nil, errNoGPU
	}
	return newGPUs(indices, devices, func() error { return nil }), nil
}

// mayOpen says whether Slurm lets the job open the GPU (cgroup.conf: ConstrainDevices).
func (g amdGPU) mayOpen() bool {
	nodes, err := filepath.Glob(filepath.Join(g.device, "drm", "renderD*"))
	if err != nil || len(nodes) == 0 {
		return true
	}
	f, err := openDevice(filepath.Join("/dev/dri", filepath.Base(nodes[0])), os.O_RDWR, 0)
	if err == nil {
		_ = f.Close()
	}
	return !errors.Is(err, fs.ErrPermission)
}

// cardNumber is that of …/cardN/device/gpu_busy_percent.
func cardNumber(path string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(filepath.Dir(path))), "card"))
	return n
}

func (g amdGPU) read(v []float64) {
	for _, f := range []struct {
		to    int
		scale float64
		files []string
	}{
		{gpuUtilization, 1, []string{g.device + "/gpu_busy_percent"}},
		{gpuMemoryUsed, 1, []string{g.device + "/mem_info_vram_used"}},
		{gpuMemoryTotal, 1, []string{g.device + "/mem_info_vram_total"}},
		{gpuPower, 1e-6, []string{g.hwmon + "/power1_average", g.hwmon + "/power1_input"}},
		{gpuEnergy, 1e-6, []string{g.hwmon + "/energy1_input"}},
		{gpuTemperature, 1e-3, []string{g.hwmon + "/temp1_input"}},
		{gpuSMClock, 1e-6, []string{g.hwmon + "/freq1_input"}},
		{gpuMemoryClock, 1e-6, []string{g.hwmon + "/freq2_input"}},
	} {
		for _, path := range f.files {
			text, err := os.ReadFile(path)
			if err != nil {
				continue
			}
			if n, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64); err == nil {
				v[f.to] = n * f.scale
				break
			}
		}
	}
}
