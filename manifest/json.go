package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// jsonReader turns JSON into nodes, token by token, for encoding/json itself tells no places and lets the last of
// several equal keys win in silence.
type jsonReader struct {
	file   string
	data   []byte
	dec    *json.Decoder
	errs   Errors
	values int
	// line, lineStart and counted track the place, so that finding it stays linear.
	line, lineStart, counted int
}

// parseJSON reads any number of JSON values, one after the other.
func parseJSON(file string, data []byte) ([]*node, Errors) {
	r := &jsonReader{file: file, data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1}
	r.dec.UseNumber()
	var roots []*node
	for {
		n, err := r.value(0)
		if errors.Is(err, io.EOF) {
			return roots, r.errs
		}
		if err != nil {
			return roots, append(r.errs, r.problem(err))
		}
		if n.kind != kindNull {
			roots = append(roots, n)
		}
		if len(roots) > maxDocuments {
			return roots, r.errs
		}
		r.values = 0
	}
}

func (r *jsonReader) problem(err error) *Error {
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	offset, text := int(r.dec.InputOffset()), err.Error()
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		// The offset is sometimes that of the character at fault and sometimes the one after it.
		offset = int(syntax.Offset)
		if offset >= len(r.data) || !strings.Contains(text, "'"+string(r.data[offset])+"'") {
			offset = max(offset-1, 0)
		}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || text == "unexpected EOF" {
		offset, text = len(r.data), "it ends in the middle"
	}
	line, column := place(r.data, offset)
	return &Error{File: r.file, Line: line, Column: column, Detail: "is not valid JSON: " + text}
}

// token returns the next token and the place where it begins.
func (r *jsonReader) token() (tok json.Token, line, column int, err error) {
	start := int(r.dec.InputOffset())
	for start < len(r.data) && bytes.IndexByte([]byte(" \t\r\n,:"), r.data[start]) >= 0 {
		start++
	}
	for ; r.counted < start; r.counted++ {
		if r.data[r.counted] == '\n' {
			r.line++
			r.lineStart = r.counted + 1
		}
	}
	column = start - r.lineStart + 1
	if column < 1<<10 { // characters are counted only where somebody may look
		column = utf8.RuneCount(r.data[r.lineStart:start]) + 1
	}
	tok, err = r.dec.Token()
	return tok, r.line, column, err
}

func (r *jsonReader) value(depth int) (*node, error) {
	tok, line, column, err := r.token()
	if err != nil {
		return nil, err
	}
	n := &node{line: line, column: column}
	if r.values++; r.values > maxValues || depth > maxDepth {
		return nil, tooLarge(r.file, line, column, depth)
	}
	switch v := tok.(type) {
	case nil:
		n.kind = kindNull
	case bool:
		n.kind, n.text, n.plain = kindBool, fmt.Sprint(v), true
	case json.Number:
		n.kind, n.text, n.plain = kindNumber, v.String(), true
	case string:
		n.kind, n.text = kindString, v
	case json.Delim:
		if v == '[' {
			n.kind = kindList
			return n, r.list(n, depth)
		}
		n.kind = kindMap
		return n, r.object(n, depth)
	}
	return n, nil
}

func (r *jsonReader) list(n *node, depth int) error {
	for r.dec.More() {
		item, err := r.value(depth + 1)
		if err != nil {
			return unexpected(err)
		}
		n.items = append(n.items, item)
	}
	_, err := r.dec.Token()
	return unexpected(err)
}

func (r *jsonReader) object(n *node, depth int) error {
	seen := map[string]int{}
	for r.dec.More() {
		tok, line, column, err := r.token()
		if err != nil {
			return unexpected(err)
		}
		name, _ := tok.(string)
		value, err := r.value(depth + 1)
		if err != nil {
			return unexpected(err)
		}
		if first, twice := seen[name]; twice {
			r.errs = append(r.errs, duplicateKey(r.file, key{name, line, column}, first))
			continue
		}
		seen[name] = line
		n.keys = append(n.keys, key{name, line, column})
		n.values = append(n.values, value)
	}
	_, err := r.dec.Token()
	return unexpected(err)
}

// unexpected makes the end of the input inside a value an error that does not look like a proper end.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func duplicateKey(file string, k key, first int) *Error {
	return &Error{
		File: file, Line: k.line, Column: k.column,
		Detail: fmt.Sprintf("%q is already set on line %d: keep one of them", clip(k.name), first),
	}
}

func tooLarge(file string, line, column, depth int) *Error {
	detail := fmt.Sprintf("holds more than %d values in one document", maxValues)
	if depth > maxDepth {
		detail = fmt.Sprintf("is nested deeper than %d levels", maxDepth)
	}
	return &Error{File: file, Line: line, Column: column, Detail: detail}
}
