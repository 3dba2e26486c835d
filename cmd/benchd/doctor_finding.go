package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// level says what a finding means to somebody who wants to run.
type level string

// Levels of findings.
const (
	levelOK      level = "ok"
	levelWarning level = "warning" // it can work, and may not
	levelProblem level = "problem" // a run cannot work so
	levelLeftOut level = "-"       // not looked at
)

// finding is what one check saw.
type finding struct {
	Level level `json:"level"`
	// Of is what was looked at: a cluster, a run.
	Of    string `json:"of,omitempty"`
	Check string `json:"check"`
	// Seen is what was seen, or why the check was left out.
	Seen string `json:"seen"`
	// Next is the next step where something is amiss.
	Next string `json:"next,omitempty"`
}

func found(check, format string, args ...any) finding {
	return finding{Level: levelOK, Check: check, Seen: fmt.Sprintf(format, args...)}
}

func leftOut(check, format string, args ...any) finding {
	return finding{Level: levelLeftOut, Check: check, Seen: fmt.Sprintf(format, args...)}
}

func warning(check, next, format string, args ...any) finding {
	return finding{Level: levelWarning, Check: check, Seen: fmt.Sprintf(format, args...), Next: next}
}

func problem(check, next, format string, args ...any) finding {
	return finding{Level: levelProblem, Check: check, Seen: fmt.Sprintf(format, args...), Next: next}
}

// worse is a problem where the rule is enforced, and a warning where it is only written down.
func worse(enforced bool, check, next, format string, args ...any) finding {
	f := problem(check, next, format, args...)
	if !enforced {
		f.Level = levelWarning
		f.Seen += " (this Slurm does not enforce it)"
	}
	return f
}

// checkTimeout bounds a check that touches file systems or the network: both can hang for ever.
const checkTimeout = 15 * time.Second

// within runs a check that may hang. One that does is a problem, and is left behind: what hangs in the kernel cannot be ended.
func within(ctx context.Context, limit time.Duration, check, next string, look func(context.Context) []finding) []finding {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan []finding, 1)
	go func() { done <- look(ctx) }()
	select {
	case seen := <-done:
		return seen
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return []finding{problem(check, next, "no answer within %s", limit)}
		}
		return []finding{leftOut(check, "interrupted")}
	}
}

// sift keeps of findings that several runs of a sweep share one each, and of a check that has gone wrong somewhere only that.
func sift(all []finding) []finding {
	wrong, seen := map[string]bool{}, map[finding]bool{}
	for _, f := range all {
		if f.Level == levelWarning || f.Level == levelProblem {
			wrong[f.Check] = true
		}
	}
	told := map[string]bool{}
	var kept []finding
	for _, f := range all {
		amiss := f.Level == levelWarning || f.Level == levelProblem
		if seen[f] || !amiss && (wrong[f.Check] || told[f.Check]) {
			continue
		}
		seen[f], told[f.Check] = true, true
		kept = append(kept, f)
	}
	return kept
}

// result is all that doctor says.
type result struct {
	Problems int       `json:"problems"`
	Warnings int       `json:"warnings"`
	Checks   []finding `json:"checks"`
}

func newResult(all []finding) result {
	r := result{Checks: all}
	for _, f := range all {
		switch f.Level {
		case levelProblem:
			r.Problems++
		case levelWarning:
			r.Warnings++
		case levelOK, levelLeftOut:
		}
	}
	return r
}

// print writes a line for each check, under the name of what was looked at.
func (r result) print(w io.Writer) {
	of := ""
	for _, f := range r.Checks {
		if f.Of != of {
			of = f.Of
			fmt.Fprintf(w, "\n%s\n", of)
		}
		fmt.Fprintf(w, "%-8s %-18s %s\n", f.Level, f.Check, f.Seen)
		if f.Next != "" {
			fmt.Fprintf(w, "%-8s next: %s\n", "", f.Next)
		}
	}
	fmt.Fprintf(w, "\n%s, %s\n", counted(r.Problems, "problem"), counted(r.Warnings, "warning"))
}

func (r result) json(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

func counted(n int, word string) string {
	switch n {
	case 0:
		return "no " + word + "s"
	case 1:
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
