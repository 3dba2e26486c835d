package slurmadapter

import "strings"

// Explanation says a pending reason in words.
type Explanation struct {
	// Text is a sentence for people.
	Text string
	// Never says that the job cannot start as it is, however long it waits.
	Never bool
}

// reasons explains Slurm's job reason codes (squeue's manual page, "JOB REASON CODES").
var reasons = map[string]Explanation{
	"None":                     {Text: "Slurm has not looked at the job yet"},
	"Priority":                 {Text: "jobs of higher priority go first"},
	"Resources":                {Text: "the nodes it needs are busy"},
	"JobHeldUser":              {Text: "the job is held by its owner"},
	"JobHeldAdmin":             {Text: "an administrator holds the job: ask them, or cancel the run"},
	"Dependency":               {Text: "it waits for another job"},
	"DependencyNeverSatisfied": {Text: "the job it depends on can no longer end as required", Never: true},
	"BeginTime":                {Text: "its begin time has not come, or it was just requeued"},
	"Licenses":                 {Text: "it waits for a licence"},
	"Reservation":              {Text: "it waits for its reservation"},
	"ReqNodeNotAvail":          {Text: "a node it asks for is down, drained or reserved"},
	"NodeDown":                 {Text: "a node it needs is down"},
	"PartitionDown":            {Text: "the partition is down"},
	"PartitionInactive":        {Text: "the partition does not start jobs at the moment"},
	"PartitionConfig":          {Text: "no set of the partition's nodes can ever hold it: lower nodes, GPUs, CPUs or memory, or name another partition", Never: true},
	"PartitionNodeLimit":       {Text: "it asks for more nodes than the partition has or allows: lower nodes.*.count or name another partition", Never: true},
	"PartitionTimeLimit":       {Text: "its time limit is above the partition's: lower slurm.timeLimit or name another partition", Never: true},
	"BadConstraints":           {Text: "no nodes fit its constraints", Never: true},
	"InvalidAccount":           {Text: "the account is not valid: set slurm.account", Never: true},
	"InvalidQOS":               {Text: "the QOS is not valid: set slurm.qos", Never: true},
	"JobLaunchFailure":         {Text: "Slurm could not start it on its nodes", Never: true},
	"NonZeroExitCode":          {Text: "the job's script ended with an error"},
	"TimeLimit":                {Text: "the job reached its time limit"},
	"SystemFailure":            {Text: "Slurm or a node failed"},
	"Cleaning":                 {Text: "an earlier start of it is still being cleaned up"},
	"QOSNotAllowed":            {Text: "the QOS may not be used with this partition or account", Never: true},
	"AccountNotAllowed":        {Text: "the account may not use this partition", Never: true},
}

// Explain says in words why Slurm holds a job back.
func Explain(reason string) Explanation {
	reason = strings.ReplaceAll(reason, "_", " ") // scontrol prints it so
	name, _, _ := strings.Cut(reason, ",")
	name, _, _ = strings.Cut(name, ":")
	name = strings.Trim(name, "() ")
	if e, ok := reasons[name]; ok {
		return e
	}
	limit := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(name, "QOS"), "Assoc"), "Limit")
	switch {
	case strings.HasPrefix(reason, "launch failed requeued held"):
		return Explanation{Text: "its start failed on a node and Slurm holds it", Never: true}
	case strings.HasPrefix(reason, "Nodes required for job are DOWN"):
		return Explanation{Text: "nodes it needs are down, drained or reserved for others"}
	case strings.Contains(limit, "PerJob"), strings.Contains(limit, "Minutes") && strings.HasPrefix(limit, "Max"):
		return Explanation{Text: "it asks for more than account or QOS allow one job (" + name + "): lower nodes, GPUs or time limit", Never: true}
	case strings.HasPrefix(name, "QOS"), strings.HasPrefix(name, "Assoc"):
		return Explanation{Text: "a limit of the account or QOS is reached (" + name + "); it goes on when other jobs end"}
	case name == "":
		return Explanation{Text: "Slurm gives no reason"}
	}
	return Explanation{Text: "Slurm says " + reason}
}
