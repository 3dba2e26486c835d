package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/term"
	"golang.org/x/sys/unix"
)

// screen is what is known of the window that is drawn on. Everything is drawn in Unicode; fit makes ASCII of it at the end.
type screen struct {
	// width and height in cells; 0 where there is no window, so that text is as wide and as high as it is.
	width, height int
	ascii         bool
}

// Styles use the colours that a terminal's own palette makes legible on its background, and none alone: a mark or a word
// says the same.
var (
	headStyle = lipgloss.NewStyle().Bold(true)
	dimStyle  = lipgloss.NewStyle().Faint(true)
	badStyle  = lipgloss.NewStyle().Foreground(lipgloss.Red)
	warnStyle = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	goodStyle = lipgloss.NewStyle().Foreground(lipgloss.Green)
	barStyle  = lipgloss.NewStyle().Foreground(lipgloss.Cyan)
	atStyle   = lipgloss.NewStyle().Reverse(true)
)

// Marks that lines begin with.
const markDone, markNow, markFailed, markOpen, markWarn = "✓", "▸", "✗", "·", "!"

const (
	levels    = "▁▂▃▄▅▆▇█"
	barLevels = "█░"
)

// plainRunes are what stands for a sign where the locale has no UTF-8, each as wide as the sign.
var plainRunes = map[rune]rune{
	'█': '#', '░': '.', '▁': '_', '▂': '.', '▃': ':', '▄': '-', '▅': '=', '▆': '+', '▇': '*',
	'✓': '+', '✗': 'x', '▸': '>', '·': '-', '…': '~', '×': 'x', '−': '-', '–': '-', '—': '-', '→': '>', '≤': '<', '≥': '>', 'µ': 'u', 'μ': 'u',
	'‘': '\'', '’': '\'', '“': '"', '”': '"', '↑': '^', '↓': 'v',
}

// fit makes a line of a drawn one: in the signs that the locale has, and no wider than the window.
func (s screen) fit(line string) string {
	tail := "…"
	if s.ascii {
		tail = "~"
		line = strings.Map(func(r rune) rune {
			if r < utf8.RuneSelf {
				return r
			}
			if plain, known := plainRunes[r]; known {
				return plain
			}
			return '?'
		}, line)
	}
	if s.width > 0 && ansi.StringWidth(line) > s.width {
		return ansi.Truncate(line, s.width, tail)
	}
	return line
}

// picture joins lines that fit.
func (s screen) picture(lines []string) string {
	fitting := make([]string, len(lines))
	for i, line := range lines {
		fitting[i] = s.fit(line)
	}
	return strings.Join(fitting, "\n")
}

// wrap breaks a text into at most so many lines behind an indentation; what is left over is cut off visibly.
func (s screen) wrap(text string, indent, most int) []string {
	before := strings.Repeat(" ", indent)
	text = clean(text)
	if s.width == 0 {
		return []string{before + text}
	}
	room := max(1, s.width-indent)
	lines := strings.Split(ansi.Wrap(text, room, ""), "\n")
	if len(lines) > most {
		lines = append(lines[:most-1], ansi.Truncate(strings.Join(lines[most-1:], " "), room, "…"))
	}
	for i, line := range lines {
		lines[i] = before + strings.TrimSpace(line)
	}
	return lines
}

// flow puts items beside each other as far as they fit, and the others below.
func (s screen) flow(indent int, items ...string) []string {
	var lines []string
	line := ""
	for _, item := range items {
		switch {
		case line == "":
		case s.width > 0 && indent+ansi.StringWidth(line)+2+ansi.StringWidth(item) > s.width:
			lines = append(lines, strings.Repeat(" ", indent)+line)
			line = ""
		default:
			line += "  "
		}
		line += item
	}
	if line != "" {
		lines = append(lines, strings.Repeat(" ", indent)+line)
	}
	return lines
}

// clean takes out of a foreign text what a terminal would obey, and puts it on one line.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, ansi.Strip(text))
	return strings.Join(strings.Fields(text), " ")
}

// bar draws a share of one, 0 to 1.
func bar(share float64, width int) string {
	if !(share >= 0) { // NaN too
		share = 0
	}
	full := int(min(1, share) * float64(width))
	signs := []rune(barLevels)
	return strings.Repeat(string(signs[0]), full) + strings.Repeat(string(signs[1]), width-full)
}

// sparkline draws the last values, from zero to their largest; one that is not known, NaN, is a gap.
func sparkline(values []float64, width int) string {
	values = values[max(0, len(values)-width):]
	most := 0.0
	for _, v := range values {
		if v > most {
			most = v
		}
	}
	signs := []rune(levels)
	var b strings.Builder
	for _, v := range values {
		switch {
		case math.IsNaN(v):
			b.WriteByte(' ')
		case most > 0 && v > 0:
			b.WriteRune(signs[min(len(signs)-1, int(v/most*(float64(len(signs))-0.01)))])
		default:
			b.WriteRune(signs[0])
		}
	}
	return b.String()
}

// pad fills a drawn text up to a width.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-ansi.StringWidth(text)))
}

// clock says a time as one reads it off a watch: 0.3s, 42s, 3m05s, 2h07m.
func clock(d time.Duration) string {
	switch d = max(0, d); {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// environment is that of this process, with what is said of colours as its conventions mean it: NO_COLOR holds with any
// value and wins, CLICOLOR_FORCE with any but 0, and no terminal is too dumb to say so.
func environment() []string {
	env := os.Environ()
	switch force := os.Getenv("CLICOLOR_FORCE"); {
	case os.Getenv("NO_COLOR") != "":
		env = append(env, "NO_COLOR=1", "CLICOLOR_FORCE=0")
	case os.Getenv("TERM") == "dumb":
		env = append(env, "CLICOLOR_FORCE=0")
	case force != "" && force != "0":
		env = append(env, "CLICOLOR_FORCE=1")
	}
	return env
}

// styled writes to out what its colours are not too much for; to a file, text without any.
func styled(out io.Writer) io.Writer { return colorprofile.NewWriter(out, environment()) }

// terminalOf is the terminal behind a writer; nil where there is none.
func terminalOf(out io.Writer) *os.File {
	if f, isFile := out.(*os.File); isFile && term.IsTerminal(f.Fd()) {
		return f
	}
	return nil
}

// screenOf looks at the window behind a writer.
func screenOf(out io.Writer) screen {
	s := screen{ascii: !localeUTF8(os.Getenv)}
	if f := terminalOf(out); f != nil {
		if width, height, err := term.GetSize(f.Fd()); err == nil {
			s.width, s.height = width, height
		}
	}
	return s
}

// localeUTF8 says whether the locale's signs are those of Unicode: the first variable that is set counts, as everywhere.
func localeUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := strings.ToLower(getenv(name)); value != "" {
			return strings.Contains(value, "utf-8") || strings.Contains(value, "utf8")
		}
	}
	return false
}

// drawable says whether a view can be redrawn in place there: on a terminal that can move its cursor and whose keyboard
// is ours, for a command in the background must not touch it.
func drawable(out io.Writer) bool {
	if name := os.Getenv("TERM"); terminalOf(out) == nil || name == "" || name == "dumb" {
		return false
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	front, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && front == unix.Getpgrp()
}
