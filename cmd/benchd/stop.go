package main

import (
	"fmt"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/benchd/benchd/home"
)

func newStopCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "Stop the control plane; jobs go on, and the next start picks everything up",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := home.Locate(o.home)
			if err != nil {
				return err
			}
			owner, err := dir.Owner()
			if err != nil || owner.PID == 0 || owner.Here() && !owner.Alive() {
				say(cmd)("no control plane runs for %s", dir)
				return nil
			}
			if !owner.Here() {
				return exitError{exitNoServer, fmt.Errorf("the control plane of %s runs on host %s (process %d): stop it there", dir, owner.Host, owner.PID)}
			}
			if err := syscall.Kill(owner.PID, syscall.SIGTERM); err != nil {
				return fmt.Errorf("stop process %d: %w", owner.PID, err)
			}
			for deadline := time.Now().Add(30 * time.Second); owner.Alive(); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					return exitError{exitTimeout, fmt.Errorf("process %d has not ended after 30 s: see %s", owner.PID, dir.Log())}
				}
			}
			say(cmd)("control plane stopped; jobs go on")
			return nil
		},
	}
}
