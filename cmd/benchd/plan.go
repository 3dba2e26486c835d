package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/controllers"
	"github.com/benchd/benchd/home"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/report"
	"github.com/benchd/benchd/site"
)

// outlook is what a sweep, or a run, would cost.
type outlook struct {
	Object string `json:"object"`
	// Trials and Points of the sweep; of a search the most that it tries.
	Trials int `json:"trials"`
	Points int `json:"points"`
	// Search: what is tried depends on what is found, so Trials are the most there can be.
	Search bool `json:"search,omitempty"`
	// Invalid runs, by the first one's error.
	Invalid      int    `json:"invalid,omitempty"`
	InvalidError string `json:"invalidError,omitempty"`
	// Groups of trials that need the same servers.
	Groups      int                 `json:"groups"`
	Allocations []plannedAllocation `json:"allocations"`
	// Best: servers are up at once and every load ends with its duration; Worst: everything takes what it may, and nothing is
	// repeated. Hours.
	Best  spending `json:"best"`
	Worst spending `json:"worst"`
	// Findings say what exceeds a limit of the site, and when Slurm would start the first job.
	Findings []finding `json:"findings,omitempty"`
}

type plannedAllocation struct {
	Trials    int    `json:"trials"`
	First     string `json:"first"`
	Nodes     int    `json:"nodes"`
	GPUs      int    `json:"gpus"`
	TimeLimit string `json:"timeLimit"`
	// Begin and End in hours from the start, at worst and without a queue.
	Begin float64 `json:"beginHours"`
	End   float64 `json:"endHours"`
}

// spending in hours; WallTime without the queue's wait.
type spending struct {
	WallTime  float64 `json:"wallTime"`
	NodeHours float64 `json:"nodeHours"`
	GPUHours  float64 `json:"gpuHours"`
}

func newPlanCommand(o *options) *cobra.Command {
	var files []string
	var recursive, offline bool
	var output string
	cmd := &cobra.Command{
		Use:   "plan -f FILE",
		Short: "Say what a sweep would cost, before anything is spent: trials, Allocations, node-hours, limits, Slurm's start estimate",
		Long: `Say what the runs and sweeps of a file would cost: which trials share servers, in how many Allocations, node- and GPU-hours
at best (servers are up at once, loads end with their duration) and at worst (everything takes what it may; nothing is repeated),
what exceeds limits of partition, QOS or account, and when Slurm would start the first job. Nothing is submitted.
Exit code 1 when something cannot work.`,
		Example: "  benchd plan -f sweep.yaml\n  benchd plan -f sweep.yaml -o json | jq .[0].worst.nodeHours",
		Args:    filesAlone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return exitError{exitInvalid, fmt.Errorf("-o %s is not a form of output: use text or json", output)}
			}
			docs, err := o.readManifests(cmd, files, recursive)
			if err != nil {
				return err
			}
			return o.plan(cmd, docs, offline, output)
		},
	}
	fileFlags(cmd, &files, &recursive)
	cmd.Flags().BoolVar(&offline, "offline", false, "do not ask Slurm")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func (o *options) plan(cmd *cobra.Command, docs []manifest.Document, offline bool, output string) error {
	e, err := o.siteOf(cmd.Context(), docs)
	if err != nil {
		return err
	}
	outlooks := []*outlook{}
	bad := false
	for _, doc := range docs {
		if !makesRuns(doc.Object) {
			continue
		}
		look, err := o.outlookOf(cmd, doc)
		if err != nil {
			return err
		}
		if sweep, is := doc.Object.(*api.BenchmarkSweep); is {
			look.Findings = look.ownLimits(&sweep.Spec.Limits)
		}
		if !offline {
			look.Findings = append(look.Findings, e.limits(doc.Object, look)...)
		}
		bad = bad || look.Invalid > 0 || slices.ContainsFunc(look.Findings, func(f finding) bool { return f.Level == levelProblem })
		outlooks = append(outlooks, look)
	}
	if len(outlooks) == 0 {
		return exitError{exitInvalid, errors.New("the file has neither runs nor sweeps: there is nothing to plan")}
	}
	if output == "json" {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		err = enc.Encode(outlooks)
	} else {
		for _, look := range outlooks {
			err = errors.Join(err, look.print(cmd.OutOrStdout()))
		}
	}
	if err == nil && bad {
		return exitError{code: exitFailure}
	}
	return err
}

