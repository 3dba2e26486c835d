package controllers

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
)

// tearDown waits until the lead has brought everything into the attempt's folder, and then goes on to the next attempt
// or to the report. It never touches servers: they are the Allocation's.
func (s *runPass) tearDown() (result, error) {
	a, err := s.bound()
	if err != nil {
		return result{}, err
	}
	done, err := s.orderClosed(a)
	if err != nil {
		s.tell("TeardownProblem", err.Error()) // the limit below bounds it
	}
	limit := s.run.Spec.Timeouts.Teardown.Duration
	if !done && time.Since(s.since()) < limit {
		return result{after: followPoll}, nil
	}
	if !done {
		s.tell("TeardownTimeout", fmt.Sprintf("the lead did not finish within %s; going on with what there is", limit))
	}
	if s.retries() {
		return s.again()
	}
	if s.run.Status.Outcome == nil { // the last attempt that could have been repeated was cancelled meanwhile
		final := *s.attempt().Outcome
		s.run.Status.Outcome = &final
	}
	s.enter(api.RunReporting, "computing the report from the records")
	return result{}, nil
}

// orderClosed says whether nothing more will be written to the attempt's folder. An order that is under way and was
// cancelled is told so.
func (s *runPass) orderClosed(a *api.Allocation) (bool, error) {
	if a == nil {
		return true, nil
	}
	order, err := s.orderStatus(a)
	if err != nil {
		return false, err
	}
	number := s.attempt().Order
	if order != nil && order.Done {
		s.attempt().Logs = order.Logs
		s.found(order.Findings)
		return true, nil
	}
	if a.Status.Phase.Terminal() {
		return true, nil
	}
	if number == 0 || a.Status.Folder == "" {
		return true, nil
	}
	folder := node.Folder(a.Status.Folder)
	if (order == nil || order.Outcome == nil) && !node.Exists(folder.OrderCancel(number)) {
		err := node.WriteSealedBytes(folder.OrderCancel(number), []byte("cancelled\n"), 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil // the whole folder is gone
		}
		return false, err
	}
	// The lead looks for the cancellation once it has shown that it takes an order up: one that has not been taken up by now
	// never is.
	return order == nil, nil
}

// again begins the next attempt, after a pause that grows with their number.
func (s *runPass) again() (result, error) {
	failed := s.attempt().Outcome
	n := len(s.run.Status.Attempts)
	if failed.Reason == node.ReasonNotStarted {
		n = s.inVain()
	}
	atOnce := failed.Class == api.FailureWorkload || failed.Reason == node.ReasonNotStarted && n < maxInVain
	if wait := retryDelay(n) - time.Since(s.since()); wait > 0 && !atOnce {
		return result{after: wait}, nil
	}
	s.newAttempt()
	for _, kind := range []string{api.ConditionScheduled, api.ConditionDeployed} {
		s.condition(kind, metav1.ConditionFalse, "NextAttempt", "the next attempt begins anew")
	}
	previous := s.run.Status.Attempts[len(s.run.Status.Attempts)-2].Outcome
	s.enter(api.RunPending, fmt.Sprintf("attempt %d (%d of %d repeats are used), after %s: %s",
		len(s.run.Status.Attempts), s.failures(), *s.run.Spec.BackoffLimit, previous.Reason, previous.Message))
	return result{}, nil
}

// maxInVain is how often in a row an attempt may never come to its turn before the next one waits as if it had failed: somebody who
// cancels every job must not be raced.
const maxInVain = 3

// inVain counts the latest attempts that never came to their turn.
func (s *runPass) inVain() int {
	n := 0
	for _, a := range slices.Backward(s.run.Status.Attempts) {
		if a.Outcome == nil || a.Outcome.Reason != node.ReasonNotStarted {
			break
		}
		n++
	}
	return n
}
