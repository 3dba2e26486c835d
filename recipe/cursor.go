package recipe

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/benchd/benchd/manifest"
)

// cursor reads a document by paths and remembers what was read.
type cursor struct {
	document map[string]any
	read     map[string]bool
	errors   []manifest.Finding
	warnings []manifest.Finding
}

func newCursor(document map[string]any) *cursor {
	return &cursor{document: document, read: map[string]bool{}}
}

// look returns the value of a field, nil when it is not there.
func (c *cursor) look(path string) any {
	c.read[path] = true
	var value any = c.document
	for _, step := range strings.Split(path, ".") {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[step]
	}
	return value
}

// text returns a field's text, "" when it is not there.
func (c *cursor) text(path string) string {
	if value := c.look(path); value != nil {
		return fmt.Sprint(value)
	}
	return ""
}

// integer returns a field's whole number, and whether it is there.
func (c *cursor) integer(path string) (int32, bool) {
	n, ok := c.look(path).(json.Number)
	if !ok {
		return 0, false
	}
	i, err := strconv.ParseInt(n.String(), 10, 32)
	if err != nil {
		c.wrong(path, "is out of range")
		return 0, false
	}
	return int32(i), true
}

// duration reads a time: 2m, or a number of seconds.
func (c *cursor) duration(path string) (metav1.Duration, bool) { return c.asTime(path, c.look(path)) }

// asTime reads a value that is a time.
func (c *cursor) asTime(path string, value any) (metav1.Duration, bool) {
	switch value := value.(type) {
	case json.Number:
		seconds, err := value.Float64()
		if err != nil || seconds < 0 || seconds > 1e9 {
			c.wrong(path, "is no number of seconds")
			return metav1.Duration{}, false
		}
		return metav1.Duration{Duration: time.Duration(seconds * float64(time.Second))}, true
	case string:
		d, err := time.ParseDuration(value)
		if err != nil {
			c.wrong(path, "is not a time: use one such as 30s, 5m or 1h30m, or a number of seconds")
			return metav1.Duration{}, false
		}
		return metav1.Duration{Duration: d}, true
	}
	return metav1.Duration{}, false
}

func (c *cursor) wrong(path, format string, args ...any) {
	c.errors = append(c.errors, manifest.Finding{Path: path, Detail: fmt.Sprintf(format, args...)})
}

func (c *cursor) warn(path, format string, args ...any) {
	c.warnings = append(c.warnings, manifest.Finding{Path: path, Detail: fmt.Sprintf(format, args...)})
}

// warnUnused names every field that nobody read.
func (c *cursor) warnUnused() {
	var walk func(path string, value any)
	walk = func(path string, value any) {
		object, isObject := value.(map[string]any)
		if c.read[path] {
			return
		}
		if !isObject || len(object) == 0 && path != "" {
			c.warn(path, "is not used: benchd knows nothing to do with it")
			return
		}
		for _, name := range slices.Sorted(maps.Keys(object)) {
			walk(strings.TrimPrefix(path+"."+name, "."), object[name])
		}
	}
	walk("", c.document)
}
