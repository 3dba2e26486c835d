package main

import (
	"bytes"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"
)

func TestSparkline(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values []float64
		width  int
		want   string
	}{
		"nothing":                             {nil, 5, ""},
		"from zero to the largest":            {[]float64{0, 50, 100}, 5, "▁▄█"},
		"all the same is high, not low":       {[]float64{7, 7}, 5, "██"},
		"zeros are low":                       {[]float64{0, 0}, 5, "▁▁"},
		"the newest where there are too many": {[]float64{100, 0, 100}, 2, "▁█"},
		"what is not known is a gap":          {[]float64{1, math.NaN(), 1}, 5, "█ █"},
	} {
		if got := sparkline(c.values, c.width); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestBar(t *testing.T) {
	t.Parallel()
	for share, want := range map[float64]string{-1: "░░░░", 0: "░░░░", 0.5: "██░░", 0.99: "███░", 1: "████", 7: "████"} {
		if got := bar(share, 4); got != want {
			t.Errorf("%g: got %q, want %q", share, got, want)
		}
	}
	if got := bar(math.NaN(), 4); got != "░░░░" {
		t.Errorf("NaN: got %q", got)
	}
}

// A foreign text can neither move the cursor, nor colour, nor begin a line of its own, nor turn the order of signs.
func TestForeignTextIsInert(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                       "plain",
		"\x1b[31mred\x1b[0m":          "red",
		"two\nlines\r\tand  more":     "two lines and more",
		"\x1b]0;title\x07text\x9b2Jx": "text",
		"a\u202eb":                    "a b",
	} {
		got := clean(in)
		if strings.ContainsAny(got, "\x1b\r\n\u009b\u202e") || !strings.HasPrefix(got, want) {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 300 * time.Millisecond: "0.3s", 42 * time.Second: "42s", 185 * time.Second: "3m05s", 127 * time.Minute: "2h07m",
	} {
		if got := clock(d); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
}

func TestLocale(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  map[string]string
		want bool
	}{
		"none":                         {nil, false},
		"LANG":                         {map[string]string{"LANG": "de_DE.UTF-8"}, true},
		"as some systems write it":     {map[string]string{"LANG": "C.utf8"}, true},
		"LC_ALL wins":                  {map[string]string{"LANG": "en_US.UTF-8", "LC_ALL": "C"}, false},
		"an empty one says nothing":    {map[string]string{"LANG": "en_US.UTF-8", "LC_ALL": ""}, true},
		"LC_CTYPE is before LANG":      {map[string]string{"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, true},
		"an encoding of eight bits":    {map[string]string{"LANG": "fr_FR.ISO-8859-1"}, false},
		"a language without any other": {map[string]string{"LANG": "fr_FR"}, false},
	} {
		if got := localeUTF8(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// To a file there are colours only where they are forced.
func TestColoursOfAFile(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want bool
	}{
		"as it is":                    {nil, false},
		"CLICOLOR_FORCE":              {map[string]string{"CLICOLOR_FORCE": "1"}, true},
		"CLICOLOR_FORCE of any value": {map[string]string{"CLICOLOR_FORCE": "always"}, true},
		"CLICOLOR_FORCE=0":            {map[string]string{"CLICOLOR_FORCE": "0"}, false},
		"NO_COLOR wins":               {map[string]string{"CLICOLOR_FORCE": "1", "NO_COLOR": "please"}, false},
		"a dumb terminal wins":        {map[string]string{"CLICOLOR_FORCE": "1", "TERM": "dumb"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range []string{"CLICOLOR_FORCE", "NO_COLOR", "TTY_FORCE", "CLICOLOR"} {
				t.Setenv(variable, "")
			}
			t.Setenv("TERM", "xterm-256color")
			for variable, value := range c.env {
				t.Setenv(variable, value)
			}
			var out bytes.Buffer
			if _, err := io.WriteString(styled(&out), badStyle.Render("bad")); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(out.String(), "\x1b"); got != c.want {
				t.Errorf("got %q", out.String())
			}
		})
	}
}

// foreignText is what names and messages of others may hold.
func foreignText() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"", "short", "several words that have to be broken somewhere or other, as messages are", strings.Repeat("x", 300),
		"\x1b[31mred\x1b[2J", "模型は重すぎる模型は重すぎる", "e\u0301 👩‍👩‍👧 ﷽", "a\nb\r\n\tc",
	}))
}

// No line is wider than the window, whatever is drawn, and none has a sign that the locale has not.
func TestLinesFitTheWindow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := screen{width: rapid.IntRange(1, 250).Draw(t, "width"), ascii: rapid.Bool().Draw(t, "ascii")}
		lines := s.wrap(foreignText().Draw(t, "text"), rapid.IntRange(0, 6).Draw(t, "indent"), rapid.IntRange(1, 4).Draw(t, "most"))
		lines = append(lines, s.flow(2, clean(foreignText().Draw(t, "a")), badStyle.Render(clean(foreignText().Draw(t, "b"))), barStyle.Render(bar(0.3, 30)))...)
		assertFits(t, s, s.picture(lines))
	})
}

// assertFits fails where a picture does not fit its window.
func assertFits(t interface{ Errorf(string, ...any) }, s screen, picture string) {
	lines := strings.Split(picture, "\n")
	if s.height > 0 && len(lines) > s.height {
		t.Errorf("%d lines on a window of %d:\n%s", len(lines), s.height, ansi.Strip(picture))
	}
	for _, line := range lines {
		if width := ansi.StringWidth(line); s.width > 0 && width > s.width {
			t.Errorf("a line of %d cells on a window of %d: %q", width, s.width, line)
		}
		for _, r := range line {
			if s.ascii && r > 126 || r < ' ' && r != '\x1b' {
				t.Errorf("the sign %q in %q", r, line)
			}
		}
	}
}

// The least worthy columns go first, the first one never.
func TestTableDropsColumns(t *testing.T) {
	t.Parallel()
	columns := []column{{title: "NAME", most: 8}, {title: "PHASE", worth: 3}, {title: "RATE", worth: 2, right: true}, {title: "MESSAGE", worth: 1}}
	rows := [][]string{{"one", "Ready", "7", "some words that are long"}, {"a-long-name", "Queued", "1234", ""}}
	for width, want := range map[int]string{
		0:  "NAME      PHASE   RATE  MESSAGE\none       Ready      7  some words that are long\na-long-…  Queued  1234",
		40: "NAME      PHASE   RATE  MESSAGE\none       Ready      7  some words that…\na-long-…  Queued  1234",
		24: "NAME      PHASE   RATE\none       Ready      7\na-long-…  Queued  1234",
		20: "NAME      PHASE\none       Ready\na-long-…  Queued",
		10: "NAME\none\na-long-…",
		5:  "NAME\none\na-lo…",
	} {
		s := screen{width: width}
		var got []string
		for _, line := range s.table(columns, rows) {
			got = append(got, strings.TrimRight(ansi.Strip(s.fit(line)), " "))
		}
		if text := strings.Join(got, "\n"); text != want {
			t.Errorf("width %d: got\n%s\nwant\n%s", width, text, want)
		}
	}
}
