package main

import (
	"context"
	"time"
)

// smallFigures are e: small requests that are answered in one piece.
func (b *bench) smallFigures() []figure {
	l := load{clients: 32, duration: b.shorter(8 * time.Second), tokens: 1, whole: true}
	// A client says its rate in its own way: over its own window, and some with the connecting in it.
	clients := []struct {
		name string
		run  func(context.Context, *target, load) (usage, float64, error)
	}{
		{benchdName, func(ctx context.Context, t *target, l load) (usage, float64, error) {
			u, s, err := b.benchd(ctx, t, l)
			return u, s.RequestThroughput, err
		}},
		{readerName, func(ctx context.Context, t *target, l load) (usage, float64, error) {
			u, r, err := b.reader(ctx, t, l)
			return u, float64(r.Requests) / r.Seconds, err
		}},
		{"wrk", b.wrk},
		{"hey", b.hey},
		{"vegeta", b.vegeta},
		{"fortio", b.fortio},
	}
	f := figure{
		id: "e", title: "Small requests, not streamed",
		setup: "32 connections, closed loop, against a C server that gives every request the same answer; requests are those the server counted, per second from the first to the last, and per CPU-second of the whole client process.",
		measures: []measure{
			{label: "requests per second", key: "rate", format: "%.0f"},
			{label: "… relative to vegeta", key: "rate", format: "%.2f", over: "vegeta", limit: atLeast(1)},
			{label: "… relative to hey", key: "rate", format: "%.2f", over: "hey", limit: atLeast(1)},
			{label: "requests per client CPU-second", key: "perCPUSecond", format: "%.0f"},
			{label: "requests per second, by the client itself", key: "own", format: "%.0f"},
			{label: "share of the client's core, %", key: "share", format: "%.0f"},
			{label: "share of the server's core, %", key: "serverShare", format: "%.0f"},
			{label: "peak RSS, MiB", key: "rss", format: "%.1f"},
		},
	}
	for _, c := range clients {
		f.columns = append(f.columns, column{c.name, func(ctx context.Context) (values, error) { return b.smallRun(ctx, l, c.run) }})
	}
	return []figure{f}
}

// smallRun runs a client against the plain server.
func (b *bench) smallRun(ctx context.Context, l load, client func(context.Context, *target, load) (usage, float64, error)) (values, error) {
	t, err := b.plain(ctx)
	if err != nil {
		return nil, err
	}
	defer t.child.kill()
	u, own, err := client(ctx, t, l)
	if err != nil {
		return nil, err
	}
	served, seen, err := t.count()
	if err != nil {
		return nil, err
	}
	return values{
		"rate":         float64(seen.Requests) / seen.Seconds,
		"own":          own,
		"perCPUSecond": float64(seen.Requests) / u.cpu.Seconds(),
		"requests":     float64(seen.Requests),
		"share":        u.share() * 100,
		"serverShare":  served.cpu.Seconds() / u.wall.Seconds() * 100,
		"rss":          float64(u.peak) / mib,
	}, nil
}
