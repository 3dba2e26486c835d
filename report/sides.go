package report

import (
	"math"

	"github.com/benchd/benchd/workload"
)

// bothSides are output tokens as the clients saw them, to be held against what servers counted. Servers differ in when they count: vLLM as it
// makes a token, SGLang, llama.cpp and TGI when its answer is through. And what a sample tells is up to some intervals old, so that the
// growth over the window is that between one time near its beginning and one near its end. Both leave a least and a most that a server may
// have counted, however the load goes up and down at the ends.
type bothSides struct{ arrived, ended leastMost }

// leastMost are the tokens of the window without what lies near its ends, and with it.
type leastMost struct{ least, most float64 }

// least and most that servers may have counted.
func (s *bothSides) least() float64 { return min(s.arrived.least, s.ended.least) }
func (s *bothSides) most() float64  { return max(s.arrived.most, s.ended.most) }

// addToBounds counts tokens at a time.
func (a *accumulator) addToBounds(b *leastMost, at int64, tokens float64) {
	interval := int64(a.in.SampleSeconds * second)
	old := apart * interval
	if at >= a.from-old && at < a.to+interval {
		b.most += tokens
	}
	if at >= a.from+interval && at < a.to-old {
		b.least += tokens
	}
}

// addEnded counts an answer's tokens where they count when it is through.
func (a *accumulator) addEnded(r *workload.Record) {
	a.addToBounds(&a.sides.ended, max(r.Finish(), r.End), float64(r.OutputTokens))
}

// differ says whether servers' tokens are off what the clients saw, beyond what sampling explains.
func (a *accumulator) differ(tokens float64) bool {
	least, most := a.sides.least(), a.sides.most()
	slack := sidesApart * math.Max(tokens, total(a.windowOut))
	if s := &a.sum; !a.header.Streaming && s.OutputTokens.Mean != nil { // what is under way counts on one side alone
		slack += (s.Concurrency.Mean + float64(s.Concurrency.Peak)) * *s.OutputTokens.Mean
	}
	return tokens < least-slack || tokens > most+slack
}
