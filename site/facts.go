// Package site finds out about a site what decides whether a run can work there: which Slurm answers, its partitions, what
// this user may ask for, and which container runtimes there are. `benchd doctor` judges it; what offers choices to a user
// takes its defaults from it.
package site

import (
	"slices"
	"strings"
	"time"
)

// Facts is what was found out. Each question can fail by itself: what it would have told is left zero, and Unknown says why.
type Facts struct {
	// Embedded says that the cluster is this machine: there is no Slurm to ask, and everything of Slurm's is zero.
	Embedded bool `json:"embedded,omitempty"`
	// User who looks, by name, as sacctmgr knows them.
	User string `json:"user"`
	// Controllers that `scontrol ping` lists, with whether they are up.
	Controllers []Controller `json:"controllers,omitempty"`
	// Slurm as its controller describes itself.
	Slurm Slurm `json:"slurm"`
	// Accounting says whether finished jobs and associations can be looked up: a database is configured and answers.
	Accounting bool `json:"accounting"`
	// Partitions that the user can see, in Slurm's order.
	Partitions []Partition `json:"partitions,omitempty"`
	// DefaultAccount is charged for jobs that name none; empty where there is no accounting.
	DefaultAccount string `json:"defaultAccount,omitempty"`
	// Associations of the user on this cluster: what they may charge, with which QOS and limits.
	Associations []Association `json:"associations,omitempty"`
	// QOS that the site defines; whether the user may use one, the associations say.
	QOS []QOS `json:"qos,omitempty"`
	// Jobs of the user in the queue, waiting or running, one for each element of an array.
	Jobs []QueuedJob `json:"jobs,omitempty"`
	// Runtimes are the container runtimes on this machine's PATH. Compute nodes may have others, and modules bring more.
	Runtimes []Runtime `json:"runtimes,omitempty"`
	// Unknown says why a question has no answer.
	Unknown map[Question]string `json:"unknown,omitempty"`
}

// Question is one thing to find out.
type Question string

// Questions.
const (
	// AskCommands: are Slurm's commands on this machine?
	AskCommands Question = "commands"
	// AskController: does the controller answer, and how is it configured?
	AskController Question = "controller"
	// AskPartitions: which partitions and nodes are there?
	AskPartitions Question = "partitions"
	// AskRules: who may use a partition, for how many nodes?
	AskRules Question = "rules"
	// AskJobs: which jobs has the user in the queue?
	AskJobs Question = "jobs"
	// AskHistory: are finished jobs recorded (sacct)?
	AskHistory Question = "history"
	// AskAssociations: what may the user charge (sacctmgr)?
	AskAssociations Question = "associations"
	// AskQOS: which QOS are there (sacctmgr)?
	AskQOS Question = "qos"
)

// Known says whether a question was answered.
func (f *Facts) Known(q Question) bool {
	_, unknown := f.Unknown[q]
	return !unknown && !f.Embedded
}

// Controller is one slurmctld.
type Controller struct {
	// Role is primary or backup.
	Role string `json:"role"`
	Host string `json:"host"`
	Up   bool   `json:"up"`
}

// Slurm is how the controller describes itself.
type Slurm struct {
	// Cluster is ClusterName.
	Cluster string `json:"cluster,omitempty"`
	Version string `json:"version,omitempty"`
	// Database says that accounting is configured, whether it answers or not.
	Database bool `json:"database"`
	// Enforce is AccountingStorageEnforce: associations, limits, qos, safe, wckeys. Limits that are not enforced are only
	// written down.
	Enforce []string `json:"enforce,omitempty"`
	// MinJobAge is how long the controller remembers a finished job.
	MinJobAge time.Duration `json:"minJobAge,omitempty"`
}

// Enforces says whether jobs are held against a kind of rule.
func (s *Slurm) Enforces(rule string) bool {
	return slices.Contains(s.Enforce, rule) || slices.Contains(s.Enforce, "all") || rule == "associations" && (slices.Contains(s.Enforce, "limits") || slices.Contains(s.Enforce, "qos"))
}

// Partition is one partition of nodes.
type Partition struct {
	Name string `json:"name"`
	// Default says that jobs which name no partition come here.
	Default bool `json:"default,omitempty"`
	// State is up, down (takes jobs, starts none), drain (takes none, those in it start) or inactive.
	State string `json:"state"`
	// MaxTime of a job; 0 means no limit.
	MaxTime time.Duration `json:"maxTime,omitempty"`
	// Groups are its nodes, alike ones together.
	Groups []Group `json:"groups,omitempty"`
	// Rules of the partition; nil when they are not known.
	Rules *Rules `json:"rules,omitempty"`
}

// Rules say who may use a partition and how. Empty lists allow all.
type Rules struct {
	AllowAccounts []string `json:"allowAccounts,omitempty"`
	DenyAccounts  []string `json:"denyAccounts,omitempty"`
	AllowQOS      []string `json:"allowQOS,omitempty"`
	DenyQOS       []string `json:"denyQOS,omitempty"`
	AllowGroups   []string `json:"allowGroups,omitempty"`
	// MaxNodes and MinNodes of a job; MaxNodes 0 means no limit.
	MaxNodes int `json:"maxNodes,omitempty"`
	MinNodes int `json:"minNodes,omitempty"`
	// QOS of the partition itself, whose limits go before those of the job's.
	QOS string `json:"qos,omitempty"`
	// OverSubscribe is NO, YES, EXCLUSIVE or FORCE; with FORCE even a job that asks for whole nodes shares them.
	OverSubscribe string `json:"overSubscribe,omitempty"`
}

