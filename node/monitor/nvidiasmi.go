package monitor

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// smiFields are what nvidia-smi is asked for, and where each goes; it has no counter of energy.
var smiFields = []struct {
	name  string
	to    int
	scale float64
}{
	{"utilization.gpu", gpuUtilization, 1},
	{"memory.used", gpuMemoryUsed, 1 << 20},
	{"memory.total", gpuMemoryTotal, 1 << 20},
	{"power.draw", gpuPower, 1},
	{"temperature.gpu", gpuTemperature, 1},
	{"clocks.sm", gpuSMClock, 1},
	{"clocks.mem", gpuMemoryClock, 1},
	{"ecc.errors.uncorrected.volatile.total", gpuECC, 1},
	{"clocks_throttle_reasons.active", gpuThrottleReasons, 1},
}

// smi is one nvidia-smi that prints a line for each GPU again and again: to start one for each sample would cost more than all else.
type smi struct {
	mu     sync.Mutex
	values map[string][]float64 // by index
	at     map[string]time.Time
}

// smiInterval is how often it prints; its own readings are not newer.
const smiInterval = time.Second

// smiTimeout bounds the first question: nvidia-smi hangs where a driver does.
const smiTimeout = 10 * time.Second

func openNvidiaSMI(v visible, _ func(int) bool) (*gpus, error) {
	ctx, cancel := context.WithTimeout(context.Background(), smiTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errNoGPU
	}
	if err != nil {
		return nil, fmt.Errorf("sample GPUs: nvidia-smi: %w", err)
	}
	var indices []string
	var devices []gpu
	s := &smi{values: map[string][]float64{}, at: map[string]time.Time{}}
	for line := range strings.Lines(string(out)) {
		index, uuid, _ := strings.Cut(strings.TrimSpace(line), ", ")
		if n, err := strconv.Atoi(index); err == nil && v.has(n, uuid) {
			indices, devices = append(indices, index), append(devices, smiGPU{s, index})
		}
	}
	if len(devices) == 0 {
		return nil, errNoGPU
	}
	stop, err := s.start()
	if err != nil {
		return nil, err
	}
	return newGPUs(indices, devices, stop), nil
}

// start starts the program that goes on printing. What it returns ends it.
func (s *smi) start() (stop func() error, err error) {
	query := "--query-gpu=index"
	for _, f := range smiFields {
		query += "," + f.name
	}
	cmd := exec.Command("nvidia-smi", query, "--format=csv,noheader,nounits", fmt.Sprintf("--loop-ms=%d", smiInterval.Milliseconds()))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("sample GPUs: nvidia-smi: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("sample GPUs: nvidia-smi: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.follow(out)
		_ = cmd.Wait() // it was killed, or its end is told by values that come no more
	}()
	return func() error {
		_ = cmd.Process.Kill() // fails only when it has ended
		<-done
		return nil
	}, nil
}

func (s *smi) follow(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		index, values, ok := parseSMI(lines.Text())
		if !ok {
			continue
		}
		s.mu.Lock()
		s.values[index], s.at[index] = values, time.Now()
		s.mu.Unlock()
	}
}

// parseSMI reads a line; a value that the GPU does not tell stands as [N/A] or the like.
func parseSMI(line string) (index string, values []float64, ok bool) {
	in := csv.NewReader(strings.NewReader(line))
	in.TrimLeadingSpace = true
	row, err := in.Read()
	if err != nil || len(row) != len(smiFields)+1 {
		return "", nil, false
	}
	values = nothing(gpuValues)
	for i, f := range smiFields {
		text := strings.TrimSpace(row[i+1])
		if f.to == gpuThrottleReasons {
			if bits, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 64); err == nil {
				values[gpuThrottleReasons], values[gpuThrottled] = float64(bits), throttled(bits)
			}
			continue
		}
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			values[f.to] = v * f.scale
		}
	}
	return row[0], values, true
}

// smiGPU is one GPU as nvidia-smi tells of it.
type smiGPU struct {
	smi   *smi
	index string
}

func (g smiGPU) read(v []float64) {
	g.smi.mu.Lock()
	defer g.smi.mu.Unlock()
	if time.Since(g.smi.at[g.index]) <= 3*smiInterval {
		copy(v, g.smi.values[g.index])
	}
}
