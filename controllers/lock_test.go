package controllers

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// What is applied again repeats the run, and is no trial of the sweep that made it.
func TestLockOfATrial(t *testing.T) {
	run := validRun()
	run.Labels = map[string]string{"team": "x", api.LabelSweep: "s", api.LabelTrial: "p-r1", api.LabelPoint: "p", api.LabelRepeat: "1", api.LabelParameter + "tokens": "4"}
	run.Annotations = map[string]string{api.AnnotationParameters: "{}", api.AnnotationPosition: "0"}
	run.Spec.Cancel = true
	locked := lockOf(run, &api.RunRecord{Seed: 7})
	if diff := cmp.Diff(map[string]string{"team": "x", api.LabelParameter + "tokens": "4"}, locked.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{api.AnnotationParameters: "{}"}, locked.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if locked.Spec.Cancel || *locked.Spec.Workload.Seed != 7 || run.Labels[api.LabelSweep] != "s" || !run.Spec.Cancel {
		t.Errorf("locked %+v of %+v", locked.Spec, run.Labels)
	}
}
