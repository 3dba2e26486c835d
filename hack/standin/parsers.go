package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A click reads a command line as Python's click does (click 8): names are never shortened, an option takes the next argument
// whatever it is, and errors come with a pointer to --help, exit code 2.
type click struct {
	prog       string // "ray start"
	usage      string // after the program: "[OPTIONS]"
	options    []*option
	positional []string // names of the arguments, all required
}

// parse reads args.
func (k *click) parse(args []string) (*parsed, *usageError) {
	p := &parsed{}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			p.rest = append(p.rest, args[i+1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			p.rest = append(p.rest, arg)
			continue
		}
		name, value, given := strings.Cut(arg, "=")
		o := exact(k.options, name)
		switch {
		case o == nil:
			return nil, k.fail("No such option: %s", name)
		case !o.takesValue() && given:
			return nil, k.fail("Option '%s' does not take a value.", name)
		case !o.takesValue():
			p.set(o, "true")
			continue
		case !given && i+1 == len(args):
			return nil, k.fail("Option '%s' requires an argument.", name)
		case !given:
			i++
			value = args[i]
		}
		if text := badClick(o, value); text != "" {
			return nil, k.fail("Invalid value for %s: %s", clickLabel(o), text)
		}
		p.set(o, value)
	}
	if n := len(p.rest); n < len(k.positional) {
		return nil, k.fail("Missing argument '%s'.", k.positional[n])
	} else if n > len(k.positional) {
		extra := p.rest[len(k.positional):]
		plural := ""
		if len(extra) > 1 {
			plural = "s"
		}
		return nil, k.fail("Got unexpected extra argument%s (%s)", plural, strings.Join(extra, " "))
	}
	return p, nil
}

func (k *click) fail(format string, args ...any) *usageError {
	return &usageError{fmt.Sprintf("Usage: %s %s\nTry '%s --help' for help.\n\nError: ", k.prog, k.usage, k.prog) + fmt.Sprintf(format, args...), exitUsage}
}

// clickLabel quotes all names of an option.
func clickLabel(o *option) string {
	quoted := make([]string, len(o.names))
	for i, n := range o.names {
		quoted[i] = "'" + n + "'"
	}
	return strings.Join(quoted, " / ")
}

func badClick(o *option, v string) string {
	switch {
	case o.choices != nil && !slices.Contains(o.choices, v):
		quoted := make([]string, len(o.choices))
		for i, c := range o.choices {
			quoted[i] = "'" + c + "'"
		}
		return fmt.Sprintf("'%s' is not one of %s.", v, strings.Join(quoted, ", "))
	case o.kind == kindInt && !isInt(v):
		return fmt.Sprintf("'%s' is not a valid integer.", v)
	case o.kind == kindFloat && !isFloat(v):
		return fmt.Sprintf("'%s' is not a valid float.", v)
	case o.kind == kindTruth && !isTruth(v):
		return fmt.Sprintf("'%s' is not a valid boolean.", v)
	}
	return ""
}

// exact finds an option by one of its names as they are.
func exact(all []*option, name string) *option {
	for _, o := range all {
		if slices.Contains(o.names, name) {
			return o
		}
	}
	return nil
}

func isInt(v string) bool {
	_, err := strconv.Atoi(strings.TrimSpace(v))
	return err == nil
}

func isFloat(v string) bool {
	_, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
	return err == nil
}

// A clap reads a command line as Rust's clap does (clap 4): an option may be given once, a variable of the environment stands
// in for an option that is not given, exit code 2.
type clap struct {
	prog    string
	options []*option
	lookup  func(string) (string, bool)
}

// parse reads args and the environment.
func (k *clap) parse(args []string) (*parsed, *usageError) {
	p := &parsed{}
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(args[i], "=")
		o := exact(k.options, name)
		switch {
		case o == nil:
			return nil, k.fail("unexpected argument '%s' found", name)
		case p.has(o.key()) && o.kind != kindMulti:
			return nil, k.fail("the argument '%s' cannot be used multiple times", clapLabel(o))
		case o.kind == kindFlag && given:
			return nil, k.fail("unexpected value '%s' for '%s' found; no more were expected", value, name)
		case o.kind == kindFlag:
			p.set(o, "true")
			continue
		case !given && (i+1 == len(args) || looksLikeOption(args[i+1])):
			return nil, k.fail("a value is required for '%s' but none was supplied", clapLabel(o))
		case !given:
			i++
			value = args[i]
		}
		if err := k.check(o, value); err != nil {
			return nil, err
		}
		p.set(o, value)
	}
	for _, o := range k.options {
		value, set := k.lookup(o.env)
		if o.env == "" || !set || p.has(o.key()) {
			continue
		}
		if err := k.check(o, value); err != nil {
			return nil, err
		}
		p.set(o, value)
	}
	return p, nil
}

func (k *clap) fail(format string, args ...any) *usageError {
	text := fmt.Sprintf("error: "+format+"\n", args...)
	return &usageError{text + "\nUsage: " + k.prog + " [OPTIONS]\n\nFor more information, try '--help'.", exitUsage}
}

// clapLabel is an option with the name of its value.
func clapLabel(o *option) string {
	label := o.names[len(o.names)-1]
	if o.kind == kindFlag {
		return label
	}
	return label + " <" + strings.ToUpper(strings.ReplaceAll(o.key(), "-", "_")) + ">"
}

func (k *clap) check(o *option, v string) *usageError {
	bad := func(detail string) *usageError {
		return &usageError{fmt.Sprintf("error: invalid value '%s' for '%s'%s\n\nFor more information, try '--help'.", v, clapLabel(o), detail), exitUsage}
	}
	switch {
	case o.choices != nil && !slices.Contains(o.choices, v):
		return bad("\n  [possible values: " + strings.Join(o.choices, ", ") + "]")
	case o.kind == kindInt:
		if _, err := strconv.ParseUint(v, 10, 64); err != nil { // all of TGI's are unsigned
			return bad(": invalid digit found in string")
		}
	case o.kind == kindFloat && !isFloat(v):
		return bad(": invalid float literal")
	case (o.kind == kindTruth || o.kind == kindFlag) && v != "true" && v != "false":
		return bad("\n  [possible values: true, false]")
	}
	return nil
}
