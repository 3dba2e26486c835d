package tokenizer

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/dlclark/regexp2/v2"
	"golang.org/x/text/unicode/norm"
)

// matchTimeout ends a regular expression of a foreign file that would run for ever. An honest one takes microseconds.
const matchTimeout = 10 * time.Second

// gpt2 is how byte-level splits a text into words unless told not to.
const gpt2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// stage is a normalizer or a pre-tokenizer. It has the fields of all of them: where two share a name, it means the same.
type stage struct {
	Type          string  `json:"type"`
	Normalizers   []stage `json:"normalizers"`
	Pretokenizers []stage `json:"pretokenizers"`
	Pattern       struct {
		String *string
		Regex  *string
	} `json:"pattern"`
	Content          string `json:"content"`
	Prepend          string `json:"prepend"`
	Behavior         string `json:"behavior"`
	Invert           bool   `json:"invert"`
	AddPrefixSpace   *bool  `json:"add_prefix_space"`
	UseRegex         *bool  `json:"use_regex"`
	IndividualDigits bool   `json:"individual_digits"`
	Replacement      string `json:"replacement"`
	PrependScheme    string `json:"prepend_scheme"`
	Split            *bool  `json:"split"`
}

// normalizer rewrites a text.
type normalizer func(string) (string, error)

// piece is a part of a text that a pre-tokenizer made. The first is the one at the text's very start.
type piece struct {
	text  string
	first bool
}

// splitter appends the pieces of a piece.
type splitter func([]piece, piece) ([]piece, error)

func (s *stage) normalizers(list []normalizer) ([]normalizer, error) {
	if s == nil {
		return list, nil
	}
	switch s.Type {
	case "Sequence":
		var err error
		for i := range s.Normalizers {
			if list, err = s.Normalizers[i].normalizers(list); err != nil {
				return nil, err
			}
		}
		return list, nil
	case "NFC":
		return append(list, form(norm.NFC)), nil
	case "NFD":
		return append(list, form(norm.NFD)), nil
	case "NFKC":
		return append(list, form(norm.NFKC)), nil
	case "NFKD":
		return append(list, form(norm.NFKD)), nil
	case "Prepend":
		return append(list, func(text string) (string, error) {
			if text == "" {
				return "", nil
			}
			return s.Prepend + text, nil
		}), nil
	case "Replace":
		if s.Pattern.String == nil || *s.Pattern.String == "" {
			return nil, unsupported("the normalizer Replace with another pattern than a string")
		}
		return append(list, func(text string) (string, error) {
			return strings.ReplaceAll(text, *s.Pattern.String, s.Content), nil
		}), nil
	}
	return nil, unsupported("the normalizer %q", s.Type)
}

// form normalizes by Unicode. golang.org/x/text breaks rows of over 30 combining marks with U+034F, the Hugging Face
// library does not.
func form(f norm.Form) normalizer {
	return func(text string) (string, error) {
		out := f.String(text)
		if strings.Count(out, "\u034f") != strings.Count(text, "\u034f") {
			return "", errors.New("the text has over 30 combining marks in a row, which can't be counted here")
		}
		return out, nil
	}
}

func (s *stage) splitters(list []splitter) ([]splitter, error) {
	if s == nil {
		return list, nil
	}
	switch s.Type {
	case "Sequence":
		var err error
		for i := range s.Pretokenizers {
			if list, err = s.Pretokenizers[i].splitters(list); err != nil {
				return nil, err
			}
		}
		return list, nil
	case "ByteLevel":
		return s.byteLevel(list)
	case "Metaspace":
		split, err := s.metaspace()
		return append(list, split), err
	case "Split":
		find, err := s.finder()
		if err != nil {
			return nil, err
		}
		split, err := splitAt(find, s.Behavior, s.Invert)
		return append(list, split), err
	case "Digits":
		behavior := "Contiguous"
		if s.IndividualDigits {
			behavior = "Isolated"
		}
		split, err := splitAt(runes(unicode.IsNumber), behavior, false)
		return append(list, split), err
	case "Punctuation":
		split, err := splitAt(runes(isPunctuation), cmp.Or(s.Behavior, "Isolated"), false)
		return append(list, split), err
	}
	return nil, unsupported("the pre-tokenizer %q", s.Type)
}

// byteLevel writes every byte as one printable character, so that all texts have tokens.
func (s *stage) byteLevel(list []splitter) ([]splitter, error) {
	if s.AddPrefixSpace == nil || *s.AddPrefixSpace {
		list = append(list, func(pieces []piece, p piece) ([]piece, error) {
			if !strings.HasPrefix(p.text, " ") {
				p.text = " " + p.text
			}
			return append(pieces, p), nil
		})
	}
	if s.UseRegex == nil || *s.UseRegex {
		find, err := expression(gpt2)
		if err != nil {
			return nil, err
		}
		split, err := splitAt(find, "Isolated", false)
		if err != nil {
			return nil, err
		}
		list = append(list, split)
	}
	return append(list, func(pieces []piece, p piece) ([]piece, error) {
		var out strings.Builder
		for _, b := range []byte(p.text) {
			out.WriteRune(byteRunes[b])
		}
		return append(pieces, piece{out.String(), p.first}), nil
	}), nil
}

