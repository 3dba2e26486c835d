package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/controllers"
	"github.com/benchd/benchd/plan"
)

// pruneOptions are the flags of `benchd prune`.
type pruneOptions struct {
	yes, dryRun, held bool
	cluster           string
	timeout           time.Duration
	// What is to be kept this once.
	after           time.Duration
	keep            int32
	maxSize, action string
}

func newPruneCommand(o *options) *cobra.Command {
	var p pruneOptions
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Show which finished runs are beyond what a cluster is to keep, or let them go at once",
		Long: `Show which finished runs are beyond the retention that a Cluster object asks for (spec.retention). The control plane lets them
go by itself, once an interval; with --yes it does so at once, and what came of it is waited for. --after, --keep and --max-size say
what is to be kept this once, instead of what the Cluster object says: to try bounds out, or where it has none. What is pinned
(benchd pin), live or referred to never goes; --held lists it, with the reason.`,
		Example: "  benchd prune --dry-run\n  benchd prune --after 720h --held\n  benchd prune --cluster embedded --keep 100 --action delete --yes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.prune(cmd, p)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&p.yes, "yes", false, "let them go at once")
	f.BoolVar(&p.dryRun, "dry-run", false, "only show them, which is also what happens without --yes")
	f.BoolVar(&p.held, "held", false, "list what has to stay whatever its age, and why")
	f.StringVar(&p.cluster, "cluster", api.ClusterNameDefault, "Cluster object whose runs are meant")
	f.DurationVar(&p.timeout, "timeout", 0, "with --yes, give up waiting after this time; 0 means never")
	f.DurationVar(&p.after, "after", 0, "keep runs this long after their end, such as 720h")
	f.Int32Var(&p.keep, "keep", 0, "keep so many of the newest runs")
	f.StringVar(&p.maxSize, "max-size", "", "keep result folders up to this size together, such as 500Gi")
	f.StringVar(&p.action, "action", "", "archive or delete (default: what the Cluster object says, else archive)")
	cmd.MarkFlagsMutuallyExclusive("yes", "dry-run")
	return cmd
}

