package server

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

func (s *Server) get(w http.ResponseWriter, r *request) error {
	obj, err := s.store.Get(r.Context(), r.resource.kind, r.namespace, r.name)
	if err != nil {
		return err
	}
	return s.respondObject(w, r, http.StatusOK, obj)
}

// objectList is a list of any kind on the wire.
type objectList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []api.Object `json:"items"`
}

func (s *Server) list(w http.ResponseWriter, r *request) error {
	if r.flag("watch") {
		return s.watch(w, r)
	}
	q, err := r.query()
	if err != nil {
		return err
	}
	page, err := s.page(r, q)
	if err != nil {
		return err
	}
	meta := metav1.ListMeta{ResourceVersion: page.ResourceVersion, Continue: page.Continue}
	if wantsTable(r.Request) {
		table, err := s.table(r, meta, page.Items...)
		if err != nil {
			return err
		}
		s.respond(w, r.Request, http.StatusOK, table)
		return nil
	}
	list := objectList{ListMeta: meta, Items: []api.Object{}}
	list.APIVersion, list.Kind = r.resource.version.String(), r.resource.kind+"List"
	for _, obj := range page.Items {
		list.Items = append(list.Items, r.resource.present(obj))
	}
	s.respond(w, r.Request, http.StatusOK, list)
	return nil
}

// query is what a list or a watch is narrowed by.
type query struct {
	store.ListOptions
	fields fields.Selector
	// version that the first page showed; the following ones show it too, so that a watch from any of them misses nothing.
	version string
}

func (r *request) query() (query, error) {
	values := r.URL.Query()
	q := query{fields: fields.Everything()}
	q.Namespace = r.namespace
	var err error
	if q.Selector, err = labels.Parse(values.Get("labelSelector")); err != nil {
		return q, apierrors.NewBadRequest(fmt.Sprintf("labelSelector %q: %v", values.Get("labelSelector"), err))
	}
	if text := values.Get("fieldSelector"); text != "" {
		if q.fields, err = parseFields(r.resource.kind, text); err != nil {
			return q, err
		}
	}
	if text := values.Get("limit"); text != "" {
		if q.Limit, err = strconv.ParseInt(text, 10, 64); err != nil || q.Limit < 0 {
			return q, apierrors.NewBadRequest(fmt.Sprintf("limit=%q: use a number of items, or 0 for all", text))
		}
	}
	if token := values.Get("continue"); token != "" {
		var ok bool
		if q.version, q.Continue, ok = strings.Cut(token, "."); !ok {
			return q, apierrors.NewBadRequest(fmt.Sprintf("continue token %q was not made by this server: list from the start", token))
		}
	}
	return q, nil
}

func parseFields(kind, text string) (fields.Selector, error) {
	selector, err := fields.ParseSelector(text)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("fieldSelector %q: %v", text, err))
	}
	known := fieldsOf(api.New(kind))
	for _, req := range selector.Requirements() {
		if !known.Has(req.Field) {
			names := slices.Sorted(maps.Keys(known))
			return nil, apierrors.NewBadRequest(fmt.Sprintf("fieldSelector %q: %s cannot be selected by: use %s", text, req.Field, strings.Join(names, ", ")))
		}
	}
	return selector, nil
}

// fieldsOf holds the fields that objects of a kind can be selected by.
func fieldsOf(obj api.Object) fields.Set {
	set := fields.Set{"metadata.name": obj.GetName(), "metadata.namespace": obj.GetNamespace()}
	switch o := obj.(type) {
	case *api.BenchmarkRun:
		set["status.phase"] = string(o.Status.Phase)
	case *api.BenchmarkSweep:
		set["status.phase"] = string(o.Status.Phase)
	case *api.Allocation:
		set["status.phase"] = string(o.Status.Phase)
	}
	if _, has := set["status.phase"]; has {
		set[fieldLive] = strconv.FormatBool(api.Live(obj))
	}
	if ev, ok := obj.(*api.Event); ok {
		about := ev.InvolvedObject
		set["involvedObject.kind"], set["involvedObject.namespace"] = about.Kind, about.Namespace
		set["involvedObject.name"], set["involvedObject.uid"] = about.Name, about.UID
		set["involvedObject.apiVersion"] = about.APIVersion
		set["reason"], set["type"] = ev.Reason, ev.Type
	}
	return set
}

