package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

type model struct {
	Type                    string          `json:"type"`
	Vocab                   json.RawMessage `json:"vocab"`
	Merges                  json.RawMessage `json:"merges"`
	UnkToken                *string         `json:"unk_token"`
	ContinuingSubwordPrefix string          `json:"continuing_subword_prefix"`
	EndOfWordSuffix         string          `json:"end_of_word_suffix"`
	Dropout                 float64         `json:"dropout"`
	FuseUnk                 bool            `json:"fuse_unk"`
	ByteFallback            bool            `json:"byte_fallback"`
	IgnoreMerges            bool            `json:"ignore_merges"`
}

// bpe is a byte-pair encoding: of the pairs that stand side by side, the one of the lowest rank is merged first.
type bpe struct {
	model
	vocab  map[string]uint32
	merges map[[2]uint32]merge
	bytes  [256]*uint32 // the tokens <0x00> to <0xFF>, where they exist
}

type merge struct{ rank, id uint32 }

func (m *model) build() (*bpe, error) {
	switch {
	case m.Type != "BPE" && (m.Type != "" || m.Merges == nil): // the oldest files tell no type
		return nil, unsupported("a tokenizer.json of model type %q (BPE is)", m.Type)
	case m.ContinuingSubwordPrefix != "" || m.EndOfWordSuffix != "":
		return nil, unsupported("BPE with continuing_subword_prefix or end_of_word_suffix")
	case m.Dropout != 0:
		return nil, unsupported("BPE with dropout, whose counts are random,")
	}
	b := &bpe{model: *m}
	if err := json.Unmarshal(m.Vocab, &b.vocab); err != nil {
		return nil, fmt.Errorf(`the model's "vocab" is not of token to id: %w`, err)
	}
	pairs, err := m.pairs()
	if err != nil {
		return nil, err
	}
	b.merges = make(map[[2]uint32]merge, len(pairs))
	for rank, pair := range pairs {
		left, ok1 := b.vocab[pair[0]]
		right, ok2 := b.vocab[pair[1]]
		both, ok3 := b.vocab[pair[0]+pair[1]]
		if !ok1 || !ok2 || !ok3 {
			return nil, fmt.Errorf("merge %d, of %q and %q, is not of the vocabulary: the file is damaged, fetch it again", rank, pair[0], pair[1])
		}
		b.merges[[2]uint32{left, right}] = merge{uint32(rank), both}
	}
	for i := range b.bytes {
		if id, ok := b.vocab[fmt.Sprintf("<0x%02X>", i)]; ok && m.ByteFallback {
			b.bytes[i] = &id
		}
	}
	b.Vocab, b.Merges = nil, nil // they hold the whole file
	return b, nil
}

// pairs reads both ways of writing merges: "a b", and since tokenizers 0.20 ["a", "b"].
func (m *model) pairs() ([][]string, error) {
	var pairs [][]string
	if err := json.Unmarshal(m.Merges, &pairs); err != nil {
		var lines []string
		if err := json.Unmarshal(m.Merges, &lines); err != nil {
			return nil, fmt.Errorf(`the model's "merges" are neither strings nor pairs of strings: %w`, err)
		}
		pairs = make([][]string, len(lines))
		for i, line := range lines {
			pairs[i] = strings.Split(line, " ")
		}
	}
	for i, pair := range pairs {
		if len(pair) != 2 {
			return nil, fmt.Errorf("merge %d has %d parts, not 2: the file is damaged, fetch it again", i, len(pair))
		}
	}
	return pairs, nil
}

// words encodes one word after the other. What it needs on the way is kept from word to word.
type words struct {
	model   *bpe
	ids     []int
	symbols []symbol
	queue   queue
}

// symbol is a link of the chain of a word's tokens. A merge takes in the right one.
type symbol struct {
	id         uint32
	prev, next int
	gone       bool
}

