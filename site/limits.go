package site

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// defaultQOS is what Slurm gives jobs for which neither user nor association names a QOS.
const defaultQOS = "normal"

// Place is where a job goes and on whose account: what limits depend on.
type Place struct {
	Partition   *Partition
	Association *Association
	// QOS of the job; nil when it is not known.
	QOS *QOS
	// own is the partition's QOS.
	own *QOS
}

// Place finds where a job with these words goes; an empty word means the default. Parts that are not known are nil.
func (f *Facts) Place(partition, account, qos string) Place {
	p := Place{Partition: f.Partition(partition)}
	name := partition
	if p.Partition != nil {
		name = p.Partition.Name
		if r := p.Partition.Rules; r != nil && r.QOS != "" {
			p.own = f.FindQOS(r.QOS)
		}
	}
	p.Association = f.Association(strings.ToLower(account), name) // as Slurm keeps accounts
	if qos == "" {
		qos = defaultQOS
		if p.Association != nil {
			qos = cmp.Or(p.Association.DefaultQOS, defaultQOS)
		}
	}
	p.QOS = f.FindQOS(qos)
	return p
}

// Bound is a limit and where it is written down.
type Bound[T any] struct {
	Value T
	// Of says whose limit it is, such as `QOS short` or `partition gpu`.
	Of string
}

// ordered are the limits that concern a job, in the order in which Slurm's manual ("Resource Limits") lets the first one that is
// set hold: the partition's QOS, the job's QOS (before it with the flag OverPartQOS), the association.
func (p Place) ordered() []Bound[*Limits] {
	var all []Bound[*Limits]
	add := func(q *QOS) {
		if q != nil {
			all = append(all, Bound[*Limits]{&q.Limits, "QOS " + q.Name})
		}
	}
	if p.QOS != nil && slices.Contains(p.QOS.Flags, "OverPartQOS") {
		add(p.QOS)
		add(p.own)
	} else {
		add(p.own)
		add(p.QOS)
	}
	if p.Association != nil {
		all = append(all, Bound[*Limits]{&p.Association.Limits, "account " + p.Association.Account})
	}
	return all
}

// MaxWall is the longest time limit that QOS and association allow; a zero value means that they set none.
func (p Place) MaxWall() Bound[time.Duration] {
	for _, l := range p.ordered() {
		if l.Value.MaxWall > 0 {
			return Bound[time.Duration]{l.Value.MaxWall, l.Of}
		}
	}
	return Bound[time.Duration]{}
}

// MaxTime is the partition's limit, which some QOS pass over; a zero value means that it sets none.
func (p Place) MaxTime() Bound[time.Duration] {
	if p.Partition == nil || p.Partition.MaxTime == 0 || p.QOS != nil && slices.Contains(p.QOS.Flags, "PartitionTimeLimit") {
		return Bound[time.Duration]{}
	}
	return Bound[time.Duration]{p.Partition.MaxTime, "partition " + p.Partition.Name}
}

// MaxSubmit are the bounds on how many jobs may wait or run, and how many do.
func (p Place) MaxSubmit(jobs []QueuedJob) []Counted {
	var all []Counted
	if q := p.QOS; q != nil && q.MaxSubmit > 0 {
		all = append(all, Counted{Bound[int]{q.MaxSubmit, "QOS " + q.Name}, count(jobs, func(j *QueuedJob) bool { return j.QOS == q.Name })})
	}
	if a := p.Association; a != nil && a.MaxSubmit > 0 {
		all = append(all, Counted{Bound[int]{a.MaxSubmit, "account " + a.Account}, count(jobs, func(j *QueuedJob) bool { return j.Account == a.Account })})
	}
	return all
}

// Counted is a bound and how much of it is used.
type Counted struct {
	Bound[int]
	Used int
}

func count(jobs []QueuedJob, holds func(*QueuedJob) bool) int {
	n := 0
	for i := range jobs {
		if holds(&jobs[i]) {
			n++
		}
	}
	return n
}

// MaxTRES are the bounds on what one job may have: per job, and those on all jobs of a user or group together, which a single
// job cannot pass either. The least of each resource is kept.
func (p Place) MaxTRES() map[string]Bound[int64] {
	least := map[string]Bound[int64]{}
	add := func(limits TRES, of string) {
		for _, name := range slices.Sorted(maps.Keys(limits)) {
			if old, set := least[name]; !set || limits[name] < old.Value {
				least[name] = Bound[int64]{limits[name], of}
			}
		}
	}
	for _, l := range p.ordered() {
		add(l.Value.MaxTRES, l.Of)
		add(l.Value.GrpTRES, l.Of)
	}
	for _, q := range []*QOS{p.own, p.QOS} {
		if q != nil {
			add(q.MaxTRESPerUser, "QOS "+q.Name)
		}
	}
	return least
}
