package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/workload"
)

const ms1 = int64(1e6)

// header is of a load with 1 s of warm-up and 10 s of measurement, in which closed loops have 1 client.
func header(node string) workload.Header {
	return workload.Header{Format: workload.Format, Node: node, Ranks: 1, Warmup: 1000 * ms1, Duration: 10_000 * ms1, Streaming: true}
}

// client is one client node's records. Its trailer gets the node's name.
type client struct {
	header     workload.Header
	records    []workload.Record
	trailer    workload.Trailer
	incomplete bool
}

// stream is what the node's stream file holds.
func (c client) stream(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	encode := json.NewEncoder(&buf)
	err := encode.Encode(c.header)
	for _, r := range c.records {
		if r.Node == "" {
			r.Node = c.header.Node
		}
		err = errors.Join(err, encode.Encode(r))
	}
	if !c.incomplete {
		c.trailer.Node = c.header.Node
		err = errors.Join(err, encode.Encode(c.trailer))
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// store writes each node's records and returns their folder.
func store(t testing.TB, nodes ...client) string {
	t.Helper()
	dir := t.TempDir()
	storeIn(t, dir, nodes...)
	return dir
}

func storeIn(t testing.TB, dir string, nodes ...client) {
	t.Helper()
	for i, n := range nodes {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("records-%04d.jsonl", i)), n.stream(t), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// defaults are the limits of a run that names none.
func defaults() api.VerdictSpec {
	var limits api.VerdictSpec
	api.SetVerdictDefaults(&limits)
	return limits
}

// summarize makes the summary of records on as many nodes as are given, under the usual limits.
func summarize(t testing.TB, in Input, nodes ...client) *Summary {
	t.Helper()
	if in.Clients == 0 {
		in.Clients = len(nodes)
	}
	if in.Limits == (api.VerdictSpec{}) {
		in.Limits = defaults()
	}
	s, err := Compute(store(t, nodes...), in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// streamed is a good request: all times in milliseconds after T0.
func streamed(i, s, first, last, e int64, prompt, output int, gaps ...uint32) workload.Record {
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

// each makes samples of single values, all of one block.
func each(values ...float64) samples {
	var s samples
	for _, v := range values {
		s.add(v, 0)
	}
	return s
}

// expanded lists the samples' values, sorted, each as often as it was seen.
func expanded(s samples) []float64 {
	var out []float64
	for _, v := range s {
		out = append(out, slices.Repeat([]float64{v.value}, int(v.n))...)
	}
	slices.Sort(out)
	return out
}

// type7 is the percentile as numpy computes it.
func type7(sorted []float64, q float64) float64 {
	rank := q * float64(len(sorted)-1)
	lo, hi := sorted[int(math.Floor(rank))], sorted[int(math.Ceil(rank))]
	return lo + (rank-math.Floor(rank))*(hi-lo)
}

// middle is the median of at least one number.
func middle(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
