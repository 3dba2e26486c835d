package protocol

import (
	"strings"
	"testing"
)

func TestRESTBodies(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ body, want, err string }{
		"both":                         {body: `{"prompt": "$prompt", "n": "$maxTokens"}`, want: `{"prompt": "say \"x\"", "n": 9}`},
		"in any order":                 {body: `{"n":"$maxTokens","prompt":"$prompt"}`, want: `{"n":9,"prompt":"say \"x\""}`},
		"twice":                        {body: `{"a":"$prompt","b":["$prompt",{"c":"$maxTokens"}]}`, want: `{"a":"say \"x\"","b":["say \"x\"",{"c":9}]}`},
		"no number":                    {body: ` {"a":"$prompt"} `, want: ` {"a":"say \"x\""} `},
		"a part of a value":            {body: `{"a":"$prompt","b":"say $prompt","c":"$prompts"}`, want: `{"a":"say \"x\"","b":"say $prompt","c":"$prompts"}`},
		"no prompt":                    {body: `{"a":"b","n":"$maxTokens"}`, err: "no place for the prompt"},
		"the prompt in another string": {body: `{"a":"say $prompt"}`, err: "no place for the prompt"},
		"not JSON":                     {body: `{"a":$prompt}`, err: "not a JSON object"},
		"a list":                       {body: `["$prompt"]`, err: "not a JSON object"},
		"empty":                        {body: ``, err: "not a JSON object"},
		"a number as a name":           {body: `{"a":"$prompt","$maxTokens":1}`, err: "stand for whole values"},
		"a number at a string's end":   {body: `{"a":"$prompt","b":"x \"$maxTokens"}`, err: "stand for whole values"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := NewREST("/x", tc.body, "text", "", "")
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // rendering leaves the template as it was
				if got := string(r.AppendBody([]byte("before"), &Question{Text: []byte(`say "x"`), MaxTokens: 9})); got != "before"+tc.want {
					t.Errorf("body %s, want %s", got, tc.want)
				}
			}
			if r.Path() != "/x" {
				t.Errorf("path %q", r.Path())
			}
		})
	}
	if _, err := NewREST("/x", `{"a":"$prompt"}`, "", "", ""); err == nil || !strings.Contains(err.Error(), "path of the text") {
		t.Errorf("without the text's path: %v", err)
	}
}

func TestRESTAnswers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body           string
		text           string
		class          Class
		prompt, output int
		source         string
	}{
		"top level":                  {body: `{"text":"Hi","in":3,"out":2}`, text: "text", prompt: 3, output: 2, source: TokensFromServer},
		"deep":                       {body: `{"a":{"b":[{"c":"no"},{"c":"Hi"}]}}`, text: "a.b.1.c"},
		"an index too high":          {body: `{"a":["Hi"]}`, text: "a.1", class: ClassEmpty},
		"an index below zero":        {body: `{"a":["Hi"]}`, text: "a.-1", class: ClassEmpty},
		"a name in a list":           {body: `{"a":["Hi"]}`, text: "a.b", class: ClassEmpty},
		"into a string":              {body: `{"a":"Hi"}`, text: "a.b", class: ClassEmpty},
		"a missing name":             {body: `{"a":"Hi"}`, text: "b", class: ClassEmpty},
		"a text that is none":        {body: `{"text":7}`, text: "text", class: ClassEmpty},
		"an empty text":              {body: `{"text":"","out":2}`, text: "text", class: ClassEmpty, output: 2, source: TokensFromServer},
		"counts of the wrong type":   {body: `{"text":"Hi","in":"3","out":[2]}`, text: "text"},
		"counts below zero":          {body: `{"text":"Hi","in":-3,"out":-2}`, text: "text"},
		"counts beyond reason":       {body: `{"text":"Hi","in":1e300,"out":1e300}`, text: "text"},
		"escaped names":              {body: `{"te\u0078t":"Hi"}`, text: "text"},
		"an error":                   {body: `{"error":{"message":"no GPU left"}}`, text: "text", class: ClassServer},
		"a null error":               {body: `{"error":null,"text":"Hi"}`, text: "text"},
		"not JSON":                   {body: `Hi`, text: "text", class: ClassPayload},
		"a list":                     {body: `["Hi"]`, text: "0", class: ClassPayload},
		"two objects":                {body: `{"text":"Hi"}{"text":"Hi"}`, text: "text", class: ClassPayload},
		"deeper than any JSON reads": {body: strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000), text: "text", class: ClassPayload},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := NewREST("/x", `{"a":"$prompt"}`, tc.text, "in", "out")
			if err != nil {
				t.Fatal(err)
			}
			r, got := everyCut(t, f, 4, sized("200 OK", asJSON, tc.body))
			if want := (counted{Prompt: tc.prompt, Output: tc.output, Source: tc.source, Class: tc.class}); got.counted() != want {
				t.Errorf("%+v (%s), want %+v", got.counted(), r.Message, want)
			}
		})
	}
}
