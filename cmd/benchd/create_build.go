package main

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/container"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/recipe"
)

// builder makes files of answers, and knows what is wrong with them by the rules that files are read with.
type builder struct {
	site   siteDefaults
	reader manifest.Reader
	// namespace of the run; the default one is not written.
	namespace string
}

func newBuilder(site siteDefaults, namespace string, admit manifest.Admission) *builder {
	return &builder{site: site, namespace: namespace, reader: manifest.Reader{Admit: admit, Dialect: recipe.Dialect()}}
}

// applies says whether a question means anything, with the answers given.
func (q *question) applies(a answers) bool { return q.when == nil || q.when(a) }

// build writes down the answers. The error is about a single answer's form, and an answerError.
func (b *builder) build(a answers) (*document, error) {
	d := newRunDocument()
	if b.namespace != "" && b.namespace != api.DefaultNamespace {
		d.set("metadata.namespace", textNode(b.namespace))
	}
	var all error
	for i := range createQuestions {
		q := &createQuestions[i]
		if len(a[q.name]) == 0 || a.get(q.name) == "" || !q.applies(a) {
			continue
		}
		if err := q.write(d, a[q.name]); err != nil {
			all = errors.Join(all, &answerError{q, err})
		}
	}
	prune(d.root)
	return d, all
}

func (q *question) write(d *document, values []string) error {
	switch {
	case q.put != nil:
		return q.put(d, values)
	case q.many:
		d.set(q.path, listNode(values))
	case q.number:
		d.set(q.path, numberNode(values[0]))
	default:
		d.set(q.path, textNode(values[0]))
	}
	return nil
}

// answerError is a fault of one answer.
type answerError struct {
	question *question
	err      error
}

func (e *answerError) Error() string { return "--" + e.question.name + ": " + e.err.Error() }

func (e *answerError) Unwrap() error { return e.err }

// read makes the object of a document, or says what is wrong with it.
func (b *builder) read(d *document) (*api.BenchmarkRun, error) {
	text, err := d.text("", nil)
	if err != nil {
		return nil, err
	}
	docs, err := b.reader.Read("", text)
	if err != nil {
		return nil, err
	}
	run, ok := docs[0].Object.(*api.BenchmarkRun)
	if !ok {
		return nil, fmt.Errorf("the answers make a %s, not a run", docs[0].Object.GetObjectKind().GroupVersionKind().Kind)
	}
	return run, nil
}

// faults are what is wrong with the answers; those that were not given yet are taken to be right.
func (b *builder) faults(a answers) []*answerError {
	full := answers{}
	for name, values := range a {
		full[name] = values
	}
	for i := range createQuestions {
		q := &createQuestions[i]
		if _, given := a[q.name]; !given && q.standin != "" && q.applies(full) {
			full[q.name] = []string{q.standin}
		}
	}
	d, malformed := b.build(full)
	_, err := b.read(d)
	return append(faultsOf(malformed), faultsOf(err)...)
}

// faultsOf takes an error apart into those of answers.
func faultsOf(err error) []*answerError {
	if err == nil {
		return nil
	}
	var all []*answerError
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			all = append(all, faultsOf(e)...)
		}
		return all
	}
	if e := (*answerError)(nil); errors.As(err, &e) {
		return []*answerError{e}
	}
	if e := (*manifest.Error)(nil); errors.As(err, &e) {
		return []*answerError{{questionOf(e.Path), e}}
	}
	return []*answerError{{&question{name: "service"}, err}}
}

// questionOf is the question whose field, or a part of it, a path is; one that nobody asks where there is none.
func questionOf(path string) *question {
	best := &question{path: path}
	dotted := strings.NewReplacer("[", ".", "]", "").Replace(path)
	length := 0
	for i := range createQuestions {
		q := &createQuestions[i]
		if (dotted == q.path || strings.HasPrefix(dotted, q.path+".") || strings.HasPrefix(q.path, dotted+".")) && len(q.path) > length {
			best, length = q, len(q.path)
			if dotted == q.path {
				break
			}
		}
	}
	return best
}

// listItem is the place in a list at the end of a path.
var listItem = regexp.MustCompile(`\[\d+\]$`)