// Group is nodes of one partition that are alike and in the same state.
type Group struct {
	// State in sinfo's words, with its sign, such as `idle`, `mixed`, `drained`, `down*`.
	State string `json:"state"`
	// Nodes is a host list; Count how many they are.
	Nodes string `json:"nodes"`
	Count int    `json:"count"`
	// CPUs and memory of each.
	CPUs      int   `json:"cpus"`
	MemoryMiB int64 `json:"memoryMiB"`
	// GRES of each by type, such as gpu or gpu:a100; the plain name holds the sum of its types.
	GRES map[string]int `json:"gres,omitempty"`
}

// GPUs of each node.
func (g *Group) GPUs() int { return g.GRES["gpu"] }

// unusable are the states in which a node starts nothing for ordinary users until somebody acts.
var unusable = []string{"down", "drain", "fail", "maint", "unknown", "future", "inval", "blocked", "reserved", "perfctrs", "error", "no_respond"}

// Usable says whether the nodes take jobs, now or when their present ones end.
func (g *Group) Usable() bool {
	if strings.HasSuffix(g.State, "*") { // does not respond
		return false
	}
	return !slices.ContainsFunc(unusable, func(state string) bool { return strings.HasPrefix(g.State, state) })
}

// Idle says whether the nodes have no job.
func (g *Group) Idle() bool { return g.Usable() && strings.HasPrefix(g.State, "idle") }

// Nodes counts the nodes of which something holds.
func (p *Partition) Nodes(holds func(*Group) bool) int {
	n := 0
	for i := range p.Groups {
		if holds(&p.Groups[i]) {
			n += p.Groups[i].Count
		}
	}
	return n
}

// Total is how many nodes the partition has.
func (p *Partition) Total() int { return p.Nodes(func(*Group) bool { return true }) }

// GPUs is the most GPUs that a node of the partition has.
func (p *Partition) GPUs() int {
	n := 0
	for i := range p.Groups {
		n = max(n, p.Groups[i].GPUs())
	}
	return n
}

// CPUs is the most CPUs, MemoryMiB the most memory that a node of the partition has.
func (p *Partition) CPUs() int {
	n := 0
	for i := range p.Groups {
		n = max(n, p.Groups[i].CPUs)
	}
	return n
}

// MemoryMiB is the most memory that a node of the partition has.
func (p *Partition) MemoryMiB() int64 {
	var n int64
	for i := range p.Groups {
		n = max(n, p.Groups[i].MemoryMiB)
	}
	return n
}

// Partition finds a partition; an empty name means the default one. Nil when there is none.
func (f *Facts) Partition(name string) *Partition {
	for i := range f.Partitions {
		if p := &f.Partitions[i]; p.Name == name || name == "" && p.Default {
			return p
		}
	}
	return nil
}

// Association is what a user may do under an account.
type Association struct {
	Account string `json:"account"`
	// Partition that it is bound to; empty for all.
	Partition string `json:"partition,omitempty"`
	// DefaultQOS is used by jobs that name none, QOS are all that may be named.
	DefaultQOS string   `json:"defaultQOS,omitempty"`
	QOS        []string `json:"qos,omitempty"`
	Limits
}

// QOS is a quality of service.
type QOS struct {
	Name string `json:"name"`
	// Flags such as PartitionTimeLimit: its jobs are not held against the partition's.
	Flags []string `json:"flags,omitempty"`
	Limits
	// MaxTRESPerUser bounds all running jobs of one user together.
	MaxTRESPerUser TRES `json:"maxTRESPerUser,omitempty"`
}

// Limits of an association, or of a QOS and one user. Zero means none.
type Limits struct {
	// MaxJobs running, MaxSubmit waiting or running at once.
	MaxJobs   int `json:"maxJobs,omitempty"`
	MaxSubmit int `json:"maxSubmit,omitempty"`
	// MaxWall is the longest time limit of a job.
	MaxWall time.Duration `json:"maxWall,omitempty"`
	// MaxTRES bounds each job, GrpTRES all running jobs under the association or QOS together.
	MaxTRES TRES `json:"maxTRES,omitempty"`
	GrpTRES TRES `json:"grpTRES,omitempty"`
}

// TRES are trackable resources by name: cpu, node, mem (MiB), gres/gpu.
type TRES map[string]int64

// Association finds what the user may do under an account in a partition; an empty account means the default one. One that is
// bound to the partition goes before one for all. Nil when there is none.
func (f *Facts) Association(account, partition string) *Association {
	if account == "" {
		account = f.DefaultAccount
	}
	var found *Association
	for i := range f.Associations {
		a := &f.Associations[i]
		if a.Account == account && (a.Partition == partition || a.Partition == "" && found == nil) {
			found = a
		}
	}
	return found
}

// Accounts that the user may charge, the default one first.
func (f *Facts) Accounts() []string {
	var names []string
	for _, a := range f.Associations {
		switch {
		case slices.Contains(names, a.Account):
		case a.Account == f.DefaultAccount:
			names = slices.Insert(names, 0, a.Account)
		default:
			names = append(names, a.Account)
		}
	}
	return names
}

// FindQOS finds a QOS by its name; nil when there is none.
func (f *Facts) FindQOS(name string) *QOS {
	for i := range f.QOS {
		if f.QOS[i].Name == name {
			return &f.QOS[i]
		}
	}
	return nil
}

// QueuedJob is a job of the user that has not ended.
type QueuedJob struct {
	State     string `json:"state"`
	Partition string `json:"partition"`
	Account   string `json:"account,omitempty"`
	QOS       string `json:"qos,omitempty"`
}

// Runtime is a container runtime on this machine.
type Runtime struct {
	// Name as in a run's container.runtime.
	Name string `json:"name"`
	// Path of its program.
	Path string `json:"path"`
}
