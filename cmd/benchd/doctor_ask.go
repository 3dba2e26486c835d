package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/controllers"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/site"
	"github.com/benchd/benchd/slurmadapter"
)

// ask is what a run asks of a site: the Allocation that it would get, and the job of that.
type ask struct {
	spec     *api.AllocationSpec
	logging  *api.LoggingSpec
	job      slurmadapter.JobSpec
	manifest node.Manifest
	place    site.Place
	// node says that a node is looked at too: what is missing here is judged there.
	node bool
}

// newAsk finds out what a run asks for, by the code that submits it.
func newAsk(run *api.BenchmarkRun, cluster *api.ClusterSpec, facts *site.Facts) *ask {
	a := controllers.NewAllocation(run, run.Name+"-1")
	s := &a.Spec.Slurm
	return &ask{
		spec: &a.Spec, logging: &run.Spec.Logging, job: controllers.NewJobSpec(a, "", "benchd-doctor"), manifest: controllers.NewManifest(a, cluster.Network, "benchd"),
		place: facts.Place(s.Partition, s.Account, s.QOS),
	}
}

// runsOf are the runs that an object stands for: itself, or those of a sweep that differ in what they ask of a site.
func runsOf(obj api.Object, find lookup) ([]*api.BenchmarkRun, error) {
	switch o := obj.(type) {
	case *api.BenchmarkRun:
		return []*api.BenchmarkRun{o}, nil
	case *api.BenchmarkSweep:
		var runs []*api.BenchmarkRun
		seen := map[string]bool{}
		for _, p := range plan.Sample(&o.Spec) {
			run, err := plan.Run(o, p)
			if err != nil {
				return nil, err
			}
			api.SetDefaults(run)
			admitRun(o.Namespace, &run.Spec, find) // it was valid when the file was read; this fills in what the service sets
			key, err := json.Marshal(controllers.NewAllocation(run, "a").Spec)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", run.Name, err)
			}
			if !seen[string(key)] {
				seen[string(key)] = true
				runs = append(runs, run)
			}
		}
		return runs, nil
	}
	return nil, nil
}

// checkAsk holds what a run asks of Slurm against what there is.
func (a *ask) checkAsk(f *site.Facts) []finding {
	if f.Embedded {
		return nil
	}
	all := []finding{a.checkAccount(f), a.checkQOS(f), a.checkPartition(f)}
	if a.place.Partition != nil {
		all = append(all, a.checkTime(f), a.checkNodes(), a.checkGPUs(f), a.checkSize())
		all = append(all, a.checkNames()...)
		all = append(all, a.checkSharing())
	}
	return append(all, a.checkSubmit(f)...)
}

func (a *ask) checkPartition(f *site.Facts) finding {
	const check = "partition"
	asked, p := a.job.Partition, a.place.Partition
	switch {
	case strings.Contains(asked, ","):
		return leftOut(check, "%s: of several partitions only sbatch knows which it takes", asked)
	case !f.Known(site.AskPartitions):
		return leftOut(check, "partitions are not known: %s", f.Unknown[site.AskPartitions])
	case p == nil && asked == "":
		return problem(check, "name one of "+partitionNames(f)+" in spec.slurm.partition", "the run names none, and the site has no default")
	case p == nil:
		return problem(check, "name one of "+partitionNames(f)+" in spec.slurm.partition", "%s does not exist, or is hidden from you", asked)
	case p.State != "up":
		return problem(check, "name another one in spec.slurm.partition ("+partitionNames(f)+"), or wait until it opens", "%s is %s: it starts no jobs", p.Name, p.State)
	}
	if r := p.Rules; r != nil {
		if account := a.account(f); account != "" && refused(account, r.AllowAccounts, r.DenyAccounts) {
			return problem(check, "use another account or partition; allowed here: "+allowed(r.AllowAccounts, r.DenyAccounts), "%s does not admit account %s", p.Name, account)
		}
		if qos := a.qos(); qos != "" && refused(qos, r.AllowQOS, r.DenyQOS) {
			return problem(check, "use another QOS or partition; allowed here: "+allowed(r.AllowQOS, r.DenyQOS), "%s does not admit QOS %s", p.Name, qos)
		}
	}
	return found(check, "%s is up", p.Name)
}

