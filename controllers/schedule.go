package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	noteLine(s, now)
	due, err := plan.DueAt(s, now)
	if err != nil {
		s.Status.Message, s.Status.NextScheduleTime = err.Error(), nil
		ready(s, metav1.ConditionFalse, "ScheduleInvalid", err.Error())
		return result{}, r.write(ctx, s, nil, nil)
	}
	s.Status.NextScheduleTime = nil
	if !due.Next.IsZero() && !s.Spec.Suspend {
		s.Status.NextScheduleTime = &metav1.Time{Time: due.Next}
	}
	switch c := meta.FindStatusCondition(s.Status.Conditions, api.ConditionReady); {
	case s.Spec.Suspend:
		// Times that come meanwhile are not made up for.
		if !due.At.IsZero() {
			s.Status.LastScheduleTime = &metav1.Time{Time: due.At}
		}
		s.Status.Message = "suspended"
		ready(s, metav1.ConditionFalse, "Suspended", "nothing is made until it is resumed")
	case c == nil || c.Reason != "TemplateInvalid" || s.Status.ObservedGeneration != s.Generation:
		// A template that was found invalid stays so until it is changed, or something could be made of it.
		ready(s, metav1.ConditionTrue, "Scheduled", "something is made at the next time of the line")
	}
	if !s.Spec.Suspend && !due.At.IsZero() {
		err = r.act(ctx, s, due, now)
	} else {
		err = r.write(ctx, s, nil, nil)
	}
	if err != nil || due.Next.IsZero() {
		return result{}, err
	}
	return result{after: min(maxTimer, max(time.Millisecond, due.Next.Sub(r.now())))}, nil
}

// noteLine sees that a schedule was given another line: what that would have made before is nothing that was missed.
func noteLine(s *api.BenchmarkSchedule, now time.Time) {
	line := strings.TrimSpace(s.Spec.Schedule + " " + s.Spec.TimeZone)
	if s.Status.Line != "" && s.Status.Line != line {
		s.Status.LineSince = &metav1.Time{Time: now}
	}
	s.Status.Line = line
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
	if len(errs) == 0 { // what is wrong in its shape is not computed with
		errs = r.admit(made)
	}
	if len(errs) > 0 {
		ready(s, metav1.ConditionFalse, "TemplateInvalid", errs.ToAggregate().Error())
		return leave("TemplateInvalid", "%s was left out: %s", due.At.Format(time.DateTime), errs.ToAggregate().Error())
	}
	ready(s, metav1.ConditionTrue, "Scheduled", "something is made at the next time of the line")
	err := r.write(ctx, s, made, append(events, event{api.EventNormal, "Made", fmt.Sprintf("%s for %s", made.GetName(), due.At.Format(time.DateTime))}))
	if apierrors.IsAlreadyExists(err) {
		return leave("NameTaken", "%s was left out: %s is there already: delete it, or call the schedule something else", due.At.Format(time.DateTime), display(made))
	}
	return err
}

// ready says whether something is made at the next time.
func ready(s *api.BenchmarkSchedule, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&s.Status.Conditions, metav1.Condition{
		Type: api.ConditionReady, Status: status, Reason: reason, Message: message, ObservedGeneration: s.Generation,
	})
}

// display names an object as people write it: run my-run.
func display(obj api.Object) string {
	return strings.ToLower(strings.TrimPrefix(api.KindOf(obj), "Benchmark")) + " " + obj.GetName()
}

