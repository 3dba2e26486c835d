package workload

import (
	"strings"
	"time"

	"github.com/benchd/benchd/protocol"
)

// answered is called when a request has ended.
func (s *slot) answered() {
	w, r := s.w, s.call.Result()
	if s.first == 0 {
		s.first = r.Sent
	}
	if r.Class != "" && r.Class != protocol.ClassCancelled && s.retries < w.load.plan.Workload.Retries && w.sending {
		s.retries++
		s.call.Send(w.load.timeout)
		return
	}
	w.active--
	w.load.inFlight.Add(-1)
	w.record(s, r)
	pause := int64(w.load.plan.Workload.Load.ThinkTime.Duration)
	if r.Class != "" {
		pause = max(pause, failurePause)
	}
	switch {
	case !w.closed:
		w.free = append(w.free, s)
		w.letThrough()
		w.checkOver()
	case !w.sending:
		w.checkOver()
	case pause > 0:
		w.wire.Set(&s.timer, w.wire.Now()+pause)
	default:
		s.nextClosed()
	}
}

// record writes what became of a request.
func (w *worker) record(s *slot, r *protocol.Result) {
	rec := &w.rec
	at := func(t int64) int64 {
		if t == 0 {
			return 0
		}
		return t - w.t0
	}
	*rec = Record{
		K: s.k, Server: w.load.plan.Targets[s.target].Name, Node: w.load.plan.Node, CapWait: s.capWait, Sent: s.first - w.t0,
		Connected: at(r.Connected), First: at(r.First), Last: at(r.Last), End: at(r.End), Streamed: r.First != 0,
		PromptTokens: r.PromptTokens, OutputTokens: r.OutputTokens, Source: r.TokenSource, Target: s.question.MaxTokens,
		Cached: r.CachedTokens, SharedReads: r.SharedReads, Redials: r.Redials, Retries: s.retries,
		ServerQueue: r.Server.Queue, ServerLoad: r.Server.Load, ServerPrefill: r.Server.Prefill, ServerDecode: r.Server.Decode,
		Class: string(r.Class), Message: withoutKey(r.Message, w.load.plan.APIKey), Status: r.Status, Gaps: rec.Gaps[:0], ChunkTokens: rec.ChunkTokens[:0],
	}
	if rec.Intended = rec.Sent; !w.closed {
		rec.Intended = s.intended - w.t0
	}
	if r.Reasoning {
		rec.FirstAnswer = at(r.FirstAnswer)
	}
	for i := 1; i < len(r.Chunks); i++ {
		rec.Gaps = append(rec.Gaps, r.Chunks[i]-r.Chunks[i-1])
	}
	ones := true
	for _, n := range r.ChunkTokens {
		ones = ones && n == 1
		rec.ChunkTokens = append(rec.ChunkTokens, uint32(n))
	}
	if ones {
		rec.ChunkTokens = rec.ChunkTokens[:0]
	}
	w.lastSent = max(w.lastSent, rec.Sent)
	w.load.noteFirst(time.Duration(s.first - w.t0))
	w.add(rec)
	if w.load.overBudget() && w.sending {
		w.stopSending(BoundErrorBudget)
	}
}

// drop records an arrival that is not sent.
func (w *worker) drop(a Arrival, waited int64, why string) {
	w.rec = Record{
		K: a.K, Node: w.load.plan.Node, Intended: int64(a.At), CapWait: waited, Class: ClassDropped, Message: why,
		Gaps: w.rec.Gaps[:0], ChunkTokens: w.rec.ChunkTokens[:0],
	}
	w.add(&w.rec)
}

func (w *worker) add(rec *Record) { w.load.add(rec, w.wire.Now()-w.t0) }

// withoutKey hides the key that requests carry, which a server may repeat when it refuses it: records are kept and sent around.
func withoutKey(message, key string) string {
	if key == "" || message == "" {
		return message
	}
	return strings.ReplaceAll(message, key, "***")
}
