package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A kind is the type of an option's value.
type kind uint8

const (
	kindText  kind = iota
	kindInt        // a whole number
	kindFloat      // a number
	kindFlag       // takes no value
	kindBool       // --x and --no-x, neither with a value
	kindTruth      // takes true, false, 1, 0, yes, no ...
	kindList       // one value or more
	kindSize       // vLLM's 16k, 16K, 1M
	kindAuto       // a size, or auto
	kindJSON       // a JSON value
	kindMulti      // may be given several times
)

var kindNames = map[string]kind{
	"text": kindText, "int": kindInt, "float": kindFloat, "flag": kindFlag, "bool": kindBool, "truth": kindTruth,
	"list": kindList, "size": kindSize, "auto": kindAuto, "json": kindJSON, "multi": kindMulti,
}

// An option of a command line.
type option struct {
	names   []string // as in the real parser, in its order
	kind    kind
	choices []string
	env     string // the variable that stands in where the option is not given
}

// key is the name under which its value is found: the first long name without dashes.
func (o *option) key() string {
	for _, n := range o.names {
		if strings.HasPrefix(n, "--") {
			return n[2:]
		}
	}
	return strings.TrimLeft(o.names[0], "-")
}

// takesValue says whether a value follows the name.
func (o *option) takesValue() bool { return o.kind != kindFlag && o.kind != kindBool }

// options reads a table: on each line the names, the kind or the choices, and perhaps env=VARIABLE.
func options(table string) []*option {
	var out []*option
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		o := &option{names: strings.Split(fields[0], ",")}
		known := false
		if o.kind, known = kindNames[fields[1]]; !known {
			o.choices = strings.Split(fields[1], "|")
		}
		for _, extra := range fields[2:] {
			name, found := strings.CutPrefix(extra, "env=")
			if !found {
				panic("option table: " + line) // a mistake in this program
			}
			o.env = name
		}
		out = append(out, o)
	}
	return out
}

// parsed is a command line that was understood.
type parsed struct {
	values map[string][]string
	rest   []string // positional arguments
}

func (p *parsed) set(o *option, value ...string) {
	if p.values == nil {
		p.values = map[string][]string{}
	}
	if o.kind == kindMulti {
		value = append(p.values[o.key()], value...)
	}
	p.values[o.key()] = value
}

// has says whether an option was given.
func (p *parsed) has(key string) bool { return len(p.values[key]) > 0 }

// on is the value of a flag or a boolean.
func (p *parsed) on(key string) bool {
	v := p.values[key]
	return len(v) > 0 && isTrue(v[0])
}

func (p *parsed) text(key, def string) string {
	if v := p.values[key]; len(v) > 0 {
		return v[0]
	}
	return def
}

func (p *parsed) list(key string) []string { return p.values[key] }

// number is the value of a whole number, which the parser has checked.
func (p *parsed) number(key string, def int) int {
	v := p.text(key, "")
	if v == "" {
		return def
	}
	if n, ok := readSize(v); ok {
		return n
	}
	return def
}

func (p *parsed) float(key string, def float64) float64 {
	if f, err := strconv.ParseFloat(strings.TrimSpace(p.text(key, "")), 64); err == nil {
		return f
	}
	return def
}

// isTrue reads the words for yes; the parsers let only words for yes and no through.
func isTrue(s string) bool {
	return slices.Contains([]string{"true", "1", "yes", "y", "on", "t"}, strings.ToLower(s))
}

func isTruth(s string) bool {
	return isTrue(s) || slices.Contains([]string{"false", "0", "no", "n", "off", "f"}, strings.ToLower(s))
}

var sizePattern = regexp.MustCompile(`^(\d+(?:\.\d+)?)([kKmMgGtT])$`)

// readSize reads what vLLM's human_readable_int does: 1k is 1000, 1K is 1024, and fractions go with small letters only.
func readSize(s string) (int, bool) {
	s = strings.TrimSpace(s)
	if n, err := strconv.Atoi(s); err == nil {
		return n, true
	}
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	letter := strings.ToLower(m[2])
	power := strings.Index("kmgt", letter) + 1
	base := 1024
	if letter == m[2] {
		base = 1000
	} else if strings.Contains(m[1], ".") {
		return 0, false
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, false
	}
	for range power {
		f *= float64(base)
	}
	return int(f), true
}

// A usageError is a command line that was refused: its text as the real parser words it, and the exit code.
type usageError struct {
	text   string
	status int
}

func (e *usageError) Error() string { return e.text }

// refuseUsage prints a refusal.
func (c *call) refuseUsage(err *usageError) int {
	fmt.Fprintln(c.stderr, err.text)
	return err.status
}
