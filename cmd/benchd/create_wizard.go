package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// What an asker returns beside answers.
var (
	errBack = errors.New("back to the page before")
	errLeft = errors.New("left")
)

// An asker puts questions to the user: on a drawn form, or in plain lines.
type asker interface {
	// ask has every prompt answered: its value is what was proposed, and then what was said.
	ask(ctx context.Context, p page) error
	// say shows a text that stays.
	say(text string)
	// close gives the terminal back.
	close()
}

// page is what is asked together.
type page struct {
	// title says where in the dialogue this is, trouble what has to be mended.
	title, trouble string
	prompts        []*prompt
}

// prompt is one question as it is put.
type prompt struct {
	name, title, hint string
	value             string
	choices           []choice
	check             func(value string) error
}

// wizard leads through the questions. It knows nothing of terminals.
type wizard struct {
	*builder
	by      asker
	answers answers
	// target is where the file goes, asked for when it is empty.
	target string
	force  bool
	// recipe says that a recipe is wanted: what it has no words for is not asked.
	recipe bool
	render func(answers) ([]byte, error)

	asked map[string]bool
}

// pageKey names a page.
type pageKey struct {
	step string
	page int
}

// run asks until the user wants the file written, and returns it.
func (w *wizard) run(ctx context.Context) ([]byte, error) {
	w.asked = map[string]bool{}
	trouble := ""
	for {
		key, open := w.next()
		if !open {
			text, again, err := w.preview(ctx)
			if err != nil || !again {
				return text, err
			}
			continue
		}
		p := w.page(key)
		p.trouble = trouble
		switch err := w.by.ask(ctx, p); {
		case errors.Is(err, errBack):
			trouble = ""
			w.back(key)
			continue
		case err != nil:
			return nil, err
		}
		w.take(key, p)
		if trouble = w.trouble(); trouble != "" {
			w.reopen(func(q *question) bool { return q.key() == key })
			continue
		}
		w.by.say(w.summary(p))
	}
}

func (q *question) key() pageKey { return pageKey{q.step, q.page} }

// asks says whether a question belongs into this dialogue.
func (w *wizard) asks(q *question) bool {
	return q.page > 0 && q.applies(w.answers) && (!w.recipe || q.recipe != "" || q.name == "nodes-per-server")
}

// next is the first page with a question that was not asked yet.
func (w *wizard) next() (pageKey, bool) {
	for i := range createQuestions {
		q := &createQuestions[i]
		if w.asks(q) && !w.asked[q.name] {
			return q.key(), true
		}
	}
	return pageKey{}, false
}

// page puts the questions of a page that apply.
func (w *wizard) page(key pageKey) page {
	p := page{title: fmt.Sprintf("Step %d of %d · %s", slices.Index(createSteps, key.step)+1, len(createSteps), key.step)}
	for i := range createQuestions {
		q := &createQuestions[i]
		if q.key() != key || !w.asks(q) {
			continue
		}
		before := p.prompts
		one := w.prompt(q)
		one.check = func(value string) error {
			if value == "" && q.standin == "" {
				return nil // may be left open
			}
			return w.check(w.with(before), q, q.values(value))
		}
		p.prompts = append(p.prompts, one)
	}
	return p
}

// with is what was answered, on the pages before and by prompts of this one.
func (w *wizard) with(prompts []*prompt) answers {
	all := maps.Clone(w.answers)
	for _, one := range prompts {
		all[one.name] = questionNamed(one.name).values(one.value)
	}
	return all
}

func (w *wizard) prompt(q *question) *prompt {
	one := &prompt{name: q.name, title: q.title, hint: w.hint(q)}
	if values, given := w.answers[q.name]; given {
		one.value = strings.Join(values, ", ")
	} else if q.preset != nil {
		one.value = q.preset(&w.site, w.answers)
	}
	if q.choices != nil {
		one.choices = q.choices(&w.site, w.answers)
	}
	if w.recipe && q.name == "pattern" {
		one.choices = one.choices[:3] // the others need what a recipe has no words for
	}
	known := slices.ContainsFunc(one.choices, func(c choice) bool { return c.value == one.value })
	if len(one.choices) > 0 && !known && one.value != "" {
		one.choices = append(one.choices, choice{one.value, "as given"})
	}
	return one
}

// values are the answers that a line holds.
func (q *question) values(line string) []string {
	if q.many {
		return splitList(line)
	}
	return []string{strings.TrimSpace(line)}
}

// take notes the answers of a page.
func (w *wizard) take(key pageKey, p page) {
	before := w.answers.get("service")
	w.answers = w.with(p.prompts)
	for _, one := range p.prompts {
		w.asked[one.name] = true
	}
	if key.step == stepService && before != "" && before != w.answers.get("service") {
		w.forgetService()
	}
}

