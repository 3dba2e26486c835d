package main

import (
	"context"
	"errors"
	"time"
)

const mib = 1 << 20

// streams is the number of streams of the figures on CPU.
const streams = 64

// streamingFigures are a and b: what a chunk costs.
func (b *bench) streamingFigures() []figure {
	l := load{clients: streams, duration: b.shorter(8 * time.Second), tokens: 128}
	one, many := simSettings{TTFT: none, ITL: none}, simSettings{TTFT: none, ITL: none, WriteChunks: 16}
	common := []measure{
		{label: "client CPU per chunk, µs", key: "perChunk", format: "%.2f"},
		{label: "… relative to the C reader", key: "perChunk", format: "%.2f", over: readerName, limit: atMost(1.5)},
		{label: "chunks per client CPU-second", key: "perCPUSecond", format: "%.0f"},
		{label: "chunks per second", key: "rate", format: "%.0f"},
		{label: "chunks per read", key: "perRead", format: "%.2f"},
		{label: "share of the client's core, %", key: "share", format: "%.0f"},
		{label: "share of the server's core, %", key: "serverShare", format: "%.0f"},
		{label: "output tokens reported / sent", key: "tokens", format: "%.3f"},
		{label: "peak RSS, MiB", key: "rss", format: "%.1f"},
	}
	parse := append([]measure{}, common...)
	parse[1].limit = nil
	parse[2].limit = atLeast(500_000)
	return []figure{
		{
			id: "a", title: "Streaming, one chunk per write", columns: b.streamColumns(one, l), measures: common,
			setup: "64 streams of 128 tokens, no warm-up, the server as fast as it goes; chunks are those of the server's log, CPU is that of the whole client process.",
		}, {
			id: "b", title: "Streaming, 16 chunks per write", columns: b.streamColumns(many, l), measures: parse,
			setup: "As a, but 16 events in one write: the parse rather than the kernel.",
		},
	}
}

// The names of columns.
const (
	benchdName = "benchd"
	readerName = "C reader"
)

// streamColumns are benchd and the C reader against the same server.
func (b *bench) streamColumns(settings simSettings, l load) []column {
	return []column{
		{benchdName, func(ctx context.Context) (values, error) {
			return b.streamRun(ctx, settings, func(t *target) (usage, values, error) {
				u, s, err := b.benchd(ctx, t, l)
				return u, values{"output": s.Tokens.Output}, err
			})
		}},
		{readerName, func(ctx context.Context) (values, error) {
			return b.streamRun(ctx, settings, func(t *target) (usage, values, error) {
				u, r, err := b.reader(ctx, t, l)
				return u, values{"reads": float64(r.Reads), "output": float64(r.Chunks)}, err
			})
		}},
	}
}

// streamRun runs a client against a simulated server and relates what it took to what the server sent.
func (b *bench) streamRun(ctx context.Context, settings simSettings, client func(*target) (usage, values, error)) (values, error) {
	t, err := b.simulated(ctx, settings)
	if err != nil {
		return nil, err
	}
	defer t.child.kill()
	u, got, err := client(t)
	if err != nil {
		return nil, err
	}
	served, records, err := t.records()
	if err != nil {
		return nil, err
	}
	chunks := float64(chunksOf(records))
	if chunks == 0 {
		return nil, errors.New("the server sent nothing")
	}
	v := values{
		"perChunk":     u.cpu.Seconds() * 1e6 / chunks,
		"perCPUSecond": chunks / u.cpu.Seconds(),
		"rate":         chunks / u.wall.Seconds(),
		"share":        u.share() * 100,
		"serverShare":  served.cpu.Seconds() / u.wall.Seconds() * 100,
		"rss":          float64(u.peak) / mib,
		"tokens":       got["output"] / chunks,
	}
	if reads := got["reads"]; reads > 0 {
		v["perRead"] = chunks / reads
	}
	return v, nil
}
