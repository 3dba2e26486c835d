package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The values of one GPU, in the order of its metrics.
const (
	gpuUtilization = iota
	gpuMemoryUsed
	gpuMemoryTotal
	gpuPower
	gpuEnergy
	gpuTemperature
	gpuSMClock
	gpuMemoryClock
	gpuThrottled
	gpuThrottleReasons
	gpuECC
	gpuXID
	gpuOwnMemory
	gpuForeignMemory
	gpuValues
)

var gpuMetrics = [gpuValues]Metric{
	gpuUtilization:     {FamilyGPU, "", "utilization_percent", "Share of time in which a kernel ran on the GPU, as its driver tells."},
	gpuMemoryUsed:      {FamilyGPU, "", "memory_used_bytes", "Memory of the GPU in use."},
	gpuMemoryTotal:     {FamilyGPU, "", "memory_total_bytes", "Memory of the GPU."},
	gpuPower:           {FamilyGPU, "", "power_watts", "Power that the GPU draws."},
	gpuEnergy:          {FamilyGPU, "", "energy_joules_total", "Energy that the GPU has used, by its own counter."},
	gpuTemperature:     {FamilyGPU, "", "temperature_celsius", "Temperature of the GPU."},
	gpuSMClock:         {FamilyGPU, "", "sm_clock_mhz", "Clock of the GPU's processors."},
	gpuMemoryClock:     {FamilyGPU, "", "memory_clock_mhz", "Clock of the GPU's memory."},
	gpuThrottled:       {FamilyGPU, "", "throttled", "1 while heat, a power brake or the hardware itself slows the GPU down; its power limit is no part of it."},
	gpuThrottleReasons: {FamilyGPU, "", "throttle_reasons", "Why clocks are what they are: NVML's bits nvmlClocksThrottleReason."},
	gpuECC:             {FamilyGPU, "", "ecc_errors_total", "Memory errors that could not be corrected, since the driver was loaded."},
	gpuXID:             {FamilyGPU, "", "xid_errors_total", "Critical errors (XID) that the driver told of since sampling began."},
	gpuOwnMemory:       {FamilyGPU, "", "own_memory_bytes", "Memory of the GPU that processes of this job use."},
	gpuForeignMemory:   {FamilyGPU, "", "foreign_memory_bytes", "Memory of the GPU that processes of others use."},
}

// NVML's bits of throttle reasons (nvml.h, nvmlClocksThrottleReason*) that tell of a slow-down nobody asked for.
const throttleHarmful = 0x08 | // hardware slow-down
	0x20 | // software thermal
	0x40 | // hardware thermal
	0x80 // hardware power brake

func throttled(reasons uint64) float64 {
	if reasons&throttleHarmful != 0 {
		return 1
	}
	return 0
}

// gpu reads one GPU into its values.
type gpu interface{ read(values []float64) }

// gpus is the source of a node's GPUs.
type gpus struct {
	metrics []Metric
	devices []gpu
	close   func() error
}

// newGPUs makes a source of GPUs and their indices.
func newGPUs(indices []string, devices []gpu, close func() error) *gpus {
	g := &gpus{devices: devices, close: close}
	for _, index := range indices {
		for _, m := range gpuMetrics {
			m.Subject = index
			g.metrics = append(g.metrics, m)
		}
	}
	return g
}

func (g *gpus) Metrics() []Metric { return g.metrics }

func (g *gpus) Close() error { return g.close() }

func (g *gpus) Read(_ context.Context, v []float64) {
	for i, d := range g.devices {
		d.read(v[i*gpuValues : (i+1)*gpuValues])
	}
}

// errNoGPU says that a way to GPUs leads to none, which is normal.
var errNoGPU = errors.New("no GPU")

// finder is one way to GPUs, and the variable by which Slurm tells the job which of them are its own.
type finder struct {
	variable string
	find     func(visible, func(int) bool) (*gpus, error)
}

// finders are the ways to GPUs, the best first.
var finders = []finder{{"CUDA_VISIBLE_DEVICES", openNVML}, {"CUDA_VISIBLE_DEVICES", openNvidiaSMI}, {"ROCR_VISIBLE_DEVICES", openAMD}}

// findTimeout bounds how long GPUs are looked for, which takes seconds for each where the driver does not stay loaded: one that hangs must not
// keep a node from starting its servers.
const findTimeout = 30 * time.Second

// GPUs finds the node's GPUs: NVIDIA's by NVML, or by nvidia-smi where benchd was built without cgo; AMD's by sysfs. Nil means that
// there are none. Of several, those are sampled that CUDA_VISIBLE_DEVICES or ROCR_VISIBLE_DEVICES names in the job's environment, for the
// others are of other jobs; an empty one means all. An error says that there are some which cannot be read.
func GPUs(getenv func(string) string, ours func(pid int) bool) (Source, error) {
	type result struct {
		found *gpus
		err   error
	}
	done := make(chan result, 1)
	go func() {
		found, err := findGPUs(getenv, ours)
		done <- result{found, err}
	}()
	timer := time.NewTimer(findTimeout)
	defer timer.Stop()
	select {
	case r := <-done:
		if r.found == nil {
			return nil, r.err
		}
		return r.found, nil
	case <-timer.C:
		go func() {
			if r := <-done; r.found != nil {
				_ = r.found.Close() // nobody samples them any more
			}
		}()
		return nil, fmt.Errorf("sample GPUs: their driver did not answer within %s: see whether nvidia-smi does on this node", findTimeout)
	}
}

func findGPUs(getenv func(string) string, ours func(int) bool) (*gpus, error) {
	var errs []error
	for _, f := range finders {
		found, err := f.find(visibleOf(getenv(f.variable)), ours)
		if err == nil {
			return found, nil
		}
		if !errors.Is(err, errNoGPU) {
			errs = append(errs, err)
		}
	}
	return nil, errors.Join(errs...)
}

// visible says which GPUs are the job's: their indices or UUIDs; none means all.
type visible []string

func visibleOf(list string) visible {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// has says whether a GPU is the job's. A UUID may be cut short, as CUDA allows it; a MIG device's says nothing of its GPU.
func (v visible) has(index int, uuid string) bool {
	if len(v) == 0 || strings.HasPrefix(v[0], "MIG-") {
		return true
	}
	return slices.ContainsFunc(v, func(one string) bool {
		return one == strconv.Itoa(index) || strings.HasPrefix(one, "GPU-") && strings.HasPrefix(uuid, one)
	})
}
