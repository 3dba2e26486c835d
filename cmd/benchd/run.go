package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/report"
)

func newRunCommand(o *options) *cobra.Command {
	var files []string
	var recursive, replace bool
	var show shown
	var settings overrides
	cmd := &cobra.Command{
		Use:   "run -f FILE",
		Short: "Apply runs, follow them live and print their reports",
		Long: `Apply runs, follow them live and print their reports. The exit code says how they ended. Ctrl-C leaves them going and says
how to come back. A file may hold a recipe. Flags for nodes, ports, timeout and monitoring win over what files say.

On a terminal the way of a run is drawn in place, and at its end a short summary stands there; --report prints the report
as well. Where standard output is no terminal, the report in Markdown is printed to it. Where standard error is none, or with
--plain or TERM=dumb, the way is told in lines. NO_COLOR and CLICOLOR_FORCE are respected.`,
		Example: "  benchd run -f run.yaml\n  benchd run --recipe recipe.yaml --server-nodes mel2001,mel2002 --client-nodes mel2003 --timeout 600",
		Args:    filesAlone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			docs, err := o.readManifests(cmd, append(files, settings.recipes...), recursive)
			if err != nil {
				return err
			}
			if err := settings.apply(cmd, o, docs); err != nil {
				return err
			}
			c, dir, err := connectOrStart(cmd.Context(), o.home, note(cmd))
			if err != nil {
				return err
			}
			defer c.Close()
			if replace {
				if err := deleteAll(cmd.Context(), c, docs, note(cmd)); err != nil {
					return err
				}
			} else if err := applyAll(cmd.Context(), c.DryRun(), docs, func(string, ...any) {}, ""); err != nil {
				return err
			}
			if err := applyAll(cmd.Context(), c, docs, note(cmd), ""); err != nil {
				return err
			}
			show.home, show.with = string(dir), o.again()
			return followAll(cmd, c, docs, show)
		},
	}
	fileFlags(cmd, &files, &recursive)
	cmd.Flags().Lookup("filename").Annotations = nil // --recipe will do
	settings.register(cmd)
	cmd.MarkFlagsOneRequired("filename", "recipe")
	cmd.Flags().BoolVarP(&show.quiet, "quiet", "q", false, "do not show progress")
	cmd.Flags().BoolVar(&show.plain, "plain", false, "show progress in lines, without colours, on a terminal too")
	cmd.Flags().BoolVar(&show.report, "report", false, "print the report in Markdown on a terminal too")
	cmd.Flags().BoolVar(&replace, "replace", false, "delete runs of the same name first; result folders stay")
	return cmd
}

// again is what a command needs beside names to come to the same objects.
func (o *options) again() string {
	with := ""
	if o.home != "" {
		with = " --home " + quoteWords([]string{o.home})
	}
	if o.namespace != api.DefaultNamespace {
		with += " -n " + o.namespace
	}
	return with
}

// followAll follows the runs of files one after the other. Sweeps take long and go on by themselves.
func followAll(cmd *cobra.Command, c *client.Client, docs []manifest.Document, show shown) error {
	var runs []*api.BenchmarkRun
	for _, doc := range docs {
		switch obj := doc.Object.(type) {
		case *api.BenchmarkSweep:
			note(cmd)("sweep/%s goes on by itself. Look at it with:\n  benchd get sweep %s -w --home %s\n  benchd get runs -l %s=%s --home %s",
				obj.Name, obj.Name, show.home, api.LabelSweep, obj.Name, show.home)
		case *api.BenchmarkRun:
			runs = append(runs, obj)
		}
	}
	var failed error
	for i, run := range runs {
		place := ""
		if len(runs) > 1 {
			place = fmt.Sprintf("%d of %d", i+1, len(runs))
		}
		err := followRun(cmd, c, run, place, show)
		failed = errors.Join(failed, err)
		if code := (exitError{}); errors.As(err, &code) && code.code == exitDetached {
			for _, other := range runs[i+1:] {
				note(cmd)("run/%s goes on too", other.Name)
			}
			return failed
		}
	}
	return failed
}

// shown says what a user wants to see of the runs that are followed.
type shown struct {
	quiet, plain, report bool
	// home is where the control plane's state is, with what commands need to come to it.
	home, with string
}

