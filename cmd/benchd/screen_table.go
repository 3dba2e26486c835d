package main

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// column of a drawn table.
type column struct {
	title string
	// worth orders columns: where the window is narrow the least worthy go first, those of 0 never.
	worth int
	// most cells it takes; 0 means as many as it needs.
	most  int
	right bool
}

// table draws a title line and rows in columns that fit the window. Cells are drawn texts; the last column that is kept takes
// what is left of a line.
func (s screen) table(columns []column, rows [][]string) []string {
	shown, widths := s.columns(columns, rows)
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.title
	}
	lines := []string{dimStyle.Render(s.row(columns, shown, widths, titles))}
	for _, row := range rows {
		lines = append(lines, s.row(columns, shown, widths, row))
	}
	return lines
}

// leastWidth of a last column that is cut, below which it is not worth its place.
const leastWidth = 12

// columns chooses what is shown, by index, and how wide.
func (s screen) columns(columns []column, rows [][]string) (shown, widths []int) {
	widths = make([]int, len(columns))
	for i, c := range columns {
		shown = append(shown, i)
		widths[i] = len(c.title)
		for _, row := range rows {
			widths[i] = max(widths[i], ansi.StringWidth(row[i]))
		}
		if c.most > 0 {
			widths[i] = min(widths[i], c.most)
		}
	}
	for s.width > 0 {
		total := 2 * (len(shown) - 1)
		for at, i := range shown {
			if last := at == len(shown)-1; last && columns[i].worth > 0 {
				total += min(widths[i], leastWidth)
			} else {
				total += widths[i]
			}
		}
		least := -1
		for at, i := range shown {
			if worth := columns[i].worth; worth > 0 && (least < 0 || worth < columns[shown[least]].worth) {
				least = at
			}
		}
		if total <= s.width || least < 0 {
			break
		}
		shown = append(shown[:least:least], shown[least+1:]...)
	}
	return shown, widths
}

func (s screen) row(columns []column, shown, widths []int, cells []string) string {
	var b strings.Builder
	for at, i := range shown {
		if at > 0 {
			b.WriteString("  ")
		}
		cell := cells[i]
		last := at == len(shown)-1
		if room := widths[i]; ansi.StringWidth(cell) > room && !(last && s.width == 0) {
			cell = ansi.Truncate(cell, room, "…")
		}
		switch {
		case columns[i].right:
			b.WriteString(strings.Repeat(" ", max(0, widths[i]-ansi.StringWidth(cell))) + cell)
		case last:
			b.WriteString(cell)
		default:
			b.WriteString(pad(cell, widths[i]))
		}
	}
	return b.String()
}