// forgetService drops answers that spoke of another service.
func (w *wizard) forgetService() {
	for _, name := range []string{"name", "nodes-per-server", "backend", "server-gpus", "model", "set", "runtime", "image", "bind"} {
		if w.asked[name] {
			delete(w.answers, name)
			delete(w.asked, name)
		}
	}
}

// trouble is what is wrong with what was answered so far, beyond single answers.
func (w *wizard) trouble() string {
	var all []string
	for _, fault := range w.faults(w.answers) {
		if fault.question.name != "" && !w.asked[fault.question.name] {
			continue // its turn will come
		}
		all = append(all, fault.told())
	}
	return strings.Join(all, "\n")
}

// back opens the page before one, or, where a step is being changed at the end, leaves it as it was.
func (w *wizard) back(from pageKey) {
	var before pageKey
	passed, later, complete := false, false, true
	for i := range createQuestions {
		q := &createQuestions[i]
		switch {
		case !w.asks(q):
		case q.key() == from:
			passed = true
			_, answered := w.answers[q.name]
			complete = complete && answered
		case passed:
			later = later || w.asked[q.name]
		default:
			before = q.key()
		}
	}
	if later && complete {
		for name := range w.answers {
			w.asked[name] = true
		}
		return
	}
	w.reopen(func(q *question) bool { return q.key() == before })
}

// reopen has questions asked again.
func (w *wizard) reopen(which func(*question) bool) {
	for i := range createQuestions {
		if q := &createQuestions[i]; which(q) {
			delete(w.asked, q.name)
		}
	}
}

// preview shows the file and asks what to do with it. The second result says that there is more to ask.
func (w *wizard) preview(ctx context.Context) ([]byte, bool, error) {
	const write, leave = "write", "leave"
	title := fmt.Sprintf("Step %d of %d · %s", len(createSteps), len(createSteps), stepPreview)
	what := &prompt{name: "then", title: "What now?", value: write, check: func(string) error { return nil }}
	text, err := w.render(maps.Clone(w.answers))
	p := page{title: title, prompts: []*prompt{what}}
	if err == nil {
		w.by.say("\n" + string(text))
		what.choices = append(what.choices, choice{write, "the file" + w.targetText()})
	} else {
		p.trouble, what.value = err.Error(), ""
	}
	for _, step := range createSteps[:len(createSteps)-1] {
		if w.hasStep(step) {
			what.choices = append(what.choices, choice{"change " + step, ""})
		}
	}
	what.choices = append(what.choices, choice{leave, "without writing"})
	if what.value == "" {
		what.value = what.choices[0].value
	}
	switch err := w.by.ask(ctx, p); {
	case errors.Is(err, errBack):
		w.back(pageKey{stepPreview, 1})
		return nil, true, nil
	case err != nil:
		return nil, false, err
	case what.value == leave:
		return nil, false, errLeft
	case what.value == write:
		return w.askTarget(ctx, title, text)
	}
	step := strings.TrimPrefix(what.value, "change ")
	w.reopen(func(q *question) bool { return q.step == step })
	return nil, true, nil
}

func (w *wizard) hasStep(step string) bool {
	return slices.ContainsFunc(createQuestions, func(q question) bool { return q.step == step && w.asks(&q) })
}

func (w *wizard) targetText() string {
	switch w.target {
	case "":
		return ""
	case "-":
		return " to standard output"
	}
	return " " + w.target
}

// askTarget asks for the file's name where the command line has none.
func (w *wizard) askTarget(ctx context.Context, title string, text []byte) ([]byte, bool, error) {
	if w.target != "" {
		return text, false, nil
	}
	where := &prompt{name: "file", title: "Write to which file?", hint: "- is standard output", value: w.answers.get("name") + ".yaml", check: func(value string) error {
		if value == "" {
			return errors.New("name a file, or - for standard output")
		}
		if _, err := os.Lstat(value); value != "-" && !w.force && !errors.Is(err, fs.ErrNotExist) {
			return errors.New("is there already: name another one")
		}
		return nil
	}}
	err := w.by.ask(ctx, page{title: title, prompts: []*prompt{where}})
	if errors.Is(err, errBack) {
		return nil, true, nil
	}
	w.target = where.value
	return text, false, err
}

// summary is what remains of a page on the screen.
func (w *wizard) summary(p page) string {
	var parts []string
	for _, one := range p.prompts {
		if one.value != "" {
			parts = append(parts, one.name+" "+one.value)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "  " + strings.Join(parts, " · ")
}

func questionNamed(name string) *question {
	for i := range createQuestions {
		if createQuestions[i].name == name {
			return &createQuestions[i]
		}
	}
	return &question{name: name}
}
