package controllers

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/slurmadapter"
)

const (
	reasonJobLost   = "JobLost"
	reasonPreempted = "Preempted"
	// reasonJobCancelled: by somebody's hand, not by benchd.
	reasonJobCancelled = "JobCancelled"
	// lostAfter is how long a job may be unknown to Slurm, or known to accounting alone as running, before it is lost.
	lostAfter = 2 * time.Minute
	// followPoll is how often the lead of a running job is looked at.
	followPoll = 300 * time.Millisecond
)

// job finds out what has become of the Allocation's job. known is false when that cannot be told at the moment.
func (s *allocationPass) job() (job slurmadapter.Job, known bool, err error) {
	look, outage := s.poller.latest()
	if outage != nil || look == nil {
		return job, false, nil
	}
	if found, ok := look.jobs[s.a.Status.JobID]; ok && s.own(found) {
		s.a.Status.MissingSince = nil
		if found.State == slurmadapter.Failed && found.ExitCode == "" {
			// The queue does not tell exit codes, and the script's says which of its own checks failed.
			if looked, err := s.lookup(); err == nil && looked.State == found.State {
				found = looked
			}
		}
		return found, true, nil
	}
	if since := s.a.Status.PhaseSince; since != nil && !look.at.After(since.Time.Add(time.Second)) {
		return job, false, nil // a look from before the submission; stored times are whole seconds
	}
	found, err := s.lookup()
	switch {
	case err == nil && found.State.Stage() == slurmadapter.StageEnded:
		return found, true, nil
	case err == nil, errors.Is(err, slurmadapter.ErrNotFound):
		// Unknown, or known to a source that lags behind: asked again until a deadline.
	case errors.Is(err, slurmadapter.ErrOutage):
		return job, false, nil
	default:
		return job, false, err
	}
	folder := node.Folder(s.a.Status.Folder)
	var exit node.ExitRecord
	if node.ReadJSON(folder.Exit(), &exit) == nil {
		// The lead sealed how the job ended, and Slurm has forgotten it: that is enough.
		job = slurmadapter.Job{ID: s.a.Status.JobID, State: slurmadapter.Completed, Reason: "forgotten by Slurm, ended by its lead", Ended: exit.Time}
		var agent node.AgentRecord
		if st := s.a.Status.Job; (st == nil || st.StartTime == nil) && node.ReadJSON(folder.Agent(0), &agent) == nil {
			job.Started = agent.Started // nobody saw it on its nodes
		}
		return job, true, nil
	}
	now := metav1.Now()
	if s.a.Status.MissingSince == nil {
		s.a.Status.MissingSince = &now
		s.tell("JobMissing", fmt.Sprintf("Slurm does not know job %s; benchd asks again for %s", s.a.Status.JobID, lostAfter))
	}
	if time.Since(s.a.Status.MissingSince.Time) > lostAfter && time.Since(s.started) > lostAfter {
		return slurmadapter.Job{ID: s.a.Status.JobID, State: slurmadapter.Unknown, Reason: reasonJobLost}, true, nil
	}
	return job, false, nil
}

// own says whether a job that has the Allocation's job id is its job. Ids come again: they wrap around, and begin anew where Slurm has
// lost its state.
func (s *allocationPass) own(job slurmadapter.Job) bool {
	return job.Name == s.a.Status.JobName || job.Name == ""
}

// lookup asks for the Allocation's job where the queue does not show it.
func (s *allocationPass) lookup() (slurmadapter.Job, error) {
	job, err := s.poller.lookup(s.ctx, s.a.Status.JobID, s.a.CreationTimestamp.Time)
	if err == nil && !s.own(job) {
		return slurmadapter.Job{}, fmt.Errorf("job %s is %s now: %w", job.ID, job.Name, slurmadapter.ErrNotFound)
	}
	return job, err
}

// follow looks at the job and at its lead.
func (s *allocationPass) follow() (result, error) {
	job, known, err := s.job()
	if err != nil {
		return result{}, err
	}
	if !known {
		return s.whileUnknown()
	}
	s.note(job)
	if job.Reason == reasonJobLost {
		return s.failed(api.FailureInfrastructure, reasonJobLost,
			"job %s has vanished: neither squeue nor accounting knows it, and its folder holds no sign of its end; it is not submitted again", job.ID)
	}
	switch job.State.Stage() {
	case slurmadapter.StageEnded:
		return s.jobEnded(job)
	case slurmadapter.StageWaiting:
		return s.waiting(job)
	default:
		return s.onNodes()
	}
}

