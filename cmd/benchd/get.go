package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/util/jsonpath"
	"sigs.k8s.io/yaml"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
)

type getOptions struct {
	*options
	output        string
	selector      string
	watch         bool
	allNamespaces bool
	noHeaders     bool
}

func newGetCommand(o *options) *cobra.Command {
	g := getOptions{options: o}
	cmd := &cobra.Command{
		Use:   "get KIND [NAME…] | KIND/NAME…",
		Short: "Show objects: runs, sweeps, schedules, templates, allocations, clusters, events; and services",
		Example: "  benchd get runs\n  benchd get runs -w\n  benchd get runs -l team=inference -o wide\n" +
			"  benchd get services\n  benchd get run my-run -o jsonpath='{.status.summary.ttftP99}'",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if isServices(args[0]) {
				return g.printServices(cmd, args[1:])
			}
			kind, names, err := objectArgs(args)
			if err != nil {
				return err
			}
			if len(names) == len(args) && !strings.Contains(args[0], "/") { // no KIND/NAME
				_, err := kindOf(args[0]) // `get my-run` is more likely a misspelt kind
				return err
			}
			c, err := connectRunning(cmd.Context(), o.home)
			if err != nil {
				return err
			}
			defer c.Close()
			if g.watch {
				return g.follow(cmd, c, kind, names)
			}
			return g.print(cmd, c, kind, names)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&g.output, "output", "o", "", "wide, json, yaml, name or jsonpath=TEMPLATE")
	f.StringVarP(&g.selector, "selector", "l", "", "labels to select by, such as team=inference,tier!=test")
	f.BoolVarP(&g.watch, "watch", "w", false, "go on showing changes")
	f.BoolVarP(&g.allNamespaces, "all-namespaces", "A", false, "look at all namespaces")
	f.BoolVar(&g.noHeaders, "no-headers", false, "leave the header line out")
	return cmd
}

func (g *getOptions) list(names []string) client.ListOptions {
	opts := client.ListOptions{Namespace: g.namespace, LabelSelector: g.selector}
	if g.allNamespaces {
		opts.Namespace = ""
	}
	if len(names) == 1 {
		opts.FieldSelector = "metadata.name=" + names[0]
	}
	return opts
}

func (g *getOptions) print(cmd *cobra.Command, c *client.Client, kind string, names []string) error {
	out := cmd.OutOrStdout()
	if g.output == "" || g.output == "wide" {
		table, err := g.table(cmd, c, kind, names)
		if err != nil {
			return err
		}
		if len(table.Rows) == 0 {
			note(cmd)("no %ss found", word(kind))
			return nil
		}
		return newTablePrinter(out, g).print(table)
	}
	var objs []api.Object
	if len(names) == 0 {
		list, err := c.List(cmd.Context(), kind, g.list(nil))
		if err != nil {
			return err
		}
		objs = list.Items
	}
	var all error
	for _, name := range names {
		obj, err := c.Get(cmd.Context(), kind, g.namespace, name)
		if err != nil {
			all = errors.Join(all, err)
			continue
		}
		objs = append(objs, obj)
	}
	return errors.Join(printObjects(out, g.output, objs, len(names) == 1), all)
}

func (g *getOptions) table(cmd *cobra.Command, c *client.Client, kind string, names []string) (*metav1.Table, error) {
	if len(names) == 0 {
		return c.Table(cmd.Context(), kind, g.list(nil))
	}
	var all *metav1.Table
	for _, name := range names {
		t, err := c.TableOf(cmd.Context(), kind, g.namespace, name)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = t
		} else {
			all.Rows = append(all.Rows, t.Rows...)
		}
	}
	return all, nil
}

