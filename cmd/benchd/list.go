package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/recipe"
)

type listOptions struct {
	*options
	output    string
	recursive bool
}

func newListCommand(o *options) *cobra.Command {
	l := listOptions{options: o}
	cmd := &cobra.Command{
		Use:   "list [FOLDER or FILE…]",
		Short: "Show the recipes and run files of folders, with what they would run",
		Long: `Show the recipes and run files of folders, by default of this one: what each would run, for how many nodes, trials and for how
long, and whether it is valid. A file that cannot be read is a line too. YAML and JSON files that are neither recipes nor
objects of benchd are left out.

NODES are servers+clients+monitors; TRIALS are the combinations of a sweep's values; STATUS is what 'benchd validate' says.`,
		Example: "  benchd list\n  benchd list config/samples -o wide\n  benchd list -R experiments -o json | jq '.[] | select(.valid | not) | .file'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if l.output != "" && l.output != "wide" && l.output != "json" {
				return exitError{exitInvalid, fmt.Errorf("output %q is not known: use wide or json", l.output)}
			}
			if len(args) == 0 {
				args = []string{"."}
			}
			return l.run(cmd, args)
		},
	}
	cmd.Flags().StringVarP(&l.output, "output", "o", "", "wide or json")
	cmd.Flags().BoolVarP(&l.recursive, "recursive", "R", false, "read folders within folders too")
	return cmd
}

func (l *listOptions) run(cmd *cobra.Command, args []string) error {
	var files []string
	named := map[string]bool{} // files that the user named: they are shown whatever they hold
	var missing error
	for _, arg := range args {
		found, err := manifest.Files(arg, l.recursive)
		if err != nil {
			missing = errors.Join(missing, err)
			continue
		}
		if len(found) == 1 && found[0] == arg {
			named[arg] = true
		}
		files = append(files, found...)
	}
	rows, others := l.rows(cmd, files, named)
	if err := l.print(cmd, rows); err != nil {
		return err
	}
	if others > 0 {
		note(cmd)("YAML and JSON files not shown, for they are neither recipes nor objects of benchd: %d", others)
	}
	if missing != nil {
		return exitError{exitInvalid, missing}
	}
	return nil
}

// rows reads each file by itself, so that a broken one hides no other. Templates are looked for in all of them.
func (l *listOptions) rows(cmd *cobra.Command, files []string, named map[string]bool) (rows []listRow, others int) {
	shapes := manifest.Reader{Dialect: recipe.Dialect()}
	var templates []api.Object
	var ours []string
	seen := map[string]bool{}
	for _, file := range files {
		if seen[file] {
			continue
		}
		seen[file] = true
		if !named[file] && !glance(file).ours {
			others++
			continue
		}
		ours = append(ours, file)
		docs, err := shapes.Paths([]string{file}, false, nil)
		if err != nil {
			continue // said when its row is made
		}
		for _, doc := range docs {
			if t, ok := doc.Object.(*api.ServiceTemplate); ok {
				templates = append(templates, t)
			}
		}
	}
	admit := l.admitFiles(cmd)
	reader := manifest.Reader{Dialect: recipe.Dialect(), Admit: withTemplates(admit, templates)}
	for _, file := range ours {
		docs, err := reader.Paths([]string{file}, false, nil)
		rows = append(rows, rowsOf(file, docs, err)...)
	}
	return rows, others
}

// withTemplates is an admission that sees the templates of other files too.
func withTemplates(admit manifest.Admission, templates []api.Object) manifest.Admission {
	return func(obj api.Object, all []api.Object) field.ErrorList {
		return admit(obj, append(templates[:len(templates):len(templates)], all...))
	}
}

func (l *listOptions) print(cmd *cobra.Command, rows []listRow) error {
	out := cmd.OutOrStdout()
	if l.output == "json" {
		if rows == nil {
			rows = []listRow{}
		}
		data, err := json.MarshalIndent(rows, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the list: %w", err)
		}
		_, err = fmt.Fprintln(out, string(data))
		return err
	}
	if len(rows) == 0 {
		note(cmd)("no recipes or run files found: `benchd create` writes one, `benchd init` a folder to start from")
		return nil
	}
	if err := printRows(out, rows, l.output == "wide"); err != nil {
		return err
	}
	if l.output == "" {
		for _, r := range rows {
			if len(r.Errors) > 0 {
				note(cmd)("%s", firstOf(r.Errors))
			}
		}
	}
	return nil
}

// printRows prints the table. Cells that have nothing to say hold <none>, so that columns can be counted.
func printRows(out io.Writer, rows []listRow, wide bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	header := "FILE\tKIND\tNAME\tSERVICE\tMODEL\tNODES\tTRIALS\tLOAD\tDURATION\tSTATUS"
	if wide {
		header += "\tWARMUP\tCLUSTER\tPARTITION\tRUNTIME\tFIRST ERROR"
	}
	fmt.Fprintln(w, header)
	for _, r := range rows {
		trials := ""
		if r.Trials > 0 {
			trials = fmt.Sprint(r.Trials)
		}
		cells := []string{r.File, r.Kind, r.Name, r.Service, r.Model, r.Nodes.String(), trials, r.Load, r.Duration, r.status()}
		if wide {
			cells = append(cells, r.Warmup, r.Cluster, r.Partition, r.Runtime, firstOf(r.Errors))
		}
		for i, cell := range cells {
			if cell == "" {
				cell = "<none>"
			}
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func firstOf(errs []string) string {
	if len(errs) == 0 {
		return ""
	}
	return errs[0]
}
