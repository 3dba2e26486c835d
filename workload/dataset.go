package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/protocol"
)

// entry is one prompt of a file.
type entry struct {
	text     string
	messages []byte
	output   int    // tokens of the answer, 0 when the file does not tell
	answer   string // of a conversation
}

// maxEntries bounds what of a file is kept in memory.
const maxEntries = 500_000

// Dataset asks what a file holds, in an order drawn from the seed. When all were asked it begins again.
type Dataset struct {
	entries []entry
	order   []int
	output  Lengths
	seed    int64
	lengths *stream
}

// ReadDataset reads a file of prompts. Tokens of answers are counted with count, where that is wanted and it is not nil;
// else four thirds of the words are taken.
func ReadDataset(w *api.WorkloadSpec, seed int64, count Count) (*Dataset, error) {
	p := &w.Prompts
	f, err := os.Open(p.Path)
	if err != nil {
		return nil, fmt.Errorf("read the prompts: %w", err)
	}
	defer f.Close()
	var entries []entry
	switch p.Source {
	case api.PromptHellaSwag:
		entries, err = readHellaSwag(f)
	case api.PromptShareGPT:
		entries, err = readShareGPT(f)
	default:
		entries, err = readJSONL(f)
	}
	if err != nil {
		return nil, fmt.Errorf("read the prompts: %s:%w", p.Path, err)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("read the prompts: %s holds none", p.Path)
	}
	for i := range entries {
		if !w.Output.FromDataset {
			break
		}
		e := &entries[i]
		if e.output = max(1, 4*len(strings.Fields(e.answer))/3); count != nil {
			if e.output, err = count(e.answer); err != nil {
				return nil, fmt.Errorf("count the tokens of an answer in %s: %w", p.Path, err)
			}
		}
	}
	r := rand.New(rand.NewPCG(uint64(seed), 0xda7a))
	return &Dataset{entries: entries, order: r.Perm(len(entries)), output: outputLengths(&w.Output), seed: seed, lengths: newStream()}, nil
}

// Len is how many prompts there are.
func (d *Dataset) Len() int { return len(d.entries) }

// clone shares the prompts and not the random sequence.
func (d *Dataset) clone() *Dataset {
	c := *d
	c.lengths = newStream()
	return &c
}

// Fill takes the prompt of request k.
func (d *Dataset) Fill(q *protocol.Question, k int64, _ *TraceLine) int64 {
	i := d.order[k%int64(len(d.order))]
	e := &d.entries[i]
	q.Text, q.Messages = append(q.Text, e.text...), e.messages
	q.MaxTokens = e.output
	if q.MaxTokens == 0 {
		d.lengths.begin(d.seed, lengthNames|uint64(k))
		q.MaxTokens = d.output.Draw(d.lengths.Rand)
	}
	return -1
}

// readHellaSwag reads the data set's JSON lines: each context is a prompt (Zellers et al., ACL 2019).
func readHellaSwag(r io.Reader) (entries []entry, err error) {
	err = eachLine(r, func(_ int, line []byte) error {
		var in struct {
			Context string `json:"ctx"`
		}
		if err := json.Unmarshal(line, &in); err != nil {
			return err
		}
		if strings.TrimSpace(in.Context) == "" {
			return errors.New("it has no ctx: is this HellaSwag's file?")
		}
		return keep(&entries, entry{text: in.Context})
	})
	return entries, err
}

// readJSONL reads JSON lines with a prompt, or messages, and optionally output_tokens.
func readJSONL(r io.Reader) (entries []entry, err error) {
	err = eachLine(r, func(_ int, line []byte) error {
		var in struct {
			Prompt   string          `json:"prompt"`
			Messages json.RawMessage `json:"messages"`
			Output   int             `json:"output_tokens"`
		}
		if err := json.Unmarshal(line, &in); err != nil {
			return err
		}
		e := entry{text: in.Prompt, output: in.Output}
		switch {
		case in.Output < 0 || in.Output > 1<<20:
			return fmt.Errorf("output_tokens is %d: use 1 to 1048576", in.Output)
		case len(in.Messages) > 0 && in.Prompt == "":
			text, err := lastMessage(in.Messages)
			if err != nil {
				return err
			}
			e.text, e.messages = text, in.Messages
		case strings.TrimSpace(in.Prompt) == "":
			return errors.New("it has neither a prompt nor messages")
		}
		return keep(&entries, e)
	})
	return entries, err
}

// lastMessage checks messages, and gives the last one's text for APIs that take no messages.
func lastMessage(raw json.RawMessage) (string, error) {
	var messages []struct {
		Role    string `json:"role"`
		Content any    `json:"content"`
	}
	if err := json.Unmarshal(raw, &messages); err != nil || len(messages) == 0 {
		return "", errors.New("messages is not a list of objects with role and content")
	}
	for i, m := range messages {
		if m.Role == "" || m.Content == nil {
			return "", fmt.Errorf("message %d lacks role or content", i)
		}
	}
	text, _ := messages[len(messages)-1].Content.(string)
	return text, nil
}

// readShareGPT reads a JSON array of conversations; the first question is the prompt, what follows it the answer.
func readShareGPT(r io.Reader) (entries []entry, err error) {
	in := json.NewDecoder(r)
	if t, err := in.Token(); err != nil || t != json.Delim('[') {
		return nil, errors.New(" it is not a JSON array of conversations")
	}
	for n := 0; in.More(); n++ {
		var c struct {
			Conversations []struct {
				From  string `json:"from"`
				Value string `json:"value"`
			} `json:"conversations"`
		}
		if err := in.Decode(&c); err != nil {
			return nil, fmt.Errorf(" conversation %d: %w", n, err)
		}
		// As vLLM's benchmark does, those without a question and an answer are left out.
		if len(c.Conversations) < 2 || c.Conversations[0].Value == "" || c.Conversations[1].Value == "" {
			continue
		}
		if err := keep(&entries, entry{text: c.Conversations[0].Value, answer: c.Conversations[1].Value}); err != nil {
			return nil, fmt.Errorf(" conversation %d: %w", n, err)
		}
	}
	return entries, nil
}

func keep(entries *[]entry, e entry) error {
	if len(*entries) >= maxEntries {
		return fmt.Errorf("a file holds at most %d prompts: cut it", maxEntries)
	}
	*entries = append(*entries, e)
	return nil
}
