package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/benchd/benchd/site"
)

func (a *ask) checkAccount(f *site.Facts) finding {
	const check = "account"
	asked, accounts, enforced := strings.ToLower(a.job.Account), f.Accounts(), f.Slurm.Enforces("associations")
	next := "name one of yours in spec.slurm.account: " + listed(accounts)
	switch {
	case !f.Known(site.AskAssociations):
		return leftOut(check, "your accounts are not known without accounting")
	case len(accounts) == 0:
		return worse(enforced, check, "ask the site to add you to an account", "user %s has none on this cluster", f.User)
	case asked == "" && f.DefaultAccount == "":
		return worse(enforced, check, next, "the run names none, and you have no default")
	case asked != "" && !slices.Contains(accounts, asked):
		return worse(enforced, check, next, "%s is none of your accounts", a.job.Account)
	case a.place.Association == nil && a.place.Partition != nil:
		return worse(enforced, check, "name another account or partition", "you may not use account %s in partition %s", a.account(f), a.place.Partition.Name)
	case asked == "":
		return found(check, "%s, your default", f.DefaultAccount)
	}
	return found(check, "%s", asked)
}

func (a *ask) checkQOS(f *site.Facts) finding {
	const check = "QOS"
	asked, association, enforced := a.job.QOS, a.place.Association, f.Slurm.Enforces("qos")
	switch {
	case !f.Known(site.AskAssociations) || !f.Known(site.AskQOS):
		return leftOut(check, "QOS are not known without accounting")
	case asked != "" && f.FindQOS(asked) == nil:
		var names []string
		for _, q := range f.QOS {
			names = append(names, q.Name)
		}
		return worse(enforced, check, "name one of "+listed(names)+" in spec.slurm.qos", "%s does not exist", asked)
	case association == nil:
		return leftOut(check, "it depends on the account")
	case asked != "" && !slices.Contains(association.QOS, asked):
		return worse(enforced, check, "name one of "+listed(association.QOS)+" in spec.slurm.qos, or another account", "account %s may not use %s", association.Account, asked)
	case asked == "" && a.place.QOS == nil:
		return found(check, "the site's default")
	case asked == "":
		return found(check, "%s, the default", a.place.QOS.Name)
	}
	return found(check, "%s", asked)
}

// checkSubmit holds the job against the limits on how many jobs there may be, and on how large one may be.
func (a *ask) checkSubmit(f *site.Facts) []finding {
	if !f.Known(site.AskAssociations) || !f.Known(site.AskQOS) {
		return []finding{leftOut("limits", "not known without accounting")}
	}
	enforced := f.Slurm.Enforces("limits")
	all := make([]finding, 0, 4)
	switch {
	case !f.Known(site.AskJobs):
		all = append(all, leftOut("MaxSubmit", "your jobs in the queue are not known: %s", f.Unknown[site.AskJobs]))
	default:
		text := "no limit"
		for _, c := range a.place.MaxSubmit(f.Jobs) {
			if c.Used >= c.Value {
				all = append(all, worse(enforced, "MaxSubmit", "wait for jobs to end, or cancel some (`squeue --me`)", "%s takes no further job: %d of %d are waiting or running", c.Of, c.Used, c.Value))
			}
			text = fmt.Sprintf("%d of %d of %s", c.Used, c.Value, c.Of)
		}
		if len(all) == 0 {
			all = append(all, found("MaxSubmit", "%s", text))
		}
	}
	return append(all, a.checkTRES(enforced)...)
}

// checkTRES compares what the job takes with what one job may take.
func (a *ask) checkTRES(enforced bool) []finding {
	nodes := int64(a.job.Nodes)
	takes := map[string]int64{"node": nodes, "gres/gpu": nodes * int64(a.job.GPUs), "cpu": nodes * int64(max(1, a.job.CPUs)), "mem": nodes * a.job.MemoryMiB}
	if p := a.place.Partition; p != nil && a.job.Exclusive && len(p.Groups) > 0 {
		least := p.Groups[0].CPUs // a whole node is charged, however little of it is asked for
		for _, g := range p.Groups {
			least = min(least, g.CPUs)
		}
		takes["cpu"] = max(takes["cpu"], nodes*int64(least))
	}
	bounds := a.place.MaxTRES()
	var all []finding
	for _, name := range slices.Sorted(maps.Keys(bounds)) {
		if b := bounds[name]; takes[name] > b.Value {
			all = append(all, worse(enforced, "limit of "+name, "lower nodes.*.count, gpus, cpus or memory, or name another account or QOS",
				"the job takes %d, and %s allows %d", takes[name], b.Of, b.Value))
		}
	}
	if len(all) == 0 && len(bounds) > 0 {
		return []finding{found("size of the job", "within the limits of account and QOS")}
	}
	return all
}
