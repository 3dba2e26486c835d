package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/controllers"
)

func newDiffCommand(o *options) *cobra.Command {
	var all, exitCode bool
	var output string
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show what differed in the setup of two runs",
		Long: `Show what differed in the setup of two runs: their specs, benchd, the service's version and command, image, nodes, GPUs, drivers
and kernels. A and B are names of runs, folders of attempts, or run.lock.yaml files. What differs between any two runs (names,
times, job numbers, addresses, seeds) is left out without --all.`,
		Example: "  benchd diff monday tuesday\n  benchd diff results/a/attempt-1 results/b/attempt-1 --all",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var locks [2]map[string]string
			for i, arg := range args {
				lock, err := o.readLock(cmd.Context(), arg)
				if err != nil {
					return err
				}
				locks[i] = lock
			}
			differences := compareLocks(locks[0], locks[1], all)
			if err := printDifferences(cmd, args, differences, output); err != nil {
				return err
			}
			if exitCode && len(differences) > 0 {
				return exitError{code: exitFailure}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "show what differs between any two runs too")
	f.BoolVar(&exitCode, "exit-code", false, "exit with 1 when there is a difference")
	f.StringVarP(&output, "output", "o", "", "json")
	return cmd
}

// readLock reads a lock as paths and values: of a file, a folder, or the run of that name.
func (o *options) readLock(ctx context.Context, arg string) (map[string]string, error) {
	path := arg
	info, err := os.Stat(arg)
	switch {
	case err == nil && info.IsDir():
		path = filepath.Join(arg, controllers.LockName)
	case errors.Is(err, fs.ErrNotExist) && !strings.Contains(arg, "/"):
		if path, err = o.lockOf(ctx, arg); err != nil {
			return nil, err
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the lock of %s: %w: it is written when a run has ended", arg, err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return nil, exitError{exitInvalid, fmt.Errorf("%s is no run.lock.yaml: %w", path, err)}
	}
	values := map[string]string{}
	flatten("", tree, values)
	if values["kind"] != api.KindBenchmarkRun {
		return nil, exitError{exitInvalid, fmt.Errorf("%s is no run.lock.yaml: it holds no BenchmarkRun", path)}
	}
	return values, nil
}

// lockOf finds the lock of a run's last attempt.
func (o *options) lockOf(ctx context.Context, name string) (string, error) {
	c, err := connectRunning(ctx, o.home)
	if err != nil {
		return "", err
	}
	defer c.Close()
	run, err := getRun(ctx, c, o.namespace, strings.TrimPrefix(name, "run/"))
	if err != nil {
		return "", err
	}
	if run.Status.Folder == "" {
		return "", fmt.Errorf("run %s has no folder yet (phase %s)", name, run.Status.Phase)
	}
	return filepath.Join(run.Status.Folder, controllers.LockName), nil
}

// flatten turns a tree into paths and values. A list of words is one value.
func flatten(path string, value any, into map[string]string) {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			flatten(strings.TrimPrefix(path+"."+name, "."), inner, into)
		}
	case []any:
		words := make([]string, len(v))
		for i, item := range v {
			word, isWord := item.(string)
			if !isWord {
				for i, item := range v {
					flatten(path+"["+strconv.Itoa(i)+"]", item, into)
				}
				return
			}
			words[i] = word
		}
		into[path] = quoteWords(words)
	case nil:
	default:
		into[path] = fmt.Sprint(v)
	}
}

// always differs between any two runs, and explains no number.
var always = regexp.MustCompile(`^metadata\.|^status\.record\.(time|seed|attempt)$|^spec\.workload\.seed$|^status\.record\.job\.(JobId|JobName|Comment|.*Time|BatchHost|Command|WorkDir|Std.*|Priority|AllocNode:Sid|.*List|LastSched.*|SecsPreSuspend|NtasksPer.*)$|` +
	`^status\.record\.(servers|nodes)\[\d+\]\.(url|address|env\.(OLLAMA_HOST|VLLM_HOST_IP|RAY_ADDRESS|RAY_TMPDIR))$`)

// addressOf finds addresses and folders in commands, which are the job's own.
var addressOf = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+(:\d+)?\b|/\S*/allocations/\S*`)

// difference is one value that two runs do not share; empty where one of them has none.
type difference struct {
	Path string `json:"path"`
	A    string `json:"a"`
	B    string `json:"b"`
}

func compareLocks(a, b map[string]string, all bool) []difference {
	paths := maps.Clone(a)
	maps.Copy(paths, b)
	var found []difference
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		x, y := a[path], b[path]
		if !all {
			if always.MatchString(path) {
				continue
			}
			if strings.HasSuffix(path, ".command") && addressOf.ReplaceAllString(x, "…") == addressOf.ReplaceAllString(y, "…") {
				continue
			}
		}
		if x != y {
			found = append(found, difference{path, x, y})
		}
	}
	return found
}

func printDifferences(cmd *cobra.Command, names []string, differences []difference, output string) error {
	switch output {
	case "json":
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(append([]difference{}, differences...))
	case "":
	default:
		return exitError{exitInvalid, fmt.Errorf("differences are printed as a table or as json, not as %q", output)}
	}
	if len(differences) == 0 {
		say(cmd)("the setups of %s and %s are the same", names[0], names[1])
		return nil
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 3, ' ', 0)
	fmt.Fprintf(w, "WHAT\t%s\t%s\n", names[0], names[1])
	for _, d := range differences {
		fmt.Fprintf(w, "%s\t%s\t%s\n", strings.TrimPrefix(d.Path, "status.record."), orNone(d.A), orNone(d.B))
	}
	return w.Flush()
}