// printObjects prints whole objects. One that was asked for by name stands alone, several make a List.
func printObjects(out io.Writer, format string, objs []api.Object, alone bool) error {
	var v any = map[string]any{"apiVersion": "v1", "kind": "List", "items": objs}
	if alone && len(objs) == 1 {
		v = objs[0]
	}
	switch {
	case format == "json":
		data, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, string(data))
		return err
	case format == "yaml":
		data, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		_, err = out.Write(data)
		return err
	case format == "name":
		for _, obj := range objs {
			if _, err := fmt.Fprintln(out, display(obj)); err != nil {
				return err
			}
		}
		return nil
	case strings.HasPrefix(format, "jsonpath="):
		return printPath(out, strings.TrimPrefix(format, "jsonpath="), v)
	}
	return exitError{exitInvalid, fmt.Errorf("output %q is not known: use wide, json, yaml, name or jsonpath=TEMPLATE", format)}
}

func printPath(out io.Writer, template string, v any) error {
	path := jsonpath.New("output").AllowMissingKeys(true)
	if err := path.Parse(template); err != nil {
		return exitError{exitInvalid, fmt.Errorf("jsonpath %q: %w", template, err)}
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var plain any
	if err := json.Unmarshal(data, &plain); err != nil {
		return err
	}
	if err := path.Execute(out, plain); err != nil {
		return fmt.Errorf("jsonpath %q: %w", template, err)
	}
	_, err = fmt.Fprintln(out)
	return err
}

// follow prints what is there and then every change, until it is interrupted.
func (g *getOptions) follow(cmd *cobra.Command, c *client.Client, kind string, names []string) error {
	ctx, stop := withSignals(cmd.Context())
	defer stop()
	printer := newTablePrinter(cmd.OutOrStdout(), g)
	for ctx.Err() == nil {
		changes, err := c.WatchTable(ctx, kind, g.list(names))
		if err != nil {
			return err
		}
		for ev := range changes {
			switch {
			case ev.Err != nil && ctx.Err() != nil:
				return nil
			case apierrors.IsResourceExpired(ev.Err):
			case ev.Err != nil:
				return ev.Err
			case ev.Type == watch.Bookmark:
			default:
				if err := printer.print(ev.Table); err != nil {
					return err
				}
			}
		}
		if ctx.Err() == nil {
			return exitError{exitNoServer, errors.New("the control plane has ended; runs go on, and `benchd serve --detach` picks them up")}
		}
	}
	return nil
}

// tablePrinter prints Tables one after the other under one header.
type tablePrinter struct {
	out     io.Writer
	wide    bool
	header  bool
	columns []metav1.TableColumnDefinition
	widths  []int
}

func newTablePrinter(out io.Writer, g *getOptions) *tablePrinter {
	return &tablePrinter{out: out, wide: g.output == "wide", header: !g.noHeaders}
}

func (p *tablePrinter) print(t *metav1.Table) error {
	if len(t.ColumnDefinitions) > 0 {
		p.columns = t.ColumnDefinitions
	}
	// Columns keep their width from one change to the next, so that a watch stays readable.
	var buf strings.Builder
	w := tabwriter.NewWriter(&buf, 0, 0, 3, ' ', 0)
	line := func(cell func(i int) string) {
		var cells []string
		for i, col := range p.columns {
			if col.Priority == 0 || p.wide {
				text := cell(i)
				if len(cells) < len(p.widths) {
					text = fmt.Sprintf("%-*s", p.widths[len(cells)], text)
				}
				cells = append(cells, text)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "\t"), " "))
		for i, cell := range cells {
			if i == len(p.widths) {
				p.widths = append(p.widths, 0)
			}
			p.widths[i] = max(p.widths[i], len([]rune(cell)))
		}
	}
	if p.header {
		p.header = false
		line(func(i int) string { return strings.ToUpper(p.columns[i].Name) })
	}
	for _, row := range t.Rows {
		line(func(i int) string { return fmt.Sprint(row.Cells[i]) })
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for l := range strings.Lines(buf.String()) {
		if _, err := fmt.Fprintln(p.out, strings.TrimRight(l, " \n")); err != nil {
			return err
		}
	}
	return nil
}
