package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/report"
)

// runSight is what one look at a run found.
type runSight struct {
	at  time.Time
	run *api.BenchmarkRun
	// allocation that the run is bound to; nil before.
	allocation *api.Allocation
	// events that warn, of both, in the order of time.
	warnings []*api.Event
	// loads of the allocation's nodes by rank, where they were asked for and told.
	loads map[int32]nodeLoad
}

// series are the rates of one load over time, newest last.
type series struct {
	tokens, ttft []float64 // tokens per second; seconds, NaN where none came
	at           time.Time // of the newest
}

// seriesLength is how many values are kept: as many as the widest sparkline shows.
const seriesLength = 200

// add takes what a look says, at most twice a second, so that looks may come as they like.
func (h *series) add(run *api.BenchmarkRun, at time.Time) {
	p := run.Status.Progress
	if p == nil || run.Status.Phase != api.RunExecuting || at.Sub(h.at) < 500*time.Millisecond {
		return
	}
	ttft := p.TTFTP50
	if ttft == 0 {
		ttft = math.NaN()
	}
	h.at = at
	h.tokens, h.ttft = append(h.tokens, p.TokenRate), append(h.ttft, ttft)
	h.tokens, h.ttft = h.tokens[max(0, len(h.tokens)-seriesLength):], h.ttft[max(0, len(h.ttft)-seriesLength):]
}

// runView is the picture of one run: a function of what was seen last, of the time and of the window.
type runView struct {
	screen
	last  runSight
	rates *series
	now   time.Time
	// place among the runs of the same file, such as 2 of 3; empty where it is alone.
	place string
	// whole shows servers and nodes too, and what does not fit is scrolled instead of left out.
	whole bool
}

// runPhases are the phases of a run that goes its way to the end.
var runPhases = []api.RunPhase{
	api.RunPending, api.RunInitializing, api.RunDeploying, api.RunMonitoring, api.RunLaunching, api.RunExecuting, api.RunTearingDown, api.RunReporting,
}

// silence of a control plane that is worth a word; a look comes at least every two seconds.
const silence = 6 * time.Second

// take keeps what was seen.
func (v *runView) take(seen runSight) {
	v.last = seen
	if v.rates == nil {
		v.rates = &series{}
	}
	v.rates.add(seen.run, seen.at)
}

// density says how much room a picture takes.
type density int

const (
	drawnRoomy density = iota // a line for each phase, blank lines between the parts
	drawnClose                // without the blank lines
	drawnTight                // one line for the phases that are over
)

// lines are the picture, no higher than the window where it is not scrolled.
func (v *runView) lines() []string {
	if v.last.run == nil {
		return []string{dimStyle.Render("waiting for the control plane to tell of the run")}
	}
	most := v.height - 1 // the cursor stands below
	for _, d := range []density{drawnRoomy, drawnClose, drawnTight} {
		lines := v.draw(d)
		if v.height == 0 || v.whole || len(lines) <= most {
			return lines
		}
		if d == drawnTight {
			return lines[:max(1, most)]
		}
	}
	return nil
}

func (v *runView) draw(d density) []string {
	parts := [][]string{append(v.head(), v.phases(d)...), v.load(), v.findings(d)}
	if v.whole {
		parts = append(parts, v.servers(), v.nodes())
	}
	if silent := v.now.Sub(v.last.at); silent > silence {
		parts = append(parts, v.wrap(fmt.Sprintf("%s no answer from the control plane for %s; the run goes on without it", markWarn, clock(silent)), 0, 3))
	}
	var lines []string
	for _, part := range parts {
		if d == drawnRoomy && len(lines) > 0 && len(part) > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, part...)
	}
	return lines
}

// head names the run, and says for how long it is under way.
func (v *runView) head() []string {
	run := v.last.run
	items := []string{headStyle.Render("run/" + clean(run.Name))}
	if v.place != "" {
		items = append(items, v.place)
	}
	if n := len(run.Status.Attempts); n > 1 {
		items = append(items, fmt.Sprintf("attempt %d", n))
	}
	if !run.CreationTimestamp.IsZero() {
		items = append(items, dimStyle.Render(clock(v.now.Sub(run.CreationTimestamp.Time))))
	}
	return v.flow(0, items...)
}

// phaseLine is one phase of the current attempt.
type phaseLine struct {
	phase api.RunPhase
	mark  string
	took  time.Duration
	begun bool
}

