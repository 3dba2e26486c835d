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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
)

func newWaitCommand(o *options) *cobra.Command {
	var condition string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait RUN…|sweep/NAME…",
		Short: "Wait until runs or sweeps have ended, or for something else of them",
		Long: `Wait until runs or sweeps have ended (the default), are in a phase, have a condition, or are deleted. Of those that are waited
for to their end, the exit code tells how the first of them ended that did not succeed. A sweep that a
limit or its failure policy has stopped has ended.`,
		Example: "  benchd wait my-run\n  benchd wait sweep/my-sweep\n  benchd wait my-run --for phase=Executing --timeout 1h\n  benchd wait my-run --for condition=Deployed\n  benchd wait my-run --for delete",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := withSignals(cmd.Context())
			defer stop()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			return o.wait(ctx, say(cmd), condition, timeout, args)
		},
	}
	cmd.Flags().StringVar(&condition, "for", "end", "end, delete, phase=PHASE or condition=TYPE[=STATUS]")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up after this time; 0 means never")
	return cmd
}

// wait waits for all that the arguments name, however the first of them ended. ctx ends after the timeout.
func (o *options) wait(ctx context.Context, say func(string, ...any), condition string, timeout time.Duration, args []string) error {
	holds, err := parseWait(condition)
	if err != nil {
		return err
	}
	c, err := connectRunning(ctx, o.home)
	if err != nil {
		return err
	}
	defer c.Close()
	kind, names, err := objectArgs(args)
	if err != nil {
		return err
	}
	if kind != api.KindBenchmarkRun && kind != api.KindBenchmarkSweep {
		return exitError{exitInvalid, fmt.Errorf("wait knows runs and sweeps, not a %s", word(kind))}
	}
	var ended []error
	for _, name := range names {
		w, err := waitFor(ctx, c, kind, o.namespace, name, holds)
		if errors.Is(err, context.DeadlineExceeded) {
			return exitError{exitTimeout, fmt.Errorf("%s %s: not within %s: %s", word(kind), name, timeout, w.lastSeen())}
		}
		if err != nil {
			return err
		}
		if condition != "end" {
			say("%s/%s %s", word(kind), name, condition)
			continue
		}
		say("%s/%s has ended: %s", word(kind), name, w.phase)
		if err := w.outcome(); err != nil {
			ended = append(ended, err)
		}
	}
	if len(ended) == 0 {
		return nil
	}
	first := exitError{code: exitFailure}
	errors.As(ended[0], &first)
	return exitError{first.code, errors.Join(ended...)}
}

// waited is what is waited for, as far as waiting goes. A nil obj means that it is gone.
type waited struct {
	obj            api.Object
	phase, message string
	ended          bool
	conditions     []metav1.Condition
}

func waitedOf(obj api.Object) waited {
	switch o := obj.(type) {
	case *api.BenchmarkRun:
		return waited{o, string(o.Status.Phase), o.Status.Message, o.Status.Phase.Terminal(), o.Status.Conditions}
	case *api.BenchmarkSweep:
		over := o.Status.Phase == api.SweepCompleted || o.Status.Phase == api.SweepStopped && o.Status.Allocations == 0
		return waited{o, string(o.Status.Phase), o.Status.Message, over, o.Status.Conditions}
	}
	return waited{}
}

func (w waited) lastSeen() string {
	if w.obj == nil {
		return "it was not seen"
	}
	return fmt.Sprintf("it is %s: %s", w.phase, w.message)
}

// outcome makes the exit code of what has ended.
func (w waited) outcome() error {
	switch o := w.obj.(type) {
	case *api.BenchmarkRun:
		return outcomeError(o)
	case *api.BenchmarkSweep:
		st := &o.Status
		switch {
		case st.Phase == api.SweepStopped || st.Failed > 0:
			return exitError{exitRunFailed, fmt.Errorf("sweep %s: %s", o.Name, st.Message)}
		case st.Succeeded == 0 && st.Cancelled > 0:
			return exitError{exitCancelled, fmt.Errorf("sweep %s: all its runs were cancelled", o.Name)}
		}
	}
	return nil
}

// parseWait makes a predicate of --for.
func parseWait(condition string) (func(waited) (bool, error), error) {
	what, value, _ := strings.Cut(condition, "=")
	over := func(w waited) error {
		if w.obj == nil {
			return errors.New("it was deleted")
		}
		if w.ended {
			return fmt.Errorf("it has ended (%s: %s)", w.phase, w.message)
		}
		return nil
	}
	switch what {
	case "end":
		return func(w waited) (bool, error) {
			if w.obj == nil {
				return false, errors.New("it was deleted")
			}
			return w.ended, nil
		}, nil
	case "delete":
		return func(w waited) (bool, error) { return w.obj == nil, nil }, nil
	case "phase":
		return func(w waited) (bool, error) {
			if strings.EqualFold(w.phase, value) {
				return true, nil
			}
			return false, over(w)
		}, nil
	case "condition":
		kind, status, _ := strings.Cut(value, "=")
		if status == "" {
			status = "True"
		}
		return func(w waited) (bool, error) {
			if c := meta.FindStatusCondition(w.conditions, kind); c != nil && strings.EqualFold(string(c.Status), status) {
				return true, nil
			}
			return false, over(w)
		}, nil
	}
	return nil, exitError{exitInvalid, fmt.Errorf("--for %q is not known: use end, delete, phase=PHASE or condition=TYPE[=STATUS]", condition)}
}

// waitFor watches a run or a sweep until the predicate holds. It outlives the control plane: while none answers, it tries again.
func waitFor(ctx context.Context, c *client.Client, kind, namespace, name string, holds func(waited) (bool, error)) (waited, error) {
	var last waited
	seen := false
	for ctx.Err() == nil {
		obj, err := c.Get(ctx, kind, namespace, name)
		switch {
		case apierrors.IsNotFound(err) && !seen:
			return last, err
		case err == nil, apierrors.IsNotFound(err):
			seen = true
			if last = (waited{}); err == nil {
				last = waitedOf(obj)
			}
			ok, err := holds(last)
			if err != nil {
				return last, fmt.Errorf("%s %s: %w", word(kind), name, err)
			}
			if ok {
				return last, nil
			}
		case !errors.Is(err, client.ErrNoServer) && ctx.Err() == nil:
			return last, err
		}
		awaitChange(ctx, c, kind, namespace, name)
	}
	return last, context.Cause(ctx)
}

// awaitChange returns when the object may have changed.
func awaitChange(ctx context.Context, c *client.Client, kind, namespace, name string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	changes, err := c.Watch(ctx, kind, client.ListOptions{Namespace: namespace, FieldSelector: "metadata.name=" + name})
	if err != nil {
		<-time.After(200 * time.Millisecond)
		return
	}
	<-changes // the object as it is
	<-changes // its first change, or the end of the watch
	cancel()
	for range changes {
		continue
	}
}

func getRun(ctx context.Context, c *client.Client, namespace, name string) (*api.BenchmarkRun, error) {
	obj, err := c.Get(ctx, api.KindBenchmarkRun, namespace, name)
	if apierrors.IsNotFound(err) {
		if _, other := c.Get(ctx, api.KindBenchmarkSweep, namespace, name); other == nil {
			return nil, fmt.Errorf("%w, but there is a sweep of that name: write sweep/%s", err, name)
		}
	}
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
