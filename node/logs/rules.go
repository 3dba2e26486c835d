package logs

import (
	"bufio"
	"bytes"
	"cmp"
	_ "embed" // for the built-in rules
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	api "github.com/benchd/benchd/api/v1alpha1"
)

//go:embed rules.yaml
var rulesFile []byte

const (
	// evidenceLines is how many lines a finding shows, evidenceBytes how much of each.
	evidenceLines = 3
	evidenceBytes = 400
	// tailBytes is how much of each log's end is looked at when a server or a job has failed: the lines that tell why often come
	// before long stack traces.
	tailBytes = 1 << 20
	// lastWords is how long before a log's last line a line may have been written that explains why its process ended.
	lastWords = 5 * time.Minute
)

// builtin reads the embedded rules once.
var builtin = sync.OnceValues(func() ([]api.LogRule, error) {
	var rules []api.LogRule
	if err := yaml.UnmarshalStrict(rulesFile, &rules); err != nil {
		return nil, fmt.Errorf("read the built-in rules: %w", err)
	}
	return rules, nil
})

// Rules are one's own, and after them the built-in ones but those of the same names.
func Rules(own []api.LogRule) ([]api.LogRule, error) {
	rules, err := builtin()
	if err != nil {
		return nil, err
	}
	all := slices.Clone(own)
	for _, r := range rules {
		if !slices.ContainsFunc(own, func(o api.LogRule) bool { return o.Name == r.Name }) {
			all = append(all, r)
		}
	}
	return all, nil
}

// Finder finds, among the lines that it is shown, those that rules know. It is used by one goroutine.
type Finder struct {
	rules []rule
	words *wordSet
	// always are rules that have a pattern without words.
	always []int
	tried  []int // per rule: the line that it was last tried on
	line   int
}

// rule is one with what it has found.
type rule struct {
	api.LogRule
	patterns []*regexp.Regexp
	found    *api.LogFinding
	at       int64 // of the first line that was found
}

// NewFinder makes a finder of one's own rules and the built-in ones.
func NewFinder(own []api.LogRule) (*Finder, error) {
	rules, err := Rules(own)
	if err != nil {
		return nil, err
	}
	f := &Finder{tried: make([]int, len(rules))}
	owners := make([][]string, len(rules))
	for i, r := range rules {
		next := rule{LogRule: r}
		for _, pattern := range r.Patterns {
			re, err := regexp.Compile(pattern)
			if err != nil {
				return nil, fmt.Errorf("rule %s: pattern %q: %w: correct it", r.Name, pattern, err)
			}
			next.patterns = append(next.patterns, re)
			if words := wordsOf(pattern); words == nil {
				f.always = append(f.always, i)
			} else {
				owners[i] = append(owners[i], words...)
			}
		}
		f.rules = append(f.rules, next)
	}
	f.always = slices.Compact(f.always)
	f.words = newWordSet(owners)
	return f, nil
}

func (f *Finder) look(r *reader) { f.Look(r.Source, r.at, r.stderr, r.text) }

// Look looks at a line. The time is in nanoseconds since 1970.
func (f *Finder) Look(s Source, at int64, stderr bool, text []byte) {
	f.line++
	f.words.in(text, func(i int) { f.try(i, s, at, stderr, text) })
	for _, i := range f.always {
		f.try(i, s, at, stderr, text)
	}
}

func (f *Finder) try(i int, s Source, at int64, stderr bool, text []byte) {
	r := &f.rules[i]
	if f.tried[i] == f.line || !r.concerns(s, stderr) {
		return
	}
	f.tried[i] = f.line
	for _, pattern := range r.patterns {
		if pattern.Match(text) {
			r.note(s, at, text)
			return
		}
	}
}

// concerns says whether a rule is about lines of this source.
func (r *rule) concerns(s Source, stderr bool) bool {
	component := s.Component
	if s.Container == AgentContainer {
		component = AgentContainer
	}
	switch {
	case len(r.Components) == 0 && component == AgentContainer:
		return false // what agents say of servers has been said by these
	case len(r.Components) > 0 && !slices.Contains(r.Components, component):
		return false
	}
	return r.Stream == "" || stderr == (r.Stream == "err")
}

