package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/services"
)

// listRow is one object of a file, or a file that cannot be read, as `list -o json` prints it.
type listRow struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	// Kind is recipe, run, sweep, template, cluster or allocation; empty when it cannot be told.
	Kind    string `json:"kind,omitempty"`
	Name    string `json:"name,omitempty"`
	Service string `json:"service,omitempty"`
	Model   string `json:"model,omitempty"`
	// Nodes are those of the first trial.
	Nodes    *listNodes `json:"nodes,omitempty"`
	Trials   int        `json:"trials,omitempty"`
	Load     string     `json:"load,omitempty"`
	Duration string     `json:"duration,omitempty"`
	Warmup   string     `json:"warmup,omitempty"`

	Cluster   string `json:"cluster,omitempty"`
	Partition string `json:"partition,omitempty"`
	Runtime   string `json:"runtime,omitempty"`

	Valid    bool     `json:"valid"`
	Errors   []string `json:"errors,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// listNodes are the nodes of each role.
type listNodes struct {
	Servers  int32 `json:"servers"`
	Clients  int32 `json:"clients"`
	Monitors int32 `json:"monitors"`
}

func (n *listNodes) String() string {
	if n == nil {
		return ""
	}
	return fmt.Sprintf("%d+%d+%d", n.Servers, n.Clients, n.Monitors)
}

func (r *listRow) status() string {
	switch len(r.Errors) {
	case 0:
		return "valid"
	case 1:
		return "1 error"
	}
	return fmt.Sprintf("%d errors", len(r.Errors))
}

// rowsOf are the rows of a file that was read, or could not be.
func rowsOf(file string, docs []manifest.Document, err error) []listRow {
	if err != nil {
		g := glance(file)
		r := listRow{File: file, Kind: g.kind, Name: g.name, Service: g.service, Model: g.model}
		var all manifest.Errors
		if !errors.As(err, &all) {
			r.Errors = []string{err.Error()}
		}
		for _, e := range all {
			r.Errors = append(r.Errors, e.Error())
		}
		return []listRow{r}
	}
	var rows []listRow
	for _, doc := range docs {
		r := listRow{File: file, Line: doc.Line, Kind: word(doc.Object.GetObjectKind().GroupVersionKind().Kind), Name: doc.Object.GetName(), Valid: true}
		if doc.Raw == nil {
			r.Kind = "recipe"
		}
		for _, w := range doc.Warnings {
			r.Warnings = append(r.Warnings, w.Error())
		}
		r.fill(doc.Object)
		rows = append(rows, r)
	}
	return rows
}

// fill says what the object would run.
func (r *listRow) fill(obj api.Object) {
	switch o := obj.(type) {
	case *api.BenchmarkRun:
		r.Trials = 1
		r.fillRun(&o.Spec, nil)
	case *api.BenchmarkSweep:
		r.Trials = plan.Size(&o.Spec)
		sample := plan.Sample(&o.Spec)
		if len(sample) == 0 {
			return
		}
		run, err := plan.Run(o, sample[0])
		if err != nil {
			return // its admission has refused it
		}
		api.SetDefaults(run)
		services.SetDefaults(&run.Spec)
		axes := map[string][]any{}
		for _, p := range o.Spec.Parameters {
			axes[p.Path] = p.Values
		}
		r.fillRun(&run.Spec, axes)
	case *api.ServiceTemplate:
		r.Service, r.Model = o.Name, o.Spec.Model
	case *api.Cluster:
		r.Cluster = o.Name
	}
}

func (r *listRow) fillRun(s *api.BenchmarkRunSpec, axes map[string][]any) {
	r.Service = swept(axes, "service.name", s.Service.Name)
	r.Model = swept(axes, "service.model", s.Service.Model)
	r.Nodes = &listNodes{*s.Nodes.Servers.Count, *s.Nodes.Clients.Count, *s.Nodes.Monitors.Count}
	r.Load = loadText(&s.Workload.Load, axes)
	r.Duration = swept(axes, "workload.duration", shortTime(s.Workload.Duration))
	r.Warmup = swept(axes, "workload.warmup", shortTime(s.Workload.Warmup))
	r.Cluster, r.Partition, r.Runtime = s.Cluster, s.Slurm.Partition, string(s.Container.Runtime)
}

// swept is a value as text, or the values that a sweep gives the field.
func swept(axes map[string][]any, path string, value any) string {
	values := axes[path]
	if len(values) < 2 {
		return fmt.Sprint(value)
	}
	const most = 5
	var texts []string
	for i, v := range values {
		if i == most-1 && len(values) > most {
			texts = append(texts, "…")
		}
		if i < most-1 || len(values) <= most || i == len(values)-1 {
			texts = append(texts, fmt.Sprint(v))
		}
	}
	return strings.Join(texts, ",")
}

// loadText says in a few words when requests are sent.
func loadText(l *api.LoadSpec, axes map[string][]any) string {
	const at = "workload.load."
	pattern := swept(axes, at+"pattern", l.Pattern)
	if l.Pattern == api.PatternClosed {
		return fmt.Sprintf("%s %s/node", pattern, swept(axes, at+"clientsPerNode", l.ClientsPerNode))
	}
	rate := swept(axes, at+"rate", l.Rate)
	switch {
	case l.Burst != nil:
		return fmt.Sprintf("%s %s/s for %s of %s", pattern, rate, shortTime(l.Burst.On), shortTime(metav1.Duration{Duration: l.Burst.On.Duration + l.Burst.Off.Duration}))
	case len(l.Steps) > 0:
		return fmt.Sprintf("%s %g..%g/s", pattern, l.Steps[0].Rate, l.Steps[len(l.Steps)-1].Rate)
	case l.Ramp != nil:
		return fmt.Sprintf("%s %g..%g/s", pattern, l.Ramp.From, l.Ramp.To)
	case l.Trace != nil:
		return pattern + " " + l.Trace.Path
	}
	return fmt.Sprintf("%s %s/s", pattern, rate)
}

// shortTime prints a duration as people write it: 5m, not 5m0s.
func shortTime(d metav1.Duration) string {
	text := d.Duration.String()
	if d.Duration%time.Minute == 0 && d.Duration != 0 {
		text = strings.TrimSuffix(text, "0s")
	}
	if d.Duration%time.Hour == 0 && d.Duration != 0 {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
