package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/report"
	"github.com/benchd/benchd/store"
)

// rosterRetry is how long a sweep waits for memory to be complete after a start.
const rosterRetry = 50 * time.Millisecond

// reconcileSweep gives a sweep's waiting runs Allocations, as many at once as it may have, and lets go of those that nothing
// needs any more. What waits and what is live it has from the roster; a run is read again before it is bound.
func (p *planner) reconcileSweep(ctx context.Context, key types.NamespacedName) (result, error) {
	if !p.roster.complete() {
		return result{after: rosterRetry}, nil
	}
	sweep, err := store.Get[*api.BenchmarkSweep](ctx, p.store, key.Namespace, key.Name)
	if err != nil {
		p.pass(turn{name: key, sweep: true})
		return result{}, ignoreGone(err) // its Allocations are deleted with it
	}
	if sweep.Status.ObservedGeneration == 0 {
		return result{}, nil // it has no runs yet
	}
	if !p.roster.caughtUp(sweep) {
		return result{after: rosterRetry}, nil
	}
	pass := &grouping{planner: p, ctx: ctx, sweep: sweep, key: key}
	pass.look()
	res, err := pass.plan()
	return res, errors.Join(err, pass.showLive())
}

// showLive keeps the number of live Allocations in the status.
func (g *grouping) showLive() error {
	if n := int32(len(g.live)); n != g.sweep.Status.Allocations {
		return updateSweep(g.ctx, g.store, g.sweep, func(_ *store.Tx, s *api.BenchmarkSweep) error {
			s.Status.Allocations = n
			return nil
		})
	}
	return nil
}

// plan lets go of what nothing needs, and gives what waits its Allocations.
func (g *grouping) plan() (result, error) {
	ctx, sweep := g.ctx, g.sweep
	if err := g.letGo(); err != nil {
		return result{}, err
	}
	reason, message, again := stopReason(sweep, g.live, time.Now())
	if err := g.tellStopped(ctx, sweep, reason, message); err != nil {
		return result{}, err
	}
	if reason != "" || sweep.Spec.Suspend || sweep.DeletionTimestamp != nil {
		g.pass(turn{name: g.key, sweep: true})
		return result{}, g.drain()
	}
	if g.returning {
		return result{after: 4 * rosterRetry}, nil
	}
	if err := g.rebind(); err != nil {
		return result{}, err
	}
	res, err := g.begin()
	if again > 0 && (res.after == 0 || again < res.after) {
		res.after = again
	}
	return res, err
}

// grouping is one look at a sweep's groups.
type grouping struct {
	*planner
	ctx   context.Context
	sweep *api.BenchmarkSweep
	key   types.NamespacedName

	live   []rosterAllocation
	held   map[types.UID]int           // runs that are bound to each, and have not ended
	length map[types.UID]time.Duration // what these take at most
	// returning: runs of an Allocation that has ended are on their way back; a group planned now would be half a group.
	returning bool
	line      *line
	waiting   []plan.Work // of the line, what this look has not bound
}

// look takes from the roster what is of this sweep.
func (g *grouping) look() {
	r := g.roster
	r.mu.Lock()
	defer r.mu.Unlock()
	g.live = slices.SortedFunc(maps.Values(r.sweeps[g.sweep.UID]), func(a, b rosterAllocation) int { return cmp.Compare(a.name, b.name) })
	g.held, g.length = map[types.UID]int{}, map[types.UID]time.Duration{}
	for uid, rows := range r.bound {
		_, live := r.sweeps[g.sweep.UID][uid]
		g.held[uid] = len(rows)
		for _, row := range rows {
			if row.sweep != g.sweep.UID {
				break
			}
			g.length[uid] += row.length + g.sweep.Spec.Sharing.Pause.Duration
			g.returning = g.returning || !live && row.returning
		}
	}
	g.line = r.lineOf(g.sweep)
	g.waiting = g.line.works
}

// bound takes from what waits those that were bound. What the roster keeps is left as it is.
func (g *grouping) bound(names []string) {
	taken := map[string]bool{}
	for _, name := range names {
		taken[name] = true
	}
	left := make([]plan.Work, 0, len(g.waiting))
	for _, w := range g.waiting {
		if !taken[w.Name] {
			left = append(left, w)
		}
	}
	g.waiting = left
}

// SweepWork adds to a run's work what its sweep says of all of them: the pause, the limit of an Allocation, isolation.
func SweepWork(s *api.BenchmarkSweepSpec, w plan.Work) plan.Work {
	w.Length += s.Sharing.Pause.Duration
	w.Alone = s.Sharing.Isolation == api.IsolationPerTrial
	w.Limit = s.Sharing.MaxTime.Duration
	if own, err := api.ParseSlurmTime(s.Template.Spec.Slurm.TimeLimit); err == nil {
		w.Limit = own
	}
	return w
}

