package server

import (
	"net/http"
	"runtime"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// routeDiscovery serves what clients read to learn which resources there are.
func (s *Server) routeDiscovery(mux *http.ServeMux) {
	group := apiGroup()
	for path, document := range map[string]any{
		"/api": metav1.APIVersions{
			TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{coreVersion.Version},
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{},
		},
		"/apis": metav1.APIGroupList{
			TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{group},
		},
		"/api/v1":                            resourceList(coreVersion),
		"/apis/" + api.GroupVersion.Group:    group,
		"/apis/" + api.GroupVersion.String(): resourceList(api.GroupVersion),
		"/version":                           s.versionInfo(),
	} {
		mux.Handle(path, s.endpoint(nil, verbs{http.MethodGet: func(w http.ResponseWriter, r *request) error {
			s.respond(w, r.Request, http.StatusOK, document)
			return nil
		}}))
	}
	mux.Handle("/openapi/v2", s.endpoint(nil, verbs{http.MethodGet: s.getOpenAPI}))
}

func apiGroup() metav1.APIGroup {
	v := metav1.GroupVersionForDiscovery{GroupVersion: api.GroupVersion.String(), Version: api.GroupVersion.Version}
	return metav1.APIGroup{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"},
		Name:     api.GroupVersion.Group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v,
	}
}

func resourceList(gv schema.GroupVersion) metav1.APIResourceList {
	list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String()}
	if gv == coreVersion {
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: "namespaces", SingularName: "namespace", ShortNames: []string{"ns"}, Kind: "Namespace", Verbs: metav1.Verbs{"get", "list"},
		})
	}
	for i := range resources {
		res := &resources[i]
		if res.version != gv {
			continue
		}
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: res.plural, SingularName: res.singular, Namespaced: res.namespaced, Kind: res.kind,
			Verbs: res.verbs(), ShortNames: res.short, Categories: res.categories,
		})
		if res.hasStatus() {
			status := metav1.Verbs{"get"}
			if res.writers == users {
				status = metav1.Verbs{"get", "patch", "update"}
			}
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: res.plural + "/status", Namespaced: res.namespaced, Kind: res.kind, Verbs: status,
			})
		}
	}
	return list
}

func (s *Server) versionInfo() version.Info {
	major, rest, _ := strings.Cut(strings.TrimPrefix(s.opts.Version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	return version.Info{
		Major: major, Minor: minor, GitVersion: s.opts.Version,
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

// namespace is as much of Kubernetes' Namespace as there is to tell. benchd's own come with the objects in them.
type namespace struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Status            namespaceStatus `json:"status"`
}

type namespaceStatus struct {
	Phase string `json:"phase"`
}

type namespaceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []namespace `json:"items"`
}

func newNamespace(name string) namespace {
	return namespace{
		TypeMeta: metav1.TypeMeta{Kind: "Namespace", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: namespaceStatus{Phase: "Active"},
	}
}

// namespaces are the default one and those that runs or allocations are in.
func (s *Server) namespaces(r *request) (names []string, version string, err error) {
	names = []string{api.DefaultNamespace}
	for _, kind := range []string{api.KindBenchmarkRun, api.KindAllocation} {
		all, err := s.store.List(r.Context(), kind, store.ListOptions{})
		if err != nil {
			return nil, "", err
		}
		for _, obj := range all.Items {
			names = append(names, obj.GetNamespace())
		}
		version = all.ResourceVersion
	}
	slices.Sort(names)
	return slices.Compact(names), version, nil
}

func (s *Server) listNamespaces(w http.ResponseWriter, r *request) error {
	names, version, err := s.namespaces(r)
	if err != nil {
		return err
	}
	list := namespaceList{TypeMeta: metav1.TypeMeta{Kind: "NamespaceList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: version}}
	for _, name := range names {
		list.Items = append(list.Items, newNamespace(name))
	}
	s.respond(w, r.Request, http.StatusOK, list)
	return nil
}

func (s *Server) getNamespace(w http.ResponseWriter, r *request) error {
	names, _, err := s.namespaces(r)
	if err != nil {
		return err
	}
	if !slices.Contains(names, r.name) {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, r.name)
	}
	s.respond(w, r.Request, http.StatusOK, newNamespace(r.name))
	return nil
}