// make is the object for a time. Its name says which.
func (r *scheduleReconciler) make(s *api.BenchmarkSchedule, at time.Time) api.Object {
	suffix := "-" + at.UTC().Format("20060102-1504")
	about := metav1.ObjectMeta{
		Namespace: s.Namespace, Name: strings.TrimRight(s.Name[:min(len(s.Name), 63-len(suffix))], "-") + suffix, Labels: map[string]string{},
		Annotations:     map[string]string{api.AnnotationScheduledAt: at.UTC().Format(time.RFC3339)},
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s, api.GroupVersion.WithKind(api.KindBenchmarkSchedule))},
	}
	for key, value := range s.Spec.Template.Labels {
		about.Labels[key] = value
	}
	about.Labels[api.LabelSchedule] = strings.Trim(s.Name[:min(len(s.Name), 63)], "-_.")
	var obj api.Object
	if spec := s.Spec.Template.Run; spec != nil {
		about.Finalizers = []string{api.FinalizerCluster}
		obj = &api.BenchmarkRun{ObjectMeta: about, Spec: *spec}
		obj.GetObjectKind().SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkRun))
	} else {
		obj = &api.BenchmarkSweep{ObjectMeta: about, Spec: *s.Spec.Template.Sweep}
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
			if err := makeOnce(tx, s, made); err != nil {
				return err
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

// makeOnce creates what is made for a time. One of this schedule that is there already is taken for it: its name says which time it is for.
func makeOnce(tx *store.Tx, s *api.BenchmarkSchedule, made api.Object) error {
	st, kind := &s.Status, api.KindOf(made)
	err := tx.Create(made)
	if apierrors.IsAlreadyExists(err) {
		there, gerr := tx.Get(kind, made.GetNamespace(), made.GetName())
		if gerr != nil || !metav1.IsControlledBy(there, s) {
			return err
		}
		made = there
	} else if err != nil {
		return err
	} else {
		st.Made++
	}
	st.Message = "made " + made.GetName()
	ref := api.ObjectRef{Kind: kind, Namespace: made.GetNamespace(), Name: made.GetName(), UID: string(made.GetUID())}
	if !slices.Contains(st.Active, ref) {
		st.Active = append(st.Active, ref)
	}
	return nil
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
	if len(active) == len(s.Status.Active) && s.Status.ObservedGeneration == s.Generation {
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
		if st := &o.Status; st.Phase == api.SweepCompleted {
			_, replaced := o.Annotations[api.AnnotationCancelReason]
			return true, st.Failed == 0 && !replaced && (st.Succeeded > 0 || st.Cancelled == 0), st.CompletionTime
		}
		return givenUp(o), false, nil
	}
	return true, false, nil
}

// givenUp says whether a sweep is not complete and will not go on by itself: it was stopped by a limit or by its failure policy, or
// replaced, and nothing of it is on the cluster any more. The next one need not wait for it.
func givenUp(s *api.BenchmarkSweep) bool {
	_, replaced := s.Annotations[api.AnnotationCancelReason]
	stopped := s.Status.Phase == api.SweepStopped || replaced && s.Status.Phase == api.SweepSuspended
	return stopped && s.Status.Allocations == 0
}

// tidy deletes the oldest of those that have ended, beyond what the history is to hold. Result folders stay; what is pinned too.
func (r *scheduleReconciler) tidy(ctx context.Context, s *api.BenchmarkSchedule) error {
	owned, err := r.store.Owned(ctx, string(s.UID))
	if err != nil {
		return err
	}
	good, bad := history(owned)
	for _, ended := range []struct {
		objects []api.Object
		limit   int32
	}{{good, *s.Spec.SuccessfulHistoryLimit}, {bad, *s.Spec.FailedHistoryLimit}} {
		slices.SortFunc(ended.objects, func(a, b api.Object) int {
			return cmp.Or(b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time), cmp.Compare(b.GetName(), a.GetName()))
		})
		for _, obj := range ended.objects[min(len(ended.objects), int(ended.limit)):] {
			if pinned, err := r.holdsPinned(ctx, obj); err != nil || pinned {
				if err != nil {
					return err
				}
				continue
			}
			if _, err := r.store.Delete(ctx, api.KindOf(obj), obj.GetNamespace(), obj.GetName(), string(obj.GetUID())); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
	}
	return nil
}

// history are those of what a schedule made that have ended and may go, by how they did.
func history(owned []api.Object) (good, bad []api.Object) {
	for _, obj := range owned {
		if kind := api.KindOf(obj); kind != api.KindBenchmarkRun && kind != api.KindBenchmarkSweep {
			continue
		}
		ended, succeeded, _ := endOf(obj)
		if _, pinned := obj.GetAnnotations()[api.AnnotationPin]; pinned || !ended || obj.GetDeletionTimestamp() != nil {
			continue
		}
		if succeeded {
			good = append(good, obj)
		} else {
			bad = append(bad, obj)
		}
	}
	return good, bad
}

// holdsPinned says whether a run of a sweep is pinned: a sweep's runs go with it.
func (r *scheduleReconciler) holdsPinned(ctx context.Context, obj api.Object) (bool, error) {
	if api.KindOf(obj) != api.KindBenchmarkSweep {
		return false, nil
	}
	owned, err := r.store.Owned(ctx, string(obj.GetUID()))
	return slices.ContainsFunc(owned, func(o api.Object) bool {
		_, pinned := o.GetAnnotations()[api.AnnotationPin]
		return pinned
	}), err
}

// cancelActive ends what has not ended: a run is cancelled; a sweep begins nothing more, and its runs are cancelled.
func (r *scheduleReconciler) cancelActive(ctx context.Context, s *api.BenchmarkSchedule) error {
	reason := fmt.Sprintf("Replaced: schedule %s begins the next one (concurrencyPolicy Replace)", s.Name)
	for _, ref := range s.Status.Active {
		runs, err := r.runsOf(ctx, ref)
		if err != nil {
			return err
		}
		err = r.store.Update(ctx, func(tx *store.Tx) error {
			if ref.Kind == api.KindBenchmarkSweep {
				if err := suspendSweep(tx, ref, reason); err != nil {
					return err
				}
			}
			for _, name := range runs {
				if err := cancelRun(tx, ref.Namespace, name, reason, nil); err != nil {
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

// runsOf names the runs of a sweep, or the run itself.
func (r *scheduleReconciler) runsOf(ctx context.Context, ref api.ObjectRef) ([]string, error) {
	if ref.Kind != api.KindBenchmarkSweep {
		return []string{ref.Name}, nil
	}
	owned, err := r.store.Owned(ctx, ref.UID)
	var runs []string
	for _, obj := range owned {
		if api.KindOf(obj) == api.KindBenchmarkRun {
			runs = append(runs, obj.GetName())
		}
	}
	return runs, err
}

// suspendSweep keeps a sweep from beginning, and a search from trying, anything more.
func suspendSweep(tx *store.Tx, ref api.ObjectRef, reason string) error {
	obj, err := tx.Get(ref.Kind, ref.Namespace, ref.Name)
	sweep, ok := obj.(*api.BenchmarkSweep)
	if err != nil || !ok || string(sweep.UID) != ref.UID {
		return ignoreGone(err)
	}
	sweep.Spec.Suspend = true
	metav1.SetMetaDataAnnotation(&sweep.ObjectMeta, api.AnnotationCancelReason, reason)
	return tx.Put(sweep)
}

// cancelRun ends a run that has not ended, where it is such a one; nil takes any.
func cancelRun(tx *store.Tx, namespace, name, reason string, such func(*api.BenchmarkRun) bool) error {
	obj, err := tx.Get(api.KindBenchmarkRun, namespace, name)
	run, ok := obj.(*api.BenchmarkRun)
	if err != nil || !ok || run.Status.Phase.Terminal() || such != nil && !such(run) {
		return ignoreGone(err)
	}
	run.Spec.Cancel = true
	metav1.SetMetaDataAnnotation(&run.ObjectMeta, api.AnnotationCancelReason, reason)
	return tx.Put(run)
}
