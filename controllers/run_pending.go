package controllers

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// accept begins a new run's first attempt.
func (s *runPass) accept() (result, error) {
	now := metav1.Now()
	s.run.Status.StartTime = &now
	s.newAttempt()
	s.enter(api.RunPending, "to be bound to an allocation")
	return result{}, nil
}

func (s *runPass) newAttempt() {
	s.run.Status.Attempts = append(s.run.Status.Attempts, api.Attempt{Number: int32(len(s.run.Status.Attempts)) + 1})
	s.run.Status.Progress = nil
}

// pending waits for the planner to bind the attempt to an Allocation.
func (s *runPass) pending() (result, error) {
	a, err := s.bound()
	if err != nil {
		return result{}, err
	}
	if a == nil {
		if ref := s.run.Status.AllocationRef; ref != nil && ref.Attempt == s.attempt().Number {
			return s.allocationGone()
		}
		return result{}, nil
	}
	s.attempt().Allocation = a.Name
	s.enter(api.RunInitializing, "preparing the attempt's folder and order")
	return result{}, nil
}

// retryDelay is how long the run waits before attempt n: doubled each time, so that a broken site is not flooded.
func retryDelay(n int) time.Duration {
	return min(5*time.Minute, time.Second<<min(n, 10))
}
