package simulate

import (
	"math"
	"testing"
	"time"
)

func TestSamplersKeepMeanAndSpread(t *testing.T) {
	const mean, draws = 10 * time.Millisecond, 200_000
	for dist, c := range map[string]struct{ spread, std float64 }{
		distConstant:    {0, 0},
		distExponential: {0, 1},
		distNormal:      {0.2, 0.2},
		distUniform:     {0.4, 0.4},
		distLognormal:   {0.6, 0.6},
	} {
		t.Run(dist, func(t *testing.T) {
			draw, rng := newSampler(dist, mean, c.spread), newRand(1, 1)
			var sum, squares float64
			for range draws {
				d := float64(draw(rng))
				if d < 0 {
					t.Fatalf("drew %v, below 0", time.Duration(d))
				}
				sum, squares = sum+d, squares+d*d
			}
			m := sum / draws
			std := math.Sqrt(max(0, squares/draws-m*m)) / float64(mean)
			if math.Abs(m/float64(mean)-1) > 0.01 || math.Abs(std-c.std) > 0.02 {
				t.Errorf("mean %v and relative deviation %.3f, want %v and %.3f", time.Duration(m), std, mean, c.std)
			}
		})
	}
}

func TestDrawsDependOnSeedAndOrderOnly(t *testing.T) {
	draw := newSampler(distExponential, time.Second, 0)
	first := draw(newRand(1, 1))
	if again := draw(newRand(1, 1)); again != first {
		t.Errorf("the same request drew %v and %v", first, again)
	}
	if other := draw(newRand(1, 2)); other == first {
		t.Errorf("two requests drew the same %v", first)
	}
	if other := draw(newRand(2, 1)); other == first {
		t.Errorf("two seeds drew the same %v", first)
	}
}
