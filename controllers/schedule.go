package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/store"
)

// scheduleReconciler makes the runs and sweeps of schedules. What is due follows from the cron line and from the last time that was
// dealt with, which is stored in the transaction that makes the object: a control plane that was away, or was killed in between,
// makes nothing twice.
type scheduleReconciler struct {
	store *store.Store
	// admit checks what is made as if a user had applied it.
	admit func(api.Object) field.ErrorList
	now   func() time.Time
}

// maxTimer bounds how long a timer is trusted: a machine that sleeps, or whose clock is set, is looked at again.
const maxTimer = 10 * time.Minute

func (r *scheduleReconciler) reconcile(ctx context.Context, key types.NamespacedName) (result, error) {
	s, err := store.Get[*api.BenchmarkSchedule](ctx, r.store, key.Namespace, key.Name)
	if err != nil || s.DeletionTimestamp != nil {
		return result{}, ignoreGone(err)
	}
	if err := r.lookAtActive(ctx, s); err != nil {
		return result{}, err
	}
	now := r.now()
	due, err := plan.DueAt(s, now)
	if err != nil {
		s.Status.Message, s.Status.NextScheduleTime = err.Error(), nil
		return result{}, r.write(ctx, s, nil, nil)
	}
	s.Status.NextScheduleTime = nil
	if !due.Next.IsZero() && !s.Spec.Suspend {
		s.Status.NextScheduleTime = &metav1.Time{Time: due.Next}
	}
	switch {
	case s.Spec.Suspend:
		// Times that come meanwhile are not made up for.
		if !due.At.IsZero() {
			s.Status.LastScheduleTime = &metav1.Time{Time: due.At}
		}
		s.Status.Message = "suspended"
		err = r.write(ctx, s, nil, nil)
	case !due.At.IsZero():
		err = r.act(ctx, s, due, now)
	default:
		err = r.write(ctx, s, nil, nil)
	}
	if err != nil || due.Next.IsZero() {
		return result{}, err
	}
	return result{after: min(maxTimer, max(time.Millisecond, due.Next.Sub(r.now())))}, nil
}

// act deals with a time that has come.
func (r *scheduleReconciler) act(ctx context.Context, s *api.BenchmarkSchedule, due plan.Due, now time.Time) error {
	st := &s.Status
	st.LastScheduleTime = &metav1.Time{Time: due.At}
	var events []event
	if due.Earlier > 0 {
		st.Missed += due.Earlier
		events = append(events, event{api.EventWarning, "Missed", fmt.Sprintf("%d times had passed before %s: they are not made up for", due.Earlier, due.At.Format(time.DateTime))})
	}
	leave := func(reason, format string, args ...any) error {
		st.Missed++
		st.Message = fmt.Sprintf(format, args...)
		return r.write(ctx, s, nil, append(events, event{api.EventWarning, reason, st.Message}))
	}
	if d := s.Spec.StartingDeadline; d != nil && now.Sub(due.At) > d.Duration {
		return leave("TooLate", "%s was left out: %s later is beyond startingDeadline (%s)", due.At.Format(time.DateTime), now.Sub(due.At).Round(time.Second), d.Duration)
	}
	if len(st.Active) > 0 {
		switch s.Spec.ConcurrencyPolicy {
		case api.ConcurrencyForbid:
			return leave("StillActive", "%s was left out: %s has not ended (concurrencyPolicy Forbid)", due.At.Format(time.DateTime), st.Active[0].Name)
		case api.ConcurrencyReplace:
			if err := r.cancelActive(ctx, s); err != nil {
				return err
			}
		}
	}
	made := r.make(s, due.At)
	errs := api.Validate(made)
	if len(errs) == 0 {
		errs = r.admit(made)
	}
	if len(errs) > 0 {
		return leave("TemplateInvalid", "%s was left out: %s", due.At.Format(time.DateTime), errs.ToAggregate().Error())
	}
	st.Made++
	st.Message = fmt.Sprintf("made %s", made.GetName())
	return r.write(ctx, s, made, append(events, event{api.EventNormal, "Made", fmt.Sprintf("%s for %s", made.GetName(), due.At.Format(time.DateTime))}))
}

// make is the object for a time. Its name says which.
func (r *scheduleReconciler) make(s *api.BenchmarkSchedule, at time.Time) api.Object {
	suffix := "-" + at.UTC().Format("20060102-1504")
	meta := metav1.ObjectMeta{
		Namespace: s.Namespace, Name: strings.TrimRight(s.Name[:min(len(s.Name), 63-len(suffix))], "-") + suffix, Labels: map[string]string{},
		Annotations:     map[string]string{api.AnnotationScheduledAt: at.UTC().Format(time.RFC3339)},
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s, api.GroupVersion.WithKind(api.KindBenchmarkSchedule))},
	}
	for key, value := range s.Spec.Template.Labels {
		meta.Labels[key] = value
	}
	meta.Labels[api.LabelSchedule] = strings.Trim(s.Name[:min(len(s.Name), 63)], "-_.")
	var obj api.Object
	if spec := s.Spec.Template.Run; spec != nil {
		meta.Finalizers = []string{api.FinalizerCluster}
		obj = &api.BenchmarkRun{ObjectMeta: meta, Spec: *spec}
		obj.GetObjectKind().SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkRun))
	} else {
		obj = &api.BenchmarkSweep{ObjectMeta: meta, Spec: *s.Spec.Template.Sweep}
		obj.GetObjectKind().SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkSweep))
	}
	api.SetDefaults(obj)
	return obj
}