// siteOf is how a site is looked at.
func (o *options) siteOf(ctx context.Context, docs []manifest.Document) (*examination, error) {
	dir, err := home.Locate(o.home)
	if err != nil {
		return nil, err
	}
	return &examination{
		ctx: ctx, dir: dir, docs: docs, look: site.Look, open: openSlurm, stat: statFileSystem, env: os.LookupEnv,
		find: o.templates(ctx, objects(docs)), stored: func(name string) *api.Cluster { return storedCluster(ctx, o.home, name) },
	}, nil
}

// outlookOf plays a sweep through as the planner would, or a run as a sweep of one.
func (o *options) outlookOf(cmd *cobra.Command, doc manifest.Document) (*outlook, error) {
	look := &outlook{Object: display(doc.Object), Points: 1, Trials: 1}
	parallelism := 1
	var runs []*api.BenchmarkRun
	spec := &api.BenchmarkSweepSpec{}
	switch obj := doc.Object.(type) {
	case *api.BenchmarkRun:
		runs = []*api.BenchmarkRun{obj}
		zero := api.BenchmarkSweep{}
		api.SetDefaults(&zero)
		*spec = zero.Spec
		spec.Template.Spec.Slurm.TimeLimit = obj.Spec.Slurm.TimeLimit
	case *api.BenchmarkSweep:
		spec, parallelism = &obj.Spec, int(obj.Spec.Parallelism)
		trials := plan.Trials(spec)
		look.Points = len(plan.Points(spec))
		if look.Search = spec.Strategy == api.StrategySearch; look.Search {
			trials = mostOfSearch(spec)
		}
		look.Trials = len(trials)
		for _, t := range trials {
			run, err := plan.Run(obj, t)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", doc.File, doc.Line, err)
			}
			api.SetDefaults(run)
			if errs := append(api.Validate(run), o.admitFiles(cmd)(run, nil)...); len(errs) > 0 {
				if look.Invalid++; look.Invalid == 1 {
					look.InvalidError = run.Name + ": " + errs.ToAggregate().Error()
				}
				continue
			}
			runs = append(runs, run)
		}
	}
	look.schedule(spec, runs, parallelism)
	return look, nil
}

// mostOfSearch are the trials of a search that goes on to the last.
func mostOfSearch(s *api.BenchmarkSweepSpec) []plan.Trial {
	var trials []plan.Trial
	for p, values := range plan.Points(s) {
		for i := range int(s.Search.MaxTrials) {
			all := api.Values{s.Search.Path: s.Search.Min}
			for path, value := range values {
				all[path] = value
			}
			trials = append(trials, plan.Trial{Values: all, Point: plan.Digest(values), Repeat: i + 1, Position: p*int(s.Search.MaxTrials) + i})
		}
	}
	return trials
}

// schedule fills in what the runs cost.
func (l *outlook) schedule(spec *api.BenchmarkSweepSpec, runs []*api.BenchmarkRun, parallelism int) {
	byName := map[string]*api.BenchmarkRun{}
	keys := map[string]bool{}
	var work []plan.Work
	for i, run := range runs {
		w := controllers.WorkOf(spec, run)
		w.Name = fmt.Sprint(i) // runs of a search have one name each only once their values are known
		byName[w.Name] = run
		keys[w.Key] = true
		work = append(work, w)
	}
	l.Groups = len(keys)
	free := make([]time.Duration, max(1, parallelism)) // when each place is free again, at best
	for _, p := range plan.Schedule(work, parallelism) {
		run := byName[p.Runs[0].Name]
		a := controllers.NewAllocation(run, "plan")
		job := controllers.NewJobSpec(a, "", "plan")
		planned := plannedAllocation{
			Trials: len(p.Runs), First: run.Name, Nodes: job.Nodes, GPUs: job.Nodes * job.GPUs, TimeLimit: api.SlurmTime(p.TimeLimit),
			Begin: p.Begin.Hours(), End: p.End.Hours(),
		}
		l.Allocations = append(l.Allocations, planned)
		best := time.Duration(0)
		for _, w := range p.Runs {
			load := &byName[w.Name].Spec.Workload
			best += load.Warmup.Duration + load.Duration.Duration
		}
		l.Worst.add(planned, p.End-p.Begin)
		l.Best.add(planned, best)
		l.Worst.WallTime = max(l.Worst.WallTime, p.End.Hours())
		at := slices.Index(free, slices.Min(free))
		free[at] += best
		l.Best.WallTime = slices.Max(free).Hours()
	}
}

func (s *spending) add(a plannedAllocation, d time.Duration) {
	s.NodeHours += float64(a.Nodes) * d.Hours()
	s.GPUHours += float64(a.GPUs) * d.Hours()
}

