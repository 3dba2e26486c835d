package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
)

// partState is what a node says of its part of a server.
type partState struct {
	node.ServerState
	node string
}

// serverStates asks the agents about their servers. A failed server, or a node that has not answered for long, is a
// failure of the job. Asking also is the sign of life that members wait for.
func (l *lead) serverStates(ctx context.Context) ([]partState, error) {
	states, err := l.askServers(ctx)
	if err != nil {
		return nil, err
	}
	if failed(states) != nil {
		if f := l.blame(ctx, fail(api.FailureService, reasonExited, "a server failed")); f.Reason != reasonExited {
			return nil, f
		}
		// What failed first may have taken others with it, and may be heard of last: a node that is silent, once it counts as lost.
		again, err := l.askServers(ctx)
		for err == nil && l.silent() {
			_ = pause(ctx) // the next question tells of an end
			again, err = l.askServers(ctx)
		}
		if err != nil {
			return nil, err
		}
		if f := failed(again); f != nil {
			return nil, f
		}
		return nil, failed(states)
	}
	var ready []api.ServerStatus
	for _, s := range states {
		if s.State == node.ServerReady && s.Part == 0 {
			ready = append(ready, api.ServerStatus{
				Name: s.Name, Node: s.node, URL: s.URL, Version: s.Version, Model: s.Model, Command: s.Command, Env: s.Env,
			})
		}
	}
	l.set(func(st *node.LeadStatus) {
		if len(ready) >= len(st.Servers) && len(ready) > 0 {
			st.Servers = ready
		}
	})
	return states, nil
}

func (l *lead) askServers(ctx context.Context) ([]partState, error) {
	var states []partState
	for _, m := range l.members {
		st, err := m.status(ctx)
		if ctx.Err() != nil {
			return nil, l.ended("while its servers were in use")
		}
		if err != nil {
			if silent := time.Since(m.missing); silent > memberLost {
				return nil, fail(api.FailureInfrastructure, "NodeLost", "node %s has not answered for %s: %v", m.Node, silent.Round(time.Second), err).on(m.Node)
			}
			continue
		}
		for _, s := range st.Servers {
			states = append(states, partState{s, m.Node})
		}
	}
	return states, nil
}

// silent says whether a node with servers does not answer.
func (l *lead) silent() bool {
	return slices.ContainsFunc(l.withRole(node.RoleServer), func(m *member) bool { return !m.missing.IsZero() })
}

// failed is the failure of the server that failed first, nil when none did. Of parts of one server it is one that answers no
// requests, if one of them failed within a moment of the others: it is what the first part waits for or has lost. Those that are not
// up yet when the first part fails are named: their time may end later.
func failed(states []partState) *failure {
	const moment = 3 * time.Second
	var first *partState
	for i, s := range states {
		if s.State != node.ServerFailed && s.State != node.ServerExited {
			continue
		}
		switch {
		case first == nil:
		case s.Name == first.Name && (s.Part == 0) != (first.Part == 0) && s.Since.Sub(first.Since).Abs() < moment:
			if s.Part == 0 {
				continue
			}
		case !s.Since.Before(first.Since):
			continue
		}
		first = &states[i]
	}
	if first == nil {
		return nil
	}
	role := ""
	if first.Part > 0 {
		role = fmt.Sprintf(" (node %d of the server)", first.Part+1)
	}
	waits := ""
	for _, s := range states {
		if first.Part == 0 && s.Name == first.Name && s.Part > 0 && s.State == node.ServerStarting {
			waits += fmt.Sprintf("; %s (node %d of the server) is not up: %s", s.node, s.Part+1, s.Message)
		}
	}
	return fail(cmp.Or(first.Class, api.FailureService), first.Reason, "server %s on %s%s: %s%s%s", first.Name, first.node, role, first.Message, waits, evidence(first.Evidence))
}

func evidence(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return "; its last lines: " + strings.Join(lines[max(0, len(lines)-3):], " ⏎ ")
}
