package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/benchd/benchd/api/v1alpha1"
)

// checkZeros reports each zero that the user wrote and that a default has taken the place of: most fields cannot tell zero from being
// left out, and nobody who asks for none wants the default instead.
func (o *object) checkZeros(obj v1alpha1.Object) {
	var tree any
	for _, path := range slices.Sorted(maps.Keys(o.at)) {
		if value := o.at[path].value; value == nil || value.kind != kindNumber && value.kind != kindString || !nothing(value.text) {
			continue
		}
		if tree == nil {
			data, err := json.Marshal(obj)
			if err == nil {
				err = json.Unmarshal(data, &tree)
			}
			if err != nil {
				return // an object that cannot be encoded is told by who stores it
			}
		}
		if got := valueAt(tree, path); got != nil && !nothing(fmt.Sprint(got)) {
			o.report(path, o.quoted(path), fmt.Sprintf("cannot be told from a field that is left out, which becomes %v: leave it out, or write another value", got))
		}
	}
}

// nothing says whether a text is a number or a time of nothing.
func nothing(text string) bool {
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		return n == 0
	}
	d, err := time.ParseDuration(text)
	return err == nil && d == 0
}

// valueAt follows a field's path, such as spec.rules[0].labels[team]; nil where it leads nowhere.
func valueAt(tree any, path string) any {
	for path != "" && tree != nil {
		var step string
		if inner, found := strings.CutPrefix(path, "["); found {
			step, path, _ = strings.Cut(inner, "]")
		} else {
			path = strings.TrimPrefix(path, ".")
			end := len(path)
			if i := strings.IndexAny(path, ".["); i >= 0 {
				end = i
			}
			step, path = path[:end], path[end:]
		}
		switch at := tree.(type) {
		case map[string]any:
			tree = at[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(at) {
				return nil
			}
			tree = at[i]
		default:
			return nil
		}
	}
	return tree
}
