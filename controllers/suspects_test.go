package controllers

import (
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func TestSuspectNodes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var st api.ClusterStatus
	lost := func(node string, at time.Time) {
		noteFailure(&st, &api.Outcome{Class: api.FailureInfrastructure, Reason: "NodeLost", Node: node}, at)
	}
	check := func(what string, at time.Time, want ...string) {
		t.Helper()
		if got := leftOut(&st, at); len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
			t.Errorf("%s: %v are left out, want %v", what, got, want)
		}
	}
	lost("n1", now)
	check("one failure", now)
	lost("n2", now.Add(time.Minute))
	lost("n1", now.Add(time.Hour))
	check("two failures", now.Add(61*time.Minute), "n1")
	check("an hour later", now.Add(121*time.Minute))
	lost("n1", now.Add(3*time.Hour))
	check("a third one: two hours", now.Add(4*time.Hour+59*time.Minute), "n1")
	check("after them", now.Add(5*time.Hour+time.Minute))
	lost("n1", now.Add(48*time.Hour))
	check("days later it counts anew", now.Add(48*time.Hour+time.Minute))
	for i := range 3 * maxSuspects {
		lost(string(rune('a'+i%26))+time.Duration(i).String(), now)
	}
	if len(st.Suspects) > maxSuspects {
		t.Errorf("%d nodes are kept", len(st.Suspects))
	}
}