func (r *rule) note(s Source, at int64, text []byte) {
	if r.found == nil {
		r.found = &api.LogFinding{
			Rule: r.Name, Severity: cmp.Or(r.Severity, severityError), Meaning: r.Meaning, NextStep: r.NextStep,
		}
	}
	found := r.found
	if found.Count == 0 || at < r.at {
		found.Node, found.Component, found.At, r.at = s.Node, s.Component, metav1.NewMicroTime(time.Unix(0, at).UTC()), at
	}
	if found.Count++; len(found.Lines) < evidenceLines {
		line := string(text[:min(len(text), evidenceBytes)])
		if len(text) > evidenceBytes {
			line += "…"
		}
		found.Lines = append(found.Lines, strings.ToValidUTF8(line, ""))
	}
}

// severityError is what rules without a severity have.
const severityError = "error"

// Findings are what has been found: errors before warnings, then in the order of time.
func (f *Finder) Findings() []api.LogFinding {
	var found []api.LogFinding
	for _, r := range f.rules {
		if r.found != nil {
			found = append(found, *r.found)
		}
	}
	slices.SortStableFunc(found, func(a, b api.LogFinding) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), a.At.Compare(b.At.Time))
	})
	return found
}

// Cause is the first rule, in the rules' order, that explains a failure by what has been found, with its finding. It is nil when
// none does.
func (f *Finder) Cause() (*api.LogRule, *api.LogFinding) {
	for i := range f.rules {
		if r := &f.rules[i]; r.found != nil && r.Class != "" && r.found.Severity == severityError {
			return &r.LogRule, r.found
		}
	}
	return nil, nil
}

// LookAtEnd looks at the last lines of a raw log: those of its last minutes, as far as they are in its last megabyte.
func (f *Finder) LookAtEnd(root string, s Source) error {
	type line struct {
		at     int64
		stderr bool
		text   []byte
	}
	var lines []line
	err := eachLineOfEnd(s.path(root), func(raw []byte) {
		if at, stderr, text, ok := parseRaw(raw); ok {
			lines = append(lines, line{at, stderr, bytes.Clone(text)})
		}
	})
	for _, l := range lines {
		if lines[len(lines)-1].at-l.at <= int64(lastWords) {
			f.Look(s, l.at, l.stderr, l.text)
		}
	}
	return err
}

// LookAtJob looks at the ends of all raw logs of a job, and of what its script printed.
func (f *Finder) LookAtJob(root string) error {
	sources, err := Sources(root)
	if err != nil {
		return err
	}
	errs := []error{f.LookAtScript(root)}
	for _, s := range sources {
		errs = append(errs, f.LookAtEnd(root, s))
	}
	return errors.Join(errs...)
}

const (
	// ComponentJob is what a job's script and Slurm itself print.
	ComponentJob = "job"
	// ScriptOutput is the name of the file that they print to, beside the nodes' folders.
	ScriptOutput = "job.out"
)

// LookAtScript looks at the end of what the job's script and Slurm have printed. Its lines have no time; they get the file's. What an
// agent has concluded of other logs by a rule is none of them.
func (f *Finder) LookAtScript(root string) error {
	path := filepath.Join(root, ScriptOutput)
	info, err := os.Stat(path)
	if err != nil {
		return ignoreMissing(err)
	}
	return eachLineOfEnd(path, func(line []byte) {
		if !f.concludes(line) {
			f.Look(Source{Component: ComponentJob}, info.ModTime().UnixNano(), false, line)
		}
	})
}

// concludes says whether a line is how an agent ends for the reason that a rule is named after: `Error: CUDAOutOfMemory: …`.
func (f *Finder) concludes(line []byte) bool {
	rest, ends := bytes.CutPrefix(line, []byte("Error: "))
	reason, _, _ := bytes.Cut(rest, []byte(": "))
	return ends && slices.ContainsFunc(f.rules, func(r rule) bool { return r.Name == string(reason) })
}

// eachLineOfEnd hands on the lines of a file's last part. The first of them may be half a line, the last one too.
func eachLineOfEnd(path string, each func([]byte)) error {
	file, err := os.Open(path)
	if err != nil {
		return ignoreMissing(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if _, err := file.Seek(max(0, info.Size()-tailBytes), io.SeekStart); err != nil {
		return err
	}
	in := bufio.NewReaderSize(io.LimitReader(file, tailBytes), readBytes)
	for {
		line, err := in.ReadSlice('\n')
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			each(line)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
