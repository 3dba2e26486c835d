package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/manifest"
)

func newApplyCommand(o *options) *cobra.Command {
	var files []string
	var recursive, dryRun, replace bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Create or change objects from files",
		Long: `Create or change objects from files, folders or standard input; a file may hold several documents. All of them are
checked before the first is written. The whole spec is replaced, labels and annotations are merged. A run that has
started can only be cancelled or labelled; --replace deletes it and starts anew.`,
		Example: "  benchd apply -f run.yaml\n  benchd apply -f runs/ --dry-run\n  generate | benchd apply -f -",
		Args:    filesAlone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			docs, err := o.readManifests(cmd, files, recursive)
			if err != nil {
				return err
			}
			c, _, err := connectOrStart(cmd.Context(), o.home, note(cmd))
			if err != nil {
				return err
			}
			defer c.Close()
			// A first round that writes nothing, so that a refusal of one object leaves the others unwritten.
			if !replace {
				if err := applyAll(cmd.Context(), c.DryRun(), docs, func(string, ...any) {}, ""); err != nil {
					return err
				}
			}
			switch {
			case dryRun:
				return applyAll(cmd.Context(), c.DryRun(), docs, say(cmd), " (dry run)")
			case replace:
				if err := deleteAll(cmd.Context(), c, docs, note(cmd)); err != nil {
					return err
				}
			}
			return applyAll(cmd.Context(), c, docs, say(cmd), "")
		},
	}
	fileFlags(cmd, &files, &recursive)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check everything and say what would be done, but change nothing")
	cmd.Flags().BoolVar(&replace, "replace", false, "delete what is there first; result folders stay")
	return cmd
}

func applyAll(ctx context.Context, c *client.Client, docs []manifest.Document, say func(string, ...any), suffix string) error {
	var all error
	for _, doc := range docs {
		result, _, err := c.Apply(ctx, doc.Object)
		if err != nil {
			all = errors.Join(all, fmt.Errorf("%s:%d: apply %s: %w", doc.File, doc.Line, display(doc.Object), err))
			continue
		}
		say("%s %s%s", display(doc.Object), result, suffix)
	}
	if all != nil {
		return exitError{exitInvalid, all}
	}
	return nil
}

// deleteAll deletes the objects and waits until they are gone.
func deleteAll(ctx context.Context, c *client.Client, docs []manifest.Document, note func(string, ...any)) error {
	for _, doc := range docs {
		obj := doc.Object
		kind := obj.GetObjectKind().GroupVersionKind().Kind
		gone, err := c.Delete(ctx, kind, obj.GetNamespace(), obj.GetName(), "")
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("replace %s: %w", display(obj), err)
		}
		if !gone {
			note("waiting until nothing of %s is left on the cluster", display(obj))
			if err := waitGone(ctx, c, kind, obj.GetNamespace(), obj.GetName(), 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// waitGone waits until an object is gone; a timeout of 0 means for ever.
func waitGone(ctx context.Context, c *client.Client, kind, namespace, name string, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := c.Get(ctx, kind, namespace, name); apierrors.IsNotFound(err) {
			return nil
		} else if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return exitError{exitTimeout, fmt.Errorf("%s %s is still there: its job has not ended yet", word(kind), name)}
		case <-tick.C:
		}
	}
}
