package workload

import (
	"math"
	"math/rand/v2"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/protocol"
)

// Prompts fills in what request k asks. The same seed gives the same question on every node. It is used by one goroutine.
type Prompts interface {
	// Fill sets prompt and length of the answer. It returns what the request belongs to for a pinned balance, -1 for nothing.
	Fill(q *protocol.Question, k int64, line *TraceLine) (group int64)
}

// Lengths draws numbers of tokens.
type Lengths struct {
	Tokens       int
	Distribution api.Distribution
	Stddev       int
	Min, Max     int
}

// Draw returns one length.
func (l Lengths) Draw(r *rand.Rand) int {
	switch l.Distribution {
	case api.DistributionUniform:
		return l.Min + r.IntN(l.Max-l.Min+1)
	case api.DistributionNormal:
		return min(max(l.Tokens+int(math.Round(r.NormFloat64()*float64(l.Stddev))), l.Min), l.Max)
	}
	return l.Tokens
}

func promptLengths(p *api.PromptSpec) Lengths {
	return Lengths{int(p.Tokens), p.Distribution, int(p.Stddev), int(p.Min), int(p.Max)}
}

func outputLengths(o *api.OutputSpec) Lengths {
	return Lengths{int(o.Tokens), o.Distribution, int(o.Stddev), int(o.Min), int(o.Max)}
}

// stream is a random sequence that is found by its name: it can be begun anywhere, and costs no allocation.
type stream struct {
	pcg rand.PCG
	*rand.Rand
}

func newStream() *stream {
	s := &stream{}
	s.Rand = rand.New(&s.pcg)
	return s
}

func (s *stream) begin(seed int64, name uint64) { s.pcg.Seed(uint64(seed), name) }

// Names of sequences lie apart: requests count up from 0, beginnings and blocks have their high bits set.
const (
	lengthNames = 1 << 60
	prefixNames = 1 << 61
	blockNames  = 1 << 62
)

// Synthetic makes prompts of random words, each unlike the others from its first word on, so that no prefix cache helps;
// but for the beginnings that are wanted alike.
type Synthetic struct {
	Seed    int64
	Words   Vocabulary
	Input   Lengths
	Output  Lengths
	Prefix  float64 // share of the tokens that is alike
	Groups  int64
	Tokens  bool // send token ids instead of text
	lengths *stream
	text    *stream
}

// NewSynthetic returns the prompts of a spec.
func NewSynthetic(w *api.WorkloadSpec, seed int64, words Vocabulary) *Synthetic {
	s := &Synthetic{
		Seed: seed, Words: words, Input: promptLengths(&w.Prompts), Output: outputLengths(&w.Output),
		Tokens: w.Prompts.Tokenizer == api.CounterIDs, lengths: newStream(), text: newStream(),
	}
	if p := w.Prompts.Prefix; p != nil {
		s.Prefix, s.Groups = p.Share, int64(p.Groups)
	}
	return s
}

// Fill makes prompt k.
func (s *Synthetic) Fill(q *protocol.Question, k int64, line *TraceLine) int64 {
	s.lengths.begin(s.Seed, lengthNames|uint64(k))
	input, output := s.Input.Draw(s.lengths.Rand), s.Output.Draw(s.lengths.Rand)
	group := int64(-1)
	if line != nil {
		input, output = line.Input, line.Output
		if line.Session != "" {
			group = int64(hash64(line.Session) >> 1)
		}
	}
	q.MaxTokens = output
	if line != nil && line.Prompt != "" {
		q.Text = append(q.Text, line.Prompt...)
		return group
	}
	n := max(1, input-s.Words.Overhead)
	if s.Tokens {
		n = input
	}
	switch {
	case line != nil && len(line.Blocks) > 0:
		for _, block := range line.Blocks {
			if n <= 0 {
				break
			}
			s.append(q, blockNames|uint64(block), min(n, TraceBlock))
			n -= TraceBlock
		}
	case s.Groups > 0:
		group = k % s.Groups
		shared := int(math.Round(s.Prefix * float64(n)))
		s.append(q, prefixNames|uint64(group), shared)
		n -= shared
	}
	s.append(q, uint64(k), n)
	return group
}

func (s *Synthetic) append(q *protocol.Question, name uint64, n int) {
	s.text.begin(s.Seed, name)
	if s.Tokens {
		for range n {
			q.Tokens = append(q.Tokens, firstID+s.text.IntN(lastID-firstID))
		}
		return
	}
	for range n {
		if len(q.Text) > 0 {
			q.Text = append(q.Text, ' ')
		}
		q.Text = append(q.Text, s.Words.Words[s.text.IntN(len(s.Words.Words))]...)
	}
}

// Token ids that are ordinary tokens in every vocabulary in use: special ones lie below or far above.
const (
	firstID = 1000
	lastID  = 30000
)

// Vocabulary is what synthetic prompts are made of: words of one token each, and the tokens that the server adds.
type Vocabulary struct {
	Words []string
	// Overhead is how many tokens a prompt has beside its words: a beginning-of-text token, a chat template.
	Overhead int
	// Source tells how the tokens were counted: `words` (about one token each), `server`, `file` or `ids`.
	Source string
}

// CommonWords are short and common, so that a tokenizer makes about one token of each.
func CommonWords() Vocabulary {
	return Vocabulary{Words: words, Source: string(api.CounterWords)}
}

var words = strings.Fields(`time year people way day man thing woman life child world school state family student group
country problem hand part place case week company system program question work government number night point home water
room mother area money story fact month lot right study book eye job word business issue side kind head house service
friend father power hour game line end member law car city community name president team minute idea kid body back
parent face others level office door health person art war history party result change morning reason research girl guy
moment air teacher force education`)
