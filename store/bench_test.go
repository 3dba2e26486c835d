package store_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
	"github.com/benchd/benchd/store/storetest"
)

// finished makes a run with the status that a finished one has, some 5 KB in all.
func finished(i int) *api.BenchmarkRun {
	run := storetest.NewRun("default", fmt.Sprintf("run-%06d", i), map[string]string{"sweep": fmt.Sprint(i / 100), "benchd.dev/run": "x"})
	at := metav1.Now()
	run.Status = api.BenchmarkRunStatus{
		Phase: api.RunCompleted, PhaseSince: &at, StartTime: &at, CompletionTime: &at, Folder: "/project/work/default/runs/run-0123abcd/attempt-1",
		Outcome: &api.Outcome{Result: api.ResultSucceeded}, Summary: &api.Summary{Requests: 12345, RequestThroughput: 12.5, TTFTP50: 0.123},
	}
	attempt := api.Attempt{Number: 1, Allocation: run.Name + "-1", JobID: "123456", Folder: run.Status.Folder, Outcome: run.Status.Outcome}
	for _, p := range []api.RunPhase{api.RunPending, api.RunInitializing, api.RunDeploying, api.RunMonitoring, api.RunLaunching, api.RunExecuting, api.RunTearingDown, api.RunReporting} {
		attempt.Phases = append(attempt.Phases, api.PhaseTime{Phase: p, Since: metav1.NowMicro()})
	}
	run.Status.Attempts = []api.Attempt{attempt}
	for range 10 {
		run.Status.Reports = append(run.Status.Reports, api.ReportFile{Path: run.Status.Folder + "/report/report.json", Size: 12345, SHA256: strings.Repeat("0f", 32)})
	}
	for _, c := range []string{api.ConditionScheduled, api.ConditionDeployed, api.ConditionExecuted, api.ConditionReported} {
		run.Status.Conditions = append(run.Status.Conditions, metav1.Condition{Type: c, Status: metav1.ConditionTrue, Reason: "Done", Message: "all of it was done as it should be", LastTransitionTime: at})
	}
	return run
}

func selected(selector string) store.ListOptions {
	parsed, err := labels.Parse(selector)
	if err != nil {
		panic(err)
	}
	return store.ListOptions{Selector: parsed}
}

func BenchmarkCreate(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "benchd.db"), store.Options{})
	before := store.Writes(s)
	for i := 0; b.Loop(); i++ {
		if err := s.Create(b.Context(), finished(i)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(store.Writes(s)-before)/float64(b.N), "writes/op")
}

func BenchmarkPutStatus(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "benchd.db"), store.Options{})
	run := finished(0)
	if err := s.Create(b.Context(), run); err != nil {
		b.Fatal(err)
	}
	before := store.Writes(s)
	for i := 0; b.Loop(); i++ {
		run.Status.Message = fmt.Sprint(i)
		if err := s.PutStatus(b.Context(), run); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(store.Writes(s)-before)/float64(b.N), "writes/op")
}

// BenchmarkLarge measures what a store of many finished runs costs.
func BenchmarkLarge(b *testing.B) {
	const runs = 100_000
	path := filepath.Join(b.TempDir(), "benchd.db")
	s, err := store.Open(path, store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for at := 0; at < runs; at += 1000 {
		if err := s.Update(b.Context(), func(tx *store.Tx) error {
			for i := range 1000 {
				if err := tx.Create(finished(at + i)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	before := heap()
	b.Run("Open", func(b *testing.B) {
		for b.Loop() {
			s, err := store.Open(path, store.Options{})
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	s = open(b, path, store.Options{})
	after := heap()
	b.Run("Get", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := s.Get(b.Context(), api.KindBenchmarkRun, "default", fmt.Sprintf("run-%06d", i*7919%runs)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(after-before, "heap-MB")
	})
	lists := []struct {
		name string
		opts store.ListOptions
	}{{"ListPage", store.ListOptions{Limit: 500}}, {"ListSelected", selected("sweep=777")}, {"ListSelectedPage", selected("benchd.dev/run=x")}}
	for _, l := range lists {
		b.Run(l.name, func(b *testing.B) {
			l.opts.Limit = 500
			for b.Loop() {
				if _, err := s.List(b.Context(), api.KindBenchmarkRun, l.opts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("CreateAndDelete", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			run := finished(i)
			run.Name = fmt.Sprintf("new-%d-%d", b.N, i)
			if err := s.Create(b.Context(), run); err != nil {
				b.Fatal(err)
			}
			if _, err := s.Delete(b.Context(), api.KindBenchmarkRun, "default", run.Name, ""); err != nil {
				b.Fatal(err)
			}
		}
	})
}