// whileUnknown goes by the lead alone while Slurm does not tell: the job goes on.
func (s *allocationPass) whileUnknown() (result, error) {
	if s.a.Status.Phase == api.AllocationQueued && !node.Exists(node.Folder(s.a.Status.Folder).Lead()) {
		return result{after: time.Minute}, nil // the next look that succeeds wakes this Allocation
	}
	if res, err := s.lead(false); err != nil || s.a.Status.Phase == api.AllocationReleasing {
		return res, err
	}
	return result{after: time.Second}, nil
}

// note keeps what Slurm says in the status.
func (s *allocationPass) note(job slurmadapter.Job) {
	explained := slurmadapter.Explain(job.Reason)
	st := &api.JobStatus{State: string(job.State), Reason: job.Reason, ExitCode: job.ExitCode, Nodes: job.Nodes}
	if !job.Started.IsZero() {
		at := metav1.NewTime(job.Started)
		if job.State.Stage() == slurmadapter.StageWaiting {
			st.EstimatedStart = &at
		} else {
			st.StartTime = &at
		}
	}
	if old := s.a.Status.Job; old != nil && st.StartTime == nil {
		st.StartTime, st.Nodes = old.StartTime, cmp.Or(st.Nodes, old.Nodes) // Slurm forgets it with the job: what was spent is counted from it
	}
	if !job.Ended.IsZero() && job.State.Stage() == slurmadapter.StageEnded {
		at := metav1.NewTime(job.Ended)
		st.EndTime = &at
	}
	if job.State.Stage() == slurmadapter.StageWaiting {
		st.Explanation = explained.Text
	}
	s.a.Status.Job = st
}

// waiting tells why the job pends.
func (s *allocationPass) waiting(job slurmadapter.Job) (result, error) {
	a := s.a
	if a.Status.Phase != api.AllocationQueued {
		return s.failed(api.FailureInfrastructure, "JobRequeued",
			"job %s was put back into the queue after it had started (%s); its results would mix two starts, so it is cancelled", job.ID, job.Reason)
	}
	if job.Held() && !a.Spec.Release {
		// Released by us and held again by its owner's hand: that is respected, and said.
		a.Status.Message = fmt.Sprintf("job %s is held: `scontrol release %s` lets it go", job.ID, job.ID)
	} else {
		a.Status.Message = fmt.Sprintf("job %s is queued: %s", job.ID, a.Status.Job.Explanation)
		if at := a.Status.Job.EstimatedStart; at != nil {
			a.Status.Message += fmt.Sprintf("; Slurm expects it to start at %s", at.Format(time.DateTime))
		}
	}
	explained := slurmadapter.Explain(job.Reason)
	reason := reasonWord(job.Reason)
	s.condition(api.ConditionQueued, metav1.ConditionTrue, reason, a.Status.Message)
	if explained.Never {
		message := fmt.Sprintf("job %s can never start as it is: %s (Slurm: %s)", job.ID, explained.Text, job.Reason)
		s.condition(api.ConditionSchedulable, metav1.ConditionFalse, reason, message)
		s.tell("NeverStarts", message)
	} else {
		s.condition(api.ConditionSchedulable, metav1.ConditionTrue, "Waiting", "nothing is known that keeps it from starting")
	}
	if limit := a.Spec.Timeouts.Queue; limit != nil && a.Status.PhaseSince != nil && time.Since(a.Status.PhaseSince.Time) > limit.Duration {
		return s.failed(api.FailureUser, "QueueTimeout", "job %s pended for over %s (timeouts.queue): %s", job.ID, limit.Duration, a.Status.Job.Explanation)
	}
	return result{after: time.Minute}, nil
}

// reasonWord makes a condition's reason of Slurm's: CamelCase, without what may follow.
func reasonWord(reason string) string {
	word := ""
	for _, r := range reason {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			word += string(r)
		} else if r == ',' || r == ':' {
			break
		}
	}
	if word == "" || word[0] >= '0' && word[0] <= '9' {
		return "Pending"
	}
	return word
}

