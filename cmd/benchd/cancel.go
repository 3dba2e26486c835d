package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func newCancelCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel RUN…",
		Short: "End runs, whatever their phase; what they have measured is kept",
		Long: `End runs, whatever their phase; what they have measured is kept. A sweep is suspended (benchd suspend), which can be taken back,
or deleted (benchd delete), which ends all its runs.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, _, err := objectArgs(args)
			if err != nil {
				return err
			}
			if kind != api.KindBenchmarkRun {
				return exitError{exitInvalid, fmt.Errorf("only runs are cancelled: a sweep is suspended with `benchd suspend`, or deleted")}
			}
			return o.patchSpecs(cmd, args, map[string]any{"cancel": true}, func(obj api.Object) string {
				if run, ok := obj.(*api.BenchmarkRun); ok && run.Status.Phase.Terminal() {
					return "had ended already: " + string(run.Status.Phase)
				}
				return "is being cancelled"
			})
		},
	}
}

func newSuspendCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "suspend sweep/NAME…|schedule/NAME…",
		Short: "Begin no further runs of a sweep or a schedule; those under way go on, nodes with nothing to measure are given back",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.suspend(cmd, args, true, "is suspended: runs under way go on to their end")
		},
	}
}

func newResumeCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "resume sweep/NAME…|schedule/NAME…",
		Short: "Go on with a sweep or a schedule that was suspended",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.suspend(cmd, args, false, "goes on")
		},
	}
}

// suspend sets spec.suspend of kinds that have it.
func (o *options) suspend(cmd *cobra.Command, args []string, to bool, said string) error {
	kind, names, err := objectArgs(args)
	if err != nil {
		return err
	}
	if kind != api.KindBenchmarkSweep && kind != api.KindBenchmarkSchedule {
		return exitError{exitInvalid, fmt.Errorf("a %s cannot be suspended: name a sweep or a schedule, as in sweep/my-sweep", word(kind))}
	}
	var failed error
	for _, name := range names {
		ended, err := o.sweepEnded(cmd, kind, name, to)
		switch {
		case err != nil:
			failed = errors.Join(failed, err)
		case ended:
			say(cmd)("%s/%s had ended already: %s", word(kind), name, api.SweepCompleted)
		default:
			failed = errors.Join(failed, o.patchSpecs(cmd, []string{word(kind), name}, map[string]any{"suspend": to}, func(api.Object) string { return said }))
		}
	}
	return failed
}

// sweepEnded says whether a sweep has ended and would come to nothing else by the change. It is left as it is: a change of its spec
// makes the runs anew that it is to have and has not, those that retention has taken among them.
func (o *options) sweepEnded(cmd *cobra.Command, kind, name string, suspend bool) (bool, error) {
	if kind != api.KindBenchmarkSweep {
		return false, nil
	}
	c, err := connectRunning(cmd.Context(), o.home)
	if err != nil {
		return false, err
	}
	defer c.Close()
	obj, err := c.Get(cmd.Context(), kind, o.namespace, name)
	if err != nil {
		return false, err
	}
	s, ok := obj.(*api.BenchmarkSweep)
	return ok && s.Status.Phase == api.SweepCompleted && (suspend || !s.Spec.Suspend), nil
}

// patchSpecs changes the specs of the objects that are named, and says what comes of it.
func (o *options) patchSpecs(cmd *cobra.Command, args []string, spec map[string]any, said func(api.Object) string) error {
	c, err := connectRunning(cmd.Context(), o.home)
	if err != nil {
		return err
	}
	defer c.Close()
	kind, names, err := objectArgs(args)
	if err != nil {
		return err
	}
	var failed error
	for _, name := range names {
		obj, err := c.Patch(cmd.Context(), kind, o.namespace, name, map[string]any{"spec": spec})
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		say(cmd)("%s/%s %s", word(kind), name, said(obj))
	}
	return failed
}
