package simulate

// A plan is what is to be sent to each choice of one answer.
type plan struct {
	tokens int    // of each choice
	half   int    // after so many a fault strikes; at least one, so that it differs from a refusal
	finish string // the finish_reason
}

// target is how many tokens the request asks for.
func (g *generation) target(usual int) int {
	if g.maxTokens > 0 {
		return g.maxTokens
	}
	return max(usual, g.minTokens)
}

// plan settles the length and the end of the answer. It withdraws an early stop that the request rules out.
func (x *exchange) plan() plan {
	target := x.gen.target(x.s.cfg.OutputTokens)
	x.rec.TargetTokens = target * len(x.gen.prompts)
	p := plan{tokens: target, half: (target + 1) / 2, finish: finishStop}
	if x.gen.maxTokens > 0 || x.gen.ignoreEOS {
		p.finish = finishLength
	}
	if x.rec.Fault == FaultEarlyStop {
		if early := max(p.half, x.gen.minTokens); early < target && !x.gen.ignoreEOS {
			p.tokens, p.finish = early, finishStop
		} else {
			x.rec.Fault = FaultNone
		}
	}
	return p
}

// strikes reports whether the fault of this request interrupts an answer half-way.
func (f Fault) strikes() bool {
	switch f {
	case FaultStall, FaultCut, FaultTruncate, FaultStreamError:
		return true
	default:
		return false
	}
}
