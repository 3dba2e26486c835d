// Command benchd is every part of benchd in one binary: command line, control plane, and the agent on each node of a job.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // schedules name time zones, which small images do not have

	"github.com/benchd/benchd/slurmadapter/embedded"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	// Inside an embedded job the binary plays srun and scontrol.
	if shim, ok := embedded.Shims[filepath.Base(os.Args[0])]; ok {
		if err := shim(os.Args[1:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	err := newRootCommand().Execute()
	if err == nil {
		return 0
	}
	var exit exitError
	if !errors.As(err, &exit) {
		exit = exitError{code: exitFailure, err: err}
	}
	if exit.err != nil {
		fmt.Fprintln(os.Stderr, "Error:", exit.err)
	}
	return exit.code
}
