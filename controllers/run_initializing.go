package controllers

import (
	"path/filepath"

	"sigs.k8s.io/yaml"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
)

// initialize makes the attempt's folder, keeps the exact spec in it, and writes the order into the Allocation's folder,
// before the job is even submitted: the job can then go its whole way alone.
func (s *runPass) initialize() (result, error) {
	a, err := s.bound()
	if err != nil {
		return result{}, err
	}
	if a == nil {
		return s.allocationGone()
	}
	p, err := s.clusters.get(s.ctx, a.Spec.Cluster)
	if err != nil {
		s.tell("ClusterNotUsable", err.Error())
		return result{after: busyRetry}, nil
	}
	attempt := s.attempt()
	attempt.Folder = attemptFolder(p.workdir(), s.run, attempt.Number)
	s.run.Status.Folder = attempt.Folder
	folder := allocationFolder(p.workdir(), a)
	number, err := s.writeOrder(folder)
	if reason, message, is := workdirProblem(&s.run.Status.Conditions, err); is {
		s.tell(reason, message)
		return result{after: fileRetry}, nil
	}
	if err != nil {
		return result{}, err
	}
	attempt.Order = number
	s.enter(api.RunDeploying, "waiting for the allocation's servers")
	return result{}, nil
}

// writeOrder seals the attempt's order.
func (s *runPass) writeOrder(folder node.Folder) (int32, error) {
	attempt := s.attempt()
	if err := ensureDir(attempt.Folder); err != nil {
		return 0, err
	}
	if err := ensureDir(folder.Orders()); err != nil {
		return 0, err
	}
	kept := api.BenchmarkRun{TypeMeta: s.run.TypeMeta, Spec: s.run.Spec}
	kept.Name, kept.Namespace, kept.Labels, kept.UID = s.run.Name, s.run.Namespace, s.run.Labels, s.run.UID
	spec, err := yaml.Marshal(struct {
		api.BenchmarkRun `json:",inline"`
		Status           *struct{} `json:"status,omitempty"`
	}{BenchmarkRun: kept})
	if err != nil {
		return 0, err
	}
	if err := node.WriteSealedBytes(filepath.Join(attempt.Folder, "spec.yaml"), spec, 0o600); err != nil {
		return 0, err
	}
	// The planner alone gives out numbers, each once: an order that is there is this one, written by an earlier pass.
	number := s.run.Status.AllocationRef.Order
	if node.Exists(folder.Order(number)) {
		return number, nil
	}
	w := &s.run.Spec
	return number, node.WriteSealed(folder.Order(number), node.Order{
		Protocol: node.ProtocolVersion, Number: number, Attempt: attempt.Number, Folder: attempt.Folder,
		Run:      api.ObjectRef{Kind: api.KindBenchmarkRun, Namespace: s.run.Namespace, Name: s.run.Name, UID: string(s.run.UID)},
		Workload: w.Workload, Monitoring: w.Monitoring, Logging: w.Logging, Timeouts: w.Timeouts, Seed: s.seed(),
		MayRepeat: s.failures() < *w.BackoffLimit,
	})
}

// allocationGone fails the attempt whose Allocation was deleted under it. A run of a sweep that had not begun goes to the next one.
func (s *runPass) allocationGone() (result, error) {
	outcome := api.Outcome{
		Result: api.ResultFailed, Class: api.FailureInfrastructure, Reason: "AllocationDeleted",
		Message: "the allocation that the attempt was bound to was deleted",
	}
	if sweepOf(s.run) != "" && !hadTurn(s.run) {
		outcome.Reason, outcome.Message = node.ReasonNotStarted, outcome.Message+" before it was this run's turn"
	}
	s.conclude(outcome)
	return result{}, nil
}
