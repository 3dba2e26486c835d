package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// slack is how much longer than its load a client may take before it is killed.
const slack = 45 * time.Second

// A load is what a client is asked to do.
type load struct {
	clients  int     // of a closed loop
	rate     float64 // requests a second of an open loop with Poisson arrivals, instead of clients
	warmup   time.Duration
	duration time.Duration
	requests int // at most so many; 0: no such end
	tokens   int // of an answer
	whole    bool
	// recordsOnly makes no report: the engine alone, whose memory must not grow with the requests.
	recordsOnly bool
}

// A distribution is one of a summary's; a percentile of too few samples is missing.
type distribution struct {
	Count int      `json:"count"`
	P50   *float64 `json:"p50"`
	P99   *float64 `json:"p99"`
}

// A summary is what is read of benchd's report/summary.json.
type summary struct {
	Requests struct {
		Attempted, Succeeded, Failed, Cancelled, Dropped int
	} `json:"requests"`
	MeasuredSeconds   float64 `json:"measuredSeconds"`
	RequestThroughput float64 `json:"requestThroughput"`
	OfferedRate       float64 `json:"offeredRate"`
	AchievedRate      float64 `json:"achievedRate"`
	Tokens            struct {
		Output float64         `json:"output"`
		Source json.RawMessage `json:"source"`
	} `json:"tokens"`
	TTFT        distribution `json:"ttft"`
	ITL         distribution `json:"itl"`
	ICL         distribution `json:"icl"`
	TPOT        distribution `json:"tpot"`
	ScheduleLag distribution `json:"scheduleLag"`
	Verdict     struct {
		State   string          `json:"state"`
		Reasons json.RawMessage `json:"reasons"`
	} `json:"verdict"`
}

// benchd runs `benchd load` and reads its summary. A load that is done is taken whatever its verdict: the verdict
// belongs to the server, the figures here to the client. Answers that failed are an error.
func (b *bench) benchd(ctx context.Context, t *target, l load) (usage, summary, error) {
	var s summary
	path, err := b.tool(ctx, "benchd")
	if err != nil {
		return usage{}, s, err
	}
	out, err := b.newDir("benchd")
	if err != nil {
		return usage{}, s, err
	}
	defer os.RemoveAll(out)
	u, failed := run(ctx, l.warmup+l.duration+slack, path, l.arguments(t.base(), out)...)
	if l.recordsOnly {
		return u, s, failed
	}
	data, err := os.ReadFile(filepath.Join(out, "report", "summary.json"))
	if err != nil && failed != nil {
		return u, s, failed
	}
	if err != nil {
		return u, s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return u, s, fmt.Errorf("summary.json: %w", err)
	}
	if r := s.Requests; r.Succeeded == 0 || r.Failed > 0 {
		return u, s, fmt.Errorf("%d of %d requests succeeded, %d failed (verdict %s %s)", r.Succeeded, r.Attempted, r.Failed, s.Verdict.State, s.Verdict.Reasons)
	}
	return u, s, nil
}

// arguments are the command line of `benchd load`.
func (l load) arguments(target, out string) []string {
	args := []string{"load", "--target", target, "--model", "dummy", "--api", "chat"}
	if l.rate > 0 {
		args = append(args, "--pattern", "poisson", "--rate", strconv.FormatFloat(l.rate, 'g', -1, 64))
	} else {
		args = append(args, "--clients", strconv.Itoa(l.clients))
	}
	args = append(args, "--duration", l.duration.String(), "--warmup", l.warmup.String())
	if l.requests > 0 {
		args = append(args, "--requests", strconv.Itoa(l.requests))
	}
	if l.whole {
		args = append(args, "--no-stream")
	}
	if l.recordsOnly {
		args = append(args, "--records-only")
	}
	return append(args, "--prompt-tokens", "32", "--output-tokens", strconv.Itoa(l.tokens),
		"--seed", "1", "--output", out, "--quiet", "--format", "json")
}

// A readerReport is what our C reader prints; times are in seconds, negative when there is none.
type readerReport struct {
	Chunks     int   `json:"chunks"`
	Reads      int   `json:"reads"`
	Requests   int   `json:"requests"`
	Bad        int   `json:"bad"`
	Unfinished int   `json:"unfinished"`
	MaxRSS     int64 `json:"maxRSS"`

	Seconds float64 `json:"seconds"`
	TTFTP50 float64 `json:"ttftP50"`
	TTFTP99 float64 `json:"ttftP99"`
	GapP99  float64 `json:"gapP99"`
	TPOTP50 float64 `json:"tpotP50"`
}

// reader runs our C reader in a closed loop.
func (b *bench) reader(ctx context.Context, t *target, l load) (usage, readerReport, error) {
	var r readerReport
	path, err := b.tool(ctx, "reader")
	if err != nil {
		return usage{}, r, err
	}
	mode := "stream"
	if l.whole {
		mode = "whole"
	}
	u, err := run(ctx, l.warmup+l.duration+slack, path, mode, "127.0.0.1", strconv.Itoa(t.port), strconv.Itoa(l.clients),
		inSeconds(l.warmup), inSeconds(l.duration), strconv.Itoa(l.tokens))
	if err != nil {
		return u, r, err
	}
	if err := json.Unmarshal(u.stdout, &r); err != nil {
		return u, r, fmt.Errorf("the reader's report: %w", err)
	}
	u.peak = r.MaxRSS
	if r.Requests == 0 || r.Bad > 0 || r.Unfinished > 0 {
		return u, r, fmt.Errorf("of %d answers %d were not what the server says, and %d did not end", r.Requests, r.Bad, r.Unfinished)
	}
	return u, r, nil
}

// inSeconds writes a duration as the C reader reads it.
func inSeconds(d time.Duration) string {
	return strings.TrimSuffix(strconv.FormatFloat(d.Seconds(), 'f', 3, 64), ".000")
}