func partitionNames(f *site.Facts) string {
	var names []string
	for _, p := range f.Partitions {
		if p.State == "up" {
			names = append(names, p.Name)
		}
	}
	return listed(names)
}

func refused(name string, allow, deny []string) bool {
	return len(allow) > 0 && !slices.Contains(allow, name) || slices.Contains(deny, name)
}

func allowed(allow, deny []string) string {
	if len(allow) > 0 {
		return listed(allow)
	}
	return "all but " + listed(deny)
}

func (a *ask) account(f *site.Facts) string {
	if a.job.Account != "" {
		return strings.ToLower(a.job.Account)
	}
	return f.DefaultAccount
}

func (a *ask) qos() string {
	switch {
	case a.job.QOS != "":
		return a.job.QOS
	case a.place.Association != nil:
		return a.place.Association.DefaultQOS
	}
	return ""
}

func (a *ask) checkTime(f *site.Facts) finding {
	const check = "time limit"
	const next = "lower spec.slurm.timeLimit, or the load's duration that it is computed from; or name another partition or QOS"
	asked, err := api.ParseSlurmTime(a.job.TimeLimit)
	if err != nil {
		return problem(check, "correct spec.slurm.timeLimit", "%s %v", a.job.TimeLimit, err)
	}
	if most := a.place.MaxTime(); most.Value > 0 && asked > most.Value {
		return problem(check, next, "%s is above the %s of %s: the job would pend for ever", slurmTime(asked), slurmTime(most.Value), most.Of)
	}
	if most := a.place.MaxWall(); most.Value > 0 && asked > most.Value {
		return worse(f.Slurm.Enforces("limits"), check, next, "%s is above the MaxWall %s of %s", slurmTime(asked), slurmTime(most.Value), most.Of)
	}
	if asked < 2*time.Minute {
		return warning(check, "raise spec.slurm.timeLimit", "%s leaves hardly time to start servers", slurmTime(asked))
	}
	return found(check, "%s", slurmTime(asked))
}

// fits says whether nodes of a group can hold the job.
func (a *ask) fits(g *site.Group) bool {
	return g.GPUs() >= a.job.GPUs && g.CPUs >= a.job.CPUs && (g.MemoryMiB >= a.job.MemoryMiB)
}

func (a *ask) checkNodes() finding {
	const check = "nodes"
	p, asked := a.place.Partition, a.job.Nodes
	fit := p.Nodes(a.fits)
	inService := p.Nodes(func(g *site.Group) bool { return a.fits(g) && g.Usable() })
	if r := p.Rules; r != nil && r.MaxNodes > 0 && asked > r.MaxNodes {
		return problem(check, "lower nodes.*.count, or name another partition", "%d are above the %d that partition %s gives one job", asked, r.MaxNodes, p.Name)
	} else if r != nil && asked < r.MinNodes {
		return problem(check, "raise nodes.*.count, or name another partition", "%d are below the %d that a job has to take in partition %s", asked, r.MinNodes, p.Name)
	}
	switch {
	case asked > p.Total():
		return problem(check, "lower nodes.*.count, or name another partition", "%d are more than the %d of partition %s: the job would pend for ever", asked, p.Total(), p.Name)
	case asked > fit:
		return problem(check, "lower nodes.*.count, gpus, cpus or memory, or name another partition", "%d are asked for, and %d of the %d of partition %s are large enough", asked, fit, p.Total(), p.Name)
	case asked > inService:
		return warning(check, "the job pends until nodes come back: `sinfo -R` says why they are out; or lower nodes.*.count",
			"%d are asked for, and %d of the %d that fit in partition %s are in service", asked, inService, fit, p.Name)
	}
	return found(check, "%d of the %d that fit in partition %s, %d of them idle", asked, fit, p.Name, p.Nodes(func(g *site.Group) bool { return a.fits(g) && g.Idle() }))
}

