package logs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
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
