package controllers

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/slurmadapter"
	"github.com/benchd/benchd/store"
)

// look is what one poll saw.
type look struct {
	// at is when the poll began: what was submitted before it is in it.
	at   time.Time
	jobs map[string]slurmadapter.Job
	// byUID groups the jobs of this control plane by the Allocation uid that their name carries.
	byUID map[types.UID][]slurmadapter.Job
}

// poller looks at one cluster's queue for everybody.
type poller struct {
	cs         *clusters
	spec       api.ClusterSpec
	name       string
	generation int64
	adapter    Cluster
	stopped    chan struct{}
	kicked     chan struct{} // an Allocation has come: look as soon as the interval allows
	prefix     string

	mu     sync.Mutex
	last   *look
	outage error // why the last poll failed; nil when it did not
}

func newPoller(cs *clusters, c *api.Cluster, adapter Cluster) *poller {
	return &poller{
		cs: cs, spec: c.Spec, name: c.Name, generation: c.Generation, adapter: adapter, stopped: make(chan struct{}), kicked: make(chan struct{}, 1),
		prefix: jobPrefix(cs.cfg.Store),
	}
}

// jobPrefix begins the name of every job of this control plane.
func jobPrefix(s *store.Store) string { return "benchd-" + s.HomeID()[:8] + "-" }

func (p *poller) jobName(uid types.UID) string { return p.prefix + string(uid) }

func (p *poller) stop() { close(p.stopped) }

// workdir is the folder that control plane and nodes share.
func (p *poller) workdir() string { return p.cs.workdirOf(&p.spec) }

// latest returns what the last successful poll saw (nil before the first) and why polls fail at the moment.
func (p *poller) latest() (*look, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, p.outage
}

// lateWatch is how long a cluster is still looked at, once a minute, when no Allocation is live on it any more.
const lateWatch = 15 * time.Minute

// run polls while there are Allocations to look for. Between failures it waits longer and longer, for a controller
// that comes back must not be met by a storm.
func (p *poller) run(ctx context.Context) {
	retry := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(p.spec.PollInterval.Duration), backoff.WithMaxInterval(max(time.Minute, p.spec.PollInterval.Duration)),
		backoff.WithMaxElapsedTime(0))
	timer := time.NewTimer(0)
	defer timer.Stop()
	described, lastLive, looked := false, time.Now(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.stopped:
			return
		case <-p.kicked:
			if left := p.spec.PollInterval.Duration - time.Since(looked); left > 0 {
				timer.Reset(left)
				continue
			}
		case <-timer.C:
		}
		wait := p.spec.PollInterval.Duration
		live := p.cs.liveOn(p.name)
		if len(live) > 0 {
			lastLive = time.Now()
		} else if wait = max(wait, time.Minute); !described {
			wait = p.spec.PollInterval.Duration
		}
		// For a while after the last Allocation a late duplicate may still come in.
		if time.Since(lastLive) < lateWatch || !described {
			looked = time.Now()
			if err := p.poll(ctx, live); err != nil {
				wait = retry.NextBackOff()
			} else {
				retry.Reset()
				if !described {
					described = p.describe(ctx)
				}
			}
		}
		timer.Reset(wait)
	}
}

