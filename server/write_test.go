package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// refusal is a request that is answered with a Status.
type refusal struct {
	method, target, body, mediaType string

	code   int
	reason metav1.StatusReason
	// field of the first cause, and a part of the message.
	field, message string
}

func (f *fixture) refuses(r refusal) {
	f.t.Helper()
	var headers []string
	if r.mediaType != "" {
		headers = []string{"Content-Type", r.mediaType}
	}
	st := f.call(r.method, r.target, r.body, headers...).want(r.code).status()
	if st.Status != metav1.StatusFailure || int(st.Code) != r.code || st.Reason != r.reason {
		f.t.Errorf("status %+v, want code %d and reason %s", st, r.code, r.reason)
	}
	if !strings.Contains(st.Message, r.message) {
		f.t.Errorf("message %q does not say %q", st.Message, r.message)
	}
	if r.field != "" && (st.Details == nil || len(st.Details.Causes) == 0 || st.Details.Causes[0].Field != r.field) {
		f.t.Errorf("causes of %+v do not begin with field %s", st.Details, r.field)
	}
}

func TestCreate(t *testing.T) {
	f := newFixture(t)
	run := f.create("one", map[string]any{"status.phase": "Completed", "metadata.labels": map[string]string{"a": "b"}})
	if run.UID == "" || run.Generation != 1 || run.ResourceVersion == "" || run.Namespace != api.DefaultNamespace {
		t.Errorf("metadata is not filled in: %+v", run.ObjectMeta)
	}
	if run.Status.Phase != "" {
		t.Errorf("a user wrote the status: %+v", run.Status)
	}
	if !slices.Equal(run.Finalizers, []string{api.FinalizerCluster}) {
		t.Errorf("finalizers %v", run.Finalizers)
	}
	if run.Spec.Cluster != api.ClusterNameDefault {
		t.Errorf("defaults are not set: %+v", run.Spec)
	}
	f.call(http.MethodPost, "/apis/benchd.dev/v1alpha1/namespaces/team/benchmarkruns", runJSON("one", nil)).want(http.StatusCreated)
	f.call(http.MethodPost, clusters, `{"apiVersion":"benchd.dev/v1alpha1","kind":"Cluster","metadata":{"name":"c"},"spec":{"type":"embedded"}}`).want(http.StatusCreated)
}

func TestCreateRefused(t *testing.T) {
	f := newFixture(t)
	f.create("taken", nil)
	for name, r := range map[string]refusal{
		"not JSON":                {target: runs, body: `{"kind":`, code: 400, reason: metav1.StatusReasonBadRequest, message: "not the JSON of an object"},
		"another kind":            {target: runs, body: `{"apiVersion":"benchd.dev/v1alpha1","kind":"Cluster"}`, code: 400, reason: metav1.StatusReasonBadRequest, message: `kind "Cluster"`},
		"another namespace":       {target: runs, body: runJSON("x", map[string]any{"metadata.namespace": "other"}), code: 400, reason: metav1.StatusReasonBadRequest, message: `"other"`},
		"unknown field":           {target: runs, body: runJSON("x", map[string]any{"spec.workload.durration": "2s"}), code: 422, reason: metav1.StatusReasonInvalid, field: "spec.workload.durration"},
		"bad value":               {target: runs, body: runJSON("x", map[string]any{"spec.slurm.timeLimit": "soon"}), code: 422, reason: metav1.StatusReasonInvalid, field: "spec.slurm.timeLimit", message: `"soon"`},
		"not admitted":            {target: runs, body: runJSON("x", map[string]any{"spec.service.name": "unknown"}), code: 422, reason: metav1.StatusReasonInvalid, field: "spec.service.name"},
		"name is taken":           {target: runs, body: runJSON("taken", nil), code: 409, reason: metav1.StatusReasonAlreadyExists},
		"too large":               {target: runs, body: strings.Repeat(" ", 3<<20) + runJSON("x", nil), code: 413, reason: metav1.StatusReasonRequestEntityTooLarge},
		"YAML":                    {target: runs, body: runJSON("x", nil), mediaType: "application/yaml", code: 415, reason: metav1.StatusReasonUnsupportedMediaType, message: "application/json"},
		"in all namespaces":       {target: "/apis/benchd.dev/v1alpha1/benchmarkruns", body: runJSON("x", nil), code: 405, reason: metav1.StatusReasonMethodNotAllowed},
		"in no proper namespace":  {target: "/apis/benchd.dev/v1alpha1/namespaces/a%2Fb/benchmarkruns", body: runJSON("x", nil), code: 400, reason: metav1.StatusReasonBadRequest, message: "lower-case"},
		"an allocation":           {target: allocs, body: `{}`, code: 403, reason: metav1.StatusReasonForbidden, message: "benchd alone"},
		"an event":                {target: events, body: `{}`, code: 403, reason: metav1.StatusReasonForbidden, message: "benchd alone"},
		"of an unknown resource":  {target: "/apis/benchd.dev/v1alpha1/namespaces/default/pods", body: `{}`, code: 404, reason: metav1.StatusReasonNotFound},
		"a dry run of some other": {target: runs + "?dryRun=Some", body: runJSON("x", nil), code: 400, reason: metav1.StatusReasonBadRequest, message: "dryRun=All"},
	} {
		t.Run(name, func(t *testing.T) {
			f.t, r.method = t, http.MethodPost
			f.refuses(r)
		})
	}
}

