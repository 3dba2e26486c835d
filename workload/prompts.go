package workload

import (
	"math/rand/v2"
	"strings"
)

// words of synthetic prompts: short and common, so that a tokenizer makes about one token of each.
var words = strings.Fields(`time year people way day man thing woman life child world school state family student group
country problem hand part place case week company system program question work government number night point home water
room mother area money story fact month lot right study book eye job word business issue side kind head house service
friend father power hour game line end member law car city community name president team minute idea kid body back
parent face others level office door health person art war history party result change morning reason research girl guy
moment air teacher force education`)

// Synthetic makes prompts of a number of words, each prompt its own.
type Synthetic struct {
	Seed  int64
	Words int
}

// Prompt returns prompt k: the same for the same seed on every node, and unlike every other from its first word on, so
// that no prefix cache helps.
func (s Synthetic) Prompt(k int64) string {
	r := rand.New(rand.NewPCG(uint64(s.Seed), uint64(k)))
	var b strings.Builder
	b.Grow(s.Words * 8)
	for i := range s.Words {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(words[r.IntN(len(words))])
	}
	return b.String()
}
