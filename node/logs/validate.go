package logs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Expect is what a folder of logs is held against.
type Expect struct {
	// Outputs are the three files, or two where no aggregated one was wanted; Flag is the collector's sign that it followed every log.
	Outputs Outputs
	Flag    string
	// Lines that there are to be more of than that many, Nodes that there are to be at least.
	Lines, Nodes int
	// Components that there are to be lines of.
	Components []string
}

// Check is one of the sixteen looks at a folder of logs.
type Check struct {
	// Name says what is looked at, Note what was seen where that is of interest.
	Name, Note string
	// Problem says why the check failed; empty when it passed.
	Problem string
}

// merged is what is known of one merged file after it has been read once.
type merged struct {
	name string
	// gone is why it cannot be read; size and lines are of its content, errs of the lines those that say they are of standard error.
	gone              error
	size, lines, errs int64
	// malformed, timeless and backwards are the first lines of their kind, with their number.
	malformed, timeless, backwards string
	nodes, components              map[string]int64
}

// Validate looks at the merged logs of a finished run. Where no aggregated file is expected, the checks of it are left out.
func Validate(e Expect) []Check {
	out := readMerged(e.Outputs.Stdout, parseText)
	errs := readMerged(e.Outputs.Stderr, parseText)
	lines := fmt.Sprintf("line count (>%d expected)", e.Lines)
	parts := either("stdout.log and stderr.log lines have time, node and component", out, errs, func(m *merged) string { return m.malformed })
	times := either("stdout.log and stderr.log timestamps are well-formed", out, errs, func(m *merged) string { return m.timeless })
	if e.Outputs.Aggregated == "" {
		return []Check{
			out.exists(), errs.exists(), flagged(e.Flag), out.hasContent(), out.hasMore(lines, e.Lines), parts, times,
			inOrder(out, errs), severalNodes(e.Nodes, out), allComponents(e.Components, out),
		}
	}
	all := readMerged(e.Outputs.Aggregated, parseEntry)
	return []Check{
		out.exists(), errs.exists(), all.exists(), flagged(e.Flag),
		out.hasContent(), all.hasContent(),
		out.hasMore(lines, e.Lines), all.hasMore(lines, e.Lines),
		parts,
		all.check("lines are JSON with timestamp, node, component, message", all.malformed),
		times,
		all.check("timestamps are well-formed", all.timeless),
		inOrder(out, errs, all),
		severalNodes(e.Nodes, out, all),
		allComponents(e.Components, out, all),
		countsAgree(out, errs, all),
	}
}

// readMerged reads a file once, whatever is wrong with it.
func readMerged(path string, parse func([]byte) (Line, error)) *merged {
	m := &merged{name: filepath.Base(path), nodes: map[string]int64{}, components: map[string]int64{}}
	f, err := Open(path)
	if err != nil {
		m.gone = err
		return m
	}
	defer f.Close()
	last := time.Time{}
	bytes := &counter{Reader: f}
	for in := newLines(bytes); ; {
		text, err := in.next()
		m.size = bytes.n
		if errors.Is(err, io.EOF) {
			return m
		}
		if err != nil {
			m.gone = err
			return m
		}
		m.lines++
		l, err := parse(text)
		switch {
		case errors.Is(err, errTime):
			note(&m.timeless, m.lines, err.Error(), text)
		case err != nil:
			note(&m.malformed, m.lines, err.Error(), text)
		default:
			if l.At.Before(last) {
				note(&m.backwards, m.lines, "it is earlier than the one before", text)
			}
			last = l.At
			if l.Stderr {
				m.errs++
			}
			m.nodes[l.Node]++
			m.components[l.Component]++
		}
	}
}

