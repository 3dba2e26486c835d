package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func newPinCommand(o *options, pin bool) *cobra.Command {
	use, short, said := "pin", "Keep runs or sweeps, whatever retention and history limits say", "is kept"
	var value any = "yes"
	if !pin {
		use, short, said = "unpin", "Let runs or sweeps go again when their time comes", "goes when its time comes"
		value = nil
	}
	return &cobra.Command{
		Use:   use + " RUN…|sweep/NAME…",
		Short: short,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, names, err := objectArgs(args)
			if err != nil {
				return err
			}
			if kind != api.KindBenchmarkRun && kind != api.KindBenchmarkSweep {
				return exitError{exitInvalid, fmt.Errorf("a %s is not what is kept or let go: name runs or sweeps", word(kind))}
			}
			c, err := connectRunning(cmd.Context(), o.home)
			if err != nil {
				return err
			}
			defer c.Close()
			var failed error
			for _, name := range names {
				_, err := c.Patch(cmd.Context(), kind, o.namespace, name, map[string]any{"metadata": map[string]any{"annotations": map[string]any{api.AnnotationPin: value}}})
				if err != nil {
					failed = errors.Join(failed, err)
					continue
				}
				say(cmd)("%s/%s %s", word(kind), name, said)
			}
			return failed
		},
	}
}