func (w *words) add(id uint32) { w.ids = append(w.ids, int(id)) }

func (w *words) encode(word string) error {
	if id, ok := w.model.vocab[word]; ok && w.model.IgnoreMerges {
		w.add(id)
		return nil
	}
	if err := w.spell(word); err != nil {
		return err
	}
	w.queue = w.queue[:0]
	for i := range w.symbols {
		w.offer(i)
	}
	// A queue, for a text without pre-tokenizer is one long word: to look for the lowest rank over and over would
	// take the square of its length.
	for len(w.queue) > 0 {
		top := w.queue.pop()
		if found, ok := w.pair(top.at); !ok || found.rank != top.rank {
			continue // one of the two was merged otherwise meanwhile
		}
		left := &w.symbols[top.at]
		right := &w.symbols[left.next]
		left.id, left.next, right.gone = top.id, right.next, true
		if right.next < len(w.symbols) {
			w.symbols[right.next].prev = top.at
		}
		if left.prev >= 0 {
			w.offer(left.prev)
		}
		w.offer(top.at)
	}
	for _, s := range w.symbols {
		if !s.gone {
			w.add(s.id)
		}
	}
	return nil
}

// spell makes symbols of a word's characters.
func (w *words) spell(word string) error {
	w.symbols = w.symbols[:0]
	put := func(id uint32) {
		w.symbols = append(w.symbols, symbol{id: id, prev: len(w.symbols) - 1, next: len(w.symbols) + 1})
	}
	unknowns := 0 // in a row, not put yet; as with Hugging Face, bytes do not end the row
	flush := func() error {
		if unknowns == 0 || w.model.UnkToken == nil {
			unknowns = 0
			return nil
		}
		id, ok := w.model.vocab[*w.model.UnkToken]
		if !ok {
			return fmt.Errorf("the unk_token %q is not of the vocabulary: take the model's own tokenizer.json", *w.model.UnkToken)
		}
		put(id)
		unknowns = 0
		return nil
	}
	for len(word) > 0 {
		_, size := utf8.DecodeRuneInString(word)
		char := word[:size]
		word = word[size:]
		if id, ok := w.model.vocab[char]; ok {
			if err := flush(); err != nil {
				return err
			}
			put(id)
			continue
		}
		if w.model.fallsBack(char) {
			for _, b := range []byte(char) {
				put(*w.model.bytes[b])
			}
			continue
		}
		if !w.model.FuseUnk {
			if err := flush(); err != nil {
				return err
			}
		}
		unknowns++
	}
	return flush()
}

func (b *bpe) fallsBack(char string) bool {
	for _, c := range []byte(char) {
		if b.bytes[c] == nil {
			return false
		}
	}
	return true
}

// pair is what becomes of the symbol at i and its right neighbour.
func (w *words) pair(i int) (merge, bool) {
	s := w.symbols[i]
	if s.gone || s.next >= len(w.symbols) {
		return merge{}, false
	}
	found, ok := w.model.merges[[2]uint32{s.id, w.symbols[s.next].id}]
	return found, ok
}

func (w *words) offer(i int) {
	if found, ok := w.pair(i); ok {
		w.queue.push(candidate{found, i})
	}
}

type candidate struct {
	merge
	at int
}

// queue is a heap: the lowest rank is on top, and of equal ones the leftmost. It is not container/heap's, which would
// allocate for each candidate.
type queue []candidate

func (q queue) before(i, j int) bool {
	return q[i].rank < q[j].rank || q[i].rank == q[j].rank && q[i].at < q[j].at
}

func (q *queue) push(c candidate) {
	*q = append(*q, c)
	h := *q
	for i := len(h) - 1; i > 0 && h.before(i, (i-1)/2); i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
}

func (q *queue) pop() candidate {
	h := *q
	top, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	*q = h
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(h) && h.before(child, least) {
				least = child
			}
		}
		if least == i {
			return top
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
