package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/node/logs"
)

func newLogsValidateCommand(o *options) *cobra.Command {
	var lines, nodes int
	cmd := &cobra.Command{
		Use:   "validate RUN|FOLDER",
		Short: "Check the merged logs of a finished run in sixteen ways",
		Long: `Check the merged logs of a finished run: that the files are there and have content, that every line is well-formed, that lines of
several nodes and of servers and clients are there in the order of time, and that the files agree. Of a run, lines of servers or clients
are asked for where it has them: the agent of a node that both share is a server's, and servers that run elsewhere leave none. FOLDER is a run's attempt or its
logs folder. Exit code 1 when a check fails.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if lines < 0 || nodes < 0 {
				return exitError{exitInvalid, errors.New("--min-lines and --min-nodes count lines and nodes: use 0 or more")}
			}
			source, err := o.finishedLogs(cmd.Context(), args)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("min-nodes") {
				nodes = min(nodes, max(1, source.nodes))
			}
			checks := logs.Validate(logs.Expect{
				Outputs: source.outputs, Flag: filepath.Join(filepath.Dir(source.outputs.Stdout), api.LogsReadyFile), Lines: lines, Nodes: nodes, Components: source.components,
			})
			return printChecks(cmd.OutOrStdout(), checks)
		},
	}
	cmd.Flags().IntVar(&lines, "min-lines", 50, "how many lines there are to be more of")
	cmd.Flags().IntVar(&nodes, "min-nodes", 2, "of how many nodes there are to be lines; of a run, no more than it has")
	return cmd
}

// printChecks prints the checks and their totals. A failed one is an error that says nothing more.
func printChecks(out io.Writer, checks []logs.Check) error {
	var b strings.Builder
	failed := 0
	for i, c := range checks {
		verdict := "PASS"
		if c.Problem != "" {
			failed++
			verdict = "FAIL: " + c.Problem
		}
		if c.Note == "" {
			fmt.Fprintf(&b, "[%d] Testing: %s... %s\n", i+1, c.Name, verdict)
			continue
		}
		fmt.Fprintf(&b, "[%d] Testing: %s...\n    %s\n    %s\n", i+1, c.Name, c.Note, verdict)
	}
	fmt.Fprintf(&b, "Total tests: %d\nPassed: %d\nFailed: %d\n", len(checks), len(checks)-failed, failed)
	if failed == 0 {
		b.WriteString("ALL TESTS PASSED!\n")
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return err
	}
	if failed > 0 {
		return exitError{exitFailure, nil}
	}
	return nil
}

// finishedLogs finds the merged files of a run that has ended, or in a folder.
func (o *options) finishedLogs(ctx context.Context, args []string) (*logSource, error) {
	source, done, err := o.logsIn(ctx, args)
	if err != nil {
		return nil, err
	}
	done()
	switch {
	case source.outputs.Stdout == "":
		return nil, exitError{exitInvalid, fmt.Errorf("%s has no merged logs: name a run or a folder", source.name)}
	case !source.ended:
		return nil, fmt.Errorf("%s has not ended: its logs are checked once they are final: `benchd wait` waits for that", source.name)
	}
	return source, nil
}

// logsIn finds the logs of a folder, if the argument names one, else those of a run or an Allocation. What it returns beside them is
// to be called when they are no longer looked at.
func (o *options) logsIn(ctx context.Context, args []string) (*logSource, func(), error) {
	if info, err := os.Stat(args[0]); len(args) == 1 && err == nil && info.IsDir() {
		source, err := folderLogs(args[0])
		return source, func() {}, err
	}
	if _, _, err := objectArgs(args); err != nil { // whether or not a control plane runs
		return nil, nil, err
	}
	c, err := connectRunning(ctx, o.home)
	if err != nil {
		return nil, nil, err
	}
	source, err := o.logsOf(ctx, c, args)
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return source, c.Close, nil
}

// complain makes of the error that reading ended with one that says what to do; read is how many lines were read. Lines that are none,
// among others, are told of beside the output.
func (s *logSource) complain(cmd *cobra.Command, read int64, err error) error {
	var bad *logs.UnreadableError
	file := cmp.Or(s.outputs.Aggregated, s.outputs.Stdout)
	switch {
	case s.local && errors.Is(err, fs.ErrNotExist):
		return exitError{exitInvalid, fmt.Errorf("%s has no merged logs: name the folder of a run's attempt, or its logs folder", s.name)}
	case !errors.As(err, &bad):
		return err
	case read == 0:
		return fmt.Errorf("%s has no line that can be read: `benchd logs validate %s` says what is wrong", file, s.named)
	}
	note(cmd)("%s of %s cannot be read: `benchd logs validate %s` says what is wrong", counted(int(bad.Lines), "line"), file, s.named)
	return nil
}

// folderLogs are the logs of an attempt's folder, or of the logs folder in it. What the files are called stands in the attempt's spec.
func folderLogs(dir string) (*logSource, error) {
	named, attempt := dir, filepath.Dir(filepath.Clean(dir))
	if info, err := os.Stat(filepath.Join(dir, "logs")); err == nil && info.IsDir() {
		attempt, dir = dir, filepath.Join(dir, "logs")
	}
	s := &logSource{name: named, named: named, local: true, ended: true, finished: true, nodes: 2, components: []string{node.RoleServer, node.RoleClient}}
	var run api.BenchmarkRun
	data, err := os.ReadFile(filepath.Join(attempt, "spec.yaml"))
	if err == nil {
		if err := yaml.Unmarshal(data, &run); err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Join(attempt, "spec.yaml"), err)
		}
		s.nodes, s.components = nodesOf(&run.Spec), componentsOf(&run.Spec)
	}
	api.SetDefaults(&run)
	s.outputs = outputsIn(dir, &run.Spec.Logging)
	return s, nil
}

func newLogsStatsCommand(o *options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats RUN|allocation/NAME|FOLDER",
		Short: "Count log lines by node, component and level, with their rate and the longest silence",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, done, err := o.logsIn(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer done()
			stats := logs.NewStats()
			err = source.each(func(l *logs.Line) error {
				if !l.At.IsZero() {
					stats.Add(l)
				}
				return nil
			})
			if err := source.complain(cmd, stats.Lines, err); err != nil {
				return err
			}
			if asJSON {
				data, err := json.MarshalIndent(stats, "", "  ")
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", data)
				return err
			}
			if stats.Lines == 0 {
				note(cmd)("%s has no logs: %s", source.name, source.message)
				return nil
			}
			return printStats(cmd.OutOrStdout(), stats)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

func printStats(out io.Writer, s *logs.Stats) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("Lines:\t%d, %d of standard error", s.Lines, s.StderrLines)
	p("Duration:\t%.1f s, from %s to %s UTC", s.Duration, s.First.UTC().Format(time.DateTime), s.Last.UTC().Format(time.DateTime))
	p("Rate:\t%.2f lines/s", s.LinesPerSecond)
	if s.Silence > 0 {
		p("Longest silence:\t%.1f s, from %s UTC", s.Silence, s.SilenceFrom.UTC().Format(time.DateTime))
	}
	for _, part := range []struct {
		title  string
		counts map[string]int64
	}{{"By node", s.Nodes}, {"By component", s.Components}, {"By level", s.Levels}} {
		p("%s:", part.title)
		for _, name := range slices.Sorted(maps.Keys(part.counts)) {
			p("  %s\t%d\t%.1f %%", name, part.counts[name], 100*float64(part.counts[name])/float64(s.Lines))
		}
	}
	return w.Flush()
}
