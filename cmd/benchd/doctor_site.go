package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/benchd/benchd/site"
)

// silentNext is what to do when Slurm does not answer.
const silentNext = "try `squeue` by hand; runs that are applied meanwhile wait until it answers"

// checkSite judges what was found out about a site, whatever is to run there.
func checkSite(f *site.Facts) []finding {
	if f.Embedded {
		return []finding{
			leftOut("Slurm", "the cluster is this machine: there is no Slurm, and neither partitions, accounts nor limits"), checkRuntimes(f),
		}
	}
	all := []finding{checkController(f), checkAccounting(f)}
	all = append(all, checkPartitions(f)...)
	all = append(all, checkAssociations(f))
	all = append(all, checkAccountLimits(f)...)
	return append(all, checkGRES(f), checkRuntimes(f))
}

func checkController(f *site.Facts) finding {
	const check = "Slurm"
	if !f.Known(site.AskCommands) {
		seen, _, _ := strings.Cut(f.Unknown[site.AskCommands], ": load ") // it tells the next step too
		return problem(check, "`module load` what brings Slurm, name its folder in the Cluster object's spec.binDir, or use `cluster: embedded`", "%s", seen)
	}
	if !f.Known(site.AskController) {
		return problem(check, silentNext, "%s", f.Unknown[site.AskController])
	}
	var down []string
	for _, c := range f.Controllers {
		if !c.Up {
			down = append(down, c.Role+" controller on "+c.Host)
		}
	}
	if len(down) > 0 {
		return warning(check, "ask the site; another controller answers meanwhile", "%s answers, cluster %s, but down: %s", f.Slurm.Version, f.Slurm.Cluster, strings.Join(down, ", "))
	}
	return found(check, "%s answers, cluster %s", f.Slurm.Version, f.Slurm.Cluster)
}

func checkAccounting(f *site.Facts) finding {
	const check = "accounting"
	switch {
	case !f.Known(site.AskController):
		return leftOut(check, "Slurm does not answer")
	case !f.Slurm.Database:
		return warning(check, fmt.Sprintf("leave the control plane running while jobs do: an end that nobody saw within %s is taken for a lost job", f.Slurm.MinJobAge),
			"there is none: finished jobs are known for %s alone, and accounts and QOS are not checked", f.Slurm.MinJobAge)
	case !f.Known(site.AskHistory):
		return problem(check, "ask the site about slurmdbd; jobs can run, but account and QOS cannot be checked", "sacct does not answer: %s", f.Unknown[site.AskHistory])
	case !f.Known(site.AskAssociations):
		return problem(check, "ask the site about slurmdbd; jobs can run, but account and QOS cannot be checked", "sacctmgr does not answer: %s", f.Unknown[site.AskAssociations])
	}
	enforced := "nothing"
	if len(f.Slurm.Enforce) > 0 {
		enforced = strings.Join(f.Slurm.Enforce, ", ")
	}
	return found(check, "sacct and sacctmgr answer; enforced: %s", enforced)
}

func checkPartitions(f *site.Facts) []finding {
	const check = "partitions"
	switch {
	case !f.Known(site.AskController):
		return []finding{leftOut(check, "Slurm does not answer")}
	case !f.Known(site.AskPartitions):
		return []finding{problem(check, silentNext, "%s", f.Unknown[site.AskPartitions])}
	case len(f.Partitions) == 0:
		return []finding{problem(check, "ask the site for access", "sinfo shows you none")}
	}
	all := make([]finding, 0, len(f.Partitions)+1)
	for i := range f.Partitions {
		all = append(all, checkPartition(&f.Partitions[i]))
	}
	if f.Partition("") == nil {
		all = append(all, warning("default partition", "name one in each run's slurm.partition", "there is none"))
	}
	return all
}

func checkPartition(p *site.Partition) finding {
	check := "partition " + p.Name
	usable := p.Nodes((*site.Group).Usable)
	seen := fmt.Sprintf("%d nodes, %d in service, %d idle; %d CPUs, %s and %s each; jobs of at most %s", p.Total(), usable, p.Nodes((*site.Group).Idle),
		p.CPUs(), mebibytes(p.MemoryMiB()), counted(p.GPUs(), "GPU"), limitText(p.MaxTime))
	if p.Default {
		seen = "the default; " + seen
	}
	switch {
	case p.State != "up":
		return warning(check, "use another one, or ask the site when it opens", "is %s: it starts no jobs; %s", p.State, seen)
	case usable == 0:
		return warning(check, "use another one; `sinfo -R` says why nodes are out of service", "no node is in service; %s", seen)
	}
	return found(check, "%s", seen)
}

func limitText(d time.Duration) string {
	if d == 0 {
		return "any time"
	}
	return slurmTime(d)
}

// slurmTime writes a time as Slurm does.
func slurmTime(d time.Duration) string {
	days, rest := d/(24*time.Hour), d%(24*time.Hour)
	text := fmt.Sprintf("%02d:%02d:%02d", rest/time.Hour, rest%time.Hour/time.Minute, rest%time.Minute/time.Second)
	if days > 0 {
		return fmt.Sprintf("%d-%s", days, text)
	}
	return text
}

