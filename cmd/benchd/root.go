package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes; `benchd --help` prints them.
const (
	exitFailure   = 1 // anything else
	exitInvalid   = 2 // input that is at fault: nothing was changed
	exitNoServer  = 3 // no control plane answers
	exitRunFailed = 4 // the run that was waited for failed
	exitCancelled = 5 // the run that was waited for was cancelled
	exitDetached  = 6 // interrupted; the run goes on
	exitTimeout   = 7 // what was waited for did not come in time
	exitLimit     = 8 // a limit of a comparison is broken
)

// exitError carries an exit code other than 1. A nil err prints nothing.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "benchd",
		Short: "Benchmark LLM inference services on Slurm clusters, declaratively",
		Long: `benchd benchmarks LLM inference services on Slurm clusters. You declare a BenchmarkRun, benchd carries it out:

  benchd run -f run.yaml        apply it, follow it live, print its report
  benchd apply -f run.yaml      hand it over and walk away
  benchd get runs -w            look
  benchd report NAME            read the numbers
  benchd create run.yaml        be asked what to run, and have the file written

Exit codes: 0 success, 1 failure, 2 invalid input (nothing was changed), 3 no control plane answers, 4 the run failed,
5 the run was cancelled, 6 interrupted while the run goes on, 7 timed out,
8 a limit of 'benchd compare' is broken.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exitError{exitInvalid, fmt.Errorf("%w: `%s --help` lists the flags", err, cmd.CommandPath())}
	})
	var o options
	o.register(root)
	root.AddCommand(
		newApplyCommand(&o), newRunCommand(&o), newGetCommand(&o), newDescribeCommand(&o), newLogsCommand(&o), newEventsCommand(&o),
		newReportCommand(&o), newWaitCommand(&o), newCancelCommand(&o), newSuspendCommand(&o), newResumeCommand(&o), newPlanCommand(&o), newTopCommand(&o), newPortForwardCommand(&o), newPruneCommand(&o), newPinCommand(&o, true), newPinCommand(&o, false), newDeleteCommand(&o), newExplainCommand(&o),
		newValidateCommand(&o), newRenderCommand(&o), newConvertCommand(&o),
		newListCommand(&o), newCreateCommand(&o), newInitCommand(&o), newImageCommand(&o), newLoadCommand(), newCompareCommand(&o), newDiffCommand(&o), newServeCommand(&o), newStopCommand(&o), newStoreCommand(&o), newSimulateCommand(), newVersionCommand(&o),
		newAgentCommand(), newSupervisorCommand(), newDoctorCommand(&o), newProbeCommand(),
	)
	refuseArguments(root)
	return root
}

// refuseArguments makes arguments that a command does not take invalid input, and says how it is used.
func refuseArguments(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		refuseArguments(sub)
	}
	check := cmd.Args
	if check == nil {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		var exit exitError
		if err == nil || errors.As(err, &exit) {
			return err
		}
		return exitError{exitInvalid, fmt.Errorf("%w: use `%s`", err, strings.TrimSuffix(cmd.UseLine(), " [flags]"))}
	}
}
