package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// plainAsker asks in lines: for dumb terminals, screen readers and slow connections.
type plainAsker struct {
	lines chan string
	out   io.Writer
	told  bool
}

// newPlainAsker reads lines beside the dialogue, so that a signal ends it while it waits for one.
func newPlainAsker(in io.Reader, out io.Writer) *plainAsker {
	p := &plainAsker{lines: make(chan string), out: out}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	return p
}

var _ asker = (*plainAsker)(nil)

func (p *plainAsker) close() {}

func (p *plainAsker) say(text string) {
	if strings.HasPrefix(text, "\n") {
		fmt.Fprintln(p.out, text) // the file; answers stand above already
	}
}

func (p *plainAsker) ask(ctx context.Context, pg page) error {
	fmt.Fprintln(p.out, "\n"+pg.title)
	if !p.told {
		p.told = true
		fmt.Fprintln(p.out, "Enter takes what stands in brackets, - leaves a question open, < goes back, Ctrl-C leaves without writing.")
	}
	if pg.trouble != "" {
		fmt.Fprintln(p.out, "Not right yet: "+pg.trouble)
	}
	for _, one := range pg.prompts {
		if err := p.askOne(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

// askOne asks until the answer is right.
func (p *plainAsker) askOne(ctx context.Context, one *prompt) error {
	for i, c := range one.choices {
		if i == 0 {
			fmt.Fprintln(p.out, one.title)
		}
		fmt.Fprintf(p.out, "  %d) %s\n", i+1, strings.TrimSpace(c.value+"  "+c.label))
	}
	label := one.title
	if len(one.choices) > 0 {
		label = "Number or name"
	} else if one.hint != "" {
		label += " (" + one.hint + ")"
	}
	if one.value != "" {
		label += " [" + one.value + "]"
	}
	for {
		fmt.Fprint(p.out, label+": ")
		line, err := p.line(ctx)
		if err != nil {
			return err
		}
		value := one.value
		switch line {
		case "":
		case "<":
			return errBack
		case "-":
			if value = ""; one.name == "file" {
				value = "-" // standard output
			}
		default:
			value = one.chosen(line)
		}
		if err := one.accept(value); err != nil {
			fmt.Fprintln(p.out, "  "+err.Error())
			continue
		}
		one.value = value
		return nil
	}
}

// line waits for a line. The end of the input leaves.
func (p *plainAsker) line(ctx context.Context) (string, error) {
	select {
	case <-ctx.Done():
		fmt.Fprintln(p.out)
		return "", errLeft
	case line, open := <-p.lines:
		if !open {
			fmt.Fprintln(p.out)
			return "", errLeft
		}
		return strings.TrimSpace(line), nil
	}
}

// chosen is the choice of a number.
func (one *prompt) chosen(line string) string {
	if n, err := strconv.Atoi(line); err == nil && n >= 1 && n <= len(one.choices) {
		return one.choices[n-1].value
	}
	return line
}

// accept says what is wrong with an answer.
func (one *prompt) accept(value string) error {
	if value == "" && len(one.choices) > 0 && (one.name == "then" || one.name == "service") {
		return fmt.Errorf("choose one")
	}
	if one.name == "then" {
		for _, c := range one.choices {
			if c.value == value {
				return nil
			}
		}
		return fmt.Errorf("%q is none of these", value)
	}
	return one.check(value)
}
