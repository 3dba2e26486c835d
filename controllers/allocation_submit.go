package controllers

import (
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/container"
	"github.com/benchd/benchd/slurmadapter"
	"github.com/benchd/benchd/store"
)

const (
	// busyRetry is how long a cluster that takes no further job is left alone.
	busyRetry = 15 * time.Second
	// fileRetry is how long a work folder that cannot be written is left alone.
	fileRetry = 5 * time.Second
)

// pending brings the Allocation from nothing to one stored job id. The order of things is what makes it safe:
//
//  1. a look at the queue by name, begun after the last submission was tried, shows every job that there is;
//  2. one that is there is adopted, and only when there is none another is submitted, held;
//  3. the id is stored; only then (submitted) is the job released.
//
// A process that dies in between leaves a held job, which never runs, and which step 1 finds. A submission that was under
// way when this process's predecessor died may still come in late: it stays held, has another id, and is cancelled.
func (s *allocationPass) pending() (result, error) {
	look, _ := s.poller.latest()
	last, tried := s.lastAttempt()
	if look == nil || !look.at.After(last) {
		return result{}, nil // the next look wakes this Allocation
	}
	jobs := look.byUID[s.a.UID]
	if s.releaseWanted() && len(jobs) == 0 {
		s.enter(api.AllocationReleased, "given up before it was submitted")
		return result{}, nil
	}
	if len(jobs) > 0 {
		oldest := jobs[0]
		for _, j := range jobs[1:] {
			if j.Submitted.Before(oldest.Submitted) || j.Submitted.Equal(oldest.Submitted) && len(j.ID) <= len(oldest.ID) && j.ID < oldest.ID {
				oldest = j
			}
		}
		return s.adopt(oldest.ID, "found after a restart, or after an answer of Slurm was lost")
	}
	// With the orders of all its runs in its folder, the job goes its whole way without a control plane.
	if !s.roster.written(s.a.UID) {
		return result{}, nil // the runs' changes wake this Allocation
	}
	if wait := busyRetry - time.Since(last); tried && wait > 0 {
		return result{after: wait}, nil // looks may come sooner
	}
	return s.submit()
}

// lastAttempt is when a submission was last under way; where this process has tried none, its start.
func (s *allocationPass) lastAttempt() (at time.Time, tried bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, tried = s.attempted[s.a.UID]; tried {
		return at, true
	}
	return s.started, false
}

func (s *allocationPass) noteAttempt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempted[s.a.UID] = time.Now()
}

func (s *allocationPass) submit() (result, error) {
	folder, err := prepareFolder(s.poller, s.a, s.binary)
	if reason, message, is := workdirProblem(&s.a.Status.Conditions, err); is {
		s.tell(reason, message)
		return result{after: fileRetry}, nil
	}
	if wrong := (*secretError)(nil); errors.As(err, &wrong) {
		return s.refuse("SecretMissing", wrong.text)
	}
	if err != nil {
		return result{}, err
	}
	s.a.Status.Folder = string(folder)
	if problem := s.missing(); problem != nil {
		return s.refuse(problem.Reason, "spec."+problem.Field+": "+problem.Text)
	}
	spec := NewJobSpec(s.a, folder, s.a.Status.JobName)
	if spec.After, err = s.follows(); err != nil {
		return result{}, err
	}
	own := spec
	if err := s.avoid(s.ctx, &spec); err != nil {
		return result{}, err
	}
	// Noted again at the end: a look that was taken while sbatch was at it does not show what came in later.
	s.noteAttempt()
	defer s.noteAttempt()
	id, err := s.poller.submit(s.ctx, spec)
	if errors.Is(err, slurmadapter.ErrRejected) && spec.Exclude != own.Exclude {
		id, err = s.poller.submit(s.ctx, own) // rather a suspect node than none
	}
	switch {
	case err == nil:
		return s.adopt(id, "submitted")
	case errors.Is(err, slurmadapter.ErrRejected):
		return s.refuse("SubmissionRejected", fmt.Sprintf("%v: correct spec.slurm or spec.nodes", err))
	case errors.Is(err, slurmadapter.ErrBusy):
		s.tell("ClusterBusy", err.Error()+"; benchd tries again")
		return result{after: busyRetry}, nil
	case s.ctx.Err() != nil:
		return result{}, s.ctx.Err()
	}
	// An outage, or an answer that was lost: the job may exist. The next look tells.
	s.tell("SubmissionUnclear", err.Error()+"; benchd looks whether the job came in")
	return result{after: busyRetry}, nil
}