// followRun shows a run's way to its end, and then what it came to.
func followRun(cmd *cobra.Command, c *client.Client, run *api.BenchmarkRun, place string, show shown) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	f := &follower{cmd: cmd, client: c, run: run, place: place}
	var last waited
	var err error
	if !show.quiet && !show.plain && drawable(cmd.ErrOrStderr()) {
		last, err = f.live(ctx, cmd.ErrOrStderr())
	} else {
		last, err = f.lines(ctx, show.quiet)
	}
	if errors.Is(err, errTurnedAway) || ctx.Err() != nil && cmd.Context().Err() == nil {
		note(cmd)("\nrun/%s goes on. Come back with:\n  benchd get run %s -w --home %s\n  benchd report %s --home %s\nor end it with:\n  benchd cancel %s --home %s",
			run.Name, run.Name, show.home, run.Name, show.home, run.Name, show.home)
		return exitError{code: exitDetached}
	}
	if err != nil {
		return err
	}
	ended, ok := last.obj.(*api.BenchmarkRun)
	if !ok {
		return fmt.Errorf("run %s: it was deleted", run.Name)
	}
	show.result(cmd, ended)
	return outcomeError(ended)
}

// result prints what a run came to: on a terminal in short, to a program or a file as the report.
func (show shown) result(cmd *cobra.Command, ended *api.BenchmarkRun) {
	out := cmd.OutOrStdout()
	short, wanted := terminalOf(out) != nil, show.report || terminalOf(out) == nil
	if to := cmd.ErrOrStderr(); short || terminalOf(to) != nil && !show.quiet {
		if short {
			to = out
		}
		s := screenOf(to)
		lines := summaryLines(s, ended, show.with)
		s.width = 0 // what had to be broken is; paths and commands stay whole
		if text := s.picture(lines) + "\n"; show.plain {
			_, _ = io.WriteString(to, ansi.Strip(text))
		} else {
			_, _ = io.WriteString(styled(to), text)
		}
	}
	if wanted {
		text, err := reportOf(ended, filepath.Join(ended.Status.Folder, report.Dir), "md")
		if err != nil {
			note(cmd)("%v", err)
		}
		_, _ = out.Write(text) // as what is printed above
	}
}

// progressLine prints a line whenever there is something new to say, and at least every five seconds of an execution.
type progressLine struct {
	say     func(string, ...any)
	quiet   bool
	started time.Time
	last    string
	shown   time.Time
}

func (p *progressLine) show(run *api.BenchmarkRun) {
	st := &run.Status
	if p.quiet || st.Phase == "" {
		return
	}
	key := string(st.Phase) + st.Message
	line := fmt.Sprintf("%-12s %s", st.Phase, clean(st.Message))
	if pr := st.Progress; pr != nil && st.Phase == api.RunExecuting {
		line = fmt.Sprintf("%-12s %s", st.Phase, progressText(pr))
		key = fmt.Sprintf("%s%s%d", st.Phase, pr.Stage, pr.Percent/20)
	}
	if key == p.last && time.Since(p.shown) < 5*time.Second || line == p.last {
		return
	}
	p.last, p.shown = key, time.Now()
	p.say("%6.1fs  run/%s  %s", time.Since(p.started).Seconds(), run.Name, line)
}

// progressText says how far a load is, and what is measured now: rates and medians of the last ten seconds.
func progressText(p *api.Progress) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%3d %%  %s, %d requests sent, %d succeeded, %d failed, %d in flight", p.Percent, p.Stage, p.Sent, p.Succeeded, p.Failed, p.InFlight)
	if p.RequestRate > 0 {
		fmt.Fprintf(&b, "; %s req/s, %s tok/s", report.Digits(p.RequestRate, 4), report.Digits(p.TokenRate, 4))
	}
	if p.TTFTP50 > 0 {
		fmt.Fprintf(&b, ", TTFT %s", millis(p.TTFTP50))
	}
	if p.E2EP50 > 0 {
		fmt.Fprintf(&b, ", E2E %s", millis(p.E2EP50))
	}
	if p.Remaining > 0 {
		fmt.Fprintf(&b, "; %s left", time.Duration(p.Remaining*float64(time.Second)).Round(time.Second))
	}
	return b.String()
}
