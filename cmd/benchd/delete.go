package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
)

func newDeleteCommand(o *options) *cobra.Command {
	var files []string
	var recursive, wait, purge, all bool
	var selector string
	cmd := &cobra.Command{
		Use:   "delete KIND NAME… | -f FILE",
		Short: "Delete objects, and end their jobs on the cluster",
		Long: `Delete objects. A run's job is ended first, and the run is gone when nothing of it is left on the cluster. Result folders
stay, unless --purge asks that they go too.`,
		Example: "  benchd delete run my-run\n  benchd delete runs -l team=inference\n  benchd delete -f run.yaml --purge",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connectRunning(cmd.Context(), o.home)
			if err != nil {
				return err
			}
			defer c.Close()
			objs, err := o.toDelete(cmd, c, args, files, recursive, selector, all)
			if err != nil {
				return err
			}
			var failed error
			for _, obj := range objs {
				failed = errors.Join(failed, deleteOne(cmd, c, obj, purge, wait))
			}
			return failed
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&files, "filename", "f", nil, "file, folder, or - for standard input; may be repeated")
	f.BoolVarP(&recursive, "recursive", "R", false, "read folders within folders too")
	f.StringVarP(&selector, "selector", "l", "", "labels to select by")
	f.BoolVar(&all, "all", false, "delete all objects of the kind in the namespace")
	f.BoolVar(&wait, "wait", true, "wait until they are gone")
	f.BoolVar(&purge, "purge", false, "remove the runs' result folders too")
	return cmd
}

func (o *options) toDelete(cmd *cobra.Command, c *client.Client, args, files []string, recursive bool, selector string, all bool) ([]api.Object, error) {
	if len(files) > 0 {
		docs, err := o.readManifests(cmd, files, recursive)
		if err != nil {
			return nil, err
		}
		var objs []api.Object
		for _, doc := range docs {
			objs = append(objs, doc.Object)
		}
		return objs, nil
	}
	kind, names, err := objectArgs(args)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		if selector == "" && !all {
			return nil, exitError{exitInvalid, fmt.Errorf("name the %ss to delete, or select them with -l or --all", word(kind))}
		}
		list, err := c.List(cmd.Context(), kind, client.ListOptions{Namespace: o.namespace, LabelSelector: selector})
		return list.Items, err
	}
	var objs []api.Object
	var failed error
	for _, name := range names {
		obj, err := c.Get(cmd.Context(), kind, o.namespace, name)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		objs = append(objs, obj)
	}
	return objs, failed
}

func deleteOne(cmd *cobra.Command, c *client.Client, obj api.Object, purge, wait bool) error {
	ctx := cmd.Context()
	kind := obj.GetObjectKind().GroupVersionKind().Kind
	if purge {
		patch := map[string]any{"metadata": map[string]any{"annotations": map[string]string{api.AnnotationPurge: "true"}}}
		if _, err := c.Patch(ctx, kind, obj.GetNamespace(), obj.GetName(), patch); err != nil {
			return err
		}
	}
	gone, err := c.Delete(ctx, kind, obj.GetNamespace(), obj.GetName(), "")
	if err != nil {
		return err
	}
	if !gone && wait {
		if err := waitGone(ctx, c, kind, obj.GetNamespace(), obj.GetName(), 0); err != nil {
			return err
		}
		gone = true
	}
	say(cmd)("%s %s", display(obj), map[bool]string{true: "deleted", false: "is being deleted"}[gone])
	return nil
}
