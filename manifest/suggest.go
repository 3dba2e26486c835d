package manifest

import (
	"slices"
	"strconv"
	"strings"
)

// oneOf ends an error message on an unknown word: the one that was likely meant, or all there are.
func oneOf(got string, known []string) string {
	if meant := closest(got, known); meant != "" {
		return "; did you mean " + strconv.Quote(meant) + "?"
	}
	quoted := make([]string, len(known))
	for i, k := range known {
		quoted[i] = strconv.Quote(k)
	}
	return ": use " + orList(quoted)
}

// orList joins words as in "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// closest returns the known word that got was likely meant to be, or "". Words that differ in case, dashes or
// underscores alone are the same; else a third of the letters may be wrong.
func closest(got string, known []string) string {
	const longest = 64
	if len(got) == 0 || len(got) > longest {
		return ""
	}
	folded := fold(got)
	best, least := "", max(1, len(folded)/3)+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := distance(folded, fold(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

func fold(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s))
}

// distance counts the letters to insert, delete, replace or swap with their neighbour to get from a to b.
func distance(a, b string) int {
	before, previous, current := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous, current = previous, current, before
	}
	return previous[len(b)]
}
