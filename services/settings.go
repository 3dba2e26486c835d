package services

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// A Setting is one entry of `service.config`: what its value is, what it means, and the option that it becomes.
type Setting struct {
	// Name in service.config, in camelCase.
	Name string
	// Type of the value.
	Type SettingType
	// Flag is the option of the command line that the value becomes; empty when the service puts it elsewhere.
	Flag string
	// Least and Most bound a number; Most 0 means no bound.
	Least, Most float64
	// Choices are the only values of a word; none means any.
	Choices []string
	// Meaning in a line, for `benchd explain service`.
	Meaning string
	// Parts are the settings of a group.
	Parts []Setting
}

// SettingType is what the value of a setting is.
type SettingType string

// Types of settings.
const (
	SettingInt   SettingType = "integer"
	SettingFloat SettingType = "number"
	SettingBool  SettingType = "boolean"
	SettingWord  SettingType = "string"
	SettingTime  SettingType = "time"
	SettingGroup SettingType = "group"
	// SettingAny is a text, number or boolean of a template, which knows no types.
	SettingAny SettingType = "value"
)

// checkSettings reports what is in a config and cannot be: unknown names, wrong types, values out of bounds.
func checkSettings(known []Setting, config map[string]any, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(config)) {
		i := slices.IndexFunc(known, func(s Setting) bool { return s.Name == name })
		if i < 0 {
			errs = append(errs, field.NotSupported(at.Key(name), name, settingNames(known)))
			continue
		}
		errs = append(errs, known[i].check(config[name], at.Key(name))...)
	}
	return errs
}

func settingNames(known []Setting) []string {
	names := make([]string, len(known))
	for i, s := range known {
		names[i] = s.Name
	}
	return names
}

func (s *Setting) check(value any, at *field.Path) field.ErrorList {
	wrong := func(hint string) field.ErrorList { return field.ErrorList{field.Invalid(at, value, hint)} }
	switch s.Type {
	case SettingGroup:
		parts, ok := value.(map[string]any)
		if !ok {
			return wrong("is a group of settings: " + strings.Join(settingNames(s.Parts), ", "))
		}
		return checkSettings(s.Parts, parts, at)
	case SettingAny:
		switch value.(type) {
		case map[string]any, []any, nil:
			return wrong("use a text, a number, true or false")
		}
	case SettingBool:
		if _, ok := value.(bool); !ok {
			return wrong("use true or false")
		}
	case SettingWord:
		word, ok := value.(string)
		switch {
		case !ok || word == "":
			return wrong("use a text, in quotes where it looks like a number")
		case len(s.Choices) > 0 && !slices.Contains(s.Choices, word):
			return field.ErrorList{field.NotSupported(at, word, s.Choices)}
		}
	case SettingTime:
		text, _ := value.(string)
		if _, err := time.ParseDuration(text); err != nil {
			return wrong("use a time such as 50ms or 20s")
		}
	case SettingInt, SettingFloat:
		n, ok := number(value)
		if !ok || math.IsNaN(n) || s.Type == SettingInt && n != math.Trunc(n) {
			return wrong("use " + map[SettingType]string{SettingInt: "a whole number", SettingFloat: "a number"}[s.Type])
		}
		if n < s.Least || s.Most > 0 && n > s.Most {
			if s.Most > 0 {
				return wrong(fmt.Sprintf("use %v to %v", s.Least, s.Most))
			}
			return wrong(fmt.Sprintf("use %v or more", s.Least))
		}
	}
	return nil
}

// number reads a number of a config, which is an int64 or float64 depending on where it was decoded.
func number(value any) (float64, bool) {
	switch n := value.(type) {
	case float64:
		return n, true
	case int64:
		return float64(n), true
	case int32:
		return float64(n), true
	case int:
		return float64(n), true
	}
	return 0, false
}

// intSetting returns a whole number of a config, or what is meant by none.
func intSetting(config map[string]any, name string, otherwise int) int {
	if n, ok := number(config[name]); ok {
		return int(n)
	}
	return otherwise
}

// wordSetting returns a text of a config, or what is meant by none.
func wordSetting(config map[string]any, name, otherwise string) string {
	if word, ok := config[name].(string); ok && word != "" {
		return word
	}
	return otherwise
}

// groupSetting returns a group of a config; one that is not there is empty.
func groupSetting(config map[string]any, name string) map[string]any {
	group, _ := config[name].(map[string]any)
	return group
}

// flags are the options of the command line that a config's settings become, in the order in which they are declared. A
// switch is given when it is on; where it is off and the service has it on by itself, its flag has the form --[no-]name.
func flags(known []Setting, config map[string]any) []string {
	var args []string
	for _, s := range known {
		value, given := config[s.Name]
		if !given || s.Flag == "" {
			continue
		}
		if on, isBool := value.(bool); isBool {
			name, negatable := strings.CutPrefix(s.Flag, "--[no-]")
			switch {
			case negatable && on:
				args = append(args, "--"+name)
			case negatable:
				args = append(args, "--no-"+name)
			case on:
				args = append(args, s.Flag)
			}
			continue
		}
		args = append(args, s.Flag, settingText(value))
	}
	return args
}

func settingText(value any) string {
	if n, ok := number(value); ok {
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}
