package main

import (
	"context"
	"fmt"
	"time"
)

// memoryFigures are f: what a client keeps.
func (b *bench) memoryFigures() []figure {
	few, many := 100_000, 1_000_000
	if b.quick {
		few, many = few/10, many/10
	}
	streamed := load{clients: 512, duration: b.shorter(8 * time.Second), tokens: 128}
	const streamedName, readerStreamed = "benchd, 512 streams", "C reader, 512 streams"
	fewName, manyName := fmt.Sprintf("benchd, %d requests", few), fmt.Sprintf("benchd, %d requests", many)
	benchd, reader := b.streamColumns(paced, streamed)[0], b.streamColumns(paced, streamed)[1]
	return []figure{{
		id: "f", title: "Memory",
		setup: "Peak RSS: with 512 streams of 128 tokens, one each 10 ms; and after so many small requests against the C server, each of them recorded and no report made (a report takes some 400 bytes for each request).",
		columns: []column{
			{streamedName, benchd.measure},
			{readerStreamed, reader.measure},
			{fewName, func(ctx context.Context) (values, error) { return b.counted(ctx, few) }},
			{manyName, func(ctx context.Context) (values, error) { return b.counted(ctx, many) }},
		},
		measures: []measure{
			{label: "peak RSS, MiB", key: "rss", format: "%.1f", limit: atMost(60)},
			{label: "… relative to the fewer requests", key: "rss", format: "%.2f", over: fewName, of: manyName, limit: within(0.9, 1.1)},
			{label: "requests", key: "requests", format: "%.0f"},
		},
	}}
}

// counted runs benchd for so many small requests.
func (b *bench) counted(ctx context.Context, n int) (values, error) {
	l := load{clients: 32, duration: 2 * time.Minute, requests: n, tokens: 1, whole: true, recordsOnly: true}
	v, err := b.smallRun(ctx, l, func(ctx context.Context, t *target, l load) (usage, float64, error) {
		u, s, err := b.benchd(ctx, t, l)
		return u, s.RequestThroughput, err
	})
	if err == nil && v["requests"] < float64(n) {
		return nil, fmt.Errorf("%.0f requests came, %d were asked for", v["requests"], n)
	}
	return v, err
}
