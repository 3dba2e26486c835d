package main

import (
	"context"
	"fmt"
	"time"
)

// openFigures are d: whether arrivals happen when they were drawn.
func (b *bench) openFigures() []figure {
	slow := load{rate: 200, warmup: b.shorter(2 * time.Second), duration: b.shorter(10 * time.Second), tokens: 128}
	fast := slow
	fast.rate, fast.tokens = 1000, 16
	return []figure{
		b.openFigure(slow, 0.2, 0.7, column{"vegeta, constant", func(ctx context.Context) (values, error) { return b.vegetaOpen(ctx, slow) }}),
		b.openFigure(fast, 0, 2),
	}
}

// openFigure is d at one rate, with limits on the lag in milliseconds (0: none).
func (b *bench) openFigure(l load, p50, p99 float64, peers ...column) figure {
	measures := []measure{
		{label: "sent against drawn, %", key: "sentOff", format: "%+.3f", limit: atMost(0.1)},
		{label: "schedule lag p50, ms", key: "lagP50", format: "%.3f"},
		{label: "schedule lag p99, ms", key: "lagP99", format: "%.3f", limit: atMost(p99)},
		{label: "configured rate, 1/s", key: "offered", format: "%.2f"},
		{label: "arrivals drawn, 1/s", key: "drawn", format: "%.2f"},
		{label: "achieved rate, 1/s", key: "achieved", format: "%.2f"},
		{label: "share of the client's core, %", key: "share", format: "%.0f"},
	}
	if p50 > 0 {
		measures[1].limit = atMost(p50)
	}
	return figure{
		id: "d", title: fmt.Sprintf("Open loop, Poisson %v/s", l.rate), measures: measures,
		setup:   fmt.Sprintf("Streams of %d tokens, the first after 50 ms, one each 10 ms, after a warm-up. Drawn is what was attempted in the window; no peer says what its lag was.", l.tokens),
		columns: append([]column{{benchdName, func(ctx context.Context) (values, error) { return b.benchdOpen(ctx, l) }}}, peers...),
	}
}

// paced is the server of the open loop.
var paced = simSettings{TTFT: 50 * time.Millisecond, ITL: 10 * time.Millisecond}

// benchdOpen runs benchd in an open loop.
func (b *bench) benchdOpen(ctx context.Context, l load) (values, error) {
	t, err := b.simulated(ctx, paced)
	if err != nil {
		return nil, err
	}
	defer t.child.kill()
	u, s, err := b.benchd(ctx, t, l)
	if err != nil {
		return nil, err
	}
	v := values{"offered": s.OfferedRate, "achieved": s.AchievedRate, "share": u.share() * 100}
	if drawn := float64(s.Requests.Attempted); drawn > 0 && s.MeasuredSeconds > 0 {
		v["drawn"] = drawn / s.MeasuredSeconds
		v["sentOff"] = (s.AchievedRate/v["drawn"] - 1) * 100
	}
	v.set("lagP50", s.ScheduleLag.P50, 1e3)
	v.set("lagP99", s.ScheduleLag.P99, 1e3)
	return v, nil
}

// vegetaOpen runs vegeta at a constant rate.
func (b *bench) vegetaOpen(ctx context.Context, l load) (values, error) {
	t, err := b.simulated(ctx, paced)
	if err != nil {
		return nil, err
	}
	defer t.child.kill()
	u, rate, err := b.vegeta(ctx, t, l)
	if err != nil {
		return nil, err
	}
	return values{"offered": l.rate, "achieved": rate, "share": u.share() * 100}, nil
}