// counter counts what is read through it.
type counter struct {
	io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

func note(to *string, line int64, what string, text []byte) {
	if *to == "" {
		*to = fmt.Sprintf("line %d: %s: %.120q", line, what, text)
	}
}

// check is one that fails when there is a problem, or nothing to look at.
func (m *merged) check(what, problem string) Check {
	c := Check{Name: m.name + " " + what, Problem: problem}
	switch {
	case m.gone != nil:
		c.Problem = m.unreadable()
	case m.lines == 0 && problem == "":
		c.Problem = "it is empty"
	}
	return c
}

func (m *merged) unreadable() string {
	if errors.Is(m.gone, fs.ErrNotExist) {
		return m.name + " is not there, nor a compressed one"
	}
	return fmt.Sprintf("%s cannot be read: %v", m.name, m.gone)
}

func (m *merged) exists() Check {
	c := Check{Name: m.name + " exists"}
	if m.gone != nil {
		c.Problem = m.unreadable()
	}
	return c
}

func flagged(path string) Check {
	c := Check{Name: filepath.Base(path) + " flag exists"}
	if info, err := os.Stat(path); err != nil {
		c.Problem = fmt.Sprintf("the collector did not say that it followed every log: %v", err)
	} else if !info.Mode().IsRegular() {
		c.Problem = "it is no file"
	}
	return c
}

func (m *merged) hasContent() Check {
	c := m.check("has content", "")
	if c.Problem == "" {
		c.Note = fmt.Sprintf("Bytes: %d", m.size)
	}
	return c
}

func (m *merged) hasMore(what string, least int) Check {
	c := m.check(what, "")
	c.Note = fmt.Sprintf("Lines: %d", m.lines)
	if c.Problem == "" && m.lines <= int64(least) {
		c.Problem = fmt.Sprintf("there are only %d lines", m.lines)
	}
	return c
}

// either fails for whichever of the two text files has the problem; that of standard error may be empty.
func either(what string, out, errs *merged, problem func(*merged) string) Check {
	c := out.check(what, problem(out))
	c.Name = what
	switch {
	case c.Problem != "":
		c.Problem = out.name + ": " + c.Problem
	case errs.gone != nil:
		c.Problem = errs.unreadable()
	case problem(errs) != "":
		c.Problem = errs.name + ": " + problem(errs)
	}
	return c
}

func inOrder(files ...*merged) Check {
	c := Check{Name: "lines of all nodes are in the order of time"}
	for _, m := range files {
		switch {
		case c.Problem != "":
		case m.gone != nil:
			c.Problem = m.unreadable()
		case m.backwards != "":
			c.Problem = m.name + ": " + m.backwards
		}
	}
	return c
}

func severalNodes(least int, files ...*merged) Check {
	c := Check{Name: fmt.Sprintf("logs from several nodes are present (>=%d expected)", least), Note: "Nodes: " + strings.Join(sorted(files[0].nodes), ", ")}
	for _, m := range files {
		if c.Problem == "" && len(m.nodes) < least {
			c.Problem = m.name + " has no line that tells its node"
			if len(m.nodes) > 0 {
				c.Problem = fmt.Sprintf("%s has lines of %s alone", m.name, strings.Join(sorted(m.nodes), ", "))
			}
		}
	}
	return c
}

func allComponents(wanted []string, files ...*merged) Check {
	c := Check{Name: strings.Join(wanted, " and ") + " logs are present", Note: "Components: " + strings.Join(sorted(files[0].components), ", ")}
	for _, m := range files {
		for _, component := range wanted {
			if c.Problem == "" && m.components[component] == 0 {
				c.Problem = fmt.Sprintf("%s has no line of a %s", m.name, component)
			}
		}
	}
	return c
}

func countsAgree(out, errs, all *merged) Check {
	c := Check{Name: "line counts of " + out.name + " and " + all.name + " agree"}
	switch {
	case out.gone != nil || all.gone != nil:
		c.Problem = "one of them cannot be read"
	case out.lines != all.lines:
		c.Problem = fmt.Sprintf("%d lines and %d", out.lines, all.lines)
	case errs.lines > out.lines:
		c.Problem = fmt.Sprintf("%s has %d lines, which all should be among the %d of %s", errs.name, errs.lines, out.lines, out.name)
	case all.errs > 0 && errs.gone == nil && errs.lines != all.errs && all.malformed == "" && all.timeless == "":
		c.Problem = fmt.Sprintf("%s has %d lines, and %s %d of standard error", errs.name, errs.lines, all.name, all.errs)
	}
	return c
}

func sorted(counts map[string]int64) []string {
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