func (s *allocationPass) onNodes() (result, error) {
	if s.a.Status.Phase == api.AllocationQueued {
		if since := s.a.Status.PhaseSince; since != nil {
			wait := time.Since(since.Time)
			if at := s.a.Status.Job.StartTime; at != nil {
				wait = at.Sub(since.Time) // that may be long ago
			}
			s.queued = max(time.Second, wait)
		}
		s.enter(api.AllocationStarting, fmt.Sprintf("job %s has started on %s", s.a.Status.JobID, s.a.Status.Job.Nodes))
		s.condition(api.ConditionQueued, metav1.ConditionFalse, "Started", s.a.Status.Message)
		return result{}, nil
	}
	return s.lead(true)
}

// lead takes over what the lead says. A lead that says nothing for long, while its job is on nodes, is gone.
func (s *allocationPass) lead(jobRuns bool) (result, error) {
	a := s.a
	status, silent, err := s.leads.lead(s.ctx, s.poller, a)
	if errors.Is(err, node.ErrNotYet) {
		limit := a.Spec.Timeouts.Start.Duration + s.poller.spec.VisibilityTimeout.Duration
		if jobRuns && time.Since(s.since()) > limit {
			return s.failed(api.FailureInfrastructure, "AgentsMissing",
				"job %s runs, but its lead has given no sign for %s: see %s", a.Status.JobID, limit, node.Folder(a.Status.Folder).Output())
		}
		return result{after: followPoll}, nil
	}
	if err != nil {
		return result{}, err
	}
	if jobRuns && silent > leadSilent {
		return s.failed(api.FailureInfrastructure, "LeadLost", "the lead of job %s has given no sign for %s", a.Status.JobID, silent.Round(time.Second))
	}
	s.takeOver(status)
	if f := status.Failure; status.Phase == node.LeadFailed && f != nil && f.Reason != node.ReasonJobEnded {
		if s.a.Status.Failure == nil {
			s.a.Status.Failure = f
		}
		return s.failed(f.Class, f.Reason, "%s", f.Message)
	}
	return result{after: followPoll}, nil
}

// takeOver takes over what the lead says. The phase only goes forward.
func (s *allocationPass) takeOver(status node.LeadStatus) {
	a := s.a
	if len(status.Nodes) > 0 {
		a.Status.Nodes = status.Nodes
	}
	a.Status.Order = max(a.Status.Order, status.Order)
	a.Status.Pushgateway = cmp.Or(status.Pushgateway, a.Status.Pushgateway)
	if len(status.Servers) > 0 && (status.Phase == node.LeadReady || status.Phase == node.LeadEnding) {
		a.Status.Servers = status.Servers
	}
	switch {
	case status.Phase == node.LeadReady && a.Status.Phase != api.AllocationReady:
		s.enter(api.AllocationReady, fmt.Sprintf("%d of %d servers are healthy and prepared", len(status.Servers), len(status.Servers)))
	case status.Phase == node.LeadPreparing && a.Status.Phase == api.AllocationStarting:
		s.enter(api.AllocationPreparing, status.Message)
	case status.Phase == node.LeadPreparing && a.Status.Phase == api.AllocationPreparing:
		if stage(status.Message) != stage(a.Status.Message) {
			s.events = append(s.events, event{api.EventNormal, "Preparing", status.Message})
		}
		a.Status.Message = status.Message
	case status.Phase == node.LeadStarting && a.Status.Phase == api.AllocationStarting:
		a.Status.Message = status.Message
	}
}

var figures = regexp.MustCompile(`[0-9.]+`)

// stage is a message without its figures: a pull that comes on is told by the status, one that begins by an event.
func stage(message string) string { return figures.ReplaceAllString(message, "") }

