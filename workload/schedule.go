// Package workload makes the load of a run: when requests are sent (schedules), what they ask (prompts), and one record
// of each. It knows servers only through package protocol, and no store, no cluster.
package workload

import (
	"math"
	"time"
)

// A Schedule is the arrivals of an open loop: pure arithmetic, the same on every node.
type Schedule interface {
	// At gives the intended start of arrival k, counted from 0, after the beginning of the load.
	At(k int64) time.Duration
}

// Constant is a constant rate in requests per second.
type Constant float64

// At gives the intended start of arrival k. It multiplies and never adds up, so that no error accumulates.
func (c Constant) At(k int64) time.Duration {
	return time.Duration(math.Round(float64(k) / float64(c) * float64(time.Second)))
}
