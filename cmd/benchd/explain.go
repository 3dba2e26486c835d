package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/services"
)

func newExplainCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "explain PATH | explain service NAME",
		Short:   "Say what a field means, or what a service is and which settings it has",
		Example: "  benchd explain run\n  benchd explain run.spec.workload.load\n  benchd explain service vllm",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if isServices(args[0]) && len(args) == 2 {
				return o.explainService(cmd, args[1])
			}
			if len(args) == 2 {
				return exitError{exitInvalid, fmt.Errorf("explain takes one path, such as run.spec.workload, or service and a service's name")}
			}
			if isServices(args[0]) {
				return exitError{exitInvalid, fmt.Errorf("name the service: benchd explain service %s", strings.Join(services.Names(), "|"))}
			}
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
		Args:  filesAlone,
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