// jobEnded settles what the end of the job means. The lead's own record of why counts for more than Slurm's code.
func (s *allocationPass) jobEnded(job slurmadapter.Job) (result, error) {
	a := s.a
	if status, _, err := s.leads.lead(s.ctx, s.poller, a); err == nil {
		s.takeOverEnd(status)
	}
	var exit node.ExitRecord
	err := node.ReadJSON(node.Folder(a.Status.Folder).Exit(), &exit)
	// The lead's last words may take their time through a network file system.
	if err != nil && a.Status.Failure == nil && leavesWords(job) {
		if a.Status.EndedSince == nil {
			now := metav1.Now()
			a.Status.EndedSince = &now
		}
		if time.Since(a.Status.EndedSince.Time) < s.poller.spec.VisibilityTimeout.Duration {
			return result{after: time.Second}, nil
		}
	}
	switch {
	case a.Status.Failure != nil:
	case err == nil && exit.Reason != node.ExitFailed && (job.State == slurmadapter.Completed || job.State == slurmadapter.Failed):
		s.end(fmt.Sprintf("job %s ended: %s", job.ID, exit.Reason))
		return result{}, nil
	case job.State == slurmadapter.Cancelled && job.Nodes != "" && !node.Exists(node.Folder(a.Status.Folder).Claim()):
		// How 22.05 tells of a prolog that failed: the job had its nodes, and the script never ran.
		a.Status.Failure = &api.Outcome{
			Result: api.ResultFailed, Class: api.FailureInfrastructure, Reason: "LaunchFailed",
			Message: fmt.Sprintf("job %s was given nodes (%s), but its script never ran: Slurm could not launch it there", job.ID, job.Nodes),
		}
	default:
		f := endFailure(job)
		if f.Reason == reasonJobCancelled && sweepOf(a) != "" {
			// Its sweep goes on until it is suspended; what was under way is measured again.
			f.Class, f.Message = api.FailureInfrastructure, fmt.Sprintf("job %s was cancelled by somebody (%s), not by benchd: to end the sweep, suspend or delete it", job.ID, job.Raw)
		}
		a.Status.Failure = &f
	}
	s.end("")
	return result{}, nil
}

// leavesWords says whether a job that ended so had a lead that could write why.
func leavesWords(job slurmadapter.Job) bool {
	switch job.State {
	case slurmadapter.Completed, slurmadapter.Failed, slurmadapter.Cancelled:
		return job.Nodes != ""
	}
	return false
}

func (s *allocationPass) takeOverEnd(status node.LeadStatus) {
	if len(status.Nodes) > 0 {
		s.a.Status.Nodes = status.Nodes
	}
	if len(status.Servers) > 0 {
		s.a.Status.Servers = status.Servers
	}
	s.a.Status.Order = max(s.a.Status.Order, status.Order)
	if f := status.Failure; f != nil && f.Reason != node.ReasonJobEnded && s.a.Status.Failure == nil {
		s.a.Status.Failure = f
	}
}

// endFailure says what a job's terminal state means for those who needed it.
func endFailure(job slurmadapter.Job) api.Outcome {
	out := api.Outcome{Result: api.ResultFailed, Class: api.FailureInfrastructure}
	set := func(class api.FailureClass, reason, text string) {
		out.Class, out.Reason, out.Message = class, reason, fmt.Sprintf("job %s %s", job.ID, text)
	}
	switch job.State {
	case slurmadapter.Completed:
		set(api.FailureInfrastructure, "JobEndedEarly", "ended before its work was done")
	case slurmadapter.Cancelled:
		set(api.FailureUser, reasonJobCancelled, "was cancelled by somebody ("+job.Raw+"), not by benchd: apply the run under a new name to repeat it")
	case slurmadapter.Timeout:
		set(api.FailureUser, "TimeLimit", "reached its time limit: raise slurm.timeLimit, or leave it out to have it computed")
	case slurmadapter.NodeFail:
		set(api.FailureInfrastructure, "NodeFail", "lost a node ("+job.Nodes+")")
	case slurmadapter.Preempted, slurmadapter.Revoked:
		set(api.FailureInfrastructure, reasonPreempted, "was preempted by another job")
	case slurmadapter.OutOfMemory:
		set(api.FailureService, "OutOfMemory", "ran out of memory: raise nodes.*.memory")
	case slurmadapter.BootFail, slurmadapter.LaunchFailed:
		set(api.FailureInfrastructure, "BootFail", "could not be started on its nodes ("+string(job.State)+")")
	case slurmadapter.Deadline:
		set(api.FailureUser, "Deadline", "could not start before its deadline")
	default:
		set(api.FailureInfrastructure, "JobFailed", fmt.Sprintf("failed (%s, exit code %s)", job.State, job.ExitCode))
		switch job.ExitCode {
		case fmt.Sprintf("%d:0", claimedExit):
			set(api.FailureInfrastructure, "FolderClaimed", "found its folder claimed by an earlier start")
		case fmt.Sprintf("%d:0", moduleExit):
			set(api.FailureUser, "ModuleMissing", "could not load a module: see the job's output and correct slurm.modules")
		}
	}
	return out
}
