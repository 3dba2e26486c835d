package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/node/logs"
)

func newLogsCommand(o *options) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs RUN",
		Short: "Show the logs of all nodes of a run, merged in the order of time",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connectRunning(cmd.Context(), o.home)
			if err != nil {
				return err
			}
			defer c.Close()
			_, names, err := objectArgs(args)
			if err != nil {
				return err
			}
			ctx, stop := withSignals(cmd.Context())
			defer stop()
			return showLogs(ctx, cmd, c, o.namespace, names[0], follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines until the run has ended")
	return cmd
}

func showLogs(ctx context.Context, cmd *cobra.Command, c *client.Client, namespace, name string, follow bool) error {
	run, err := getRun(ctx, c, namespace, name)
	if err != nil {
		return err
	}
	if len(run.Status.Attempts) == 0 {
		return fmt.Errorf("run %s has no attempt yet: %s", name, run.Status.Message)
	}
	merged := filepath.Join(run.Status.Folder, "logs", run.Spec.Logging.Outputs.Stdout)
	if node.Exists(merged) && run.Status.Phase.Terminal() {
		return copyFile(cmd.OutOrStdout(), merged)
	}
	tail := &rawTail{out: cmd.OutOrStdout(), offsets: map[string]int64{}}
	for {
		if run, err = tail.look(ctx, c, namespace, name); err != nil {
			return err
		}
		ended := run.Status.Phase.Terminal()
		switch {
		case tail.lines == 0 && (ended || !follow):
			note(cmd)("run %s has no logs: %s", name, run.Status.Message)
			return nil
		case ended || !follow:
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// look prints what is new in the logs of the run's current job, and returns the run as it was before that.
func (t *rawTail) look(ctx context.Context, c *client.Client, namespace, name string) (*api.BenchmarkRun, error) {
	run, err := getRun(ctx, c, namespace, name)
	if err != nil {
		return nil, err
	}
	folder, err := rawLogs(ctx, c, run)
	if err != nil || folder == "" {
		return run, err
	}
	return run, t.more(folder)
}

// rawLogs is the folder of the raw logs of the run's current job.
func rawLogs(ctx context.Context, c *client.Client, run *api.BenchmarkRun) (string, error) {
	attempt := run.Status.Attempts[len(run.Status.Attempts)-1]
	if attempt.Allocation == "" {
		return "", nil
	}
	obj, err := c.Get(ctx, api.KindAllocation, run.Namespace, attempt.Allocation)
	if err != nil {
		return "", err
	}
	a, ok := obj.(*api.Allocation)
	if !ok || a.Status.Folder == "" {
		return "", nil
	}
	return filepath.Dir(node.Folder(a.Status.Folder).Logs("x")), nil
}

func copyFile(out io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return errors.Join(err, f.Close())
}

// rawTail prints what raw logs have gained since it last looked, in the order of time within each look.
type rawTail struct {
	out     io.Writer
	offsets map[string]int64
	lines   int
}

func (t *rawTail) more(folder string) error {
	paths, err := filepath.Glob(filepath.Join(folder, "*", "*.log"))
	if err != nil {
		return err
	}
	// What the batch script says comes first: it is where a job that never came to its agents tells why.
	if err := t.script(filepath.Join(folder, "job.out")); err != nil {
		return err
	}
	var lines []logs.Line
	for _, path := range paths {
		found, offset, err := logs.ReadFrom(path, t.offsets[path])
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		t.offsets[path] = offset
		lines = append(lines, found...)
	}
	slices.SortStableFunc(lines, func(a, b logs.Line) int { return a.At.Compare(b.At) })
	for _, l := range lines {
		t.lines++
		if _, err := fmt.Fprintln(t.out, l.String()); err != nil {
			return err
		}
	}
	return nil
}

func (t *rawTail) script(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(t.offsets[path], io.SeekStart); err != nil {
		return err
	}
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil // the rest of the line is still being written
		}
		t.offsets[path] += int64(len(line))
		t.lines++
		if _, err := fmt.Fprintf(t.out, "[job] %s", line); err != nil {
			return err
		}
	}
}