func checkAssociations(f *site.Facts) finding {
	const check = "account and QOS"
	if !f.Known(site.AskAssociations) || !f.Slurm.Database && f.Known(site.AskController) {
		return leftOut(check, "not known without accounting")
	}
	accounts := f.Accounts()
	if len(accounts) == 0 {
		return worse(!f.Known(site.AskController) || f.Slurm.Enforces("associations"), check, "ask the site to add you to an account", "user %s has no account on this cluster", f.User)
	}
	var told []string
	for _, a := range f.Associations {
		text := a.Account
		if a.Account == f.DefaultAccount {
			text += " (default)"
		}
		if a.Partition != "" {
			text += " in partition " + a.Partition
		}
		qos := slices.Clone(a.QOS)
		for i, name := range qos {
			if name == a.DefaultQOS {
				qos[i] += " (default)"
			}
		}
		told = append(told, text+" with QOS "+listed(qos))
	}
	if f.DefaultAccount == "" {
		return warning(check, "name one in each run's slurm.account", "no default account; %s", strings.Join(told, "; "))
	}
	return found(check, "%s", strings.Join(told, "; "))
}

// checkAccountLimits tells the limits of the user's associations and of the QOS that they may use, and warns where no further job goes.
func checkAccountLimits(f *site.Facts) []finding {
	const check = "limits"
	if !f.Known(site.AskAssociations) || !f.Known(site.AskQOS) {
		return []finding{leftOut(check, "not known without accounting")}
	}
	var all []finding
	seen := map[string]bool{}
	for _, a := range f.Associations {
		if text := limitsText(&a.Limits); text != "" {
			all = append(all, found(check, "account %s: %s", a.Account, text))
		}
		for _, name := range a.QOS {
			q := f.FindQOS(name)
			if q == nil || seen[name] {
				continue
			}
			seen[name] = true
			text := limitsText(&q.Limits)
			if len(q.MaxTRESPerUser) > 0 {
				text = strings.TrimPrefix(text+", MaxTRESPerUser "+tresText(q.MaxTRESPerUser), ", ")
			}
			if text != "" {
				all = append(all, found(check, "QOS %s: %s", name, text))
			}
		}
	}
	all = append(all, fullQueues(f)...)
	if len(all) == 0 {
		return []finding{found(check, "none; you have %s in the queue", counted(len(f.Jobs), "job"))}
	}
	return all
}

// fullQueues warns of what takes no further job.
func fullQueues(f *site.Facts) []finding {
	var all []finding
	full := map[string]bool{}
	for _, a := range f.Associations {
		for _, name := range append([]string{""}, a.QOS...) {
			for _, c := range f.Place(a.Partition, a.Account, name).MaxSubmit(f.Jobs) {
				if c.Used >= c.Value && !full[c.Of] {
					full[c.Of] = true
					all = append(all, warning("MaxSubmit", "wait for jobs to end, or cancel some; benchd waits by itself", "%s takes no further job: %d of %d are waiting or running", c.Of, c.Used, c.Value))
				}
			}
		}
	}
	return all
}

func limitsText(l *site.Limits) string {
	var parts []string
	add := func(set bool, format string, args ...any) {
		if set {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(l.MaxJobs > 0, "MaxJobs %d", l.MaxJobs)
	add(l.MaxSubmit > 0, "MaxSubmit %d", l.MaxSubmit)
	add(l.MaxWall > 0, "MaxWall %s", slurmTime(l.MaxWall))
	add(len(l.MaxTRES) > 0, "MaxTRES %s", tresText(l.MaxTRES))
	add(len(l.GrpTRES) > 0, "GrpTRES %s", tresText(l.GrpTRES))
	return strings.Join(parts, ", ")
}

func tresText(t site.TRES) string {
	var parts []string
	for name, n := range t {
		parts = append(parts, fmt.Sprintf("%s=%d", name, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

func checkGRES(f *site.Facts) finding {
	const check = "GRES"
	if !f.Known(site.AskPartitions) {
		return leftOut(check, "partitions are not known")
	}
	var told []string
	for i := range f.Partitions {
		p := &f.Partitions[i]
		if p.GPUs() > 0 {
			told = append(told, fmt.Sprintf("%s: %s", p.Name, gresText(p)))
		}
	}
	if len(told) == 0 {
		return warning(check, "services that need GPUs cannot run here; `service: {name: dummy}` needs none", "no partition has GPUs that Slurm counts")
	}
	return found(check, "%s", strings.Join(told, "; "))
}

// gresText tells how many nodes have which GPUs.
func gresText(p *site.Partition) string {
	nodes := map[string]int{}
	for _, g := range p.Groups {
		var kinds []string
		for name, n := range g.GRES {
			if strings.HasPrefix(name, "gpu:") {
				kinds = append(kinds, fmt.Sprintf("%s:%d", name, n))
			}
		}
		slices.Sort(kinds)
		if len(kinds) == 0 && g.GPUs() > 0 {
			kinds = []string{fmt.Sprintf("gpu:%d", g.GPUs())}
		}
		if len(kinds) > 0 {
			nodes[strings.Join(kinds, ",")] += g.Count
		}
	}
	var told []string
	for kind, n := range nodes {
		told = append(told, fmt.Sprintf("%s on %d nodes", kind, n))
	}
	slices.Sort(told)
	return strings.Join(told, ", ")
}

func checkRuntimes(f *site.Facts) finding {
	const check = "container runtime"
	var told []string
	for _, r := range f.Runtimes {
		told = append(told, r.Name+" ("+r.Path+")")
	}
	if len(told) == 0 {
		return warning(check, "load the module that brings one and name it in slurm.modules; `container: {runtime: none}` starts what is on PATH", "none on PATH here")
	}
	return found(check, "%s", strings.Join(told, ", "))
}
