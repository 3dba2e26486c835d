package workload

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/protocol"
)

func synthetic(seed int64, change func(*api.WorkloadSpec)) *Synthetic {
	w := work(api.LoadSpec{})
	w.Prompts.Tokens = 16
	if change != nil {
		change(&w)
	}
	return NewSynthetic(&w, seed, CommonWords())
}

func fill(p Prompts, k int64, line *TraceLine) (*protocol.Question, int64) {
	q := &protocol.Question{}
	group := p.Fill(q, k, line)
	return q, group
}

func TestSyntheticPrompts(t *testing.T) {
	t.Parallel()
	const n = 20_000
	s, again, other := synthetic(42, nil), synthetic(42, nil), synthetic(43, nil)
	seen, firsts := map[string]int64{}, map[string]int{}
	for k := range int64(n) {
		q, _ := fill(s, k, nil)
		p := string(q.Text)
		if same, _ := fill(again, k, nil); string(same.Text) != p {
			t.Fatalf("prompt %d is not the same twice", k)
		}
		fields := strings.Fields(p)
		if len(fields) != 16 || strings.Join(fields, " ") != p {
			t.Fatalf("prompt %d has %d words: %q", k, len(fields), p)
		}
		if earlier, dup := seen[p]; dup {
			t.Fatalf("prompts %d and %d are the same", earlier, k)
		}
		seen[p] = k
		firsts[fields[0]]++
	}
	// The first words are spread, or a prefix cache would help.
	for word, count := range firsts {
		if even := n / len(words); count > 2*even || count < even/2 {
			t.Errorf("%q begins %d prompts of %d, evenly it were %d", word, count, n, even)
		}
	}
	for k := range int64(1000) {
		if q, _ := fill(other, k, nil); seen[string(q.Text)] != 0 {
			t.Fatalf("prompt %d of another seed was seen before: a prefix cache would leak between trials", k)
		}
	}
}

func TestLengths(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change     func(*api.PromptSpec)
		least      int
		most       int
		mean, over float64
	}{
		"fixed":   {func(p *api.PromptSpec) { p.Tokens = 100 }, 100, 100, 100, 0.01},
		"uniform": {func(p *api.PromptSpec) { p.Distribution, p.Min, p.Max = api.DistributionUniform, 10, 90 }, 10, 90, 50, 2},
		"normal": {func(p *api.PromptSpec) {
			p.Tokens, p.Distribution, p.Stddev, p.Min, p.Max = 100, api.DistributionNormal, 20, 1, 200
		}, 1, 200, 100, 2},
		"normal cut": {func(p *api.PromptSpec) {
			p.Tokens, p.Distribution, p.Stddev, p.Min, p.Max = 100, api.DistributionNormal, 200, 90, 110
		}, 90, 110, 100, 3},
	} {
		s := synthetic(1, func(w *api.WorkloadSpec) { tc.change(&w.Prompts) })
		sum := 0.0
		const n = 2000
		for k := range int64(n) {
			q, _ := fill(s, k, nil)
			words := len(strings.Fields(string(q.Text)))
			if words < tc.least || words > tc.most {
				t.Fatalf("%s: prompt %d has %d words", name, k, words)
			}
			sum += float64(words)
		}
		if math.Abs(sum/n-tc.mean) > tc.over {
			t.Errorf("%s: %g words on average, want %g", name, sum/n, tc.mean)
		}
	}
}

func TestSharedPrefix(t *testing.T) {
	t.Parallel()
	s := synthetic(1, func(w *api.WorkloadSpec) { w.Prompts.Prefix = &api.PrefixSpec{Share: 0.75, Groups: 2} })
	beginnings := map[int64]string{}
	rests := map[string]bool{}
	for k := range int64(100) {
		q, group := fill(s, k, nil)
		fields := strings.Fields(string(q.Text))
		if len(fields) != 16 {
			t.Fatalf("prompt %d has %d words", k, len(fields))
		}
		begin, rest := strings.Join(fields[:12], " "), strings.Join(fields[12:], " ")
		if before, known := beginnings[group]; known && before != begin {
			t.Fatalf("prompt %d of group %d begins %q, another %q", k, group, begin, before)
		}
		if rests[rest] {
			t.Errorf("prompt %d ends as another does", k)
		}
		beginnings[group], rests[rest] = begin, true
	}
	if len(beginnings) != 2 || beginnings[0] == beginnings[1] {
		t.Errorf("beginnings: %v", beginnings)
	}
}

