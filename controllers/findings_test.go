package controllers

import (
	"testing"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func TestPlaceOf(t *testing.T) {
	for want, f := range map[string]api.LogFinding{
		"n1 server, 1 line": {Node: "n1", Component: "server", Count: 1},
		"job, 2 lines":      {Component: "job", Count: 2},
	} {
		if got := placeOf(f); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
