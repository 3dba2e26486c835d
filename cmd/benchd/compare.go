package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/benchd/benchd/report"
)

func newCompareCommand(o *options) *cobra.Command {
	var output string
	var limits []string
	var surely bool
	cmd := &cobra.Command{
		Use:   "compare BASE OTHER…",
		Short: "Put results side by side, and say whether their differences exceed the noise",
		Long: `Put results side by side. Each is the name of a run, the folder of an attempt or of a 'benchd load', or a JSON file of
'vllm bench serve --save-result'. Differences are to the first one. Their 95 % intervals come from a block bootstrap of both
results' records, the p-value from a rank test on blocks of time; a file of vLLM holds no raw times, so against it the
conventional numbers over the whole run are compared, and the noise is not known.

--fail-if gives an exit code of 8 when a limit is broken by any of the other results, or when a result's verdict is Invalid:
  'ttft.p99 > +5%'            worse than the base by more than 5 %
  'requestThroughput < -3%'   lower than the base by more than 3 %
  'e2e.p50 > 800ms'           whatever the base has
Names are those of summary.json.`,
		Example: "  benchd compare last-month today --fail-if 'ttft.p99 > +5%' --beyond-noise\n  benchd compare ./benchd-load-1 ./benchd-load-2 -o json\n  benchd compare my-run vllm-result.json",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var parsed []*report.Limit
			for _, text := range limits {
				l, err := report.ParseLimit(text)
				if err != nil {
					return exitError{exitInvalid, err}
				}
				parsed = append(parsed, l)
			}
			if output != "" && output != "json" {
				return exitError{exitInvalid, fmt.Errorf("output %q is not known: use json, or leave it out", output)}
			}
			var sides []*report.Side
			for _, arg := range args {
				side, err := o.openSide(cmd, arg)
				if err != nil {
					return err
				}
				sides = append(sides, side)
			}
			c, err := report.Compare(sides)
			if err != nil {
				return err
			}
			if output == "json" {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				err = enc.Encode(c)
			} else {
				err = printComparison(cmd.OutOrStdout(), c)
			}
			return errors.Join(err, checkLimits(cmd, c, parsed, surely))
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or a table")
	cmd.Flags().StringArrayVar(&limits, "fail-if", nil, "condition that makes the exit code 8; may be repeated")
	cmd.Flags().BoolVar(&surely, "beyond-noise", false, "a difference within the noise breaks no --fail-if")
	return cmd
}

// openSide reads a result by its path, or by its run's name.
func (o *options) openSide(cmd *cobra.Command, arg string) (*report.Side, error) {
	if _, err := os.Stat(arg); err == nil {
		return report.OpenSide(arg)
	}
	if strings.ContainsAny(arg, "/.") {
		return nil, exitError{exitInvalid, fmt.Errorf("%s does not exist: name a run, a result's folder, or a file of vLLM's benchmark", arg)}
	}
	c, err := connectRunning(cmd.Context(), o.home)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	run, err := getRun(cmd.Context(), c, o.namespace, arg)
	if apierrors.IsNotFound(err) {
		return nil, exitError{exitInvalid, fmt.Errorf("%s is neither a folder or file here nor the name of a run: name a run, a result's folder, or a file of vLLM's benchmark", arg)}
	}
	if err != nil {
		return nil, err
	}
	if !run.Status.Phase.Terminal() || run.Status.Folder == "" {
		return nil, fmt.Errorf("run %s has no report yet: it is %s: %s", arg, run.Status.Phase, run.Status.Message)
	}
	return report.OpenSide(run.Status.Folder)
}

func checkLimits(cmd *cobra.Command, c *report.Comparison, limits []*report.Limit, surely bool) error {
	broken := false
	for _, s := range c.Sides {
		if len(limits) > 0 && s.Verdict == report.Invalid {
			broken = true
			note(cmd)("limit broken: the numbers of %s are invalid: its report says why", s.Name)
		}
	}
	for _, l := range limits {
		for side := 1; side < len(c.Sides); side++ {
			is, seen, err := l.Broken(c, side, surely)
			if err != nil {
				return exitError{exitInvalid, err}
			}
			if is {
				broken = true
				note(cmd)("limit broken: %s", seen)
			} else {
				note(cmd)("limit kept: %s", seen)
			}
		}
	}
	if broken {
		return exitError{code: exitLimit}
	}
	return nil
}

// printComparison prints a table: values, then each difference with whether it exceeds the noise.
func printComparison(out io.Writer, c *report.Comparison) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	head := []string{"", c.Sides[0].Name}
	verdicts := []string{"verdict", orNone(c.Sides[0].Verdict)}
	for _, s := range c.Sides[1:] {
		head = append(head, s.Name, "DIFFERENCE", "95 % INTERVAL", "P", "BEYOND NOISE")
		verdicts = append(verdicts, orNone(s.Verdict), "", "", "", "")
	}
	fmt.Fprintln(w, strings.Join(head, "\t"))
	fmt.Fprintln(w, strings.Join(verdicts, "\t"))
	for i := range c.Rows {
		r := &c.Rows[i]
		cells := []string{r.Name + unit(r.Name), amount(r.Name, r.Values[0])}
		for k, d := range r.Differences {
			cells = append(cells, amount(r.Name, r.Values[k+1]))
			cells = append(cells, differenceCells(r.Name, d)...)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if c.WholeRun {
		_, err := fmt.Fprintln(out, "\nOver the whole run, warm-up and drain included, as vLLM's benchmark counts; icl is what vLLM calls itl.")
		return err
	}
	return nil
}

func differenceCells(name string, d *report.Difference) []string {
	if d == nil {
		return []string{"<none>", "", "", ""}
	}
	cells := []string{"0", "<none>", "<none>", "unknown"}
	switch {
	case d.Relative != nil:
		cells[0] = fmt.Sprintf("%+.2f %%", 100**d.Relative)
	case d.Absolute != 0:
		cells[0] = fmt.Sprintf("%+.4g", d.Absolute*scale(name))
	}
	if d.CI95 != nil {
		cells[1] = fmt.Sprintf("%+.4g to %+.4g", d.CI95[0]*scale(name), d.CI95[1]*scale(name))
	}
	if d.P != nil {
		cells[2] = fmt.Sprintf("%.3f", *d.P)
	}
	if d.Beyond != nil {
		cells[3] = map[bool]string{true: "yes", false: "no"}[*d.Beyond]
	}
	return cells
}

// isLatency says whether a row holds seconds, which are shown as milliseconds.
func isLatency(name string) bool {
	return strings.Contains(name, ".") && !strings.HasPrefix(name, "goodput") && !strings.HasPrefix(name, "concurrency")
}

func scale(name string) float64 {
	if isLatency(name) {
		return 1e3
	}
	return 1
}

func unit(name string) string {
	if isLatency(name) {
		return " (ms)"
	}
	return ""
}

func amount(name string, v *float64) string {
	if v == nil {
		return "<none>"
	}
	return report.Digits(*v*scale(name), 4)
}
