package services

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// placeholder is $(NAME), and $$(…) where it is meant literally, as in a Kubernetes container's command.
var placeholder = regexp.MustCompile(`\$?\$\(([A-Za-z][A-Za-z0-9_.]*)\)`)

// templated makes a service of what a template declares.
func templated(name string, t *api.ServiceTemplateSpec) *Service {
	summary := t.Summary
	if summary == "" {
		summary = "declared by a ServiceTemplate"
	}
	return &Service{
		Name: name, Summary: summary, Port: t.Port, HealthPath: t.HealthPath, MetricsPath: t.MetricsPath, Model: t.Model, API: t.API, Image: t.Image,
		Settings: templateSettings(t),
		Validate: func(spec *api.BenchmarkRunSpec, at *field.Path) field.ErrorList {
			return missingSettings(t, spec.Service.Config, at)
		},
		launch: func(l Launch) ([]Process, error) { return launchTemplate(t, l) },
		Prepare: func(ctx context.Context, s Server) (Prepared, error) {
			var answer struct {
				Version string `json:"version"`
			}
			if t.VersionPath == "" {
				return Prepared{}, nil
			}
			if err := s.getJSON(ctx, t.VersionPath, &answer); err != nil {
				return Prepared{}, fmt.Errorf("ask the server's version: %w", err)
			}
			return Prepared{Version: answer.Version}, nil
		},
	}
}

// ValidateTemplate reports what a template says and cannot mean: a placeholder that is not known, a secret in the command.
func ValidateTemplate(t *api.ServiceTemplateSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	check := func(p *field.Path, text string, inEnv bool) {
		for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
			switch name := m[1]; {
			case m[0][1] == '$': // $$(…)
			case name == "apiKey" && !inEnv:
				errs = append(errs, field.Invalid(p, text, "a command line can be read by all users of a node: put $(apiKey) into env"))
			case name != "apiKey" && !knownPlaceholder(name):
				errs = append(errs, field.Invalid(p, text, fmt.Sprintf(
					"$(%s) is not known: use $(model), $(address), $(port), $(gpus), $(replica), $(logs), $(benchd) or $(config.KEY); write $$(%s) for the text itself", name, name)))
			}
		}
	}
	for i, word := range t.Command {
		check(at.Child("command").Index(i), word, false)
	}
	for name, value := range t.Env {
		check(at.Child("env").Key(name), value, true)
	}
	return errs
}

func knownPlaceholder(name string) bool {
	_, err := expand("$("+name+")", func(n string) (string, error) {
		if _, isConfig := configKey(n); isConfig {
			return "", nil
		}
		_, known := (&Launch{}).values()[n]
		if !known {
			return "", errors.New("not known")
		}
		return "", nil
	})
	return err == nil
}

func configKey(name string) (string, bool) {
	const prefix = "config."
	if len(name) > len(prefix) && name[:len(prefix)] == prefix {
		return name[len(prefix):], true
	}
	return "", false
}

// templateSettings are the $(config.KEY) of a template.
func templateSettings(t *api.ServiceTemplateSpec) []Setting {
	var all []Setting
	seen := map[string]bool{}
	texts := append([]string(nil), t.Command...)
	for _, value := range t.Env {
		texts = append(texts, value)
	}
	for _, text := range texts {
		for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
			if key, is := configKey(m[1]); is && m[0][1] != '$' && !seen[key] {
				seen[key] = true
				all = append(all, Setting{Name: key, Type: SettingAny, Meaning: "stands for $(config." + key + ") in the template"})
			}
		}
	}
	return all
}

func missingSettings(t *api.ServiceTemplateSpec, config map[string]any, at *field.Path) field.ErrorList {
	errs := ValidateTemplate(t, at.Child("template"))
	for _, s := range templateSettings(t) {
		if _, given := config[s.Name]; !given {
			errs = append(errs, field.Required(at.Child("config").Key(s.Name), "the service's template uses it"))
		}
	}
	return errs
}

// values are what placeholders stand for.
func (l *Launch) values() map[string]string {
	return map[string]string{
		"model": l.Spec.Model, "address": l.Address, "port": strconv.Itoa(int(l.Port)), "gpus": strconv.Itoa(len(l.GPUs)),
		"replica": l.Replica, "logs": l.Logs, "benchd": l.Binary,
	}
}

func launchTemplate(t *api.ServiceTemplateSpec, l Launch) ([]Process, error) {
	values := l.values()
	lookup := func(name string) (string, error) {
		if key, is := configKey(name); is {
			value, given := l.Spec.Config[key]
			if !given {
				return "", fmt.Errorf("service.config.%s is not set, and the service's template uses it", key)
			}
			return settingText(value), nil
		}
		value, known := values[name]
		if !known {
			return "", fmt.Errorf("the service's template uses $(%s), which is not known", name)
		}
		return value, nil
	}
	p := Process{Env: map[string]string{}}
	for _, word := range t.Command {
		word, err := expand(word, lookup)
		if err != nil {
			return nil, err
		}
		p.Args = append(p.Args, word)
	}
	p.Args = append(p.Args, l.Spec.Args...)
	values["apiKey"] = l.APIKey
	for name, value := range t.Env {
		value, err := expand(value, lookup)
		if err != nil {
			return nil, err
		}
		p.Env[name] = value
	}
	return []Process{p}, nil
}

// expand replaces the placeholders of a text, once: what a value holds is not looked at again.
func expand(text string, lookup func(name string) (string, error)) (string, error) {
	var failed error
	out := placeholder.ReplaceAllStringFunc(text, func(m string) string {
		if m[1] == '$' {
			return m[1:]
		}
		value, err := lookup(m[2 : len(m)-1])
		if err != nil && failed == nil {
			failed = err
		}
		return value
	})
	return out, failed
}
