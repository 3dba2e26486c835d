package main

import (
	"errors"
	"time"

	"github.com/benchd/benchd/simulate"
)

// A truth is what a simulated server really sent in a client's measured window.
type truth struct {
	ttft, gaps, tpot []time.Duration
	late             time.Duration // the latest of all chunks after it was due
}

// truthOf takes the requests that arrived inside the window from the log. The window begins with the warm-up after the
// first arrival; requests for another number of tokens, a client's own checks, are left out.
func truthOf(records []simulate.Record, l load) (truth, error) {
	var t truth
	begin := time.Duration(-1)
	for i := range records {
		if r := &records[i]; r.TargetTokens == l.tokens && (begin < 0 || r.Arrival < begin) {
			begin = r.Arrival
		}
	}
	begin += l.warmup
	for i := range records {
		r := &records[i]
		inside := r.Arrival >= begin && r.Arrival < begin+l.duration
		if !inside || r.TargetTokens != l.tokens || r.Outcome != simulate.OutcomeAnswered || r.OutputTokens < 2 {
			continue
		}
		t.ttft = append(t.ttft, r.FirstToken-r.Arrival)
		t.tpot = append(t.tpot, (r.LastToken-r.FirstToken)/time.Duration(r.OutputTokens-1))
		for k := 1; k < len(r.ChunkTimes); k++ {
			t.gaps = append(t.gaps, r.ChunkTimes[k].At-r.ChunkTimes[k-1].At)
		}
		t.late = max(t.late, r.MaxLate)
	}
	if len(t.ttft) == 0 {
		return t, errors.New("the server answered nothing inside the measured window")
	}
	return t, nil
}

// values are the truth in milliseconds.
func (t *truth) values() values {
	v := values{}
	v.set("serverTTFTP50", quantileOf(t.ttft, 0.5), 1e-6)
	v.set("serverTTFTP99", quantileOf(t.ttft, 0.99), 1e-6)
	v.set("serverITLP99", quantileOf(t.gaps, 0.99), 1e-6)
	v.set("serverTPOTP50", quantileOf(t.tpot, 0.5), 1e-6)
	v["serverLate"] = float64(t.late) * 1e-6
	return v
}

// off adds how far the client's figure is from the server's: as it is, and relative to it in percent.
func (v values) off(key string) {
	client, seen := v[key]
	server, sent := v["server"+key]
	if seen && sent {
		v[key+"Off"] = client - server
		v[key+"OffPercent"] = (client/server - 1) * 100
	}
}

// chunksOf counts what a simulated server sent: chunks with tokens in them.
func chunksOf(records []simulate.Record) int {
	sum := 0
	for i := range records {
		sum += records[i].Chunks
	}
	return sum
}
