package report

import (
	"errors"
	"io/fs"
	"math"
	"path/filepath"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
)

// Own is what the report of one run says beyond its headline.
type Own struct {
	// Intervals of 95 %, by the block bootstrap of the run's window, by the names of a sweep's metrics; in their units. They tell how well
	// this run is known, and nothing of how repeats differ.
	Intervals map[string]Interval
	// Opening is by how much the output of the window's first OpeningSeconds differs from that of the rest, as a share of it. It is 0
	// where the rest was not steady either, or the difference may be chance.
	Opening        float64
	OpeningSeconds float64
}

// Reports is what has been read of the reports of runs, by the runs' folders. A report is never written again, so who computes a
// sweep's results many times need not read those of all its runs each time.
type Reports map[string]*Own

// own is what the report of a run says, read at most once. A nil Reports remembers nothing.
func (r Reports) own(run *api.BenchmarkRun) (*Own, error) {
	if own := r[run.Status.Folder]; own != nil {
		return own, nil
	}
	own, err := ownOf(run)
	if own != nil && r != nil {
		r[run.Status.Folder] = own
	}
	return own, err
}

// ownFile is the part of summary.json that Own is made of: a sweep has many runs, whose series need not be kept.
type ownFile struct {
	CI95      map[string]*Interval `json:"ci95"`
	TTFT      ownIntervals         `json:"ttft"`
	TPOT      ownIntervals         `json:"tpot"`
	E2E       ownIntervals         `json:"e2e"`
	Saturated bool                 `json:"saturated"`
	Series    *struct {
		StepSeconds  float64   `json:"stepSeconds"`
		From         float64   `json:"from"`
		To           float64   `json:"to"`
		Completions  []float64 `json:"completions"`
		OutputTokens []float64 `json:"outputTokens"`
	} `json:"series"`
}

type ownIntervals struct {
	CI95 *Intervals `json:"ci95"`
}

// ownOf reads the report of a run. One that is not there, or not for this user to see, gives nil: the headline has the numbers.
func ownOf(run *api.BenchmarkRun) (*Own, error) {
	if run.Status.Folder == "" || run.Status.Summary == nil {
		return nil, nil
	}
	var f ownFile
	err := node.ReadJSON(filepath.Join(run.Status.Folder, Dir, SummaryJSON), &f)
	if errors.Is(err, node.ErrNotYet) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	own := &Own{Intervals: f.intervals()}
	switch run.Spec.Workload.Load.Pattern {
	case "", api.PatternClosed, api.PatternConstant, api.PatternPoisson, api.PatternGamma: // the others change by themselves
		if !f.Saturated {
			own.Opening, own.OpeningSeconds = f.opening()
		}
	}
	return own, nil
}

// intervals by the names of a sweep's metrics, but for those per GPU, which are made of tokens'.
func (f *ownFile) intervals() map[string]Interval {
	out := map[string]Interval{}
	put := func(name string, ci *Interval) {
		if ci != nil {
			out[name] = *ci
		}
	}
	put("requestThroughput", f.CI95["requestThroughput"])
	put("outputTokenThroughput", f.CI95["outputTokenThroughput"])
	if ci := f.TTFT.CI95; ci != nil {
		put("ttftP50", ci.P50)
		put("ttftP99", ci.P99)
	}
	if ci := f.TPOT.CI95; ci != nil {
		put("tpotP50", ci.P50)
		if p50 := ci.P50; p50 != nil && p50[0] > 0 {
			put("tokensPerUser", &Interval{1 / p50[1], 1 / p50[0]})
		}
	}
	if ci := f.E2E.CI95; ci != nil {
		put("e2eP50", ci.P50)
		put("e2eP99", ci.P99)
	}
	return out
}

// openingShare of a window is held against the rest of it.
const openingShare = 5

// opening holds the first fifth of the measured window against the rest, by output tokens per second; by completions where there are
// no tokens. It is told where the rest is steady (no trend by Theil and Sen of over 10 %), and the difference is over 10 % and over
// three standard errors of a mean over so many steps, as the rest scatters.
func (f *ownFile) opening() (share, seconds float64) {
	s := f.Series
	if s == nil || s.StepSeconds <= 0 {
		return 0, 0
	}
	values := s.OutputTokens
	if len(values) == 0 || average(values) == 0 {
		values = s.Completions
	}
	from, to := int(math.Ceil(s.From/s.StepSeconds)), min(int(s.To/s.StepSeconds), len(values))
	if from < 0 || to-from < minTrend*openingShare/(openingShare-1)+1 {
		return 0, 0
	}
	first := (to - from) / openingShare
	opening, rest := values[from:from+first], values[from+first:to]
	const limit, errorsApart = 0.10, 3
	level := average(rest)
	if level <= 0 {
		return 0, 0
	}
	scatter := 0.0
	for _, v := range rest {
		scatter += (v - level) * (v - level) / float64(len(rest)-1)
	}
	difference := average(opening) - level
	if math.Abs(difference) <= max(limit*level, errorsApart*math.Sqrt(scatter/float64(first))) {
		return 0, 0
	}
	if trend(rest, s.StepSeconds).moves(limit) { // last, for it takes all pairs
		return 0, 0
	}
	return difference / level, float64(first) * s.StepSeconds
}

func average(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
