package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/benchd/benchd/manifest"
)

func newExplainCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "explain PATH",
		Short:   "Say what a field means",
		Example: "  benchd explain run\n  benchd explain run.spec.workload.load",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := manifest.Explain(args[0])
			if err != nil {
				return exitError{exitInvalid, err}
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
}

func newValidateCommand(o *options) *cobra.Command {
	var files []string
	var recursive bool
	cmd := &cobra.Command{
		Use:   "validate -f FILE",
		Short: "Check files without a control plane",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			docs, err := o.readManifests(cmd, files, recursive)
			if err != nil {
				return err
			}
			for _, doc := range docs {
				say(cmd)("%s:%d: %s is valid", doc.File, doc.Line, display(doc.Object))
			}
			return nil
		},
	}
	fileFlags(cmd, &files, &recursive)
	return cmd
}
