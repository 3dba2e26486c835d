package site

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"strings"
	"sync"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/container"
	"github.com/benchd/benchd/slurmadapter"
)

// CommandTimeout bounds each command of a look: a controller that is gone makes them wait some ten seconds.
const CommandTimeout = 20 * time.Second

// Commands runs those of Slurm's commands that only look.
type Commands interface {
	// Query returns what a command printed, beside an error too.
	Query(ctx context.Context, name string, args ...string) (string, error)
	// UID is the user whose jobs are asked for.
	UID() string
}

var _ Commands = (*slurmadapter.Slurm)(nil)

// Look finds out about the site of a cluster. It takes as long as its slowest command, at most about two CommandTimeouts, and
// always returns what it found out.
func Look(ctx context.Context, spec *api.ClusterSpec) Facts {
	if spec.Type == api.ClusterEmbedded {
		return Facts{Embedded: true, User: userName(), Runtimes: runtimes(exec.LookPath)}
	}
	slurm, err := slurmadapter.New(slurmadapter.Config{BinDir: spec.BinDir, Conf: spec.Conf, Timeout: CommandTimeout})
	if err != nil {
		f := Facts{User: userName(), Runtimes: runtimes(exec.LookPath), Unknown: map[Question]string{}}
		for _, q := range []Question{AskCommands, AskController, AskPartitions, AskRules, AskJobs, AskHistory, AskAssociations, AskQOS} {
			f.Unknown[q] = err.Error()
		}
		return f
	}
	return LookBy(ctx, slurm)
}

// LookBy is Look through given commands.
func LookBy(ctx context.Context, slurm Commands) Facts {
	l := &looker{ctx: ctx, slurm: slurm, facts: Facts{User: userName(), Unknown: map[Question]string{}, Runtimes: runtimes(exec.LookPath)}}
	var wg sync.WaitGroup
	for _, ask := range []func(){l.history, l.associations, l.defaultAccount, l.qos} { // of the database
		wg.Go(ask)
	}
	l.controller()
	for _, ask := range []func(){l.partitions, l.rules, l.jobs} { // of the controller
		wg.Go(ask)
	}
	wg.Wait()
	l.join()
	return l.facts
}

// looker gathers facts. All questions but those that need the controller are asked side by side.
type looker struct {
	ctx   context.Context
	slurm Commands
	mu    sync.Mutex
	facts Facts
	// rule by partition, found by cluster: what join puts into the facts.
	rule  map[string]*Rules
	found map[string][]Association
}

// tell keeps an answer, or why there is none.
func (l *looker) tell(q Question, err error, keep func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.facts.Unknown[q] = err.Error()
		return
	}
	keep()
}

// ask runs a command and reads what it printed.
func ask[T any](l *looker, q Question, parse func(string) (T, error), keep func(T), name string, args ...string) {
	out, err := l.slurm.Query(l.ctx, name, args...)
	var answer T
	if err == nil {
		answer, err = parse(out)
	}
	l.tell(q, err, func() { keep(answer) })
}

// errSilent says that no controller is up: what would wait for one is not asked.
var errSilent = errors.New("the controller does not answer")

func (l *looker) controller() {
	out, err := l.slurm.Query(l.ctx, "scontrol", "ping") // it fails, and tells on standard output, when one is down
	controllers := parsePing(out)
	var down []string
	for _, c := range controllers {
		if !c.Up {
			down = append(down, c.Role+" on "+c.Host)
		}
	}
	if len(controllers) > 0 && len(down) == len(controllers) {
		err = fmt.Errorf("scontrol ping: no controller is up (%s)", strings.Join(down, ", "))
	} else if len(controllers) > 0 {
		err = nil // one answers
	}
	l.mu.Lock()
	l.facts.Controllers = controllers
	l.mu.Unlock()
	if err != nil {
		l.tell(AskController, err, nil)
		return
	}
	ask(l, AskController, parseConfig, func(s Slurm) { l.facts.Slurm = s }, "scontrol", "show", "config")
}

// answered leaves a question out that only the controller can answer when it does not.
func (l *looker) answered(q Question) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, silent := l.facts.Unknown[AskController]; silent {
		l.facts.Unknown[q] = errSilent.Error()
		return false
	}
	return true
}

func (l *looker) partitions() {
	if l.answered(AskPartitions) {
		ask(l, AskPartitions, parsePartitions, func(p []Partition) { l.facts.Partitions = p }, "sinfo", "-h", "-e", "-o", sinfoFormat)
	}
}

func (l *looker) rules() {
	if l.answered(AskRules) {
		ask(l, AskRules, parseRules, func(r map[string]*Rules) { l.rule = r }, "scontrol", "show", "partition", "-o")
	}
}

func (l *looker) jobs() {
	if l.answered(AskJobs) {
		ask(l, AskJobs, parseJobs, func(j []QueuedJob) { l.facts.Jobs = j }, "squeue", "-h", "-r", "--user="+l.slurm.UID(), "-o", squeueFormat)
	}
}

func (l *looker) history() {
	nothing := func(string) (bool, error) { return true, nil }
	ask(l, AskHistory, nothing, func(ok bool) { l.facts.Accounting = ok }, "sacct", "-n", "-P", "-X", "-S", "now-60", "-o", "JobIDRaw")
}

func (l *looker) associations() {
	ask(l, AskAssociations, parseAssociations, func(a map[string][]Association) { l.found = a },
		"sacctmgr", "-n", "-P", "show", "assoc", "user="+l.facts.User, "format="+assocFields)
}

func (l *looker) defaultAccount() {
	ask(l, AskAssociations, parseDefaultAccount, func(name string) { l.facts.DefaultAccount = name },
		"sacctmgr", "-n", "-P", "show", "user", l.facts.User, "format=User,DefaultAccount")
}

func (l *looker) qos() {
	ask(l, AskQOS, parseQOS, func(q []QOS) { l.facts.QOS = q }, "sacctmgr", "-n", "-P", "show", "qos", "format="+qosFields)
}

// join puts what several commands told of one thing together.
func (l *looker) join() {
	for i := range l.facts.Partitions {
		l.facts.Partitions[i].Rules = l.rule[l.facts.Partitions[i].Name]
	}
	for name, of := range l.found {
		if name == l.facts.Slurm.Cluster || l.facts.Slurm.Cluster == "" && len(l.found) == 1 {
			l.facts.Associations = of
		}
	}
}

// runtimes looks for the programs of the container runtimes. Pyxis is part of srun, which does not tell whether it has it.
func runtimes(find func(string) (string, error)) []Runtime {
	var all []Runtime
	for _, r := range api.Runtimes() {
		if r == api.RuntimeNone || r == api.RuntimePyxis {
			continue
		}
		if path, err := find(container.Program(r)); err == nil {
			all = append(all, Runtime{Name: string(r), Path: path})
		}
	}
	return all
}

func userName() string {
	me, err := user.Current()
	if err != nil {
		return ""
	}
	return me.Username
}
