package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/store"
)

// manyTrials is a sweep of 10,000 trials.
func manyTrials(name string, change func(*api.BenchmarkSweepSpec)) *api.BenchmarkSweep {
	return newSweep(name, func(s *api.BenchmarkSweepSpec) {
		for _, path := range []string{"workload.load.clientsPerNode", "workload.prompts.tokens"} {
			p := api.ParameterSpec{Path: path}
			for i := range 10 {
				p.Values = append(p.Values, float64(1+i))
			}
			s.Parameters = append(s.Parameters, p)
		}
		s.Repeats = 100
		change(s)
	})
}

// rss is the memory of a process, in MB: its own, and what it has mapped of files.
func rss(b *testing.B, pid int) (own, mapped float64) {
	b.Helper()
	proc, err := procfs.NewProc(pid)
	if err != nil {
		b.Fatal(err)
	}
	status, err := proc.NewStatus()
	if err != nil {
		b.Fatal(err)
	}
	return float64(status.RssAnon) / (1 << 20), float64(status.RssFile) / (1 << 20)
}

// reportMemory tells a process's own memory and what it has mapped of files (the store's pages and the binary), which the kernel
// takes back when it needs them.
func reportMemory(b *testing.B, pid int) {
	b.Helper()
	own, mapped := rss(b, pid)
	b.ReportMetric(own, "MB")
	b.ReportMetric(mapped, "MB-of-files")
}

// BenchmarkSweepOf10000 is a sweep of 10,000 trials, from apply to all of them durable and listed.
func BenchmarkSweepOf10000(b *testing.B) {
	for i := 0; b.Loop(); i++ {
		p := newPlane(b).ready()
		begun := time.Now()
		p.apply(manyTrials("many", func(s *api.BenchmarkSweepSpec) { s.Suspend = true }))
		accepted := time.Since(begun)
		p.untilSweep("many", time.Minute, api.SweepSuspended)
		if n := len(p.runsOf("many")); n != 10_000 {
			b.Fatalf("%d runs are listed", n)
		}
		b.ReportMetric(accepted.Seconds(), "s-accepted")
		b.ReportMetric(time.Since(begun).Seconds(), "s-expanded-and-listed")
		reportMemory(b, p.cmd.Process.Pid)
		p.kill()
	}
}

