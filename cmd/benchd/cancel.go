package main

import (
	"errors"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func newCancelCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel RUN…",
		Short: "End runs, whatever their phase; what they have measured is kept",
		Args:  cobra.MinimumNArgs(1),
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
			var failed error
			for _, name := range names {
				obj, err := c.Patch(cmd.Context(), api.KindBenchmarkRun, o.namespace, name, map[string]any{"spec": map[string]any{"cancel": true}})
				if err != nil {
					failed = errors.Join(failed, err)
					continue
				}
				if run, ok := obj.(*api.BenchmarkRun); ok && run.Status.Phase.Terminal() {
					say(cmd)("run/%s had ended already: %s", name, run.Status.Phase)
					continue
				}
				say(cmd)("run/%s is being cancelled", name)
			}
			return failed
		},
	}
}
