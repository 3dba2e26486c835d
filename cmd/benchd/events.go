package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
)

func newEventsCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "events [RUN]",
		Short: "Show what happened, in the order of time",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connectRunning(cmd.Context(), o.home)
			if err != nil {
				return err
			}
			defer c.Close()
			if len(args) == 0 {
				return listEvents(cmd.Context(), cmd.OutOrStdout(), c, client.ListOptions{Namespace: o.namespace})
			}
			kind, names, err := objectArgs(args)
			if err != nil {
				return err
			}
			for _, name := range names {
				obj, err := c.Get(cmd.Context(), kind, o.namespace, name)
				if err != nil {
					return err
				}
				if err := printEvents(cmd.Context(), cmd.OutOrStdout(), c, obj, ""); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// printEvents prints the events of an object, under a title where there are any.
func printEvents(ctx context.Context, out io.Writer, c *client.Client, obj api.Object, title string) error {
	namespace := obj.GetNamespace()
	if namespace == "" {
		namespace = api.DefaultNamespace
	}
	if title != "" {
		fmt.Fprintln(out, title)
	}
	return listEvents(ctx, out, c, client.ListOptions{Namespace: namespace, FieldSelector: "involvedObject.uid=" + string(obj.GetUID())})
}

func listEvents(ctx context.Context, out io.Writer, c *client.Client, opts client.ListOptions) error {
	list, err := c.List(ctx, api.KindEvent, opts)
	if err != nil {
		return err
	}
	var events []*api.Event
	for _, obj := range list.Items {
		if ev, ok := obj.(*api.Event); ok {
			events = append(events, ev)
		}
	}
	slices.SortStableFunc(events, func(a, b *api.Event) int {
		if c := a.FirstTimestamp.Compare(b.FirstTimestamp.Time); c != 0 {
			return c
		}
		return compareVersions(a.ResourceVersion, b.ResourceVersion)
	})
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, ev := range events {
		times := ""
		if ev.Count > 1 {
			times = fmt.Sprintf(" (×%d in %s)", ev.Count, ev.LastTimestamp.Sub(ev.FirstTimestamp.Time))
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s%s\n", ev.FirstTimestamp.Format("15:04:05"), ev.Type, ev.Reason,
			word(ev.InvolvedObject.Kind)+"/"+ev.InvolvedObject.Name, ev.Message, times)
	}
	return w.Flush()
}

// compareVersions orders resourceVersions, which are numbers of growing length.
func compareVersions(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
