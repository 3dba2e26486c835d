package tokenizer

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestByHand has ids that were worked out by hand from the vocabularies and merges of testdata.
func TestByHand(t *testing.T) {
	t.Parallel()
	const (
		hello, wor, l, d = 259, 262, 'l', 'd' // byte-level: "hello", "Ġwor", and bytes, whose ids are they themselves
		end              = 268
	)
	for _, c := range []struct {
		file, text string
		want       []int
	}{
		{"bytelevel.json", "", nil},
		{"bytelevel.json", "hello world", []int{hello, wor, l, d}},
		{"bytelevel.json", "hello  world", []int{hello, ' ', wor, l, d}}, // the last space goes to the word
		{"bytelevel.json", "1234", []int{'1', '2', '3', '4'}},            // "34" is a token, but numbers are cut after three digits
		{"bytelevel.json", "é", []int{264}},                              // Ã©
		{"bytelevel.json", "e\u0301", []int{264}},                        // the same by NFC
		{"bytelevel.json", "hello<|end|>hello", []int{hello, end, hello}},
		{"bytelevel.json", "<|end|>>", []int{end + 1}}, // the longest of the added tokens
		{"bytelevel.json", "\xff", []int{0xef, 0xbf, 0xbd}},
		{"sentencepiece.json", "", nil},
		{"sentencepiece.json", "hello world", []int{19, 24}},            // ▁hello ▁world
		{"sentencepiece.json", "hello</s>world", []int{19, 2, 24}},      // ▁ is put before each stretch
		{"sentencepiece.json", "hé\n", []int{6, 7, 4, 5, 3}},            // ▁ h <0xC3> <0xA9> <0x0A>
		{"sentencepiece.json", "üü!", []int{6, 0, 14}},                  // there is no <0xBC>: <unk>, once for both
		{"sentencepiece.json", "  ", []int{25, 6}},                      // ▁▁ ▁: the leftmost of equal ranks is merged first
		{"sentencepiece.json", "wor\u2581world", []int{22, 24}},         // a written ▁ is as good as a space
		{"sentencepiece.json", "hell lold", []int{6, 17, 6, 9, 10, 23}}, // ▁ merges only with the whole hello
	} {
		tokenizer := open(t, filepath.Join("testdata", c.file))
		got, err := tokenizer.Encode(c.text)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q gives %v, %v; want %v", c.file, c.text, got, err, c.want)
		}
		if n, err := tokenizer.Count(c.text); err != nil || n != len(c.want) {
			t.Errorf("%s: %q counts %d, %v; want %d", c.file, c.text, n, err, len(c.want))
		}
	}
}

// TestReference has ids of the Hugging Face tokenizers library, of every stage that is supported:
// testdata/reference.cjs writes them.
func TestReference(t *testing.T) {
	t.Parallel()
	var cases []struct {
		File  string
		Patch map[string]json.RawMessage
		IDs   map[string][]int
	}
	read(t, "cases.json", &cases)
	for _, c := range cases {
		tokenizer, err := parse(patched(t, c.File, c.Patch))
		if err != nil {
			t.Errorf("%s with %s: %v", c.File, c.Patch, err)
			continue
		}
		for text, want := range c.IDs {
			if got, err := tokenizer.Encode(text); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s with %s: %q gives %v, %v; want %v", c.File, c.Patch, text, got, err, want)
			}
		}
	}
}

// TestUnsupported: whatever would make for a wrong count is refused.
func TestUnsupported(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ field, value, want string }{
		{"model", `{"type": "Unigram", "vocab": [["a", 0]]}`, `model type "Unigram"`},
		{"model", `{"type": "WordPiece", "vocab": {"a": 0}}`, `model type "WordPiece"`},
		{"model", `{"type": "BPE", "dropout": 0.1}`, "dropout"},
		{"model", `{"type": "BPE", "end_of_word_suffix": "</w>"}`, "end_of_word_suffix"},
		{"normalizer", `{"type": "Sequence", "normalizers": [{"type": "BertNormalizer"}]}`, `normalizer "BertNormalizer"`},
		{"normalizer", `{"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}`, "Replace"},
		{"pre_tokenizer", `{"type": "Sequence", "pretokenizers": [{"type": "UnicodeScripts"}]}`, `pre-tokenizer "UnicodeScripts"`},
		{"pre_tokenizer", `{"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}`, `regular expression "("`},
		{"pre_tokenizer", `{"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Sideways"}`, `behavior "Sideways"`},
		{"pre_tokenizer", `{"type": "Split", "behavior": "Isolated"}`, "without a pattern"},
		{"pre_tokenizer", `{"type": "Metaspace", "replacement": "__"}`, "Metaspace"},
		{"added_tokens", `[{"id": 300, "content": "word", "single_word": true}]`, "single_word"},
	} {
		path := write(t, patched(t, "bytelevel.json", map[string]json.RawMessage{c.field: json.RawMessage(c.value)}))
		_, err := Open(path)
		if err == nil {
			t.Errorf("%s %s is taken", c.field, c.value)
			continue
		}
		for _, want := range []string{path, c.want, "tokenize endpoint instead"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error %q does not tell %q", err, want)
			}
		}
	}
}

