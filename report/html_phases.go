package report

import (
	"fmt"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// putPhases shows where the time went, as a bar and as a table.
func (d *Document) putPhases(p *page) {
	bar := d.stretches()
	total := 0.0
	for _, s := range bar {
		total += s.Seconds
	}
	t := &table{Head: []string{"what", "took", "share", "meaning"}}
	for i := range bar {
		bar[i].Share = span(bar[i].Seconds)
		t.add(word(bar[i].Name), figureOf(bar[i].Share), figureOf(fmt.Sprintf("%.1f\u00a0%%", 100*bar[i].Seconds/total)), word(bar[i].Meaning))
	}
	if total > 0 {
		t.add(word("in all"), figureOf(span(total)), figureOf("100\u00a0%"), word("the attempt, from the moment it could begin"))
	}
	p.put("phases", "Where the time went", block{Bar: bar}, block{Table: t})
}

// stretches are what the attempt's time went to. The phases of a run say the most of it; Deploying is divided by when the job and its
// agents started, Executing by the load's own plan. Clocks of several machines meet here, so no stretch is longer than its phase.
func (d *Document) stretches() []stretch {
	var out []stretch
	add := func(tone int, name, meaning string, took time.Duration) {
		if took <= 0 {
			return
		}
		if n := len(out); n > 0 && out[n-1].Name == name {
			out[n-1].Seconds += took.Seconds()
			return
		}
		out = append(out, stretch{Name: name, Meaning: meaning, Seconds: took.Seconds(), Tone: tone})
	}
	phases := d.Story.Phases
	for i, phase := range phases {
		from, to := phase.Since.Time, d.Story.End
		if i+1 < len(phases) {
			to = phases[i+1].Since.Time
		}
		if to.Before(from) {
			continue
		}
		switch phase.Phase {
		case api.RunPending, api.RunInitializing:
			add(0, "planning", "the run was accepted, checked and bound to an Allocation", to.Sub(from))
		case api.RunDeploying:
			d.divideDeploying(from, to, add)
		case api.RunMonitoring, api.RunLaunching:
			add(3, "getting ready", "monitoring, logs and clients were started", to.Sub(from))
		case api.RunExecuting:
			d.divideExecuting(to.Sub(from), add)
		case api.RunTearingDown:
			add(7, "collecting", "clients and monitoring were stopped, records and logs gathered", to.Sub(from))
		case api.RunReporting:
			add(0, "reporting", "the report was computed", to.Sub(from))
		}
	}
	return out
}

func (d *Document) divideDeploying(from, to time.Time, add func(int, string, string, time.Duration)) {
	within := func(t time.Time) time.Time {
		switch {
		case t.IsZero() || t.Before(from):
			return from
		case t.After(to):
			return to
		}
		return t
	}
	if d.Story.JobStart.IsZero() {
		add(2, "deploying", "until all servers were healthy and had their model", to.Sub(from))
		return
	}
	job, agents := within(d.Story.JobStart), within(d.Story.AgentsUp)
	add(1, "queue", "the job waited for its nodes", job.Sub(from))
	if agents.After(job) {
		add(5, "start-up", "the job started, until each node had an agent", agents.Sub(job))
		job = agents
	}
	meaning := "servers were started, until all were healthy and had their model"
	if d.Story.JobStart.Before(from.Add(-2 * time.Second)) { // Slurm tells whole seconds
		meaning += "; the job ran already, for another run"
	}
	add(2, "servers and model", meaning, to.Sub(job))
}

func (d *Document) divideExecuting(took time.Duration, add func(int, string, string, time.Duration)) {
	if d.Summary == nil || d.Summary.Series == nil {
		add(6, "executing", "the load was made", took)
		return
	}
	next := func(seconds float64) time.Duration {
		part := min(took, time.Duration(seconds*float64(time.Second)))
		took -= part
		return part
	}
	s := d.Summary.Series
	add(4, "warm-up", "load before the measured window", next(s.From))
	add(6, "measured", "the measured window", next(s.To-s.From))
	add(8, "drain", "the last answers were waited for, until all clients had ended", took)
}
