package monitor

import (
	"context"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// cpuSeconds is what this process has used.
func cpuSeconds(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// BenchmarkSample is what a sample of this machine costs, written to its CSV: the whole node and the processes by role, and eight GPUs
// that cost nothing to ask. %core is at one sample a second.
func BenchmarkSample(b *testing.B) {
	machine, err := NewMachine("", "")
	if err != nil {
		b.Fatal(err)
	}
	roles, err := NewRoles("client")
	if err != nil {
		b.Fatal(err)
	}
	var devices []gpu
	for range 8 {
		devices = append(devices, steady{})
	}
	sources := []Source{machine, roles, newGPUs([]string{"0", "1", "2", "3", "4", "5", "6", "7"}, devices, func() error { return nil })}
	s := NewSampler("n1", filepath.Join(b.TempDir(), "x.csv"), time.Second, quiet(), sources...)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	samples := make(chan struct{})
	s.wait = func(ctx context.Context, _ time.Time) error { // a tick whenever the last one is through
		select {
		case samples <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	<-samples
	b.ReportAllocs()
	before := cpuSeconds(b)
	for b.Loop() {
		<-samples
	}
	b.ReportMetric(100*(cpuSeconds(b)-before)/float64(b.N), "%core")
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

type steady struct{}

func (steady) read(v []float64) {
	for i := range v {
		v[i] = 12345.678
	}
}