func TestUpdate(t *testing.T) {
	f := newFixture(t)
	created := f.create("one", nil)
	f.setStatus(f.stored("one"), func(st *api.BenchmarkRunStatus) { st.Phase = api.RunPending })

	updated := f.call(http.MethodPut, runs+"/one", runJSON("one", map[string]any{"spec.workload.duration": "9s", "status.phase": "Failed"})).want(http.StatusOK).run()
	if updated.Generation != 2 || updated.Spec.Workload.Duration.Seconds() != 9 {
		t.Errorf("not updated: generation %d, %+v", updated.Generation, updated.Spec.Workload)
	}
	if updated.Status.Phase != api.RunPending {
		t.Errorf("a user wrote the status: %+v", updated.Status)
	}
	if !slices.Contains(updated.Finalizers, api.FinalizerCluster) {
		t.Error("a manifest without finalizers took them away")
	}

	stale := map[string]any{"metadata.resourceVersion": created.ResourceVersion, "spec.workload.duration": "7s"}
	f.refuses(refusal{method: http.MethodPut, target: runs + "/one", body: runJSON("one", stale), code: 409, reason: metav1.StatusReasonConflict, message: "read it again"})
	f.refuses(refusal{method: http.MethodPut, target: runs + "/none", body: runJSON("none", nil), code: 404, reason: metav1.StatusReasonNotFound})
	f.refuses(refusal{method: http.MethodPut, target: runs + "/one", body: runJSON("two", nil), code: 400, reason: metav1.StatusReasonBadRequest, message: "name"})
	f.refuses(refusal{method: http.MethodPut, target: allocs + "/one", body: `{}`, code: 403, reason: metav1.StatusReasonForbidden})

	f.setStatus(f.stored("one"), func(st *api.BenchmarkRunStatus) { st.Phase = api.RunExecuting })
	f.refuses(refusal{method: http.MethodPut, target: runs + "/one", body: runJSON("one", nil), code: 422, reason: metav1.StatusReasonInvalid, field: "spec", message: "has started"})

	// What `get` prints can be put back as it is, its status included.
	f.call(http.MethodPut, runs+"/one", string(f.get(runs+"/one").body)).want(http.StatusOK)
}