// WorkOf is a run of a sweep as the plan sees it.
func WorkOf(s *api.BenchmarkSweepSpec, run *api.BenchmarkRun) plan.Work {
	return SweepWork(s, workOf(run))
}

// letGo releases the Allocations whose runs have all ended. One that further runs may come for stays while they may.
func (g *grouping) letGo() error {
	for _, a := range g.live {
		if a.release || g.held[a.uid] > 0 || len(g.line.same[string(a.uid)]) > 0 {
			continue
		}
		if a.open && !g.sweep.Spec.Suspend && g.moreMayCome(a) && g.timeLeft(a) {
			continue
		}
		if err := g.change(a, func(s *api.AllocationSpec) { s.Release, s.ReleaseReason = true, "no run needs it any more" }); err != nil {
			return err
		}
	}
	return nil
}

// moreMayCome says whether a search may have further runs for an open Allocation that has none: those that wait for its servers, or one
// that is about to be made. When every point that is still searched has a run that waits or is bound, none is.
func (g *grouping) moreMayCome(a rosterAllocation) bool {
	if slices.ContainsFunc(g.waiting, func(w plan.Work) bool { return w.Key == a.key }) {
		return true
	}
	open, at := 0, len(g.waiting)
	for _, l := range g.sweep.Status.Limits {
		if !l.Done {
			open++
		}
	}
	for _, other := range g.live {
		at += g.held[other.uid]
	}
	return len(g.sweep.Status.Limits) == 0 || open > at
}

// timeLeft says whether an Allocation that further runs may come for has time for one more.
func (g *grouping) timeLeft(a rosterAllocation) bool {
	if a.started.IsZero() {
		return true
	}
	workload := g.sweep.Spec.Template.Spec.Workload
	api.SetWorkloadDefaults(&workload)
	longest := max(g.line.longest, plan.Length(&api.BenchmarkRunSpec{Workload: workload}, g.sweep.Spec.Sharing.Pause.Duration))
	return time.Until(a.started.Add(a.limit)) > longest+2*time.Minute
}

