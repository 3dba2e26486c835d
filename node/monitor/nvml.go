//go:build cgo

package monitor

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// openNVML finds NVIDIA's GPUs by the driver's own library, which is looked for when benchd runs.
func openNVML(v visible, ours func(int) bool) (*gpus, error) { return newNVML(nvml.New(), v, ours) }

func newNVML(lib nvml.Interface, v visible, ours func(int) bool) (*gpus, error) {
	if ret := lib.Init(); ret != nvml.SUCCESS {
		if ret == nvml.ERROR_LIBRARY_NOT_FOUND || ret == nvml.ERROR_DRIVER_NOT_LOADED || ret == nvml.ERROR_NO_PERMISSION {
			return nil, errNoGPU
		}
		return nil, fmt.Errorf("sample GPUs: NVML does not start: %w", ret)
	}
	n, ret := lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return nil, errors.Join(fmt.Errorf("sample GPUs: count them: %w", ret), shutdown(lib))
	}
	v = slicesOf(lib, v)
	var indices []string
	var devices []gpu
	var all []*nvmlGPU
	mayOpen := 0
	for i := range n {
		d, ret := lib.DeviceGetHandleByIndex(i)
		if ret != nvml.SUCCESS {
			continue // of another job, and CUDA does not count it
		}
		uuid, _ := d.GetUUID()
		mayOpen++
		if !v.has(mayOpen-1, uuid) {
			continue
		}
		g := &nvmlGPU{device: d, uuid: uuid, ours: ours}
		indices, devices, all = append(indices, strconv.Itoa(i)), append(devices, g), append(all, g)
	}
	if len(devices) == 0 {
		return nil, errors.Join(errNoGPU, shutdown(lib))
	}
	stop := watchXIDs(lib, all)
	return newGPUs(indices, devices, func() error {
		stop()
		return shutdown(lib)
	}), nil
}

// slicesOf puts the GPU in place of each slice of one (MIG) that is named, by its own UUID or, as of old, by its GPU's. Where that cannot be
// found out, the slice's name stays.
func slicesOf(lib nvml.Interface, v visible) visible {
	var gpus visible
	for _, one := range v {
		old, _, isOld := strings.Cut(strings.TrimPrefix(one, "MIG-"), "/")
		if isOld && strings.HasPrefix(old, "GPU-") {
			one = old
		} else if strings.HasPrefix(one, "MIG-") {
			if slice, ret := lib.DeviceGetHandleByUUID(one); ret == nvml.SUCCESS {
				if d, ret := slice.GetDeviceHandleFromMigDeviceHandle(); ret == nvml.SUCCESS {
					if uuid, ret := d.GetUUID(); ret == nvml.SUCCESS {
						one = uuid
					}
				}
			}
		}
		gpus = append(gpus, one)
	}
	return gpus
}

func shutdown(lib nvml.Interface) error {
	if ret := lib.Shutdown(); ret != nvml.SUCCESS {
		return fmt.Errorf("end NVML: %w", ret)
	}
	return nil
}

// nvmlGPU is one GPU. What it does not tell, by its kind or for want of permission, stays unknown.
type nvmlGPU struct {
	device  nvml.Device
	uuid    string
	ours    func(pid int) bool
	watched atomic.Bool
	xids    atomic.Int64
}

func (g *nvmlGPU) read(v []float64) {
	d := g.device
	if u, ret := d.GetUtilizationRates(); ret == nvml.SUCCESS {
		v[gpuUtilization] = float64(u.Gpu)
	}
	if m, ret := d.GetMemoryInfo(); ret == nvml.SUCCESS {
		v[gpuMemoryUsed], v[gpuMemoryTotal] = float64(m.Used), float64(m.Total)
	}
	if milliwatts, ret := d.GetPowerUsage(); ret == nvml.SUCCESS {
		v[gpuPower] = float64(milliwatts) / 1000
	}
	if millijoules, ret := d.GetTotalEnergyConsumption(); ret == nvml.SUCCESS {
		v[gpuEnergy] = float64(millijoules) / 1000
	}
	if degrees, ret := d.GetTemperature(nvml.TEMPERATURE_GPU); ret == nvml.SUCCESS {
		v[gpuTemperature] = float64(degrees)
	}
	if mhz, ret := d.GetClockInfo(nvml.CLOCK_SM); ret == nvml.SUCCESS {
		v[gpuSMClock] = float64(mhz)
	}
	if mhz, ret := d.GetClockInfo(nvml.CLOCK_MEM); ret == nvml.SUCCESS {
		v[gpuMemoryClock] = float64(mhz)
	}
	if reasons, ret := d.GetCurrentClocksThrottleReasons(); ret == nvml.SUCCESS {
		v[gpuThrottled], v[gpuThrottleReasons] = throttled(reasons), float64(reasons)
	}
	if n, ret := d.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC); ret == nvml.SUCCESS {
		v[gpuECC] = float64(n)
	}
	if g.watched.Load() {
		v[gpuXID] = float64(g.xids.Load())
	}
	g.readProcesses(v)
}

// noMemory is what NVML says of a process whose memory it does not know (NVML_VALUE_NOT_AVAILABLE).
const noMemory = 1<<64 - 1

func (g *nvmlGPU) readProcesses(v []float64) {
	list, ret := g.device.GetComputeRunningProcesses()
	if ret != nvml.SUCCESS {
		return
	}
	v[gpuOwnMemory], v[gpuForeignMemory] = 0, 0
	if mode, _, ret := g.device.GetMigMode(); ret == nvml.SUCCESS && mode == nvml.DEVICE_MIG_ENABLE {
		v[gpuForeignMemory] = nan // of other slices, which take nothing from ours
	}
	for _, p := range list {
		switch {
		case p.UsedGpuMemory == noMemory:
		case g.ours(int(p.Pid)):
			v[gpuOwnMemory] += float64(p.UsedGpuMemory)
		default:
			v[gpuForeignMemory] += float64(p.UsedGpuMemory)
		}
	}
}

// xidWait is how long one wait for the driver's events takes, in milliseconds.
const xidWait = 500

// watchXIDs counts the driver's critical errors. They are told once, as events: to ask now and then would miss them. What it
// returns ends that.
func watchXIDs(lib nvml.Interface, gpus []*nvmlGPU) (stop func()) {
	set, ret := lib.EventSetCreate()
	if ret != nvml.SUCCESS {
		return func() {}
	}
	byUUID := map[string]*nvmlGPU{}
	for _, g := range gpus {
		if g.device.RegisterEvents(nvml.EventTypeXidCriticalError, set) == nvml.SUCCESS {
			g.watched.Store(true)
			byUUID[g.uuid] = g
		}
	}
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ended:
				return
			default:
			}
			event, ret := set.Wait(xidWait)
			if ret == nvml.ERROR_TIMEOUT {
				continue
			}
			if ret != nvml.SUCCESS {
				return // the driver is gone, which the values tell
			}
			if uuid, ret := event.Device.GetUUID(); ret == nvml.SUCCESS && byUUID[uuid] != nil {
				byUUID[uuid].xids.Add(1)
			}
		}
	}()
	return func() {
		close(ended)
		<-done
		_ = set.Free() // the process ends soon, and its handle with it
	}
}