func TestTokenIDs(t *testing.T) {
	t.Parallel()
	s := synthetic(1, func(w *api.WorkloadSpec) { w.Prompts.Tokenizer = api.CounterIDs })
	a, _ := fill(s, 1, nil)
	b, _ := fill(s, 2, nil)
	if len(a.Tokens) != 16 || len(a.Text) != 0 || a.Tokens[0] == b.Tokens[0] && a.Tokens[1] == b.Tokens[1] {
		t.Errorf("%d ids, text %q, beginning %v and %v", len(a.Tokens), a.Text, a.Tokens[:2], b.Tokens[:2])
	}
	for _, id := range a.Tokens {
		if id < firstID || id >= lastID {
			t.Errorf("id %d", id)
		}
	}
}

// Blocks of equal name are equal text: what a cache of the real service had, this one's has too.
func TestTraceBlocks(t *testing.T) {
	t.Parallel()
	s := synthetic(1, nil)
	one, _ := fill(s, 0, &TraceLine{Input: 1300, Output: 9, Blocks: []int64{7, 8, 9}})
	two, _ := fill(s, 1, &TraceLine{Input: 1100, Output: 5, Blocks: []int64{7, 8, 10}})
	a, b := strings.Fields(string(one.Text)), strings.Fields(string(two.Text))
	if len(a) != 1300 || len(b) != 1100 || one.MaxTokens != 9 {
		t.Fatalf("%d and %d words, %d tokens asked", len(a), len(b), one.MaxTokens)
	}
	same := 0
	for same < len(b) && a[same] == b[same] {
		same++
	}
	if same < 2*TraceBlock || same > 2*TraceBlock+5 {
		t.Errorf("the first %d words are the same, want 1024", same)
	}
}

// A tokenizer that makes two tokens of some words, and adds seven to each prompt.
func oddTokenizer(prompt string) (int, error) {
	n := 7
	for _, word := range strings.Fields(prompt) {
		n++
		if strings.ContainsAny(word, "q") || word == "education" {
			n++
		}
	}
	return n, nil
}

