package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"unicode"
)

var (
	//go:embed html.tmpl
	htmlTemplate string
	//go:embed html.css
	htmlStyle string

	pageTemplate = template.Must(template.New("page").Parse(htmlTemplate))
)

// page is a report as its template takes it: what is said, in order. Texts are foreign and escaped by the template; drawings are
// our own.
type page struct {
	Title string
	// Kind says above the title what it is a report of, Lead below it what came out, in a sentence or two.
	Kind, Lead string
	Verdict    *judged
	Sections   []section
	Foot       string
	Style      template.CSS
}

// judged is what stands first: how it ended, and whether the numbers can be used.
type judged struct {
	State string
	// Class colours it: good, doubtful, bad or none.
	Class, Meaning string
	Reasons        []string
	// Link leads to where the logs tell more; empty without findings.
	Link string
}

type section struct {
	ID, Title string
	Blocks    []block
}

// block holds one of its fields.
type block struct {
	Text     string
	Cards    []card
	Table    *table
	Figures  []drawing
	Bar      []stretch
	Findings []logged
	Code     string
	List     []string
}

// card is a number with its unit, its 95 % interval and its definition.
type card struct{ Label, Value, Unit, Range, Meaning string }

// stretch of the time that an attempt took.
type stretch struct {
	Name, Meaning string
	Seconds       float64
	Share         string
	// Tone colours it, 0 to 8.
	Tone int
}

// logged is a finding of the logs, or what follows from a sweep, with its evidence.
type logged struct {
	Class, Severity, Rule, Meaning, NextStep, Where string
	Lines                                           []string
}

// table of texts. Columns and rows in which nothing stands are left out.
type table struct {
	Caption string
	Head    []string
	Rows    [][]td
}

// td is a cell of a table; Note is printed small beneath the text.
type td struct {
	Text, Note string
	// Kind is empty, number or code.
	Kind string
}

func word(text string) td { return td{Text: text} }
func code(text string) td { return td{Text: text, Kind: "code"} }

// figureOf is a cell with a number.
func figureOf(text string) td { return td{Text: text, Kind: "number"} }

// add a row, and leave the cells without text empty.
func (t *table) add(cells ...td) { t.Rows = append(t.Rows, cells) }

// pruned is the table without the columns, beyond the first, in which nothing stands; nil when no row is left.
func (t *table) pruned() *table {
	if len(t.Rows) == 0 {
		return nil
	}
	out := &table{Caption: t.Caption, Rows: make([][]td, len(t.Rows))}
	for i, name := range t.Head {
		empty := i > 0
		for _, row := range t.Rows {
			empty = empty && row[i].Text == ""
		}
		if empty {
			continue
		}
		out.Head = append(out.Head, name)
		for r, row := range t.Rows {
			c := row[i]
			if c.Text == "" {
				c.Text = "–"
			}
			out.Rows[r] = append(out.Rows[r], c)
		}
	}
	return out
}

// Named says whether any column has a name.
func (t *table) Named() bool { return strings.Join(t.Head, "") != "" }

// put appends a section with what of its blocks says something; nothing when none does.
func (p *page) put(id, title string, blocks ...block) {
	s := section{ID: id, Title: title}
	for _, b := range blocks {
		if b.Table != nil {
			b.Table = b.Table.pruned()
		}
		if b.Table != nil || b.Text != "" || b.Code != "" || len(b.Cards)+len(b.Figures)+len(b.Bar)+len(b.Findings)+len(b.List) > 0 {
			s.Blocks = append(s.Blocks, b)
		}
	}
	for _, b := range s.Blocks {
		if b.Text == "" { // a text alone introduces nothing
			p.Sections = append(p.Sections, s)
			return
		}
	}
}

// render gives the page's bytes. They stand for themselves: no script, no style, font or image from elsewhere.
func (p *page) render() ([]byte, error) {
	p.Style = template.CSS(htmlStyle) //nolint:gosec // our own file
	number := 0
	for _, s := range p.Sections {
		for _, b := range s.Blocks {
			for i := range b.Figures {
				number++
				b.Figures[i].Number = number
			}
		}
	}
	var buf bytes.Buffer
	if err := pageTemplate.Execute(&buf, p); err != nil {
		return nil, fmt.Errorf("write the HTML of %s: %w", p.Title, err)
	}
	return visible(buf.Bytes()), nil
}

// visible replaces what could not be seen and yet change how the rest is read: control characters, and those that turn the
// direction of writing. Logs hold them.
func visible(text []byte) []byte {
	return bytes.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return unicode.ReplacementChar
		}
		return r
	}, bytes.ToValidUTF8(text, []byte(string(unicode.ReplacementChar))))
}

// sentence makes of texts one, separated and ended by full stops.
func sentence(parts ...string) string {
	var out []string
	for _, part := range parts {
		if part = strings.TrimSuffix(strings.TrimSpace(part), "."); part != "" {
			out = append(out, part+".")
		}
	}
	return strings.Join(out, " ")
}
