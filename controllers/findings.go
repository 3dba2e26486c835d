package controllers

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/node/logs"
)

// findings are the known failures that the ends of a failed job's logs tell of. A job that left no logs has none.
func (s *allocationPass) findings() []api.LogFinding {
	if s.a.Status.Folder == "" || len(s.a.Status.Findings) > 0 {
		return s.a.Status.Findings
	}
	folder := node.Folder(s.a.Status.Folder)
	finder, err := logs.NewFinder(folder.LogRules())
	if err == nil {
		err = finder.LookAtJob(filepath.Dir(folder.Output()))
	}
	if err != nil {
		s.events = append(s.events, event{api.EventWarning, "LogsUnreadable", fmt.Sprintf("look for known failures in the job's logs: %v", err)})
	}
	if finder == nil {
		return nil
	}
	return finder.Findings()
}

// found keeps what the attempt's logs tell of, and tells of each rule that is new.
func (s *runPass) found(findings []api.LogFinding) {
	a := s.attempt()
	for _, f := range findings {
		if slices.ContainsFunc(a.Findings, func(old api.LogFinding) bool { return old.Rule == f.Rule }) {
			continue
		}
		s.events = append(s.events, event{api.EventWarning, f.Rule, fmt.Sprintf("%s (%s): %s", f.Meaning, placeOf(f), f.NextStep)})
	}
	if len(findings) > 0 {
		a.Findings = findings
	}
}

// placeOf says where a rule found something, and how often. What a job's script prints is of no node.
func placeOf(f api.LogFinding) string {
	lines := "1 line"
	if f.Count != 1 {
		lines = fmt.Sprintf("%d lines", f.Count)
	}
	return strings.TrimPrefix(f.Node+" ", " ") + f.Component + ", " + lines
}
