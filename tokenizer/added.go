package tokenizer

import (
	"slices"
	"strings"
	"unicode"
)

type addedToken struct {
	ID         uint32 `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
}

// added is a set of tokens that are found in a text as they are written. Of those that start at one place the longest
// counts, so each first byte has the lengths to try, longest first.
type added struct {
	tokens  map[string]addedToken
	lengths [256][]int
}

func (a *added) add(token addedToken) {
	if token.Content == "" {
		return
	}
	if a.tokens == nil {
		a.tokens = map[string]addedToken{}
	}
	a.tokens[token.Content] = token
	lengths := &a.lengths[token.Content[0]]
	if !slices.Contains(*lengths, len(token.Content)) {
		*lengths = append(*lengths, len(token.Content))
		slices.SortFunc(*lengths, func(x, y int) int { return y - x })
	}
}

func (a *added) at(text string) (addedToken, bool) {
	for _, n := range a.lengths[text[0]] {
		if n <= len(text) {
			if token, ok := a.tokens[text[:n]]; ok {
				return token, true
			}
		}
	}
	return addedToken{}, false
}

// cut calls found for every added token of the text, and between for what stands between them and where it starts.
func (a *added) cut(text string, found func(uint32), between func(start int, part string) error) error {
	start := 0 // of what is not yet handed on
	for i := 0; i < len(text); {
		token, ok := a.at(text[i:])
		if !ok {
			i++
			continue
		}
		end := i + len(token.Content)
		part := text[start:i]
		if token.LStrip {
			part = strings.TrimRightFunc(part, unicode.IsSpace)
		}
		if part != "" {
			if err := between(start, part); err != nil {
				return err
			}
		}
		found(token.ID)
		if token.RStrip {
			end = len(text) - len(strings.TrimLeftFunc(text[end:], unicode.IsSpace))
		}
		i, start = end, end
	}
	if start < len(text) {
		return between(start, text[start:])
	}
	return nil
}
