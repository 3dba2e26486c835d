package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/home"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/site"
	"github.com/benchd/benchd/slurmadapter"
)

// examination is one run of doctor, and what it uses of the world.
type examination struct {
	ctx    context.Context
	dir    home.Dir
	binary string
	node   bool
	docs   []manifest.Document

	look   func(context.Context, *api.ClusterSpec) site.Facts
	open   func(*api.ClusterSpec) (slurm, error)
	stat   statfs
	env    func(string) (string, bool)
	find   lookup
	stored func(name string) *api.Cluster

	planeHere bool
	clusters  []*examined
}

// examined is a cluster and what was found out about it.
type examined struct {
	name    string
	spec    *api.ClusterSpec // nil when nobody knows the cluster
	facts   site.Facts
	workdir string
	// broken says that the work folder cannot be used; stepped that a node was looked at.
	broken, stepped bool
}

// all makes every check. The clusters come first in time, for much is judged by them, and after the control plane in print.
func (e *examination) all(cluster string) []finding {
	plane := within(e.ctx, checkTimeout, "control plane", "look whether the home's file system answers: `ls "+string(e.dir)+"`", func(ctx context.Context) []finding {
		return []finding{checkPlane(ctx, e.dir, planeReady(e.dir))}
	})
	e.planeHere = plane[0].Level == levelOK
	for _, name := range e.clusterNames(cluster) {
		e.clusters = append(e.clusters, e.examine(name))
	}
	facts := &e.clusters[0].facts
	first := append(plane, within(e.ctx, checkTimeout, "environment", "look whether the key's file system answers", func(context.Context) []finding {
		return checkEnvironment(e.env, facts)
	})...)
	all := of("benchd", first)
	for _, c := range e.clusters {
		all = append(all, of("cluster/"+c.name, e.checkCluster(c))...)
	}
	for _, doc := range e.docs {
		all = append(all, of(display(doc.Object), e.checkObject(doc.Object))...)
	}
	if !slices.ContainsFunc(e.docs, func(doc manifest.Document) bool { return makesRuns(doc.Object) }) {
		all = append(all, of("cluster/"+e.clusters[0].name, e.checkDefaultNode(e.clusters[0]))...)
	}
	return all
}

func makesRuns(obj api.Object) bool {
	switch obj.(type) {
	case *api.BenchmarkRun, *api.BenchmarkSweep:
		return true
	}
	return false
}

func of(what string, all []finding) []finding {
	for i := range all {
		all[i].Of = what
	}
	return all
}

// clusterNames are the clusters that runs go to, or the one that is asked for.
func (e *examination) clusterNames(otherwise string) []string {
	var names []string
	for _, doc := range e.docs {
		name := ""
		switch o := doc.Object.(type) {
		case *api.BenchmarkRun:
			name = o.Spec.Cluster
		case *api.BenchmarkSweep:
			runs, err := runsOf(o, e.find)
			if err != nil {
				continue // told where the sweep is looked at
			}
			for _, run := range runs {
				if !slices.Contains(names, run.Spec.Cluster) {
					names = append(names, run.Spec.Cluster)
				}
			}
		case *api.Cluster:
			name = o.Name
		}
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return []string{otherwise}
	}
	return names
}

// examine finds out about a cluster: one of the files, else of the control plane, else one of the two that need no declaring.
func (e *examination) examine(name string) *examined {
	c := &examined{name: name}
	object := e.stored(name)
	for _, doc := range e.docs {
		if declared, ok := doc.Object.(*api.Cluster); ok && declared.Name == name {
			object = declared
		}
	}
	if object == nil && (name == api.ClusterNameDefault || name == api.ClusterNameEmbedded) {
		object = &api.Cluster{ObjectMeta: metav1.ObjectMeta{Name: name}}
		object.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindCluster))
		api.SetDefaults(object)
	}
	if object == nil {
		return c
	}
	c.spec, c.workdir = &object.Spec, object.Spec.Workdir
	if c.workdir == "" {
		c.workdir = filepath.Join(string(e.dir), "work")
	}
	c.facts = e.look(e.ctx, c.spec)
	return c
}

func (e *examination) checkCluster(c *examined) []finding {
	if c.spec == nil {
		return []finding{problem("cluster", "apply a Cluster object of that name, give its file with -f, or use `default` or `embedded`; a control plane that runs knows those that were applied", "no Cluster object %s is known", c.name)}
	}
	all := checkSite(&c.facts)
	folder := within(e.ctx, checkTimeout, "work folder", workFolderNext, func(ctx context.Context) []finding {
		return checkWorkFolder(ctx, c.workdir, c.facts.Embedded, e.stat)
	})
	c.broken = folder[0].Level == levelProblem
	return append(all, folder...)
}

