package simulate

import (
	"context"
	"math/rand/v2"
	"time"
)

// A pace says when the tokens of one answer are due. Times are absolute, on the server's clock, so that a late token
// does not delay the ones after it.
type pace struct {
	ttft, itl sampler
	rng       *rand.Rand
	due       time.Duration // of the last token that was asked for; at first, when the request left the queue
	tokens    int
	timer     *time.Timer // one for all waits of the request
}

// next returns when the last of the next k tokens is due.
func (p *pace) next(k int) time.Duration {
	for range k {
		if p.tokens == 0 {
			p.due += p.ttft(p.rng)
		} else {
			p.due += p.itl(p.rng)
		}
		p.tokens++
	}
	return p.due
}

// wait returns nil once d has passed, or why ctx ended.
func (p *pace) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	if p.timer == nil {
		p.timer = time.NewTimer(d)
	} else {
		p.timer.Reset(d)
	}
	select {
	case <-p.timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stop frees the timer.
func (p *pace) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}
