package storetest

import (
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"
)

var objectTests = map[string]func(*suite){
	"a new object gets uid, version, generation and time, and comes back as it was given": func(s *suite) {
		run := NewRun("team", "one", map[string]string{"a": "b"})
		run.UID, run.Generation, run.ResourceVersion = "mine", 77, "99"
		gone := metav1.NewTime(now)
		run.DeletionTimestamp = &gone
		run.Spec.Service.Config = map[string]any{"maxModelLen": 2048.0, "nested": map[string]any{"list": []any{"x", true, nil}}}
		s.create(run)
		if run.UID == "" || run.UID == "mine" {
			s.Errorf("uid is %q", run.UID)
		}
		s.same("generation", int64(1), run.Generation)
		s.same("version", "1", run.ResourceVersion)
		s.same("creation time", true, run.CreationTimestamp.Time.Equal(now))
		s.same("deletion time", true, run.DeletionTimestamp == nil)
		s.same("what was read", run, s.run("team", "one"))
	},
	"a name is taken once per kind and namespace": func(s *suite) {
		s.create(NewRun("a", "x", nil), NewRun("b", "x", nil), NewAllocation("a", "x"), NewCluster("x"))
		if err := s.Create(s.Context(), NewRun("a", "x", nil)); !apierrors.IsAlreadyExists(err) {
			s.Errorf("created twice: %v", err)
		}
		s.same("version", "4", s.version())
	},
	"what is not there is not found": func(s *suite) {
		s.create(NewRun("a", "x", nil))
		for _, k := range [][3]string{{api.KindBenchmarkRun, "a", "y"}, {api.KindBenchmarkRun, "b", "x"}, {api.KindAllocation, "a", "x"}, {"Sweep", "a", "x"}, {"", "", ""}} {
			if _, err := s.Get(s.Context(), k[0], k[1], k[2]); !apierrors.IsNotFound(err) {
				s.Errorf("get %q: %v", k, err)
			}
			if _, err := s.Delete(s.Context(), k[0], k[1], k[2], ""); !apierrors.IsNotFound(err) {
				s.Errorf("delete %q: %v", k, err)
			}
		}
		if err := s.Put(s.Context(), NewRun("a", "y", nil)); !apierrors.IsNotFound(err) {
			s.Errorf("put: %v", err)
		}
		if err := s.PutStatus(s.Context(), NewRun("a", "y", nil)); !apierrors.IsNotFound(err) {
			s.Errorf("put status: %v", err)
		}
	},
	"an object without a known kind is an error": func(s *suite) {
		if err := s.Create(s.Context(), &api.BenchmarkRun{ObjectMeta: metav1.ObjectMeta{Name: "x"}}); err == nil {
			s.Error("it was created")
		}
		s.create(NewRun("a", "after", nil))
	},
	"objects go in and out as copies": func(s *suite) {
		run := NewRun("a", "x", map[string]string{"k": "v"})
		s.create(run)
		want := s.run("a", "x")
		maps.Copy(run.Labels, map[string]string{"k": "changed", "other": "added"})
		run.Spec.Nodes.Servers.Count = nil
		read := s.run("a", "x")
		read.Labels["k"] = "changed too"
		s.same("the stored object", want, s.run("a", "x"))
		s.same("found by label", []string{"a/x"}, s.names(api.KindBenchmarkRun, selecting("k=v")))
		s.same("found by a label that it never had", []string{}, s.names(api.KindBenchmarkRun, selecting("other")))
	},
	"spec and status are written apart": func(s *suite) {
		run := NewRun("a", "x", nil)
		s.create(run)
		run.Spec.Service.Model, run.Labels = "not by a status", map[string]string{"not": "either"}
		run.Status.Message = "seen"
		s.must(s.PutStatus(s.Context(), run))
		s.same("model", "", run.Spec.Service.Model)
		s.same("after the status", run, s.run("a", "x"))
		s.same("message", "seen", run.Status.Message)

		run.Spec.Service.Model, run.Status.Message = "m", "not by a put"
		s.must(s.Put(s.Context(), run))
		s.same("message", "seen", run.Status.Message)
		s.same("after the spec", run, s.run("a", "x"))
		s.same("model", "m", run.Spec.Service.Model)
	},
	"a status can be taken back to nothing": func(s *suite) {
		run := NewRun("a", "x", nil)
		s.create(run)
		run.Status.Message = "seen"
		s.must(s.PutStatus(s.Context(), run))
		run.Status = api.BenchmarkRunStatus{}
		s.must(s.PutStatus(s.Context(), run))
		s.same("status", api.BenchmarkRunStatus{}, s.run("a", "x").Status)
	},
	"the generation counts changes of the spec alone": func(s *suite) {
		run := NewRun("a", "x", nil)
		run.Finalizers = []string{api.FinalizerCluster}
		s.create(run)
		for _, step := range []struct {
			what   string
			change func() error
			want   int64
		}{
			{"labels", func() error { run.Labels = map[string]string{"a": "b"}; return s.Put(s.Context(), run) }, 1},
			{"status", func() error { run.Status.Message = "m"; return s.PutStatus(s.Context(), run) }, 1},
			{"spec", func() error { run.Spec.Cancel = true; return s.Put(s.Context(), run) }, 2},
			{"its own generation", func() error { run.Generation = 50; return s.Put(s.Context(), run) }, 2},
			{"deletion", func() error { s.delete(run); run = s.run("a", "x"); return nil }, 3},
			{"deletion again", func() error { s.delete(run); run = s.run("a", "x"); return nil }, 3},
		} {
			s.must(step.change())
			s.same("generation after "+step.what, step.want, run.Generation)
		}
	},
	"nobody changes uid, times and generation": func(s *suite) {
		run := NewRun("a", "x", nil)
		s.create(run)
		want := s.run("a", "x")
		gone := metav1.NewTime(now)
		run.Generation, run.CreationTimestamp, run.DeletionTimestamp, run.UID = 9, metav1.Time{}, &gone, ""
		s.must(s.Put(s.Context(), run))
		s.same("stored", want, s.run("a", "x"))
		s.same("handed back", want, run)
	},
	"a write that changes nothing keeps the version, tells nobody and brings the object up to date": func(s *suite) {
		run := NewRun("a", "x", map[string]string{"a": "b"})
		s.create(run)
		want, before := s.run("a", "x"), s.version()
		run.ResourceVersion, run.Status.Message, run.Status.Reports = "", "stray", []api.ReportFile{{Path: "stray"}}
		s.must(s.Put(s.Context(), run))
		s.same("after a put", want, run)
		run.Spec.Service.Model, run.Spec.Service.Args = "stray", []string{"stray"}
		s.must(s.PutStatus(s.Context(), run))
		s.same("after a status", want, run)
		s.same("version", before, s.version())
	},
	"a version that is not the stored one is a conflict, none is not": func(s *suite) {
		run := NewRun("a", "x", nil)
		s.create(run)
		stale := s.run("a", "x")
		run.Labels = map[string]string{"a": "b"}
		s.must(s.Put(s.Context(), run))
		for what, write := range map[string]func() error{
			"put":    func() error { return s.Put(s.Context(), stale) },
			"status": func() error { return s.PutStatus(s.Context(), stale) },
			"words":  func() error { stale.ResourceVersion = "many"; return s.Put(s.Context(), stale) },
		} {
			if err := write(); !apierrors.IsConflict(err) {
				s.Errorf("%s: %v", what, err)
			}
		}
		s.same("stored", run, s.run("a", "x"))
		stale.ResourceVersion, stale.Status.Message = "", "forced"
		s.must(s.PutStatus(s.Context(), stale))
		s.same("labels of the newer", map[string]string{"a": "b"}, stale.Labels)
	},
	"an object made anew is not taken for the old one": func(s *suite) {
		run := NewRun("a", "x", nil)
		s.create(run)
		old := s.run("a", "x")
		s.delete(run)
		s.create(run)
		old.ResourceVersion = ""
		for what, write := range map[string]func() error{
			"put":    func() error { return s.Put(s.Context(), old) },
			"status": func() error { return s.PutStatus(s.Context(), old) },
			"delete": func() error {
				_, err := s.Delete(s.Context(), api.KindBenchmarkRun, "a", "x", string(old.UID))
				return err
			},
		} {
			if err := write(); !apierrors.IsConflict(err) {
				s.Errorf("%s: %v", what, err)
			}
		}
		s.same("stored", run, s.run("a", "x"))
		_, err := s.Delete(s.Context(), api.KindBenchmarkRun, "a", "x", string(types.UID(run.UID)))
		s.must(err)
	},
}
