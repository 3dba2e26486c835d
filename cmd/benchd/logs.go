package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/node/logs"
)

func newLogsCommand(o *options) *cobra.Command {
	var f logFlags
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs RUN|allocation/NAME|FOLDER",
		Short: "Show the logs of all nodes of a run or an Allocation, merged in the order of time",
		Long: `Show the logs of all nodes, merged in the order of time. Of a finished run they are those of its start-up and of its own time; of a
run that goes on, and of an Allocation, all that its job has written. A run that is named as one of the verbs below is meant by run/NAME.
FOLDER is a run's attempt or its logs folder, and needs no control plane.`,
		Example: `  benchd logs my-run --level warning
  benchd logs my-run -f --component server --grep 'throughput|preempt'
  benchd logs allocation/my-run-1 --node mel2109 --since 5m`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			view, err := f.view(cmd.OutOrStdout())
			if err != nil {
				return err
			}
			source, done, err := o.logsIn(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer done()
			ctx, stop := withSignals(cmd.Context())
			defer stop()
			if err := source.complain(cmd, view.read, source.show(ctx, view, follow)); err != nil {
				return err
			}
			if view.read == 0 {
				note(cmd)("%s has no logs: %s", source.name, source.message)
				return nil
			}
			return view.checkNode()
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines until the run has ended")
	f.register(cmd)
	cmd.AddCommand(newLogsValidateCommand(o), newLogsStatsCommand(o))
	return cmd
}

// logFlags choose lines and how they are printed.
type logFlags struct {
	node, component, level, since, grep, stream string
	json                                        bool
}

func (f *logFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.node, "node", "", "only lines of this node")
	flags.StringVar(&f.component, "component", "", "only lines of this component: "+strings.Join(logs.Components, ", ")+" (what the batch script prints)")
	flags.StringVar(&f.level, "level", "", "only lines of this level or a worse one: debug, info, warning, error, fatal")
	flags.StringVar(&f.since, "since", "", "only lines from this time on: a duration before now (5m), or a time (14:30, 2026-01-31T14:30:00Z)")
	flags.StringVar(&f.grep, "grep", "", "only lines that match this regular expression")
	flags.StringVar(&f.stream, "stream", "", "only lines of standard output (out) or standard error (err)")
	flags.BoolVar(&f.json, "json", false, "print lines as JSON objects")
}

// view reads the flags. Each value that means nothing is an error that says what would.
func (f *logFlags) view(out io.Writer) (*logView, error) {
	v := &logView{out: out, json: f.json, nodes: map[string]bool{}}
	wrong := func(flag string, err error) (*logView, error) {
		return nil, exitError{exitInvalid, fmt.Errorf("--%s: %w", flag, err)}
	}
	var err error
	v.filter = logs.Filter{Node: f.node, Component: f.component, Stream: f.stream}
	if f.component != "" && !slices.Contains(logs.Components, f.component) {
		return wrong("component", fmt.Errorf("%q is not known: use one of %s", f.component, strings.Join(logs.Components, ", ")))
	}
	if f.stream != "" && f.stream != "out" && f.stream != "err" {
		return wrong("stream", fmt.Errorf("%q is not known: use out or err", f.stream))
	}
	if f.level != "" {
		if v.filter.Level, err = logs.ParseLevel(f.level); err != nil {
			return wrong("level", err)
		}
	}
	if f.since != "" {
		if v.filter.Since, err = logs.ParseSince(f.since, time.Now()); err != nil {
			return wrong("since", err)
		}
	}
	if f.grep != "" {
		if v.filter.Grep, err = regexp.Compile(f.grep); err != nil {
			return wrong("grep", err)
		}
	}
	v.all = v.filter == logs.Filter{} && !f.json
	return v, nil
}

// logView prints the lines that are wanted.
type logView struct {
	out    io.Writer
	filter logs.Filter
	json   bool
	all    bool // every line as it stands
	read   int64
	nodes  map[string]bool
}

func (v *logView) line(l *logs.Line) error {
	v.read++
	v.nodes[l.Node] = true
	if !v.filter.Match(l) {
		return nil
	}
	if v.json {
		_, err := fmt.Fprintf(v.out, "%s\n", l.JSON())
		return err
	}
	_, err := fmt.Fprintln(v.out, l.String())
	return err
}

// checkNode tells of a node that has no logs at all: it was mistyped, or is another run's.
func (v *logView) checkNode() error {
	if v.filter.Node == "" || v.nodes[v.filter.Node] {
		return nil
	}
	delete(v.nodes, "") // what the script prints
	return exitError{exitInvalid, fmt.Errorf("--node: no line is of node %q: there are lines of %s", v.filter.Node, strings.Join(slices.Sorted(maps.Keys(v.nodes)), ", "))}
}

// logSource is a run or an Allocation whose logs are wanted.
type logSource struct {
	// name is for messages, named what the command line calls it; local is a folder.
	name, named string
	local       bool
	outputs     logs.Outputs
	// nodes is how many nodes it has, components those of its lines.
	nodes      int
	components []string
	// finished: the merged files are final. ended: no more lines come. folder holds the raw logs; empty before there are any.
	finished, ended bool
	folder, message string
	// look brings ended, folder and message up to date.
	look func(ctx context.Context) error
}

