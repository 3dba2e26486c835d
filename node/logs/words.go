package logs

import (
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// shortestWord is the length from which on a word is worth looking for: shorter ones are in every line.
const shortestWord = 4

// wordsOf finds words of which every text that the pattern matches has at least one, in small letters; none when there are no such
// words, and the pattern has to be tried on every line.
func wordsOf(pattern string) []string {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	return words(re.Simplify())
}

func words(re *syntax.Regexp) []string {
	switch re.Op { //nolint:exhaustive // the others demand no text
	case syntax.OpLiteral:
		word := string(re.Rune)
		if len(word) < shortestWord || re.Flags&syntax.FoldCase != 0 && strings.ContainsFunc(word, func(r rune) bool { return r >= utf8.RuneSelf }) {
			return nil // of letters beyond ASCII only one case is looked for
		}
		return []string{strings.Map(lowered, word)}
	case syntax.OpCapture, syntax.OpPlus:
		return words(re.Sub[0])
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if found := words(sub); rarity(found) > rarity(best) {
				best = found
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			found := words(sub)
			if found == nil {
				return nil
			}
			all = append(all, found...)
		}
		return all
	}
	return nil
}

// lowered makes small the letters that wordSet does not tell apart.
func lowered(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// rarity is the length of the shortest word: the longer, the fewer lines have it.
func rarity(words []string) int {
	if len(words) == 0 {
		return 0
	}
	least := len(words[0])
	for _, w := range words {
		least = min(least, len(w))
	}
	return least
}

// wordSet looks for many words in one pass over a text, whatever the case of ASCII letters (Aho and Corasick 1975). Bytes that are
// in no word share a class, so that the table stays small.
type wordSet struct {
	class   [256]uint8
	classes int
	// next is, by state and class, where the next state begins in it; less than 0 when words end there.
	next  []int32
	found [][]int // by state: what the words belong to that end there
}

// newWordSet takes the words of each owner, which is named by its index.
func newWordSet(owners [][]string) *wordSet {
	s := &wordSet{classes: 1}
	for _, words := range owners {
		for _, word := range words {
			for i := range len(word) {
				if c := word[i]; s.class[c] == 0 {
					s.class[c] = uint8(s.classes)
					s.classes++
				}
			}
		}
	}
	for c := byte('A'); c <= 'Z'; c++ {
		s.class[c] = s.class[c+'a'-'A']
	}
	s.grow()
	for owner, words := range owners {
		for _, word := range words {
			state := 0
			for i := range len(word) {
				at := state*s.classes + int(s.class[word[i]])
				if s.next[at] == 0 {
					grown := s.grow()
					s.next[at] = int32(grown)
				}
				state = int(s.next[at])
			}
			s.found[state] = append(s.found[state], owner)
		}
	}
	s.link()
	for i, state := range s.next {
		if s.next[i] = state * int32(s.classes); s.found[state] != nil {
			s.next[i] = -s.next[i]
		}
	}
	return s
}

// grow adds a state without transitions.
func (s *wordSet) grow() int {
	s.next = append(s.next, make([]int32, s.classes)...)
	s.found = append(s.found, nil)
	return len(s.found) - 1
}

// link makes the tree of words an automaton: where a word does not go on, the longest end of it that begins another one does.
func (s *wordSet) link() {
	fail := make([]int32, len(s.found))
	var queue []int32
	for class := range s.classes {
		if to := s.next[class]; to != 0 {
			queue = append(queue, to)
		}
	}
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		s.found[state] = append(s.found[state], s.found[fail[state]]...)
		for class := range s.classes {
			to := &s.next[int(state)*s.classes+class]
			otherwise := s.next[int(fail[state])*s.classes+class]
			if *to == 0 {
				*to = otherwise
				continue
			}
			fail[*to] = otherwise
			queue = append(queue, *to)
		}
	}
}

// in calls back with the owner of each word that the text has, once for each place.
func (s *wordSet) in(text []byte, each func(owner int)) {
	state := int32(0)
	for _, c := range text {
		if state = s.next[int(state)+int(s.class[c])]; state < 0 {
			state = -state
			for _, owner := range s.found[int(state)/s.classes] {
				each(owner)
			}
		}
	}
}
