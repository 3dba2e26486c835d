package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/slurmadapter"
	"github.com/benchd/benchd/store"
)

// A node on which jobs were lost again and again is left out of later ones for a while. Slurm drains what it sees fail; this is
// for what it does not see: a node that answers slurmctld and loses its processes or its network to the others.
const (
	// suspectWindow is how long a failure counts.
	suspectWindow = 24 * time.Hour
	// suspectAfter is how many failures within it leave a node out.
	suspectAfter = 2
	// suspectPause is how long at first; it doubles with each further failure.
	suspectPause = time.Hour
	// maxSuspects bounds what is kept of a cluster.
	maxSuspects = 200
)

// blame notes on the Cluster object that a node failed an Allocation, in the transaction that ends it.
func blame(tx *store.Tx, a *api.Allocation, now time.Time) error {
	f := a.Status.Failure
	if f == nil || f.Node == "" || f.Class != api.FailureInfrastructure {
		return nil
	}
	obj, err := tx.Get(api.KindCluster, "", a.Spec.Cluster)
	c, ok := obj.(*api.Cluster)
	if err != nil || !ok {
		return ignoreGone(err)
	}
	until := noteFailure(&c.Status, f, now)
	if err := tx.PutStatus(c); err != nil {
		return err
	}
	if until == nil {
		return nil
	}
	return tx.Event(c, api.EventWarning, "NodeLeftOut", fmt.Sprintf("node %s failed jobs again and again (last: %s): it is left out of new ones until %s", f.Node, f.Reason, until.Format(time.DateTime)))
}

// noteFailure counts a failure, and returns until when its node is left out, nil when it is not.
func noteFailure(st *api.ClusterStatus, f *api.Outcome, now time.Time) *metav1.Time {
	at := slices.IndexFunc(st.Suspects, func(s api.SuspectNode) bool { return s.Node == f.Node })
	if at < 0 {
		if len(st.Suspects) >= maxSuspects {
			st.Suspects = st.Suspects[1:]
		}
		st.Suspects = append(st.Suspects, api.SuspectNode{Node: f.Node})
		at = len(st.Suspects) - 1
	}
	s := &st.Suspects[at]
	s.Failures = append(s.Failures, metav1.NewTime(now))
	s.Failures = slices.DeleteFunc(s.Failures, func(t metav1.Time) bool { return now.Sub(t.Time) > suspectWindow })
	s.Reason = f.Reason + ": " + f.Message
	if n := len(s.Failures); n >= suspectAfter {
		until := metav1.NewTime(now.Add(min(suspectWindow, suspectPause<<min(n-suspectAfter, 10))))
		s.Until = &until
		return &until
	}
	return nil
}

// leftOut are the nodes of a cluster that new jobs are to avoid.
func leftOut(st *api.ClusterStatus, now time.Time) []string {
	var nodes []string
	for _, s := range st.Suspects {
		if s.Until != nil && now.Before(s.Until.Time) {
			nodes = append(nodes, s.Node)
		}
	}
	slices.Sort(nodes)
	return nodes
}

// avoid adds the nodes that are left out to those that the job must not use; none that its user asked for by name.
func (s *allocationPass) avoid(ctx context.Context, spec *slurmadapter.JobSpec) error {
	if s.poller.spec.Type == api.ClusterEmbedded || spec.Nodelist != "" {
		return nil
	}
	c, err := s.clusters.object(ctx, s.a.Spec.Cluster)
	if err != nil {
		return err
	}
	nodes := leftOut(&c.Status, time.Now())
	if len(nodes) == 0 {
		return nil
	}
	list := strings.Join(nodes, ",")
	s.events = append(s.events, event{api.EventNormal, "NodesLeftOut", fmt.Sprintf("without %s, which failed jobs again and again: see `benchd describe cluster %s`", list, c.Name)})
	spec.Exclude = strings.Trim(spec.Exclude+","+list, ",")
	return nil
}
