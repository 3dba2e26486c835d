package main

import (
	"context"
	"fmt"
	"maps"
	"time"
)

// A client runs a load and says what latencies it saw, in milliseconds.
type client func(context.Context, *target, load) (usage, values, error)

// truthFigures are c: how far a client's figures are from what the server did.
func (b *bench) truthFigures() []figure {
	few := []measure{
		{label: "TTFT p50, client − server, ms", key: "TTFTP50Off", format: "%+.2f", limit: atMost(1.5)},
		{label: "… more than the C reader's", key: "TTFTP50Off", format: "%+.2f", minus: readerName},
		{label: "TTFT p99, client − server, ms", key: "TTFTP99Off", format: "%+.2f", limit: atMost(5)},
		{label: "… more than the C reader's", key: "TTFTP99Off", format: "%+.2f", minus: readerName},
		{label: "ITL p99, client − server, ms", key: "ITLP99Off", format: "%+.2f", limit: atMost(2.5)},
		{label: "TPOT p50, client / server − 1, %", key: "TPOTP50OffPercent", format: "%+.2f"},
		{label: "share of the client's core, %", key: "share", format: "%.0f", limit: atMost(60)},
	}
	many := append([]measure{}, few...)
	for i := range many {
		many[i].limit = map[string]*limit{"ITLP99Off": atMost(5), "TPOTP50OffPercent": atMost(1)}[many[i].key]
	}
	return []figure{b.truthFigure(512, few), b.truthFigure(1000, many)}
}

// truthFigure is c at a number of streams.
func (b *bench) truthFigure(streams int, measures []measure) figure {
	l := load{clients: streams, warmup: b.shorter(2 * time.Second), duration: b.shorter(10 * time.Second), tokens: 128}
	for _, of := range []struct{ label, key string }{
		{"TTFT p50", "TTFTP50"}, {"TTFT p99", "TTFTP99"}, {"TPOT p50", "TPOTP50"}, {"ITL p99", "ITLP99"},
	} {
		measures = append(measures,
			measure{label: of.label + " of the client, ms", key: of.key, format: "%.2f"},
			measure{label: of.label + " of the server, ms", key: "server" + of.key, format: "%.2f"})
	}
	measures = append(measures,
		measure{label: "ITL p99 of the client without a log of chunks, ms", key: "plainITLP99", format: "%.2f"},
		measure{label: "latest chunk after it was due, at the server, ms", key: "serverLate", format: "%.1f"},
		measure{label: "peak RSS, MiB", key: "rss", format: "%.1f"})
	return figure{
		id: "c", title: fmt.Sprintf("Truth at %d streams", streams), measures: measures,
		setup: "The first token after 50 ms, one each 10 ms, 128 tokens, closed loop after a warm-up; distributions against those of the " +
			"server's log. ITL comes from a second, shorter run, for a log of every chunk makes the server late.",
		columns: []column{
			{benchdName, func(ctx context.Context) (values, error) { return b.truthRun(ctx, l, b.benchdLatencies) }},
			{readerName, func(ctx context.Context) (values, error) { return b.truthRun(ctx, l, b.readerLatencies) }},
		},
	}
}

// truthRun compares a client with a server of known latencies: once as it is, once for the gaps.
func (b *bench) truthRun(ctx context.Context, l load, run client) (values, error) {
	v, err := b.compare(ctx, paced, l, run)
	if err != nil {
		return nil, err
	}
	l.duration /= 2
	logged := paced
	logged.LogChunks = true
	gaps, err := b.compare(ctx, logged, l, run)
	if err != nil {
		return nil, err
	}
	v["plainITLP99"] = v["ITLP99"]
	for _, key := range []string{"ITLP99", "serverITLP99", "ITLP99Off"} {
		delete(v, key)
		if x, ok := gaps[key]; ok {
			v[key] = x
		}
	}
	return v, nil
}

// compare runs a client against a server once and relates what both say.
func (b *bench) compare(ctx context.Context, settings simSettings, l load, run client) (values, error) {
	t, err := b.simulated(ctx, settings)
	if err != nil {
		return nil, err
	}
	defer t.child.kill()
	u, v, err := run(ctx, t, l)
	if err != nil {
		return nil, err
	}
	_, records, err := t.records()
	if err != nil {
		return nil, err
	}
	sent, err := truthOf(records, l)
	if err != nil {
		return nil, err
	}
	maps.Copy(v, sent.values())
	for _, key := range []string{"TTFTP50", "TTFTP99", "ITLP99", "TPOTP50"} {
		v.off(key)
	}
	v["share"], v["rss"] = u.share()*100, float64(u.peak)/mib
	return v, nil
}

// benchdLatencies are what benchd says.
func (b *bench) benchdLatencies(ctx context.Context, t *target, l load) (usage, values, error) {
	u, s, err := b.benchd(ctx, t, l)
	v := values{}
	v.set("TTFTP50", s.TTFT.P50, 1e3)
	v.set("TTFTP99", s.TTFT.P99, 1e3)
	v.set("ITLP99", s.ICL.P99, 1e3) // the same where every chunk is a token
	v.set("ITLP99", s.ITL.P99, 1e3)
	v.set("TPOTP50", s.TPOT.P50, 1e3)
	return u, v, err
}

// readerLatencies are what the C reader says.
func (b *bench) readerLatencies(ctx context.Context, t *target, l load) (usage, values, error) {
	u, r, err := b.reader(ctx, t, l)
	return u, values{"TTFTP50": r.TTFTP50 * 1e3, "TTFTP99": r.TTFTP99 * 1e3, "ITLP99": r.GapP99 * 1e3, "TPOTP50": r.TPOTP50 * 1e3}, err
}