// write stores the status, and with it what is made, in one transaction.
func (r *scheduleReconciler) write(ctx context.Context, s *api.BenchmarkSchedule, made api.Object, events []event) error {
	s.Status.ObservedGeneration = s.Generation
	return r.store.Update(ctx, func(tx *store.Tx) error {
		if made != nil {
			err := tx.Create(made)
			if apierrors.IsAlreadyExists(err) {
				s.Status.Message = fmt.Sprintf("%s is there already: it is left as it is", made.GetName())
			} else if err != nil {
				return err
			} else {
				s.Status.Active = append(s.Status.Active, api.ObjectRef{Kind: api.KindOf(made), Namespace: made.GetNamespace(), Name: made.GetName(), UID: string(made.GetUID())})
			}
		}
		if err := tx.PutStatus(s); err != nil {
			return err
		}
		for _, e := range events {
			if err := tx.Event(s, e.kind, e.reason, e.message); err != nil {
				return err
			}
		}
		return nil
	})
}

// lookAtActive drops what has ended from the status, and with it what is more than the history is to hold.
func (r *scheduleReconciler) lookAtActive(ctx context.Context, s *api.BenchmarkSchedule) error {
	var active []api.ObjectRef
	for _, ref := range s.Status.Active {
		obj, err := r.store.Get(ctx, ref.Kind, ref.Namespace, ref.Name)
		if apierrors.IsNotFound(err) || err == nil && string(obj.GetUID()) != ref.UID {
			continue
		}
		if err != nil {
			return err
		}
		ended, succeeded, at := endOf(obj)
		if !ended {
			active = append(active, ref)
			continue
		}
		if succeeded && (s.Status.LastSuccessfulTime == nil || s.Status.LastSuccessfulTime.Before(at)) {
			s.Status.LastSuccessfulTime = at
		}
	}
	if len(active) == len(s.Status.Active) {
		return nil
	}
	s.Status.Active = active
	return r.tidy(ctx, s)
}

// endOf says whether what a schedule made has ended, and how.
func endOf(obj api.Object) (ended, succeeded bool, at *metav1.Time) {
	switch o := obj.(type) {
	case *api.BenchmarkRun:
		return o.Status.Phase.Terminal(), o.Status.Phase == api.RunCompleted, o.Status.CompletionTime
	case *api.BenchmarkSweep:
		return o.Status.Phase == api.SweepCompleted, o.Status.Phase == api.SweepCompleted && o.Status.Failed == 0, o.Status.CompletionTime
	}
	return true, false, nil
}

// tidy deletes the oldest of those that have ended, beyond what the history is to hold. Result folders stay; what is pinned too.
func (r *scheduleReconciler) tidy(ctx context.Context, s *api.BenchmarkSchedule) error {
	owned, err := r.store.Owned(ctx, string(s.UID))
	if err != nil {
		return err
	}
	var good, bad []api.Object
	for _, obj := range owned {
		ended, succeeded, _ := endOf(obj)
		if _, pinned := obj.GetAnnotations()[api.AnnotationPin]; !ended || pinned || api.KindOf(obj) == api.KindEvent {
			continue
		}
		if succeeded {
			good = append(good, obj)
		} else {
			bad = append(bad, obj)
		}
	}
	for _, history := range []struct {
		objects []api.Object
		limit   int32
	}{{good, *s.Spec.SuccessfulHistoryLimit}, {bad, *s.Spec.FailedHistoryLimit}} {
		slices.SortFunc(history.objects, func(a, b api.Object) int {
			return cmp.Or(b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time), cmp.Compare(b.GetName(), a.GetName()))
		})
		for _, obj := range history.objects[min(len(history.objects), int(history.limit)):] {
			if _, err := r.store.Delete(ctx, api.KindOf(obj), obj.GetNamespace(), obj.GetName(), string(obj.GetUID())); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
	}
	return nil
}

// cancelActive ends what has not ended: a run is cancelled, a sweep begins nothing more and its runs are cancelled.
func (r *scheduleReconciler) cancelActive(ctx context.Context, s *api.BenchmarkSchedule) error {
	reason := fmt.Sprintf("Replaced: schedule %s begins the next one (concurrencyPolicy Replace)", s.Name)
	for _, ref := range s.Status.Active {
		var runs []string
		switch ref.Kind {
		case api.KindBenchmarkRun:
			runs = []string{ref.Name}
		case api.KindBenchmarkSweep:
			list, err := r.store.List(ctx, api.KindBenchmarkRun, store.ListOptions{
				Namespace: ref.Namespace, Selector: labels.SelectorFromSet(labels.Set{api.LabelSweep: ref.Name}),
			})
			if err != nil {
				return err
			}
			for _, obj := range list.Items {
				runs = append(runs, obj.GetName())
			}
		}
		err := r.store.Update(ctx, func(tx *store.Tx) error {
			for _, name := range runs {
				obj, err := tx.Get(api.KindBenchmarkRun, ref.Namespace, name)
				run, ok := obj.(*api.BenchmarkRun)
				if err != nil || !ok || run.Status.Phase.Terminal() {
					if err = ignoreGone(err); err != nil {
						return err
					}
					continue
				}
				run.Spec.Cancel = true
				metav1.SetMetaDataAnnotation(&run.ObjectMeta, api.AnnotationCancelReason, reason)
				if err := tx.Put(run); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
