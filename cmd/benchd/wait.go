package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
)

func newWaitCommand(o *options) *cobra.Command {
	var condition string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait RUN…",
		Short: "Wait until runs have ended, or for something else of them",
		Long: `Wait until runs have ended (the default), are in a phase, have a condition, or are deleted. Of runs that are waited for to
their end, the exit code tells how they ended.`,
		Example: "  benchd wait my-run\n  benchd wait my-run --for phase=Executing --timeout 1h\n  benchd wait my-run --for condition=Deployed\n  benchd wait my-run --for delete",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			holds, err := parseWait(condition)
			if err != nil {
				return err
			}
			ctx, stop := withSignals(cmd.Context())
			defer stop()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			c, err := connectRunning(ctx, o.home)
			if err != nil {
				return err
			}
			defer c.Close()
			_, names, err := objectArgs(args)
			if err != nil {
				return err
			}
			for _, name := range names {
				run, err := waitFor(ctx, c, o.namespace, name, holds)
				if errors.Is(err, context.DeadlineExceeded) {
					return exitError{exitTimeout, fmt.Errorf("run %s: not within %s: %s", name, timeout, lastSeen(run))}
				}
				if err != nil {
					return err
				}
				say(cmd)("run/%s %s", name, condition)
				if condition == "end" {
					if err := outcomeError(run); err != nil {
						return err
					}
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&condition, "for", "end", "end, delete, phase=PHASE or condition=TYPE[=STATUS]")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up after this time; 0 means never")
	return cmd
}

func lastSeen(run *api.BenchmarkRun) string {
	if run == nil {
		return "it was not seen"
	}
	return fmt.Sprintf("it is %s: %s", run.Status.Phase, run.Status.Message)
}

// parseWait makes a predicate of --for. A nil run means that it is gone.
func parseWait(condition string) (func(*api.BenchmarkRun) (bool, error), error) {
	what, value, _ := strings.Cut(condition, "=")
	ended := func(run *api.BenchmarkRun) error {
		if run == nil {
			return errors.New("it was deleted")
		}
		if run.Status.Phase.Terminal() {
			return fmt.Errorf("it has ended (%s: %s)", run.Status.Phase, run.Status.Message)
		}
		return nil
	}
	switch what {
	case "end":
		return func(run *api.BenchmarkRun) (bool, error) {
			if run == nil {
				return false, errors.New("it was deleted")
			}
			return run.Status.Phase.Terminal(), nil
		}, nil
	case "delete":
		return func(run *api.BenchmarkRun) (bool, error) { return run == nil, nil }, nil
	case "phase":
		return func(run *api.BenchmarkRun) (bool, error) {
			if run != nil && strings.EqualFold(string(run.Status.Phase), value) {
				return true, nil
			}
			return false, ended(run)
		}, nil
	case "condition":
		kind, status, _ := strings.Cut(value, "=")
		if status == "" {
			status = "True"
		}
		return func(run *api.BenchmarkRun) (bool, error) {
			if run != nil {
				if c := meta.FindStatusCondition(run.Status.Conditions, kind); c != nil && strings.EqualFold(string(c.Status), status) {
					return true, nil
				}
			}
			return false, ended(run)
		}, nil
	}
	return nil, exitError{exitInvalid, fmt.Errorf("--for %q is not known: use end, delete, phase=PHASE or condition=TYPE[=STATUS]", condition)}
}

// waitFor watches a run until the predicate holds. It outlives the control plane: while none answers, it tries again.
func waitFor(ctx context.Context, c *client.Client, namespace, name string, holds func(*api.BenchmarkRun) (bool, error)) (*api.BenchmarkRun, error) {
	var last *api.BenchmarkRun
	seen := false
	for ctx.Err() == nil {
		run, err := getRun(ctx, c, namespace, name)
		switch {
		case apierrors.IsNotFound(err) && !seen:
			return nil, err
		case err == nil, apierrors.IsNotFound(err):
			seen = true
			last = run
			ok, err := holds(run)
			if err != nil {
				return run, fmt.Errorf("run %s: %w", name, err)
			}
			if ok {
				return run, nil
			}
		case !errors.Is(err, client.ErrNoServer) && ctx.Err() == nil:
			return last, err
		}
		awaitChange(ctx, c, namespace, name)
	}
	return last, context.Cause(ctx)
}

// awaitChange returns when the run may have changed.
func awaitChange(ctx context.Context, c *client.Client, namespace, name string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	changes, err := c.Watch(ctx, api.KindBenchmarkRun, client.ListOptions{Namespace: namespace, FieldSelector: "metadata.name=" + name})
	if err != nil {
		<-time.After(200 * time.Millisecond)
		return
	}
	<-changes // the run as it is
	<-changes // its first change, or the end of the watch
	cancel()
	for range changes {
		continue
	}
}

func getRun(ctx context.Context, c *client.Client, namespace, name string) (*api.BenchmarkRun, error) {
	obj, err := c.Get(ctx, api.KindBenchmarkRun, namespace, name)
	if err != nil {
		return nil, err
	}
	run, ok := obj.(*api.BenchmarkRun)
	if !ok {
		return nil, fmt.Errorf("run %s is a %T", name, obj)
	}
	return run, nil
}

// outcomeError makes the exit code of a run that has ended.
func outcomeError(run *api.BenchmarkRun) error {
	switch run.Status.Phase {
	case api.RunCompleted:
		return nil
	case api.RunCancelled:
		return exitError{exitCancelled, fmt.Errorf("run %s was cancelled", run.Name)}
	default:
		return exitError{exitRunFailed, fmt.Errorf("run %s failed: %s", run.Name, run.Status.Message)}
	}
}
