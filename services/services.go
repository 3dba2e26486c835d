// Package services knows the inference services: how each is started, found healthy and prepared, and what its settings
// mean. A new one is one file here and a line in the registry, or a ServiceTemplate object and no Go at all.
package services

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// A Service is one kind of inference server.
type Service struct {
	// Name in `spec.service.name`.
	Name string
	// Summary in a line, for people.
	Summary string
	// Written names the program and version that this was written against, Source where its command line is documented.
	Written, Source string
	// Port by default.
	Port int32
	// HealthPath answers 200 once the server is ready.
	HealthPath string
	// MetricsPath answers the server's own metrics in Prometheus' format; empty when it has none.
	MetricsPath string
	// ResetPath is what a POST to empties the prefix cache; empty when nothing does.
	ResetPath string
	// Model used when the user names none; empty means that one must be named.
	Model string
	// API is the request format of a run that names none.
	API api.API
	// Image is the maker's container image, for those who look for one.
	Image string
	// External says that servers run already: benchd starts none.
	External bool
	// SpansNodes says that one server can run on several nodes.
	SpansNodes bool
	// Settings of `service.config`.
	Settings []Setting
	// Defaults fills in settings that depend on the run; nil means nothing.
	Defaults func(spec *api.BenchmarkRunSpec)
	// Validate reports what the service cannot work with, beyond its settings; nil means nothing.
	Validate func(spec *api.BenchmarkRunSpec, at *field.Path) field.ErrorList
	// launch gives the processes to start on one node of a server, in the order of their start. The last one of the first node
	// is the one that answers requests.
	launch func(Launch) ([]Process, error)
	// observe asks a server what it tells of itself; nil means that MetricsPath tells, where there is one.
	observe func(context.Context, Server) (map[string]float64, error)
	// Prepare gets a healthy server ready to be measured. It may be called again.
	Prepare func(context.Context, Server) (Prepared, error)
}

// Launch is what a service needs to know to start one server's processes on one node.
type Launch struct {
	// Binary is benchd itself.
	Binary string
	Spec   api.ServiceSpec
	// Address and Port to listen on; never 0.0.0.0.
	Address string
	Port    int32
	// GPUs of the node that the server may use, CPUs of the node; 0 means that they are not counted.
	GPUs []int
	CPUs int
	// APIKey that the server is to ask for, where it can.
	APIKey string
	// Logs is a folder of this node for files of the service's own.
	Logs string
	// Scratch is a short-lived folder of this node's own disk, of the same name on all nodes of the server: for sockets, whose
	// paths are short and which network file systems know nothing of.
	Scratch string
	// Replica is the server's name.
	Replica string
	// Nodes are the addresses of all nodes of the server, the first one's first; Node is this one's place among them.
	Nodes []string
	Node  int

	// options are what the settings of spec.config become on the command line.
	options []string
}

// Launch gives the processes to start on one node of a server, in the order of their start. The last one of the server's
// first node is the one that answers requests.
func (s *Service) Launch(l Launch) ([]Process, error) {
	if s.launch == nil {
		return nil, fmt.Errorf("servers of %s run already: there is nothing to start", s.Name)
	}
	l.options = flags(s.Settings, l.Spec.Config)
	return s.launch(l)
}

// Reset empties a server's prefix cache.
func (s *Service) Reset(ctx context.Context, server Server) error {
	return server.exchange(ctx, http.MethodPost, s.ResetPath, nil, func(io.Reader) error { return nil })
}

// head says whether this is the node of the server that answers requests.
func (l *Launch) head() bool { return l.Node == 0 }

// A Process is a program to start: no shell is involved.
type Process struct {
	// Name in logs, beside the server's: empty for the server itself.
	Name string
	Args []string
	// Env is added to the node's environment. Secrets belong here: command lines can be read by all users of a node.
	Env map[string]string
	// Await is an address that must accept connections before the process is started.
	Await string
	// Ready is a text in its output that says it is up; without one, a process that runs is. Late is a stable word for a process
	// that does not say it in time.
	Ready, Late string
	// Gate must hold before the process is started, and as long as it runs.
	Gate *Gate
}

