package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong with the input.
type Error struct {
	// File, Line and Column say where; lines and columns count from 1, 0 means unknown.
	File         string
	Line, Column int
	// Path of the field, such as spec.workload.load.pattern; empty when the fault is not about a field.
	Path string
	// Value that was found, quoted as in JSON; empty when the fault is not about a value.
	Value string
	// Detail says what is wrong and what to write instead.
	Detail string
}

var (
	_ error = (*Error)(nil)
	_ error = Errors(nil)
)

// Error prints file, line, column, path, value and detail, leaving out what is not known.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ":")
		if e.Line > 0 {
			fmt.Fprintf(&b, "%d:%d:", e.Line, e.Column)
		}
		b.WriteByte(' ')
	}
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	if e.Value != "" {
		b.WriteString(e.Value)
		if !strings.HasPrefix(e.Detail, "is ") && !strings.HasPrefix(e.Detail, "holds ") {
			b.WriteByte(':')
		}
		b.WriteByte(' ')
	}
	b.WriteString(e.Detail)
	return b.String()
}

// Errors is everything that is wrong with the input, in the order of the files.
type Errors []*Error

// maxPrinted bounds what Errors prints; the slice holds them all.
const maxPrinted = 50

// Error prints one error per line.
func (e Errors) Error() string {
	var lines []string
	for i, err := range e {
		if i == maxPrinted {
			lines = append(lines, fmt.Sprintf("and %d more errors", len(e)-i))
			break
		}
		lines = append(lines, err.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As and errors.Is the single errors.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i := range e {
		errs[i] = e[i]
	}
	return errs
}

// inOrder sorts errors by file, in the order in which files were read, and by place in each.
func (e Errors) inOrder(files []string) Errors {
	slices.SortStableFunc(sorted(e), func(a, b *Error) int {
		return cmp.Compare(slices.Index(files, a.File), slices.Index(files, b.File))
	})
	return e
}

func sorted(errs Errors) Errors {
	slices.SortStableFunc(errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Path, b.Path))
	})
	return errs
}
