package main

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/benchd/benchd/simulate"
)

func TestQuantileInterpolates(t *testing.T) {
	for q, want := range map[float64]float64{0: 10, 0.5: 25, 0.99: 39.7, 1: 40} {
		if got := quantile([]float64{10, 20, 30, 40}, q); math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := quantileOf([]float64{}, 0.5); got != nil {
		t.Errorf("the median of nothing is %v, want none", *got)
	}
}

func TestTableJudgesLimits(t *testing.T) {
	f := figure{
		id: "x", title: "Title", setup: "Setup.",
		columns: []column{{name: "ours"}, {name: "theirs"}, {name: "absent"}},
		measures: []measure{
			{label: "cost", key: "cost", format: "%.1f", limit: atMost(2.5)},
			{label: "ratio", key: "cost", format: "%.2f", over: "theirs", limit: atMost(1.5)},
			{label: "excess", key: "cost", format: "%+.1f", minus: "theirs"},
			{label: "against nobody", key: "cost", format: "%.2f", over: "absent", limit: atLeast(1)},
		},
	}
	r := results{samples: map[string]map[string][]float64{}, errs: map[string]error{}}
	for _, x := range []float64{9, 2, 1} {
		r.add("ours", values{"cost": x}, nil)
	}
	r.add("theirs", values{"cost": 1}, nil)
	r.add("theirs", nil, errors.New("once"))
	r.add("absent", nil, errors.New("not | there"))

	var out strings.Builder
	var got tally
	f.write(&out, r, &got)
	for _, want := range []string{
		"| not run, because | | | not \\| there | | |",
		"| cost | 2.0 | 1.0 | — | ≤ 2.5 | ok |",
		"| ratio | 2.00 |  |  | ≤ 1.5 | MISSED |",
		"| excess | +1.0 |  |  |  |  |",
		"| against nobody | — |  |  | ≥ 1 | not measured |",
		"theirs failed in at least one round, which is left out: once.",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if want := (tally{ok: 1, missed: 1, unknown: 1}); got != want {
		t.Errorf("tally %+v, want %+v", got, want)
	}
}

func TestTruthIsOfTheWindow(t *testing.T) {
	const ms = time.Millisecond
	answer := func(arrival time.Duration, tokens int) simulate.Record {
		return simulate.Record{
			TargetTokens: tokens, OutputTokens: tokens, Outcome: simulate.OutcomeAnswered,
			Arrival: arrival, FirstToken: arrival + 50*ms, LastToken: arrival + 70*ms, MaxLate: ms,
			ChunkTimes: []simulate.ChunkTime{{At: arrival + 50*ms}, {At: arrival + 58*ms}, {At: arrival + 70*ms}},
		}
	}
	l := load{warmup: time.Second, duration: time.Second, tokens: 3}
	got, err := truthOf([]simulate.Record{
		answer(time.Second, 1),   // a check, no part of the load
		answer(2*time.Second, 3), // the first: warm-up
		answer(3*time.Second, 3), // measured
		answer(5*time.Second, 3), // after the window
	}, l)
	if err != nil {
		t.Fatal(err)
	}
	v := got.values()
	for key, want := range map[string]float64{"serverTTFTP50": 50, "serverTPOTP50": 10, "serverITLP99": 8 + 0.99*4, "serverLate": 1} {
		if math.Abs(v[key]-want) > 1e-6 {
			t.Errorf("%s is %v ms, want %v", key, v[key], want)
		}
	}
	v["TTFTP50"] = 51
	if v.off("TTFTP50"); math.Abs(v["TTFTP50Off"]-1) > 1e-6 || math.Abs(v["TTFTP50OffPercent"]-2) > 1e-6 {
		t.Errorf("off by %v ms, %v %%; want 1 and 2", v["TTFTP50Off"], v["TTFTP50OffPercent"])
	}
	if _, err := truthOf(nil, l); err == nil {
		t.Error("an empty log is no error")
	}
}

func TestPeersReportsAreRead(t *testing.T) {
	if got, err := readPerSecond([]byte("Summary:\n  Requests/sec:\t33388.1393\n")); err != nil || got != 33388.1393 {
		t.Errorf("rate %v, %v", got, err)
	}
	if _, err := readPerSecond([]byte("nothing")); err == nil {
		t.Error("a report without a rate is no error")
	}
	if got, err := readVegeta([]byte(`{"rate":200.5,"success":1}`)); err != nil || got != 200.5 {
		t.Errorf("rate %v, %v", got, err)
	}
	if _, err := readVegeta([]byte(`{"rate":200.5,"success":0.5,"errors":["refused"]}`)); err == nil {
		t.Error("failed requests are no error")
	}
}

func TestChildIsMeasuredAndEnds(t *testing.T) {
	u, err := run(t.Context(), time.Minute, "/bin/sh", "-c", "taskset -p $$; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 0.2")
	if err != nil {
		t.Fatal(err)
	}
	if u.cpu <= 0 || u.wall < 200*time.Millisecond || u.peak <= 0 || !strings.Contains(string(u.stdout), "mask: 1") {
		t.Errorf("usage %+v, output %s", u, u.stdout)
	}
	began := time.Now()
	if _, err := run(t.Context(), 100*time.Millisecond, "/bin/sleep", "60"); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("a client without an end ended with %v after %s", err, time.Since(began))
	}
	if _, err := run(t.Context(), time.Minute, "/bin/sh", "-c", "echo no >&2; exit 3"); err == nil || err.Error() != "exit status 3: no" {
		t.Errorf("error %v, want its status and its words", err)
	}
}