// drain ends what nothing is measured on: Allocations that have not started are given up, the others end after the run that is
// under way.
func (g *grouping) drain() error {
	for _, a := range g.live {
		var err error
		switch started := onNodes(a.phase); {
		case a.release || a.drain && started:
		case !started:
			err = g.change(a, func(s *api.AllocationSpec) { s.Release, s.ReleaseReason = true, "its sweep begins no further runs" })
		default:
			err = g.change(a, func(s *api.AllocationSpec) { s.Drain = true })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func onNodes(phase api.AllocationPhase) bool {
	return phase == api.AllocationStarting || phase == api.AllocationPreparing || phase == api.AllocationReady
}

func (g *grouping) change(row rosterAllocation, change func(*api.AllocationSpec)) error {
	a, err := store.Get[*api.Allocation](g.ctx, g.store, g.sweep.Namespace, row.name)
	if err != nil || a.UID != row.uid || a.Status.Phase.Terminal() {
		return ignoreGone(err)
	}
	change(&a.Spec)
	if err := g.store.Put(g.ctx, a); err != nil {
		return ignoreGone(err)
	}
	g.roster.allocation(a, false)
	return nil
}

// rebind gives waiting runs the servers that there are: one whose load alone failed those that it had, the next run of a search
// those of the one before, and what comes back late those of its group, as far as there is time.
func (g *grouping) rebind() error {
	for _, row := range g.live {
		if row.release || row.drain || row.phase == api.AllocationReleasing {
			continue
		}
		names := g.joining(row)
		if len(names) == 0 {
			continue
		}
		a, err := store.Get[*api.Allocation](g.ctx, g.store, g.sweep.Namespace, row.name)
		if err != nil || a.UID != row.uid || a.Spec.Release || a.Status.Phase == api.AllocationReleasing || a.Status.Phase.Terminal() {
			if err = ignoreGone(err); err != nil {
				return err
			}
			continue
		}
		if _, err := g.bindTo(g.ctx, a, names); err != nil {
			return err
		}
		g.bound(names)
	}
	return nil
}

// joining names the waiting runs that an Allocation has time for.
func (g *grouping) joining(row rosterAllocation) []string {
	names, left := slices.Clone(g.line.same[string(row.uid)]), g.spare(row)
	open := row.open && row.phase == api.AllocationReady && g.timeLeft(row)
	fits := func(length time.Duration, alone bool) bool {
		return open || left >= length && g.held[row.uid] > 0 && !alone
	}
	if shortest, some := g.line.shortest[row.key]; !some || !fits(shortest, false) {
		return names
	}
	for _, w := range g.waiting {
		if w.Key == row.key && fits(w.Length, w.Alone) && !slices.Contains(names, w.Name) {
			names = append(names, w.Name)
			left -= w.Length
		}
	}
	return names
}

// spare is the time that an Allocation has for further runs: what is left of its limit without those that it has.
func (g *grouping) spare(row rosterAllocation) time.Duration {
	left := row.limit
	if row.started.IsZero() {
		left -= row.startup
	} else {
		left -= time.Since(row.started)
	}
	return left - g.length[row.uid] - 2*time.Minute
}

// begin makes Allocations while there is work and room. Once as many are under way as there may be, it asks ahead for those that
// will follow them, so that the queue's wait overlaps with what is being measured.
func (g *grouping) begin() (result, error) {
	for len(g.waiting) > 0 {
		slots, after := g.place()
		if slots == 0 && after == nil {
			return result{}, nil // a change of one of them wakes the sweep
		}
		// An open Allocation takes the next runs of its kind itself, as soon as it is ready.
		batch := plan.Next(g.notAwaited(), max(1, slots))
		if len(batch) == 0 {
			return result{}, nil
		}
		made, res, err := g.make(batch, after)
		if err != nil || made == 0 {
			return res, err
		}
		g.bound(namesOf(batch))
	}
	g.pass(turn{name: g.key, sweep: true})
	return result{}, nil
}

// notAwaited are the waiting runs that no open Allocation is to take.
func (g *grouping) notAwaited() []plan.Work {
	return slices.DeleteFunc(slices.Clone(g.waiting), func(w plan.Work) bool {
		return slices.ContainsFunc(g.live, func(a rosterAllocation) bool {
			return a.open && a.key == w.Key && !a.release && !a.drain && g.timeLeft(a)
		})
	})
}

// place says how many Allocations may be begun now. With none, it names one that is under way and has no successor yet.
func (g *grouping) place() (slots int, after *rosterAllocation) {
	byName := map[string]bool{}
	for _, a := range g.live {
		byName[a.name] = true
	}
	heads, followed := 0, map[string]bool{}
	for _, a := range g.live {
		if a.after != "" && byName[a.after] {
			followed[a.after] = true
			continue
		}
		heads++
	}
	if slots = int(g.sweep.Spec.Parallelism) - heads; slots > 0 {
		return slots, nil
	}
	for i, a := range g.live {
		if onNodes(a.phase) && !followed[a.name] && !(a.after != "" && byName[a.after]) && !a.open {
			return 0, &g.live[i]
		}
	}
	return 0, nil
}

// make makes an Allocation for some runs and binds them to it.
func (g *grouping) make(batch []plan.Work, after *rosterAllocation) (int, result, error) {
	first, err := store.Get[*api.BenchmarkRun](g.ctx, g.store, g.sweep.Namespace, batch[0].Name)
	if err != nil {
		return 0, result{after: rosterRetry}, ignoreGone(err) // memory is behind
	}
	cluster, err := g.clusters.settings(g.ctx, first.Spec.Cluster)
	if err != nil {
		return 0, result{after: planRetry}, g.say("ClusterUnknown", err.Error())
	}
	t := turn{name: g.key, sweep: true, priority: g.sweep.Spec.Priority, wake: g.wakeSweep}
	if !g.room(first.Spec.Cluster, t, int(cluster.MaxQueued)) {
		return 0, result{}, g.say("QueueLimit", fmt.Sprintf("waiting for one of the %d jobs that benchd may have in the queue of cluster %s (spec.maxQueued)", cluster.MaxQueued, first.Spec.Cluster))
	}
	name, err := g.nextName()
	if err != nil {
		return 0, result{}, err
	}
	a := newShared(g.sweep, first, name, batch)
	if after != nil {
		a.Spec.After = &api.AfterSpec{Allocation: after.name, Or: metav1.Duration{Duration: g.overlap(after)}}
	}
	n, err := g.bindTo(g.ctx, a, namesOf(batch))
	if err != nil || n == 0 {
		return 0, result{after: rosterRetry}, err
	}
	g.live = append(g.live, rosterAllocation{name: a.Name, uid: a.UID, key: a.Spec.SharingKey, after: afterOf(a), open: a.Spec.Open, limit: plan.TimeLimit(batch), startup: batch[0].Startup})
	return n, result{}, nil
}

func namesOf(batch []plan.Work) []string {
	names := make([]string, len(batch))
	for i, w := range batch {
		names[i] = w.Name
	}
	return names
}

func afterOf(a *api.Allocation) string {
	if a.Spec.After == nil {
		return ""
	}
	return a.Spec.After.Allocation
}

// nextName draws the next number of the sweep's Allocations. It is durable before the Allocation is made, so that no name comes twice.
func (g *grouping) nextName() (string, error) {
	suffix := ""
	err := updateSweep(g.ctx, g.store, g.sweep, func(_ *store.Tx, s *api.BenchmarkSweep) error {
		s.Status.AllocationsMade++
		suffix = fmt.Sprintf("-a%d", s.Status.AllocationsMade)
		return nil
	})
	return g.sweep.Name[:min(len(g.sweep.Name), 63-len(suffix))] + suffix, err
}

// overlap is how long after its predecessor's start an Allocation may begin even if that has not ended: when its work is to be done
// but for the time that the last one waited in the queue. Zero while nothing is known of the queue.
func (g *grouping) overlap(after *rosterAllocation) time.Duration {
	if wait := g.sweep.Status.QueueWait; wait == nil || wait.Duration < time.Minute {
		return 0 // there is nothing to overlap with
	}
	at := after.limit - 2*time.Minute - g.sweep.Status.QueueWait.Duration
	return max(0, at.Truncate(time.Minute))
}

// newShared is an Allocation for runs of a sweep that need the same servers.
func newShared(sweep *api.BenchmarkSweep, first *api.BenchmarkRun, name string, batch []plan.Work) *api.Allocation {
	a := NewAllocation(first, name)
	a.Labels = map[string]string{api.LabelSweep: first.Labels[api.LabelSweep]}
	a.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(sweep, api.GroupVersion.WithKind(api.KindBenchmarkSweep))}
	a.Spec.Between = api.BetweenSpec{Pause: *sweep.Spec.Sharing.Pause, ResetCache: *sweep.Spec.Sharing.ResetCache}
	limit := plan.TimeLimit(batch)
	if l := sweep.Spec.Search; l != nil && sweep.Spec.Strategy == api.StrategySearch && !batch[0].Alone {
		// All that a search tries at a point is to find room in it.
		a.Spec.Open = true
		limit = min(batch[0].Limit, limit+time.Duration(l.MaxTrials-1)*batch[0].Length)
	}
	a.Spec.Slurm.TimeLimit = api.SlurmTime(limit)
	return a
}

// say shows why nothing is begun; a repetition changes nothing.
func (g *grouping) say(reason, message string) error {
	return updateSweep(g.ctx, g.store, g.sweep, func(tx *store.Tx, s *api.BenchmarkSweep) error {
		if s.Status.Message == message {
			return nil
		}
		s.Status.Message = message
		return tx.Event(s, api.EventNormal, reason, message)
	})
}

// stopReason says which limit, or which policy, keeps a sweep from beginning further runs; and when to look again for one that time
// alone brings about.
func stopReason(sweep *api.BenchmarkSweep, live []rosterAllocation, now time.Time) (reason, message string, again time.Duration) {
	st, l := &sweep.Status, &sweep.Spec.Limits
	if p := sweep.Spec.FailurePolicy; p.Action == api.FailureStop && st.Failed >= p.After {
		return "FailurePolicy", fmt.Sprintf("%d runs have failed (failurePolicy.after is %d): see why, then raise it to go on", st.Failed, p.After), 0
	}
	if l.NodeHours > 0 {
		spent := st.NodeHours
		for _, a := range live {
			if !a.started.IsZero() {
				spent += float64(a.nodes) * now.Sub(a.started).Hours()
				again = time.Minute
			}
		}
		if spent >= l.NodeHours {
			return "NodeHours", fmt.Sprintf("%s node-hours are spent (limits.nodeHours is %s): raise it to go on", report.Digits(spent, 3), report.Digits(l.NodeHours, 3)), 0
		}
	}
	if w := l.WallTime; w != nil && st.StartTime != nil {
		left := st.StartTime.Add(w.Duration).Sub(now)
		if left <= 0 {
			return "WallTime", fmt.Sprintf("it has gone on for %s (limits.wallTime): raise it to go on", w.Duration), 0
		}
		if again == 0 || left < again {
			again = left
		}
	}
	return "", "", again
}

// tellStopped keeps the condition, and the phase that follows from it.
func (p *planner) tellStopped(ctx context.Context, sweep *api.BenchmarkSweep, reason, message string) error {
	was := meta.IsStatusConditionTrue(sweep.Status.Conditions, api.ConditionStopped)
	if reason == "" && !was || sweep.Status.Phase == api.SweepCompleted {
		return nil
	}
	return updateSweep(ctx, p.store, sweep, func(tx *store.Tx, s *api.BenchmarkSweep) error {
		condition := metav1.Condition{Type: api.ConditionStopped, Status: metav1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: s.Generation}
		if reason == "" {
			condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, "WithinLimits", "further runs are begun"
		}
		if old := meta.FindStatusCondition(s.Status.Conditions, api.ConditionStopped); old != nil && old.Status == condition.Status && old.Reason == condition.Reason {
			return nil
		}
		meta.SetStatusCondition(&s.Status.Conditions, condition)
		settlePhase(s)
		if reason == "" {
			return nil
		}
		return tx.Event(s, api.EventWarning, reason, message)
	})
}
