package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/container"
	"github.com/benchd/benchd/home"
)

func newImageCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Fetch container images",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newImagePullCommand(o))
	return cmd
}

func newImagePullCommand(o *options) *cobra.Command {
	var runtime, to string
	var force bool
	cmd := &cobra.Command{
		Use:   "pull REFERENCE",
		Short: "Fetch an image once, for all nodes",
		Long: `Fetch an image once, for all nodes, into a folder that they share, and say what to write into container.image. apptainer and
singularity make a .sif file, charliecloud a folder, pyxis (enroot) a .sqsh file; podman keeps images in each machine's own store.
An image that is there is left alone without --force; one that was begun and not finished is never found there.`,
		Example: "  benchd image pull docker://ollama/ollama:latest\n  benchd image pull docker://vllm/vllm-openai:v0.11.0 --runtime apptainer --to /project/images",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				dir, err := home.Locate(o.home)
				if err != nil {
					return err
				}
				to = filepath.Join(string(dir), "work", "images")
			}
			return pullImage(cmd, api.Runtime(runtime), args[0], to, force)
		},
	}
	f := cmd.Flags()
	f.StringVar(&runtime, "runtime", string(api.RuntimeApptainer), "container runtime: apptainer, singularity, charliecloud, pyxis or podman")
	f.StringVar(&to, "to", "", "folder for the image, which login and compute nodes share (default work/images in the home folder)")
	f.BoolVar(&force, "force", false, "fetch it again")
	return cmd
}

func pullImage(cmd *cobra.Command, runtime api.Runtime, reference, to string, force bool) error {
	plan, err := container.PlanPull(runtime, reference, to)
	if err != nil {
		return exitError{exitInvalid, err}
	}
	if _, err := exec.LookPath(plan.Program); err != nil {
		return fmt.Errorf("pull %s: %s is not on PATH: load the module that brings it, or choose another --runtime", reference, plan.Program)
	}
	if plan.Target != "" {
		if _, err := os.Stat(plan.Target); err == nil && !force {
			say(cmd)("%s is there already\ncontainer: {runtime: %s, image: %s}", plan.Target, runtime, plan.Target)
			return nil
		}
		if err := os.MkdirAll(filepath.Dir(plan.Target), 0o755); err != nil {
			return fmt.Errorf("pull %s: %w", reference, err)
		}
	}
	if err := runPull(cmd, plan); err != nil {
		return err
	}
	image := plan.Target
	if image == "" {
		image = reference
	}
	say(cmd)("container: {runtime: %s, image: %s}", runtime, image)
	return nil
}

// secretOf hides what a reference's host part may carry.
var secretOf = regexp.MustCompile(`//[^/@]*@`)

// runPull runs the runtime's command, its output shown as it comes, and puts the image in its place when it is whole.
func runPull(cmd *cobra.Command, plan container.Pull) error {
	note(cmd)("%s", secretOf.ReplaceAllString(strings.Join(plan.Args, " "), "//***@"))
	started := time.Now()
	c := exec.CommandContext(cmd.Context(), plan.Args[0], plan.Args[1:]...)
	c.Stdout, c.Stderr = cmd.ErrOrStderr(), cmd.ErrOrStderr()
	c.WaitDelay = 10 * time.Second
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	if err := c.Run(); err != nil {
		if plan.Partial != "" {
			err = errors.Join(err, os.RemoveAll(plan.Partial))
		}
		if cmd.Context().Err() != nil {
			return exitError{exitDetached, context.Cause(cmd.Context())}
		}
		return fmt.Errorf("%s: %w: its output above says why; a machine without a network needs the image copied to it", plan.Program, err)
	}
	if plan.Partial == "" {
		return nil
	}
	if err := os.RemoveAll(plan.Target); err != nil {
		return fmt.Errorf("put the image in its place: %w", err)
	}
	if err := os.Rename(plan.Partial, plan.Target); err != nil {
		return fmt.Errorf("put the image in its place: %w", err)
	}
	note(cmd)("fetched in %s", time.Since(started).Round(time.Second))
	return nil
}