// byteRunes are the characters of byte-level: the printable bytes are themselves, the others count up from U+0100.
var byteRunes = func() (all [256]rune) {
	next := rune(256)
	for b := range all {
		if b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae {
			all[b] = rune(b)
			continue
		}
		all[b] = next
		next++
	}
	return all
}()

func (s *stage) metaspace() (splitter, error) {
	mark := s.Replacement
	scheme := cmp.Or(s.PrependScheme, "always")
	if s.AddPrefixSpace != nil && !*s.AddPrefixSpace && scheme != "never" { // an old field, which Hugging Face refuses too
		return nil, fmt.Errorf("the pre-tokenizer Metaspace has add_prefix_space false but prepend_scheme %q: take a newer tokenizer.json of the model", scheme)
	}
	if len([]rune(mark)) != 1 || scheme != "always" && scheme != "first" && scheme != "never" {
		return nil, unsupported("the pre-tokenizer Metaspace with replacement %q and prepend_scheme %q", mark, scheme)
	}
	split, err := splitAt(literal(mark), "MergedWithNext", false)
	if err != nil {
		return nil, err
	}
	return func(pieces []piece, p piece) ([]piece, error) {
		p.text = strings.ReplaceAll(p.text, " ", mark)
		if !strings.HasPrefix(p.text, mark) && (scheme == "always" || scheme == "first" && p.first) {
			p.text = mark + p.text
		}
		if s.Split != nil && !*s.Split {
			return append(pieces, p), nil
		}
		return split(pieces, p)
	}, nil
}

// finder finds matches in a text: where they start and end, in bytes.
type finder func(string) ([][]int, error)

func (s *stage) finder() (finder, error) {
	switch {
	case s.Pattern.Regex != nil:
		return expression(*s.Pattern.Regex)
	case s.Pattern.String != nil && *s.Pattern.String != "":
		return literal(*s.Pattern.String), nil
	}
	return nil, unsupported("the pre-tokenizer Split without a pattern")
}

func expression(pattern string) (finder, error) {
	re, err := regexp2.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("the regular expression %q of the pre-tokenizer can't be read (%w); "+instead, pattern, err)
	}
	re.MatchTimeout = matchTimeout
	return func(text string) ([][]int, error) { return re.FindAllStringIndex(text, -1) }, nil
}

func literal(pattern string) finder {
	return func(text string) (matches [][]int, _ error) {
		for from := 0; ; {
			i := strings.Index(text[from:], pattern)
			if i < 0 {
				return matches, nil
			}
			matches = append(matches, []int{from + i, from + i + len(pattern)})
			from += i + len(pattern)
		}
	}
}

func runes(is func(rune) bool) finder {
	return func(text string) (matches [][]int, _ error) {
		for i, r := range text {
			if is(r) {
				matches = append(matches, []int{i, i + len(string(r))})
			}
		}
		return matches, nil
	}
}

func isPunctuation(r rune) bool {
	return unicode.IsPunct(r) || r < unicode.MaxASCII && unicode.IsSymbol(r)
}

// part is a stretch of a text that is a match, or what stands between two.
type part struct {
	from, to int
	match    bool
}

// splitAt makes pieces of matches and of what stands between them; behavior tells what a match is joined with.
func splitAt(find finder, behavior string, invert bool) (splitter, error) {
	var join func(left, right part) bool
	switch behavior {
	case "Isolated", "Removed":
		join = func(_, _ part) bool { return false }
	case "Contiguous":
		join = func(left, right part) bool { return left.match == right.match }
	case "MergedWithPrevious":
		join = func(left, right part) bool { return !left.match && right.match }
	case "MergedWithNext":
		join = func(left, right part) bool { return left.match && !right.match }
	default:
		return nil, unsupported("the pre-tokenizer behavior %q", behavior)
	}
	return func(pieces []piece, p piece) ([]piece, error) {
		matches, err := find(p.text)
		if err != nil {
			// The library's own error quotes the whole text.
			return nil, fmt.Errorf("the regular expression of the tokenizer.json's pre-tokenizer gave up on %d bytes of text: it took over %s or too much memory; "+instead, len(p.text), matchTimeout)
		}
		parts := partsOf(len(p.text), matches, invert)
		for i := 0; i < len(parts); i++ {
			from, match := parts[i].from, parts[i].match
			for i+1 < len(parts) && join(parts[i], parts[i+1]) {
				i++
			}
			if behavior != "Removed" || !match {
				pieces = append(pieces, piece{p.text[from:parts[i].to], p.first && from == 0})
			}
		}
		return pieces, nil
	}, nil
}

func partsOf(size int, matches [][]int, invert bool) []part {
	var parts []part
	put := func(from, to int, match bool) {
		if from < to {
			parts = append(parts, part{from, to, match != invert})
		}
	}
	end := 0
	for _, m := range matches {
		put(end, m[0], false)
		put(m[0], m[1], true)
		end = m[1]
	}
	put(end, size, false)
	return parts
}