// phaseLines say of every phase whether it is over, under way, failed or to come.
func (v *runView) phaseLines() []phaseLine {
	run := v.last.run
	entered := map[api.RunPhase]int{}
	var times []api.PhaseTime
	var outcome *api.Outcome
	if n := len(run.Status.Attempts); n > 0 {
		times, outcome = run.Status.Attempts[n-1].Phases, run.Status.Attempts[n-1].Outcome
	}
	for i, t := range times {
		entered[t.Phase] = i
	}
	if outcome == nil {
		outcome = run.Status.Outcome
	}
	var lines []phaseLine
	for _, phase := range runPhases {
		line := phaseLine{phase: phase, mark: markOpen}
		if at, known := entered[phase]; known {
			line.begun, line.mark = true, markDone
			until := v.now
			if at+1 < len(times) {
				until = times[at+1].Since.Time
			} else if !run.Status.Phase.Terminal() {
				line.mark = markNow
			} else if run.Status.CompletionTime != nil {
				until = run.Status.CompletionTime.Time
			}
			line.took = until.Sub(times[at].Since.Time)
		} else if phase == run.Status.Phase {
			line.mark = markNow
		}
		lines = append(lines, line)
	}
	if outcome != nil && outcome.Result != api.ResultSucceeded {
		if at := failedAt(lines); at >= 0 {
			lines[at].mark = markFailed
		}
	}
	return lines
}

// failedAt is the last phase that was entered before the one that takes everything down, by its index.
func failedAt(lines []phaseLine) int {
	last := -1
	for i, line := range lines {
		if line.begun && line.phase != api.RunTearingDown && line.phase != api.RunReporting {
			last = i
		}
	}
	return last
}

func (l phaseLine) draw() string {
	text := fmt.Sprintf("%s %s", l.mark, l.phase)
	if l.begun {
		text = fmt.Sprintf("%s %7s", pad(text, 14), clock(l.took))
	}
	switch l.mark {
	case markDone:
		return goodStyle.Render(markDone) + strings.TrimPrefix(text, markDone)
	case markNow:
		return headStyle.Render(text)
	case markFailed:
		return badStyle.Render(text)
	}
	return dimStyle.Render(text)
}

// phases draws them, with what is being waited for under the one under way.
func (v *runView) phases(d density) []string {
	var lines []string
	over, took := 0, time.Duration(0)
	for _, l := range v.phaseLines() {
		if d == drawnTight && l.mark == markDone {
			over++
			took += l.took
			continue
		}
		if d == drawnTight && l.mark == markOpen {
			continue
		}
		lines = append(lines, l.draw())
		if l.mark == markNow {
			lines = append(lines, v.waiting(l.phase)...)
		}
	}
	if over > 0 {
		lines = append([]string{goodStyle.Render(markDone) + fmt.Sprintf(" %d phases over %s", over, clock(took))}, lines...)
	}
	return lines
}

// waiting says in words what the phase under way waits for.
func (v *runView) waiting(phase api.RunPhase) []string {
	var lines []string
	if message := v.last.run.Status.Message; message != "" && (phase != api.RunExecuting || v.last.run.Status.Progress == nil) {
		lines = v.wrap(message, 4, 4)
	}
	a := v.last.allocation
	if a != nil && a.Status.Phase == api.AllocationQueued && a.Status.Job != nil && a.Status.Job.EstimatedStart != nil {
		start := a.Status.Job.EstimatedStart.Time
		if wait := start.Sub(v.now); wait > 0 {
			lines = append(lines, v.wrap(fmt.Sprintf("Slurm expects it to start at %s, in %s", start.Local().Format("Jan 2 15:04"), clock(wait)), 4, 2)...)
		}
	}
	return lines
}

// stageWords say how far a load is.
var stageWords = map[string]string{"waiting": "waiting", "warmup": "warm-up", "measure": "measured", "drain": "drain", "done": "done"}

// load draws what a load has come to: how far, how many, how fast.
func (v *runView) load() []string {
	p := v.last.run.Status.Progress
	if p == nil || v.last.run.Status.Phase != api.RunExecuting {
		return nil
	}
	stage := stageWords[p.Stage]
	if stage == "" {
		stage = clean(p.Stage)
	}
	percent := fmt.Sprintf(" %3d %%", p.Percent)
	left := ""
	if p.Remaining > 0 {
		left = "  " + clock(time.Duration(p.Remaining*float64(time.Second))) + " left"
	}
	const indent, title = 2, 9
	room := v.width - indent - title - len(percent)
	if v.width == 0 {
		room = 40
	}
	if room-len(left) < 6 { // what is left goes below
		left = ""
	}
	lines := []string{fmt.Sprintf("%*s%-*s%s%s%s", indent, "", title, stage, barStyle.Render(bar(float64(p.Percent)/100, max(1, min(50, room-len(left))))), percent, left)}
	failed := fmt.Sprintf("%d failed", p.Failed)
	if p.Failed > 0 {
		failed = badStyle.Render(failed)
	}
	lines = append(lines, v.flow(indent, fmt.Sprintf("%d sent", p.Sent), fmt.Sprintf("%d succeeded", p.Succeeded), failed, fmt.Sprintf("%d in flight", p.InFlight))...)
	items := []string{report.Digits(p.RequestRate, 4) + " req/s", report.Digits(p.TokenRate, 4) + " tok/s"}
	if p.TTFTP50 > 0 {
		items = append(items, "TTFT "+millis(p.TTFTP50))
	}
	if p.E2EP50 > 0 {
		items = append(items, "E2E "+millis(p.E2EP50))
	}
	if left == "" && p.Remaining > 0 {
		items = append(items, clock(time.Duration(p.Remaining*float64(time.Second)))+" left")
	}
	lines = append(lines, v.flow(indent, items...)...)
	return append(lines, v.sparks()...)
}

