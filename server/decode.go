package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/manifest"
)

// decode reads a whole object that a user sent: strictly, with defaults, and of the kind, namespace and name that the
// path speaks of.
func (r *request) decode(data []byte) (api.Object, error) {
	name, err := r.checkHead(data)
	if err != nil {
		return nil, err
	}
	obj, err := manifest.Decode(r.resource.kind, data)
	if err != nil {
		return nil, r.decodeError(name, err)
	}
	r.place(obj)
	return obj, nil
}

// decodePatched reads what a patch made of old. The status in it is the store's own. A spec that is as it was is not
// checked again: a run that a newer benchd would refuse can still be labelled, cancelled and let go of.
func (r *request) decodePatched(old api.Object, data []byte) (api.Object, error) {
	var document map[string]json.RawMessage
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the patch leaves no object: %v", err))
	}
	delete(document, "status")
	data, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("encode patched %s %s: %w", r.resource.kind, r.name, err)
	}
	obj, err := r.decodeLoosely(old, data)
	if err != nil || !sameSpec(old, obj) {
		return r.decode(data)
	}
	api.SetDefaults(obj)
	ofSpec := func(e *field.Error) bool { return e.Field == "spec" || strings.HasPrefix(e.Field, "spec.") }
	if errs := slices.DeleteFunc(api.Validate(obj), ofSpec); len(errs) > 0 {
		return nil, r.invalid(obj.GetName(), errs)
	}
	return obj, nil
}

// sameSpec says whether an update leaves the spec alone, but for calling a run off.
func sameSpec(old, updated api.Object) bool {
	switch o := old.(type) {
	case *api.BenchmarkRun:
		u, ok := updated.(*api.BenchmarkRun)
		if !ok {
			return false
		}
		spec := u.Spec
		spec.Cancel = o.Spec.Cancel
		return equality.Semantic.DeepEqual(o.Spec, spec)
	case *api.BenchmarkSweep:
		u, ok := updated.(*api.BenchmarkSweep)
		return ok && equality.Semantic.DeepEqual(o.Spec, u.Spec)
	case *api.BenchmarkSchedule:
		u, ok := updated.(*api.BenchmarkSchedule)
		return ok && equality.Semantic.DeepEqual(o.Spec, u.Spec)
	case *api.ServiceTemplate:
		u, ok := updated.(*api.ServiceTemplate)
		return ok && equality.Semantic.DeepEqual(o.Spec, u.Spec)
	case *api.Cluster:
		u, ok := updated.(*api.Cluster)
		return ok && equality.Semantic.DeepEqual(o.Spec, u.Spec)
	}
	return false
}

// decodeLoosely reads an object of which only the status is of interest, so its spec may be anything.
func (r *request) decodeLoosely(_ api.Object, data []byte) (api.Object, error) {
	if _, err := r.checkHead(data); err != nil {
		return nil, err
	}
	obj := api.New(r.resource.kind)
	unknown, err := kjson.UnmarshalStrict(data, obj)
	if err = errors.Join(append(unknown, err)...); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s %q cannot be read: %v", r.resource.kind, r.name, err))
	}
	r.place(obj)
	return obj, nil
}

// checkHead compares a body with the path, so that nothing is written elsewhere than its sender thinks. It returns the
// name that the body gives itself.
func (r *request) checkHead(data []byte) (string, error) {
	var head struct {
		APIVersion string
		Kind       string
		Metadata   struct{ Namespace, Name string }
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return "", apierrors.NewBadRequest(fmt.Sprintf("the body is not the JSON of an object: %v", err))
	}
	version, meta := r.resource.version.String(), head.Metadata
	switch {
	case head.APIVersion != version || head.Kind != r.resource.kind:
		return "", apierrors.NewBadRequest(fmt.Sprintf("the body is of apiVersion %q and kind %q; this path takes %q and %q",
			head.APIVersion, head.Kind, version, r.resource.kind))
	case r.resource.namespaced && meta.Namespace != "" && meta.Namespace != r.namespace:
		return "", apierrors.NewBadRequest(fmt.Sprintf("the body's namespace is %q, the path's is %q: make them the same", meta.Namespace, r.namespace))
	case r.name != "" && meta.Name != r.name:
		return "", apierrors.NewBadRequest(fmt.Sprintf("the body's name is %q, the path's is %q: a name cannot be changed", meta.Name, r.name))
	}
	return meta.Name, nil
}

// place puts an object where the path says, and takes out what Kubernetes' clients send and nobody here reads.
func (r *request) place(obj api.Object) {
	obj.SetNamespace(r.namespace)
	obj.SetManagedFields(nil)
	obj.SetSelfLink("")
}

// decodeError makes a Status of what is wrong with a manifest.
func (r *request) decodeError(name string, err error) error {
	found, ok := errors.AsType[manifest.Errors](err)
	if !ok {
		return err
	}
	var errs field.ErrorList
	for _, e := range found {
		if e.Path == "" {
			return apierrors.NewBadRequest(fmt.Sprintf("%s %q cannot be read: %v", r.resource.kind, name, err))
		}
		var value any = field.OmitValueType{}
		if json.Valid([]byte(e.Value)) {
			value = json.RawMessage(e.Value)
		} else if e.Value != "" {
			value = e.Value
		}
		errs = append(errs, &field.Error{Type: field.ErrorTypeInvalid, Field: e.Path, BadValue: value, Detail: e.Detail})
	}
	return r.invalid(name, errs)
}

// invalid lists errors field by field, as the causes of one Status.
func (r *request) invalid(name string, errs field.ErrorList) error {
	return apierrors.NewInvalid(r.resource.version.WithKind(r.resource.kind).GroupKind(), name, errs)
}
