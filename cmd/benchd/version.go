package main

import (
	"errors"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/benchd/benchd/client"
)

func newVersionCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this binary and of the control plane",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			say(cmd)("benchd %s (%s, %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			c, err := connectRunning(cmd.Context(), o.home)
			var exit exitError
			if errors.As(err, &exit) && exit.code == exitNoServer {
				say(cmd)("control plane: none answers")
				return nil
			}
			if err != nil {
				return err
			}
			defer c.Close()
			info, err := c.Version(cmd.Context())
			if errors.Is(err, client.ErrNoServer) {
				say(cmd)("control plane: none answers")
				return nil
			}
			if err != nil {
				return err
			}
			say(cmd)("control plane %s", info.GitVersion)
			return nil
		},
	}
}