// sparks draw the rates of the load so far.
func (v *runView) sparks() []string {
	const indent, title, longest = 2, 9, 60
	room := longest
	if v.width > 0 {
		room = min(longest, v.width-indent-title)
	}
	if v.rates == nil || len(v.rates.tokens) < 2 || room < 4 {
		return nil
	}
	draw := func(name string, values []float64) string {
		return fmt.Sprintf("%*s%-*s%s", indent, "", title, name, barStyle.Render(sparkline(values, room)))
	}
	lines := []string{draw("tok/s", v.rates.tokens)}
	if slices.ContainsFunc(v.rates.ttft, func(t float64) bool { return !math.IsNaN(t) }) {
		lines = append(lines, draw("TTFT", v.rates.ttft))
	}
	return lines
}

// millis says a time of a request.
func millis(seconds float64) string { return report.Digits(1e3*seconds, 4) + " ms" }

// findings are what went wrong or is suspect, the newest last and not too many.
func (v *runView) findings(d density) []string {
	most, high := 5, 3
	switch {
	case v.whole:
		most = 20
	case d == drawnTight:
		most, high = 1, 2
	}
	found := runFindings(&v.last)
	var lines []string
	if left := len(found) - most; left > 0 {
		lines = append(lines, dimStyle.Render(fmt.Sprintf("%s %d earlier warnings", markOpen, left)))
		found = found[left:]
	}
	for _, text := range found {
		for i, line := range v.wrap(text, 2, high) {
			if i == 0 {
				line = markWarn + line[1:]
			}
			lines = append(lines, warnStyle.Render(line))
		}
	}
	return lines
}

// runFindings tell what is amiss: warnings of the run and its Allocation, what logs tell of, and why its numbers are suspect.
func runFindings(seen *runSight) []string {
	var found []string
	for _, e := range seen.warnings {
		times := ""
		if e.Count > 1 {
			times = fmt.Sprintf(" (%d times)", e.Count)
		}
		found = append(found, fmt.Sprintf("%s: %s%s", e.Reason, e.Message, times))
	}
	st := &seen.run.Status
	if n := len(st.Attempts); n > 0 {
		for _, f := range st.Attempts[n-1].Findings {
			found = append(found, fmt.Sprintf("%s on %s: %s", f.Rule, f.Node, f.Meaning))
		}
	}
	if st.Summary != nil {
		found = append(found, st.Summary.VerdictReasons...)
	}
	return found
}

// servers lists those that are up.
func (v *runView) servers() []string {
	a := v.last.allocation
	if a == nil || len(a.Status.Servers) == 0 {
		return nil
	}
	var rows [][]string
	for _, s := range a.Status.Servers {
		rows = append(rows, []string{clean(s.Name), clean(s.Node), clean(s.URL), clean(s.Version)})
	}
	return v.table([]column{{title: "SERVER", most: 30}, {title: "NODE", worth: 3, most: 30}, {title: "URL", worth: 2}, {title: "VERSION", worth: 1}}, rows)
}

// nodes lists those of the job, with how busy they are where that is known.
func (v *runView) nodes() []string {
	a := v.last.allocation
	if a == nil || len(a.Status.Nodes) == 0 {
		return nil
	}
	columns := []column{
		{title: "NODE", most: 30},
		{title: "ROLES", worth: 6},
		{title: "CPU", worth: 7, right: true},
		{title: "MEMORY", worth: 4, right: true},
		{title: "GPU", worth: 5, right: true},
		{title: "GPU MEMORY", worth: 3, right: true},
		{title: "POWER", worth: 2, right: true},
		{title: "ADDRESS", worth: 1},
	}
	gpus := false
	var rows [][]string
	for _, n := range a.Status.Nodes {
		row := append([]string{clean(n.Name), clean(strings.Join(n.Roles, ", "))}, make([]string, 5)...)
		if load, known := v.last.loads[n.Rank]; known {
			copy(row[2:], load.cells())
			gpus = gpus || load.gpus > 0
		}
		rows = append(rows, append(row, clean(n.Address)))
	}
	if !gpus {
		columns = slices.Delete(columns, 4, 7)
		for i := range rows {
			rows[i] = slices.Delete(rows[i], 4, 7)
		}
	}
	return v.table(columns, rows)
}
