package server

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// writers says who writes the objects of a resource.
type writers int

const (
	// users write the spec, controllers the status.
	users writers = iota
	// controllers write all of it. Users may look and delete.
	controllers
)

// resource is one collection of objects as the API offers it.
type resource struct {
	// version is the group and version it is served under. Events are served under two.
	version    schema.GroupVersion
	kind       string
	plural     string
	singular   string
	short      []string
	categories []string
	namespaced bool
	writers    writers
	columns    []column
}

// coreVersion is Kubernetes' own first group, where kubectl looks for events and namespaces.
var coreVersion = schema.GroupVersion{Version: "v1"}

var resources = []resource{
	{
		version: api.GroupVersion, kind: api.KindBenchmarkRun, plural: "benchmarkruns", singular: "benchmarkrun",
		short: []string{"run", "runs", "br"}, categories: []string{"all", "benchd"}, namespaced: true, writers: users, columns: runColumns,
	},
	{
		version: api.GroupVersion, kind: api.KindBenchmarkSweep, plural: "benchmarksweeps", singular: "benchmarksweep",
		short: []string{"sweep", "sweeps", "bs"}, categories: []string{"all", "benchd"}, namespaced: true, writers: users, columns: sweepColumns,
	},
	{
		version: api.GroupVersion, kind: api.KindBenchmarkSchedule, plural: "benchmarkschedules", singular: "benchmarkschedule",
		short: []string{"schedule", "schedules", "bsched"}, categories: []string{"all", "benchd"}, namespaced: true, writers: users, columns: scheduleColumns,
	},
	{
		version: api.GroupVersion, kind: api.KindServiceTemplate, plural: "servicetemplates", singular: "servicetemplate",
		short: []string{"template", "templates"}, categories: []string{"benchd"}, namespaced: true, writers: users, columns: templateColumns,
	},
	{
		version: api.GroupVersion, kind: api.KindAllocation, plural: "allocations", singular: "allocation",
		short: []string{"alloc"}, categories: []string{"all", "benchd"}, namespaced: true, writers: controllers, columns: allocationColumns,
	},
	{
		version: api.GroupVersion, kind: api.KindCluster, plural: "clusters", singular: "cluster",
		categories: []string{"benchd"}, writers: users, columns: clusterColumns,
	},
	{
		version: api.GroupVersion, kind: api.KindEvent, plural: "events", singular: "event",
		namespaced: true, writers: controllers, columns: eventColumns,
	},
	{
		version: coreVersion, kind: api.KindEvent, plural: "events", singular: "event",
		short: []string{"ev"}, namespaced: true, writers: controllers, columns: eventColumns,
	},
}

// base is the path that the resource's own follow.
func (r *resource) base() string {
	if r.version.Group == "" {
		return "/api/" + r.version.Version
	}
	return "/apis/" + r.version.String()
}

func (r *resource) hasStatus() bool {
	return r.kind != api.KindEvent && r.kind != api.KindServiceTemplate
}

// verbs lists what users may do, in discovery's words.
func (r *resource) verbs() []string {
	list := []string{"delete", "deletecollection", "get", "list", "watch"}
	if r.writers == users {
		list = append(list, "create", "patch", "update")
	}
	slices.Sort(list)
	return list
}

// present gives an object the version that this resource is served under.
func (r *resource) present(obj api.Object) api.Object {
	obj.GetObjectKind().SetGroupVersionKind(r.version.WithKind(r.kind))
	return obj
}
