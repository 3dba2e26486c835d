package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// BenchmarkApply is one apply, from the socket to durable, as the verb does it: read, then create.
func BenchmarkApply(b *testing.B) {
	p := newPlane(b).ready()
	cluster := &api.Cluster{Spec: api.ClusterSpec{Type: api.ClusterSlurm, BinDir: "/nonexistent"}}
	cluster.Name = "nowhere"
	cluster.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindCluster))
	if _, err := p.api.Create(b.Context(), cluster); err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		run := newRun(fmt.Sprintf("apply-%d", i), func(s *api.BenchmarkRunSpec) { s.Cluster = "nowhere" })
		if _, _, err := p.api.Apply(b.Context(), run); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdleWithQueuedRuns measures the control plane with 1,000 runs queued on a real Slurm, none of which can start
// for want of nodes: its own CPU, and with that of the commands that it starts, in percent of a core.
func BenchmarkIdleWithQueuedRuns(b *testing.B) {
	c := needSlurm(b, true)
	p := newSlurmPlane(c, func(s *api.ClusterSpec) { s.PollInterval = seconds(15) }).ready()
	for i := range 1000 {
		p.create(slurmRun(fmt.Sprintf("queued-%d", i), func(s *api.BenchmarkRunSpec) {
			s.Slurm.Partition, s.Slurm.TimeLimit = "short", "01:00:00" // over the partition's limit: pends for ever
		}))
	}
	const settle, window = 60 * time.Second, 60 * time.Second
	<-time.After(settle)
	for b.Loop() {
		own, all := cpu(b, p.cmd.Process.Pid)
		<-time.After(window)
		ownAfter, allAfter := cpu(b, p.cmd.Process.Pid)
		b.ReportMetric(100*(ownAfter-own)/window.Seconds(), "%core")
		b.ReportMetric(100*(allAfter-all)/window.Seconds(), "%core-with-commands")
	}
}

// cpu is the CPU time of a process in seconds, alone and with its ended children.
func cpu(b *testing.B, pid int) (own, all float64) {
	proc, err := procfs.NewProc(pid)
	if err != nil {
		b.Fatal(err)
	}
	stat, err := proc.Stat()
	if err != nil {
		b.Fatal(err)
	}
	const ticks = 100
	own = float64(stat.UTime+stat.STime) / ticks
	return own, own + float64(stat.CUTime+stat.CSTime)/ticks
}
