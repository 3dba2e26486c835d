package main

import (
	"context"
	"errors"
	"strings"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/slurmadapter"
)

// Bounds of a node's clock against this machine's.
const (
	clockWarning = time.Second
	// clockProblem is how long a credential of munge's lives: beyond it Slurm itself refuses what the node says.
	clockProblem = 5 * time.Minute
)

// nodeHint is what is told where nodes were not looked at.
const nodeHint = "what nodes see is left out: `benchd doctor --node` runs one short step there"

// judgeStep says why a step brought nothing.
func judgeStep(err error) finding {
	const check = "step on a node"
	text := err.Error()
	switch {
	case errors.Is(err, errUnprepared):
		return problem(check, workFolderNext, "%v", err)
	case errors.Is(err, context.Canceled):
		return leftOut(check, "interrupted; the step was cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return problem(check, "try `srun -N1 hostname` by hand; the step was cancelled", "no end within %s: %v", stepLimit, err)
	case errors.Is(err, slurmadapter.ErrBusy), strings.Contains(text, "Unable to allocate resources: Requested nodes are busy"):
		return warning(check, "try again when nodes are idle (`sinfo`), or from a run that names another partition", "no node came free within %s: %v", stepWait, err)
	case errors.Is(err, slurmadapter.ErrOutage):
		return problem(check, silentNext, "%v", err)
	case strings.Contains(text, "cannot load module"):
		return problem(check, "correct spec.slurm.modules: `module avail` on a node lists what there is", "%v", err)
	case strings.Contains(text, "Exec format error"), strings.Contains(text, "cannot execute binary file"):
		return problem(check, "use a build of benchd for the nodes' architecture", "benchd does not run on the node: %v", err)
	case strings.Contains(text, "No such file"), strings.Contains(text, "Permission denied"):
		return problem(check, "name a spec.workdir in the Cluster object that login and compute nodes share under the same path", "the node does not see the work folder: %v", err)
	}
	return problem(check, "mend what Slurm says, and try `srun -N1 hostname` by hand", "%v", err)
}

// judgeNode says what a node's answer means for the run.
func judgeNode(l *nodeLook, a *ask) []finding {
	r := &l.reply
	all := []finding{found("step on a node", "benchd %s runs on %s (%s)", r.Version, r.Node, r.System)}
	all = append(all, judgeFolder(l))
	if r.Folder != "" && r.Nonce == "" {
		return append(all, judgeClock(l)) // it could not read what was asked
	}
	all = append(all, judgeClock(l), judgeNodeRuntime(r, a))
	all = append(all, judgeNodeFiles(r, a)...)
	all = append(all, judgeNodePorts(r, a)...)
	if r.AddressProblem != "" {
		all = append(all, problem("address", addressNext, "on %s: %s", r.Node, r.AddressProblem))
	} else {
		all = append(all, found("address", "servers and agents on %s would use %s", r.Node, r.Address))
	}
	if gateway := a.spec.Monitoring.Pushgateway; gateway != nil {
		if r.Pushgateway != "" {
			all = append(all, warning("Pushgateway", pushgatewayNext, "%s cannot be reached from %s, which would push: %s", redacted(gateway.URL), r.Node, r.Pushgateway))
		} else {
			all = append(all, found("Pushgateway", "%s is healthy, seen from %s", redacted(gateway.URL), r.Node))
		}
	}
	return all
}

func judgeFolder(l *nodeLook) finding {
	const check = "shared folder"
	const next = "name a spec.workdir in the Cluster object that login and compute nodes share under the same path"
	switch {
	case l.reply.Folder != "":
		return problem(check, next, "on %s: %s", l.reply.Node, l.reply.Folder)
	case !l.visible:
		return problem(check, next+"; a slow file system may need a longer spec.visibilityTimeout", "what %s wrote into the work folder is not seen here", l.reply.Node)
	case l.after > 10*time.Second || l.reply.Seen > 10*time.Second:
		return warning(check, "a run's steps take as long; spec.visibilityTimeout in the Cluster object must be well above it",
			"a file from here was seen on %s after %s, one from there here after %s", l.reply.Node, brief(l.reply.Seen), brief(l.after))
	}
	return found(check, "a file from here was seen on %s after %s, one from there here after %s", l.reply.Node, brief(l.reply.Seen), brief(l.after))
}

func judgeClock(l *nodeLook) finding {
	const check, next = "clock", "ask the site to keep the nodes' clocks (NTP)"
	off := max(0, l.offset.Abs()-l.uncertainty) // what is certain of it
	switch {
	case l.rounds == 0:
		return leftOut(check, "%s did not tell its time", l.reply.Node)
	case off > clockProblem:
		return problem(check, next+": beyond 5 minutes Slurm's own credentials expire", "that of %s is %s off", l.reply.Node, brief(l.offset))
	case off > clockWarning:
		return warning(check, next+"; merged logs would be out of order", "that of %s is %s off", l.reply.Node, brief(l.offset))
	}
	return found(check, "that of %s is %s off, ± %s", l.reply.Node, brief(l.offset), brief(l.uncertainty))
}

func brief(d time.Duration) time.Duration {
	if d.Abs() < time.Second {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(10 * time.Millisecond)
}

func judgeNodeRuntime(r *probeReply, a *ask) finding {
	const check = "runtime"
	switch {
	case r.Runtime != "":
		return problem(check, "name the module that brings it in spec.slurm.modules, or choose one of: "+listed(r.Runtimes), "on %s: %s", r.Node, r.Runtime)
	case a.spec.Container.Runtime != api.RuntimeNone:
		return found(check, "%s is there on %s", a.spec.Container.Runtime, r.Node)
	}
	return found(check, "on %s: %s", r.Node, listed(r.Runtimes))
}

func judgeNodeFiles(r *probeReply, a *ask) []finding {
	var all []finding
	c := &a.spec.Container
	add := func(asked bool, check, next, amiss, fine string) {
		switch {
		case !asked:
		case amiss != "":
			all = append(all, problem(check, next, "on %s: %s", r.Node, amiss))
		default:
			all = append(all, found(check, "%s, on %s too", fine, r.Node))
		}
	}
	name, err := a.program()
	contained := c.Runtime != api.RuntimeNone
	add(contained, "image", "put the image on a file system that nodes share; podman's store has to be filled on each node", r.Image, c.Image)
	add(contained && len(c.Binds) > 0, "binds", "correct spec.container.binds", r.Binds, listed(c.Binds))
	add(!contained && err == nil && name != ownBinary, "program", "name the module that brings it in spec.slurm.modules, or the folder that holds it in spec.container.path", r.Program, name)
	return all
}

func judgeNodePorts(r *probeReply, a *ask) []finding {
	var all []finding
	for _, use := range a.ports() {
		why, taken := r.Taken[use.Port]
		switch {
		case !taken:
			all = append(all, found(use.Check, "%d is free on %s", use.Port, r.Node))
		case use.Check == "executor port":
			all = append(all, warning(use.Check, use.Next, "%d is taken on %s, and agents will take a following one: %s", use.Port, r.Node, why))
		default:
			all = append(all, problem(use.Check, use.Next, "%d cannot be used on %s: %s", use.Port, r.Node, why))
		}
	}
	return all
}
