package manifest

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"

	goyaml "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
)

// maxExplained bounds the documents whose syntax errors get a column. The parser that knows columns takes time
// quadratic in the number of keys, so it is asked about broken documents of a usual size alone.
const maxExplained = 64 << 10

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// syntaxError says where a document breaks YAML's rules, and names a tab in the indentation as such.
func syntaxError(file string, c chunk, err error) *Error {
	line, column := 1, 1
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = strings.TrimPrefix(err.Error(), m[0])
	}
	if l, col, known := tabIndent(c.text, line); known {
		return &Error{File: file, Line: c.line + l - 1, Column: col, Detail: "a tab indents this line: use spaces"}
	}
	if l, col, message, known := explainSyntax(c.text); known {
		line, column, text = l, col, message
	}
	return &Error{File: file, Line: c.line + line - 1, Column: column, Detail: "is not valid YAML: " + clip(text)}
}

// tabIndent looks for a tab in the indentation of a line or of those next to it, for parsers notice it late or early.
func tabIndent(text []byte, near int) (line, column int, found bool) {
	for number, content := range bytes.Split(text, []byte("\n")) {
		indent := content[:len(content)-len(bytes.TrimLeft(content, " \t"))]
		if tab := bytes.IndexByte(indent, '\t'); tab >= 0 && number+1 >= near-1 && number+1 <= near+1 {
			return number + 1, tab + 1, true
		}
	}
	return 0, 0, false
}

func explainSyntax(text []byte) (line, column int, message string, known bool) {
	if len(text) > maxExplained || deep(text) {
		return 0, 0, "", false
	}
	defer func() {
		if recover() != nil {
			known = false
		}
	}()
	_, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	syntax, ok := errors.AsType[goyaml.Error](err)
	if !ok || syntax.GetToken() == nil || syntax.GetToken().Position == nil {
		return 0, 0, "", false
	}
	at := syntax.GetToken().Position
	message, _, _ = strings.Cut(syntax.GetMessage(), "\n")
	return max(at.Line, 1), max(at.Column, 1), message, true
}

// deep guards a parser that recurses without bound: it says whether the text may nest deeper than anybody writes.
func deep(text []byte) bool {
	const most = 1000
	return bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > most ||
		bytes.Count(text, []byte("- "))+bytes.Count(text, []byte("? ")) > 4*most ||
		bytes.Count(text, []byte("&"))+bytes.Count(text, []byte("!")) > most
}
