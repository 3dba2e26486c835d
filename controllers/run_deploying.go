package controllers

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
)

// deploy waits until the Allocation's servers are healthy and prepared, and tells why that takes as long as it does.
func (s *runPass) deploy() (result, error) {
	a, err := s.bound()
	if err != nil {
		return result{}, err
	}
	if a == nil {
		return s.allocationGone()
	}
	s.attempt().JobID = a.Status.JobID
	if ahead := s.attempt().Order - a.Status.Order - 1; ahead > 0 && !a.Status.Phase.Terminal() {
		// Others go first. What becomes of the Allocation is news for whoever is next.
		s.run.Status.Message = "waits in allocation " + a.Name + " for the runs before it"
		return result{}, nil
	}
	s.mirror(a)
	order, err := s.orderStatus(a)
	if err != nil {
		return result{}, err
	}
	if order != nil && order.Outcome != nil && order.Outcome.Reason == node.ReasonNotStarted {
		s.conclude(*order.Outcome)
		return result{}, nil
	}
	if order != nil {
		// The lead has taken the order up, perhaps long ago: the servers were ready.
		s.condition(api.ConditionDeployed, metav1.ConditionTrue, "ServersReady", "the servers are healthy and prepared")
		s.enter(api.RunMonitoring, "samplers and log collection")
		return result{}, nil
	}
	if a.Status.Phase.Terminal() {
		return s.allocationEnded(a)
	}
	if a.Status.Phase == api.AllocationReady {
		return result{after: followPoll}, nil
	}
	return result{}, nil // the Allocation's next change wakes this run
}

// mirror shows on the run what its user wants to know of the Allocation.
func (s *runPass) mirror(a *api.Allocation) {
	if a.Status.JobID != "" {
		s.condition(api.ConditionScheduled, metav1.ConditionTrue, "JobSubmitted", fmt.Sprintf("job %s of allocation %s", a.Status.JobID, a.Name))
	}
	for _, kind := range []string{api.ConditionClusterReachable, api.ConditionSchedulable, api.ConditionWorkdirWritable} {
		if c := meta.FindStatusCondition(a.Status.Conditions, kind); c != nil {
			s.condition(kind, c.Status, c.Reason, c.Message)
		}
	}
	if a.Status.Message != "" {
		s.run.Status.Message = a.Status.Message
	}
}

// neverBegun says whether the attempt's turn never came, for a reason that was not its own: the lead was at another order, or
// the Allocation of its sweep was given back, or its job cancelled by hand, without anything having failed. Orders of runs that join an
// Allocation together are sealed in any order, so the lead may have been at a later one.
func (s *runPass) neverBegun(a *api.Allocation) bool {
	if s.run.Status.Phase != api.RunDeploying || sweepOf(a) == "" {
		return false
	}
	order, f := a.Status.Order, a.Status.Failure
	return order != s.attempt().Order && (order > 0 || f == nil || f.Reason == reasonJobCancelled)
}

// allocationEnded fails the attempt because its Allocation ended before the order was done. Files may become visible
// late on a network file system, so that is waited for first.
func (s *runPass) allocationEnded(a *api.Allocation) (result, error) {
	p, err := s.clusters.get(s.ctx, a.Spec.Cluster)
	if err != nil {
		return result{}, err
	}
	if at := a.Status.PhaseSince; at != nil && a.Status.Failure == nil && time.Since(at.Time) < p.spec.VisibilityTimeout.Duration {
		return result{after: time.Second}, nil
	}
	if s.neverBegun(a) {
		s.conclude(api.Outcome{
			Result: api.ResultFailed, Class: api.FailureInfrastructure, Reason: node.ReasonNotStarted,
			Message: fmt.Sprintf("allocation %s ended before it was this run's turn: %s", a.Name, a.Status.Message),
		})
		return result{}, nil
	}
	if len(s.attempt().Findings) == 0 {
		s.found(a.Status.Findings)
	}
	outcome := api.Outcome{
		Result: api.ResultFailed, Class: api.FailureInfrastructure, Reason: "AllocationEnded",
		Message: fmt.Sprintf("allocation %s ended before the run was done: %s", a.Name, a.Status.Message),
	}
	if a.Status.Failure != nil {
		outcome = *a.Status.Failure
	}
	s.conclude(outcome)
	return result{}, nil
}
