package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/huh/v2"
	"charm.land/lipgloss/v2"
)

// formAsker draws forms on a terminal. One program draws all of them: programs one after the other would lose keys between them.
type formAsker struct {
	program *tea.Program
	// ended holds how the program ended.
	ended chan error
	// answered holds how a form ended.
	answered chan error
}

var _ asker = (*formAsker)(nil)

func newFormAsker(ctx context.Context, in io.Reader, out io.Writer) *formAsker {
	f := &formAsker{ended: make(chan error, 1), answered: make(chan error, 1)}
	model := &formModel{answered: f.answered}
	f.program = tea.NewProgram(model, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler(), tea.WithFilter(model.answerSize))
	go func() {
		_, err := f.program.Run()
		f.ended <- err
	}()
	return f
}

func (f *formAsker) say(text string) {
	if text != "" {
		f.program.Println(text)
	}
}

func (f *formAsker) close() {
	f.program.Quit()
	f.program.Wait() // the terminal is as it was
}

func (f *formAsker) ask(ctx context.Context, p page) error {
	var fields []huh.Field
	for _, one := range p.prompts {
		fields = append(fields, fieldOf(one))
	}
	group := huh.NewGroup(fields...).Title(p.title + "   (Esc: back, Ctrl-C: leave)")
	if p.trouble != "" {
		group.Description("Not right yet: " + p.trouble)
	}
	form := huh.NewForm(group).WithTheme(huh.ThemeFunc(createTheme)).WithKeyMap(createKeys())
	f.program.Send(showForm{form, fields[0]})
	select {
	case err := <-f.answered:
		for _, one := range p.prompts {
			one.value = strings.TrimSpace(one.value)
		}
		return err
	case err := <-f.ended:
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("draw the form: %w", err)
		}
		return errLeft
	}
}

// showForm has a form shown.
type showForm struct {
	form  *huh.Form
	first huh.Field
}

// formModel draws one form after the other. Keys that come between two are kept for the next.
type formModel struct {
	showForm
	keys     []tea.Msg
	size     tea.WindowSizeMsg
	answered chan<- error
}

// answerSize tells a form that asks how large the terminal is what is known already: the program would look again, beside the
// signal that it changed, and write both down at once.
func (m *formModel) answerSize(_ tea.Model, msg tea.Msg) tea.Msg {
	if msg == tea.RequestWindowSize() && m.size.Width > 0 {
		return m.size
	}
	return msg
}

// Init is part of tea.Model.
func (m *formModel) Init() tea.Cmd { return nil }

// Update is part of tea.Model.
func (m *formModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case showForm:
		m.showForm = msg
		cmds := []tea.Cmd{m.form.Init()}
		for _, key := range m.keys {
			cmds = append(cmds, func() tea.Msg { return key })
		}
		m.keys = nil
		return m, tea.Sequence(cmds...)
	case tea.WindowSizeMsg:
		m.size = msg
	case tea.KeyPressMsg:
		switch word := msg.String(); {
		case word == "ctrl+c":
			return m.end(errLeft)
		case m.form == nil:
			m.keys = append(m.keys, msg)
			return m, nil
		case word == "esc" || word == "shift+tab" && m.form.GetFocusedField() == m.first:
			return m.end(errBack)
		}
	}
	if m.form == nil {
		return m, nil
	}
	_, cmd := m.form.Update(msg)
	switch m.form.State {
	case huh.StateCompleted:
		return m.end(nil)
	case huh.StateAborted:
		return m.end(errLeft)
	}
	return m, cmd
}

// end takes the form off the screen and tells how it ended.
func (m *formModel) end(err error) (tea.Model, tea.Cmd) {
	m.showForm = showForm{}
	select {
	case m.answered <- err:
	default: // nobody has asked since the last answer
	}
	return m, nil
}

// View is part of tea.Model.
func (m *formModel) View() tea.View {
	if m.form == nil {
		return tea.NewView("")
	}
	return tea.NewView(m.form.View())
}

// fieldOf is a prompt as a field of a form.
func fieldOf(one *prompt) huh.Field {
	if len(one.choices) == 0 {
		return huh.NewInput().Title(one.title).Description(one.hint).Value(&one.value).Validate(func(value string) error {
			return one.accept(strings.TrimSpace(value))
		})
	}
	width := 0
	for _, c := range one.choices {
		width = max(width, len(c.value))
	}
	var options []huh.Option[string]
	for _, c := range one.choices {
		label := c.value
		if c.label != "" {
			label = fmt.Sprintf("%-*s  %s", width, c.value, c.label)
		}
		options = append(options, huh.NewOption(label, c.value))
	}
	return huh.NewSelect[string]().Title(one.title).Description(one.hint).Options(options...).Value(&one.value).Validate(one.accept)
}

// createKeys are huh's keys without filters, whose Esc would not go back.
func createKeys() *huh.KeyMap {
	keys := huh.NewDefaultKeyMap()
	keys.Select.Filter.SetEnabled(false)
	keys.Select.Submit.SetHelp("enter", "continue")
	keys.Input.Submit.SetHelp("enter", "continue")
	return keys
}

// createTheme uses the terminal's own colours, and little space, so that a page fits 24 lines.
func createTheme(isDark bool) *huh.Styles {
	t := huh.ThemeBase16(isDark)
	t.Group.Title = t.Group.Title.Bold(true).MarginBottom(1)
	t.Group.Description = t.Group.Description.Foreground(lipgloss.Color("1")).MarginBottom(1)
	return t
}