// A Gate is a condition that a program tells of.
type Gate struct {
	// Args and Env of the program, which is run again and again.
	Args []string
	Env  map[string]string
	// Check reads its output; the error says what is missing.
	Check func(output string) error
	// Reason is a stable word for a gate that does not come to hold, Lost one for a gate that holds no more.
	Reason, Lost string
}

// Server is one healthy server.
type Server struct {
	// URL of its first node.
	URL string
	// Spec of its service.
	Spec api.ServiceSpec
	// APIKey that it asks for.
	APIKey string
	// Progress tells people how far a long preparation is.
	Progress func(format string, args ...any)
	// Alone does something that no two servers of a job may do at the same time, such as filling a folder that they share.
	Alone func(ctx context.Context, do func() error) error
}

// Prepared is what was found out of a server while it was prepared.
type Prepared struct {
	// Version of the program.
	Version string
	// Model is the name that the model is served under, where it is not spec.model.
	Model string
}

var registry = register(&dummy, &external, &ollama, &vllm, &sglang, &llamacpp, &tensorrtllm, &triton, &tgi)

func register(all ...*Service) map[string]*Service {
	byName := make(map[string]*Service, len(all))
	for _, s := range all {
		byName[s.Name] = s
	}
	return byName
}

// Of returns the service that a spec speaks of: one that is built in, or the one that its template declares.
func Of(spec *api.ServiceSpec) (*Service, error) {
	if spec.Template != nil {
		return templated(spec.Name, spec.Template), nil
	}
	return Get(spec.Name)
}

// Get returns the built-in service of this name, or an error that says which there are.
func Get(name string) (*Service, error) {
	if s, ok := registry[name]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("service %q is not known: use one of %s, or declare a ServiceTemplate of this name", name, strings.Join(Names(), ", "))
}

// Known says whether a service of this name is built in.
func Known(name string) bool { return registry[name] != nil }

// Names lists the built-in services.
func Names() []string { return slices.Sorted(maps.Keys(registry)) }

// SetDefaults fills in what depends on the service. It changes nothing for an unknown one, which Validate reports.
func SetDefaults(spec *api.BenchmarkRunSpec) {
	s, err := Of(&spec.Service)
	if err != nil {
		return
	}
	svc := &spec.Service
	svc.Model = cmp.Or(svc.Model, s.Model)
	if !s.External {
		svc.Port = cmp.Or(svc.Port, s.Port)
	}
	svc.Health.Endpoint = cmp.Or(svc.Health.Endpoint, s.HealthPath)
	if svc.Template != nil && spec.Container.Runtime != api.RuntimeNone {
		spec.Container.Image = cmp.Or(spec.Container.Image, s.Image)
	}
	if s.Defaults != nil {
		s.Defaults(spec)
	}
}

// Validate reports what the run's service cannot work with. It is part of admission, after the shape was validated.
func Validate(spec *api.BenchmarkRunSpec) field.ErrorList {
	at := field.NewPath("spec", "service")
	svc := &spec.Service
	s, err := Of(svc)
	if err != nil {
		return field.ErrorList{field.NotSupported(at.Child("name"), svc.Name, Names())}
	}
	var errs field.ErrorList
	if svc.Template != nil && registry[svc.Name] != nil {
		errs = append(errs, field.Forbidden(at.Child("template"), fmt.Sprintf("%s is built in: give the template a name of its own", svc.Name)))
	}
	if svc.Model == "" {
		errs = append(errs, field.Required(at.Child("model"), "name the model to serve"))
	}
	errs = append(errs, validatePlaces(s, spec, at)...)
	errs = append(errs, validateHealth(s, svc, at)...)
	errs = append(errs, checkSettings(s.Settings, svc.Config, at.Child("config"))...)
	if len(errs) == 0 && s.Validate != nil {
		errs = append(errs, s.Validate(spec, at)...)
	}
	return errs
}