func TestPatch(t *testing.T) {
	f := newFixture(t)
	f.create("one", nil)
	f.setStatus(f.stored("one"), func(st *api.BenchmarkRunStatus) { st.Phase = api.RunPending })

	run := f.patch(mergePatch, runs+"/one", `{"metadata":{"labels":{"a":"b"}},"spec":{"backoffLimit":7},"status":{"phase":"Failed"}}`).want(http.StatusOK).run()
	if run.Labels["a"] != "b" || *run.Spec.BackoffLimit != 7 || run.Status.Phase != api.RunPending {
		t.Errorf("merge patch made %+v", run)
	}
	run = f.patch(jsonPatch, runs+"/one", `[{"op":"test","path":"/status/phase","value":"Pending"},{"op":"replace","path":"/spec/backoffLimit","value":8}]`).want(http.StatusOK).run()
	if *run.Spec.BackoffLimit != 8 || run.Generation != 3 {
		t.Errorf("JSON patch made %+v", run)
	}
	run = f.patch(mergePatch, runs+"/one", `{"spec":{"backoffLimit":null}}`).want(http.StatusOK).run()
	if *run.Spec.BackoffLimit != 2 {
		t.Errorf("a field that was removed has no default: %+v", run.Spec)
	}
	if same := f.patch(mergePatch, runs+"/one", `{}`).want(http.StatusOK).run(); same.ResourceVersion != run.ResourceVersion {
		t.Error("a patch that changes nothing was written")
	}
	f.patch(mergePatch, runs+"/one", `{"metadata":{"finalizers":null}}`).want(http.StatusOK)
	if got := f.stored("one").Finalizers; len(got) != 0 {
		t.Errorf("a patch that says so did not take the finalizers off: %v", got)
	}

	bomb := `[` + strings.Repeat(`{"op":"copy","from":"/spec","path":"/spec/service/config"},`, 60) + `{"op":"test","path":"/kind","value":"x"}]`
	for name, r := range map[string]refusal{
		"strategic":     {mediaType: "application/strategic-merge-patch+json", body: `{}`, code: 415, reason: metav1.StatusReasonUnsupportedMediaType, message: mergePatch},
		"server-side":   {mediaType: "application/apply-patch+yaml", body: `{}`, code: 415, reason: metav1.StatusReasonUnsupportedMediaType, message: "without --server-side"},
		"no JSON":       {mediaType: mergePatch, body: `{`, code: 400, reason: metav1.StatusReasonBadRequest},
		"no list":       {mediaType: jsonPatch, body: `{}`, code: 400, reason: metav1.StatusReasonBadRequest},
		"no object":     {mediaType: mergePatch, body: `[]`, code: 400, reason: metav1.StatusReasonBadRequest},
		"failing test":  {mediaType: jsonPatch, body: `[{"op":"test","path":"/kind","value":"x"}]`, code: 422, reason: metav1.StatusReasonInvalid, message: "does not fit"},
		"copying bomb":  {mediaType: jsonPatch, body: bomb, code: 422, reason: metav1.StatusReasonInvalid},
		"new name":      {mediaType: mergePatch, body: `{"metadata":{"name":"two"}}`, code: 400, reason: metav1.StatusReasonBadRequest, message: "cannot be changed"},
		"new namespace": {mediaType: mergePatch, body: `{"metadata":{"namespace":"two"}}`, code: 400, reason: metav1.StatusReasonBadRequest},
		"stale version": {mediaType: mergePatch, body: `{"metadata":{"resourceVersion":"1"}}`, code: 409, reason: metav1.StatusReasonConflict},
		"unknown field": {mediaType: mergePatch, body: `{"spec":{"nodez":1}}`, code: 422, reason: metav1.StatusReasonInvalid, field: "spec.nodez"},
	} {
		t.Run(name, func(t *testing.T) {
			f.t, r.method, r.target = t, http.MethodPatch, runs+"/one"
			f.refuses(r)
		})
	}
}

