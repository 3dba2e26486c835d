package main

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func TestLogLine(t *testing.T) {
	for want, l := range map[string]api.LogSummary{
		"1 line of 1 node, 1 of standard error, 1 warning": {Lines: 1, StderrLines: 1, Nodes: map[string]int64{"n1": 1}, Levels: map[string]int64{"warning": 1}},
		"9 lines of 2 nodes, 0 of standard error, 2 warnings, 1 error, 3 fatal; 9 sent to the log service, 0 dropped": {
			Lines: 9, Nodes: map[string]int64{"n1": 4, "n2": 5}, Levels: map[string]int64{"warning": 2, "error": 1, "fatal": 3, "info": 3}, Forwarded: 9,
		},
		"no lines of no nodes, 0 of standard error; 0 sent to the log service, 2 dropped: the lead's warnings in `benchd logs allocation/a-1` say why": {Dropped: 2},
	} {
		if got := logLine(&l, "a-1"); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

func TestFindingLine(t *testing.T) {
	at := metav1.NewMicroTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	for want, f := range map[string]api.LogFinding{
		"OOM (n1 server, 03:04:05, 1 line): no memory": {Rule: "OOM", Node: "n1", Component: "server", Count: 1, At: at, Meaning: "no memory"},
		"OOM (job, 03:04:05, 3 lines): no memory":      {Rule: "OOM", Component: "job", Count: 3, At: at, Meaning: "no memory"},
	} {
		if got := findingLine(f); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}