// checkObject looks at what a run, or the runs of a sweep, ask for.
func (e *examination) checkObject(obj api.Object) []finding {
	runs, err := runsOf(obj, e.find)
	if err != nil {
		return []finding{problem("runs", "correct spec.parameters", "%v", err)}
	}
	var all []finding
	for _, run := range runs {
		at := slices.IndexFunc(e.clusters, func(c *examined) bool { return c.name == run.Spec.Cluster })
		if at < 0 || e.clusters[at].spec == nil {
			all = append(all, problem("cluster", "apply it, or give its file with -f", "cluster %s is not known: nothing was looked at", run.Spec.Cluster))
			continue
		}
		all = append(all, e.checkRun(run, e.clusters[at])...)
	}
	if len(runs) > 1 {
		return sift(all)
	}
	return all
}

func (e *examination) checkRun(run *api.BenchmarkRun, c *examined) []finding {
	a := newAsk(run, c.spec, &c.facts)
	a.node = e.node
	embedded := c.facts.Embedded
	var all []finding
	if c.facts.Embedded || c.facts.Known(site.AskController) {
		all = a.checkAsk(&c.facts)
	} else {
		all = append(all, leftOut("Slurm", "does not answer: partition, time limit, nodes, account and limits are not checked"))
	}
	all = append(all, a.checkFiles(e.ctx, &c.facts, e.planeHere)...)
	all = append(all, a.checkPorts(embedded)...)
	all = append(all, a.checkNetwork(c.spec.Network, embedded), checkPushgateway(e.ctx, &a.spec.Monitoring))
	all = append(all, checkEndpoints(e.ctx, a.spec.Service.Endpoints)...)
	if embedded {
		return all
	}
	all = append(all, e.checkSubmission(a, c, all))
	return append(all, e.checkNode(a, c)...)
}

// noSuchNodes is how `sbatch --test-only` refuses a job whose nodes are out of service too; sbatch itself lets such a job pend.
const noSuchNodes = "Requested node configuration is not available"

// checkSubmission asks sbatch itself whether it would take the job: it knows the site's own rules. What was found before decides
// whether it is asked.
func (e *examination) checkSubmission(a *ask, c *examined, before []finding) finding {
	const check = "sbatch"
	has := func(check string, l level) bool {
		return slices.ContainsFunc(before, func(f finding) bool { return f.Level == l && (check == "" || f.Check == check) })
	}
	switch {
	case !c.facts.Known(site.AskController):
		return leftOut(check, "Slurm does not answer")
	case has("", levelProblem):
		return leftOut(check, "is asked once the problems above are mended")
	}
	s, err := e.open(c.spec)
	if err != nil {
		return leftOut(check, "%v", err)
	}
	at, err := s.Estimate(e.ctx, a.job)
	switch {
	case err == nil && time.Until(at) > time.Minute:
		return found(check, "would take the job, and start it at %s as the queue is now (--test-only)", at.Format(time.DateTime))
	case err == nil:
		return found(check, "would take the job (--test-only)")
	case errors.Is(err, slurmadapter.ErrOutage):
		return problem(check, silentNext, "%v", err)
	case errors.Is(err, slurmadapter.ErrBusy):
		return warning(check, "benchd tries again by itself", "%v", err)
	case strings.Contains(err.Error(), noSuchNodes) && (has("nodes", levelWarning) || has("node list", levelWarning)):
		return warning(check, "wait until nodes are back in service; the job would pend until then", "would not start the job with the nodes that are in service: %v", err)
	}
	return problem(check, "correct spec.slurm or spec.nodes", "would not take the job: %v", err)
}

// checkDefaultNode looks at a node without a run: for the simulated service, with its defaults.
func (e *examination) checkDefaultNode(c *examined) []finding {
	if c.spec == nil || c.facts.Embedded {
		return nil
	}
	run := &api.BenchmarkRun{ObjectMeta: metav1.ObjectMeta{Name: "doctor"}}
	run.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkRun))
	run.Spec.Service.Name, run.Spec.Workload.Duration = "dummy", metav1.Duration{Duration: time.Minute}
	api.SetDefaults(run)
	admitRun(run.Namespace, &run.Spec, e.find)
	return e.checkNode(newAsk(run, c.spec, &c.facts), c)
}

// checkNode runs the one step on a node, for the first run of a cluster.
func (e *examination) checkNode(a *ask, c *examined) []finding {
	const check = "step on a node"
	switch {
	case !e.node:
		return []finding{leftOut(check, nodeHint)}
	case !c.facts.Known(site.AskController):
		return []finding{leftOut(check, "Slurm does not answer")}
	case c.broken:
		return []finding{leftOut(check, "the work folder cannot be used")}
	case c.stepped:
		return []finding{leftOut(check, "one step for a cluster is enough: see the run before")}
	}
	c.stepped = true
	s, err := e.open(c.spec)
	if err != nil {
		return []finding{leftOut(check, "%v", err)}
	}
	look, err := lookAtNode(e.ctx, s, a, c.workdir, c.spec.Network, e.binary, c.spec.VisibilityTimeout.Duration)
	if err != nil {
		return []finding{judgeStep(err)}
	}
	return judgeNode(look, a)
}
