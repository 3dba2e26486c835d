package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/home"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/site"
	"github.com/benchd/benchd/slurmadapter"
)

type doctorOptions struct {
	*options
	files     []string
	recursive bool
	node      bool
	cluster   string
	output    string
}

func newDoctorCommand(o *options) *cobra.Command {
	d := doctorOptions{options: o}
	cmd := &cobra.Command{
		Use:   "doctor [-f FILE]",
		Short: "Look at the site, and at what a run asks of it, before anything is submitted",
		Long: `Look at the control plane, Slurm, its partitions, your accounts and limits, container runtimes and the work folder; with
-f also at what the file's runs ask for. Each check prints a line: ok, warning, problem, or - for what was left out and why.
A line ` + "`next:`" + ` says what to do. With --node one short step on one node tells what nodes see.

Nothing is submitted otherwise. Exit code 1 when there is at least one problem.`,
		Example: "  benchd doctor\n  benchd doctor -f run.yaml\n  benchd doctor -f run.yaml --node",
		Args:    filesAlone,
		RunE:    func(cmd *cobra.Command, _ []string) error { return d.run(cmd) },
	}
	f := cmd.Flags()
	f.StringArrayVarP(&d.files, "filename", "f", nil, "file of runs, sweeps and clusters, folder, or - for standard input; may be repeated")
	f.BoolVarP(&d.recursive, "recursive", "R", false, "read folders within folders too")
	f.BoolVar(&d.node, "node", false, "run one short step on a node, and tell what nodes see")
	f.StringVar(&d.cluster, "cluster", api.ClusterNameDefault, "Cluster object to look at where no run names one")
	f.StringVarP(&d.output, "output", "o", "text", "text or json")
	return cmd
}

func (d *doctorOptions) run(cmd *cobra.Command) error {
	if d.output != "text" && d.output != "json" {
		return exitError{exitInvalid, fmt.Errorf("-o %s is not a form of output: use text or json", d.output)}
	}
	ctx, stop := withSignals(cmd.Context())
	defer stop()
	var docs []manifest.Document
	if len(d.files) > 0 {
		var err error
		if docs, err = d.readManifests(cmd, d.files, d.recursive); err != nil {
			return err
		}
	}
	dir, err := home.Locate(d.home)
	if err != nil {
		return err
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find benchd's own executable: %w", err)
	}
	e := &examination{
		ctx: ctx, dir: dir, binary: binary, node: d.node, docs: docs, look: site.Look, open: openSlurm, stat: statFileSystem, env: os.LookupEnv,
		find: d.templates(ctx, objects(docs)), stored: func(name string) *api.Cluster { return storedCluster(ctx, d.home, name) },
	}
	r := newResult(e.all(d.cluster))
	if d.output == "json" {
		if err := r.json(cmd.OutOrStdout()); err != nil {
			return err
		}
	} else {
		r.print(cmd.OutOrStdout())
	}
	if ctx.Err() != nil {
		return errors.New("interrupted: not all checks were made")
	}
	if r.Problems > 0 {
		return exitError{code: exitFailure}
	}
	return nil
}

func objects(docs []manifest.Document) []api.Object {
	all := make([]api.Object, 0, len(docs))
	for _, doc := range docs {
		all = append(all, doc.Object)
	}
	return all
}

// slurm is what doctor asks of a Slurm, beside what site asks.
type slurm interface {
	site.Commands
	stepper
}

func openSlurm(spec *api.ClusterSpec) (slurm, error) {
	return slurmadapter.New(slurmadapter.Config{BinDir: spec.BinDir, Conf: spec.Conf, Timeout: site.CommandTimeout})
}

// storedCluster asks the control plane for a Cluster object, without starting one; nil when it cannot be had.
func storedCluster(ctx context.Context, named, name string) *api.Cluster {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	c, err := connectRunning(ctx, named)
	if err != nil {
		return nil
	}
	defer c.Close()
	obj, err := c.Get(ctx, api.KindCluster, "", name)
	if err != nil {
		return nil
	}
	cluster, _ := obj.(*api.Cluster)
	return cluster
}
