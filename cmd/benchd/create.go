package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	api "github.com/benchd/benchd/api/v1alpha1"
)

type createOptions struct {
	*options
	force, recipe, plain, fromFlags bool
	// one and several are the values of flags, by their names.
	one     map[string]*string
	several map[string]*[]string
}

func newCreateCommand(o *options) *cobra.Command {
	c := createOptions{options: o, one: map[string]*string{}, several: map[string]*[]string{}}
	cmd := &cobra.Command{
		Use:   "create [FILE]",
		Short: "Ask what is to be benchmarked and write a run file, or a recipe",
		Long: `Ask what is to be benchmarked, step by step, show the file and write it. Every answer is checked at its step by the rules that
files are read with; what is proposed comes from this site. Flags that are given are proposed in place of it.

With --from-flags nothing is asked: flags and proposals make the file. Without FILE it goes to standard output; a dialogue asks
where to. Ctrl-C leaves without writing. In a dialogue Esc goes back; where the terminal is dumb, or with --plain, questions are
plain lines. NO_COLOR switches colours off.`,
		Example: "  benchd create run.yaml\n  benchd create run.yaml --service vllm --servers 2 --nodes-per-server 2 --model Qwen/Qwen2.5-14B-Instruct\n" +
			"  benchd create --from-flags --service ollama --model llama3.2:3b --rate 5 | benchd run -f -\n  benchd create recipe.yaml --recipe",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			target := ""
			if len(args) > 0 {
				target = args[0]
			}
			return c.run(cmd, target)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&c.fromFlags, "from-flags", false, "ask nothing: flags and what would be proposed make the file")
	f.BoolVar(&c.recipe, "recipe", false, "write a recipe, not a BenchmarkRun")
	f.BoolVar(&c.force, "force", false, "overwrite FILE")
	f.BoolVar(&c.plain, "plain", false, "ask in plain lines, without drawing on the terminal")
	for i := range createQuestions {
		if q := &createQuestions[i]; q.many {
			c.several[q.name] = f.StringArray(q.name, nil, q.help+"; may be repeated")
		} else {
			c.one[q.name] = f.String(q.name, "", q.help)
		}
	}
	return cmd
}

func (c *createOptions) run(cmd *cobra.Command, target string) error {
	if target != "" && target != "-" && !c.force {
		if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
			return exitError{exitInvalid, fmt.Errorf("%s is there already: name another file, or overwrite it with --force", target)}
		}
	}
	if !c.fromFlags && !isTerminal(cmd.InOrStdin()) {
		return exitError{exitInvalid, errors.New("standard input is no terminal to ask on: give the answers as flags, with --from-flags")}
	}
	if !c.fromFlags && !isTerminal(cmd.ErrOrStderr()) {
		return exitError{exitInvalid, errors.New("standard error is no terminal to ask on: leave it one, or give the answers as flags, with --from-flags")}
	}
	given := c.given(cmd)
	b := newBuilder(findSite(cmd.Context()), c.namespace, c.admitFiles(cmd))
	if !c.fromFlags {
		return c.ask(cmd, b, given, target)
	}
	text, err := c.fromAnswers(b, given)
	if err != nil {
		return err
	}
	return c.write(cmd, target, text)
}

// given are the answers that stand on the command line, and those that follow from them.
func (c *createOptions) given(cmd *cobra.Command) answers {
	a := answers{}
	for name, value := range c.one {
		if cmd.Flags().Changed(name) {
			a[name] = []string{*value}
		}
	}
	for name, values := range c.several {
		if cmd.Flags().Changed(name) {
			a[name] = *values
		}
	}
	if _, said := a["pattern"]; !said {
		for _, follows := range []struct {
			flag    string
			pattern api.Pattern
		}{
			{"burst", api.PatternBurst},
			{"steps", api.PatternSteps},
			{"ramp", api.PatternRamp},
			{"trace", api.PatternTrace},
			{"burstiness", api.PatternGamma},
			{"rate", api.PatternPoisson},
		} {
			if _, given := a[follows.flag]; given {
				a["pattern"] = []string{string(follows.pattern)}
				break
			}
		}
	}
	return a
}

// fromAnswers makes the file without asking. A flag that means nothing beside the others is a mistake.
func (c *createOptions) fromAnswers(b *builder, given answers) ([]byte, error) {
	a := answers{}
	for name, values := range given {
		a[name] = values
	}
	b.complete(a)
	var all error
	for i := range createQuestions {
		q := &createQuestions[i]
		if _, said := given[q.name]; said && !q.applies(a) {
			all = errors.Join(all, fmt.Errorf("--%s means nothing with service %s, cluster %s and the other flags given: leave it out", q.name, a.get("service"), a.get("cluster")))
		}
	}
	if all != nil {
		return nil, exitError{exitInvalid, all}
	}
	return c.file(b, a)
}

// file is what is written.
func (c *createOptions) file(b *builder, a answers) ([]byte, error) {
	if c.recipe {
		return b.recipeFile(a)
	}
	return b.file(a)
}

// ask holds the dialogue.
func (c *createOptions) ask(cmd *cobra.Command, b *builder, given answers, target string) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var by asker
	if c.plain || os.Getenv("TERM") == "dumb" || os.Getenv("TERM") == "" {
		by = newPlainAsker(cmd.InOrStdin(), cmd.ErrOrStderr())
	} else {
		by = newFormAsker(ctx, cmd.InOrStdin(), cmd.ErrOrStderr())
	}
	if target == "" && !isTerminal(cmd.OutOrStdout()) {
		target = "-" // the output goes somewhere already
	}
	w := &wizard{builder: b, by: by, answers: given, target: target, force: c.force, recipe: c.recipe, render: func(a answers) ([]byte, error) { return c.file(b, a) }}
	text, err := w.run(ctx)
	by.close()
	if errors.Is(err, errLeft) || errors.Is(err, context.Canceled) {
		return exitError{exitDetached, errors.New("left without writing anything")}
	}
	if err != nil {
		return err
	}
	return c.write(cmd, w.target, text)
}

func (c *createOptions) write(cmd *cobra.Command, target string, text []byte) error {
	if target == "" || target == "-" {
		_, err := cmd.OutOrStdout().Write(text)
		return err
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if c.force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(target, flags, 0o644)
	if err != nil {
		return fmt.Errorf("write the file: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the file: %w", err)
	}
	note(cmd)("%s is written. Run it with:\n  benchd run -f %s", target, quoteWords([]string{target}))
	return nil
}

// isTerminal says whether a stream is one that people sit at.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// splitList reads several answers from a line.
func splitList(line string) []string {
	var all []string
	for _, part := range strings.Split(line, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}