// TestPatchOfWhatIsRefusedToday has a run that rules have changed under: it can be cancelled, not corrupted.
func TestPatchOfWhatIsRefusedToday(t *testing.T) {
	f := newFixture(t)
	f.create("one", nil)
	old := f.stored("one")
	old.Spec.Service.Name, old.Spec.Workload.Balance = "unknown", "coinToss"
	if err := f.store.Put(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	run := f.patch(mergePatch, runs+"/one", `{"metadata":{"labels":{"a":"b"}},"spec":{"cancel":true}}`).want(http.StatusOK).run()
	if !run.Spec.Cancel || run.Labels["a"] != "b" || run.Spec.Workload.Balance != "coinToss" {
		t.Errorf("patch made %+v", run)
	}
	f.refuses(refusal{method: http.MethodPatch, target: runs + "/one", mediaType: mergePatch, body: `{"metadata":{"labels":{"a b":"c"}}}`, code: 422, reason: metav1.StatusReasonInvalid, field: "metadata.labels"})
	f.refuses(refusal{method: http.MethodPatch, target: runs + "/one", mediaType: mergePatch, body: `{"spec":{"backoffLimit":1}}`, code: 422, reason: metav1.StatusReasonInvalid, field: "spec.workload.balance"})
}

func TestStatusSubresource(t *testing.T) {
	f := newFixture(t)
	f.create("one", nil)
	run := f.patch(mergePatch, runs+"/one/status", `{"status":{"phase":"Deploying"},"spec":{"backoffLimit":9}}`).want(http.StatusOK).run()
	if run.Status.Phase != api.RunDeploying || *run.Spec.BackoffLimit == 9 || run.Generation != 1 {
		t.Errorf("patch of the status made %+v", run)
	}
	run = f.call(http.MethodPut, runs+"/one/status", runJSON("one", map[string]any{"status.phase": "Launching", "spec": map[string]any{}})).want(http.StatusOK).run()
	if run.Status.Phase != api.RunLaunching || run.Spec.Service.Name != "dummy" {
		t.Errorf("update of the status made %+v", run)
	}
	if got := f.get(runs + "/one/status").want(http.StatusOK).run(); got.Status.Phase != api.RunLaunching {
		t.Errorf("the status reads %+v", got.Status)
	}
	f.refuses(refusal{method: http.MethodPut, target: runs + "/one/status", body: runJSON("one", map[string]any{"status.phaze": "x"}), code: 400, reason: metav1.StatusReasonBadRequest, message: "phaze"})
	f.refuses(refusal{method: http.MethodPatch, target: allocs + "/one/status", body: `{}`, code: 403, reason: metav1.StatusReasonForbidden})
}

func TestDryRun(t *testing.T) {
	f := newFixture(t)
	before := f.create("one", nil)
	planned := f.call(http.MethodPost, runs+"?dryRun=All", runJSON("two", nil)).want(http.StatusCreated).run()
	if planned.UID == "" || planned.ResourceVersion != "" {
		t.Errorf("a create that was only tried shows %+v", planned.ObjectMeta)
	}
	f.get(runs + "/two").want(http.StatusNotFound)
	for name, a := range map[string]*answer{
		"update": f.call(http.MethodPut, runs+"/one?dryRun=All", runJSON("one", map[string]any{"spec.backoffLimit": 4})),
		"patch":  f.patch(mergePatch, runs+"/one?dryRun=All", `{"spec":{"backoffLimit":4}}`),
	} {
		got := a.want(http.StatusOK).run()
		if *got.Spec.BackoffLimit != 4 || got.Generation != 2 || got.ResourceVersion != before.ResourceVersion {
			t.Errorf("%s that was only tried shows %+v", name, got)
		}
	}
	f.refuses(refusal{method: http.MethodPost, target: runs + "?dryRun=All", body: runJSON("one", nil), code: 409, reason: metav1.StatusReasonAlreadyExists})
	f.call(http.MethodDelete, runs+"/one?dryRun=All", "").want(http.StatusOK)
	f.call(http.MethodDelete, runs+"/one", `{"kind":"DeleteOptions","apiVersion":"v1","dryRun":["All"]}`).want(http.StatusOK)
	f.call(http.MethodDelete, runs+"?dryRun=All", "").want(http.StatusOK)
	if after := f.stored("one"); after.ResourceVersion != before.ResourceVersion {
		t.Errorf("a dry run changed %+v", after.ObjectMeta)
	}
}

func TestDelete(t *testing.T) {
	f := newFixture(t)
	run := f.create("one", nil)
	put(f, api.KindAllocation, "alloc", func(*api.Allocation) {})

	for name, preconditions := range map[string]string{"uid": `{"uid":"other"}`, "version": `{"resourceVersion":"999"}`} {
		t.Run("of another "+name, func(t *testing.T) {
			f.t = t
			f.refuses(refusal{method: http.MethodDelete, target: runs + "/one", body: `{"preconditions":` + preconditions + `}`, code: 409, reason: metav1.StatusReasonConflict})
		})
	}
	f.t = t
	f.refuses(refusal{method: http.MethodDelete, target: runs + "/one?propagationPolicy=Orphan", code: 400, reason: metav1.StatusReasonBadRequest, message: "orphan"})
	f.refuses(refusal{method: http.MethodDelete, target: runs + "/none", code: 404, reason: metav1.StatusReasonNotFound})

	body := fmt.Sprintf(`{"propagationPolicy":"Background","preconditions":{"uid":%q}}`, run.UID)
	marked := f.call(http.MethodDelete, runs+"/one", body).want(http.StatusOK).run()
	if marked.DeletionTimestamp == nil {
		t.Errorf("a run with a finalizer was not marked: %+v", marked.ObjectMeta)
	}
	f.call(http.MethodDelete, runs+"/one", "").want(http.StatusOK) // again is no error
	f.patch(mergePatch, runs+"/one", `{"metadata":{"finalizers":null}}`).want(http.StatusOK)
	f.get(runs + "/one").want(http.StatusNotFound)

	st := f.call(http.MethodDelete, allocs+"/alloc", "").want(http.StatusOK).status()
	if st.Status != metav1.StatusSuccess || st.Details == nil || st.Details.UID == "" {
		t.Errorf("an object that is gone is answered with %+v", st)
	}
}

func TestDeleteCollection(t *testing.T) {
	f := newFixture(t)
	f.create("keep", nil)
	for _, name := range []string{"a", "b"} {
		f.create(name, map[string]any{"metadata.labels": map[string]string{"old": "yes"}})
	}
	f.call(http.MethodDelete, runs+"?labelSelector=old%3Dyes", "").want(http.StatusOK)
	for name, want := range map[string]bool{"keep": false, "a": true, "b": true} {
		if got := f.stored(name).DeletionTimestamp != nil; got != want {
			t.Errorf("%s: deleted %t, want %t", name, got, want)
		}
	}
	f.refuses(refusal{method: http.MethodDelete, target: "/apis/benchd.dev/v1alpha1/benchmarkruns", code: 405, reason: metav1.StatusReasonMethodNotAllowed})
}

// FuzzPatch sends any patch to a run. Whatever it is, it is not this side's fault.
func FuzzPatch(f *testing.F) {
	f.Add(true, `{"spec":{"service":{"config":{"a":[1,null]}}},"metadata":null}`)
	f.Add(false, `[{"op":"move","from":"/spec/slurm","path":"/metadata/labels/-"},{"op":"add","path":"","value":1}]`)
	fx := newFixture(f)
	fx.create("one", nil)
	f.Fuzz(func(t *testing.T, merge bool, body string) {
		fx.t = t
		mediaType := jsonPatch
		if merge {
			mediaType = mergePatch
		}
		if a := fx.patch(mediaType, runs+"/one?dryRun=All", body); a.code >= 500 {
			t.Errorf("%s is answered with %d: %s", body, a.code, a.body)
		}
	})
}