// logsOf finds what the arguments name.
func (o *options) logsOf(ctx context.Context, c *client.Client, args []string) (*logSource, error) {
	kind, names, err := objectArgs(args)
	if err != nil {
		return nil, err
	}
	if len(names) != 1 {
		return nil, exitError{exitInvalid, errors.New("name the one run or Allocation whose logs are wanted")}
	}
	s := &logSource{name: word(kind) + " " + names[0], named: word(kind) + "/" + names[0]}
	switch kind {
	case api.KindBenchmarkRun:
		s.look = func(ctx context.Context) error { return s.lookAtRun(ctx, c, o.namespace, names[0]) }
	case api.KindAllocation:
		s.look = func(ctx context.Context) error {
			obj, err := c.Get(ctx, kind, o.namespace, names[0])
			if err != nil {
				return err
			}
			return s.lookAtAllocation(obj)
		}
	default:
		return nil, exitError{exitInvalid, fmt.Errorf("a %s has no logs: name a run, or allocation/NAME", word(kind))}
	}
	return s, s.look(ctx)
}

func (s *logSource) lookAtRun(ctx context.Context, c *client.Client, namespace, name string) error {
	run, err := getRun(ctx, c, namespace, name)
	if err != nil {
		return err
	}
	if len(run.Status.Attempts) == 0 {
		return fmt.Errorf("run %s has no attempt yet: %s", name, run.Status.Message)
	}
	s.ended, s.message = run.Status.Phase.Terminal(), run.Status.Message
	s.outputs = outputsIn(filepath.Join(run.Status.Folder, "logs"), &run.Spec.Logging)
	s.finished = s.ended && (node.Exists(s.outputs.Stdout) || node.Exists(s.outputs.Stdout+".gz"))
	s.nodes, s.components = nodesOf(&run.Spec), componentsOf(&run.Spec)
	attempt := run.Status.Attempts[len(run.Status.Attempts)-1]
	if attempt.Allocation == "" || s.finished {
		return nil
	}
	obj, err := c.Get(ctx, api.KindAllocation, run.Namespace, attempt.Allocation)
	if err != nil {
		return err
	}
	if a, ok := obj.(*api.Allocation); ok && a.Status.Folder != "" {
		s.folder = rawLogs(a)
	}
	return nil
}

func (s *logSource) lookAtAllocation(obj api.Object) error {
	a, ok := obj.(*api.Allocation)
	if !ok {
		return fmt.Errorf("%s is no Allocation", obj.GetName())
	}
	s.ended, s.message, s.nodes = a.Status.Phase.Terminal(), a.Status.Message, len(a.Status.Nodes)
	if a.Status.Folder != "" {
		s.folder = rawLogs(a)
	}
	return nil
}

// rawLogs is the folder of the raw logs of an Allocation's job.
func rawLogs(a *api.Allocation) string { return filepath.Dir(node.Folder(a.Status.Folder).Output()) }

// outputsIn are the merged files of a run.
func outputsIn(dir string, l *api.LoggingSpec) logs.Outputs {
	out := logs.Outputs{Stdout: filepath.Join(dir, l.Outputs.Stdout), Stderr: filepath.Join(dir, l.Outputs.Stderr)}
	if l.JSONL == nil || *l.JSONL {
		out.Aggregated = filepath.Join(dir, l.Outputs.Aggregated)
	}
	return out
}

// nodesOf is how many nodes a run has at the least.
func nodesOf(s *api.BenchmarkRunSpec) int {
	sum := 0
	for _, role := range []*int32{s.Nodes.Servers.Count, s.Nodes.Clients.Count, s.Nodes.Monitors.Count} {
		if role != nil {
			sum += int(*role)
		}
	}
	return sum
}

// componentsOf are the components that lines of a run's nodes are of, but for monitors. The agent of a node that servers and clients share
// is a server's, and servers that run elsewhere leave no lines.
func componentsOf(s *api.BenchmarkRunSpec) []string {
	none := func(r api.RoleSpec) bool { return r.Count != nil && *r.Count == 0 }
	switch {
	case len(s.Service.Endpoints) > 0:
		return []string{node.RoleClient}
	case none(s.Nodes.Servers), none(s.Nodes.Clients):
		return []string{node.RoleServer}
	}
	return []string{node.RoleServer, node.RoleClient}
}

// show prints what there is, and goes on with what comes if that is wanted.
func (s *logSource) show(ctx context.Context, view *logView, follow bool) error {
	if s.finished {
		return s.showFinished(view)
	}
	var tail *rawTail
	defer func() { tail.close() }()
	for {
		if s.folder != "" && (tail == nil || tail.folder != s.folder) {
			tail.close()
			tail = newRawTail(s.folder)
		}
		if tail != nil {
			if err := tail.more(view.line); err != nil {
				return err
			}
		}
		if s.ended || !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(500 * time.Millisecond):
		}
		if err := s.look(ctx); err != nil {
			return err
		}
	}
}

func (s *logSource) showFinished(view *logView) error {
	if !view.all {
		return logs.ReadFinished(s.outputs, view.line)
	}
	f, err := logs.Open(s.outputs.Stdout)
	if err != nil {
		return err
	}
	n, err := io.Copy(view.out, f)
	view.read += n
	return errors.Join(err, f.Close())
}

// each hands on every line that there is now.
func (s *logSource) each(do func(*logs.Line) error) error {
	if s.finished {
		return logs.ReadFinished(s.outputs, do)
	}
	if s.folder == "" {
		return nil
	}
	tail := newRawTail(s.folder)
	defer tail.close()
	return tail.more(do)
}

// rawTail hands on what a job's logs have gained since it last looked, in the order of time within each look.
type rawTail struct {
	folder string
	tail   *logs.Tail
	script *logs.ScriptTail
}

func newRawTail(folder string) *rawTail {
	return &rawTail{folder: folder, tail: logs.NewTail(folder), script: logs.NewScriptTail(filepath.Join(folder, logs.ScriptOutput))}
}

// more begins with what the batch script says: it is where a job that never came to its agents tells why.
func (t *rawTail) more(do func(*logs.Line) error) error {
	if err := t.script.Next(do); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return t.tail.Next(do)
}

func (t *rawTail) close() {
	if t != nil {
		t.tail.Close()
	}
}
