package slurmadapter

import (
	"fmt"
	"strconv"
	"strings"
)

// maxHosts bounds what a host list may expand to.
const maxHosts = 65_536

// ExpandHostlist expands Slurm's short form of node names: mel[2001-2004,2010],login1. Several bracketed parts multiply
// out (rack[1-2]n[1-2]), numbers keep their leading zeros. The format is that of `scontrol show hostnames`.
func ExpandHostlist(list string) ([]string, error) {
	var hosts []string
	for _, word := range splitOutside(list) {
		names, err := expandWord(word)
		if err != nil {
			return nil, fmt.Errorf("host list %q: %w", list, err)
		}
		if len(hosts)+len(names) > maxHosts {
			return nil, fmt.Errorf("host list %q: more than %d hosts", list, maxHosts)
		}
		hosts = append(hosts, names...)
	}
	return hosts, nil
}

// splitOutside splits at commas that stand outside brackets.
func splitOutside(list string) []string {
	depth := 0
	return strings.FieldsFunc(list, func(r rune) bool {
		switch r {
		case '[':
			depth++
		case ']':
			depth--
		}
		return r == ',' && depth == 0
	})
}

func expandWord(word string) ([]string, error) {
	before, rest, found := strings.Cut(word, "[")
	if strings.Contains(before, "]") {
		return nil, fmt.Errorf("%q closes a bracket that was not opened", word)
	}
	if !found {
		return []string{word}, nil
	}
	ranges, after, found := strings.Cut(rest, "]")
	if !found {
		return nil, fmt.Errorf("%q does not close its bracket", word)
	}
	tails, err := expandWord(after)
	if err != nil {
		return nil, err
	}
	if after == "" {
		tails = []string{""}
	}
	var names []string
	for _, r := range strings.Split(ranges, ",") {
		numbers, err := expandRange(r)
		if err != nil {
			return nil, err
		}
		if (len(names)+len(numbers))*len(tails) > maxHosts {
			return nil, fmt.Errorf("more than %d hosts", maxHosts)
		}
		for _, n := range numbers {
			for _, tail := range tails {
				names = append(names, before+n+tail)
			}
		}
	}
	return names, nil
}

func expandRange(r string) ([]string, error) {
	first, last, isRange := strings.Cut(r, "-")
	lo, err := strconv.ParseUint(first, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%q is not a number or a range", r)
	}
	if !isRange {
		return []string{first}, nil
	}
	hi, err := strconv.ParseUint(last, 10, 32)
	if err != nil || hi < lo || hi-lo >= maxHosts {
		return nil, fmt.Errorf("%q is not a range from a lower to a higher number", r)
	}
	numbers := make([]string, 0, hi-lo+1)
	for n := lo; n <= hi; n++ {
		numbers = append(numbers, fmt.Sprintf("%0*d", len(first), n))
	}
	return numbers, nil
}