func (a *ask) checkGPUs(f *site.Facts) finding {
	const check = "GPUs"
	p := a.place.Partition
	if a.job.GPUs > p.GPUs() {
		var others []string
		for i := range f.Partitions {
			if f.Partitions[i].GPUs() >= a.job.GPUs {
				others = append(others, f.Partitions[i].Name)
			}
		}
		return problem(check, "lower nodes.*.gpus, or name another partition; that many have: "+listed(others), "%d per node are asked for, and nodes of partition %s have %d", a.job.GPUs, p.Name, p.GPUs())
	}
	if a.job.GPUs == 0 {
		return found(check, "none are asked for")
	}
	return found(check, "%d per node, of %d", a.job.GPUs, p.GPUs())
}

func (a *ask) checkSize() finding {
	const check = "CPUs and memory"
	p := a.place.Partition
	switch {
	case a.job.CPUs > p.CPUs():
		return problem(check, "lower nodes.*.cpus, or name another partition", "%d CPUs per node are asked for, and nodes of partition %s have %d", a.job.CPUs, p.Name, p.CPUs())
	case a.job.MemoryMiB > p.MemoryMiB():
		return problem(check, "lower nodes.*.memory, or name another partition", "%s per node are asked for, and nodes of partition %s have %s", mebibytes(a.job.MemoryMiB), p.Name, mebibytes(p.MemoryMiB()))
	}
	cpus, memory := "the site's default of CPUs", "the site's default of memory"
	if a.job.CPUs > 0 {
		cpus = counted(a.job.CPUs, "CPU")
	}
	if a.job.MemoryMiB > 0 {
		memory = mebibytes(a.job.MemoryMiB)
	} else if a.job.Exclusive {
		memory = "all memory"
	}
	return found(check, "%s and %s per node, of %d and %s", cpus, memory, p.CPUs(), mebibytes(p.MemoryMiB()))
}

// checkNames looks for the nodes that a run names.
func (a *ask) checkNames() []finding {
	p := a.place.Partition
	hosts, err := p.Hosts()
	if err != nil {
		return []finding{leftOut("node list", "%v", err)}
	}
	usable := map[string]bool{}
	for i := range p.Groups {
		names, _ := slurmadapter.ExpandHostlist(p.Groups[i].Nodes) // Hosts has read the same
		for _, name := range names {
			usable[name] = p.Groups[i].Usable()
		}
	}
	var all []finding
	for _, list := range []struct {
		check, field, hosts string
		needed              bool
	}{{"node list", "slurm.nodelist or nodes.*.nodelist", a.job.Nodelist, true}, {"excluded nodes", "slurm.exclude", a.job.Exclude, false}} {
		if list.hosts == "" {
			continue
		}
		names, err := slurmadapter.ExpandHostlist(list.hosts)
		if err != nil {
			all = append(all, problem(list.check, "correct spec."+list.field, "%v", err))
			continue
		}
		missing := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(hosts, name) })
		out := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(hosts, name) || usable[name] })
		switch {
		case len(missing) > 0 && list.needed:
			all = append(all, problem(list.check, "correct spec."+list.field, "not in partition %s: %s", p.Name, listed(missing)))
		case len(missing) > 0:
			all = append(all, warning(list.check, "correct spec."+list.field, "not in partition %s: %s", p.Name, listed(missing)))
		case len(out) > 0 && list.needed:
			all = append(all, warning(list.check, "name others in spec."+list.field+", or wait: `sinfo -R` says why they are out of service", "out of service: %s", listed(out)))
		default:
			all = append(all, found(list.check, "%s", listed(names)))
		}
	}
	return all
}

func (a *ask) checkSharing() finding {
	const check = "whole nodes"
	p := a.place.Partition
	switch {
	case p.Rules != nil && p.Rules.OverSubscribe == "FORCE":
		return warning(check, "name a partition without OverSubscribe=FORCE", "partition %s lets jobs share nodes even when they ask for whole ones: neighbours disturb what is measured", p.Name)
	case a.job.Exclusive, p.Rules != nil && p.Rules.OverSubscribe == "EXCLUSIVE":
		return found(check, "the job has its nodes for itself")
	}
	return warning(check, "leave spec.slurm.exclusive out, or set it to true", "exclusive is false: neighbours on the same nodes disturb what is measured")
}
