package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// applyTries bounds how often an apply starts over because somebody else wrote in between.
const applyTries = 10

// ApplyResult is what an apply did.
type ApplyResult string

// Results of an apply, in kubectl's words.
const (
	Created    ApplyResult = "created"
	Configured ApplyResult = "configured"
	Unchanged  ApplyResult = "unchanged"
)

// Apply makes the stored object what obj says: its spec is replaced as a whole, its labels and annotations are merged
// into those that there are. A change by somebody else in between is no error; the apply starts over. The client of
// DryRun tells what would be done.
func (c *Client) Apply(ctx context.Context, obj api.Object) (ApplyResult, api.Object, error) {
	var lost error
	for range applyTries {
		result, stored, err := c.applyOnce(ctx, obj)
		if err == nil {
			return result, stored, nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && !apierrors.IsAlreadyExists(err) {
			return "", nil, err
		}
		lost = err
	}
	return "", nil, fmt.Errorf("apply %s %s: gave up after %d tries: %w", kindOf(obj), obj.GetName(), applyTries, lost)
}

func (c *Client) applyOnce(ctx context.Context, obj api.Object) (ApplyResult, api.Object, error) {
	kind, name := kindOf(obj), obj.GetName()
	old, err := c.Get(ctx, kind, obj.GetNamespace(), name)
	if apierrors.IsNotFound(err) {
		created, err := c.Create(ctx, obj)
		return Created, created, err
	}
	if err != nil {
		return "", nil, err
	}
	labels, annotations := maps.Clone(old.GetLabels()), maps.Clone(old.GetAnnotations())
	body, err := applied(old, obj)
	if err != nil {
		return "", nil, fmt.Errorf("encode %s %s: %w", kind, name, err)
	}
	stored, err := c.one(ctx, kind, call{method: http.MethodPut, path: object(kind, obj.GetNamespace(), name), body: body})
	if err != nil {
		return "", nil, err
	}
	if stored.GetGeneration() == old.GetGeneration() && maps.Equal(stored.GetLabels(), labels) && maps.Equal(stored.GetAnnotations(), annotations) {
		return Unchanged, stored, nil
	}
	return Configured, stored, nil
}

// applied encodes old with the spec of obj and with the labels and annotations of both. It is at old's version, so that
// the server refuses it when that has passed.
func applied(old, obj api.Object) ([]byte, error) {
	old.SetLabels(merge(old.GetLabels(), obj.GetLabels()))
	old.SetAnnotations(merge(old.GetAnnotations(), obj.GetAnnotations()))
	document, err1 := split(old)
	wanted, err2 := split(obj)
	document["spec"] = wanted["spec"]
	delete(document, "status")
	data, err3 := json.Marshal(document)
	return data, errors.Join(err1, err2, err3)
}

func merge(into, from map[string]string) map[string]string {
	if into == nil {
		return from
	}
	maps.Copy(into, from)
	return into
}

// split takes an object apart, its parts still encoded.
func split(obj api.Object) (map[string]json.RawMessage, error) {
	parts := map[string]json.RawMessage{}
	data, err := json.Marshal(obj)
	if err != nil {
		return parts, err
	}
	return parts, json.Unmarshal(data, &parts)
}