func TestDamaged(t *testing.T) {
	t.Parallel()
	large := filepath.Join(t.TempDir(), "model.safetensors")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxFile+1); err != nil { // a hole: it takes no room
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		large:                                 "over 64 MiB",
		t.TempDir():                           "not a regular file",
		filepath.Join(t.TempDir(), "no.json"): "name the tokenizer.json of the model",
		write(t, nil):                         "not a tokenizer.json",
		write(t, []byte(`{"vocab_size": 3}`)): `no "model"`,
		write(t, []byte(`{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}`)):          `"vocab"`,
		write(t, []byte(`{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [7]}}`)):          `"merges"`,
		write(t, []byte(`{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a a a"]}}`)):    "3 parts",
		write(t, []byte(`{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "a"]]}}`)): "not of the vocabulary",
	} {
		_, err := Open(path)
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v; want it and %q named", path, err, want)
		}
	}
}

// TestHostileText: a text or a file that would blow up, hang or be miscounted gives an error.
func TestHostileText(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1000)
	grows := `{"type": "Replace", "pattern": {"String": "x"}, "content": "` + long + `"}`
	doubles := strings.Repeat(`{"type": "ByteLevel", "use_regex": false, "add_prefix_space": false},`, 60)
	for _, c := range []struct{ name, field, value, text, want string }{
		{"normalizer", "normalizer", `{"type": "Sequence", "normalizers": [` + strings.Repeat(grows+",", 9) + grows + `]}`, long, "64 times"},
		{"pre-tokenizer", "pre_tokenizer", `{"type": "Sequence", "pretokenizers": [` + strings.TrimSuffix(doubles, ",") + `]}`, "éé", "64 times"},
		{"marks", "normalizer", `{"type": "NFC"}`, "a" + strings.Repeat("\u0328", 40), "combining marks"},
		{"unknown", "model", `{"type": "BPE", "vocab": {}, "merges": [], "unk_token": "<unk>"}`, "a", `unk_token "<unk>"`},
	} {
		tokenizer, err := parse(patched(t, "bytelevel.json", map[string]json.RawMessage{c.field: json.RawMessage(c.value)}))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if n, err := tokenizer.Count(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: counts %d, %v; want an error of %q", c.name, n, err, c.want)
		}
	}
}

// TestLongText: without a pre-tokenizer a text is one word, which must not take the square of its length; and rows of
// one kind must not use up the regular expression's stack.
func TestLongText(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"bytelevel.json", "sentencepiece.json"} {
		tokenizer := open(t, filepath.Join("testdata", file))
		for _, one := range []string{"hello ", "l", " ", "\n", "1", "!", "é", "\u0301 "} {
			if _, err := tokenizer.Count(strings.Repeat(one, 1<<17)); err != nil {
				t.Errorf("%s: many %q: %v", file, one, err)
			}
		}
	}
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	tokenizer := open(t, "testdata/bytelevel.json")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				if n, err := tokenizer.Count("hello world"); n != 4 || err != nil {
					t.Errorf("counts %d, %v; want 4", n, err)
				}
			}
		})
	}
	all.Wait()
}

// FuzzOpen: no file and no text makes for a panic or for memory without bound. It is Open after the file was read: to
// write one for each try would take 50 times as long.
func FuzzOpen(f *testing.F) {
	for _, file := range []string{"bytelevel.json", "sentencepiece.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "hello world<|end|> é\n")
	}
	f.Add([]byte(`{"model":{"vocab":{"a":0,"aa":1},"merges":["a a"]},"added_tokens":[{"content":" ","rstrip":true,"lstrip":true}]}`), "aa a  a")
	f.Add([]byte(`{"model":{"vocab":{},"merges":[]},"pre_tokenizer":{"type":"Split","pattern":{"Regex":"(a|b)*?\\b"},"behavior":"MergedWithNext"}}`), "ab ab")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tokenizer, err := parse(data)
		if err != nil {
			return
		}
		ids, err := tokenizer.Encode(text)
		if n, err2 := tokenizer.Count(text); (err == nil) != (err2 == nil) || n != len(ids) {
			t.Errorf("%d tokens, %v; counted %d, %v", len(ids), err, n, err2)
		}
	})
}

func BenchmarkCount(b *testing.B) {
	for _, file := range []string{"bytelevel.json", "sentencepiece.json"} {
		b.Run(file, func(b *testing.B) {
			tokenizer := open(b, filepath.Join("testdata", file))
			text := strings.Repeat("hello world, hello 1234 worlds! ", 128) // 4 kB
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tokenizer.Count(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func open(t testing.TB, path string) *Tokenizer {
	t.Helper()
	tokenizer, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

func write(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokenizer.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// patched is a file of testdata with some of its fields, and of its model's fields, taken from patch. A model with a
// type is taken as a whole.
func patched(t *testing.T, file string, patch map[string]json.RawMessage) []byte {
	t.Helper()
	var doc, model map[string]json.RawMessage
	read(t, file, &doc)
	merged := maps.Clone(patch)
	if patch["model"] != nil && !strings.Contains(string(patch["model"]), `"type"`) {
		for _, part := range []json.RawMessage{doc["model"], patch["model"]} {
			if err := json.Unmarshal(part, &model); err != nil { // the second adds to the first
				t.Fatal(err)
			}
		}
		merged["model"], _ = json.Marshal(model)
	}
	maps.Copy(doc, merged)
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
