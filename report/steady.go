package report

import (
	"math"
	"slices"
)

// Trend is how a series moves over the measured window: the Theil–Sen slope, the median of the slopes between all pairs
// (Sen, JASA 63, 1968), which a few outliers do not move.
type Trend struct {
	// Slope per second, and its 95 % interval.
	Slope float64  `json:"slope"`
	CI95  Interval `json:"ci95"`
	// Drift is the slope over the whole window, as a share of the series' median.
	Drift float64 `json:"drift"`
}

// minTrend is how many steps a trend needs: with fewer nearly everything is possible.
const minTrend = 10

// maxTrend bounds the pairs.
const maxTrend = 600

// trend of a series with steps of so many seconds; nil when it is too short to tell.
func trend(series []float64, step float64) *Trend {
	for len(series) > maxTrend {
		half := make([]float64, len(series)/2)
		for i := range half {
			half[i] = (series[2*i] + series[2*i+1]) / 2
		}
		series, step = half, 2*step
	}
	n := len(series)
	if n < minTrend {
		return nil
	}
	slopes := make([]float64, 0, n*(n-1)/2)
	for i := range series {
		for j := i + 1; j < n; j++ {
			slopes = append(slopes, (series[j]-series[i])/(float64(j-i)*step))
		}
	}
	slices.Sort(slopes)
	// Kendall's S has the variance n(n−1)(2n+5)/18; ties make the interval a little too wide, which is the careful side.
	half := 1.96 * math.Sqrt(float64(n*(n-1)*(2*n+5))/18) / 2
	centre := float64(len(slopes)) / 2
	at := func(rank float64) float64 { return slopes[int(min(max(rank, 0), float64(len(slopes)-1)))] }
	t := &Trend{Slope: median(slopes), CI95: Interval{at(math.Floor(centre-half) - 1), at(math.Ceil(centre + half))}}
	sorted := slices.Clone(series)
	slices.Sort(sorted)
	if median := median(sorted); median > 0 {
		t.Drift = t.Slope * float64(n) * step / median
	}
	return t
}

// median of sorted values.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// moves says whether the trend is one: its interval holds no 0, and it amounts to more than the limit.
func (t *Trend) moves(limit float64) bool {
	return t != nil && (t.CI95[0] > 0 || t.CI95[1] < 0) && math.Abs(t.Drift) > limit
}
