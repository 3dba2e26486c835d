package monitor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// valuesOf reads a source once, by columns.
func valuesOf(s Source) map[string]float64 {
	metrics := s.Metrics()
	values := nothing(len(metrics))
	s.Read(context.Background(), values)
	told := map[string]float64{}
	for i, m := range metrics {
		if !math.IsNaN(values[i]) {
			told[m.Column()] = values[i]
		}
	}
	return told
}

func TestVisible(t *testing.T) {
	const uuid = "GPU-5fd4b8a8-0000"
	for list, want := range map[string][2]bool{
		"": {true, true}, "0,1": {true, false}, "3": {false, true}, "GPU-5fd4": {true, true}, "GPU-77": {false, false}, "MIG-1/2/3": {true, true}, "NoDevFiles": {false, false},
	} {
		if got := [2]bool{visibleOf(list).has(0, uuid), visibleOf(list).has(3, uuid)}; got != want {
			t.Errorf("%q: %v, want %v", list, got, want)
		}
	}
}

// program puts a program of this name first on PATH.
func program(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// What nvidia-smi prints of two GPUs; the second one tells little, as consumer cards do.
func TestNvidiaSMI(t *testing.T) {
	program(t, "nvidia-smi", `case "$*" in
*loop-ms*) echo "0, 97, 70000, 81920, 391.25, 61, 1410, 1593, 0, 0x0000000000000048"
echo "1, [N/A], 100, 24576, [Not Supported], 40, 300, 405, [N/A], 0x0000000000000001"
echo "No devices were found"
exec sleep 60 ;;
*) printf '0, GPU-aaaa\n1, GPU-bbbb\n2, GPU-cccc\n' ;;
esac`)
	source, err := openNvidiaSMI(visibleOf("0,1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"gpu0_utilization_percent": 97, "gpu0_memory_used_bytes": 70000 << 20, "gpu0_memory_total_bytes": 81920 << 20, "gpu0_power_watts": 391.25,
		"gpu0_temperature_celsius": 61, "gpu0_sm_clock_mhz": 1410, "gpu0_memory_clock_mhz": 1593, "gpu0_ecc_errors_total": 0,
		"gpu0_throttle_reasons": 0x48, "gpu0_throttled": 1,
		"gpu1_memory_used_bytes": 100 << 20, "gpu1_memory_total_bytes": 24576 << 20, "gpu1_temperature_celsius": 40, "gpu1_sm_clock_mhz": 300,
		"gpu1_memory_clock_mhz": 405, "gpu1_throttle_reasons": 1, "gpu1_throttled": 0,
	}
	var got map[string]float64
	for deadline := time.Now().Add(20 * time.Second); len(got) < len(want) && time.Now().Before(deadline); {
		got = valuesOf(source)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
	program(t, "nvidia-smi", "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver' >&2; exit 9")
	if _, err := openNvidiaSMI(nil, nil); err == nil || errors.Is(err, errNoGPU) {
		t.Errorf("a driver that does not answer: %v", err)
	}
	program(t, "nvidia-smi", "echo 0, GPU-aaaa")
	if _, err := openNvidiaSMI(visibleOf("7"), nil); !errors.Is(err, errNoGPU) {
		t.Errorf("no GPU of the job's: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := openNvidiaSMI(nil, nil); !errors.Is(err, errNoGPU) {
		t.Errorf("no nvidia-smi: %v", err)
	}
}

func FuzzParseSMI(f *testing.F) {
	f.Add("0, 97, 70000, 81920, 391.25, 61, 1410, 1593, 0, 0x0000000000000048")
	f.Add("\"0, [N/A]")
	f.Fuzz(func(t *testing.T, line string) {
		if _, values, ok := parseSMI(line); ok != (len(values) == gpuValues) {
			t.Errorf("%q: %d values, %t", line, len(values), ok)
		}
	})
}

// Two of AMD's and one of another maker, as the kernel shows them.
func TestAMD(t *testing.T) {
	root := t.TempDir()
	amdRoot = root
	t.Cleanup(func() { amdRoot = "/sys/class/drm" })
	if _, err := openAMD(nil, nil); !errors.Is(err, errNoGPU) {
		t.Errorf("no cards: %v", err)
	}
	for path, content := range map[string]string{
		"card2/device/vendor": "0x1002", "card2/device/unique_id": "8a3f", "card2/device/gpu_busy_percent": "42", "card2/device/mem_info_vram_used": "1000", "card2/device/mem_info_vram_total": "4000",
		"card2/device/hwmon/hwmon5/power1_average": "215000000", "card2/device/hwmon/hwmon5/energy1_input": "7000000", "card2/device/hwmon/hwmon5/temp1_input": "55500",
		"card2/device/hwmon/hwmon5/freq1_input": "1700000000",
		"card10/device/vendor":                  "0x1002", "card10/device/gpu_busy_percent": "nonsense",
		"card0/device/vendor": "0x1a03", "card0/device/gpu_busy_percent": "1",
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	source, err := openAMD(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"gpu0_utilization_percent": 42, "gpu0_memory_used_bytes": 1000, "gpu0_memory_total_bytes": 4000, "gpu0_power_watts": 215, "gpu0_energy_joules_total": 7,
		"gpu0_temperature_celsius": 55.5, "gpu0_sm_clock_mhz": 1700,
	}
	if diff := cmp.Diff(want, valuesOf(source), cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(source.Metrics()); n != 2*gpuValues {
		t.Errorf("%d metrics", n)
	}
	for list, want := range map[string]string{"1": "gpu1", "0": "gpu0", "GPU-8a3f": "gpu0"} {
		source, err := openAMD(visibleOf(list), nil)
		if err != nil || len(source.Metrics()) != gpuValues || !strings.HasPrefix(source.Metrics()[0].Column(), want+"_") {
			t.Errorf("%s of two: %+v, %v", list, source, err)
		}
	}
	// Slurm lets the job open the second alone, and names it as its first.
	openDevice = func(path string, _ int, _ os.FileMode) (*os.File, error) {
		if path == "/dev/dri/renderD128" {
			return nil, &os.PathError{Op: "open", Path: path, Err: syscall.EPERM}
		}
		return os.Open(os.DevNull)
	}
	t.Cleanup(func() { openDevice = os.OpenFile })
	for card, node := range map[string]string{"card2": "renderD128", "card10": "renderD129"} {
		if err := os.MkdirAll(filepath.Join(root, card, "device", "drm", node), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	source, err = openAMD(visibleOf("0"), nil)
	if err != nil || len(source.Metrics()) != gpuValues {
		t.Fatalf("the one that may be opened: %+v, %v", source, err)
	}
	if seen := valuesOf(source); len(seen) > 0 { // the first has values
		t.Errorf("another job's GPU: %v", seen)
	}
}

// A machine's own files, with what a node of a cluster has: whole disks and their parts, a loop device, InfiniBand.
func TestMachine(t *testing.T) {
	root := t.TempDir()
	write := func(path, content string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cpu := func(user, idle int) string { return fmt.Sprintf("cpu  %d 0 0 %d 0 0 0 0 0 0\nbtime 1\n", user, idle) }
	write("proc/stat", cpu(0, 0))
	write("proc/loadavg", "3.50 2 1 1/100 7\n")
	write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 400 kB\nSwapTotal: 100 kB\nSwapFree: 90 kB\n")
	disk := func(name string, read, written int) string {
		return fmt.Sprintf(" 8 0 %s 1 0 %d 0 1 0 %d 0 0 0 0\n", name, read, written)
	}
	write("proc/diskstats", disk("nvme0n1", 10, 20)+disk("nvme0n1p1", 10, 20)+disk("loop0", 7, 7)+disk("sda", 1, 2))
	write("sys/block/nvme0n1/device/model", "")
	write("sys/block/sda/device/model", "")
	write("sys/block/loop0/size", "")
	net := func(name string, received, sent int) string {
		return fmt.Sprintf("%s: %d 0 0 0 0 0 0 0 %d 0 0 0 0 0 0 0\n", name, received, sent)
	}
	write("proc/7/net/dev", "Inter-|\n face |bytes\n"+net("lo", 5, 5)+net("eth0", 100, 200)+net("ib0", 1, 2)+net("bond0", 100, 200)+net("veth77", 50, 60))
	write("sys/class/net/eth0/device/vendor", "")
	write("sys/class/net/ib0/device/vendor", "")
	write("sys/class/net/bond0/mtu", "")
	if err := os.Symlink("7", filepath.Join(root, "proc/self")); err != nil {
		t.Fatal(err)
	}
	write("sys/class/infiniband/mlx5_0/ports/1/counters/port_rcv_data", "25\n")
	write("sys/class/infiniband/mlx5_0/ports/1/counters/port_xmit_data", "50\n")
	write("sys/class/infiniband/mlx5_1/ports/1/counters/port_rcv_data", "1\n")
	source, err := NewMachine(filepath.Join(root, "proc"), filepath.Join(root, "sys"))
	if err != nil {
		t.Fatal(err)
	}
	write("proc/stat", cpu(25, 75))
	want := map[string]float64{
		"cpu_percent": 25, "load1": 3.5, "memory_used_bytes": 600 << 10, "memory_total_bytes": 1000 << 10, "swap_used_bytes": 10 << 10,
		"disk_read_bytes_total": 11 * 512, "disk_written_bytes_total": 22 * 512, "network_received_bytes_total": 101, "network_sent_bytes_total": 202,
		"infiniband_received_bytes_total": 104, "infiniband_sent_bytes_total": 200,
	}
	if diff := cmp.Diff(want, valuesOf(source)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, name := range []string{"eth0", "ib0"} { // in a container's network, where all is virtual
		if err := os.RemoveAll(filepath.Join(root, "sys/class/net", name)); err != nil {
			t.Fatal(err)
		}
	}
	if got := valuesOf(source)["network_received_bytes_total"]; got != 251 {
		t.Errorf("%g bytes received by interfaces none of which is a device", got)
	}
	if _, err := NewMachine(filepath.Join(root, "gone"), ""); err == nil || !strings.Contains(err.Error(), "sample the node") {
		t.Errorf("no /proc: %v", err)
	}
}

// A server that is asked in the background: its last answer stands, until it is too old.
func TestPolled(t *testing.T) {
	asked := make(chan struct{}, 1000)
	answers := make(chan error)
	p := NewPolled(time.Millisecond, []Metric{{FamilyServer, "vllm-0", "requests_running", ""}, {FamilyServer, "vllm-0", "requests_waiting", ""}},
		func(ctx context.Context) (map[string]float64, error) {
			asked <- struct{}{}
			select {
			case err := <-answers:
				return map[string]float64{"requests_running": 3, "something_else": 1}, err
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
	p.old = time.Hour
	<-asked
	if got := valuesOf(p); len(got) != 0 {
		t.Errorf("before an answer: %v", got)
	}
	answers <- nil
	<-asked
	want := map[string]float64{"vllm-0_requests_running": 3}
	if diff := cmp.Diff(want, valuesOf(p)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	answers <- errors.New("refused")
	<-asked
	if diff := cmp.Diff(want, valuesOf(p)); diff != "" {
		t.Errorf("after one refusal (-want +got):\n%s", diff)
	}
	p.mu.Lock()
	p.old = 0
	p.mu.Unlock()
	if got := valuesOf(p); len(got) != 0 {
		t.Errorf("an old answer: %v", got)
	}
	if err := p.Close(); err != nil { // with a question under way
		t.Error(err)
	}
}

// A server that tells nothing of itself is asked less and less often, one that does is asked again at once.
func TestPolledIsPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var asked []string
		p := NewPolled(time.Second, []Metric{{FamilyServer, "x", "a", ""}}, func(context.Context) (map[string]float64, error) {
			at := time.Since(begun)
			asked = append(asked, at.Round(100*time.Millisecond).String())
			if at < 40*time.Second {
				return nil, errors.New("404")
			}
			return map[string]float64{"a": 1}, nil
		})
		time.Sleep(48 * time.Second)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		want := "0s 1s 2.5s 4.8s 8.1s 13.2s 20.8s 30.8s 40.8s 41.8s 42.8s 43.8s 44.8s 45.8s 46.8s 47.8s"
		if got := strings.Join(asked, " "); got != want {
			t.Errorf("asked at %s, want %s", got, want)
		}
	})
}
