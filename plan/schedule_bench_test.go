package plan

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkSchedule plays 10,000 runs through, each of which has an Allocation of its own, or all of which share them.
func BenchmarkSchedule(b *testing.B) {
	for name, alone := range map[string]bool{"shared": false, "per-trial": true} {
		var waiting []Work
		for i := range 10_000 {
			w := Work{Name: fmt.Sprint(i), Position: i, Key: "same", Length: time.Minute, Startup: time.Minute, Limit: time.Hour, Alone: alone}
			if alone {
				w.Key = w.Name
			}
			waiting = append(waiting, w)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Schedule(waiting, 8)
			}
		})
	}
}
