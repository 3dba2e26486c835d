package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/recipe"
)

// options are what all verbs share.
type options struct {
	home      string
	namespace string
}

func (o *options) register(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&o.home, "home", "", "folder of the control plane's state (default $BENCHD_HOME, else ~/.benchd)")
	f.StringVarP(&o.namespace, "namespace", "n", api.DefaultNamespace, "namespace of the objects")
}

// aliases are the words for a kind on the command line.
var aliases = map[string][]string{
	api.KindBenchmarkRun:      {"run", "runs", "br", "benchmarkrun", "benchmarkruns"},
	api.KindBenchmarkSweep:    {"sweep", "sweeps", "bs", "benchmarksweep", "benchmarksweeps"},
	api.KindBenchmarkSchedule: {"schedule", "schedules", "bsched", "benchmarkschedule", "benchmarkschedules"},
	api.KindServiceTemplate:   {"template", "templates", "servicetemplate", "servicetemplates"},
	api.KindAllocation:        {"allocation", "allocations", "alloc", "allocs"},
	api.KindCluster:           {"cluster", "clusters"},
	api.KindEvent:             {"event", "events", "ev"},
}

// kindOf finds the kind that a word on the command line means.
func kindOf(word string) (string, error) {
	for _, kind := range api.Kinds() {
		if slices.Contains(aliases[kind], strings.ToLower(word)) {
			return kind, nil
		}
	}
	return "", exitError{exitInvalid, fmt.Errorf("%q is not a kind of object: use runs, sweeps, schedules, templates, allocations, clusters or events", word)}
}

// pathError says why a path is no object.
func pathError(path string) error {
	what := "%s is no folder"
	switch info, err := os.Stat(path); {
	case err != nil:
		what = "there is no folder %s"
	case info.IsDir():
		what = "folder %s: none is taken here"
	}
	return exitError{exitInvalid, fmt.Errorf(what+"; an object is meant by NAME or KIND/NAME", path)}
}

// objectArgs reads `KIND NAME…`, `KIND/NAME…`, or `NAME…` alone, which means runs.
func objectArgs(args []string) (kind string, names []string, err error) {
	if len(args) == 0 {
		return "", nil, exitError{exitInvalid, fmt.Errorf("name what is meant, such as `run my-run`")}
	}
	if before, name, ok := strings.Cut(args[0], "/"); ok {
		if before == "" || strings.HasPrefix(before, ".") {
			return "", nil, pathError(args[0])
		}
		if kind, err = kindOf(before); err != nil {
			return "", nil, err
		}
		names = []string{name}
		for _, arg := range args[1:] {
			before, name, ok := strings.Cut(arg, "/")
			if !ok {
				name = arg
			} else if other, err := kindOf(before); err != nil {
				return "", nil, err
			} else if other != kind {
				return "", nil, exitError{exitInvalid, fmt.Errorf("%s is no %s: name objects of one kind", arg, word(kind))}
			}
			names = append(names, name)
		}
		return kind, names, nil
	}
	kind, err = kindOf(args[0])
	if err != nil {
		return api.KindBenchmarkRun, args, nil
	}
	return kind, args[1:], nil
}

// readManifests reads the files of -f, and takes the namespace of the command line where a file names none.
func (o *options) readManifests(cmd *cobra.Command, files []string, recursive bool) ([]manifest.Document, error) {
	reader := manifest.Reader{Dialect: recipe.Dialect(), Admit: o.admitFiles(cmd)}
	docs, err := reader.Paths(files, recursive, cmd.InOrStdin())
	if err != nil {
		return nil, exitError{exitInvalid, err}
	}
	for _, doc := range docs {
		for _, warning := range doc.Warnings {
			note(cmd)("Warning: %v", warning)
		}
	}
	for _, doc := range docs {
		if api.Namespaced(doc.Object.GetObjectKind().GroupVersionKind().Kind) && doc.Object.GetNamespace() == api.DefaultNamespace {
			doc.Object.SetNamespace(o.namespace)
		}
	}
	return docs, nil
}

// filesAlone are the arguments of a command that takes files by -f alone: none, and it says so to those who give them bare.
func filesAlone(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return exitError{exitInvalid, fmt.Errorf("%s takes files with -f: %s -f %s", cmd.Name(), cmd.CommandPath(), strings.Join(args, " -f "))}
	}
	file, recipe := cmd.Flags().Lookup("filename"), cmd.Flags().Lookup("recipe")
	if needed := file.Annotations[cobra.BashCompOneRequiredFlag] != nil || recipe != nil && !recipe.Changed; needed && !file.Changed {
		return exitError{exitInvalid, fmt.Errorf("name the file: %s -f FILE", cmd.CommandPath())}
	}
	return nil
}

// fileFlags adds -f and -R.
func fileFlags(cmd *cobra.Command, files *[]string, recursive *bool) {
	cmd.Flags().StringArrayVarP(files, "filename", "f", nil, "file, folder, or - for standard input; may be repeated")
	cmd.Flags().BoolVarP(recursive, "recursive", "R", false, "read folders within folders too")
	_ = cmd.MarkFlagRequired("filename") // the flag was just declared
}

// say prints a line for the user.
func say(cmd *cobra.Command) func(string, ...any) {
	return func(format string, args ...any) { fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...) }
}

// note prints a line beside the output, on standard error.
func note(cmd *cobra.Command) func(string, ...any) {
	return func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) }
}

// display names an object as people write it: run/my-run.
func display(obj api.Object) string {
	return word(obj.GetObjectKind().GroupVersionKind().Kind) + "/" + obj.GetName()
}

// word is the short word for a kind.
func word(kind string) string { return aliases[kind][0] }