func (o *options) prune(cmd *cobra.Command, p pruneOptions) error {
	c, err := connectRunning(cmd.Context(), o.home)
	if err != nil {
		return err
	}
	defer c.Close()
	cl, err := getCluster(cmd.Context(), c, p.cluster)
	if err != nil {
		return err
	}
	policy, err := p.policy(cmd, cl)
	if err != nil {
		return exitError{exitInvalid, err}
	}
	runs, err := controllers.FinishedRuns(cmd.Context(), clientLister{c}, p.cluster)
	if err != nil {
		return err
	}
	expired := plan.Expire(runs, policy, time.Now())
	if err := printExpired(cmd, policy, expired, runs, p.held); err != nil || !p.yes || len(expired) == 0 {
		return err
	}
	st, err := pruneNow(cmd, c, p, policy)
	if err != nil {
		return err
	}
	for _, f := range expired {
		obj, err := c.Get(cmd.Context(), api.KindBenchmarkRun, f.Namespace, f.Name)
		if err == nil && obj.GetDeletionTimestamp() != nil {
			err = waitGone(cmd.Context(), c, api.KindBenchmarkRun, f.Namespace, f.Name, p.timeout)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	say(cmd)("%s", st.Message)
	if st.Failed > 0 {
		return exitError{code: exitFailure}
	}
	return nil
}

// policy is what is to be kept: what the flags say, or else the Cluster object.
func (p *pruneOptions) policy(cmd *cobra.Command, cl *api.Cluster) (*api.RetentionSpec, error) {
	spec, flags := &api.RetentionSpec{}, cmd.Flags()
	if cl.Spec.Retention != nil {
		spec.Action, spec.ArchiveDir = cl.Spec.Retention.Action, cl.Spec.Retention.ArchiveDir
	}
	if !flags.Changed("after") && !flags.Changed("keep") && !flags.Changed("max-size") {
		if cl.Spec.Retention == nil {
			return nil, fmt.Errorf("cluster %s keeps everything: say what is to be kept with --after, --keep or --max-size, or set spec.retention in its Cluster object, such as {after: 2160h, action: archive}", cl.Name)
		}
		*spec = *cl.Spec.Retention
	}
	if flags.Changed("after") {
		spec.After = &metav1.Duration{Duration: p.after}
	}
	if flags.Changed("keep") {
		spec.Keep = &p.keep
	}
	if flags.Changed("max-size") {
		size, err := resource.ParseQuantity(p.maxSize)
		if err != nil {
			return nil, fmt.Errorf("--max-size %q is no size: use one such as 500Gi", p.maxSize)
		}
		spec.MaxSize = &size
	}
	if p.action != "" {
		if spec.Action = api.RetentionAction(p.action); spec.Action == api.RetentionDelete {
			spec.ArchiveDir = ""
		}
	}
	probe := *cl
	probe.Spec.Retention = spec
	api.SetDefaults(&probe)
	var wrong error
	for _, e := range api.Validate(&probe) {
		name := e.Field // of what the Cluster object says
		for field, flag := range map[string]string{"after": "--after", "keep": "--keep", "maxSize": "--max-size", "action": "--action"} {
			if e.Field == "spec.retention."+field {
				name = flag
			}
		}
		wrong = errors.Join(wrong, fmt.Errorf("%s %v: %s", name, e.BadValue, e.Detail))
	}
	return spec, wrong
}

// pruneNow asks the control plane for a look at once, and waits for what came of it.
func pruneNow(cmd *cobra.Command, c *client.Client, p pruneOptions, policy *api.RetentionSpec) (*api.RetentionStatus, error) {
	ctx := cmd.Context()
	data, err := json.Marshal(api.PruneRequest{ID: time.Now().UTC().Format(time.RFC3339Nano), Retention: policy})
	if err != nil {
		return nil, err
	}
	asked := string(data)
	patch := map[string]any{"metadata": map[string]any{"annotations": map[string]any{api.AnnotationPrune: asked}}}
	if _, err := c.Patch(ctx, api.KindCluster, "", p.cluster, patch); err != nil {
		return nil, err
	}
	if p.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.timeout)
		defer cancel()
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		cl, err := getCluster(ctx, c, p.cluster)
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return nil, exitError{exitTimeout, fmt.Errorf("the look at cluster %s is not over after %s; it goes on: `benchd describe cluster %s` tells what comes of it", p.cluster, p.timeout, p.cluster)}
		case ctx.Err() != nil:
			return nil, exitError{exitDetached, fmt.Errorf("the look at cluster %s goes on: `benchd describe cluster %s` tells what comes of it", p.cluster, p.cluster)}
		case err != nil:
			return nil, err
		}
		if st := cl.Status.Retention; st != nil && st.Asked == asked {
			return st, nil
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func getCluster(ctx context.Context, c *client.Client, name string) (*api.Cluster, error) {
	obj, err := c.Get(ctx, api.KindCluster, "", name)
	if err != nil {
		return nil, err
	}
	cl, ok := obj.(*api.Cluster)
	if !ok {
		return nil, fmt.Errorf("cluster %s is a %T", name, obj)
	}
	return cl, nil
}

func printExpired(cmd *cobra.Command, r *api.RetentionSpec, expired, all []plan.Finished, held bool) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
	row := func(f *plan.Finished, what string) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", f.Namespace, f.Name, f.Ended.Format(time.DateTime), f.Bytes, what)
	}
	if len(expired) > 0 || held {
		fmt.Fprintln(w, "NAMESPACE\tRUN\tENDED\tBYTES\tWHAT")
	}
	for i := range expired {
		row(&expired[i], string(r.Action))
	}
	needed := 0
	for i := range all {
		if f := &all[i]; f.Needed != "" {
			needed++
			if held {
				row(f, "stays: "+f.Needed)
			}
		}
	}
	err := w.Flush()
	say(cmd)("%d of %d finished runs are kept no longer (action %s); %d have to stay whatever their age", len(expired), len(all), r.Action, needed)
	return err
}

// clientLister lists by the API.
type clientLister struct{ client *client.Client }

var _ controllers.Lister = clientLister{}

// Each reads a page at a time.
func (l clientLister) Each(ctx context.Context, kind string, visit func(api.Object)) error {
	_, err := l.client.Each(ctx, kind, client.ListOptions{}, visit)
	return err
}