// limits holds what the planned Allocations ask for against the site, and asks Slurm when it would start one. Allocations that ask
// for the same are looked at once.
func (e *examination) limits(obj api.Object, l *outlook) []finding {
	runs, err := runsOf(obj, e.find)
	if err != nil {
		return []finding{problem("runs", "correct spec.parameters", "%v", err)}
	}
	longest := ""
	for _, a := range l.Allocations {
		longest = max(longest, a.TimeLimit) // of the same form, so text compares as time does
	}
	sites := map[string]*examined{}
	var all []finding
	for _, run := range runs {
		c := sites[run.Spec.Cluster]
		if c == nil {
			c = e.examine(run.Spec.Cluster)
			sites[run.Spec.Cluster] = c
		}
		if c.spec == nil {
			all = append(all, problem("cluster", "apply it, or give its file with -f", "cluster %s is not known", run.Spec.Cluster))
			continue
		}
		if longest != "" {
			run.Spec.Slurm.TimeLimit = longest
		}
		a := newAsk(run, c.spec, &c.facts)
		switch {
		case c.facts.Embedded:
			all = append(all, found("cluster", "%s is this machine: no queue", run.Spec.Cluster))
		case !c.facts.Known(site.AskController):
			all = append(all, leftOut("Slurm", "does not answer: limits and start are not checked"))
		default:
			wrong := slices.DeleteFunc(a.checkAsk(&c.facts), func(f finding) bool { return f.Level != levelWarning && f.Level != levelProblem })
			all = append(all, wrong...)
			all = append(all, e.checkSubmission(a, c, wrong))
		}
	}
	return sift(all)
}

// ownLimits says which of its own limits would stop the sweep before it is complete.
func (l *outlook) ownLimits(limits *api.SweepLimits) []finding {
	var all []finding
	tell := func(field string, text func(float64) string, most, best, worst float64) {
		const next = "raise it, or expect runs that are not begun"
		switch check := "limits." + field; {
		case most <= 0 || worst <= most:
		case best > most:
			all = append(all, warning(check, next, "%s are less than the sweep takes at best (%s)", text(most), text(best)))
		default:
			all = append(all, warning(check, next, "%s are less than the sweep may take at worst (%s)", text(most), text(worst)))
		}
	}
	tell("nodeHours", func(h float64) string { return fmt.Sprintf("%.4g node-hours", h) }, limits.NodeHours, l.Best.NodeHours, l.Worst.NodeHours)
	if w := limits.WallTime; w != nil {
		tell("wallTime", hours, w.Hours(), l.Best.WallTime, l.Worst.WallTime)
	}
	return all
}

func (l *outlook) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	atMost := ""
	if l.Search {
		atMost = "at most "
	}
	p("%s: %s%s of %s, %s that can share servers, %s\n", l.Object, atMost, counted(l.Trials, "trial"), counted(l.Points, "point"), counted(l.Groups, "group"), counted(len(l.Allocations), "Allocation"))
	p("ALLOCATION\tTRIALS\tFIRST\tNODES\tGPUS\tTIME LIMIT\tFROM\tUNTIL AT WORST")
	const shown = 20
	for i, a := range l.Allocations {
		if i == shown {
			p("…\t\tand %d more", len(l.Allocations)-shown)
			break
		}
		p("%d\t%d\t%s\t%d\t%d\t%s\t%s\t%s", i+1, a.Trials, a.First, a.Nodes, a.GPUs, a.TimeLimit, hours(a.Begin), hours(a.End))
	}
	p("\n\tWALL TIME (no queue)\tNODE-HOURS\tGPU-HOURS")
	p("at best\t%s\t%s\t%s", hours(l.Best.WallTime), report.Digits(l.Best.NodeHours, 4), report.Digits(l.Best.GPUHours, 4))
	p("at worst\t%s\t%s\t%s", hours(l.Worst.WallTime), report.Digits(l.Worst.NodeHours, 4), report.Digits(l.Worst.GPUHours, 4))
	if err := w.Flush(); err != nil {
		return err
	}
	if l.Invalid > 0 {
		fmt.Fprintf(out, "\nproblem  %d of the trials cannot run, the first one: %s\n", l.Invalid, l.InvalidError)
	}
	for i, f := range l.Findings {
		if i == 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%-8s %s: %s\n", f.Level, f.Check, f.Seen)
		if f.Next != "" {
			fmt.Fprintf(out, "         next: %s\n", f.Next)
		}
	}
	_, err := fmt.Fprintln(out)
	return err
}

func hours(h float64) string {
	d := time.Duration(h * float64(time.Hour))
	if d < 10*time.Minute {
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()
}
