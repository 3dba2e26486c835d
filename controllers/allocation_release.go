package controllers

import (
	"fmt"
	"time"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/slurmadapter"
)

// leadEndTime is how long a lead that is ending its job by itself is given before the job is cancelled.
const leadEndTime = 10 * time.Second

// releasing sees to the end of the job. A lead that has worked off its last order is let finish, so that the job ends
// as COMPLETED; else the job is cancelled.
func (s *allocationPass) releasing() (result, error) {
	a := s.a
	job, known, err := s.job()
	if err != nil {
		return result{}, err
	}
	if !known {
		return result{after: time.Second}, nil
	}
	s.note(job)
	if job.State.Stage() == slurmadapter.StageEnded || job.Reason == reasonJobLost {
		s.end(fmt.Sprintf("job %s has ended (%s)", job.ID, job.State))
		return result{}, nil
	}
	if a.Status.Failure == nil && s.leadIsEnding() && time.Since(s.since()) < leadEndTime {
		return result{after: followPoll}, nil
	}
	if err := s.poller.cancel(s.ctx, job.ID); err != nil {
		s.tell("CancelDelayed", err.Error()+"; benchd tries again")
		return result{after: s.poller.spec.PollInterval.Duration + time.Second}, nil
	}
	// Asked again until the job is gone: a cancellation may get lost in an outage.
	return result{after: max(5*time.Second, s.poller.spec.PollInterval.Duration)}, nil
}

// leadIsEnding says whether the lead has worked off its last order and is about to end the job.
func (s *allocationPass) leadIsEnding() bool {
	folder := node.Folder(s.a.Status.Folder)
	if node.Exists(folder.Exit()) {
		return true
	}
	numbers, err := folder.ListOrders()
	if err != nil || len(numbers) == 0 {
		return false
	}
	last := numbers[len(numbers)-1]
	var order node.Order
	var status node.OrderStatus
	return !s.a.Spec.Open && node.ReadJSON(folder.Order(last), &order) == nil &&
		node.ReadJSON(folder.OrderStatus(last), &status) == nil && order.Final(&status)
}
