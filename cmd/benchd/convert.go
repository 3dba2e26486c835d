package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/plan"
)

func newConvertCommand(o *options) *cobra.Command {
	var files []string
	var recursive, runs bool
	cmd := &cobra.Command{
		Use:   "convert -f RECIPE",
		Short: "Print the objects that recipes become, with their defaults",
		Long: `Print the objects that recipes become, with their defaults: a BenchmarkRun, or a BenchmarkSweep where a value of the
workload is a list. What benchd does not use is named on standard error. Files of objects are printed as they are understood.`,
		Example: "  benchd convert -f recipe.yaml > run.yaml\n  benchd convert -f sweep-recipe.yaml --runs",
		Args:    filesAlone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			docs, err := o.readManifests(cmd, files, recursive)
			if err != nil {
				return err
			}
			var objs []api.Object
			for _, doc := range docs {
				sweep, isSweep := doc.Object.(*api.BenchmarkSweep)
				if !runs || !isSweep {
					objs = append(objs, doc.Object)
					continue
				}
				made, err := o.runsOf(cmd, doc, sweep)
				if err != nil {
					return err
				}
				objs = append(objs, made...)
			}
			for i, obj := range objs {
				data, err := printable(obj)
				if err != nil {
					return err
				}
				if i > 0 {
					data = append([]byte("---\n"), data...)
				}
				if _, err := cmd.OutOrStdout().Write(data); err != nil {
					return err
				}
			}
			return nil
		},
	}
	fileFlags(cmd, &files, &recursive)
	cmd.Flags().BoolVar(&runs, "runs", false, "print the runs of sweeps in place of the sweeps")
	return cmd
}

// runsOf are the runs that a sweep makes.
func (o *options) runsOf(cmd *cobra.Command, doc manifest.Document, sweep *api.BenchmarkSweep) ([]api.Object, error) {
	var objs []api.Object
	trials := plan.Trials(&sweep.Spec)
	if sweep.Spec.Strategy == api.StrategySearch {
		return nil, fmt.Errorf("%s:%d: what the search %s tries depends on what it finds: its runs cannot be printed before", doc.File, doc.Line, sweep.Name)
	}
	for _, t := range trials {
		run, err := plan.Run(sweep, t)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", doc.File, doc.Line, err)
		}
		run.Finalizers = nil
		api.SetDefaults(run)
		o.admitFiles(cmd)(run, nil)
		objs = append(objs, run)
	}
	return objs, nil
}

// printable is an object as a file of its user's: without a status and what only a stored object has.
func printable(obj api.Object) ([]byte, error) {
	data, err := yaml.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("print %s: %w", display(obj), err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return nil, err
	}
	delete(tree, "status")
	if meta, ok := tree["metadata"].(map[string]any); ok {
		for _, name := range []string{"creationTimestamp", "uid", "resourceVersion", "generation", "finalizers", "ownerReferences", "managedFields"} {
			delete(meta, name)
		}
		if meta["namespace"] == api.DefaultNamespace {
			delete(meta, "namespace")
		}
	}
	return yaml.Marshal(tree)
}
