package controllers

import (
	"fmt"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
)

// rank orders the phases that a lead carries an order through.
var rank = map[api.RunPhase]int{api.RunMonitoring: 1, api.RunLaunching: 2, api.RunExecuting: 3, api.RunTearingDown: 4}

// monitor follows the order while samplers and log collection are opened for it.
func (s *runPass) monitor() (result, error) {
	return s.follow(api.RunLaunching, "handing the load to the clients", s.run.Spec.Timeouts.Launch.Duration)
}

// launch follows the order while the clients are checked and given their shares.
func (s *runPass) launch() (result, error) {
	return s.follow(api.RunExecuting, "the load is being made", s.run.Spec.Timeouts.Launch.Duration)
}

// execute follows the order while the load is made, and shows its progress.
func (s *runPass) execute() (result, error) {
	w := &s.run.Spec.Workload
	planned := w.Warmup.Duration + w.Duration.Duration + w.Drain.Duration
	return s.follow(api.RunTearingDown, "", planned+s.run.Spec.Timeouts.Execution.Duration)
}

// follow goes on to the next phase when the lead has, one phase at a time even when the lead is far ahead, and gives up
// when nothing moves within the limit. The lead keeps the same limits; this one is for a lead that fell silent.
func (s *runPass) follow(next api.RunPhase, message string, limit time.Duration) (result, error) {
	a, err := s.bound()
	if err != nil {
		return result{}, err
	}
	if a == nil {
		return s.allocationGone()
	}
	order, err := s.orderStatus(a)
	if err != nil {
		return result{}, err
	}
	if order != nil {
		s.run.Status.Progress = order.Progress
		s.attempt().ReadyToFirstRequest = order.ReadyToFirstRequest
		s.attempt().ClockUncertainty, s.attempt().LoadStart = order.ClockUncertainty, order.LoadStart
		if rank[order.Phase] >= rank[next] || order.Outcome != nil {
			if next == api.RunTearingDown || order.Outcome != nil && rank[order.Phase] < rank[next] {
				return s.taken(a, order)
			}
			s.enter(next, message)
			return result{}, nil
		}
	}
	if a.Status.Phase.Terminal() {
		return s.allocationEnded(a)
	}
	if stuck := time.Since(s.since()); stuck > limit+graceTime+leadSilent {
		s.conclude(api.Outcome{
			Result: api.ResultFailed, Class: api.FailureInfrastructure, Reason: string(s.run.Status.Phase) + "Timeout",
			Message: fmt.Sprintf("%s has not ended within %s, and the lead says nothing new", s.run.Status.Phase, stuck.Round(time.Second)),
		})
		return result{}, nil
	}
	s.mirrorOutage(a)
	return result{after: followPoll}, nil
}

// mirrorOutage shows an outage of the cluster; the job goes on all the same.
func (s *runPass) mirrorOutage(a *api.Allocation) {
	message := s.run.Status.Message
	s.mirror(a)
	s.run.Status.Message = message
}

// taken takes the lead's outcome over. An order whose outcome is not there yet is about to have one. Of a job that was
// ended from outside the lead does not know why: the Allocation, which knows what Slurm says, decides.
func (s *runPass) taken(a *api.Allocation, order *node.OrderStatus) (result, error) {
	switch {
	case order.Outcome == nil:
		return result{after: followPoll}, nil
	case order.Outcome.Reason != node.ReasonJobEnded:
		s.conclude(*order.Outcome)
		return result{}, nil
	case a.Status.Phase.Terminal():
		return s.allocationEnded(a)
	}
	return result{after: time.Second}, nil
}