// BenchmarkHomeOf100000 is a control plane whose store holds 100,000 finished runs: start-up, a page of `get runs`, memory.
func BenchmarkHomeOf100000(b *testing.B) {
	p := newPlane(b).ready()
	p.kill()
	st, err := store.Open(p.home.Store(), store.Options{Live: api.Live})
	if err != nil {
		b.Fatal(err)
	}
	for at := 0; at < 100_000; at += 1000 {
		if err := st.Update(b.Context(), func(tx *store.Tx) error {
			for i := range 1000 {
				if err := tx.Create(finishedRun(at + i)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		begun := time.Now()
		p.start()
		p.ready()
		b.ReportMetric(time.Since(begun).Seconds(), "s-start-up")
		begun = time.Now()
		const pages = 20
		for range pages {
			if _, err := p.api.Table(b.Context(), api.KindBenchmarkRun, client.ListOptions{Namespace: "default", Limit: 500}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(time.Since(begun).Seconds()*1000/pages, "ms-page-of-500")
		reportMemory(b, p.cmd.Process.Pid)
		p.kill()
	}
}

// finishedRun is one of many runs that have ended, with what a finished one has in its status.
func finishedRun(i int) *api.BenchmarkRun {
	run := newRun(fmt.Sprintf("done-%06d", i))
	api.SetDefaults(run)
	at := metav1.Now()
	run.Status = api.BenchmarkRunStatus{
		Phase: api.RunCompleted, PhaseSince: &at, StartTime: &at, CompletionTime: &at, Folder: "/project/work/default/runs/run-0123abcd/attempt-1",
		Outcome: &api.Outcome{Result: api.ResultSucceeded}, Summary: &api.Summary{Requests: 12345, RequestThroughput: 12.5, Verdict: "Valid"},
		Attempts: []api.Attempt{{Number: 1, Allocation: run.Name, JobID: "123456", Folder: "/project/work/default/runs/run-0123abcd/attempt-1"}},
	}
	for range 10 {
		run.Status.Reports = append(run.Status.Reports, api.ReportFile{Path: run.Status.Folder + "/report/report.json", Size: 12345, SHA256: strings.Repeat("0f", 32)})
	}
	return run
}

// BenchmarkIdleWithQueuedTrials is a control plane with a sweep of 10,000 trials none of which can start: its CPU, and how many
// times it asks Slurm in a poll's time.
func BenchmarkIdleWithQueuedTrials(b *testing.B) {
	c := needSlurm(b, true)
	p := newSlurmPlane(c, func(s *api.ClusterSpec) { s.PollInterval = seconds(15) }).ready()
	defer c.command("scancel", "--user=benchd") // what pends for ever
	p.apply(manyTrials("queued", func(s *api.BenchmarkSweepSpec) {
		s.Template.Spec = slurmRun("template").Spec
		s.Template.Spec.Slurm.Partition, s.Template.Spec.Slurm.TimeLimit = "short", "01:00:00" // over the partition's limit: pends for ever
		s.Parallelism, s.Sharing.Isolation = 50, api.IsolationPerTrial
	}))
	p.untilSweep("queued", time.Minute, api.SweepActive)
	const settle, window = 60 * time.Second, 60 * time.Second
	<-time.After(settle)
	for b.Loop() {
		own, all := cpu(b, p.cmd.Process.Pid)
		looks := p.metric(b, `benchd_cluster_looks_total{cluster="test",result="ok"}`)
		<-time.After(window)
		ownAfter, allAfter := cpu(b, p.cmd.Process.Pid)
		b.ReportMetric(100*(ownAfter-own)/window.Seconds(), "%core")
		b.ReportMetric(100*(allAfter-all)/window.Seconds(), "%core-with-commands")
		b.ReportMetric((p.metric(b, `benchd_cluster_looks_total{cluster="test",result="ok"}`)-looks)/(window.Seconds()/15), "squeue/poll")
	}
}

// metric reads one value of the control plane's own metrics.
func (p *plane) metric(b *testing.B, series string) float64 {
	b.Helper()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", p.home.Socket())
	}
	resp, err := (&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}).Get("http://benchd/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				b.Fatal(err)
			}
			return v
		}
	}
	return 0
}

// BenchmarkSharedAllocations is 40 trials of 10 s over two Allocations at once on the Slurm test cluster, with a server that takes
// 20 s to load: what share of the time that servers were ready was measured, where the rest went, and how much longer one job per
// trial takes (BENCHD_BENCH_PER_TRIAL=1; some 15 minutes).
func BenchmarkSharedAllocations(b *testing.B) {
	c := needSlurm(b, true)
	for b.Loop() {
		total, trials := sharing(b, c, "shared", api.IsolationShared)
		b.ReportMetric(total.Seconds(), "s-shared")
		lost := spentOn(b, trials)
		b.ReportMetric(100*lost.measured/lost.ready, "%measured")
		b.Logf("of %.0f s with servers ready: %.0f s measured, %.0f s between runs (pause, cache), %.0f s handing out, %.0f s before and after the load, %.0f s collecting, %.0f s else",
			lost.ready, lost.measured, lost.between, lost.launching, lost.around, lost.collecting, lost.ready-lost.measured-lost.between-lost.launching-lost.around-lost.collecting)
		if os.Getenv("BENCHD_BENCH_PER_TRIAL") != "" {
			alone, _ := sharing(b, c, "alone", api.IsolationPerTrial)
			b.ReportMetric(alone.Seconds(), "s-one-job-per-trial")
			b.ReportMetric(alone.Seconds()/total.Seconds(), "x-shared")
		}
	}
}

// sharing carries a sweep of 40 trials out and returns how long that took.
func sharing(b *testing.B, c *slurmCluster, name string, isolation api.Isolation) (time.Duration, *plane) {
	p := newSlurmPlane(c, nil).ready()
	begun := time.Now()
	p.apply(slurmSweep(name, func(s *api.BenchmarkSweepSpec) {
		s.Sharing = api.SharingSpec{Isolation: isolation}
		s.Parallelism, s.Repeats = 2, 10
		s.Parameters = []api.ParameterSpec{{Path: "workload.load.clientsPerNode", Values: []any{1.0, 2.0, 3.0, 4.0}}}
		s.Template.Spec.Workload.Duration = seconds(10)
		s.Template.Spec.Service.Config["startup"] = "20s"
	}))
	st := p.untilSweep(name, 40*time.Minute, api.SweepCompleted).Status
	if st.Succeeded != 40 {
		b.Fatalf("%+v", st)
	}
	return time.Since(begun), p
}

// times are seconds over all Allocations and runs of a sweep.
type times struct{ ready, measured, between, launching, around, collecting float64 }

// spentOn adds up where the time of the Allocations went once their servers were ready, as the leads tell it.
func spentOn(b *testing.B, p *plane) times {
	b.Helper()
	var t times
	type span struct{ first, last time.Time }
	allocations := map[string]*span{}
	for _, run := range p.runsOf("shared") {
		a := run.Status.Attempts[len(run.Status.Attempts)-1]
		at := map[api.RunPhase]time.Time{}
		for _, ph := range a.Phases {
			at[ph.Phase] = ph.Since.Time
		}
		s := allocations[a.Allocation]
		if s == nil {
			s = &span{first: at[api.RunMonitoring]}
			allocations[a.Allocation] = s
		}
		if at[api.RunMonitoring].Before(s.first) {
			s.first = at[api.RunMonitoring]
		}
		if at[api.RunReporting].After(s.last) {
			s.last = at[api.RunReporting]
		}
		duration := run.Spec.Workload.Duration.Seconds()
		t.measured += duration
		t.between += at[api.RunLaunching].Sub(at[api.RunMonitoring]).Seconds()
		t.launching += at[api.RunExecuting].Sub(at[api.RunLaunching]).Seconds()
		t.around += at[api.RunTearingDown].Sub(at[api.RunExecuting]).Seconds() - duration
		t.collecting += at[api.RunReporting].Sub(at[api.RunTearingDown]).Seconds()
	}
	for name, s := range allocations {
		obj, err := p.api.Get(context.Background(), api.KindAllocation, "default", name)
		if err != nil {
			b.Fatal(err)
		}
		// From the first order taken up, which is when servers were ready, to the end of the job, or of the last run where that came
		// later than Slurm tells to the second.
		end := s.last
		if j := obj.(*api.Allocation).Status.Job; j != nil && j.EndTime != nil && j.EndTime.After(end) {
			end = j.EndTime.Time
		}
		t.ready += end.Sub(s.first).Seconds()
	}
	return t
}
