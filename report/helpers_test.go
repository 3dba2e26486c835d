package report

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/benchd/benchd/workload"
)

const ms1 = int64(1e6)

// header is of a load with 1 s of warm-up and 10 s of measurement, in which closed loops have 1 client.
func header(node string) workload.Header {
	return workload.Header{Format: workload.Format, Node: node, Ranks: 1, Warmup: 1000 * ms1, Duration: 10_000 * ms1, Streaming: true}
}

// client is one client node's records.
type client struct {
	header     workload.Header
	records    []workload.Record
	incomplete bool
}

// store writes each node's records and returns their folder.
func store(t testing.TB, nodes ...client) string {
	t.Helper()
	dir := t.TempDir()
	for i, n := range nodes {
		w, err := workload.CreateRecords(filepath.Join(dir, fmt.Sprintf("records-%d.jsonl", i)), n.header)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range n.records {
			if r.Node == "" {
				r.Node = n.header.Node
			}
			if err := w.Add(&r); err != nil {
				t.Fatal(err)
			}
		}
		if n.incomplete {
			continue
		}
		if err := w.Close(workload.Trailer{Node: n.header.Node, CPUSeconds: 1.5}); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func compute(t testing.TB, in Input, nodes ...client) *Summary {
	t.Helper()
	if in.Clients == 0 {
		in.Clients = len(nodes)
	}
	s, err := Compute(store(t, nodes...), in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// streamed is a good request: all times in milliseconds after T0.
func streamed(i, s, first, last, e int64, prompt, output int, gaps ...int64) workload.Record {
	r := workload.Record{
		Intended: i * ms1, Sent: s * ms1, First: first * ms1, Last: last * ms1, End: e * ms1, Streamed: true, Server: "s",
		PromptTokens: prompt, OutputTokens: output, Source: "server", Target: output,
	}
	for _, g := range gaps {
		r.Gaps = append(r.Gaps, g*1000)
	}
	return r
}

// failed is a request that ended with a class.
func failed(i, s, e int64, class string) workload.Record {
	return workload.Record{Intended: i * ms1, Sent: s * ms1, End: e * ms1, Class: class, Target: 4}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(a), math.Abs(b)) }

// number is a value that must be there.
func number(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}
