package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/node/logs"
)

const (
	// collectorPatience bounds the wait for the log collector: a log that is not there yet must not keep the load waiting.
	collectorPatience = 10 * time.Second
	// collectorPoll is how often it is looked whether the collector is ready.
	collectorPoll = 10 * time.Millisecond
)

// logRoot is the folder of all nodes' raw logs.
func logRoot(f node.Folder) string { return filepath.Dir(f.Logs("x")) }

// openLogs starts the attempt's log collector and waits until it follows every log. The flag file is written only then.
func (a *attempt) openLogs(ctx context.Context) error {
	l := &a.order.Logging
	finder, err := logs.NewFinder(l.Rules)
	if err != nil {
		return fail(api.FailureUser, "LoggingNotUsable", "logging.rules: %v", err)
	}
	dir := filepath.Join(a.order.Folder, "logs")
	outputs := logs.Outputs{Stdout: filepath.Join(dir, l.Outputs.Stdout), Stderr: filepath.Join(dir, l.Outputs.Stderr), Compress: l.Compress}
	if *l.JSONL {
		outputs.Aggregated = filepath.Join(dir, l.Outputs.Aggregated)
	}
	labels := map[string]string{"run": a.order.Run.Name, "namespace": a.order.Run.Namespace}
	if l.Forward != nil {
		for name, value := range l.Forward.Labels {
			labels[name] = value
		}
	}
	window := logs.Window{Startup: a.readyAt, From: a.taken, Ahead: map[string]time.Duration{}}
	for i, ahead := range a.clocks(ctx) {
		window.Ahead[a.members[i].Node] = ahead
	}
	collector, err := logs.NewCollector(l.Type, logs.Settings{
		Root: logRoot(a.folder), Window: window, Outputs: outputs,
		FlushInterval: l.FlushInterval.Duration, Forward: l.Forward, Labels: labels, Finder: finder, Log: a.agent.log,
	})
	if err != nil {
		return fail(api.FailureUser, "LoggingNotUsable", "%v", err)
	}
	sources, err := logs.Sources(logRoot(a.folder))
	if err != nil {
		return err
	}
	a.collector, a.finder = collector, finder
	if err := collector.Deploy(sources); err != nil {
		return err
	}
	collector.Start()
	return a.awaitCollector(ctx, filepath.Join(dir, api.LogsReadyFile))
}

func (a *attempt) awaitCollector(ctx context.Context, flag string) error {
	tick := time.NewTicker(collectorPoll)
	defer tick.Stop()
	late := time.After(collectorPatience)
	for !a.collector.Ready() {
		select {
		case <-ctx.Done():
			return a.ended("while its logs were opened")
		case <-late:
			a.agent.log.Warn("not every log could be opened: the load is made all the same", "waited", collectorPatience)
			return nil
		case <-tick.C:
		}
	}
	return node.WriteSealedBytes(flag, []byte(time.Now().UTC().Format(time.RFC3339)+"\n"), 0o600)
}

// closeLogs makes the attempt's logs final, and tells what they hold and which known failures.
func (a *attempt) closeLogs(until time.Time) error {
	if a.collector == nil {
		return nil
	}
	sum, err := a.collector.Stop(until)
	if scriptErr := a.finder.LookAtScript(logRoot(a.folder)); scriptErr != nil {
		a.agent.log.Warn("look at what the job's script printed", "error", scriptErr)
	}
	findings := a.finder.Findings()
	a.publish(func(st *node.OrderStatus) { st.Logs, st.Findings = &sum, findings })
	a.agent.log.Info("logs are collected", "lines", sum.Lines, "stderr_lines", sum.StderrLines, "bytes", sum.Bytes, "nodes", len(sum.Nodes),
		"levels", fmt.Sprint(sum.Levels), "files", sum.Files, "dropped", sum.Dropped, "findings", len(findings))
	return err
}

// explain looks for a known failure among the last lines of the server's processes on this node. It returns nil when there is none.
func (s *server) explain() (*api.LogRule, *api.LogFinding) {
	s.mu.Lock()
	sources := s.sources
	s.mu.Unlock()
	finder, err := logs.NewFinder(s.agent.folder.LogRules())
	if err != nil {
		if finder, err = logs.NewFinder(nil); err != nil {
			return nil, nil
		}
	}
	var errs []error
	for _, source := range sources {
		errs = append(errs, finder.LookAtEnd(logRoot(s.agent.folder), source))
	}
	if err := errors.Join(errs...); err != nil {
		s.agent.log.Warn("look at the server's last lines", "server", s.replica.Name, "error", err)
	}
	return finder.Cause()
}

// unexplained are the reasons in whose place a known failure stands: they say no more than that something went wrong.
var unexplained = map[string]bool{reasonLaunch: true, reasonExited: true, reasonHealth: true, reasonPrepare: true}
