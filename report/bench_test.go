package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/benchd/benchd/workload"
)

// BenchmarkCompute takes 100,000 streamed requests of 128 tokens each, 1000 a second: from the stream file to the summary.
func BenchmarkCompute(b *testing.B) {
	const requests, tokens = 100_000, 128
	dir := b.TempDir()
	f, err := os.Create(filepath.Join(dir, "records-0000.jsonl"))
	if err != nil {
		b.Fatal(err)
	}
	out := bufio.NewWriter(f)
	encode := json.NewEncoder(out)
	h := workload.Header{
		Format: workload.Format, Node: "n1", Ranks: 1, Duration: 100e9, OfferedRate: 1000, Streaming: true, TTFT: 200 * ms1, TPOT: 12 * ms1, Pattern: "constant",
	}
	err = encode.Encode(h)
	random := rand.New(rand.NewPCG(1, 2))
	r := workload.Record{Node: "n1", Streamed: true, PromptTokens: 512, OutputTokens: tokens, Target: tokens, Source: "server", Gaps: make(workload.Numbers, tokens-1)}
	for k := range int64(requests) {
		r.K, r.Server = k, []string{"vllm-0", "vllm-1"}[k%2]
		r.Intended = k * ms1
		r.Sent = r.Intended + random.Int64N(50_000)
		r.First = r.Sent + 80*ms1 + int64(random.ExpFloat64()*20e6)
		r.Last = r.First
		for i := range r.Gaps {
			r.Gaps[i] = uint32(10_000 + random.NormFloat64()*800)
			r.Last += int64(r.Gaps[i]) * 1000
		}
		r.End = r.Last + 300_000
		err = errors.Join(err, encode.Encode(r))
	}
	err = errors.Join(err, encode.Encode(workload.Trailer{Node: "n1"}), out.Flush(), f.Close())
	if err != nil {
		b.Fatal(err)
	}
	in := Input{Clients: 1, Limits: defaults()}
	b.ReportAllocs()
	for b.Loop() {
		s, err := Compute(dir, in)
		if err != nil || s.ITL.Count != requests*(tokens-1) {
			b.Fatal(err)
		}
	}
}
