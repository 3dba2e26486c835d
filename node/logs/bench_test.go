package logs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// benchLine is about as long as what inference servers print for each request.
const benchLine = `INFO 01-02 12:00:00 [loggers.py:127] Engine 000: Avg prompt throughput: 51.2 tokens/s, Avg generation throughput: 812.4 tokens/s, Running: 8 reqs`

// benchRoot writes raw logs of two nodes, with so many lines altogether.
func benchRoot(b *testing.B, lines int) string {
	b.Helper()
	root := b.TempDir()
	for n := range 2 {
		var raw bytes.Buffer
		for i := range lines / 2 {
			stamp := noon.Add(time.Duration(i) * 20 * time.Microsecond).Format(time.RFC3339Nano)
			fmt.Fprintf(&raw, "%s %s %s\n", stamp, []string{"out", "err"}[i%2], benchLine)
		}
		path := filepath.Join(root, fmt.Sprintf("n%d", n), "server-a.log")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, raw.Bytes(), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return root
}

func perSecond(b *testing.B, lines int) {
	b.ReportMetric(float64(lines*b.N)/b.Elapsed().Seconds(), "lines/s")
}

// BenchmarkCapture is what a node does for each line that a process prints.
func BenchmarkCapture(b *testing.B) {
	for name, secrets := range map[string][]string{"plain": nil, "masked": {"0123456789abcdef", "hf_abcdefghijklmn"}} {
		b.Run(name, func(b *testing.B) {
			c, err := NewCapture(filepath.Join(b.TempDir(), "server-a.log"), secrets...)
			if err != nil {
				b.Fatal(err)
			}
			w, err := c.Pipe("out")
			if err != nil {
				b.Fatal(err)
			}
			const lines = 10_000
			batch := bytes.Repeat([]byte(benchLine+"\n"), lines)
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				if _, err := w.Write(batch); err != nil {
					b.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
			if err := c.Close(); err != nil { // all of it has been captured
				b.Fatal(err)
			}
			perSecond(b, lines)
		})
	}
}

// BenchmarkMerge is what the lead does at the end of a run.
func BenchmarkMerge(b *testing.B) {
	const lines = 200_000
	root := benchRoot(b, lines)
	dir := b.TempDir()
	out := Outputs{Stdout: filepath.Join(dir, "stdout.log"), Stderr: filepath.Join(dir, "stderr.log"), Aggregated: filepath.Join(dir, "aggregated.jsonl")}
	b.ReportAllocs()
	for b.Loop() {
		found, err := NewFinder(nil)
		if err != nil {
			b.Fatal(err)
		}
		sum, err := Merge(root, until(noon.Add(time.Hour)), out, found)
		if err != nil || sum.Lines != lines {
			b.Fatalf("%d lines: %v", sum.Lines, err)
		}
	}
	perSecond(b, lines)
}

// BenchmarkLive is what a lead does while two nodes print 100,000 lines a second: the lines are captured, followed, and made final at
// the end. None may be lost. It lasts as long as lines are printed; what the processor was busy with is the time per line.
func BenchmarkLive(b *testing.B) {
	const perBurst, bursts, pause = 500, 200, 10 * time.Millisecond // of each of two nodes: 50,000 lines a second for two seconds
	var heap runtime.MemStats
	for b.Loop() {
		dir := b.TempDir()
		s := &stage{t: b, root: filepath.Join(dir, "raw"), out: Outputs{
			Stdout: filepath.Join(dir, "stdout.log"), Stderr: filepath.Join(dir, "stderr.log"), Aggregated: filepath.Join(dir, "aggregated.jsonl"),
		}}
		settings := s.settings()
		settings.FlushInterval, settings.Window = 500*time.Millisecond, Window{From: time.Now()}
		tail := newTailer(settings)
		var nodes sync.WaitGroup
		var late [2]time.Duration
		for n := range 2 {
			path := filepath.Join(s.root, fmt.Sprintf("n%d", n), "server-a.log")
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				b.Fatal(err)
			}
			c, err := NewCapture(path)
			if err != nil {
				b.Fatal(err)
			}
			w, err := c.Pipe("out")
			if err != nil {
				b.Fatal(err)
			}
			nodes.Go(func() {
				burst, begin := bytes.Repeat([]byte(benchLine+"\n"), perBurst), time.Now()
				for i := range bursts {
					time.Sleep(time.Until(begin.Add(time.Duration(i) * pause)))
					if _, err := w.Write(burst); err != nil {
						b.Error(err)
					}
				}
				late[n] = time.Since(begin) - bursts*pause
				if err := errors.Join(w.Close(), c.Close()); err != nil {
					b.Error(err)
				}
			})
		}
		if err := tail.Deploy(nil); err != nil {
			b.Fatal(err)
		}
		tail.Start()
		nodes.Wait()
		runtime.ReadMemStats(&heap)
		began := time.Now()
		sum, err := tail.Stop(time.Now())
		if want := int64(2 * perBurst * bursts); err != nil || sum.Lines != want {
			b.Fatalf("%d lines of %d: %v", sum.Lines, want, err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s-to-stop")
		b.ReportMetric(max(late[0], late[1]).Seconds(), "s-late")
		b.ReportMetric(float64(heap.HeapInuse)/(1<<20), "MB-heap")
	}
	perSecond(b, 2*perBurst*bursts)
}