// follows is the job that this one waits for, nil when there is none any more.
func (s *allocationPass) follows() (*slurmadapter.After, error) {
	spec := s.a.Spec.After
	if spec == nil {
		return nil, nil
	}
	before, err := store.Get[*api.Allocation](s.ctx, s.store, s.a.Namespace, spec.Allocation)
	if err != nil || before.Status.Phase.Terminal() || before.Status.JobID == "" || before.Spec.Cluster != s.a.Spec.Cluster {
		return nil, ignoreGone(err)
	}
	return &slurmadapter.After{Job: before.Status.JobID, Or: spec.Or.Duration}, nil
}

// refuse ends an Allocation that cannot be submitted before its user mends something.
func (s *allocationPass) refuse(reason, message string) (result, error) {
	s.a.Status.Failure = &api.Outcome{Result: api.ResultFailed, Class: api.FailureUser, Reason: reason, Message: message}
	s.end("")
	return result{}, nil
}

// missing looks on this machine for what the job's containers need. An image's path is one that login and compute nodes share. A
// runtime may come with a module, and a bind's source may be on the nodes alone: those are looked for here only where this
// machine is the node.
func (s *allocationPass) missing() *container.Problem {
	spec := &s.a.Spec.Container
	if len(s.a.Spec.Service.Endpoints) > 0 {
		return nil
	}
	here := s.poller.spec.Type == api.ClusterEmbedded
	if here {
		for _, problem := range []*container.Problem{container.CheckRuntime(spec), container.CheckBinds(spec.Binds)} {
			if problem != nil {
				return problem
			}
		}
	}
	if spec.Runtime == api.RuntimePodman && !here {
		return nil // its store is each node's own
	}
	return container.CheckImage(spec)
}

// tell shows a problem that is waited out; a repetition changes nothing.
func (s *allocationPass) tell(reason, message string) {
	if s.a.Status.Message != message {
		s.a.Status.Message = message
		s.events = append(s.events, event{api.EventWarning, reason, message})
	}
}

// adopt stores the one job id.
func (s *allocationPass) adopt(id, how string) (result, error) {
	if s.a.Status.Folder == "" {
		s.a.Status.Folder = string(allocationFolder(s.poller.workdir(), s.a))
	}
	s.a.Status.JobID = id
	s.enter(api.AllocationSubmitted, fmt.Sprintf("job %s, held: %s", id, how))
	return result{}, nil
}

// stillHeld says whether the queue shows the job held, or does not show it yet.
func (s *allocationPass) stillHeld() bool {
	look, _ := s.poller.latest()
	if look == nil || s.a.Status.PhaseSince == nil {
		return true
	}
	job, seen := look.jobs[s.a.Status.JobID]
	return seen && job.Held() || !seen && !look.at.After(s.a.Status.PhaseSince.Add(time.Second))
}

// submitted releases the job, whose id is stored by now.
func (s *allocationPass) submitted() (result, error) {
	if s.releaseWanted() {
		s.enter(api.AllocationReleasing, releaseMessage(s.a))
		return result{}, nil
	}
	err := s.poller.release(s.ctx, s.a.Status.JobID)
	switch {
	case err == nil:
	case s.ctx.Err() != nil:
		return result{}, s.ctx.Err()
	case errors.Is(err, slurmadapter.ErrOutage), errors.Is(err, slurmadapter.ErrBusy):
		s.tell("ReleaseDelayed", err.Error()+"; benchd tries again")
		return result{after: s.poller.spec.PollInterval.Duration + time.Second}, nil
	case errors.Is(err, slurmadapter.ErrNotFound), errors.Is(err, slurmadapter.ErrRejected):
		s.tell("ReleaseRefused", err.Error())
		if s.stillHeld() {
			return result{after: s.poller.spec.PollInterval.Duration + time.Second}, nil
		}
		// It ended meanwhile, by somebody's hand: the looks tell how.
	default:
		return result{}, err
	}
	s.enter(api.AllocationQueued, fmt.Sprintf("job %s was released to the queue", s.a.Status.JobID))
	s.condition(api.ConditionQueued, metav1.ConditionTrue, "Released", s.a.Status.Message)
	return result{}, nil
}
