package controllers

import (
	"context"
	"errors"
	"time"

	"github.com/benchd/benchd/slurmadapter"
)

// measured is a cluster whose calls are timed and counted.
type measured struct {
	Cluster
	name    string
	metrics *metrics
}

// reasons are the words for the errors of a cluster, as its metrics name them.
var reasons = []struct {
	err  error
	word string
}{
	{slurmadapter.ErrOutage, "outage"},
	{slurmadapter.ErrBusy, "busy"},
	{slurmadapter.ErrRejected, "rejected"},
	{slurmadapter.ErrNotFound, "not_found"},
	{slurmadapter.ErrMissing, "missing"},
}

// called notes a call that has ended. One that was called off is none.
func (m *measured) called(ctx context.Context, call string, begun time.Time, err error) {
	if ctx.Err() != nil {
		return
	}
	m.metrics.calls.WithLabelValues(m.name, call).Observe(time.Since(begun).Seconds())
	if err == nil {
		return
	}
	word := "other"
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			word = r.word
			break
		}
	}
	m.metrics.callErrors.WithLabelValues(m.name, call, word).Inc()
}

func (m *measured) Submit(ctx context.Context, spec slurmadapter.JobSpec) (id string, err error) {
	defer func(begun time.Time) { m.called(ctx, "submit", begun, err) }(time.Now())
	return m.Cluster.Submit(ctx, spec)
}

func (m *measured) Release(ctx context.Context, id string) (err error) {
	defer func(begun time.Time) { m.called(ctx, "release", begun, err) }(time.Now())
	return m.Cluster.Release(ctx, id)
}

func (m *measured) Cancel(ctx context.Context, id string) (err error) {
	defer func(begun time.Time) { m.called(ctx, "cancel", begun, err) }(time.Now())
	return m.Cluster.Cancel(ctx, id)
}

func (m *measured) List(ctx context.Context) (jobs []slurmadapter.Job, err error) {
	defer func(begun time.Time) { m.called(ctx, "list", begun, err) }(time.Now())
	return m.Cluster.List(ctx)
}

func (m *measured) Lookup(ctx context.Context, id string, since time.Time) (job slurmadapter.Job, err error) {
	defer func(begun time.Time) { m.called(ctx, "lookup", begun, err) }(time.Now())
	return m.Cluster.Lookup(ctx, id, since)
}

func (m *measured) Details(ctx context.Context, id string) (details map[string]string, err error) {
	defer func(begun time.Time) { m.called(ctx, "details", begun, err) }(time.Now())
	return m.Cluster.Details(ctx, id)
}

func (m *measured) Info(ctx context.Context) (info slurmadapter.Info, err error) {
	defer func(begun time.Time) { m.called(ctx, "info", begun, err) }(time.Now())
	return m.Cluster.Info(ctx)
}
