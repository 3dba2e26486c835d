package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/node/agent"
	"github.com/benchd/benchd/slurmadapter/embedded"
)

// clockSkewVariable shifts an agent's clocks, in tests of nodes whose clocks differ.
const clockSkewVariable = "BENCHD_TEST_CLOCK_SKEW"

func newAgentCommand() *cobra.Command {
	var folder string
	cmd := &cobra.Command{
		Use:    "agent",
		Short:  "The process on each node of a job (started by the batch script)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			opts, err := agent.FromEnvironment(agent.Options{Folder: node.Folder(folder), Version: version})
			if err != nil {
				return err
			}
			if text := os.Getenv(clockSkewVariable); text != "" && opts.Rank > 0 {
				if opts.ClockSkew, err = time.ParseDuration(text); err != nil {
					return fmt.Errorf("%s: %w", clockSkewVariable, err)
				}
			}
			return agent.Run(ctx, opts)
		},
	}
	cmd.Flags().StringVar(&folder, "folder", "", "the job's folder")
	_ = cmd.MarkFlagRequired("folder") // the flag was just declared
	return cmd
}

func newSupervisorCommand() *cobra.Command {
	return &cobra.Command{
		Use:    embedded.SupervisorVerb + " CLUSTER JOB",
		Short:  "Supervises one job of an embedded cluster",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return embedded.Supervise(args[0], args[1], api.ParseSlurmTime, slog.New(slog.NewTextHandler(os.Stderr, nil)))
		},
	}
}

// withSignals returns a context that ends at SIGTERM or SIGINT.
func withSignals(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
}
