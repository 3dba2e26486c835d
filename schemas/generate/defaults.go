package main

import (
	"encoding/json"

	"github.com/invopop/jsonschema"

	"github.com/benchd/benchd/api/v1alpha1"
)

// computed are fields whose default depends on others; their comments tell how.
var computed = map[string]bool{"spec.slurm.timeLimit": true, "spec.service.replicas": true}

// setDefaults writes into the schema what SetDefaults puts into an empty object.
func setDefaults(s *jsonschema.Schema, kind string) error {
	obj := v1alpha1.New(kind)
	v1alpha1.SetDefaults(obj)
	data, err := json.Marshal(obj)
	if err != nil {
		return err
	}
	var values map[string]any
	if err := json.Unmarshal(data, &values); err != nil {
		return err
	}
	for _, part := range []string{"metadata", "spec"} {
		if value, ok := values[part].(map[string]any); ok {
			addDefaults(property(s, part), value, part)
		}
	}
	return nil
}

func addDefaults(s *jsonschema.Schema, values map[string]any, path string) {
	for name, value := range values {
		p, at := property(s, name), path+"."+name
		if p == nil || computed[at] {
			continue
		}
		if inner, ok := value.(map[string]any); ok {
			addDefaults(p, inner, at)
			continue
		}
		if !required(s, name) && value != "" {
			p.Default = value
		}
	}
}

func required(s *jsonschema.Schema, name string) bool {
	for _, r := range s.Required {
		if r == name {
			return true
		}
	}
	return false
}