// poll looks once, wakes the Allocations whose jobs changed, and cancels jobs that nobody owns.
func (p *poller) poll(ctx context.Context, live map[types.UID]tracked) error {
	at := time.Now()
	jobs, err := p.adapter.List(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.cs.metrics.looks.WithLabelValues(p.name, map[bool]string{true: "ok", false: "failed"}[err == nil]).Inc()
	p.mu.Lock()
	before, wasOut := p.last, p.outage != nil
	p.outage = err
	if err == nil {
		p.last = p.newLook(at, jobs)
	}
	now := p.last
	p.mu.Unlock()
	if wasOut != (err != nil) {
		p.cs.report(ctx, p.name, err)
	}
	if err != nil {
		if !wasOut {
			p.wakeAll(live)
		}
		return err
	}
	for _, t := range live {
		if before == nil || wasOut || differs(before, now, t.jobID) {
			p.cs.changed(t.name)
		}
	}
	p.cancelOrphans(ctx, now, live)
	return nil
}

func (p *poller) newLook(at time.Time, jobs []slurmadapter.Job) *look {
	l := &look{at: at, jobs: make(map[string]slurmadapter.Job, len(jobs)), byUID: map[types.UID][]slurmadapter.Job{}}
	for _, j := range jobs {
		l.jobs[j.ID] = j
		if uid, ours := strings.CutPrefix(j.Name, p.prefix); ours {
			l.byUID[types.UID(uid)] = append(l.byUID[types.UID(uid)], j)
		}
	}
	return l
}

// differs says whether an Allocation has something to see in the newer look. One without a stored job waits for any look.
func differs(before, now *look, jobID string) bool {
	if jobID == "" {
		return true
	}
	a, hadIt := before.jobs[jobID]
	b, hasIt := now.jobs[jobID]
	return hadIt != hasIt || !a.Same(b) || !hasIt
}

func (p *poller) wakeAll(live map[types.UID]tracked) {
	for _, t := range live {
		p.cs.changed(t.name)
	}
}

// cancelOrphans cancels jobs of this control plane that no Allocation owns: late duplicates of a submission whose answer
// was lost, and jobs whose Allocation is gone. They are held, or their script finds the folder claimed, so nothing of
// theirs ever ran.
func (p *poller) cancelOrphans(ctx context.Context, l *look, live map[types.UID]tracked) {
	for uid, jobs := range l.byUID {
		t, isLive := live[uid]
		for _, j := range jobs {
			if j.State.Stage() == slurmadapter.StageEnded || isLive && (t.jobID == "" || t.jobID == j.ID) {
				continue
			}
			// The memory of live Allocations may lag behind the store, which decides.
			if owned, err := p.owned(ctx, uid, j.ID, t, isLive); err != nil || owned {
				continue
			}
			p.cs.log.Info("cancelling a job that no allocation owns", "cluster", p.name, "job", j.ID, "name", j.Name)
			if err := p.cancel(ctx, j.ID); err != nil {
				p.cs.log.Warn("cancel an orphaned job", "cluster", p.name, "job", j.ID, "error", err)
			}
		}
	}
}

func (p *poller) owned(ctx context.Context, uid types.UID, id string, t tracked, isLive bool) (bool, error) {
	if isLive {
		a, err := store.Get[*api.Allocation](ctx, p.cs.cfg.Store, t.name.Namespace, t.name.Name)
		if err != nil || a.UID != uid {
			return false, ignoreGone(err)
		}
		return a.Status.JobID == "" || a.Status.JobID == id, nil
	}
	list, err := p.cs.cfg.Store.List(ctx, api.KindAllocation, store.ListOptions{})
	if err != nil {
		return false, err
	}
	for _, obj := range list.Items {
		if a, ok := obj.(*api.Allocation); ok && a.UID == uid {
			return !a.Status.Phase.Terminal() && (a.Status.JobID == "" || a.Status.JobID == id), nil
		}
	}
	return false, nil
}

// describe fills the Cluster object's status. It says whether that worked.
func (p *poller) describe(ctx context.Context) bool {
	info, err := p.adapter.Info(ctx)
	if err != nil {
		return false
	}
	err = p.cs.updateStatus(ctx, p.name, func(_ *store.Tx, c *api.Cluster) error {
		c.Status.Version, c.Status.Accounting = info.Version, info.Accounting
		return nil
	})
	if err != nil {
		return false
	}
	p.cs.report(ctx, p.name, nil)
	return true
}

// command counts a command and asks whether this control plane may still give any.
func (p *poller) command(name string) error {
	p.cs.metrics.commands.WithLabelValues(p.name, name).Inc()
	return p.cs.cfg.Guard()
}

func (p *poller) submit(ctx context.Context, spec slurmadapter.JobSpec) (string, error) {
	if err := p.command("submit"); err != nil {
		return "", err
	}
	return p.adapter.Submit(ctx, spec)
}

func (p *poller) release(ctx context.Context, id string) error {
	if err := p.command("release"); err != nil {
		return err
	}
	return p.adapter.Release(ctx, id)
}

func (p *poller) cancel(ctx context.Context, id string) error {
	if err := p.command("cancel"); err != nil {
		return err
	}
	return p.adapter.Cancel(ctx, id)
}

func (p *poller) lookup(ctx context.Context, id string, since time.Time) (slurmadapter.Job, error) {
	if err := p.command("lookup"); err != nil {
		return slurmadapter.Job{}, err
	}
	return p.adapter.Lookup(ctx, id, since)
}
