package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/plan"
	"github.com/benchd/benchd/store"
)

// sweepReconciler makes the runs of sweeps, as many at a time as each allows, and counts how they ended.
type sweepReconciler struct {
	store *store.Store
	// admit checks a run as if a user had applied it.
	admit func(api.Object) field.ErrorList
	log   *slog.Logger
}

func (r *sweepReconciler) reconcile(ctx context.Context, key types.NamespacedName) (result, error) {
	sweep, err := store.Get[*api.BenchmarkSweep](ctx, r.store, key.Namespace, key.Name)
	if err != nil || sweep.DeletionTimestamp != nil {
		return result{}, ignoreGone(err)
	}
	owned, err := r.store.Owned(ctx, string(sweep.UID))
	if err != nil {
		return result{}, err
	}
	runs := map[string]*api.BenchmarkRun{}
	for _, obj := range owned {
		if run, ok := obj.(*api.BenchmarkRun); ok {
			runs[run.Name] = run
		}
	}
	before := sweep.Status
	st := count(sweep, runs)
	var made []*api.BenchmarkRun
	if !sweep.Spec.Suspend {
		if made, err = r.next(sweep, runs, int(sweep.Spec.Parallelism-st.Active)); err != nil {
			st.Message = err.Error()
		}
	}
	sweep.Status = st
	if len(made) == 0 && equality.Semantic.DeepEqual(before, st) {
		return result{}, nil
	}
	var res result
	err = r.store.Update(ctx, func(tx *store.Tx) error {
		for _, run := range made {
			if err := tx.Create(run); apierrors.IsAlreadyExists(err) {
				// Another's run has the name: it is not this sweep's to count, and the sweep waits for it to go.
				sweep.Status.Message = fmt.Sprintf("a run %s is there already that is not of this sweep: delete it", run.Name)
				res.after = nameRetry
				continue
			} else if err != nil {
				return err
			}
		}
		if err := tx.PutStatus(sweep); err != nil {
			return err
		}
		if st.Phase == api.SweepCompleted && before.Phase != api.SweepCompleted {
			return tx.Event(sweep, api.EventNormal, "Completed", st.Message)
		}
		return nil
	})
	return res, err
}

// nameRetry is how long a sweep waits before it tries a name again that was taken.
const nameRetry = 10 * time.Second

// count says where a sweep is, from its runs.
func count(sweep *api.BenchmarkSweep, runs map[string]*api.BenchmarkRun) api.BenchmarkSweepStatus {
	st := api.BenchmarkSweepStatus{
		Phase: api.SweepActive, ObservedGeneration: sweep.Generation, Total: int32(plan.Total(&sweep.Spec)), CompletionTime: sweep.Status.CompletionTime,
	}
	for _, run := range runs {
		switch {
		case !run.Status.Phase.Terminal():
			st.Active++
		case run.Status.Phase == api.RunCompleted:
			st.Succeeded++
		default:
			st.Failed++
		}
	}
	ended := st.Succeeded + st.Failed
	st.Message = fmt.Sprintf("%d of %d runs have ended", ended, st.Total)
	switch {
	case ended >= st.Total && st.Active == 0:
		st.Phase = api.SweepCompleted
		if st.CompletionTime == nil {
			now := metav1.NewTime(time.Now())
			st.CompletionTime = &now
		}
	case sweep.Spec.Suspend:
		st.Phase = api.SweepSuspended
	}
	return st
}

// next makes the runs that come next in order. A run that cannot be right is made all the same, as one that has failed, so that it
// is seen and counted.
func (r *sweepReconciler) next(sweep *api.BenchmarkSweep, runs map[string]*api.BenchmarkRun, room int) ([]*api.BenchmarkRun, error) {
	var made []*api.BenchmarkRun
	if room <= 0 || len(runs) >= plan.Total(&sweep.Spec) {
		return nil, nil
	}
	for index := 0; index < plan.Total(&sweep.Spec) && len(made) < room; index++ {
		if runs[plan.RunName(sweep, index)] != nil {
			continue
		}
		run, err := plan.Run(sweep, plan.PointAt(&sweep.Spec, index))
		if err != nil {
			return made, err
		}
		api.SetDefaults(run)
		if errs := append(api.Validate(run), r.admit(run)...); len(errs) > 0 {
			now := metav1.Now()
			run.Finalizers = nil
			message := errs.ToAggregate().Error()
			run.Status.Phase, run.Status.CompletionTime, run.Status.Message = api.RunFailed, &now, message
			run.Status.Outcome = &api.Outcome{Result: api.ResultFailed, Class: api.FailureUser, Reason: "Invalid", Message: message}
		}
		made = append(made, run)
	}
	return made, nil
}