// told is a fault as it is said beside its question: without the field, which the question names.
func (e *answerError) told() string {
	fault, ok := e.err.(*manifest.Error) //nolint:errorlint // made here, never wrapped
	if !ok {
		return e.err.Error()
	}
	if e.question.path != listItem.ReplaceAllString(fault.Path, "") {
		return fault.Error()
	}
	bare := *fault
	bare.Path = ""
	return bare.Error()
}

// check says what is wrong with an answer, beside those given before.
func (b *builder) check(a answers, q *question, values []string) error {
	with := answers{}
	for name, v := range a {
		with[name] = v
	}
	with[q.name] = values
	for _, fault := range b.faults(with) {
		if fault.question.name == q.name {
			return errors.New(fault.told())
		}
	}
	return nil
}

// complete proposes what was not answered.
func (b *builder) complete(a answers) {
	for i := range createQuestions {
		q := &createQuestions[i]
		if _, given := a[q.name]; given || q.preset == nil || !q.applies(a) {
			continue
		}
		if value := q.preset(&b.site, a); value != "" {
			a[q.name] = []string{value}
		}
	}
}

// object is what the answers make. All faults are told at once, by the names of the flags.
func (b *builder) object(a answers) (*document, *api.BenchmarkRun, error) {
	d, malformed := b.build(a)
	run, err := b.read(d)
	if malformed != nil || err != nil {
		said := map[string]bool{}
		for _, fault := range faultsOf(malformed) {
			said[fault.question.name] = true
		}
		return nil, nil, exitError{exitInvalid, errors.Join(malformed, flagErrors(err, said))}
	}
	return d, run, nil
}

// minimal leaves out what is the default anyway.
func (b *builder) minimal(d *document, want *api.BenchmarkRun) *document {
	for _, path := range d.leaves() {
		if !strings.HasPrefix(path, "spec.") {
			continue
		}
		less := d.without(path)
		prune(less.root)
		if got, err := b.read(less); err == nil && reflect.DeepEqual(got, want) {
			d = less
		}
	}
	return d
}

// file is the run's file: what differs from the defaults, with comments, read once more as users' files are.
func (b *builder) file(a answers) ([]byte, error) {
	d, run, err := b.object(a)
	if err != nil {
		return nil, err
	}
	d = b.minimal(d, run)
	text, err := d.text(createHead(run), createComments(run))
	if err != nil {
		return nil, err
	}
	if _, err := b.reader.Read("", text); err != nil {
		return nil, fmt.Errorf("the file that was made cannot be read again: %w", err)
	}
	return text, nil
}

// flagErrors names the flags that faults are about, but for those of which something was said.
func flagErrors(err error, said map[string]bool) error {
	var all error
	for _, fault := range faultsOf(err) {
		switch name := fault.question.name; {
		case name == "":
			all = errors.Join(all, fault.err)
		case !said[name]:
			all = errors.Join(all, fault)
		}
	}
	return all
}

// createHead is what stands above the file.
func createHead(run *api.BenchmarkRun) string {
	return fmt.Sprintf("# Written by `benchd create`, to be run as run/%s. What is not here has its\n"+
		"# default: `benchd convert -f FILE` shows everything, `benchd explain run.spec`\n# says what it means.", run.Name)
}

// createComments say in a few words what fields are.
func createComments(run *api.BenchmarkRun) map[string]string {
	c := map[string]string{
		"spec.cluster":                      "a Cluster object",
		"spec.slurm.partition":              "`sinfo` lists them",
		"spec.slurm.account":                "what is charged",
		"spec.nodes.servers.gpus":           "of each node, as all that stands here",
		"spec.service.nodesPerReplica":      "one server spans so many nodes",
		"spec.container.secrets":            "by name: the values are taken from where they are kept",
		"spec.workload.duration":            "the measured window",
		"spec.workload.warmup":              "load before it",
		"spec.workload.load.clientsPerNode": "concurrent clients on each client node",
		"spec.workload.load.rate":           "requests per second over all client nodes",
		"spec.workload.slo":                 "limits that a good request meets",
	}
	if run.Spec.Cluster == api.ClusterNameEmbedded {
		c["spec.cluster"] = "this machine, without Slurm"
	}
	if container.IsReference(run.Spec.Container.Image) {
		c["spec.container.image"] = "`benchd image pull` fetches it once"
	}
	return c
}
