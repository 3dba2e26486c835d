//go:build cgo

package monitor

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
	"github.com/google/go-cmp/cmp"
)

// dgx is NVML on a DGX A100 whose GPUs do something. The third one tells nothing; the second is in trouble.
func dgx(t *testing.T, events <-chan nvml.EventData) *server.Server {
	t.Helper()
	lib := dgxa100.New()
	lib.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) {
		return &mock.EventSet{
			WaitFunc: func(uint32) (nvml.EventData, nvml.Return) {
				select {
				case e := <-events:
					return e, nvml.SUCCESS
				case <-time.After(time.Millisecond):
					return nvml.EventData{}, nvml.ERROR_TIMEOUT
				}
			},
			FreeFunc: func() nvml.Return { return nvml.SUCCESS },
		}, nvml.SUCCESS
	}
	for i, device := range lib.Devices {
		d, ok := device.(*server.Device)
		if !ok {
			t.Fatalf("the mock's devices are %T", device)
		}
		talk(d, i)
		if i == 2 {
			mute(d)
		}
	}
	return lib
}

func talk(d *server.Device, i int) {
	n := uint32(i)
	d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: 90 + n, Memory: 10}, nvml.SUCCESS }
	d.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{Total: 40 << 30, Used: 1 << 30}, nvml.SUCCESS }
	d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 300_500, nvml.SUCCESS }
	d.GetTotalEnergyConsumptionFunc = func() (uint64, nvml.Return) { return 12_345_600, nvml.SUCCESS }
	d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 60 + n, nvml.SUCCESS }
	d.GetClockInfoFunc = func(kind nvml.ClockType) (uint32, nvml.Return) {
		return map[nvml.ClockType]uint32{nvml.CLOCK_SM: 1410, nvml.CLOCK_MEM: 1215}[kind], nvml.SUCCESS
	}
	d.GetCurrentClocksThrottleReasonsFunc = func() (uint64, nvml.Return) {
		return map[bool]uint64{false: nvml.ClocksThrottleReasonSwPowerCap, true: nvml.ClocksThrottleReasonHwThermalSlowdown}[i == 1], nvml.SUCCESS
	}
	d.GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (uint64, nvml.Return) { return uint64(i), nvml.SUCCESS }
	d.RegisterEventsFunc = func(uint64, nvml.EventSet) nvml.Return { return nvml.SUCCESS }
	d.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) {
		return []nvml.ProcessInfo{{Pid: uint32(os.Getpid()), UsedGpuMemory: 7 << 20}, {Pid: 1, UsedGpuMemory: 3 << 20}, {Pid: 2, UsedGpuMemory: noMemory}}, nvml.SUCCESS
	}
}

