package workload

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Count tells how many tokens a prompt has, all that the server adds included.
type Count func(prompt string) (int, error)

// Calibrate finds the words that are exactly one token each when they follow another, and how many tokens come on top,
// with few questions: words are asked together, and only a group that does not add up is split. What it finds is checked
// on whole prompts of the length that is wanted.
func Calibrate(count Count, source string, length int) (Vocabulary, error) {
	const anchor = "time"
	one, err := count(anchor)
	if err != nil {
		return Vocabulary{}, err
	}
	two, err := count(anchor + " " + anchor)
	if err != nil {
		return Vocabulary{}, err
	}
	if two != one+1 {
		return Vocabulary{}, fmt.Errorf("%q is %d tokens and %q twice is %d: words do not add up with this tokenizer: set prompts.tokenizer: words", anchor, one, anchor, two)
	}
	v := Vocabulary{Overhead: one - 1, Source: source}
	if v.Words, err = additive(count, anchor, one, words); err != nil {
		return Vocabulary{}, err
	}
	if len(v.Words) < 20 {
		return Vocabulary{}, fmt.Errorf("only %d of %d common words are one token each with this tokenizer: set prompts.tokenizer: words", len(v.Words), len(words))
	}
	return v, v.check(count, length)
}

// additive returns those of the words that add one token each.
func additive(count Count, anchor string, base int, group []string) ([]string, error) {
	n, err := count(anchor + " " + strings.Join(group, " "))
	if err != nil {
		return nil, err
	}
	if n == base+len(group) {
		return group, nil
	}
	if len(group) == 1 {
		return nil, nil
	}
	left, err := additive(count, anchor, base, group[:len(group)/2])
	if err != nil {
		return nil, err
	}
	right, err := additive(count, anchor, base, group[len(group)/2:])
	return append(append([]string{}, left...), right...), err
}

// check makes whole prompts and has them counted.
func (v *Vocabulary) check(count Count, length int) error {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3 {
		n := max(1, min(length, 8192)-v.Overhead)
		chosen := make([]string, n)
		for i := range chosen {
			chosen[i] = v.Words[r.IntN(len(v.Words))]
		}
		got, err := count(strings.Join(chosen, " "))
		if err != nil {
			return err
		}
		if want := n + v.Overhead; got != want {
			return fmt.Errorf("a prompt made to have %d tokens has %d with this tokenizer: set prompts.tokenizer: words", want, got)
		}
	}
	return nil
}
