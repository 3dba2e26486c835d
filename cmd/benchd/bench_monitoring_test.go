package main

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/report"
)

// BenchmarkEffectOfMonitoring is what samplers and their servers' metrics do to the latencies that are measured beside them: ten pairs
// of runs, one with them and one without, in turns, on servers whose latencies are known. For each number: the mean difference in
// percent with its 95 % interval, and the smallest difference that ten such pairs could have shown (of 80 % power).
func BenchmarkEffectOfMonitoring(b *testing.B) {
	const pairs = 10
	p := newPlane(b).ready()
	numbers := map[string]func(*report.Summary) *float64{
		"ttft_p50": func(s *report.Summary) *float64 { return s.TTFT.P50 }, "e2e_p50": func(s *report.Summary) *float64 { return s.E2E.P50 },
		"e2e_p99": func(s *report.Summary) *float64 { return s.E2E.P99 }, "itl_mean": func(s *report.Summary) *float64 { return s.ITL.Mean },
	}
	for b.Loop() {
		differences := map[string][]float64{}
		for i := range pairs {
			sums := map[bool]*report.Summary{}
			for turn := range 2 {
				on := (i+turn)%2 == 0
				sums[on] = monitored(b, p, fmt.Sprintf("pair-%d-%t", i, on), on)
			}
			for name, of := range numbers {
				with, without := of(sums[true]), of(sums[false])
				if with == nil || without == nil {
					b.Fatalf("pair %d has no %s", i, name)
				}
				differences[name] = append(differences[name], 100*(*with / *without - 1))
			}
		}
		for name, d := range differences {
			mean, std := stat.MeanStdDev(d, nil)
			t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: pairs - 1}
			half := t.Quantile(0.975) * std / math.Sqrt(pairs)
			seen := (t.Quantile(0.975) + t.Quantile(0.8)) * std / math.Sqrt(pairs)
			b.Logf("%s: %+.2f %% (%+.2f to %+.2f), could have seen %.2f %%", name, mean, mean-half, mean+half, seen)
			b.ReportMetric(mean, "%"+name)
			b.ReportMetric(half, "±%"+name)
		}
	}
}

// monitored is one run, sampled ten times a second or not at all: ten times what is usual, so that an effect can be seen.
func monitored(b *testing.B, p *plane, name string, on bool) *report.Summary {
	b.Helper()
	p.create(newRun(name, func(s *api.BenchmarkRunSpec) {
		s.Workload.Warmup, s.Workload.Duration = seconds(2), seconds(12)
		s.Workload.Load.ClientsPerNode = 16
		s.Service.Config = map[string]any{"ttft": "20ms", "itl": "2ms"}
		s.Monitoring.Enabled = &on
		s.Monitoring.Interval.Duration = 100 * time.Millisecond
	}))
	run := p.until(name, 2*time.Minute, api.RunCompleted)
	sum, err := report.ReadSummary(filepath.Join(run.Status.Folder, report.Dir, report.SummaryJSON))
	if err != nil {
		b.Fatal(err)
	}
	return sum
}
