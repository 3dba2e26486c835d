package simulate

import (
	"strings"
	"testing"
)

func TestTextHasOneWordPerToken(t *testing.T) {
	for _, n := range []int{0, 1, 2, 63, 64, 65, 500} {
		if got := countWords(Text(n)); got != n {
			t.Errorf("a text of %d tokens has %d words", n, got)
		}
	}
}

func TestWordsNeedNoEscaping(t *testing.T) {
	for _, w := range vocabulary {
		if quoteJSON(w) != `"`+w+`"` || strings.ContainsAny(w, " \n") {
			t.Errorf("the word %q cannot be copied into JSON as it is", w)
		}
	}
}
