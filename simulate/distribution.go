package simulate

import (
	"math"
	"math/rand/v2"
	"time"
)

// The distributions Config.TTFTDist and Config.ITLDist name.
const (
	distConstant    = "constant"
	distExponential = "exponential"
	distNormal      = "normal"
	distUniform     = "uniform"
	distLognormal   = "lognormal"
)

// The largest spreads that keep durations above zero without moving the mean: a uniform one reaches sqrt(3) deviations
// from it, and a normal one passes four deviations in 3 of 100,000 draws.
const (
	maxUniformSpread = 0.577
	maxNormalSpread  = 0.25
)

// A sampler draws durations around a mean.
type sampler func(*rand.Rand) time.Duration

// checkDist reports a distribution that is unknown, or that the spread does not suit.
func checkDist(field, dist string, spread float64) error {
	switch dist {
	case distConstant, distExponential:
		return nil
	case distLognormal:
		return check(spread > 0, "spread", spread, `above 0 with "lognormal", or set `+field+` to "constant"`)
	case distNormal:
		return check(spread > 0 && spread <= maxNormalSpread, "spread", spread,
			`above 0 and at most 0.25 with "normal" (more would need times below zero), or set `+field+` to "lognormal"`)
	case distUniform:
		return check(spread > 0 && spread <= maxUniformSpread, "spread", spread,
			`above 0 and at most 0.577 with "uniform" (more would need times below zero), or set `+field+` to "lognormal"`)
	default:
		return check(false, field, dist, "one of constant, exponential, normal, uniform, lognormal")
	}
}

// newSampler returns the sampler of a distribution that checkDist accepted.
func newSampler(dist string, mean time.Duration, spread float64) sampler {
	m := float64(mean)
	switch dist {
	case distExponential:
		return func(r *rand.Rand) time.Duration { return time.Duration(m * r.ExpFloat64()) }
	case distNormal:
		return func(r *rand.Rand) time.Duration { return time.Duration(max(0, m+m*spread*r.NormFloat64())) }
	case distUniform:
		half := m * spread * math.Sqrt(3)
		return func(r *rand.Rand) time.Duration { return time.Duration(m + half*(2*r.Float64()-1)) }
	case distLognormal:
		variance := math.Log1p(spread * spread)
		mu, sigma := math.Log(m)-variance/2, math.Sqrt(variance)
		return func(r *rand.Rand) time.Duration { return time.Duration(math.Exp(mu + sigma*r.NormFloat64())) }
	default:
		return func(*rand.Rand) time.Duration { return mean }
	}
}

// newRand returns the source of one request's draws. It depends on the order of arrival only, never on how requests
// interleave afterwards.
func newRand(seed, sequence uint64) *rand.Rand {
	const golden = 0x9e3779b97f4a7c15 // spreads successive numbers over the whole word
	return rand.New(rand.NewPCG(seed, sequence*golden))
}
