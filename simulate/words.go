package simulate

import "strings"

// vocabulary is what the server says, over and over. Some words are not ASCII, so that a reader that splits a
// character between two reads shows; none needs escaping in JSON, since chunks are put together from bytes.
var vocabulary = [...]string{
	"the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "seven", "ships", "sail", "past", "café", "lights",
	"and", "every", "winter", "brings", "naïve", "hopes", "of", "warmer", "days", "beneath", "an", "open", "sky", "where", "birds", "return",
	"to", "build", "their", "nests", "in", "quiet", "trees", "along", "rivers", "that", "über", "time", "carve", "deep", "valleys", "through",
	"old", "stone", "until", "morning", "light", "reveals", "東京", "towers", "rising", "from", "mist", "like", "silver", "needles", "at", "dawn",
}

// pieces are the texts of tokens: the words with the space before them that joins them to the last one.
var pieces = func() (p [len(vocabulary)]string) {
	for i, w := range vocabulary {
		p[i] = " " + w
	}
	return p
}()

// piece is the text of token k of any answer.
func piece(k int) string {
	if k == 0 {
		return vocabulary[0]
	}
	return pieces[k%len(pieces)]
}

// Text is the whole text of an answer of n tokens, which is n words: what a client must have put together.
func Text(n int) string {
	var b strings.Builder
	for k := range n {
		b.WriteString(piece(k))
	}
	return b.String()
}
