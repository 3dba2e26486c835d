package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// body is a small request for one token, as benchd and the C reader send it.
func body(tokens int, stream bool) string {
	words := "one" + strings.Repeat(" word", 31)
	options := ""
	if stream {
		options = `,"stream":true,"stream_options":{"include_usage":true}`
	}
	return fmt.Sprintf(`{"model":"dummy","messages":[{"role":"user","content":"%s"}],"max_tokens":%d,"ignore_eos":true%s}`, words, tokens, options)
}

// perSecond is the line of wrk's and hey's report that says how many requests were answered in a second.
var perSecond = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)

// readPerSecond finds the rate in the report of wrk or hey.
func readPerSecond(report []byte) (float64, error) {
	found := perSecond.FindSubmatch(report)
	if found == nil {
		return 0, fmt.Errorf("no rate in the report %q", report)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

// wrk runs wrk on one thread and returns its rate.
func (b *bench) wrk(ctx context.Context, t *target, l load) (usage, float64, error) {
	path, err := b.tool(ctx, "wrk")
	if err != nil {
		return usage{}, 0, err
	}
	script := fmt.Sprintf("wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\nwrk.body = %q\n", body(l.tokens, false))
	file, err := b.write("wrk.lua", script)
	if err != nil {
		return usage{}, 0, err
	}
	u, err := run(ctx, l.duration+slack, path, "-t1", "-c"+strconv.Itoa(l.clients), "-d"+l.duration.String(), "-s", file, t.url())
	if err != nil {
		return u, 0, err
	}
	if bytes.Contains(u.stdout, []byte("Non-2xx")) || bytes.Contains(u.stdout, []byte("Socket errors")) {
		return u, 0, fmt.Errorf("requests failed: %s", u.stdout)
	}
	rate, err := readPerSecond(u.stdout)
	return u, rate, err
}

// hey runs hey and returns its rate.
func (b *bench) hey(ctx context.Context, t *target, l load) (usage, float64, error) {
	path, err := b.tool(ctx, "hey")
	if err != nil {
		return usage{}, 0, err
	}
	file, err := b.write("body.json", body(l.tokens, false))
	if err != nil {
		return usage{}, 0, err
	}
	u, err := run(ctx, l.duration+slack, path, "-z", l.duration.String(), "-c", strconv.Itoa(l.clients),
		"-m", "POST", "-T", "application/json", "-D", file, t.url())
	if err != nil {
		return u, 0, err
	}
	if bytes.Contains(u.stdout, []byte("Error distribution")) {
		return u, 0, errors.New("requests failed")
	}
	rate, err := readPerSecond(u.stdout)
	return u, rate, err
}

// fortio runs fortio and returns its rate.
func (b *bench) fortio(ctx context.Context, t *target, l load) (usage, float64, error) {
	path, err := b.tool(ctx, "fortio")
	if err != nil {
		return usage{}, 0, err
	}
	u, err := run(ctx, l.duration+slack, path, "load", "-quiet", "-qps", "0", "-c", strconv.Itoa(l.clients), "-t", l.duration.String(),
		"-content-type", "application/json", "-payload", body(l.tokens, false), "-json", "-", t.url())
	if err != nil {
		return u, 0, err
	}
	var report struct {
		ActualQPS float64
		RetCodes  map[string]int
	}
	if err := json.Unmarshal(u.stdout, &report); err != nil {
		return u, 0, fmt.Errorf("fortio's report: %w", err)
	}
	if len(report.RetCodes) != 1 || report.RetCodes["200"] == 0 {
		return u, 0, fmt.Errorf("requests failed: %v", report.RetCodes)
	}
	return u, report.ActualQPS, nil
}

// vegeta runs an attack and returns the rate at which it sent: at l.rate a second, or with l.clients workers as fast
// as they go. Its report is made afterwards and is not part of what it took.
func (b *bench) vegeta(ctx context.Context, t *target, l load) (usage, float64, error) {
	path, err := b.tool(ctx, "vegeta")
	if err != nil {
		return usage{}, 0, err
	}
	file, err := b.write("body.json", body(l.tokens, !l.whole))
	if err != nil {
		return usage{}, 0, err
	}
	targets, err := b.write("targets", "POST "+t.url()+"\nContent-Type: application/json\n@"+file+"\n")
	if err != nil {
		return usage{}, 0, err
	}
	out := filepath.Join(b.dir, "vegeta.bin")
	defer os.Remove(out)
	args := []string{"attack", "-targets", targets, "-duration", l.duration.String(), "-output", out, "-timeout", "30s"}
	if l.rate > 0 {
		args = append(args, "-rate", strconv.FormatFloat(l.rate, 'g', -1, 64), "-connections", "10000")
	} else {
		n := strconv.Itoa(l.clients)
		args = append(args, "-rate", "0", "-workers", n, "-max-workers", n, "-connections", n)
	}
	u, err := run(ctx, l.duration+slack, path, args...)
	if err != nil {
		return u, 0, err
	}
	report, err := run(ctx, time.Minute, path, "report", "-type=json", out)
	if err != nil {
		return u, 0, fmt.Errorf("vegeta's report: %w", err)
	}
	rate, err := readVegeta(report.stdout)
	return u, rate, err
}

// readVegeta reads the rate at which an attack sent.
func readVegeta(data []byte) (float64, error) {
	var report struct {
		Rate    float64  `json:"rate"`
		Success float64  `json:"success"`
		Errors  []string `json:"errors"`
	}
	if err := json.Unmarshal(data, &report); err != nil {
		return 0, fmt.Errorf("vegeta's report: %w", err)
	}
	if report.Success != 1 {
		return 0, fmt.Errorf("requests failed: %v", report.Errors)
	}
	return report.Rate, nil
}

// write writes a file into the temporary folder.
func (b *bench) write(name, text string) (string, error) {
	path := filepath.Join(b.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}