func TestCalibrate(t *testing.T) {
	t.Parallel()
	asked := 0
	v, err := Calibrate(func(p string) (int, error) { asked++; return oddTokenizer(p) }, "server", 300)
	if err != nil {
		t.Fatal(err)
	}
	if v.Overhead != 7 || len(v.Words) != len(words)-2 || asked > 40 {
		t.Errorf("overhead %d, %d words of %d, %d questions", v.Overhead, len(v.Words), len(words), asked)
	}
	w := work(api.LoadSpec{})
	w.Prompts.Tokens = 300
	s := NewSynthetic(&w, 5, v)
	for k := range int64(50) {
		q, _ := fill(s, k, nil)
		if n, _ := oddTokenizer(string(q.Text)); n != 300 {
			t.Fatalf("prompt %d has %d tokens, want 300", k, n)
		}
	}
	errBoom := errors.New("boom")
	for name, count := range map[string]Count{
		"fails":                 func(string) (int, error) { return 0, errBoom },
		"counts letters":        func(p string) (int, error) { return len(p), nil },
		"depends on the length": func(p string) (int, error) { n := len(strings.Fields(p)); return n + n/100, nil },
		"merges words":          func(p string) (int, error) { return 1, nil },
		"fails on many of words": func(p string) (int, error) {
			if len(p) > 200 {
				return 0, errBoom
			}
			return oddTokenizer(p)
		},
	} {
		if _, err := Calibrate(count, "server", 300); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestDatasets(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		source  api.PromptSource
		text    string
		prompts []string
		output  int
		failure string
	}{
		"hellaswag":                 {api.PromptHellaSwag, `{"ctx":"A man sits.","endings":["a","b"]}` + "\n\n" + `{"ctx":"A dog runs."}`, []string{"A man sits.", "A dog runs."}, 128, ""},
		"hellaswag of another file": {api.PromptHellaSwag, `{"prompt":"x"}`, nil, 0, "f:1: it has no ctx"},
		"jsonl":                     {api.PromptJSONL, `{"prompt":"Hi","output_tokens":5}`, []string{"Hi"}, 5, ""},
		"jsonl of messages":         {api.PromptJSONL, `{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}]}`, []string{"u"}, 128, ""},
		"jsonl without a prompt":    {api.PromptJSONL, `{"prompt":"Hi"}` + "\n" + `{"prompt":" "}`, nil, 0, "f:2: it has neither a prompt nor messages"},
		"jsonl of bad messages":     {api.PromptJSONL, `{"messages":[{"role":"user"}]}`, nil, 0, "f:1: message 0 lacks role or content"},
		"jsonl of a bad length":     {api.PromptJSONL, `{"prompt":"Hi","output_tokens":-1}`, nil, 0, "f:1: output_tokens is -1"},
		"jsonl that is none":        {api.PromptJSONL, `prompt: Hi`, nil, 0, "f:1: invalid character"},
		"empty":                     {api.PromptJSONL, "\n\n", nil, 0, "holds none"},
		"sharegpt":                  {api.PromptShareGPT, `[{"conversations":[{"from":"human","value":"Q"},{"from":"gpt","value":"one two three"}]},{"conversations":[]}]`, []string{"Q"}, 4, ""},
		"sharegpt that is none":     {api.PromptShareGPT, `{"conversations":[]}`, nil, 0, "not a JSON array of conversations"},
		"sharegpt cut":              {api.PromptShareGPT, `[{"conversations":[`, nil, 0, "conversation 0"},
		"sharegpt empty":            {api.PromptShareGPT, `[]`, nil, 0, "holds none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			w := work(api.LoadSpec{})
			w.Output.Tokens = 128
			w.Prompts.Source, w.Prompts.Path = tc.source, path
			w.Output.FromDataset = tc.source == api.PromptShareGPT
			d, err := ReadDataset(&w, 1, nil)
			if tc.failure != "" {
				if err == nil || !strings.Contains(err.Error(), tc.failure) {
					t.Fatalf("error %v, want %q", err, tc.failure)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for k := range int64(2 * d.Len()) {
				q, _ := fill(d, k, nil)
				got[string(q.Text)] = true
				if q.MaxTokens != tc.output {
					t.Errorf("%d tokens asked, want %d", q.MaxTokens, tc.output)
				}
			}
			for _, p := range tc.prompts {
				if !got[p] {
					t.Errorf("%q was not asked: %v", p, got)
				}
			}
		})
	}
	w := work(api.LoadSpec{})
	w.Prompts.Source, w.Prompts.Path = api.PromptJSONL, "/nowhere"
	if _, err := ReadDataset(&w, 1, nil); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestTraceErrors(t *testing.T) {
	t.Parallel()
	good := `{"timestamp":1000,"input_length":5,"output_length":2,"hash_ids":[1],"session":"x"}`
	for name, tc := range map[string]struct{ text, want string }{
		"out of order": {good + "\n" + `{"timestamp":10,"input_length":5,"output_length":2}`, "2: it is 0.990 s earlier"},
		"no time":      {`{"input_length":5,"output_length":2}`, "1: it has no timestamp"},
		"negative":     {`{"timestamp":-1,"input_length":5,"output_length":2}`, "1: the timestamp is"},
		"no output":    {`{"timestamp":1,"input_length":5}`, "1: output_length"},
		"no input":     {`{"timestamp":1,"output_length":5}`, "1: input_length"},
		"no JSON":      {good + "\nxyz", "2: invalid character"},
		"empty":        {"\n", "it holds no request"},
		"a list":       {`[1]`, "1: "},
	} {
		if _, err := parseTrace(strings.NewReader(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	lines, err := parseTrace(strings.NewReader(good + "\n" + `{"seconds":2.5,"prompt":"Hi","output_length":2}` + "\n"))
	if err != nil || len(lines) != 2 || lines[0].At != 0 || lines[1].At.Seconds() != 1.5 || lines[0].Session != "x" {
		t.Errorf("%v: %+v", err, lines)
	}
	if lines, err := parseTrace(strings.NewReader(`{"timestamp":1,"input_length":5,"output_length":2,"session":null}`)); err != nil || lines[0].Session != "" {
		t.Errorf("a session of null: %v, %+v", err, lines)
	}
	if _, err := ReadTrace("/nowhere"); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func FuzzParseTrace(f *testing.F) {
	f.Add(`{"timestamp":1000,"input_length":5,"output_length":2,"hash_ids":[1],"session":"x"}`)
	f.Add(`{"seconds":1e300,"prompt":"","output_length":2}`)
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := parseTrace(strings.NewReader(text))
		for i := range lines {
			if err != nil || lines[i].At < 0 || i > 0 && lines[i].At < lines[i-1].At || lines[i].Output < 1 {
				t.Fatalf("%v: line %d: %+v", err, i, lines[i])
			}
		}
	})
}
