package controllers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/report"
)

// report computes the report from the records and attaches it. It holds no Allocation, can be repeated, and gives the
// same files each time. A failed run gets what report there is.
func (s *runPass) report() (result, error) {
	outcome := s.run.Status.Outcome
	summary, err := s.writeReport()
	switch {
	case err == nil:
		s.run.Status.Summary = summary.Headline()
	case errors.Is(err, fs.ErrNotExist) && outcome.Result != api.ResultSucceeded:
		// It failed before there were records; its logs and this status tell the story.
	default:
		if _, message, is := fileProblem(err); is {
			err = errors.New(message)
		}
		if time.Since(s.since()) < s.run.Spec.Timeouts.Report.Duration {
			s.tell("ReportDelayed", err.Error())
			return result{after: 2 * time.Second}, nil
		}
		s.condition(api.ConditionReported, metav1.ConditionFalse, "ReportFailed", err.Error())
		s.finish(api.RunFailed, fmt.Sprintf("the report could not be made: %v", err))
		return result{}, nil
	}
	if err := s.writeLock(); err != nil {
		s.tell("LockNotWritten", err.Error()) // the numbers stand without it
	}
	files, err := report.List(s.attempt().Folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return result{}, err
	}
	s.run.Status.Reports = files
	s.condition(api.ConditionReported, metav1.ConditionTrue, "FilesAttached", fmt.Sprintf("%d files", len(files)))
	switch outcome.Result {
	case api.ResultSucceeded:
		s.finish(api.RunCompleted, "completed: "+s.run.Status.Summary.Verdict)
	case api.ResultCancelled:
		s.finish(api.RunCancelled, outcome.Message)
	default:
		s.finish(api.RunFailed, fmt.Sprintf("%s: %s", outcome.Reason, outcome.Message))
	}
	return result{}, nil
}

func (s *runPass) finish(phase api.RunPhase, message string) {
	now := metav1.Now()
	s.run.Status.CompletionTime = &now
	s.enter(phase, message)
}

func (s *runPass) writeReport() (*report.Summary, error) {
	attempt := s.attempt()
	if attempt.Folder == "" {
		return nil, fs.ErrNotExist
	}
	spec := &s.run.Spec
	ranks := dealRoles(&spec.Nodes, &spec.Service)
	clients, shared := 0, false
	for _, roles := range ranks {
		if slices.Contains(roles, node.RoleClient) {
			clients++
			shared = shared || slices.Contains(roles, node.RoleServer)
		}
	}
	in := report.Input{
		Run: s.run.Name, UID: string(s.run.UID), Service: spec.Service.Name, Model: spec.Service.Model, Version: s.version,
		Attempt: attempt.Number, Clients: clients, ClientsOnServers: shared, Interrupted: cutShort(s.run.Status.Outcome),
		Limits: spec.Verdict, ClockUncertainty: attempt.ClockUncertainty,
	}
	if owner := metav1.GetControllerOfNoCopy(s.run); owner != nil && owner.Kind == api.KindBenchmarkSweep {
		in.Sweep = owner.Name
		if err := json.Unmarshal([]byte(s.run.Annotations[api.AnnotationParameters]), &in.Parameters); err != nil {
			s.tell("ParametersUnreadable", fmt.Sprintf("annotation %s: %v: the report is made without them", api.AnnotationParameters, err))
		}
	}
	story := report.Story{
		Spec: *spec, Phases: attempt.Phases, JobID: attempt.JobID, Outcome: s.run.Status.Outcome, Folder: attempt.Folder,
		Findings: attempt.Findings,
	}
	if n := len(attempt.Phases); n > 0 {
		story.End = attempt.Phases[n-1].Since.Time
	}
	if a, err := s.bound(); err == nil && a != nil {
		story.Nodes = a.Status.Nodes
		story.JobStart, story.AgentsUp = startOf(a)
	}
	if m := &spec.Monitoring; *m.Enabled && attempt.LoadStart != nil {
		in.Samples, in.SampleSeconds, in.Start = m.Output, m.Interval.Seconds(), attempt.LoadStart.Time
		in.ServerNodes, in.Elsewhere = serving(spec.Service.Endpoints, story.Nodes)
	}
	summary, err := report.Make(attempt.Folder, in, story)
	if errors.Is(err, fs.ErrNotExist) && s.run.Status.Outcome.Result != api.ResultSucceeded {
		err = errors.Join(err, report.Prepare(attempt.Folder, in, story)) // of a failure there is a story to tell, if no numbers
	}
	return summary, err
}

// cutShort says whether a load did not come to its planned end.
func cutShort(o *api.Outcome) bool {
	return o.Result != api.ResultSucceeded && o.Reason != node.ReasonNoRequestSucceeded
}

// startOf is when an Allocation's job left the queue, and when the last of its nodes had an agent; zero where that is not known.
func startOf(a *api.Allocation) (job, agents time.Time) {
	if st := a.Status.Job; st != nil && st.StartTime != nil {
		job = st.StartTime.Time
	}
	folder := node.Folder(a.Status.Folder)
	for _, n := range a.Status.Nodes {
		var agent node.AgentRecord
		if node.ReadJSON(folder.Agent(int(n.Rank)), &agent) != nil {
			return job, time.Time{}
		}
		if agent.Started.After(agents) {
			agents = agent.Started
		}
	}
	return job, agents
}

// serving are the nodes that servers run on. Those that run already, at endpoints, may be elsewhere; at an endpoint such as localhost
// nobody knows which node's they are, and there are none.
func serving(endpoints []string, nodes []api.NodeStatus) (names []string, elsewhere bool) {
	hosts := map[string]bool{}
	for _, endpoint := range endpoints {
		u, err := url.Parse(endpoint)
		if err != nil {
			return nil, false
		}
		host := u.Hostname()
		if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
			return nil, false
		}
		hosts[host] = true
	}
	for _, n := range nodes {
		if slices.Contains(n.Roles, node.RoleServer) || hosts[n.Name] || hosts[n.Address] {
			names = append(names, n.Name)
		}
	}
	return names, len(endpoints) > 0 && len(names) == 0
}
