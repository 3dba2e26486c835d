package services

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// external is an endpoint that somebody else keeps running: benchd only measures it.
var external = Service{
	Name:     "external",
	Summary:  "servers that run already: benchd makes the load and starts nothing",
	Written:  "any server of OpenAI's or Ollama's API, or of a REST API of its own",
	External: true,
	Settings: []Setting{
		{Name: "servedModelName", Type: SettingWord, Meaning: "name under which the model is served, where it is not service.model"},
	},
	Validate: func(spec *api.BenchmarkRunSpec, at *field.Path) field.ErrorList {
		var errs field.ErrorList
		for i, endpoint := range spec.Service.Endpoints {
			p := at.Child("endpoints").Index(i)
			u, err := url.Parse(endpoint)
			switch {
			case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
				errs = append(errs, field.Invalid(p, endpoint, "use a base URL such as http://10.1.2.3:8000"))
			case u.User != nil:
				errs = append(errs, field.Invalid(p, u.Redacted(), "a password in a URL would be stored and shown: use service.apiKey"))
			case u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
				errs = append(errs, field.Invalid(p, endpoint, "use the base URL alone, without a path: the request's path follows from workload.api"))
			case slices.Index(spec.Service.Endpoints, endpoint) < i:
				errs = append(errs, field.Duplicate(p, endpoint))
			}
		}
		if len(spec.Service.Args) > 0 {
			errs = append(errs, field.Forbidden(at.Child("args"), "an external service is not started by benchd"))
		}
		return errs
	},
	Prepare: func(ctx context.Context, s Server) (Prepared, error) {
		p, err := prepareExternal(ctx, s)
		if refused := (*answerError)(nil); errors.As(err, &refused) {
			err = cmp.Or(KeyRefused(refused.code, err), err)
		}
		return p, err
	},
}

func prepareExternal(ctx context.Context, s Server) (Prepared, error) {
	var version struct {
		Version string `json:"version"`
	}
	if s.getJSON(ctx, "/api/version", &version) != nil {
		return prepareOpenAI(ctx, s)
	}
	there, err := s.hasOllamaModel(ctx) // Ollama, which also has OpenAI's list of models
	if err == nil && !there {
		err = &UserError{reasonModel, fmt.Errorf("the server does not have model %s: pull it there, or correct service.model", s.Spec.Model)}
	}
	return Prepared{Version: version.Version}, err
}

// KeyRefused is err as the user's, when an endpoint that somebody else runs answered 401 or 403: to ask again with the same key is of
// no use. It is nil for other answers.
func KeyRefused(code int, err error) error {
	if code != http.StatusUnauthorized && code != http.StatusForbidden {
		return nil
	}
	return &UserError{"APIKeyRefused", fmt.Errorf("%w: correct service.apiKey, which names the secret that the endpoint asks for", err)}
}
