package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/controllers"
	"github.com/benchd/benchd/plan"
)

func newPruneCommand(o *options) *cobra.Command {
	var yes bool
	var cluster string
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Show which finished runs are beyond what a cluster is to keep, or let them go at once",
		Long: `Show which finished runs are beyond the retention that a Cluster object asks for (spec.retention). The control plane lets them
go by itself, once an interval; with --yes it does so at once. What is pinned (benchd pin) never goes.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connectRunning(cmd.Context(), o.home)
			if err != nil {
				return err
			}
			defer c.Close()
			obj, err := c.Get(cmd.Context(), api.KindCluster, "", cluster)
			if err != nil {
				return err
			}
			cl, ok := obj.(*api.Cluster)
			if !ok || cl.Spec.Retention == nil {
				return exitError{exitInvalid, fmt.Errorf("cluster %s keeps everything: set spec.retention in its Cluster object, such as {after: 2160h, action: archive}; --cluster names another one", cluster)}
			}
			runs, err := controllers.FinishedRuns(cmd.Context(), clientLister{c}, cluster)
			if err != nil {
				return err
			}
			expired := plan.Expire(runs, cl.Spec.Retention, time.Now())
			if err := printExpired(cmd, cl.Spec.Retention, expired, len(runs)); err != nil || !yes || len(expired) == 0 {
				return err
			}
			_, err = c.Patch(cmd.Context(), api.KindCluster, "", cluster, map[string]any{"metadata": map[string]any{"annotations": map[string]any{api.AnnotationPrune: time.Now().UTC().Format(time.RFC3339Nano)}}})
			if err == nil {
				say(cmd)("the control plane lets them go now")
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "let them go at once")
	cmd.Flags().StringVar(&cluster, "cluster", api.ClusterNameDefault, "Cluster object whose runs are meant")
	return cmd
}

func printExpired(cmd *cobra.Command, r *api.RetentionSpec, expired []plan.Finished, all int) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
	if len(expired) > 0 {
		fmt.Fprintln(w, "NAMESPACE\tRUN\tENDED\tBYTES")
	}
	for _, f := range expired {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\n", f.Namespace, f.Name, f.Ended.Format(time.DateTime), f.Bytes)
	}
	err := w.Flush()
	say(cmd)("%d of %d finished runs are kept no longer (action %s)", len(expired), all, r.Action)
	return err
}

// clientLister lists by the API.
type clientLister struct{ client *client.Client }

func (l clientLister) Page(ctx context.Context, kind, _ string) ([]api.Object, string, error) {
	list, err := l.client.List(ctx, kind, client.ListOptions{})
	return list.Items, "", err
}

func newPinCommand(o *options, pin bool) *cobra.Command {
	use, short, said := "pin", "Keep runs or sweeps, whatever retention and history limits say", "is kept"
	var value any = "yes"
	if !pin {
		use, short, said = "unpin", "Let runs or sweeps go again when their time comes", "goes when its time comes"
		value = nil
	}
	return &cobra.Command{
		Use:   use + " RUN…|sweep/NAME…",
		Short: short,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, names, err := objectArgs(args)
			if err != nil {
				return err
			}
			if kind != api.KindBenchmarkRun && kind != api.KindBenchmarkSweep {
				return exitError{exitInvalid, fmt.Errorf("a %s is not what is kept or let go: name runs or sweeps", word(kind))}
			}
			c, err := connectRunning(cmd.Context(), o.home)
			if err != nil {
				return err
			}
			defer c.Close()
			var failed error
			for _, name := range names {
				_, err := c.Patch(cmd.Context(), kind, o.namespace, name, map[string]any{"metadata": map[string]any{"annotations": map[string]any{api.AnnotationPin: value}}})
				if err != nil {
					failed = errors.Join(failed, err)
					continue
				}
				say(cmd)("%s/%s %s", word(kind), name, said)
			}
			return failed
		},
	}
}
