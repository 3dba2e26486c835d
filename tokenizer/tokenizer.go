// Package tokenizer counts tokens with a model's own tokenizer.json.
//
// It reads the byte-pair encodings (BPE) that generating models use: byte-level as of GPT-2, Llama 3 and Qwen, and
// SentencePiece-style with byte fallback as of Llama 2, Mistral and Gemma. Whatever in a file it does not know is an
// error of Open, for a wrong count is worse than none.
package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxFile bounds what Open reads. The largest files in use, of vocabularies of 256 Ki tokens, have about 34 MB.
const maxFile = 64 << 20

// instead is what a user can do about a file that this package can't count with.
const instead = "count with the server's own tokenize endpoint instead, if it has one"

// Tokenizer encodes texts as the Hugging Face tokenizers library does. It may be used by many goroutines at once.
type Tokenizer struct {
	raw, normalized added // added tokens that are looked for before and after the normalizer
	normalizers     []normalizer
	splitters       []splitter
	model           *bpe
}

// document is what counts of a tokenizer.json. Its post-processor only adds special tokens, its decoder only decodes,
// and truncation and padding are the caller's business: a count is of the whole text.
type document struct {
	AddedTokens  []addedToken `json:"added_tokens"`
	Normalizer   *stage       `json:"normalizer"`
	PreTokenizer *stage       `json:"pre_tokenizer"`
	Model        *model       `json:"model"`
}

// Open reads a tokenizer.json. An error names the file, what was seen in it, and what to do.
func Open(path string) (_ *Tokenizer, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("tokenizer: %w: name the tokenizer.json of the model that is served", err)
	case !info.Mode().IsRegular(): // a pipe would block for ever
		return nil, fmt.Errorf("tokenizer %s: not a regular file: name the tokenizer.json itself", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("tokenizer: %w", err)
	case len(data) > maxFile:
		return nil, fmt.Errorf("tokenizer %s: over %d MiB, which no tokenizer.json has: name that file, not the weights", path, maxFile>>20)
	}
	t, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", path, err)
	}
	return t, nil
}

func parse(data []byte) (t *Tokenizer, err error) {
	defer caught(&err)
	var doc document
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("not a tokenizer.json: %w", err)
	}
	if doc.Model == nil {
		return nil, errors.New(`not a tokenizer.json: it has no "model"; tokenizer_config.json and tokenizer.model are other files`)
	}
	t = &Tokenizer{}
	if t.model, err = doc.Model.build(); err != nil {
		return nil, err
	}
	if t.normalizers, err = doc.Normalizer.normalizers(nil); err != nil {
		return nil, err
	}
	if t.splitters, err = doc.PreTokenizer.splitters(nil); err != nil {
		return nil, err
	}
	for _, token := range doc.AddedTokens {
		if token.SingleWord {
			return nil, unsupported("the added token %q with single_word", token.Content)
		}
		if id, known := t.model.vocab[token.Content]; known {
			token.ID = id // the model's own id goes before the list's
		}
		set := &t.raw
		if token.Normalized {
			set = &t.normalized
			if token.Content, err = t.normalize(token.Content); err != nil {
				return nil, err
			}
		}
		set.add(token)
	}
	return t, nil
}

// Count tells how many tokens a text has, with no special tokens put around it. Special tokens that are written out
// in the text count as one each, as they do for the Hugging Face library.
func (t *Tokenizer) Count(text string) (int, error) {
	ids, err := t.Encode(text)
	return len(ids), err
}

// Encode gives the ids of a text's tokens, with no special tokens put around them. Bytes that are not UTF-8 are read
// as U+FFFD, which is what becomes of them in a JSON request.
func (t *Tokenizer) Encode(text string) (ids []int, err error) {
	defer caught(&err)
	text = string([]rune(text))
	words := words{model: t.model}
	err = t.raw.cut(text, words.add, func(start int, part string) error {
		part, err := t.normalize(part)
		if err != nil {
			return err
		}
		return t.normalized.cut(part, words.add, func(inner int, part string) error {
			return t.split(piece{part, start == 0 && inner == 0}, &words)
		})
	})
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return words.ids, nil
}

func (t *Tokenizer) normalize(text string) (string, error) {
	limit := growth(len(text))
	for _, normalize := range t.normalizers {
		var err error
		if text, err = normalize(text); err != nil {
			return "", err
		}
		if len(text) > limit {
			return "", errGrowth
		}
	}
	return text, nil
}

func (t *Tokenizer) split(whole piece, words *words) error {
	limit := growth(len(whole.text))
	pieces := []piece{whole}
	for _, split := range t.splitters {
		var next []piece
		size := 0
		for _, p := range pieces {
			before := len(next)
			var err error
			if next, err = split(next, p); err != nil {
				return err
			}
			for _, p := range next[before:] {
				size += len(p.text)
			}
			if size > limit {
				return errGrowth
			}
		}
		pieces = next
	}
	for _, p := range pieces {
		if err := words.encode(p.text); err != nil {
			return err
		}
	}
	return nil
}

// growth bounds what a text may grow to: a file can ask for one that doubles at every step. Honest ones stay far below
// it: NFKC makes 11 bytes of one at most, and byte-level two.
func growth(size int) int { return 64*size + 1<<16 }

var errGrowth = errors.New("the tokenizer.json's normalizers or pre-tokenizers make the text over 64 times as long: take the model's own file")

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%s is not supported; "+instead, fmt.Sprintf(format, args...))
}

// caught makes an error of a panic: the regular expressions of a foreign file run in a foreign library.
func caught(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the tokenizer.json can't be used (%v); "+instead, r)
	}
}
