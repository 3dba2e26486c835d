package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// An argparse reads a command line as Python's argparse does (Python 3.12, Lib/argparse.py): long options may be shortened
// while they are unambiguous, and errors go to stderr with the usage, exit code 2.
type argparse struct {
	prog     string // as the error line begins
	usage    string // after "usage: "
	options  []*option
	dashes   bool // underscores in names are dashes, as vLLM's FlexibleArgumentParser has it
	required []string
	maxRest  int // positional arguments that are taken
}

var negative = regexp.MustCompile(`^-\d+$|^-\d*\.\d+$`)

// parse reads args.
func (a *argparse) parse(args []string) (*parsed, *usageError) {
	p := &parsed{}
	var extra []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			p.rest = append(p.rest, args[i+1:]...)
			break
		}
		if !looksLikeOption(arg) {
			if len(p.rest) < a.maxRest {
				p.rest = append(p.rest, arg)
			} else {
				extra = append(extra, arg)
			}
			continue
		}
		name, value, given := strings.Cut(arg, "=")
		o, no, err := a.lookUp(name)
		if err != nil {
			return nil, err
		}
		if o == nil {
			extra = append(extra, arg)
			continue
		}
		taken, err := a.take(p, o, no, value, given, args[i+1:])
		if err != nil {
			return nil, err
		}
		i += taken
	}
	return p, a.complete(p, extra)
}

// complete checks what only shows at the end.
func (a *argparse) complete(p *parsed, extra []string) *usageError {
	var missing []string
	for _, key := range a.required {
		if !p.has(key) {
			missing = append(missing, "--"+key)
		}
	}
	switch {
	case len(missing) > 0:
		return a.fail("the following arguments are required: %s", strings.Join(missing, ", "))
	case len(extra) > 0:
		return a.fail("unrecognized arguments: %s", strings.Join(extra, " "))
	}
	return nil
}

func looksLikeOption(arg string) bool {
	return len(arg) > 1 && arg[0] == '-' && !negative.MatchString(arg) && !strings.Contains(arg, " ")
}

func (a *argparse) fail(format string, args ...any) *usageError {
	return &usageError{"usage: " + a.usage + "\n" + a.prog + ": error: " + fmt.Sprintf(format, args...), exitUsage}
}

// lookUp finds the option of a name; the second result says that it was the --no- form.
func (a *argparse) lookUp(name string) (*option, bool, *usageError) {
	if a.dashes && strings.HasPrefix(name, "--") {
		head, tail, _ := strings.Cut(name, ".") // --json-arg.key_1 keeps its key
		name = strings.ReplaceAll(head, "_", "-")
		if tail != "" {
			for _, o := range a.options {
				if o.kind == kindJSON && slices.Contains(o.names, name) {
					return &option{names: []string{name + "." + tail}, kind: kindText}, false, nil
				}
			}
			name += "." + tail
		}
	}
	var found []string
	var match *option
	var matchNo bool
	for _, o := range a.options {
		for _, n := range o.spellings() {
			switch {
			case n == name:
				return o, isNo(o, n), nil
			case strings.HasPrefix(name, "--") && strings.HasPrefix(n, name):
				found, match, matchNo = append(found, n), o, isNo(o, n)
			}
		}
	}
	if len(found) > 1 {
		return nil, false, a.fail("ambiguous option: %s could match %s", name, strings.Join(found, ", "))
	}
	return match, matchNo, nil
}

// spellings are the names with the --no- forms of a boolean.
func (o *option) spellings() []string {
	if o.kind != kindBool {
		return o.names
	}
	out := slices.Clone(o.names)
	for _, n := range o.names {
		if strings.HasPrefix(n, "--") {
			out = append(out, "--no-"+n[2:])
		}
	}
	return out
}

func isNo(o *option, name string) bool { return o.kind == kindBool && !slices.Contains(o.names, name) }

// take stores the option's value and returns how many of the following arguments it used.
func (a *argparse) take(p *parsed, o *option, no bool, value string, given bool, following []string) (int, *usageError) {
	label := "argument " + strings.Join(o.spellings(), "/")
	if !o.takesValue() {
		if given {
			return 0, a.fail("%s: ignored explicit argument %s", label, quotePython(value))
		}
		p.set(o, strconv.FormatBool(!no))
		return 0, nil
	}
	values, taken := []string{value}, 0
	if !given {
		limit := 1
		if o.kind == kindList {
			limit = len(following)
		}
		values = nil
		for taken < min(limit, len(following)) && !looksLikeOption(following[taken]) {
			values = append(values, following[taken])
			taken++
		}
	}
	if len(values) == 0 {
		if o.kind == kindList {
			return 0, a.fail("%s: expected at least one argument", label)
		}
		return 0, a.fail("%s: expected one argument", label)
	}
	for _, v := range values {
		if text := badPython(o, v); text != "" {
			return 0, a.fail("%s: %s", label, text)
		}
	}
	p.set(o, values...)
	return taken, nil
}

// badPython says what is wrong with a value, in argparse's words.
func badPython(o *option, v string) string {
	if o.choices != nil && !slices.Contains(o.choices, v) {
		quoted := make([]string, len(o.choices))
		for i, c := range o.choices {
			quoted[i] = quotePython(c)
		}
		return fmt.Sprintf("invalid choice: %s (choose from %s)", quotePython(v), strings.Join(quoted, ", "))
	}
	bad := false
	typeName := ""
	switch o.kind {
	case kindInt:
		_, err := strconv.Atoi(strings.TrimSpace(v))
		bad, typeName = err != nil, "int"
	case kindFloat:
		_, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		bad, typeName = err != nil, "float"
	case kindSize:
		_, ok := readSize(v)
		bad, typeName = !ok, "human_readable_int"
	case kindAuto:
		_, ok := readSize(v)
		bad, typeName = !ok && !strings.EqualFold(v, "auto"), "human_readable_int_or_auto"
	case kindJSON:
		if !json.Valid([]byte(v)) {
			return fmt.Sprintf("Value %s cannot be converted to %s.", v, "json.loads")
		}
	}
	if bad {
		return fmt.Sprintf("invalid %s value: %s", typeName, quotePython(v))
	}
	return ""
}

// quotePython writes a string as Python's repr does.
func quotePython(s string) string {
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		return `"` + s + `"`
	}
	return "'" + strings.ReplaceAll(s, "'", `\'`) + "'"
}
