package protocol

import "bytes"

// scanner walks JSON without decoding it: a chunk of a stream is looked through once, nothing is allocated, and only the
// few values that matter are read. It accepts all JSON, and some things that are not; what it cannot follow makes it bad.
// It never recurses, so the depth of foreign input costs nothing.
type scanner struct {
	b   []byte
	i   int
	bad bool
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\t' || s.b[s.i] == '\n' || s.b[s.i] == '\r') {
		s.i++
	}
}

// peek returns the first byte of the next value, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.i >= len(s.b) {
		return 0
	}
	return s.b[s.i]
}

// open enters an object or an array; another value is skipped.
func (s *scanner) open(bracket byte) bool {
	if s.peek() != bracket {
		s.skip()
		return false
	}
	s.i++
	return true
}

// more says whether another member follows before the closing bracket, which it passes.
func (s *scanner) more(bracket byte) bool {
	c := s.peek()
	if c == ',' {
		s.i++
		c = s.peek()
	}
	switch c {
	case bracket:
		s.i++
		return false
	case 0, '}', ']', ',', ':':
		s.bad = true
	}
	return !s.bad
}

// key reads a member's name and passes the colon.
func (s *scanner) key() []byte {
	k, ok := s.str()
	if !ok || s.peek() != ':' {
		s.bad = true
		return nil
	}
	s.i++
	return k
}

// str returns the raw content of a string, escapes left in it; another value is skipped.
func (s *scanner) str() ([]byte, bool) {
	if s.peek() != '"' {
		s.skip()
		return nil, false
	}
	s.i++
	from := s.i
	for {
		at := bytes.IndexByte(s.b[s.i:], '"')
		if at < 0 {
			s.bad, s.i = true, len(s.b)
			return nil, false
		}
		s.i += at + 1
		// An even number of backslashes before the quote leaves it a quote.
		slashes := 0
		for j := s.i - 2; j >= from && s.b[j] == '\\'; j-- {
			slashes++
		}
		if slashes%2 == 0 {
			return s.b[from : s.i-1], true
		}
	}
}

// text reads a value and says whether it is a string that is not empty.
func (s *scanner) text() bool {
	v, ok := s.str()
	return ok && len(v) > 0
}

// number returns a whole number, cut to what fits; another value is skipped and gives 0. So does one below zero: no count
// and no duration is.
func (s *scanner) number() int64 {
	c := s.peek()
	if c != '-' && (c < '0' || c > '9') {
		s.skip()
		return 0
	}
	negative := c == '-'
	if negative {
		s.i++
	}
	n := int64(0)
	for ; s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9'; s.i++ {
		if n < 1<<58 {
			n = n*10 + int64(s.b[s.i]-'0')
		}
	}
	s.literal() // a fraction or an exponent
	if negative {
		return 0
	}
	return n
}

// literal passes what is left of a number or a word.
func (s *scanner) literal() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ',', '}', ']', ':', ' ', '\t', '\n', '\r', '"', '{', '[':
			return
		}
		s.i++
	}
}

// isLiteral says whether a word is one of JSON's, or begins as a number does; what follows in a number is not looked at.
func isLiteral(word []byte) bool {
	switch string(word) {
	case "true", "false", "null":
		return true
	case "":
		return false
	}
	return word[0] == '-' || word[0] >= '0' && word[0] <= '9'
}

// null says whether the next value is null, and passes it if so.
func (s *scanner) null() bool {
	if s.peek() != 'n' {
		return false
	}
	s.literal()
	return true
}

// skip passes one value of any kind and depth.
func (s *scanner) skip() {
	depth := 0
	for {
		switch c := s.peek(); c {
		case 0:
			s.bad = true
			return
		case '"':
			if _, ok := s.str(); !ok {
				return
			}
		case '{', '[':
			depth++
			s.i++
			continue
		case '}', ']':
			if depth == 0 {
				s.bad = true
				return
			}
			depth--
			s.i++
		case ',', ':':
			if depth == 0 {
				s.bad = true
				return
			}
			s.i++
			continue
		default:
			from := s.i
			s.literal()
			if !isLiteral(s.b[from:s.i]) {
				s.bad = true
				return
			}
		}
		if depth == 0 {
			return
		}
	}
}

// whole says whether all of the text was one value that could be followed.
func (s *scanner) whole() bool {
	s.space()
	return !s.bad && s.i == len(s.b)
}