// mute makes a GPU tell nothing but that it is there.
func mute(d *server.Device) {
	d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{}, nvml.ERROR_NOT_SUPPORTED }
	d.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, nvml.ERROR_GPU_IS_LOST }
	d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
	d.GetTotalEnergyConsumptionFunc = func() (uint64, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
	d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
	d.GetClockInfoFunc = func(nvml.ClockType) (uint32, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
	d.GetCurrentClocksThrottleReasonsFunc = func() (uint64, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
	d.GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (uint64, nvml.Return) {
		return 0, nvml.ERROR_NOT_SUPPORTED
	}
	d.RegisterEventsFunc = func(uint64, nvml.EventSet) nvml.Return { return nvml.ERROR_NOT_SUPPORTED }
	d.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return nil, nvml.ERROR_NO_PERMISSION }
}

func TestNVMLOnADGX(t *testing.T) {
	events := make(chan nvml.EventData)
	lib := dgx(t, events)
	source, err := newNVML(lib, visibleOf("1,2"), func(pid int) bool { return pid == os.Getpid() })
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"gpu1_utilization_percent": 91, "gpu1_memory_used_bytes": 1 << 30, "gpu1_memory_total_bytes": 40 << 30, "gpu1_power_watts": 300.5,
		"gpu1_energy_joules_total": 12345.6, "gpu1_temperature_celsius": 61, "gpu1_sm_clock_mhz": 1410, "gpu1_memory_clock_mhz": 1215,
		"gpu1_throttled": 1, "gpu1_throttle_reasons": 0x40, "gpu1_ecc_errors_total": 1, "gpu1_xid_errors_total": 0,
		"gpu1_own_memory_bytes": 7 << 20, "gpu1_foreign_memory_bytes": 3 << 20,
	}
	if diff := cmp.Diff(want, valuesOf(source)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	events <- nvml.EventData{Device: lib.Devices[1], EventType: nvml.EventTypeXidCriticalError, EventData: 79}
	events <- nvml.EventData{Device: lib.Devices[5], EventType: nvml.EventTypeXidCriticalError, EventData: 79} // of another job
	events <- nvml.EventData{Device: lib.Devices[1], EventType: nvml.EventTypeXidCriticalError, EventData: 48}
	for deadline := time.Now().Add(20 * time.Second); valuesOf(source)["gpu1_xid_errors_total"] < 2 && time.Now().Before(deadline); {
	}
	if n := valuesOf(source)["gpu1_xid_errors_total"]; n != 2 {
		t.Errorf("%g XIDs, want 2", n)
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
	if source, err := newNVML(dgx(t, nil), nil, descendsFromNobody); err != nil || len(source.Metrics()) != 8*gpuValues {
		t.Errorf("all GPUs: %v", err)
	} else if err := source.Close(); err != nil {
		t.Error(err)
	}
}

func descendsFromNobody(int) bool { return false }

func TestNVMLThatIsNotThere(t *testing.T) {
	lib := dgx(t, nil)
	lib.InitFunc = func() nvml.Return { return nvml.ERROR_LIBRARY_NOT_FOUND }
	if _, err := newNVML(lib, nil, nil); !errors.Is(err, errNoGPU) {
		t.Errorf("no library: %v", err)
	}
	lib.InitFunc = func() nvml.Return { return nvml.ERROR_LIB_RM_VERSION_MISMATCH }
	if _, err := newNVML(lib, nil, nil); err == nil || errors.Is(err, errNoGPU) {
		t.Errorf("a driver of another version: %v", err)
	}
	if _, err := newNVML(dgx(t, nil), visibleOf("NoDevFiles"), nil); !errors.Is(err, errNoGPU) {
		t.Errorf("no GPU of the job's: %v", err)
	}
}

// uuids are those of a DGX's GPUs, by index.
func uuids(t *testing.T, lib *server.Server) []string {
	t.Helper()
	var all []string
	for _, d := range lib.Devices {
		uuid, ret := d.GetUUID()
		if ret != nvml.SUCCESS {
			t.Fatal(ret)
		}
		all = append(all, uuid)
	}
	return all
}

func sampled(t *testing.T, lib nvml.Interface, list string) (map[string]float64, []string) {
	t.Helper()
	source, err := newNVML(lib, visibleOf(list), descendsFromNobody)
	if err != nil {
		t.Fatalf("%s: %v", list, err)
	}
	defer source.Close()
	var indices []string
	for _, m := range source.Metrics() {
		if m.Name == "power_watts" {
			indices = append(indices, m.Subject)
		}
	}
	return valuesOf(source), indices
}

// Where a job may open some GPUs alone, CUDA counts these from 0, and so does Slurm.
func TestNVMLWithGPUsOfOthersForbidden(t *testing.T) {
	lib := dgx(t, nil)
	lib.DeviceGetHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		if i < 4 {
			return nil, nvml.ERROR_NO_PERMISSION
		}
		return lib.Devices[i], nvml.SUCCESS
	}
	if _, got := sampled(t, lib, "0,1"); cmp.Diff([]string{"4", "5"}, got) != "" {
		t.Errorf("GPUs %v", got)
	}
}

// Of a slice of a GPU (MIG) that GPU is sampled and no other, and what other slices hold is no harm to it.
func TestNVMLOfASlice(t *testing.T) {
	lib := dgx(t, nil)
	all := uuids(t, lib)
	known := lib.DeviceGetHandleByUUIDFunc
	lib.DeviceGetHandleByUUIDFunc = func(uuid string) (nvml.Device, nvml.Return) {
		if uuid == "MIG-aaaa" {
			return &mock.Device{GetDeviceHandleFromMigDeviceHandleFunc: func() (nvml.Device, nvml.Return) { return lib.Devices[3], nvml.SUCCESS }}, nvml.SUCCESS
		}
		return known(uuid)
	}
	for _, i := range []int{3, 5} {
		if d, ok := lib.Devices[i].(*server.Device); ok {
			d.GetMigModeFunc = func() (int, int, nvml.Return) { return nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE, nvml.SUCCESS }
		}
	}
	for list, want := range map[string]string{"MIG-aaaa": "3", "MIG-" + all[5] + "/1/0": "5"} {
		values, got := sampled(t, lib, list)
		if cmp.Diff([]string{want}, got) != "" {
			t.Errorf("%s: GPUs %v", list, got)
		}
		if foreign, told := values["gpu"+want+"_foreign_memory_bytes"]; told || values["gpu"+want+"_power_watts"] == 0 {
			t.Errorf("%s: %g bytes of others, %v", list, foreign, values)
		}
	}
	if _, got := sampled(t, lib, "MIG-unknown"); len(got) != 8 {
		t.Errorf("a slice of nobody knows which GPU: %v", got)
	}
}
