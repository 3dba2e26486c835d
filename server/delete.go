package server

import (
	"encoding/json"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// delete removes one object, or marks it where something has to be cleaned up first.
func (s *Server) delete(w http.ResponseWriter, r *request) error {
	opts, dryRun, err := r.deleteOptions(w)
	if err != nil {
		return err
	}
	var obj api.Object
	err = s.transact(r, dryRun, func(tx *store.Tx) error {
		if obj, err = tx.Get(r.resource.kind, r.namespace, r.name); err != nil {
			return err
		}
		if err := r.checkPreconditions(opts.Preconditions, obj); err != nil {
			return err
		}
		obj, err = tx.Delete(r.resource.kind, r.namespace, r.name, "")
		return err
	})
	if err != nil {
		return err
	}
	if len(obj.GetFinalizers()) > 0 {
		return s.respondObject(w, r, http.StatusOK, obj)
	}
	s.respond(w, r.Request, http.StatusOK, r.deleted(obj.GetName(), obj.GetUID()))
	return nil
}

func (r *request) deleted(name string, uid types.UID) metav1.Status {
	return metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusSuccess,
		Details:  &metav1.StatusDetails{Name: name, Group: r.resource.version.Group, Kind: r.resource.plural, UID: uid},
	}
}

func (r *request) checkPreconditions(want *metav1.Preconditions, obj api.Object) error {
	if want == nil {
		return nil
	}
	if want.UID != nil && *want.UID != obj.GetUID() {
		return apierrors.NewConflict(r.groupResource(), r.name, fmt.Errorf("its uid is %s, the precondition's is %s", obj.GetUID(), *want.UID))
	}
	if want.ResourceVersion != nil && *want.ResourceVersion != obj.GetResourceVersion() {
		return apierrors.NewConflict(r.groupResource(), r.name, fmt.Errorf(
			"its version is %s, the precondition's is %s: look at what changed and delete again", obj.GetResourceVersion(), *want.ResourceVersion))
	}
	return nil
}

// deleteOptions reads what a delete is told in its query and in its body.
func (r *request) deleteOptions(w http.ResponseWriter) (opts metav1.DeleteOptions, dryRun bool, err error) {
	data, _, err := r.body(w, mediaJSON)
	if err != nil {
		return opts, false, err
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &opts); err != nil {
			return opts, false, apierrors.NewBadRequest(fmt.Sprintf("the body is not a DeleteOptions object: %v", err))
		}
	}
	if p := r.URL.Query().Get("propagationPolicy"); p != "" {
		policy := metav1.DeletionPropagation(p)
		opts.PropagationPolicy = &policy
	}
	if opts.PropagationPolicy != nil && *opts.PropagationPolicy == metav1.DeletePropagationOrphan {
		return opts, false, apierrors.NewBadRequest("what an object owns goes with it: delete it without --cascade=orphan")
	}
	dryRun, err = isDryRun(append(opts.DryRun, r.URL.Query()["dryRun"]...))
	return opts, dryRun, err
}

// deleteAll deletes what a list with the same selectors shows.
func (s *Server) deleteAll(w http.ResponseWriter, r *request) error {
	_, dryRun, err := r.deleteOptions(w)
	if err != nil {
		return err
	}
	q, err := r.query()
	if err != nil {
		return err
	}
	page, err := s.page(r, q)
	if err != nil {
		return err
	}
	err = s.transact(r, dryRun, func(tx *store.Tx) error {
		for _, obj := range page.Items {
			_, err := tx.Delete(r.resource.kind, obj.GetNamespace(), obj.GetName(), string(obj.GetUID()))
			if gone := apierrors.IsNotFound(err) || apierrors.IsConflict(err); err != nil && !gone {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.respond(w, r.Request, http.StatusOK, r.deleted("", ""))
	return nil
}
