package report

import "slices"

// Series is the run over time, from its beginning to the last answer, warm-up and drain included. Steps without a value
// hold null.
type Series struct {
	// StepSeconds is the length of a step; the first begins at 0, the beginning of the load.
	StepSeconds float64 `json:"stepSeconds"`
	// From and To are the measured window, in seconds.
	From float64 `json:"from"`
	To   float64 `json:"to"`
	// InFlight is the mean number of requests in flight.
	InFlight []float64 `json:"inFlight"`
	// Completions, Failures and OutputTokens per second.
	Completions  []float64 `json:"completions"`
	Failures     []float64 `json:"failures"`
	OutputTokens []float64 `json:"outputTokens"`
	// TTFTP50 is of requests by when their first token came, E2EP50 by when their answer was complete, ITLMean of gaps by when they ended.
	TTFTP50 []*float64 `json:"ttftP50"`
	E2EP50  []*float64 `json:"e2eP50"`
	ITLMean []*float64 `json:"itlMean"`
}

// maxSteps bounds a series; steps are whole seconds.
const maxSteps = 600

// series gathers what happened when, in steps of a second that are merged at the end.
type series struct {
	completions, failures, tokens []float64
	gapSum, gapCount              []float64
	ttft, e2e                     [][]float64
}

// grow gives the place of an index, and lengthens the list up to there.
func grow[T any](s *[]T, i int64) *T {
	if more := int(i) + 1 - len(*s); more > 0 {
		*s = append(*s, make([]T, more)...)
	}
	return &(*s)[i]
}

// slot is the second of a time; what lies before T0 counts to the first one.
func slot(at int64) int64 { return max(0, at) / int64(second) }

// finish merges seconds so that there are at most maxSteps.
func (s *series) finish(f *flight, from, to int64) *Series {
	n := max(len(s.completions), len(s.failures), len(s.tokens), len(s.ttft), len(s.e2e), 1)
	step := (n + maxSteps - 1) / maxSteps
	steps := (n + step - 1) / step
	out := &Series{
		StepSeconds: float64(step), From: float64(from) / second, To: float64(to) / second, InFlight: f.means(int64(step)*int64(second), steps),
		Completions: merge(s.completions, step, steps), Failures: merge(s.failures, step, steps), OutputTokens: merge(s.tokens, step, steps),
		TTFTP50: medians(s.ttft, step, steps), E2EP50: medians(s.e2e, step, steps), ITLMean: make([]*float64, steps),
	}
	for i := range steps {
		sum, count := 0.0, 0.0
		for j := i * step; j < min((i+1)*step, len(s.gapSum)); j++ {
			sum += s.gapSum[j]
			count += s.gapCount[j]
		}
		if count > 0 {
			mean := sum / count
			out.ITLMean[i] = &mean
		}
	}
	return out
}

// medians gives those of what fell into each step; null where nothing did.
func medians(seconds [][]float64, step, steps int) []*float64 {
	out := make([]*float64, steps)
	for i := range out {
		var values []float64
		for j := i * step; j < min((i+1)*step, len(seconds)); j++ {
			values = append(values, seconds[j]...)
		}
		if len(values) > 0 {
			slices.Sort(values)
			out[i] = &values[len(values)/2]
		}
	}
	return out
}

// merge gives means per second over steps.
func merge(seconds []float64, step, steps int) []float64 {
	out := make([]float64, steps)
	for i, v := range seconds {
		out[i/step] += v / float64(step)
	}
	return out
}

// within cuts out the whole seconds between two times.
func within(seconds []float64, from, to int64) []float64 {
	first, last := (from+int64(second)-1)/int64(second), to/int64(second)
	var out []float64
	for i := first; i < last; i++ {
		v := 0.0
		if i < int64(len(seconds)) {
			v = seconds[i]
		}
		out = append(out, v)
	}
	return out
}