// validatePlaces checks where the servers run.
func validatePlaces(s *Service, spec *api.BenchmarkRunSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	svc, servers := &spec.Service, *spec.Nodes.Servers.Count
	if s.External {
		if servers > 0 {
			errs = append(errs, field.Invalid(field.NewPath("spec", "nodes", "servers", "count"), servers, "an external service has no server nodes: use 0"))
		}
		if len(svc.Endpoints) == 0 {
			errs = append(errs, field.Required(at.Child("endpoints"), "name the servers, such as http://10.1.2.3:8000"))
		}
		return errs
	}
	if len(svc.Endpoints) > 0 {
		errs = append(errs, field.Forbidden(at.Child("endpoints"), "benchd starts the servers of "+svc.Name+": use service external for servers that run already"))
	}
	if svc.APIKey != nil {
		errs = append(errs, field.Forbidden(at.Child("apiKey"), "servers that benchd starts get a key of their own: leave it out"))
	}
	if svc.NodesPerReplica > 1 && !s.SpansNodes {
		errs = append(errs, field.Invalid(at.Child("nodesPerReplica"), svc.NodesPerReplica, "a server of "+svc.Name+" runs on one node"))
	}
	nodes := serverNodes(spec)
	perNode := (svc.Replicas*svc.NodesPerReplica + nodes - 1) / nodes
	if gpus := spec.Nodes.Servers.GPUs; perNode > 1 && gpus > 0 && gpus%perNode != 0 {
		errs = append(errs, field.Invalid(at.Child("replicas"), svc.Replicas, fmt.Sprintf(
			"%d replicas on each node cannot share its %d GPUs evenly", perNode, gpus)))
	}
	return errs
}

// validateHealth refuses the path that tells another service's health and not this one's: its server would never be found ready.
func validateHealth(s *Service, svc *api.ServiceSpec, at *field.Path) field.ErrorList {
	endpoint := svc.Health.Endpoint
	if s.External || svc.Template != nil || s.Name == dummy.Name || endpoint == s.HealthPath {
		return nil // dummy plays them all
	}
	for _, name := range Names() {
		if other := registry[name]; other.HealthPath == endpoint {
			return field.ErrorList{field.Invalid(at.Child("health", "endpoint"), endpoint, fmt.Sprintf(
				"is what %s answers, and %s tells its health at %s: write that, or leave it out", name, s.Name, s.HealthPath))}
		}
	}
	return nil
}

// serverNodes counts the nodes that servers run on: those of another role where none are the servers' own.
func serverNodes(spec *api.BenchmarkRunSpec) int32 {
	n := &spec.Nodes
	return max(1, cmp.Or(*n.Servers.Count, *n.Clients.Count, *n.Monitors.Count))
}

// gpusPerServerNode is how many GPUs each server has on each of its nodes.
func gpusPerServerNode(spec *api.BenchmarkRunSpec) int {
	groups := max(1, int(serverNodes(spec))/max(1, int(spec.Service.NodesPerReplica)))
	perGroup := (int(spec.Service.Replicas) + groups - 1) / groups
	return int(spec.Nodes.Servers.GPUs) / max(1, perGroup)
}

// UserError is a failure to prepare a server that no repetition mends: the user has to.
type UserError struct {
	// Reason is a stable word.
	Reason string
	Err    error
}

var _ error = (*UserError)(nil)

// Error is what the user is told.
func (e *UserError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *UserError) Unwrap() error { return e.Err }

// reasonModel is the reason of a model that the server cannot serve.
const reasonModel = "ModelNotAvailable"

// secretName is what names of variables that hold secrets have in common.
var secretName = regexp.MustCompile(`(?i)(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|_KEY$)`)

// SecretVariable says whether a variable of this name likely holds a secret, which is not to be stored or shown.
func SecretVariable(name string) bool { return secretName.MatchString(name) }

// settleTime bounds one request of a preparation that is not expected to take long.
const settleTime = 30 * time.Second
