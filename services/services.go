// Package services knows the inference services: how each is started, found healthy and prepared, and what its settings
// mean. A new one is one file here that adds itself to the registry.
package services

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// A Service is one kind of inference server.
type Service struct {
	// Name in `spec.service.name`.
	Name string
	// Summary in a line, for people.
	Summary string
	// Port by default.
	Port int32
	// HealthPath answers 200 once the server is ready.
	HealthPath string
	// Model used when the user names none; empty means that one must be named.
	Model string
	// Validate reports what the service cannot work with; nil means nothing.
	Validate func(spec *api.BenchmarkRunSpec, at *field.Path) field.ErrorList
	// Launch gives the process to start for one replica on one of its nodes.
	Launch func(Launch) (Command, error)
	// Prepare gets a healthy server ready to be measured and returns its version. It may be called again.
	Prepare func(ctx context.Context, url, model, apiKey string) (version string, err error)
}

// Launch is what a service needs to know to start one server process.
type Launch struct {
	// Binary is benchd itself.
	Binary string
	Spec   api.ServiceSpec
	// Address and Port to listen on; never 0.0.0.0.
	Address string
	Port    int32
	// GPUs of the node that the process may use.
	GPUs []int
	// APIKey that the server is to ask for, where it can.
	APIKey string
	// Logs is a folder of this node for files of the service's own.
	Logs string
	// Replica is the server's name.
	Replica string
}

// Command is a process to start: no shell is involved.
type Command struct {
	Args []string
	Env  map[string]string
}

var registry = map[string]*Service{dummy.Name: &dummy}

// Get returns the service of this name, or an error that says which there are.
func Get(name string) (*Service, error) {
	if s, ok := registry[name]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("service %q is not known: use one of %s", name, strings.Join(Names(), ", "))
}

// Names lists the services.
func Names() []string { return slices.Sorted(maps.Keys(registry)) }

// SetDefaults fills in what depends on the service. It changes nothing for an unknown one, which Validate reports.
func SetDefaults(spec *api.BenchmarkRunSpec) {
	s, ok := registry[spec.Service.Name]
	if !ok {
		return
	}
	spec.Service.Port = cmp.Or(spec.Service.Port, s.Port)
	spec.Service.Model = cmp.Or(spec.Service.Model, s.Model)
	spec.Service.Health.Endpoint = cmp.Or(spec.Service.Health.Endpoint, s.HealthPath)
}

// Validate reports what the run's service cannot work with. It is part of admission, after the shape was validated.
func Validate(spec *api.BenchmarkRunSpec) field.ErrorList {
	at := field.NewPath("spec", "service")
	s, ok := registry[spec.Service.Name]
	if !ok {
		return field.ErrorList{field.NotSupported(at.Child("name"), spec.Service.Name, Names())}
	}
	var errs field.ErrorList
	if spec.Service.Model == "" {
		errs = append(errs, field.Required(at.Child("model"), "name the model to serve"))
	}
	perNode := (spec.Service.Replicas*spec.Service.NodesPerReplica + max(1, *spec.Nodes.Servers.Count) - 1) / max(1, *spec.Nodes.Servers.Count)
	if gpus := spec.Nodes.Servers.GPUs; perNode > 1 && gpus > 0 && gpus%perNode != 0 {
		errs = append(errs, field.Invalid(at.Child("replicas"), spec.Service.Replicas, fmt.Sprintf(
			"%d replicas on each node cannot share its %d GPUs evenly", perNode, gpus)))
	}
	if s.Validate != nil {
		errs = append(errs, s.Validate(spec, at)...)
	}
	return errs
}