// fieldLive is `true` for what has not ended. A selector that asks for it costs what there is of that, however much has ended.
const fieldLive = "status.live"

// matches decides on what the store does not select by.
func (q *query) matches(obj api.Object) bool {
	return q.fields.Empty() || q.fields.Matches(fieldsOf(obj))
}

// page reads what a list asks for. Where the field selector names one object or the owner of a few, only those are
// read; otherwise pages of the store are filtered until one is full.
func (s *Server) page(r *request, q query) (store.List, error) {
	if found, ok, err := s.shortcut(r, q); ok || err != nil {
		return found, err
	}
	result := store.List{ResourceVersion: q.version}
	opts := q.ListOptions
	for {
		if q.Limit > 0 {
			opts.Limit = q.Limit - int64(len(result.Items))
		}
		part, err := s.store.List(r.Context(), r.resource.kind, opts)
		if err != nil {
			return result, err
		}
		if result.ResourceVersion == "" {
			result.ResourceVersion = part.ResourceVersion
		}
		for _, obj := range part.Items {
			if q.matches(obj) {
				result.Items = append(result.Items, obj)
			}
		}
		if part.Continue == "" {
			return result, nil
		}
		if int64(len(result.Items)) == q.Limit {
			result.Continue = result.ResourceVersion + "." + part.Continue
			return result, nil
		}
		opts.Continue = part.Continue
	}
}

// shortcut finds what a field selector names without reading all there is.
func (s *Server) shortcut(r *request, q query) (result store.List, ok bool, err error) {
	name, byName := q.fields.RequiresExactMatch("metadata.name")
	owner, byOwner := q.fields.RequiresExactMatch("involvedObject.uid")
	byName = byName && (q.Namespace != "" || !r.resource.namespaced)
	live, byLive := q.fields.RequiresExactMatch(fieldLive)
	if !byName && byLive && live == "true" { // whatever the limit: clients have to bear a page that is longer
		return s.live(r, q)
	}
	if !byName && !byOwner {
		return result, false, nil
	}
	// The version is read first: a watch from it then shows again what changed in between, and misses nothing.
	first, err := s.store.List(r.Context(), r.resource.kind, store.ListOptions{Limit: 1})
	if err != nil {
		return result, false, err
	}
	result.ResourceVersion = first.ResourceVersion
	var found []api.Object
	if byName {
		obj, err := s.store.Get(r.Context(), r.resource.kind, q.Namespace, name)
		if err != nil && !apierrors.IsNotFound(err) {
			return result, false, err
		}
		if err == nil {
			found = append(found, obj)
		}
	} else if found, err = s.store.Owned(r.Context(), owner); err != nil {
		return result, false, err
	}
	s.keep(r, q, &result, found)
	return result, true, nil
}

// live finds what has not ended.
func (s *Server) live(r *request, q query) (store.List, bool, error) {
	found, err := s.store.ListLive(r.Context(), r.resource.kind)
	if err != nil {
		return store.List{}, false, err
	}
	result := store.List{ResourceVersion: found.ResourceVersion}
	s.keep(r, q, &result, found.Items)
	return result, true, nil
}

// keep takes of what was found what the query asks for.
func (s *Server) keep(r *request, q query, result *store.List, found []api.Object) {
	for _, obj := range found {
		ofKind := obj.GetObjectKind().GroupVersionKind().Kind == r.resource.kind
		inNamespace := q.Namespace == "" || q.Namespace == obj.GetNamespace()
		if ofKind && inNamespace && q.Selector.Matches(labels.Set(obj.GetLabels())) && q.matches(obj) {
			result.Items = append(result.Items, obj)
		}
	}
	slices.SortFunc(result.Items, func(a, b api.Object) int { return strings.Compare(a.GetName(), b.GetName()) })
}
