package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

const mediaJSON = "application/json"

func init() {
	// The package's only switch, and a global one: a patch of a few bytes can otherwise copy itself to gigabytes.
	jsonpatch.AccumulatedCopySizeLimit = 10 * maxBody
}

// errRolledBack takes a dry run's transaction back once all of it went well.
var errRolledBack = errors.New("dry run")

// transact runs write in one transaction, and takes it back where the client only wants to know what would happen.
func (s *Server) transact(r *request, dryRun bool, write func(*store.Tx) error) error {
	err := s.store.Update(r.Context(), func(tx *store.Tx) error {
		if err := write(tx); err != nil {
			return err
		}
		if dryRun {
			return errRolledBack
		}
		return nil
	})
	if errors.Is(err, errRolledBack) {
		return nil
	}
	return err
}

func (s *Server) create(w http.ResponseWriter, r *request) error {
	dryRun, err := r.dryRun()
	if err != nil {
		return err
	}
	data, _, err := r.body(w, mediaJSON)
	if err != nil {
		return err
	}
	obj, err := r.decode(data)
	if err != nil {
		return err
	}
	begin(obj)
	err = s.transact(r, dryRun, func(tx *store.Tx) error {
		if errs := s.opts.Admit(obj, nil); len(errs) > 0 {
			return r.invalid(obj.GetName(), errs)
		}
		return tx.Create(obj)
	})
	if err != nil {
		return err
	}
	if dryRun {
		obj.SetResourceVersion("")
	}
	return s.respondObject(w, r, http.StatusCreated, obj)
}

// begin makes an object new: without a status, and a run with the promise that nothing of it stays on the cluster.
func begin(obj api.Object) {
	switch o := obj.(type) {
	case *api.BenchmarkRun:
		o.Status = api.BenchmarkRunStatus{}
		if !slices.Contains(o.Finalizers, api.FinalizerCluster) {
			o.Finalizers = append(o.Finalizers, api.FinalizerCluster)
		}
	case *api.BenchmarkSweep:
		o.Status = api.BenchmarkSweepStatus{}
	case *api.BenchmarkSchedule:
		o.Status = api.BenchmarkScheduleStatus{}
	case *api.Cluster:
		o.Status = api.ClusterStatus{}
	}
}

// change makes the new object out of the stored one.
type change func(old api.Object) (api.Object, error)

// update replaces spec and metadata by a whole object.
func (s *Server) update(w http.ResponseWriter, r *request) error {
	data, _, err := r.body(w, mediaJSON)
	if err != nil {
		return err
	}
	replacement, err := r.decode(data)
	if err != nil {
		return err
	}
	return s.write(w, r, func(old api.Object) (api.Object, error) {
		// A manifest that says nothing of them must not cut a run loose from its cleaning up or from its owner.
		if len(replacement.GetFinalizers()) == 0 {
			replacement.SetFinalizers(old.GetFinalizers())
		}
		if len(replacement.GetOwnerReferences()) == 0 {
			replacement.SetOwnerReferences(old.GetOwnerReferences())
		}
		return replacement, nil
	}, s.put)
}

// updateStatus replaces the status by that of a whole object.
func (s *Server) updateStatus(w http.ResponseWriter, r *request) error {
	data, _, err := r.body(w, mediaJSON)
	if err != nil {
		return err
	}
	return s.write(w, r, func(old api.Object) (api.Object, error) { return r.decodeLoosely(old, data) }, putStatus)
}

func (s *Server) patch(w http.ResponseWriter, r *request) error {
	change, err := r.patched(w, r.decodePatched)
	if err != nil {
		return err
	}
	return s.write(w, r, change, s.put)
}

func (s *Server) patchStatus(w http.ResponseWriter, r *request) error {
	change, err := r.patched(w, r.decodeLoosely)
	if err != nil {
		return err
	}
	return s.write(w, r, change, putStatus)
}

// patched reads a patch and returns the change that it makes.
func (r *request) patched(w http.ResponseWriter, decode func(old api.Object, doc []byte) (api.Object, error)) (change, error) {
	data, mediaType, err := r.body(w, string(types.MergePatchType), string(types.JSONPatchType))
	if err != nil {
		return nil, err
	}
	apply := func(doc []byte) ([]byte, error) { return jsonpatch.MergePatch(doc, data) }
	if mediaType == string(types.JSONPatchType) {
		steps, err := jsonpatch.DecodePatch(data)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("the JSON patch cannot be read: %v", err))
		}
		apply = steps.Apply
	} else if !json.Valid(data) {
		return nil, apierrors.NewBadRequest("the merge patch is not JSON")
	}
	return func(old api.Object) (api.Object, error) {
		doc, err := json.Marshal(old)
		if err != nil {
			return nil, fmt.Errorf("encode %s %s: %w", r.resource.kind, r.name, err)
		}
		if doc, err = apply(doc); err != nil {
			return nil, statusError(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid,
				fmt.Sprintf("the patch does not fit %s %q: %v", r.resource.kind, r.name, err))
		}
		return decode(old, doc)
	}, nil
}

// write changes the stored object by change and keeps the result by put, all in one transaction.
func (s *Server) write(w http.ResponseWriter, r *request, change change, put func(*request, *store.Tx, api.Object, api.Object) error) error {
	dryRun, err := r.dryRun()
	if err != nil {
		return err
	}
	var updated api.Object
	err = s.transact(r, dryRun, func(tx *store.Tx) error {
		old, err := tx.Get(r.resource.kind, r.namespace, r.name)
		if err != nil {
			return err
		}
		version := old.GetResourceVersion()
		if updated, err = change(old); err != nil {
			return err
		}
		if err := put(r, tx, old, updated); err != nil {
			return err
		}
		if dryRun { // the version that was counted up is rolled back too
			updated.SetResourceVersion(version)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.respondObject(w, r, http.StatusOK, updated)
}

func (s *Server) put(r *request, tx *store.Tx, old, updated api.Object) error {
	var errs field.ErrorList
	if !sameSpec(old, updated) {
		errs = s.opts.Admit(updated, old) // first, for it may fill in defaults that the stored object has too
	}
	errs = append(errs, api.ValidateUpdate(old, updated)...)
	if len(errs) > 0 {
		return r.invalid(updated.GetName(), errs)
	}
	return tx.Put(updated)
}

func putStatus(_ *request, tx *store.Tx, _, updated api.Object) error { return tx.PutStatus(updated) }

// refuseWrite answers where users may look, but not write.
func (s *Server) refuseWrite(_ http.ResponseWriter, r *request) error {
	return apierrors.NewForbidden(r.groupResource(), r.name, fmt.Errorf(
		"benchd alone makes and changes %s; look at them, delete them, or change the run that they belong to", r.resource.plural))
}
